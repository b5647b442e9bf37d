"""Visual question answering: a short answer to a question about a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image, processors, text
from sensorium.media.writer import Writer
from sensorium.ops import batches, classification, vqa
from sensorium.tasks import Arrays, Nets, Tally


@dataclass
class Answer:
    """One answer.

    Attributes:
        score: how sure the model is, 0..1; None of one that writes its answer.
    """

    answer: str
    score: float | None = None


@dataclass
class Asked:
    """A question about a picture."""

    image: Image.Image
    question: str


@dataclass
class Task:
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
    source: ClassVar[str] = "image"
    truth: ClassVar[str] = "answers"
    metric: ClassVar[str] = "vqa_accuracy"
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {"top_k": 1}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(Writer.load(files, cls.name), processors.settings(files))

    def files(self) -> dict[str, Any]:
        return {**self.writer.files(), "preprocessor_config.json": self.preprocessor}

    @property
    def padding(self) -> dict[str, float]:
        pad = self.writer.settings.get("pad_token_id")
        return {"input_ids": pad if isinstance(pad, int) else 0, "attention_mask": 0, "token_type_ids": 0}

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
            "pixel_values": processors.preprocess(self.preprocessor, source.image),
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

    def tally(self, prediction: list[Answer], truth: str | Sequence[str], nets: Nets) -> Tally:
        """The accuracy of the first answer among those that people gave."""
        known = [truth] if isinstance(truth, str) else list(truth)
        value = vqa.vqa_accuracy(prediction[0].answer if prediction else "", known)
        return Tally(value, value)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """VQA accuracy."""
        return {"vqa_accuracy": float(np.mean([t.stats for t in tallies]))}

    def baseline(self, sources: Sequence[Any], truths: Sequence[str | Sequence[str]]) -> Callable[[Any], list[Answer]]:
        """Always the commonest answer."""
        known = Counter(answer for truth in truths for answer in ([truth] if isinstance(truth, str) else truth))
        answer = [Answer(known.most_common(1)[0][0])] if known else []
        return lambda source: answer

    def draw(self, source: Any, result: list[Answer], truth: str | Sequence[str] | None = None) -> Image.Image:
        """The picture with the question and its answers below."""
        asked = self.open(source)
        picture, _ = drawing.enlarge(asked.image)
        said = ", ".join(a.answer if a.score is None else f"{a.answer} ({a.score:.2f})" for a in result[:5])
        picture = drawing.caption(drawing.caption(picture, asked.question, 4), said or "(nothing)", 4)
        if truth is None:
            return picture
        known = [truth] if isinstance(truth, str) else list(truth)
        return drawing.caption(picture, "right: " + ", ".join(dict.fromkeys(known)), 4)
