"""Zero-shot classification: which of the labels that are given with the question fits a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, text
from sensorium.media.encoder import Encoder
from sensorium.ops import batches, classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Nets, Tally


@dataclass
class Task:
    """What the folder's files say: a model that tells whether one sentence follows from another."""

    encoder: Encoder

    name: ClassVar[str] = "zero-shot-classification"
    architectures: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = "text"
    truth: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {}

    def __post_init__(self) -> None:
        labels, _ = classification.labels_of(self.encoder.config)
        given = self.encoder.config.get("label2id")
        numbers = given if isinstance(given, Mapping) else {label: i for i, label in enumerate(labels)}
        entails = next((int(n) for label, n in numbers.items() if str(label).lower().startswith("entail")), -1)
        self.entailment = entails % len(labels)
        self.contradiction = len(labels) - 1 if entails == 0 else 0

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(Encoder.load(files, cls.name))

    def files(self) -> dict[str, Any]:
        return self.encoder.files()

    @property
    def padding(self) -> dict[str, float]:
        return self.encoder.padding

    def open(self, source: Any) -> str:
        return text.load(source)

    def prepare(self, source: str, hypothesis: str = "This example is unknown.") -> Arrays:
        """The text and a sentence about it: input_ids, attention_mask, token_type_ids, each (T,) int64."""
        return self.encoder.arrays(self.encoder.encode(source, hypothesis, strategy="only_first"))

    def decode(self, outputs: Arrays, source: Any) -> np.ndarray:
        """Logits of one sentence about the text: contradiction and entailment."""
        found: np.ndarray = outputs["logits"][[self.contradiction, self.entailment]]
        return found

    def predict(
        self,
        nets: Nets,
        sources: Sequence[str],
        *,
        candidate_labels: list[str],
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
    ) -> list[list[Label]]:
        """The labels, the best first.

        Options:
            candidate_labels: the labels to choose from
            hypothesis_template: the sentence that a label is put into, at {}
            multi_label: several may be true: each label has a score of its own
        """
        labels = [label.strip() for label in candidate_labels if label.strip()]
        if not labels:
            raise InputError("candidate_labels: name the labels to choose from")
        sentences = [hypothesis_template.replace("{}", label) for label in labels]
        if sentences[0] == hypothesis_template:
            raise InputError("hypothesis_template: write {} where the label is to stand")
        items = [self.prepare(source, sentence) for source in sources for sentence in sentences]
        logits = np.empty((len(items), 2))
        for i, outputs in batches.outputs(nets["model"], items, self.padding):
            logits[i] = self.decode(outputs, None)
        answers = []
        for rows in logits.reshape(len(sources), len(labels), 2):
            alone = multi_label or len(labels) == 1
            scores = classification.softmax(rows)[:, 1] if alone else classification.softmax(rows[:, 1])
            answers.append(classification.ranked(scores, labels))
        return answers

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
        answer = [Label(label, share) for label, share in classification.shares([[t] for t in truths]).items()]
        return lambda source: answer

    def draw(self, source: str, result: list[Label], truth: str = "") -> Image.Image:
        """The text with its labels as bars; where the truth is known, it is marked."""
        return drawing.scores_card(self.open(source), [(r.label, r.score) for r in result[:8]], [truth])
