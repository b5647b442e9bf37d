"""Fill-mask: the words that may stand where a text leaves one out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError, check_count
from sensorium.media import drawing, text
from sensorium.media.encoder import USUAL
from sensorium.ops import classification
from sensorium.ops.ranking import highest
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.texts import OfText


@dataclass
class Fill:
    """A word for the gap.

    Attributes:
        score: how likely it is, 0..1.
        token: its number in the vocabulary.
        token_str: the word, or the part of one.
        sequence: the whole text with it.
    """

    score: float
    token: int
    token_str: str
    sequence: str


@dataclass
class Task(OfText):
    """What the folder's files say."""

    name: ClassVar[str] = "fill-mask"
    architectures: ClassVar[tuple[str, ...]] = (
        "ForMaskedLM", "BertForPreTraining", "FlaubertWithLMHeadModel", "XLMWithLMHeadModel"
    )  # fmt: skip
    source: ClassVar[str] = "text"
    truth: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        mask = self.encoder.token("mask_token")
        number = None if mask is None else self.encoder.tokenizer.token_to_id(mask)
        if mask is None or number is None:
            raise CallError("tokenizer_config.json names no mask_token: this model fills no gaps")
        self.mask, self.mask_id = mask, int(number)

    def open(self, source: Any) -> str:
        """A text with a gap: the model's own mask, or what masks are usually called.

        Raises:
            InputError: there is no gap in it.
        """
        found = text.load(source)
        if self.mask not in found:
            for usual in USUAL["mask_token"]:
                found = found.replace(usual, self.mask)
        if self.mask not in found:
            raise InputError(f"write {self.mask} where the text leaves a word out")
        return found

    def prepare(self, source: str) -> Arrays:
        """input_ids, attention_mask, token_type_ids: each (T,) int64."""
        return self.encoder.arrays(self.encoder.encode(source))

    def decode(
        self, outputs: Arrays, source: str, *, top_k: int = 5, targets: list[str] | None = None
    ) -> list[Fill] | list[list[Fill]]:
        """The likeliest words, the best first; of a text with several gaps, a list for each.

        Options:
            top_k: how many words
            targets: choose among these words only
        """
        check_count("top_k", top_k)
        logits = outputs["logits"] if "logits" in outputs else outputs["prediction_logits"]
        tokens = self.encoder.encode(source).ids
        gaps = [i for i, token in enumerate(tokens) if token == self.mask_id]
        if not gaps:
            raise InputError(f"{self.mask} lies beyond the {len(tokens)} tokens that are read: shorten the text")
        numbers = np.arange(logits.shape[1]) if targets is None else self._targets(targets)
        padding = self.encoder.token_id("pad_token")
        found = []
        for gap in gaps:
            scores = classification.softmax(logits[gap])[numbers]
            rows = []
            for i in highest(scores, top_k):
                token = int(numbers[i])
                filled = [token if at == gap else old for at, old in enumerate(tokens)]
                shown = self.encoder.decode([t for t in filled if t != padding], special=len(gaps) > 1)
                rows.append(Fill(float(scores[i]), token, self.encoder.decode([token]), shown))
            found.append(rows)
        return found[0] if len(gaps) == 1 else found

    def _targets(self, targets: Sequence[str]) -> np.ndarray:
        """Numbers of the words to choose from; of a word that the vocabulary does not have, its first token."""
        numbers = []
        for target in targets:
            number = self.encoder.tokenizer.token_to_id(target)
            if number is None:
                number = next(iter(self.encoder.encode(target, special=False).ids), None)
            if number is not None:
                numbers.append(number)
        if not numbers:
            raise CallError("targets: none of these words is in the vocabulary")
        return np.array(sorted(set(numbers)), np.int64)

    def tally(self, prediction: Any, truth: str, nets: Nets) -> Tally:
        """Whether the word stands first, whether it stands among those answered, and how likely it is."""
        rows = prediction[0] if prediction and isinstance(prediction[0], list) else prediction
        words = [fill.token_str.strip() for fill in rows]
        place = words.index(truth.strip()) if truth.strip() in words else None
        score = 0.0 if place is None else rows[place].score
        return Tally(score, (place == 0, place is not None, score))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Share of words that stood first, and that stood among those answered (five, if not said otherwise)."""
        rows = np.array([t.stats for t in tallies], np.float64).reshape(-1, 3)
        if not len(rows):
            return dict.fromkeys(("accuracy", "accuracy_top_k", "probability"), float("nan"))
        return dict(zip(("accuracy", "accuracy_top_k", "probability"), (float(v) for v in rows.mean(axis=0))))

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Fill]]:
        """Always the most common words."""
        common = [Fill(n / len(truths), 0, word, "") for word, n in Counter(truths).most_common(5)]
        return lambda source: common

    def draw(self, source: Any, result: Any, truth: str = "") -> Image.Image:
        """The text with the words as bars below it."""
        rows = result[0] if result and isinstance(result[0], list) else result
        return drawing.scores_card(
            self.open(source), [(f.token_str, f.score) for f in rows[:8]], [truth] if truth else []
        )
