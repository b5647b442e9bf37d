"""Text classification: one label, or several, for a text, each with a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, text
from sensorium.ops import classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Nets, Tally

# Families whose position numbers begin after the padding token, so that fewer tokens fit than there are positions.
POSITIONS_KEPT = {"roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2, "longformer": 2}


@dataclass
class Task:
    """What the folder's files say.

    Attributes:
        config: config.json: `id2label`, `problem_type`, `max_position_embeddings`.
        tokenizer: the text of tokenizer.json.
        tokenizer_config: tokenizer_config.json: `model_max_length`, `pad_token`.
    """

    config: dict[str, Any]
    tokenizer: str
    tokenizer_config: dict[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "text-classification"
    source: ClassVar[str] = "text"
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {"top_k": None}
    architectures: ClassVar[tuple[str, ...]] = ("ForSequenceClassification",)
    truth = "label"  # "labels" for a model of several
    truths: ClassVar[tuple[str, ...]] = ("label", "labels")
    metric = "macro_f1"  # "mean_average_precision" for a model of several

    def __post_init__(self) -> None:
        self.labels, self.multi = classification.labels_of(self.config)
        self.number = {label: i for i, label in enumerate(self.labels)}
        if self.multi:
            self.truth, self.metric = "labels", "mean_average_precision"

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        for name, kind in (("config.json", dict), ("tokenizer.json", str)):
            if not isinstance(files.get(name), kind):
                raise InputError(f"{name} is missing: text-classification needs it")
        return cls(files["config.json"], files["tokenizer.json"], files.get("tokenizer_config.json", {}))

    def files(self) -> dict[str, Any]:
        return {
            "config.json": self.config,
            "tokenizer.json": self.tokenizer,
            "tokenizer_config.json": self.tokenizer_config,
        }

    @property
    def max_length(self) -> int | None:
        """Most tokens that the network takes, special tokens included; None for any number."""
        limits = [self.tokenizer_config.get("model_max_length")]
        if positions := self.config.get("max_position_embeddings"):
            limits.append(positions - POSITIONS_KEPT.get(self.config.get("model_type", ""), 0))
        return min((int(n) for n in limits if n and 0 < n < 1 << 20), default=None)

    @cached_property
    def _encoder(self) -> Any:
        return text.tokenizer(self.tokenizer, max_length=self.max_length)

    @cached_property
    def padding(self) -> dict[str, float]:
        """Values that fill up the shorter texts of a batch."""
        pad = self.tokenizer_config.get("pad_token")
        pad = pad.get("content") if isinstance(pad, dict) else pad
        number = self._encoder.token_to_id(pad) if pad else self.config.get("pad_token_id")
        return {"input_ids": number or 0, "attention_mask": 0, "token_type_ids": 0}

    def open(self, source: Any) -> str:
        return text.load(source)

    def prepare(self, source: str) -> Arrays:
        """input_ids, attention_mask, and for families that know them token_type_ids: each (T,) int64."""
        tokens = text.encode(self._encoder, source)
        ids = tokens.ids or [int(self.padding["input_ids"])]
        arrays = {"input_ids": np.array(ids, np.int64), "attention_mask": np.ones(len(ids), np.int64)}
        if self.config.get("type_vocab_size", 0) > 1:
            arrays["token_type_ids"] = np.array(tokens.type_ids or [0], np.int64)
        return arrays

    def decode(self, outputs: Arrays, source: str, *, top_k: int | None = 1) -> list[Label]:
        """The labels, the best first.

        Options:
            top_k: how many labels to answer; none for all of them
        """
        logits = outputs["logits"]
        if logits.shape != (len(self.labels),):
            raise InputError(f"the network answers {logits.shape[-1]} labels, config.json names {len(self.labels)}")
        free = self.multi or len(self.labels) == 1
        scores = classification.sigmoid(logits) if free else classification.softmax(logits)
        return classification.ranked(scores, self.labels, top_k)

    def tally(self, prediction: list[Label], truth: str | list[str], nets: Nets) -> Tally:
        """How sure the model was of what is true; and the label numbers, or scores, for the metrics."""
        scores = {p.label: p.score for p in prediction}
        wanted = [truth] if isinstance(truth, str) else truth
        numbers = [self.number.get(label, classification.unknown(label)) for label in wanted]
        if not self.multi:
            return Tally(scores.get(wanted[0], 0.0), (numbers[0], self.number[prediction[0].label]))
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

    def draw(self, source: str, result: list[Label], truth: str | list[str] = ()) -> Image.Image:  # type: ignore[assignment]
        """The text with its labels as bars; where the truth is known, it is marked, and shown even if far down."""
        right = [truth] if isinstance(truth, str) else list(truth)
        shown = result[:5] + [r for r in result[5:] if r.label in right][:3]
        return drawing.scores_card(self.open(source), [(r.label, r.score) for r in shown], right)

    def charts(self, predictions: Sequence[list[Label]], truths: Sequence[Any]) -> dict[str, Image.Image]:
        """The confusion matrix, for one label each."""
        if self.multi:
            return {}
        matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for prediction, truth in zip(predictions, truths):
            if prediction and truth in self.number:
                matrix[self.number[truth], self.number[prediction[0].label]] += 1
        return {"confusion": drawing.confusion(matrix, self.labels)}
