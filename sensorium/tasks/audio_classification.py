"""Audio classification: one label, or several, for a sound, each with a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from PIL import Image

from sensorium.media import audio, charts, drawing
from sensorium.media.audio import Audio
from sensorium.ops.classification import Label, shown
from sensorium.tasks import Arrays
from sensorium.tasks.shared.classifier import Classifier
from sensorium.tasks.shared.folders import Preprocessed

MAX_SECONDS = 1800
"""Longest sound that is taken in one piece."""


@dataclass
class Task(Classifier, Preprocessed):
    """What the folder's files say."""

    name: ClassVar[str] = "audio-classification"
    architectures: ClassVar[tuple[str, ...]] = (
        "ForAudioClassification",
        *(f"{family}ForSequenceClassification" for family in audio.FAMILIES),
    )
    source: ClassVar[str] = "audio"
    metric = "macro_f1"  # "mean_average_precision" for a model of several

    @staticmethod
    def settings(files: Mapping[str, Any]) -> dict[str, Any]:
        return audio.extractor(files)

    @cached_property
    def padding(self) -> dict[str, float]:
        """Values that fill up the shorter sounds of a batch; none where filling would change the answer."""
        return audio.padding(self.config, self.preprocessor)

    @property
    def rate(self) -> int:
        """Samples per second that the network takes."""
        return audio.sampling_rate(self.preprocessor)

    def open(self, source: Any) -> Audio:
        return audio.load(source, self.rate, MAX_SECONDS)

    def prepare(self, source: Audio) -> Arrays:
        """`input_values` or `input_features` float32, and `attention_mask` int64 where lengths vary."""
        return audio.features(self.preprocessor, source)

    def draw(self, source: Any, result: list[Label], truth: str | Sequence[str] = ()) -> Image.Image:
        """The loudness over time, with the labels as bars beside it; where the truth is known, it is marked."""
        found = self.open(source)
        return drawing.bars(charts.sound(found.samples, found.seconds, (480, 240)), *shown(result, truth))
