"""Image classification: one label, or several, for a picture, each with a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image

from sensorium.media import drawing
from sensorium.ops.classification import Label, shown
from sensorium.tasks.shared.classifier import Classifier
from sensorium.tasks.shared.folders import OfPicture


@dataclass
class Task(Classifier, OfPicture):
    """What the folder's files say."""

    name: ClassVar[str] = "image-classification"
    architectures: ClassVar[tuple[str, ...]] = ("ForImageClassification", "ForImageClassificationWithTeacher")

    def draw(self, source: Any, result: list[Label], truth: str | Sequence[str] = ()) -> Image.Image:
        """The picture with its labels as bars; where the truth is known, it is marked."""
        return drawing.bars(self.open(source), *shown(result, truth))
