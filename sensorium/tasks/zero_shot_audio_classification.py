"""Zero-shot audio classification: which of the labels that are given with the question fits a sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image

from sensorium.media import audio, charts, drawing, prompts
from sensorium.media.audio import Audio
from sensorium.ops import classification
from sensorium.ops.classification import Label, shown
from sensorium.tasks import Arrays, Nets
from sensorium.tasks.shared.zero_shot import Prompted, ZeroShot


@dataclass
class Task(ZeroShot, Prompted):
    """What the folder's files say: a network that tells how well texts fit sounds."""

    name: ClassVar[str] = "zero-shot-audio-classification"
    source: ClassVar[str] = "audio"
    architectures: ClassVar[tuple[str, ...]] = ("ClapModel",)

    @staticmethod
    def settings(files: Mapping[str, Any]) -> dict[str, Any]:
        return audio.extractor(files)

    @property
    def rate(self) -> int:
        """Samples per second that the network takes."""
        return audio.sampling_rate(self.preprocessor)

    def open(self, source: Any) -> Audio:
        return audio.load(source, self.rate)

    def prepare(self, source: Any) -> Arrays:
        """`input_features` (1 or 4, frames, bands) float32 and `is_longer` (1,) bool."""
        return audio.features(self.preprocessor, self.open(source))

    def decode(self, outputs: Arrays, source: Any, labels: Sequence[str] = ()) -> list[Label]:
        """The labels, the best first.

        Args:
            outputs: `logits_per_audio` (L,).
        """
        return classification.ranked(classification.softmax(outputs["logits_per_audio"]), labels)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        candidate_labels: list[str],
        hypothesis_template: str = "This is a sound of {}.",
    ) -> list[list[Label]]:
        """The labels of each sound, the best first.

        Options:
            candidate_labels: the labels to choose from
            hypothesis_template: the sentence that a label is put into, at {}

        Raises:
            InputError: there are no labels, or no place for one in the sentence.
        """
        labels = prompts.labels(candidate_labels)
        phrases = prompts.filled(hypothesis_template, labels)
        items = [self.prepare(source) for source in sources]
        found = self.matches(nets["model"], items, phrases, "logits_per_audio")
        return [self.decode({"logits_per_audio": row}, None, labels) for row in found]

    def draw(self, source: Any, result: list[Label], truth: str | Sequence[str] = ()) -> Image.Image:
        """The loudness over time, with the labels as bars beside it; where the truth is known, it is marked."""
        found = self.open(source)
        return drawing.bars(charts.sound(found.samples, found.seconds, (480, 240)), *shown(result, truth))
