"""Visual question answering: a short answer to a question about a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import image, processors, text, viewer
from sensorium.media.writer import Writer
from sensorium.ops import batches, classification, vqa
from sensorium.tasks import Arrays, Nets
from sensorium.tasks.shared.asks_picture import Answer, AsksPicture


@dataclass
class Asked:
    """A question about a picture."""

    image: Image.Image
    question: str


@dataclass
class Task(AsksPicture):
    """What the folder's files say.

    Attributes:
        writer: the words; its config names the answers to choose from, where it chooses.
        preprocessor: preprocessor_config.json: how a picture becomes `pixel_values`.
    """

    writer: Writer
    preprocessor: dict[str, Any]

    name: ClassVar[str] = "visual-question-answering"
    architectures: ClassVar[tuple[str, ...]] = ("ViltForQuestionAnswering", "BlipForQuestionAnswering")
    parts: ClassVar[tuple[str, ...]] = ("image", "question")
    metric: ClassVar[str] = "vqa_accuracy"
    evaluation: ClassVar[dict[str, Any]] = {"top_k": 1}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(Writer.load(files, cls.name), processors.settings(files))

    def files(self) -> dict[str, Any]:
        return {**self.writer.files(), "preprocessor_config.json": self.preprocessor}

    def open(self, source: Any) -> Asked:
        """A picture and a question, of `{"image": ..., "question": ...}`.

        Raises:
            InputError: one of them is missing.
        """
        if isinstance(source, Asked):
            return source
        if not isinstance(source, Mapping) or any(source.get(part) is None for part in self.parts):
            raise InputError("a picture and a question about it are needed: give both, image and question")
        return Asked(image.load(source["image"]), text.load(source["question"]))

    def prepare(self, source: Asked) -> Arrays:
        """pixel_values (3, H, W) float32; input_ids, attention_mask, token_type_ids (T,) int64."""
        ids = self.writer.encode(source.question)
        arrays: Arrays = {
            **processors.arrays(self.preprocessor, source.image),
            "input_ids": np.array(ids, np.int64),
            "attention_mask": np.ones(len(ids), np.int64),
        }
        if self.writer.config.get("type_vocab_size", 0) > 1:
            arrays["token_type_ids"] = np.zeros(len(ids), np.int64)
        return arrays

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Asked],
        *,
        top_k: int | None = 5,
        max_new_tokens: int | None = None,
        num_beams: int | None = None,
    ) -> list[list[Answer]]:
        """The answers to each question, the best first; a model that writes its answer gives one.

        Options:
            top_k: how many answers of a model that chooses; none for all of them
            max_new_tokens: longest answer of a model that writes, in tokens
            num_beams: answers of such a model that are followed side by side; 1 is quickest
        """
        items = [self.prepare(source) for source in sources]
        if viewer.sees(nets):
            options = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
            asked = zip(items, sources)
            told = [viewer.write(nets, self.writer, item, one.question, options) for item, one in asked]
            return [[Answer(self.writer.decode(tokens).strip())] for tokens in told]
        if "model" not in nets:
            # BLIP's decoder looks at every place of the question, so questions are not filled up.
            given = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
            written = self.writer.write(nets, items, [self.writer.start] * len(items), given, {})
            return [[Answer(self.writer.decode(tokens).strip())] for tokens in written]
        labels, _ = classification.labels_of(self.writer.config)
        found: list[list[Answer]] = [[] for _ in items]
        for i, outputs in batches.outputs(nets["model"], items, self.padding):
            scores = classification.sigmoid(outputs["logits"])
            if scores.shape != (len(labels),):
                raise InputError(f"the network answers {scores.shape[-1]} labels, config.json names {len(labels)}")
            found[i] = [Answer(x.label, x.score) for x in classification.ranked(scores, labels, top_k)]
        return found

    def decode(self, outputs: Arrays, source: Asked) -> np.ndarray:
        """Logits of the answers to choose from."""
        return outputs["logits"]

    @staticmethod
    def likeness(answer: str, known: Sequence[str]) -> float:
        """VQA accuracy: by how many people gave this answer."""
        return vqa.vqa_accuracy(answer, known)

    def draw(self, source: Any, result: list[Answer], truth: str | Sequence[str] | None = None) -> Image.Image:
        """The picture with the question and its answers below."""
        asked = self.open(source)
        return self.drawn(asked.image, asked, result, truth)
