"""Texts to vectors: the encoder of a folder, its network, and what sentence-transformers does after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.errors import CallError
from sensorium.media.encoder import Encoder
from sensorium.media.sentences import POOLING, Sentences, normalize, pool
from sensorium.ops import batches
from sensorium.ops.batches import Arrays

NAMES = {"last_token": "lasttoken", "mean_sqrt": "mean_sqrt_len", "weighted_mean": "weightedmean"}


@dataclass
class Embedder:
    """A model folder that makes vectors of texts."""

    encoder: Encoder
    sentences: Sentences

    @classmethod
    def load(cls, files: Mapping[str, Any], task: str) -> Embedder:
        return cls(Encoder.load(files, task), Sentences.load(files))

    def files(self) -> dict[str, Any]:
        return self.encoder.files() | self.sentences.kept

    def prepare(self, source: str, prompt: str = "") -> Arrays:
        """input_ids, attention_mask, token_type_ids: each (T,) int64."""
        words = prompt + source
        limits = [n for n in (self.sentences.max_length, self.encoder.max_length) if n]
        tokens = self.encoder.encode(
            words.lower() if self.sentences.lower else words, max_length=min(limits, default=None)
        )
        return self.encoder.arrays(tokens)

    def prompt(self, name: str | None) -> str:
        """The text that is put in front.

        Raises:
            InputError: there is none of this name.
        """
        if name is None:
            return self.sentences.prompts.get(self.sentences.prompt or "", "")
        if name not in self.sentences.prompts:
            has = ", ".join(self.sentences.prompts) or "none"
            raise CallError(f"prompt_name '{name}': config_sentence_transformers.json has {has}")
        return self.sentences.prompts[name]

    def vectors(
        self,
        net: Callable[[Arrays], Arrays],
        sources: Sequence[str],
        *,
        pooling: str | None = None,
        normalized: bool | None = None,
        prompt_name: str | None = None,
    ) -> list[np.ndarray]:
        """The vector of each text, or without pooling the states of its tokens (T, D): float32.

        Args:
            pooling: `none` or one of `POOLING`; None for what the folder says.
            normalized: None for what the folder says.
            prompt_name: of the text to put in front; None for what the folder says.
        """
        own = "none" if not self.sentences.ways else None
        way = NAMES.get(pooling or "", pooling) or own
        if way not in (None, "none", *POOLING):
            raise CallError(f"pooling '{pooling}': use one of none, {', '.join(POOLING)}")
        prompt = self.prompt(prompt_name)
        skip = 0
        if prompt and not self.sentences.pool_prompt:
            tokens = self.encoder.encode(prompt).ids
            ends = {self.encoder.token_id("sep_token"), self.encoder.token_id("eos_token")}
            skip = len(tokens) - (bool(tokens) and tokens[-1] in ends)
        items = [self.prepare(source, prompt) for source in sources]
        found: list[np.ndarray] = [np.empty(0)] * len(items)
        for i, outputs in batches.outputs(net, items, self.encoder.padding):
            states = first_of(outputs)[: int(items[i]["attention_mask"].sum())]
            if way == "none":
                vector = np.asarray(states)
            elif way is None and "sentence_embedding" in outputs:
                vector = np.asarray(outputs["sentence_embedding"], np.float64)
                if normalize in self.sentences.steps:
                    vector = normalize(vector)
            else:
                vector = pool(states, self.sentences.ways if way is None else (way,), skip)
                if way is None:
                    vector = self.sentences.finish(vector)
            if normalized and vector.ndim == 1:
                vector = normalize(vector)
            found[i] = vector.astype(np.float32)
        return found


def first_of(outputs: Arrays) -> np.ndarray:
    """The states of the tokens, by the names that exporters give them."""
    for name in ("last_hidden_state", "token_embeddings", "hidden_states", "logits"):
        if name in outputs:
            return outputs[name]
    return next(iter(outputs.values()))
