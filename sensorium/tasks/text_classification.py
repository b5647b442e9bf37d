"""Text classification: one label, or several, for a text, each with a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sensorium.media import text
from sensorium.ops.classification import Label, shown
from sensorium.tasks import Arrays
from sensorium.tasks.shared.classifier import Classifier
from sensorium.tasks.shared.texts import OfText

if TYPE_CHECKING:
    from PIL import Image


@dataclass
class Task(Classifier, OfText):
    """What the folder's files say."""

    name: ClassVar[str] = "text-classification"
    source: ClassVar[str] = "text"
    architectures: ClassVar[tuple[str, ...]] = ("ForSequenceClassification",)
    metric = "macro_f1"  # "mean_average_precision" for a model of several

    def __post_init__(self) -> None:
        self.config = self.encoder.config
        super().__post_init__()

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
        self,
        outputs: Arrays,
        source: Any,
        *,
        top_k: int | None = 1,
        threshold: float | None = None,
        function_to_apply: str | None = None,
    ) -> list[Label]:
        return super().decode(outputs, source, top_k=top_k, threshold=threshold, function_to_apply=function_to_apply)

    def draw(self, source: Any, result: list[Label], truth: str | Sequence[str] = ()) -> Image.Image:
        """The text with its labels as bars; where the truth is known, it is marked."""
        from sensorium.media import drawing

        opened = self.open(source)
        body = opened if isinstance(opened, str) else "\n".join(opened)
        return drawing.scores_card(body, *shown(result, truth))
