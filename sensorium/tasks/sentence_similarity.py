"""Sentence similarity: how alike in meaning a text is to others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media import drawing, text
from sensorium.media.embedder import Embedder, first_of
from sensorium.ops import retrieval
from sensorium.tasks import Arrays, Nets, Tally


@dataclass
class Pairs:
    """A text, and those that it is compared with."""

    source: str
    others: list[str]


@dataclass
class Task:
    """What the folder's files say."""

    embedder: Embedder

    name: ClassVar[str] = "sentence-similarity"
    architectures: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[str, ...]] = ("source_sentence", "sentences")
    source: ClassVar[str] = "source_sentence"
    truth: ClassVar[str] = "score"
    metric: ClassVar[str] = "spearman"
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(Embedder.load(files, cls.name))

    def files(self) -> dict[str, Any]:
        return self.embedder.files()

    @property
    def padding(self) -> dict[str, float]:
        return self.embedder.encoder.padding

    def open(self, source: Any) -> Pairs:
        """Of `{"source_sentence": ..., "sentences": [...]}`.

        Raises:
            InputError: one of them is missing.
        """
        if isinstance(source, Pairs):
            return source
        if not isinstance(source, Mapping) or not all(source.get(part) is not None for part in self.parts):
            raise InputError("a text is compared with others: give both, source_sentence and sentences")
        others = source["sentences"]
        if not isinstance(others, (str, list, tuple)):
            raise InputError(f"sentences: a list of texts is needed, not {type(others).__name__}")
        listed = [others] if isinstance(others, str) else others
        return Pairs(text.load(source["source_sentence"]), [text.load(one) for one in listed])

    def prepare(self, source: Pairs | str) -> Arrays:
        """The text alone: input_ids, attention_mask, token_type_ids: each (T,) int64."""
        return self.embedder.prepare(source if isinstance(source, str) else source.source)

    def decode(self, outputs: Arrays, source: Any) -> np.ndarray:
        """The states of the tokens: (T, D)."""
        return first_of(outputs)

    def predict(self, nets: Nets, sources: Sequence[Pairs], *, pooling: str | None = None) -> list[list[float]]:
        """How alike each of the others is, 1 for the same (where the model compares by the cosine).

        Options:
            pooling: cls, mean, max, mean_sqrt_len, weightedmean or lasttoken; by default as modules.json says, and mean without one
        """  # noqa: E501
        way = pooling or (None if self.embedder.sentences.ways else "mean")
        if way == "none":
            raise CallError("pooling 'none': texts are compared by one vector each")
        distinct = list(dict.fromkeys(t for s in sources for t in (s.source, *s.others)))
        vectors = dict(zip(distinct, self.embedder.vectors(nets["model"], distinct, pooling=way)))
        answers = []
        for source in sources:
            others = np.array([vectors[t] for t in source.others], np.float64)
            one = vectors[source.source][None].astype(np.float64)
            answers.append(self.embedder.sentences.similar(one, others)[0].tolist() if len(others) else [])
        return answers

    def tally(self, prediction: list[float], truth: Any, nets: Nets) -> Tally:
        """The likeness found and the one that people gave."""
        given = float(truth[0] if isinstance(truth, (list, tuple)) else truth)
        return Tally(-abs(prediction[0] - given), (prediction[0], given))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Correlation of the ranks (Spearman), and of the values (Pearson)."""
        rows = np.array([t.stats for t in tallies], np.float64).reshape(-1, 2)
        return {
            "spearman": retrieval.spearman(rows[:, 0], rows[:, 1]),
            "pearson": retrieval.pearson(rows[:, 0], rows[:, 1]),
        }

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[float]]:
        """The share of words that two texts have in common."""

        def shared(source: Any) -> list[float]:
            pairs = self.open(source)
            one = set(pairs.source.lower().split())
            rest = [set(other.lower().split()) for other in pairs.others]
            return [len(one & other) / max(1, len(one | other)) for other in rest]

        return shared

    def draw(self, source: Any, result: list[float], truth: Any = None) -> Image.Image:
        """The text with the others as bars below it."""
        pairs = self.open(source)
        return drawing.scores_card(pairs.source, list(zip(pairs.others, result))[:8])
