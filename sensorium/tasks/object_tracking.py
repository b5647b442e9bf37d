"""Object tracking: the objects in each frame of a video, and which of them are the same one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image, ImageDraw

from sensorium.errors import InputError
from sensorium.media import drawing, image, lettering, video
from sensorium.ops import boxes as box_ops
from sensorium.ops import tracking_metrics
from sensorium.ops.assignment import best_pairs
from sensorium.ops.detection import Box, Detector
from sensorium.ops.tracker import Tracker
from sensorium.tasks import Arrays, Nets, Tally

FAINT = 0.1  # least score of a detection that may carry on a track
TRAIL = 60  # frames of which the way of an object is drawn


@dataclass(frozen=True, slots=True)
class Tracked:
    """An object in a frame.

    Attributes:
        id: the same for the same object in all frames; from 1 on, never used again.
        score: of its detection in this frame, 0..1.
    """

    id: int
    label: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Frame:
    """What there is in one frame; the first is 0."""

    frame: int
    objects: list[Tracked]


class Task(Detector):
    """Tracks what any detector finds: a network that gives `logits` and `pred_boxes` as the DETR families do."""

    name: ClassVar[str] = "object-tracking"
    source: ClassVar[str] = "frames"
    truth: ClassVar[str] = "tracks"
    metric: ClassVar[str] = "hota"
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Self:
        return super().load({"config.json": files["config.json"], "preprocessor_config.json": image.settings(files)})

    def open(self, source: Any) -> video.Frames:
        """A video, an animation, a folder or a list of pictures; of a list of files, that each of them is a picture."""
        found = video.frames(source)
        if isinstance(found.source, (list, tuple)):
            for picture in found.source:
                if not isinstance(picture, (Image.Image, np.ndarray)):
                    image.size(picture)
        return found

    def prepare(self, source: Any) -> Arrays:
        """Of one frame, pixel_values: float32 (3, H, W); pixel_mask, for networks that ask for it."""
        return {"pixel_values": image.preprocess(self.preprocessor, image.load(source)), "pixel_mask": image.WHOLE}

    def decode(
        self, outputs: Arrays, source: Any, *, threshold: float = FAINT
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The detections in one frame: boxes (N, 4) as corners in pixels, scores (N,), labels.

        Args:
            outputs: `logits` (Q, C) and `pred_boxes` (Q, 4), centre form, fractions of the picture.
        """
        width, height = image.load(source).size
        scores, labels, corners = self.found(outputs, width, height, threshold)
        return corners, scores, labels

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        threshold: float = 0.5,
        overlap: float = 0.2,
        max_age: int = 30,
        min_hits: int = 2,
    ) -> list[list[Frame]]:
        """The objects of each frame, for each video.

        Options:
            threshold: least score of a detection that is sure, 0..1; fainter ones only carry on a track
            overlap: least overlap of an object with the place where it is expected, 0..1
            max_age: frames after which an object that is not seen is forgotten
            min_hits: frames in which a new object must be seen before it counts
        """
        given = {"threshold": threshold, "overlap": overlap, "max_age": max_age, "min_hits": min_hits}
        return [list(self.track(nets, source, **given)) for source in sources]

    def track(self, nets: Nets, frames: Iterable[Any], **options: Any) -> Iterator[Frame]:
        """The same frame by frame, as they come, in constant memory: for cameras and long videos.

        Args:
            frames: what `open` gives, or any iterable of pictures.
            options: those of `predict`.
        """
        if "model" not in nets:
            raise InputError(f"{self.name} runs one network, onnx/model.onnx; this folder has {', '.join(nets)}")
        net = nets["model"]
        tracker = Tracker(**options, low=min(FAINT, options.get("threshold", FAINT)))
        for number, source in enumerate(frames):
            picture = image.load(source)
            feeds = {name: _batch(array, net.inputs, name) for name, array in self.prepare(picture).items()}
            outputs = {name: array[0] for name, array in net(feeds).items()}
            boxes, scores, labels = self.decode(outputs, picture, threshold=tracker.low)
            ids, which, places = tracker.update(boxes, scores, labels)
            places = box_ops.clip(places, *picture.size)
            yield Frame(
                number,
                [
                    Tracked(int(i), labels[k], float(scores[k]), Box(*map(float, place)))
                    for i, k, place in zip(ids, which, places)
                ],
            )

    def tally(self, prediction: Sequence[Frame], truth: Sequence[Sequence[Mapping[str, Any]]], nets: Nets) -> Tally:
        """Counts of the sequence, each class by itself; quality: its HOTA."""
        found = [[{"id": o.id, "label": o.label, "box": _corners(o.box)} for o in f.objects] for f in prediction]
        try:
            counts = tracking_metrics.compare(truth, found, set(self.labels))
        except ValueError as error:
            raise InputError(f"tracks and frames do not belong together: {error}") from None
        return Tally(tracking_metrics.metrics(counts)["hota"], counts)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """HOTA with its parts, MOTA, IDF1, and how often an identity changed."""
        return tracking_metrics.metrics([counts for t in tallies for counts in t.stats])

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Frame]]:
        """Says that everything stands still, where it stood in the most typical of the middle frames learned from."""
        middles = [[o for o in tracks[len(tracks) // 2] if not o.get("ignore")] for tracks in truths if tracks]
        arrays = [np.array([o["box"] for o in objects], dtype=float).reshape(-1, 4) for objects in middles]
        likeness = np.zeros((len(arrays), len(arrays)))
        for i, a in enumerate(arrays):
            for j, b in enumerate(arrays):
                overlap = box_ops.iou(a, b)
                likeness[i, j] = 2 * overlap[best_pairs(overlap)].sum() / max(1, len(a) + len(b))
        typical = middles[int(likeness.sum(1).argmax())] if middles else []
        objects = [Tracked(i, o["label"], 1.0, Box(*map(float, o["box"]))) for i, o in enumerate(typical, 1)]

        def predict(source: Any) -> list[Frame]:
            found = self.open(source)
            count = sum(1 for _ in found) if found.count is None else found.count
            return [Frame(i, objects) for i in range(count)]

        return predict

    def draw(self, source: Any, result: Sequence[Frame]) -> Image.Image:
        """The last frame with something in it, with the way that each object came."""
        last = max((f.frame for f in result if f.objects), default=0)
        found = self.open(source)
        pictures = (
            found.source[last:] if isinstance(found.source, list) else (p for i, p in enumerate(found) if i >= last)
        )
        picture = next(iter(pictures), None)
        if picture is None:
            raise InputError(f"the result has a frame {last}, this video has not")
        ways: Ways = {}
        for frame in result[: last + 1]:
            _walk(ways, frame)
        return _picture(image.load(picture), result[last], ways) if result else image.load(picture)

    def film(self, source: Any, result: Iterable[Frame], target: Path) -> Path:
        """Write every frame with what was found: `target` with the ending .mp4, or .gif without the extra `video`."""

        def drawn() -> Iterator[Image.Image]:
            ways: Ways = {}
            for picture, frame in zip(found, result):
                _walk(ways, frame)
                yield _picture(picture, frame, ways)

        found = self.open(source)
        path = target.with_name(target.name + (".mp4" if importlib.util.find_spec("cv2") else ".gif"))
        video.write(path, drawn(), found.rate)
        return path

    def truth_result(self, truth: Sequence[Sequence[Mapping[str, Any]]]) -> list[Frame]:
        return [
            Frame(i, [Tracked(o["id"], o["label"], 1.0, Box(*o["box"])) for o in objects if not o.get("ignore")])
            for i, objects in enumerate(truth)
        ]


def _corners(box: Box) -> list[float]:
    return [box.xmin, box.ymin, box.xmax, box.ymax]


Ways = dict[int, list[tuple[float, float]]]


def _walk(ways: Ways, frame: Frame) -> None:
    """Add where each object is now; forget those that are not there any more."""
    for gone in ways.keys() - {o.id for o in frame.objects}:
        if len(ways[gone]) > 1:
            del ways[gone][0]
        else:
            del ways[gone]
    for o in frame.objects:
        way = ways.setdefault(o.id, [])
        way.append(((o.box.xmin + o.box.xmax) / 2, (o.box.ymin + o.box.ymax) / 2))
        del way[:-TRAIL]


def _picture(picture: Image.Image, frame: Frame, ways: Ways) -> Image.Image:
    """A frame with boxes, identities, and the ways there."""
    canvas, factor = drawing.enlarge(picture)
    canvas = canvas.copy()
    pen = ImageDraw.Draw(canvas)
    for o in frame.objects:
        points = [(x * factor, y * factor) for x, y in ways.get(o.id, [])]
        if len(points) > 1:
            pen.line(points, fill=lettering.colour(o.id), width=max(2, canvas.width // 320))
    corners = [[v * factor for v in _corners(o.box)] for o in frame.objects]
    captions = [f"{o.label} {o.id}" for o in frame.objects]
    return drawing.boxes(canvas, corners, captions, [o.id for o in frame.objects])


def _batch(array: np.ndarray, inputs: Mapping[str, Any], name: str) -> np.ndarray:
    """One example with a batch axis, repeated where the network's file fixes the size of the batch."""
    shape = inputs[name][0] if name in inputs else []
    size = shape[0] if len(shape) and isinstance(shape[0], int) else 1
    return np.repeat(array[None], max(1, size), 0)
