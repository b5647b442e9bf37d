"""Zero-shot audio classification: which of the labels that are given with the question fits a sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image

from sensorium.errors import InputError
from sensorium.media import audio, drawing, prompts
from sensorium.media.audio import Audio
from sensorium.media.prompts import Prompts
from sensorium.ops import batches, classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Nets, Tally


@dataclass
class Task:
    """What the folder's files say: a network that tells how well texts fit sounds.

    Attributes:
        words: the text side.
        preprocessor: how a sound becomes an array.
    """

    words: Prompts
    preprocessor: dict[str, Any]

    name: ClassVar[str] = "zero-shot-audio-classification"
    source: ClassVar[str] = "audio"
    truth: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {}
    architectures: ClassVar[tuple[str, ...]] = ("ClapModel",)

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(Prompts.load(files, cls.name), audio.extractor(files))

    def files(self) -> dict[str, Any]:
        return {"config.json": self.words.config, "preprocessor_config.json": self.preprocessor, **self.words.files()}

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
        if "{}" not in hypothesis_template:
            raise InputError("hypothesis_template: write {} where the label is to stand")
        sentences = [hypothesis_template.replace("{}", label) for label in labels]
        net = nets["model"]
        texts = self.words.rows(sentences)
        texts = {name: rows for name, rows in texts.items() if name in net.inputs}
        items = [self.prepare(source) for source in sources]
        answers: list[list[Label]] = [[]] * len(items)
        for group in batches.alike(items, {}):  # the texts are read once for all of them
            sounds = batches.collate([items[i] for i in group], {})
            found = net({**texts, **{name: rows for name, rows in sounds.items() if name in net.inputs}})
            for row, i in enumerate(group):
                answers[i] = self.decode({"logits_per_audio": found["logits_per_audio"][row]}, None, labels)
        return answers

    def evaluation_on(self, truths: Sequence[str]) -> dict[str, Any]:
        """The labels of the data are those to choose from."""
        return {"candidate_labels": sorted(set(truths))}

    def tally(self, prediction: list[Label], truth: str, nets: Nets) -> Tally:
        """How sure the model was of what is true; and both labels as numbers, for the metrics."""
        scores = {p.label: p.score for p in prediction}
        numbers = [classification.unknown(name) for name in (truth, prediction[0].label)]
        return Tally(scores.get(truth, 0.0), (numbers[0], numbers[1]))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Accuracy and macro-F1."""
        return classification.single_scores([t.stats for t in tallies])

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Label]]:
        """Always the most common label, each with its share as score."""
        answer = [Label(label, share) for label, share in classification.shares([[t] for t in truths]).items()]
        return lambda source: answer

    def draw(self, source: Any, result: list[Label], truth: str = "") -> Image.Image:
        """The loudness over time, with the labels as bars beside it; where the truth is known, it is marked."""
        found = self.open(source)
        picture = drawing.sound(found.samples, found.seconds, (480, 240))
        return drawing.bars(picture, [r.label for r in result[:8]], [r.score for r in result[:8]], [truth])
