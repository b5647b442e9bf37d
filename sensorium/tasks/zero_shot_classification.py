"""Zero-shot classification: which of the labels that are given with the question fits a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.media import drawing, prompts, text
from sensorium.ops import batches, classification
from sensorium.ops.classification import Label, shown
from sensorium.tasks import Arrays, Nets
from sensorium.tasks.shared.texts import OfText
from sensorium.tasks.shared.zero_shot import ZeroShot


@dataclass
class Task(ZeroShot, OfText):
    """What the folder's files say: a model that tells whether one sentence follows from another."""

    name: ClassVar[str] = "zero-shot-classification"
    architectures: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        labels, _ = classification.labels_of(self.encoder.config)
        given = self.encoder.config.get("label2id")
        numbers = given if isinstance(given, Mapping) else {label: i for i, label in enumerate(labels)}
        entails = next((int(n) for label, n in numbers.items() if str(label).lower().startswith("entail")), -1)
        self.entailment = entails % len(labels)
        self.contradiction = len(labels) - 1 if entails == 0 else 0

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
        """The labels of each text, the best first.

        Options:
            candidate_labels: the labels to choose from
            hypothesis_template: the sentence that a label is put into, at {}
            multi_label: several may be true: each label has a score of its own

        Raises:
            InputError: there are no labels, or no place for one in the sentence.
        """
        labels = prompts.labels(candidate_labels)
        sentences = prompts.filled(hypothesis_template, labels)
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

    def draw(self, source: Any, result: list[Label], truth: str | Sequence[str] = ()) -> Image.Image:
        """The text with its labels as bars; where the truth is known, it is marked."""
        return drawing.scores_card(self.open(source), *shown(result, truth))
