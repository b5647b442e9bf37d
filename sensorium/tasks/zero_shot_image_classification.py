"""Zero-shot image classification: which of the labels that are given with the question fits a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.media import drawing, image, prompts
from sensorium.ops import classification
from sensorium.ops.classification import Label, shown
from sensorium.tasks import Arrays, Nets
from sensorium.tasks.shared.zero_shot import Prompted, ZeroShot

# Families that ask of each label by itself whether it fits, with texts filled up to this many tokens. The others let
# the labels compete, with texts as long as the longest.
ALONE = {"siglip": 64, "siglip2": 64}


@dataclass
class Task(ZeroShot, Prompted):
    """What the folder's files say: a network that tells how well texts fit pictures."""

    name: ClassVar[str] = "zero-shot-image-classification"
    source: ClassVar[str] = "image"
    lengths: ClassVar[dict[str, int]] = ALONE
    architectures: ClassVar[tuple[str, ...]] = (
        "CLIPModel",
        "AlignModel",
        "CLIPSegModel",
        "GroupViTModel",
        "MetaClip2Model",
        "SiglipModel",
        "Siglip2Model",
    )

    @classmethod
    def suits(cls, config: Mapping[str, Any]) -> bool:
        """X-CLIP has the name but looks at videos."""
        return config.get("model_type") != "xclip"

    def open(self, source: Any) -> Image.Image:
        return image.load(source)

    def prepare(self, source: Any) -> Arrays:
        """pixel_values: float32 (3, H, W); with SigLIP 2 patches, their mask and the shape of their grid."""
        return image.arrays(self.preprocessor, self.open(source))

    def decode(self, outputs: Arrays, source: Any, labels: Sequence[str] = ()) -> list[Label]:
        """The labels, the best first.

        Args:
            outputs: `logits_per_image` (L,).
        """
        logits = np.asarray(outputs["logits_per_image"], np.float64)
        scores = classification.sigmoid(logits) if self.family in ALONE else classification.softmax(logits)
        return classification.ranked(scores, labels)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        candidate_labels: list[str],
        hypothesis_template: str = "This is a photo of {}.",
    ) -> list[list[Label]]:
        """The labels of each picture, the best first.

        Options:
            candidate_labels: the labels to choose from
            hypothesis_template: the sentence that a label is put into, at {}

        Raises:
            InputError: there are no labels, or no place for one in the sentence.
        """
        labels = prompts.labels(candidate_labels)
        phrases = prompts.filled(hypothesis_template, labels)
        items = [self.prepare(source) for source in sources]
        found = self.matches(nets["model"], items, phrases, "logits_per_image")
        return [self.decode({"logits_per_image": row}, None, labels) for row in found]

    def draw(self, source: Any, result: list[Label], truth: str | Sequence[str] = ()) -> Image.Image:
        """The picture with its labels as bars; where the truth is known, it is marked."""
        return drawing.bars(self.open(source), *shown(result, truth))
