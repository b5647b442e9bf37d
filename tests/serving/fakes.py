"""Small made-up tasks, one of each shape of source and answer, and a process that serves them.

Their answers depend on the source alone, so that a mix-up is seen.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from sensorium.errors import InputError, SensoriumError

NASTY = "<img src=x onerror=\"document.title='pwned'\">"


def picture(seed: int = 0, size: tuple[int, int] = (160, 120)) -> bytes:
    """A PNG with some colours."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([(x * 2 + seed * 40) % 256, (y * 2) % 256, (x + y + seed * 20) % 256], -1).astype(np.uint8)
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


def sound(seconds: float = 1.0, rate: int = 8000) -> bytes:
    """A WAV with a tone."""
    import soundfile

    made = io.BytesIO()
    samples = 0.3 * np.sin(np.arange(int(seconds * rate)) * 0.3)
    soundfile.write(made, samples, rate, format="WAV", subtype="PCM_16")
    return made.getvalue()


@dataclass
class Label:
    label: str
    score: float


@dataclass
class Box:
    xmin: float
    ymin: float
    xmax: float
    ymax: float


@dataclass
class Detection:
    label: str
    score: float
    box: Box


@dataclass
class Track:
    id: int
    label: str
    score: float
    box: Box


@dataclass
class Frame:
    frame: int
    objects: list[Track]


@dataclass
class Translation:
    translation_text: str


@dataclass
class Chunk:
    text: str
    timestamp: tuple[float, float]


@dataclass
class Transcript:
    text: str
    chunks: list[Chunk]


def _image(source: Any) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if not isinstance(source, bytes):
        raise AssertionError("only bytes may reach a task that reads files")
    try:
        return Image.open(io.BytesIO(source)).convert("RGB")
    except Exception as error:
        raise InputError(f"cannot identify /tmp/some/where.png {error}") from None


def number(source: Any) -> int:
    """A number that belongs to this source."""
    data = source.tobytes() if isinstance(source, Image.Image) else repr(source).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big")


@dataclass
class Images:
    """A label, or several, for a picture."""

    name: ClassVar[str] = "image-classification"
    source: ClassVar[str] = "image"
    labels: list[str] = field(default_factory=lambda: ["cat", "dog", NASTY])

    def open(self, source: Any) -> Any:
        return _image(source)

    def decode(self, outputs: Any, source: Any, *, top_k: int | None = 5, threshold: float = 0.0) -> list[Label]:
        """Labels.

        Options:
            top_k: how many labels at most, 1..100
            threshold: least score of a label, 0..1
        """
        shift = number(source) % 3
        order = self.labels[shift:] + self.labels[:shift]
        found = [Label(label, s) for label, s in zip(order, [0.62, 0.3, 0.08], strict=True)]
        return [one for one in found if one.score >= threshold][:top_k]


@dataclass
class Objects:
    """A label, a score and a box for each object."""

    name: ClassVar[str] = "object-detection"
    source: ClassVar[str] = "image"
    labels: list[str] = field(default_factory=lambda: ["cat", "dog", NASTY])

    def open(self, source: Any) -> Any:
        return _image(source)

    def decode(self, outputs: Any, source: Any, *, threshold: float = 0.5) -> list[Detection]:
        """Objects.

        Options:
            threshold: least score of an object, 0..1
        """
        w, h = source.size
        found = [
            Detection("cat", 0.93, Box(0.08 * w, 0.1 * h, 0.45 * w, 0.6 * h)),
            Detection(NASTY, 0.71, Box(0.5 * w, 0.35 * h, 0.95 * w, 0.9 * h)),
            Detection("dog", 0.4, Box(0.6 * w, 0.05 * h, 0.9 * w, 0.3 * h)),
        ]
        return [one for one in found if one.score >= threshold]


@dataclass
class Tracking:
    """The objects of each frame, with the same number for the same object."""

    name: ClassVar[str] = "object-tracking"
    source: ClassVar[str] = "frames"
    labels: list[str] = field(default_factory=lambda: ["person"])

    def open(self, source: Any) -> Any:
        if isinstance(source, bytes):
            raise InputError("the video cannot be read")
        return [_image(one) for one in source]

    def decode(self, outputs: Any, source: Any, *, threshold: float = 0.5) -> list[Frame]:
        """Frames.

        Options:
            threshold: least score of an object, 0..1
        """
        frames = []
        for t, image in enumerate(source):
            w, h = image.size
            box = Box(0.1 * w + 6 * t, 0.2 * h, 0.35 * w + 6 * t, 0.6 * h)
            other = Box(0.6 * w - 5 * t, 0.5 * h, 0.8 * w - 5 * t, 0.9 * h)
            frames.append(Frame(t, [Track(1, "person", 0.9, box), Track(2, NASTY, 0.8, other)]))
        return frames


@dataclass
class Generation:
    """A new picture, of a class where there are classes."""

    name: ClassVar[str] = "image-generation"
    source: ClassVar[str] = "label"
    labels: list[str] = field(default_factory=lambda: ["alpha", "beta", NASTY])

    def open(self, source: Any) -> Any:
        if source is not None and source not in self.labels:
            raise InputError("no such class")
        return source

    def decode(
        self,
        outputs: Any,
        source: Any,
        *,
        steps: int = 20,
        seed: int = 0,
        method: Literal["euler", "heun"] = "euler",
    ) -> Image.Image:
        """A picture.

        Options:
            steps: steps of the sampler, 1..100
            seed: of the random numbers
            method: how each step is made
        """
        return Image.open(io.BytesIO(picture(seed + number(source) % 50, (96, 96))))


@dataclass
class Texts:
    """One label, or several, for a text."""

    name: ClassVar[str] = "text-classification"
    source: ClassVar[str] = "text"
    labels: list[str] = field(default_factory=lambda: ["ham", "spam"])

    def open(self, source: Any) -> str:
        if not isinstance(source, str):
            raise InputError("a text is needed")
        return source

    def decode(self, outputs: Any, source: str, *, top_k: int | None = None) -> list[Label]:
        """Labels.

        Options:
            top_k: how many labels at most
        """
        if source == "bad":
            raise InputError("this text is bad")
        if source == "crash":
            raise ZeroDivisionError("at /home/somebody/secret.py")
        if source.startswith("sleep "):
            time.sleep(float(source.split()[1]))
        return [Label("ham", 0.9), Label("spam", (number(source) % 1000) / 10000)][:top_k]


@dataclass
class Translate:
    """A text in another language."""

    name: ClassVar[str] = "translation"
    source: ClassVar[str] = "translation"

    def open(self, source: Any) -> str:
        if not isinstance(source, str):
            raise InputError("a text is needed")
        return source

    def decode(self, outputs: Any, source: str, *, beams: int = 1) -> Translation:
        """Text.

        Options:
            beams: width of the search; 1 is greedy, 1..16
        """
        return Translation(source[::-1])


@dataclass
class Speech:
    """What is said in a recording, and when."""

    name: ClassVar[str] = "automatic-speech-recognition"
    source: ClassVar[str] = "audio"

    def open(self, source: Any) -> Any:
        import soundfile

        if not isinstance(source, bytes):
            return source
        try:
            return soundfile.read(io.BytesIO(source))[0]
        except Exception:
            raise InputError("the sound cannot be read") from None

    def decode(self, outputs: Any, source: Any, *, return_timestamps: bool = True) -> Transcript:
        """Text.

        Options:
            return_timestamps: answer also when each word was said
        """
        words = ["seven", "three", "nine"]
        chunks = [Chunk(w, (0.25 * i, 0.25 * i + 0.2)) for i, w in enumerate(words)]
        return Transcript(" ".join(words), chunks if return_timestamps else [])


@dataclass
class Eighth:
    """Something nobody thought of."""

    name: ClassVar[str] = "time-travel"
    source: ClassVar[str] = "series"

    def open(self, source: Any) -> Any:
        if not isinstance(source, list):
            raise InputError("a list of numbers is needed")
        return source

    def decode(self, outputs: Any, source: Any, *, horizon: int = 3) -> dict[str, list[float]]:
        """Numbers."""
        return {"mean": [float(np.mean(source))] * horizon}


class Asked:
    """A question about a picture."""

    name: ClassVar[str] = "visual-question-answering"
    source: ClassVar[str] = "image"
    parts: ClassVar[tuple[str, ...]] = ("image", "question", "boxes")

    def open(self, source: Any) -> Any:
        if "question" not in source:
            raise InputError("a question is needed")
        return {**source, "image": Images().open(source["image"])}

    def decode(self, outputs: Any, source: Any) -> list[dict[str, Any]]:
        """The size, for every question."""
        size = "x".join(map(str, source["image"].size))
        return [{"answer": f"{source['question']} {size} {source.get('boxes')}", "score": 0.75}]


class Regions(Images):
    """Two halves."""

    name: ClassVar[str] = "image-segmentation"

    def decode(self, outputs: Any, source: Any) -> list[dict[str, Any]]:  # type: ignore[override]
        """Left and right."""
        masks = [np.zeros(source.size[::-1], np.uint8) for _ in range(2)]
        masks[0][:, : source.size[0] // 2] = 255
        masks[1][:, source.size[0] // 2 :] = 255
        names = ("sky", NASTY)
        return [{"label": n, "score": 0.9, "mask": Image.fromarray(m)} for n, m in zip(names, masks)]


class Bodies(Images):
    """One body."""

    name: ClassVar[str] = "keypoint-detection"

    def decode(self, outputs: Any, source: Any) -> list[dict[str, Any]]:  # type: ignore[override]
        """Three joints."""
        places = ((40, 40), (120, 90), (200, 200))
        joints = [{"label": "joint", "score": 0.8, "x": x, "y": y} for x, y in places]
        return [{"score": 0.9, "keypoints": joints, "skeleton": [[0, 1], [1, 2]]}]


class Names(Texts):
    """Every word with a capital."""

    name: ClassVar[str] = "token-classification"

    def decode(self, outputs: Any, source: Any) -> list[dict[str, Any]]:  # type: ignore[override]
        """Names."""
        return [
            {"entity_group": "NAME", "score": 0.9, "word": m[0], "start": m.start(), "end": m.end()}
            for m in re.finditer(r"[A-Z]\w*", source)
        ]


class Card:
    verification: ClassVar[dict[str, Any]] = {
        "files": [
            {"precision": "int8", "metrics_after": {"accuracy": 0.5}},
            {"precision": "fp32", "metrics_after": {"accuracy": 0.931, "macro_f1": 0.92}},
        ]
    }


class Predictor:
    """Answers at once, or after `pause` seconds a batch."""

    def __init__(self, task: Any, pause: float = 0.0) -> None:
        self.task, self.pause, self.model = task, pause, Card()
        self.batches: list[int] = []

    def predict_batch(self, sources: list[Any], **options: Any) -> list[Any]:
        self.batches.append(len(sources))
        if self.pause:
            time.sleep(self.pause)
        answers: list[Any] = []
        for source in sources:
            try:
                answers.append(self.task.decode({}, source, **options))
            except SensoriumError as error:
                answers.append(error)
        return answers

    def warm_up(self) -> None:
        pass


TASKS = {
    "pets": Images,
    "objects": Objects,
    "walkers": Tracking,
    "glyphs": Generation,
    "spam": Texts,
    "backwards": Translate,
    "digits": Speech,
    "eighth": Eighth,
    "asked": Asked,
    "regions": Regions,
    "bodies": Bodies,
    "names": Names,
}


def models(pause: float = 0.0) -> dict[str, Predictor]:
    return {name: Predictor(task(), pause) for name, task in TASKS.items()}


def main() -> int:
    from sensorium.serving import run

    def setting(name: str, default: str) -> float:
        return float(os.environ.get(name, default))

    return run(
        models(setting("PAUSE", "0")),
        port=int(setting("PORT", "0")),
        timeout=setting("TIMEOUT", "60"),
        upload=setting("UPLOAD", "20"),
        linger=setting("LINGER", "0"),
        grace=setting("GRACE", "10"),
        token=os.environ.get("TOKEN"),
    )


if __name__ == "__main__":
    sys.exit(main())
