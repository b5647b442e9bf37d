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
from sensorium.media.encoder import Encoder
from sensorium.ops import classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Nets, Tally

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": classification.softmax,
    "sigmoid": classification.sigmoid,
    "none": np.asarray,
}


@dataclass
class Task:
    """What the folder's files say.

    Attributes:
        config: config.json: `id2label`, `problem_type`, `max_position_embeddings`.
        tokenizer: the text of tokenizer.json.
        tokenizer_config: tokenizer_config.json: `model_max_length`, `pad_token`.
        special: special_tokens_map.json.
    """

    config: dict[str, Any]
    tokenizer: str
    tokenizer_config: dict[str, Any] = field(default_factory=dict)
    special: dict[str, Any] = field(default_factory=dict)

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
        found = Encoder.load(files, cls.name)
        return cls(found.config, found.tokenizer_json, found.tokenizer_config, found.special)

    def files(self) -> dict[str, Any]:
        return self.encoder.files()

    @property
    def function(self) -> str:
        """How scores are made of outputs: numbers of a regression stay as they are."""
        if self.config.get("problem_type") == "regression":
            return "none"
        return "sigmoid" if self.multi or len(self.labels) == 1 else "softmax"

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self.config, self.tokenizer, self.tokenizer_config, self.special)

    @property
    def max_length(self) -> int | None:
        """Most tokens that the network takes, special tokens included; None for any number."""
        return self.encoder.max_length

    @property
    def padding(self) -> dict[str, float]:
        """Values that fill up the shorter texts of a batch."""
        return self.encoder.padding

    def open(self, source: Any) -> str | tuple[str, str]:
        """A text, or a pair of texts of `{"text": ..., "text_pair": ...}`."""
        if isinstance(source, (Mapping, tuple)):
            first, pair = source if isinstance(source, tuple) else (source.get("text"), source.get("text_pair"))
            return text.load(first) if pair is None else (text.load(first), text.load(pair))
        return text.load(source)

    def prepare(self, source: str | tuple[str, str]) -> Arrays:
        """input_ids, attention_mask, and for families that may know them token_type_ids: each (T,) int64."""
        first, pair = source if isinstance(source, tuple) else (source, None)
        return self.encoder.arrays(self.encoder.encode(first, pair))

    def decode(
        self, outputs: Arrays, source: Any, *, top_k: int | None = 1, function_to_apply: str | None = None
    ) -> list[Label]:
        """The labels, the best first.

        Options:
            top_k: how many labels to answer; none for all of them
            function_to_apply: from outputs to scores: softmax, sigmoid or none; by default as the model says
        """
        logits = outputs["logits"]
        if logits.shape != (len(self.labels),):
            raise InputError(f"the network answers {logits.shape[-1]} labels, config.json names {len(self.labels)}")
        function = FUNCTIONS.get(function_to_apply or self.function)
        if function is None:
            raise InputError(f"function_to_apply '{function_to_apply}': use one of {', '.join(FUNCTIONS)}")
        scores = function(logits)
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

    def draw(self, source: Any, result: list[Label], truth: str | list[str] = ()) -> Image.Image:  # type: ignore[assignment]
        """The text with its labels as bars; where the truth is known, it is marked, and shown even if far down."""
        right = [truth] if isinstance(truth, str) else list(truth)
        shown = result[:5] + [r for r in result[5:] if r.label in right][:3]
        opened = self.open(source)
        body = opened if isinstance(opened, str) else "\n".join(opened)
        return drawing.scores_card(body, [(r.label, r.score) for r in shown], right)

    def charts(self, predictions: Sequence[list[Label]], truths: Sequence[Any]) -> dict[str, Image.Image]:
        """The confusion matrix, for one label each."""
        if self.multi:
            return {}
        matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for prediction, truth in zip(predictions, truths):
            if prediction and truth in self.number:
                matrix[self.number[truth], self.number[prediction[0].label]] += 1
        return {"confusion": drawing.confusion(matrix, self.labels)}
