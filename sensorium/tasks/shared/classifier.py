"""What classifiers of pictures, sounds, videos and texts have in common: labels with scores, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sensorium.errors import CallError
from sensorium.ops import classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Nets, Tally

if TYPE_CHECKING:
    from PIL import Image


class Classifier:
    """Answers with one of the labels of `config.json`, or with several where that says so."""

    config: dict[str, Any]
    evaluation: ClassVar[dict[str, Any]] = {"top_k": None}
    truth = "label"  # "labels" for a model of several
    truths: ClassVar[tuple[str, ...]] = ("label", "labels")
    metric = "accuracy"  # "mean_average_precision" for a model of several

    def __post_init__(self) -> None:
        self.labels, self.multi = classification.labels_of(self.config)
        self.function = classification.function_of(self.config)
        self.number = {label: i for i, label in enumerate(self.labels)}
        if self.multi:
            self.truth, self.metric = "labels", "mean_average_precision"

    def decode(
        self,
        outputs: Arrays,
        source: Any,
        *,
        top_k: int | None = 5,
        threshold: float | None = None,
        function_to_apply: str | None = None,
    ) -> list[Label]:
        """The labels, the best first.

        Args:
            outputs: `logits` (C,).

        Options:
            top_k: how many labels to answer; none for all of them
            threshold: least score of a label; none for any
            function_to_apply: from outputs to scores: softmax, sigmoid or none; by default as the model says
        """
        logits = outputs["logits"]
        if logits.shape != (len(self.labels),):
            raise CallError(f"the network answers {logits.shape[-1]} labels, config.json names {len(self.labels)}")
        scores = classification.scores(logits, function_to_apply or self.function)
        found = classification.ranked(scores, self.labels, top_k)
        return found if threshold is None else [label for label in found if label.score >= threshold]

    def tally(self, prediction: list[Label], truth: str | Sequence[str], nets: Nets) -> Tally:
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
        answer = [label for label in classification.shares(truths) if label.label in self.number]
        return lambda source: answer

    def charts(self, predictions: Sequence[list[Label]], truths: Sequence[Any]) -> dict[str, Image.Image]:
        """The confusion matrix, for one label each."""
        from sensorium.media import charts

        if self.multi:
            return {}
        matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for prediction, truth in zip(predictions, truths):
            if prediction and truth in self.number:
                matrix[self.number[truth], self.number[prediction[0].label]] += 1
        return {"confusion": charts.confusion(matrix, self.labels)}
