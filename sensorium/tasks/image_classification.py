"""Image classification: one label, or several, for a picture, each with a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image
from sensorium.ops import classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Nets, Tally


@dataclass
class Task:
    """What the folder's files say.

    Attributes:
        config: config.json: `id2label`, `problem_type`.
        preprocessor: preprocessor_config.json: how a picture becomes `pixel_values`.
    """

    config: dict[str, Any]
    preprocessor: dict[str, Any]

    name: ClassVar[str] = "image-classification"
    source: ClassVar[str] = "image"
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {"top_k": None}
    architectures: ClassVar[tuple[str, ...]] = ("ForImageClassification", "ForImageClassificationWithTeacher")
    truth = "label"  # "labels" for a model of several
    truths: ClassVar[tuple[str, ...]] = ("label", "labels")
    metric = "accuracy"  # "mean_average_precision" for a model of several

    def __post_init__(self) -> None:
        self.labels, self.multi = classification.labels_of(self.config)
        self.number = {label: i for i, label in enumerate(self.labels)}
        if self.multi:
            self.truth, self.metric = "labels", "mean_average_precision"

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        if not isinstance(files.get("config.json"), dict):
            raise InputError("config.json is missing: image-classification needs it")
        return cls(files["config.json"], image.settings(files))

    def files(self) -> dict[str, Any]:
        return {"config.json": self.config, "preprocessor_config.json": self.preprocessor}

    def open(self, source: Any) -> Image.Image:
        return image.load(source)

    def prepare(self, source: Image.Image) -> Arrays:
        """pixel_values: (3, H, W) float32; or `input_ids`, the numbers of colours, for ImageGPT."""
        return image.arrays(self.preprocessor, source)

    def decode(
        self, outputs: Arrays, source: Image.Image, *, top_k: int | None = 5, threshold: float = 0.0
    ) -> list[Label]:
        """The labels, the best first.

        Options:
            top_k: how many labels to answer; none for all of them
            threshold: least score of a label, 0..1
        """
        logits = outputs["logits"]
        if logits.shape != (len(self.labels),):
            raise InputError(f"the network answers {logits.shape[-1]} labels, config.json names {len(self.labels)}")
        free = self.multi or len(self.labels) == 1
        scores = classification.chances(logits, self.config, free)
        return [label for label in classification.ranked(scores, self.labels, top_k) if label.score >= threshold]

    def tally(self, prediction: list[Label], truth: str | list[str], nets: Nets) -> Tally:
        """How sure the model was of what is true; and the label numbers, or scores, for the metrics."""
        scores = {p.label: p.score for p in prediction}
        wanted = [truth] if isinstance(truth, str) else truth
        numbers = [self.number.get(label, classification.unknown(label)) for label in wanted]
        if not self.multi:
            answer = self.number[prediction[0].label] if prediction else classification.unknown("")
            return Tally(scores.get(wanted[0], 0.0), (numbers[0], answer))
        row = np.array([scores.get(label, 0.0) for label in self.labels])
        right = [1 - s for label, s in scores.items() if label not in wanted] + [scores.get(w, 0.0) for w in wanted]
        return Tally(min(right, default=1.0), (np.array(numbers, np.int64), row))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Accuracy and macro-F1; for several labels each also the mean average precision."""
        stats = [t.stats for t in tallies]
        return classification.multi_scores(stats) if self.multi else classification.single_scores(stats)

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Label]]:
        """Always the most common label, each with its share as score."""
        shares = classification.shares([[t] if isinstance(t, str) else t for t in truths])
        answer = [Label(label, share) for label, share in shares.items() if label in self.number]
        return lambda source: answer

    def draw(self, source: Image.Image, result: list[Label], truth: str | list[str] = ()) -> Image.Image:  # type: ignore[assignment]
        """The picture with its labels as bars; where the truth is known, it is marked, and shown even if far down."""
        right = [truth] if isinstance(truth, str) else list(truth)
        shown = result[:5] + [r for r in result[5:] if r.label in right][:3]
        return drawing.bars(self.open(source), [r.label for r in shown], [r.score for r in shown], right)

    def charts(self, predictions: Sequence[list[Label]], truths: Sequence[Any]) -> dict[str, Image.Image]:
        """The confusion matrix, for one label each."""
        if self.multi:
            return {}
        matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for prediction, truth in zip(predictions, truths):
            if prediction and truth in self.number:
                matrix[self.number[truth], self.number[prediction[0].label]] += 1
        return {"confusion": drawing.confusion(matrix, self.labels)}
