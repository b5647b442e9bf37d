"""What tasks have in common that answer questions about pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from PIL import Image

from sensorium.media import drawing
from sensorium.media.writer import Writer
from sensorium.tasks import Nets, Tally


@dataclass
class Answer:
    """One answer.

    Attributes:
        score: how sure the model is, 0..1; None of one that writes its answer.
    """

    answer: str
    score: float | None = None


class Question(Protocol):
    """What is asked."""

    @property
    def question(self) -> str: ...


class AsksPicture:
    """Answers with a list of answers, the best first; the data have one right answer, or several."""

    writer: Writer

    source: ClassVar[str] = "image"
    truth: ClassVar[str] = "answers"
    metric: ClassVar[str]
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {}

    likeness: Callable[[str, Sequence[str]], float]  # how good an answer is, 0..1, beside the right ones

    @property
    def padding(self) -> dict[str, float]:
        """Values that fill up the shorter examples of a batch."""
        pad = self.writer.settings.get("pad_token_id")
        return {"input_ids": pad if isinstance(pad, int) else 0, "attention_mask": 0, "token_type_ids": 0, "bbox": 0}

    def tally(self, prediction: Sequence[Answer], truth: str | Sequence[str], nets: Nets) -> Tally:
        """How good the first answer is."""
        value = self.likeness(prediction[0].answer if prediction else "", _several(truth))
        return Tally(value, value)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """The mean over the questions."""
        return {self.metric: float(np.mean([t.stats for t in tallies]))}

    def baseline(self, sources: Sequence[Any], truths: Sequence[str | Sequence[str]]) -> Callable[[Any], list[Answer]]:
        """Always the commonest answer."""
        known = Counter(answer for truth in truths for answer in _several(truth))
        answer = [Answer(known.most_common(1)[0][0])] if known else []
        return lambda source: answer

    @staticmethod
    def drawn(
        picture: Image.Image, asked: Question, result: Sequence[Answer], truth: str | Sequence[str] | None
    ) -> Image.Image:
        """The picture with the question and its answers below."""
        picture, _ = drawing.enlarge(picture)
        said = ", ".join(a.answer if a.score is None else f"{a.answer} ({a.score:.2f})" for a in result[:5])
        picture = drawing.caption(drawing.caption(picture, asked.question, 4), said or "(nothing)", 4)
        if truth is None:
            return picture
        return drawing.caption(picture, "right: " + ", ".join(dict.fromkeys(_several(truth))), 4)


def _several(truth: str | Sequence[str]) -> list[str]:
    return [truth] if isinstance(truth, str) else list(truth)
