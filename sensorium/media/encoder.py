"""A text as the arrays that a network reads, by what the files of its folder say."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from sensorium.errors import CallError
from sensorium.media import text
from sensorium.ops.batches import Arrays

# Families whose position numbers begin after the padding token's, so that fewer tokens fit than there are positions.
AFTER_PADDING = frozenset((
    "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm",
    "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
))  # fmt: skip
# Families that padding cannot reach: the attention mask hides it from every other token. Texts of all other families
# share a batch only where they are equally long.
MASKED = frozenset((
    "albert", "bart", "bert", "bert-generation", "biogpt", "bloom", "camembert", "data2vec-text", "deberta",
    "deberta-v2", "distilbert", "electra", "ernie", "esm", "eurobert", "falcon", "flaubert", "gemma", "gemma2",
    "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "ibert", "layoutlm", "lilt", "llama",
    "longformer", "luke", "mbart", "megatron-bert", "mistral", "mobilebert", "modernbert", "mpnet", "mpt",
    "mt5", "mvp", "nomic_bert", "opt", "phi", "phi3", "plbart", "qwen2", "qwen3", "rembert", "roberta",
    "roberta-prelayernorm", "roc_bert", "roformer", "splinter", "squeezebert", "t5", "umt5", "xlm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
))  # fmt: skip
# What special tokens are called, for folders that do not say it.
USUAL = {
    "mask_token": ("[MASK]", "<mask>", "<special1>"),
    "pad_token": ("[PAD]", "<pad>", "<|endoftext|>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<cls>", "<s>"),
    "sep_token": ("[SEP]", "<sep>", "</s>"),
}

_settings = threading.Lock()  # a tokenizer keeps how it truncates as a state of its own


@dataclass
class Encoder:
    """Tokenizer and limits of a folder.

    Attributes:
        config: `config.json`: `model_type`, `max_position_embeddings`, `pad_token_id`, `type_vocab_size`.
        tokenizer_json: the text of `tokenizer.json`.
        tokenizer_config: `tokenizer_config.json`: `model_max_length`, `model_input_names`, `truncation_side`, the
            special tokens.
        special: `special_tokens_map.json`, for folders whose tokenizer_config.json does not name the special tokens.
    """

    config: dict[str, Any]
    tokenizer_json: str = field(repr=False)
    tokenizer_config: dict[str, Any] = field(default_factory=dict)
    special: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, files: Mapping[str, Any], task: str) -> Encoder:
        """From the files of a model folder.

        Raises:
            InputError: config.json or tokenizer.json is missing.
        """
        for name, kind in (("config.json", dict), ("tokenizer.json", str)):
            if not isinstance(files.get(name), kind):
                raise CallError(f"{name} is missing: {task} needs it")
        return cls(
            files["config.json"],
            files["tokenizer.json"],
            files.get("tokenizer_config.json", {}),
            files.get("special_tokens_map.json", {}),
        )

    def files(self) -> dict[str, Any]:
        """The same, to write."""
        found = {
            "config.json": self.config,
            "tokenizer.json": self.tokenizer_json,
            "tokenizer_config.json": self.tokenizer_config,
        }
        return found | ({"special_tokens_map.json": self.special} if self.special else {})

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return text.tokenizer(self.tokenizer_json)

    @property
    def family(self) -> str:
        return str(self.config.get("model_type", ""))

    @property
    def max_length(self) -> int | None:
        """Most tokens that the network takes, special tokens included; None for any number."""
        limits = [self.tokenizer_config.get("model_max_length")]
        if positions := self.config.get("max_position_embeddings") or self.config.get("n_positions"):
            padding = self.config.get("pad_token_id")
            kept = 1 + (1 if padding is None else int(padding)) if self.family in AFTER_PADDING else 0
            relative = self.family in ("t5", "mt5", "umt5") or self.config.get("position_embedding_type") == "rotary"
            limits.append(None if relative else positions - kept)
        return min((int(n) for n in limits if n and 0 < n < 1 << 20), default=None)

    def token(self, name: str) -> str | None:
        """A special token by its role, such as `mask_token`; None where the tokenizer has none."""
        for given in (self.tokenizer_config.get(name), self.special.get(name)):
            content = given.get("content") if isinstance(given, Mapping) else given
            if isinstance(content, str):
                return content
        return next((t for t in USUAL.get(name, ()) if self.tokenizer.token_to_id(t) is not None), None)

    def token_id(self, name: str) -> int | None:
        """The number of a special token by its role."""
        token = self.token(name)
        number: int | None = None if token is None else self.tokenizer.token_to_id(token)
        return number

    @cached_property
    def padding(self) -> dict[str, float]:
        """Values that fill up the shorter texts of a batch; none where padding would change the answer."""
        number = self.config.get("pad_token_id")
        left = self.tokenizer_config.get("padding_side") == "left"
        if self.family not in MASKED or left or (self.family == "deberta-v2" and self.config.get("conv_kernel_size")):
            return {}
        if number is None:
            number = self.token_id("pad_token") if self.family in AFTER_PADDING or "bert" in self.family else None
        return {} if number is None else {"input_ids": int(number), "attention_mask": 0, "token_type_ids": 0}

    def encode(
        self,
        source: str | Sequence[str],
        pair: str | None = None,
        *,
        max_length: int | None = None,
        stride: int = 0,
        strategy: str = "longest_first",
        special: bool = True,
    ) -> Encoding:
        """Tokens of a text, of a pair, or of a list of words, with special tokens.

        Args:
            max_length: most tokens; None for as many as the network takes. What was cut off is in `.overflowing`.
            stride: tokens that neighbouring windows share.
            strategy: what is cut: `longest_first`, `only_first`, `only_second`.
            special: add the special tokens.

        Raises:
            InputError: the tokenizer fails at this text, or the part to be cut has no room left.
        """
        tokenizer = self.tokenizer
        limit = self.max_length if max_length is None else max_length
        side = self.tokenizer_config.get("truncation_side") or "right"
        shown = source if isinstance(source, str) else " ".join(source)
        with _settings, text.guarded(f"the tokenizer fails at {shown[:40]!r}"):
            if limit is None:
                tokenizer.no_truncation()
            else:
                tokenizer.enable_truncation(limit, stride=stride, strategy=strategy, direction=side)
            words = not isinstance(source, str)
            return tokenizer.encode(source, pair, is_pretokenized=words, add_special_tokens=special)

    def arrays(self, tokens: Encoding) -> Arrays:
        """input_ids, attention_mask, and for families that may know them token_type_ids: each (T,) int64."""
        ids = tokens.ids or [self.token_id("pad_token") or int(self.config.get("pad_token_id") or 0)]
        arrays = {"input_ids": np.array(ids, np.int64), "attention_mask": np.ones(len(ids), np.int64)}
        named = self.tokenizer_config.get("model_input_names") or ("token_type_ids",)
        if self.config.get("type_vocab_size", 2) > 1 and "token_type_ids" in named:
            arrays["token_type_ids"] = np.array(tokens.type_ids or [0], np.int64)
        return arrays

    def join(self, tokens: Sequence[str]) -> str:
        """Tokens as one text, as the tokenizer writes words."""
        decoder = self.tokenizer.decoder
        with text.guarded("the tokenizer fails at decoding"):
            return str(decoder.decode(list(tokens))) if decoder is not None else " ".join(tokens)

    def decode(self, ids: Sequence[int], special: bool = True) -> str:
        """The text of tokens, tidied where tokenizer_config.json says so.

        Args:
            special: show special tokens too.
        """
        with text.guarded("the tokenizer fails at decoding"):
            found = str(self.tokenizer.decode(list(ids), skip_special_tokens=not special))
        tidy = self.tokenizer_config.get("clean_up_tokenization_spaces", False)
        if tidy and type(self.tokenizer.model).__name__ != "BPE":
            for before in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
                found = found.replace(before, before.strip())
        return found
