"""Labels and phrases as the rows that the text side of a network reads beside a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from sensorium.errors import CallError
from sensorium.media import text

Arrays = dict[str, np.ndarray]
MOST = 10_000  # labels of one call
LEFT = ("Siglip2Tokenizer", "GemmaTokenizer", "GemmaTokenizerFast")  # tokenizers that fill up at the beginning
# What the padding token is called, for folders that do not say it.
PADDING = ("<|endoftext|>", "[PAD]", "<pad>", "</s>")


@dataclass
class Prompts:
    """Tokenizer and limits of a folder.

    Attributes:
        config: `config.json`.
        tokenizer_json: the text of `tokenizer.json`.
        tokenizer_config: `tokenizer_config.json`; special: `special_tokens_map.json`, which older folders have.
        length: tokens of each row; None for those of the longest phrase.
    """

    config: dict[str, Any]
    tokenizer_json: str = field(repr=False)
    tokenizer_config: dict[str, Any] = field(default_factory=dict)
    special: dict[str, Any] = field(default_factory=dict)
    length: int | None = None

    @classmethod
    def load(cls, files: Mapping[str, Any], task: str, lengths: Mapping[str, int] | None = None) -> Prompts:
        """From the files of a model folder.

        Args:
            lengths: `length` by `model_type`.

        Raises:
            InputError: config.json or tokenizer.json is missing.
        """
        for name in ("config.json", "tokenizer.json"):
            if not files.get(name):
                raise CallError(f"{name} is missing: {task} needs it")
        config = files["config.json"]
        return cls(
            config,
            files["tokenizer.json"],
            dict(files.get("tokenizer_config.json") or {}),
            dict(files.get("special_tokens_map.json") or {}),
            (lengths or {}).get(str(config.get("model_type"))),
        )

    def files(self) -> dict[str, Any]:
        """The same, to write."""
        found = {"tokenizer.json": self.tokenizer_json, "tokenizer_config.json": self.tokenizer_config}
        return found | ({"special_tokens_map.json": self.special} if self.special else {})

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return text.tokenizer(self.tokenizer_json, max_length=self.length or self.longest)

    @cached_property
    def padding(self) -> int:
        """The number of the token that fills up shorter rows."""
        for given in (self.tokenizer_config.get("pad_token"), self.special.get("pad_token")):
            token = given.get("content") if isinstance(given, Mapping) else given
            if isinstance(token, str) and (number := self.tokenizer.token_to_id(token)) is not None:
                return int(number)
        for config in (self.config, self.config.get("text_config") or {}):
            if config.get("pad_token_id") is not None:
                return int(config["pad_token_id"])
        numbers = (self.tokenizer.token_to_id(token) for token in PADDING)
        return int(next((n for n in numbers if n is not None), 0))

    @property
    def leftwards(self) -> bool:
        """Whether shorter rows are filled up at their beginning."""
        usual = "left" if self.tokenizer_config.get("tokenizer_class") in LEFT else "right"
        return bool(self.tokenizer_config.get("padding_side", usual) == "left")

    @cached_property
    def longest(self) -> int | None:
        """Most tokens that a row may have; None for any number."""
        inner = self.config.get("text_config") or {}
        given = (self.tokenizer_config.get("model_max_length"), inner.get("max_position_embeddings"))
        return min((int(n) for n in given if n and 0 < n < 1 << 20), default=None)

    def rows(self, phrases: Sequence[str]) -> Arrays:
        """input_ids, attention_mask and token_type_ids, each int64 (N, T); longer phrases are cut.

        Raises:
            InputError: there are no phrases, too many, or the tokenizer fails at one.
        """
        if not 0 < len(phrases) <= MOST:
            raise CallError(f"1 to {MOST} labels can be asked for at once, not {len(phrases)}")
        found = [text.encode(self.tokenizer, phrase) for phrase in phrases]
        most = self.length or max(1, *(len(f.ids) for f in found))
        rows = {
            "input_ids": np.full((len(found), most), self.padding, np.int64),
            "attention_mask": np.zeros((len(found), most), np.int64),
            "token_type_ids": np.zeros((len(found), most), np.int64),
        }
        for i, tokens in enumerate(found):
            count = len(tokens.ids)
            place = slice(most - count, most) if self.leftwards else slice(0, count)
            rows["input_ids"][i, place] = tokens.ids
            rows["attention_mask"][i, place] = 1
            rows["token_type_ids"][i, place] = tokens.type_ids
        return rows


def labels(given: Sequence[str]) -> list[str]:
    """The labels to choose from, as they are given, without empty ones.

    Raises:
        InputError: there are none.
    """
    found = [label for label in given if label.strip()]
    if not found:
        raise CallError("candidate_labels: name the labels to choose from")
    return found


def filled(template: str, labels: Sequence[str]) -> list[str]:
    """A sentence for each label, which stands in it at {}.

    Raises:
        InputError: there is no place for it.
    """
    if "{}" not in template:
        raise CallError("hypothesis_template: write {} where the label is to stand")
    return [template.replace("{}", label) for label in labels]
