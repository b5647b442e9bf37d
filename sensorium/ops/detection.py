"""What detection and tracking share: from a network's `logits` and `pred_boxes` to scores, labels and boxes.

The families differ in what a logit means. In DETR and YOLOS each query answers one question, which class or
none, by softmax with a last column for none. In those descended from Deformable DETR each query asks for each
class by itself, by sigmoid, and the best pairs of query and class are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from sensorium.errors import InputError
from sensorium.ops import boxes as box_ops
from sensorium.ops.ranking import highest

SURE = 0.05  # queries with at least this score are compared one by one
# model_type of the families whose logits have a last column for "no object".
SOFTMAX = frozenset({"detr", "yolos", "table-transformer"})
# The sigmoid families, and how many pairs of query and class are kept: a number, or None for that of the queries.
SIGMOID: dict[str, int | None] = {
    "conditional_detr": 100,
    "dab-detr": 100,
    "deformable_detr": 100,
    "lw_detr": 100,
    "d_fine": None,
    "deimv2": None,
    "rf_detr": None,
    "rt_detr": None,
    "rt_detr_v2": None,
    "converted": None,  # scores already: what a converted detector answers
}


def chances_of(logits: np.ndarray, model_type: str) -> np.ndarray:
    """The chances of the classes, without that of none: (..., Q, C) float32.

    Raises:
        InputError: the family is not known here.
    """
    logits = logits.astype(np.float32, copy=False)
    if model_type in SOFTMAX:
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        softmax: np.ndarray = (powers / powers.sum(-1, keepdims=True))[..., :-1]
        return softmax
    if model_type == "converted":
        return logits
    if model_type in SIGMOID:
        with np.errstate(over="ignore"):
            sigmoid: np.ndarray = 1 / (1 + np.exp(-logits))
        return sigmoid
    known = ", ".join(sorted(SOFTMAX | SIGMOID.keys()))
    raise InputError(f"config.json: detectors of model_type '{model_type}' are not known here; known are {known}")


def decode(
    logits: np.ndarray, pred_boxes: np.ndarray, model_type: str, width: float, height: float, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The objects in one picture, equal to `post_process_object_detection` of the family's image processor.

    Args:
        logits: (Q, C), or (Q, C + 1) where the family has a column for no object.
        pred_boxes: (Q, 4) in centre form, as fractions of the picture's width and height.
        model_type: the family, as `config.json` has it.
        width, height: of the picture, in pixels.
        threshold: only objects with a higher score.

    Returns:
        scores (N,) falling, classes (N,) int64, boxes (N, 4) corners in pixels, all of them float32 but the classes.

    Raises:
        InputError: the family is not known here, or the arrays do not fit each other.
    """
    if logits.ndim != 2 or pred_boxes.shape != (len(logits), 4):
        shapes = f"logits {logits.shape}, pred_boxes {pred_boxes.shape}"
        raise InputError(f"these are not outputs of a detector, (Q, C) and (Q, 4): {shapes}")
    chances = chances_of(logits, model_type)
    if model_type in SOFTMAX:
        queries = np.arange(len(logits))
        classes = chances.argmax(1)
        scores = chances.max(1)
    else:
        count = min(SIGMOID[model_type] or len(logits), chances.size)
        best = highest(chances.reshape(-1), count)
        queries, classes = np.divmod(best, logits.shape[1])
        scores = chances.reshape(-1)[best]
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > threshold]
    corners = box_ops.to_corners(pred_boxes[queries[order]].astype(np.float32, copy=False))
    return scores[order], classes[order].astype(np.int64), corners * np.array([width, height] * 2, np.float32)


def difference(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], model_type: str) -> float:
    """How far the outputs of two networks are apart, whatever the order of their queries.

    Queries stand in the order of scores, and two of them that score as good as alike may change places. So this
    compares the sorted scores, and each sure query with the one of the other side that comes nearest.

    Args:
        expected, found: `logits` (N, Q, C) and `pred_boxes` (N, Q, 4), with a batch axis.

    Returns:
        The largest difference of a score or a fraction of the picture; infinite where shapes differ or a value on one
        side is not finite.
    """
    for name in ("logits", "pred_boxes"):
        a, b = expected[name], found.get(name)
        if b is None or a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
    worst = 0.0
    sides = [(chances_of(o["logits"], model_type), o["pred_boxes"]) for o in (expected, found)]
    for (scores_a, boxes_a), (scores_b, boxes_b) in zip(zip(*sides[0]), zip(*sides[1])):
        apart = np.abs(np.sort(scores_a, axis=None) - np.sort(scores_b, axis=None))
        worst = max(worst, float(apart.max(initial=0)))
        for one, own_boxes, other, its_boxes in (
            (scores_a, boxes_a, scores_b, boxes_b),
            (scores_b, boxes_b, scores_a, boxes_a),
        ):
            for query, kind in zip(*np.nonzero(one >= SURE)):
                away = np.maximum(
                    np.abs(other[:, kind] - one[query, kind]), np.abs(its_boxes - own_boxes[query]).max(1)
                )
                worst = max(worst, float(away.min()))
    return worst


@dataclass(frozen=True, slots=True)
class Box:
    """Corners in pixels of the picture; the origin is its upper left corner."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


@dataclass
class Detector:
    """What the files of a detector's folder say; the tasks that run one are built on it.

    Attributes:
        labels: names of the classes, in the order of the logits.
        preprocessor: what `preprocessor_config.json` says.
        model_type: the family, which says what a logit means (see `decode`).
        config: whatever else `config.json` says.
    """

    labels: list[str]
    preprocessor: dict[str, Any]
    model_type: str = "yolos"
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Self:
        config = dict(files["config.json"])
        names = config.pop("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # what Hugging Face leaves out
        if not isinstance(names, Mapping) or not names:
            raise InputError("config.json: a detector needs the names of its classes, 'id2label'")
        count = 1 + max(map(int, names))  # some leave numbers out
        if count > 100_000:
            raise InputError(f"config.json: 'id2label' names a class {count - 1}, which is no sensible number")
        labels = [f"LABEL_{k}" for k in range(count)]
        for number, label in names.items():
            labels[int(number)] = str(label)
        config.pop("label2id", None)
        model_type = str(config.pop("model_type", ""))
        return cls(labels, dict(files["preprocessor_config.json"]), model_type, config)

    def files(self) -> dict[str, Any]:
        config = {
            **self.config,
            "model_type": self.model_type,
            "id2label": {str(k): label for k, label in enumerate(self.labels)},
            "label2id": {label: k for k, label in enumerate(self.labels)},
        }
        return {"config.json": config, "preprocessor_config.json": self.preprocessor}

    def found(
        self, outputs: Mapping[str, np.ndarray], width: int, height: int, threshold: float
    ) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Scores (N,), labels and corners (N, 4) in pixels of the objects in a picture, best score first."""
        family = self.family(outputs["logits"].shape[-1])
        scores, classes, corners = decode(outputs["logits"], outputs["pred_boxes"], family, width, height, threshold)
        names = [self.labels[c] if c < len(self.labels) else f"LABEL_{c}" for c in classes]
        return scores, names, corners

    def difference(self, expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
        """How far two networks' outputs are apart, whatever the order of their queries."""
        return difference(expected, found, self.family(expected["logits"].shape[-1]))

    def family(self, columns: int) -> str:
        """The `model_type`, or for one that is not known here, one whose logits have the same columns."""
        if self.model_type in SOFTMAX or self.model_type in SIGMOID:
            return self.model_type
        return "detr" if columns == len(self.labels) + 1 else "rt_detr"
