"""Video classification: what happens in a video, labels with scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image, video
from sensorium.media.video import Frames
from sensorium.ops import classification
from sensorium.ops.classification import Label
from sensorium.tasks import Arrays, Nets, Tally

SHOWN = 8  # frames that are drawn


@dataclass
class Task:
    """What the folder's files say.

    Attributes:
        config: config.json: `id2label`, `problem_type`, `num_frames`.
        preprocessor: preprocessor_config.json: how a frame becomes numbers.
    """

    config: dict[str, Any]
    preprocessor: dict[str, Any]

    name: ClassVar[str] = "video-classification"
    source: ClassVar[str] = "frames"
    truth: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {"top_k": None}
    architectures: ClassVar[tuple[str, ...]] = ("ForVideoClassification",)

    def __post_init__(self) -> None:
        self.labels, self.multi = classification.labels_of(self.config)
        self.number = {label: i for i, label in enumerate(self.labels)}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(dict(files["config.json"]), image.settings(files))

    def files(self) -> dict[str, Any]:
        return {"config.json": self.config, "preprocessor_config.json": self.preprocessor}

    @property
    def frames(self) -> int:
        """How many frames the network looks at."""
        found = self.config.get("num_frames") or self.config.get("frames_per_clip")
        if not isinstance(found, int) or not 1 <= found <= 4096:
            raise InputError(f"config.json: 'num_frames' says how many frames the network sees, not {found!r}")
        return found

    def open(self, source: Any) -> Frames:
        if isinstance(source, list) and len(source) == 1 and isinstance(source[0], str):  # a video in one file
            source = source[0]
        return video.frames(source)

    def prepare(self, source: Any, *, num_frames: int | None = None, frame_sampling_rate: int = 1) -> Arrays:
        """pixel_values: (T, 3, H, W) float32, of frames at even distances."""
        wanted = num_frames or self.frames
        if frame_sampling_rate < 1:
            raise InputError(f"frame_sampling_rate is at least 1, not {frame_sampling_rate}")
        last = wanted * frame_sampling_rate - 1
        frames = list(islice(iter(self.open(source)), last + 1))
        if not frames:
            raise InputError("a video without any frame")
        places = np.linspace(0, min(last, len(frames) - 1), num=wanted).astype(np.int64)
        ready = {i: image.preprocess(self.preprocessor, frames[i]) for i in np.unique(places)}
        if len({array.shape for array in ready.values()}) > 1:
            raise InputError("the frames of a video differ in size")
        return {"pixel_values": np.stack([ready[i] for i in places])}

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        num_frames: int | None = None,
        frame_sampling_rate: int = 1,
        top_k: int | None = 5,
    ) -> list[list[Label]]:
        """The labels of each video, the best first.

        Options:
            num_frames: how many frames the network is shown; none for as many as config.json says
            frame_sampling_rate: how far they are apart, in frames, from the beginning; a shorter video is spread evenly
            top_k: how many labels to answer; none for all of them
        """
        answers = []
        for source in sources:
            prepared = self.prepare(source, num_frames=num_frames, frame_sampling_rate=frame_sampling_rate)
            outputs = nets["model"]({name: array[None] for name, array in prepared.items()})
            answers.append(self.decode({name: array[0] for name, array in outputs.items()}, source, top_k=top_k))
        return answers

    def decode(self, outputs: Arrays, source: Any, *, top_k: int | None = 5) -> list[Label]:
        """The labels, the best first.

        Args:
            outputs: `logits` (C,).
        """
        logits = outputs["logits"]
        if logits.shape != (len(self.labels),):
            raise InputError(f"the network answers {logits.shape[-1]} labels, config.json names {len(self.labels)}")
        scores = classification.sigmoid(logits) if self.multi else classification.softmax(logits)
        return classification.ranked(scores, self.labels, top_k)

    def tally(self, prediction: list[Label], truth: str, nets: Nets) -> Tally:
        """How sure the model was of what is true; and the label numbers for the metrics."""
        scores = {p.label: p.score for p in prediction}
        wanted = self.number.get(truth, classification.unknown(truth))
        answer = self.number[prediction[0].label] if prediction else classification.unknown("")
        return Tally(scores.get(truth, 0.0), (wanted, answer))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Accuracy and macro-F1."""
        return classification.single_scores([t.stats for t in tallies])

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Label]]:
        """Always the most common label, each with its share as score."""
        shares = classification.shares([[t] for t in truths])
        answer = [Label(label, share) for label, share in shares.items() if label in self.number]
        return lambda source: answer

    def draw(self, source: Any, result: list[Label], truth: str = "") -> Image.Image:
        """Some of the frames with the labels as bars."""
        frames = list(islice(iter(self.open(source)), self.frames))
        some = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, num=SHOWN).astype(np.int64))]
        shown = result[:5]
        return drawing.bars(drawing.grid(some), [r.label for r in shown], [r.score for r in shown], [truth])
