"""Keypoint detection: named points of each body in a picture (pose), such as its shoulders and knees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image
from sensorium.ops import batches, coco_ap, pose
from sensorium.ops.detection import Box
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.folders import Preprocessed

NEAR = 0.1  # of the longer side of a body: a point that is nearer is right (PCK)
MOST = 1000  # boxes of one picture


@dataclass(frozen=True, slots=True)
class Keypoint:
    """A point, in pixels of the picture.

    Attributes:
        score: how sure the network is, mostly 0..1.
    """

    label: str
    score: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Pose:
    """A body.

    Attributes:
        score: mean of those of its points.
        box: where it was looked for.
    """

    score: float
    box: Box
    keypoints: list[Keypoint]


@dataclass(frozen=True)
class Bodies:
    """A picture and the boxes (xmin, ymin, xmax, ymax) of the bodies in it; by default one, of the whole picture."""

    image: Image.Image
    boxes: tuple[tuple[float, ...], ...]


@dataclass
class Task(Preprocessed):
    """What the folder's files say: a network that draws a heat map of each point of one body (ViTPose)."""

    name: ClassVar[str] = "keypoint-detection"
    source: ClassVar[str] = "image"
    parts: ClassVar[tuple[str, ...]] = ("image", "boxes")
    truth: ClassVar[str] = "poses"
    metric: ClassVar[str] = "map"
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {"threshold": 0.0}
    architectures: ClassVar[tuple[str, ...]] = ("ForPoseEstimation",)

    def __post_init__(self) -> None:
        names = self.config.get("id2label") or {}
        self._labels = {int(key): str(label) for key, label in names.items()}

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the network's input."""
        size = self.preprocessor.get("size") or {"height": 256, "width": 192}
        return int(size["width"]), int(size["height"])

    def open(self, source: Any) -> Bodies:
        """A picture, or a mapping of `image` and `boxes`.

        Raises:
            InputError: a box is none.
        """
        if isinstance(source, Bodies):
            return source
        given = source.get("boxes") if isinstance(source, Mapping) else None
        picture = image.load(source.get("image") if isinstance(source, Mapping) else source)
        if given is None:
            given = [(0.0, 0.0, float(picture.width), float(picture.height))]
        try:
            boxes = np.array(given, np.float64).reshape(-1, 4)
            if len(boxes) > MOST or not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
                raise ValueError
        except (TypeError, ValueError):
            raise InputError(
                f"'boxes' is a list of at most {MOST} times [xmin, ymin, xmax, ymax], each with an area, not "
                f"{str(given)[:80]}"
            ) from None
        return Bodies(picture, tuple(tuple(map(float, box)) for box in boxes))

    def prepare(self, source: Any, box: Sequence[float] | None = None) -> Arrays:
        """What is in a box (by default the first): pixel_values, float32 (3, H, W)."""
        bodies = self.open(source)
        width, height = self.size
        centre, size = pose.frame(box if box is not None else bodies.boxes[0], width, height)
        pixels = pose.cut(np.asarray(bodies.image), centre, size, width, height)
        arrays = dict(image.arrays(self.preprocessor, Image.fromarray(pixels)))
        if int((self.config.get("backbone_config") or {}).get("num_experts") or 1) > 1:
            arrays["dataset_index"] = np.array(0, np.int64)
        return arrays

    def decode(self, outputs: Arrays, source: Any, box: Sequence[float] = (), threshold: float = 0.0) -> Pose:
        """The points of one body.

        Args:
            outputs: `heatmaps` (K, h, w).
        """
        box = box or self.open(source).boxes[0]
        centre, size = pose.frame(box, *self.size)
        spots, scores = pose.places(outputs["heatmaps"].astype(np.float32), centre, size)
        points = [
            Keypoint(self._labels.get(i, f"point {i}"), float(score), float(x), float(y))
            for i, ((x, y), score) in enumerate(zip(spots, scores))
            if score > threshold or threshold <= 0
        ]
        return Pose(float(scores.mean()), Box(*map(float, box)), points)

    def predict(self, nets: Nets, sources: Sequence[Any], *, threshold: float = 0.0) -> list[list[Pose]]:
        """The bodies in each picture, in the order of their boxes.

        Options:
            threshold: least score of a point that is shown
        """
        opened = [self.open(source) for source in sources]
        wanted = [(i, box) for i, bodies in enumerate(opened) for box in bodies.boxes]
        items = [self.prepare(opened[i], box) for i, box in wanted]
        answers: list[list[Any]] = [[None] * len(bodies.boxes) for bodies in opened]
        first = {i: next(k for k, (j, _) in enumerate(wanted) if j == i) for i, _ in wanted}
        for k, outputs in batches.outputs(nets["model"], items, {}):
            i, box = wanted[k]
            answers[i][k - first[i]] = self.decode(outputs, opened[i], box, threshold)
        return answers

    def tally(self, prediction: list[Pose], truth: list[dict[str, Any]], nets: Nets) -> Tally:
        """Matches by the similarity of key points, and which of the true points were found."""
        names = [str(name) for name in (truth[0].get("names") or [])] if truth else []
        places = [self._places(p, names) for p in prediction]
        count = len(truth[0]["keypoints"]) if truth else 0
        found = np.array([p[:count] for p in places], np.float64).reshape(len(prediction), count, 2)
        real = [np.array(t["keypoints"], np.float64).reshape(-1, 3) for t in truth]
        sizes = [float(t.get("area") or (t["box"][2] - t["box"][0]) * (t["box"][3] - t["box"][1])) for t in truth]
        table = np.array(
            [pose.similarity(found, r, s, t["box"]) for r, s, t in zip(real, sizes, truth)], np.float64
        ).T.reshape(len(prediction), len(truth))
        spread = found.max(1, initial=0) - found.min(1, initial=1e9) if found.size else np.zeros((len(found), 2))
        crowd = np.array([bool(t.get("iscrowd")) for t in truth], bool)
        matches = coco_ap.match_by(
            lambda a, b: table[np.ix_(a, b)] if len(a) and len(b) else np.zeros((len(a), len(b))),
            ["body"] * len(prediction),
            [p.score for p in prediction],
            spread[:, 0] * spread[:, 1],
            ["body"] * len(truth),
            np.array(sizes, np.float64),
            crowd,
            np.array([not (r[:, 2] > 0).any() for r in real], bool),
            most=pose.MOST,
        )
        right = wanted = 0
        for j, (r, t) in enumerate(zip(real, truth)):
            known = r[:, 2] > 0
            wanted += int(known.sum())
            if len(found):
                side = max(t["box"][2] - t["box"][0], t["box"][3] - t["box"][1])
                apart = np.hypot(*(found[table[:, j].argmax(), known] - r[known, :2]).T)
                right += int((apart <= NEAR * side).sum())
        return Tally(right / wanted if wanted else 1.0, (matches, right, wanted))

    def _places(self, prediction: Pose, names: list[str]) -> list[tuple[float, float]]:
        """The points in the order of the data's names, or in their own."""
        if not names or not set(names) & {k.label for k in prediction.keypoints}:
            return [(k.x, k.y) for k in prediction.keypoints]
        by_name = {k.label: (k.x, k.y) for k in prediction.keypoints}
        return [by_name.get(name, (-1e6, -1e6)) for name in names]

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """COCO's average precision by key points, and PCK: the share of points that are near enough."""
        found = coco_ap.average_precision([t.stats[0] for t in tallies])
        kept = {name: found[name] for name in ("map", "map_50", "map_75", "map_medium", "map_large")}
        right, wanted = (sum(t.stats[k] for t in tallies) for k in (1, 2))
        return {**kept, "mar": found["mar_100"], "pck": right / wanted if wanted else float("nan")}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Pose]]:
        """Puts each point where it is on the average, as a share of the box."""
        shares = []
        for truth in truths:
            for t in truth:
                points = np.array(t["keypoints"], np.float64).reshape(-1, 3)
                low, size = np.array(t["box"][:2]), np.maximum(1e-9, np.array(t["box"][2:]) - t["box"][:2])
                shares.append(np.where(points[:, 2:] > 0, (points[:, :2] - low) / size, np.nan))
        mean = np.zeros((0, 2))
        if shares:
            known = ~np.isnan(shares)
            mean = np.where(known, shares, 0).sum(0) / np.maximum(1, known.sum(0))
        names: list[Any] = next((t["names"] for truth in truths for t in truth if t.get("names")), [])

        def predict(source: Any) -> list[Pose]:
            answers = []
            for box in self.open(source).boxes:
                spots = mean * (np.array(box[2:]) - box[:2]) + box[:2]
                labels = names or [self._labels.get(i, f"point {i}") for i in range(len(spots))]
                points = [Keypoint(str(n), 1.0, float(x), float(y)) for n, (x, y) in zip(labels, spots)]
                answers.append(Pose(1.0, Box(*box), points))
            return answers

        return predict

    def draw(self, source: Any, result: Sequence[Pose]) -> Image.Image:
        """The picture with the points of each body, and lines between those that belong together."""
        edges = [tuple(edge) for edge in self.config.get("edges") or []]
        numbers = {label: i for i, label in self._labels.items()}
        bodies = [{numbers.get(k.label, i): (k.x, k.y) for i, k in enumerate(p.keypoints)} for p in result]
        return drawing.points(self.open(source).image, bodies, edges)

    def truth_result(self, truth: list[dict[str, Any]]) -> list[Pose]:
        answers = []
        for t in truth:
            names = t.get("names") or [self._labels.get(i, f"point {i}") for i in range(len(t["keypoints"]))]
            points = [Keypoint(str(n), 1.0, float(x), float(y)) for n, (x, y, v) in zip(names, t["keypoints"]) if v > 0]
            answers.append(Pose(1.0, Box(*map(float, t["box"])), points))
        return answers
