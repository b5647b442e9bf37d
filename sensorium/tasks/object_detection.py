"""Object detection: a label, a score and a box, in pixels of the image given, for each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image

from sensorium.media import drawing, image
from sensorium.ops import coco_ap
from sensorium.ops.detection import Box, Detector
from sensorium.tasks import Arrays, Nets, Tally

MOST = 100  # objects of a picture that are evaluated, as COCO does


@dataclass(frozen=True, slots=True)
class Detection:
    """An object.

    Attributes:
        score: 0..1.
    """

    label: str
    score: float
    box: Box


class Task(Detector):
    """Detects objects with any network that gives `logits` and `pred_boxes` as the DETR families do."""

    name: ClassVar[str] = "object-detection"
    source: ClassVar[str] = "image"
    truth: ClassVar[str] = "objects"
    metric: ClassVar[str] = "map"
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {"threshold": 0.0}
    architectures: ClassVar[tuple[str, ...]] = ("ForObjectDetection",)

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Self:
        return super().load({"config.json": files["config.json"], "preprocessor_config.json": image.settings(files)})

    def open(self, source: Any) -> Image.Image:
        return image.load(source)

    def prepare(self, source: Any) -> Arrays:
        """pixel_values: float32 (3, H, W); pixel_mask, for networks that ask for it."""
        return {"pixel_values": image.preprocess(self.preprocessor, self.open(source)), "pixel_mask": image.WHOLE}

    def decode(self, outputs: Arrays, source: Any, *, threshold: float = 0.5) -> list[Detection]:
        """The objects, best score first.

        Args:
            outputs: `logits` (Q, C) and `pred_boxes` (Q, 4), centre form, fractions of the picture.

        Options:
            threshold: least score of an object, 0..1
        """
        width, height = self.open(source).size
        found = zip(*self.found(outputs, width, height, threshold))
        return [Detection(label, float(score), Box(*map(float, corners))) for score, label, corners in found]

    @staticmethod
    def alike(a: Sequence[Detection], b: Sequence[Detection], tolerance: float) -> bool:
        """Whether two answers hold the same sure objects (score of at least 0.5), up to the tolerance.

        That of a box is a share of its size.
        """
        rest = list(b)
        for d in a:
            found = next((e for e in rest if _near(d, e, tolerance)), None)
            if found is not None:
                rest.remove(found)
            elif d.score >= 0.5 + tolerance:
                return False
        return all(e.score < 0.5 + tolerance for e in rest)

    def tally(self, prediction: list[Detection], truth: list[dict[str, Any]], nets: Nets) -> Tally:
        """Matches with the truth; quality: the F1 of the objects with a score of at least 0.5, at IoU 0.5."""
        best = sorted(prediction, key=lambda d: -d.score)[:MOST]
        matches = coco_ap.match(_arrays(best), truth)
        sure = matches.scores >= 0.5
        hits = int((matches.outcomes[sure, 0, 0] > 0).sum())
        wrong = int((matches.outcomes[sure, 0, 0] < 0).sum())
        wanted = int(matches.truths[:, 0].sum())
        quality = 2 * hits / (hits + wrong + wanted) if hits + wrong + wanted else 1.0
        return Tally(quality, matches)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """COCO average precision and recall."""
        return coco_ap.average_precision([t.stats for t in tallies])

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Detection]]:
        """Says the boxes that were most often where, whatever the picture shows: one of the middle for each class."""
        counts = Counter(o["label"] for objects in truths for o in objects)
        total = max(1, sum(counts.values()))
        shares: dict[str, list[np.ndarray]] = {}
        for source, objects in zip(sources, truths):
            width, height = image.size(source) if not isinstance(source, Image.Image) else source.size
            for o in objects:
                shares.setdefault(o["label"], []).append(np.array(o["box"]) / [width, height, width, height])
        typical = {label: np.median(np.stack(found), 0) for label, found in shares.items()}

        def predict(source: Any) -> list[Detection]:
            width, height = image.size(source) if not isinstance(source, Image.Image) else source.size
            return [
                Detection(label, counts[label] / total, Box(*map(float, box * [width, height, width, height])))
                for label, box in typical.items()
            ]

        return predict

    def draw(self, source: Any, result: Sequence[Detection]) -> Image.Image:
        """The picture with its boxes; where there are more than `MOST`, as in an evaluation, only the sure ones."""
        if len(result) > MOST:
            result = [d for d in result if d.score >= 0.5]
        boxes = [(d.box.xmin, d.box.ymin, d.box.xmax, d.box.ymax) for d in result]
        captions = [f"{d.label} {d.score:.2f}" if d.score < 1 else d.label for d in result]  # a truth is certain
        colours = [self.labels.index(d.label) if d.label in self.labels else 0 for d in result]
        return drawing.boxes(self.open(source), boxes, captions, colours)

    def truth_result(self, truth: list[dict[str, Any]]) -> list[Detection]:
        return [Detection(o["label"], 1.0, Box(*map(float, o["box"]))) for o in truth if not o.get("iscrowd")]


def _near(a: Detection, b: Detection, tolerance: float) -> bool:
    if a.label != b.label or abs(a.score - b.score) > tolerance:
        return False
    size = max(1.0, a.box.xmax - a.box.xmin, a.box.ymax - a.box.ymin)
    sides = ("xmin", "ymin", "xmax", "ymax")
    return bool(max(abs(getattr(a.box, s) - getattr(b.box, s)) for s in sides) <= tolerance * size)


def _arrays(result: Sequence[Detection]) -> dict[str, Any]:
    return {
        "labels": [d.label for d in result],
        "scores": [d.score for d in result],
        "boxes": np.array([[d.box.xmin, d.box.ymin, d.box.xmax, d.box.ymax] for d in result]).reshape(-1, 4),
    }
