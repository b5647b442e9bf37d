"""Classifiers whose labels are given with the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from sensorium.media import image
from sensorium.media.prompts import Prompts
from sensorium.ops import batches, classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Net, Nets, Tally


class ZeroShot:
    """Answers with one of the labels that are given; it is evaluated with those of the data."""

    truth: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {}

    def evaluation_on(self, truths: Sequence[str]) -> dict[str, Any]:
        """The labels of the data are those to choose from."""
        return {"candidate_labels": sorted(set(truths))}

    def tally(self, prediction: list[Label], truth: str, nets: Nets) -> Tally:
        """How sure the model was of what is true; and both labels as numbers, for the metrics."""
        scores = {p.label: p.score for p in prediction}
        numbers = [classification.unknown(name) for name in (truth, prediction[0].label)]
        return Tally(scores.get(truth, 0.0), (numbers[0], numbers[1]))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Accuracy and macro-F1."""
        return classification.single_scores([t.stats for t in tallies])

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Label]]:
        """Always the most common label, each with its share as score."""
        answer = classification.shares(truths)
        return lambda source: answer


@dataclass
class Prompted:
    """A task whose network reads texts beside a picture or a sound.

    Attributes:
        words: the text side.
        preprocessor: how the other side becomes an array.
    """

    words: Prompts
    preprocessor: dict[str, Any]

    name: ClassVar[str]
    padding: ClassVar[dict[str, float]] = {}
    lengths: ClassVar[dict[str, int]] = {}  # tokens that texts are filled up to, by `model_type`

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Self:
        """From the files of a model folder.

        Raises:
            InputError: config.json or tokenizer.json is missing.
        """
        return cls(Prompts.load(files, cls.name, cls.lengths), cls.settings(files))

    @staticmethod
    def settings(files: Mapping[str, Any]) -> dict[str, Any]:
        """How the other side becomes an array: of pictures, where a task does not say otherwise."""
        return image.settings(files)

    def files(self) -> dict[str, Any]:
        return {"config.json": self.words.config, "preprocessor_config.json": self.preprocessor, **self.words.files()}

    @property
    def family(self) -> str:
        return str(self.words.config.get("model_type", ""))

    def matches(self, net: Net, items: Sequence[Arrays], phrases: Sequence[str], output: str) -> list[np.ndarray]:
        """This output for each item: (L,), how well each phrase fits it. The phrases are read once for all items."""
        texts = {name: rows for name, rows in self.words.rows(phrases).items() if name in net.inputs}
        found: list[np.ndarray] = [np.empty(0)] * len(items)
        for group in batches.alike(items, {}):
            rows = batches.collate([items[i] for i in group], {})
            outputs = net({**texts, **{name: array for name, array in rows.items() if name in net.inputs}})
            for i, row in zip(group, outputs[output]):
                found[i] = row
        return found
