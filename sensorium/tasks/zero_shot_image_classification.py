"""Zero-shot image classification: which of the labels that are given with the question fits a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image, prompts
from sensorium.media.prompts import Prompts
from sensorium.ops import batches, classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Nets, Tally

# Families that ask of each label by itself whether it fits, with texts filled up to this many tokens. The others let
# the labels compete, with texts as long as the longest.
ALONE = {"siglip": 64, "siglip2": 64}


@dataclass
class Task:
    """What the folder's files say: a network that tells how well texts fit pictures.

    Attributes:
        words: the text side.
        preprocessor: how a picture becomes an array.
    """

    words: Prompts
    preprocessor: dict[str, Any]

    name: ClassVar[str] = "zero-shot-image-classification"
    source: ClassVar[str] = "image"
    truth: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {}
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

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(Prompts.load(files, cls.name, ALONE), image.settings(files))

    def files(self) -> dict[str, Any]:
        return {"config.json": self.words.config, "preprocessor_config.json": self.preprocessor, **self.words.files()}

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
        alone = self.words.config.get("model_type") in ALONE
        scores = classification.sigmoid(logits) if alone else classification.softmax(logits)
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
        if "{}" not in hypothesis_template:
            raise InputError("hypothesis_template: write {} where the label is to stand")
        sentences = [hypothesis_template.replace("{}", label) for label in labels]
        net = nets["model"]
        texts = self.words.rows(sentences)
        texts = {name: rows for name, rows in texts.items() if name in net.inputs}
        items = [self.prepare(source) for source in sources]
        answers: list[list[Label]] = [[]] * len(items)
        for group in batches.alike(items, {}):  # the texts are read once for all of them
            pictures = batches.collate([items[i] for i in group], {})
            found = net({**texts, **{name: rows for name, rows in pictures.items() if name in net.inputs}})
            for row, i in enumerate(group):
                answers[i] = self.decode({"logits_per_image": found["logits_per_image"][row]}, None, labels)
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
        """The picture with its labels as bars; where the truth is known, it is marked."""
        return drawing.bars(self.open(source), [r.label for r in result[:8]], [r.score for r in result[:8]], [truth])
