"""Text that a decoder writes from what an encoder has seen: captions, answers to questions, the fields of a form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sensorium.errors import CallError, check_count
from sensorium.media import chat, text
from sensorium.media.tokens import special_of
from sensorium.ops import batches
from sensorium.ops.generation import Decoder, Settings, generate

Arrays = dict[str, np.ndarray]

# What folders without a generation_config.json say in their config.json, or in that of their decoder.
GENERATION = (
    "bos_token_id", "pad_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size", "max_length",
    "min_length", "repetition_penalty",
)  # fmt: skip
# BLIP's decoder is a BERT: a token of its own begins, the separator ends. Values where config.json leaves them out.
BLIP = {"bos_token_id": 30522, "eos_token_id": 102, "pad_token_id": 0}


@dataclass
class Writer:
    """The words of a model that writes.

    Attributes:
        config: config.json.
        tokenizer_json: the text of tokenizer.json.
        tokenizer_config: tokenizer_config.json.
        generation: generation_config.json, or None where there is none.
        templates: the chat templates by name, of a model that is asked in a chat.
    """

    config: dict[str, Any]
    tokenizer_json: str = field(repr=False)
    tokenizer_config: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] | None = None
    templates: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, files: Mapping[str, Any], task: str) -> Writer:
        """From the files of a model folder.

        Raises:
            InputError: one that is needed is missing.
        """
        for name, kind in (("config.json", dict), ("tokenizer.json", str)):
            if not isinstance(files.get(name), kind):
                raise CallError(f"{name} is missing: {task} needs it")
        tokenizer_config = dict(files.get("tokenizer_config.json") or {})
        templates = chat.template_of(files, tokenizer_config)
        generation = files.get("generation_config.json")
        return cls(files["config.json"], files["tokenizer.json"], tokenizer_config, generation, templates)

    def files(self) -> dict[str, Any]:
        """What `load` reads."""
        found: dict[str, Any] = {
            "config.json": self.config,
            "tokenizer.json": self.tokenizer_json,
            "tokenizer_config.json": self.tokenizer_config,
        }
        if set(self.templates) == {"default"}:
            found["chat_template.jinja"] = self.templates["default"]
        return found if self.generation is None else found | {"generation_config.json": self.generation}

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    @cached_property
    def tokenizer(self) -> Any:
        limit = self.tokenizer_config.get("model_max_length")
        return text.tokenizer(self.tokenizer_json, max_length=int(limit) if limit and limit < 1 << 20 else None)

    @cached_property
    def special(self) -> dict[str, str]:
        """The special tokens by their role."""
        return special_of(self.tokenizer_config)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """How the model generates unless told otherwise."""
        inner = self.config.get("decoder") or self.config.get("text_config") or {}
        if self.model_type == "blip":
            own = {"eos_token_id": inner.get("sep_token_id")}
            given = {**BLIP, **{k: inner[k] for k in ("bos_token_id", "pad_token_id") if inner.get(k) is not None}}
            return given | {k: v for k, v in own.items() if v is not None}
        found = dict(self.generation or {})
        for name in GENERATION:
            for place in (self.config, inner):
                if found.get(name) is None and self.generation is None and place.get(name) is not None:
                    found[name] = place[name]
        for name in ("bos_token_id", "pad_token_id", "eos_token_id", "decoder_start_token_id"):
            values = (place.get(name) for place in (self.config, inner))
            if found.get(name) is None:
                found[name] = next((value for value in values if value is not None), None)
        return found

    def encode(self, words: str, special: bool = True) -> list[int]:
        """Tokens of a text, with or without those that begin and end one."""
        if special:
            return list(text.encode(self.tokenizer, words).ids)
        return list(self.tokenizer.encode(words, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return text.decode(self.tokenizer, list(tokens))

    @property
    def start(self) -> list[int]:
        """The token that begins what is written.

        Raises:
            InputError: the files do not say it.
        """
        names = ("bos_token_id",) if self.model_type in ("blip", "git") else ("decoder_start_token_id", "bos_token_id")
        for name in names:
            if isinstance(value := self.settings.get(name), int):
                return [value]
        raise CallError(f"neither generation_config.json nor config.json says '{names[0]}'")

    def write(
        self,
        nets: Mapping[str, Any],
        items: Sequence[Arrays],
        prompts: Sequence[Sequence[int]],
        given: Mapping[str, Any],
        padding: Mapping[str, float],
        read: Callable[[Mapping[str, Any], Arrays], np.ndarray] | None = None,
    ) -> list[list[int]]:
        """What is written for each item: its prompt and what follows.

        Args:
            nets: `encoder_model` (to `last_hidden_state`) and `decoder_model_merged`; `embed_tokens` where that takes
                vectors.
            items: what the encoder takes, one each.
            prompts: tokens that each begins with.
            given: options of generation; None for the model's own.
            padding: values that fill up shorter arrays of the encoder's input.
            read: from the nets and a batch of items to the states that are written from, for encoders of several nets.
        """
        for name in ("max_new_tokens", "num_beams"):
            check_count(name, given.get(name))
        config = {**self.settings, **{name: value for name, value in given.items() if value is not None}}
        found: list[list[int]] = [[] for _ in items]
        groups: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            groups.setdefault(len(prompt), []).append(i)
        for same in groups.values():
            for alike in batches.alike([items[i] for i in same], padding):
                rows = [same[i] for i in alike]
                start = np.array([prompts[i] for i in rows], np.int64)
                feeds = batches.collate([items[i] for i in rows], padding)
                states = (read or _read)(nets, feeds)
                for i, tokens in zip(rows, self._continue(nets, states, feeds, start, config)):
                    found[i] = [*prompts[i], *tokens]
        return found

    def _continue(
        self,
        nets: Mapping[str, Any],
        states: np.ndarray,
        feeds: Arrays,
        start: np.ndarray,
        config: Mapping[str, Any],
    ) -> list[list[int]]:
        """The tokens that follow each prompt (rows, tokens)."""
        mask = feeds.get("attention_mask", np.ones(states.shape[:2], np.int64))
        fixed = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
        net = nets["decoder_model_merged"]
        if "inputs_embeds" in net.inputs:
            net = Embedded(net, nets["embed_tokens"])
        return generate(Decoder(net, fixed, len(start)), start, Settings.of(config, prompt=start.shape[1]))


def _read(nets: Mapping[str, Any], feeds: Arrays) -> np.ndarray:
    states: np.ndarray = batches.answers(nets["encoder_model"], feeds)["last_hidden_state"]
    return states


class Embedded:
    """A decoder that takes vectors, as one that takes the tokens they stand for."""

    def __init__(self, net: Any, embed: Any) -> None:
        self.net = net
        self.embed = embed
        self.inputs = {"input_ids": (["batch_size", "sequence_length"], np.int64)}
        self.inputs |= {name: told for name, told in net.inputs.items() if name != "inputs_embeds"}
        self.outputs = net.outputs

    def __call__(self, feeds: Arrays) -> Arrays:
        vectors = self.embed({"input_ids": feeds["input_ids"]})["inputs_embeds"]
        found: Arrays = self.net({**feeds, "inputs_embeds": vectors})
        return found
