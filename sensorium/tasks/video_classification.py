"""Video classification: what happens in a video, labels with scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError, check_count
from sensorium.media import drawing, image, video
from sensorium.media.video import Frames
from sensorium.ops.classification import Label, shown
from sensorium.tasks import Arrays, Nets
from sensorium.tasks.shared.classifier import Classifier
from sensorium.tasks.shared.folders import Preprocessed

MOST = 4096  # frames of one video that a network is shown
SHOWN = 8  # frames that are drawn


@dataclass
class Task(Classifier, Preprocessed):
    """What the folder's files say."""

    name: ClassVar[str] = "video-classification"
    source: ClassVar[str] = "frames"
    padding: ClassVar[dict[str, float]] = {}
    architectures: ClassVar[tuple[str, ...]] = ("ForVideoClassification",)

    @property
    def frames(self) -> int:
        """How many frames the network looks at."""
        found = self.config.get("num_frames") or self.config.get("frames_per_clip")
        if not isinstance(found, int) or not 1 <= found <= MOST:
            raise InputError(f"config.json: 'num_frames' says how many frames the network sees, not {found!r}")
        return found

    def open(self, source: Any) -> Frames:
        if isinstance(source, list) and len(source) == 1 and isinstance(source[0], str):  # a video in one file
            source = source[0]
        return video.frames(source)

    def prepare(self, source: Any, *, num_frames: int | None = None, frame_sampling_rate: int = 1) -> Arrays:
        """pixel_values: (T, 3, H, W) float32, of frames at even distances."""
        check_count("num_frames", num_frames)
        check_count("frame_sampling_rate", frame_sampling_rate)
        wanted = num_frames or self.frames
        if wanted > MOST:
            raise CallError(f"num_frames is at most {MOST}, not {wanted}")
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
        function_to_apply: str | None = None,
    ) -> list[list[Label]]:
        """The labels of each video, the best first.

        Options:
            num_frames: how many frames the network is shown; none for as many as config.json says
            frame_sampling_rate: how far they are apart, in frames, from the beginning; a shorter video is spread evenly
            top_k: how many labels to answer; none for all of them
            function_to_apply: from outputs to scores: softmax, sigmoid or none; by default as the model says
        """
        answers = []
        for source in sources:
            prepared = self.prepare(source, num_frames=num_frames, frame_sampling_rate=frame_sampling_rate)
            outputs = nets["model"]({name: array[None] for name, array in prepared.items()})
            first = {name: array[0] for name, array in outputs.items()}
            answers.append(self.decode(first, source, top_k=top_k, function_to_apply=function_to_apply))
        return answers

    def draw(self, source: Any, result: list[Label], truth: str | Sequence[str] = ()) -> Image.Image:
        """Some of the frames with the labels as bars."""
        frames = list(islice(iter(self.open(source)), self.frames))
        some = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, num=SHOWN).astype(np.int64))]
        return drawing.bars(drawing.grid(some), *shown(result, truth))
