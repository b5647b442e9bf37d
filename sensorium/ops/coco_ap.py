"""COCO average precision, equal to pycocotools' COCOeval: match an image once, then score any selection.

By boxes (`match`), or by any other overlap: of masks, of key points (`match_by`).

Definitions: https://cocodataset.org/#detection-eval. Truths that are a crowd (`iscrowd`), `difficult`, or
outside the range of areas that is looked at are *ignored*: they need not be found, and may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the intersection over union
RECALLS = np.linspace(0.0, 1.0, 101)  # where the precision curve is read
AREAS = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]])  # all, small, medium, large
MOST = 100  # detections of one class that count in one image

_HIT, _IGNORED, _MISS = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Matches:
    """What average precision needs to know of one image.

    Attributes:
        labels: the classes that are predicted or true here.
        truths: int (classes, 4): number of truths that are to be found, per class and range of areas.
        classes: int (D,): index into `labels` of each detection that counts.
        scores: float (D,): its score.
        ranks: int (D,): its place by score among the detections of its class here, from 0.
        outcomes: int8 (D, 4, 10): 1 hit, -1 miss, 0 ignored, per range of areas and threshold.
    """

    labels: tuple[str, ...]
    truths: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    outcomes: np.ndarray


def match(predictions: Mapping[str, Any], truths: Sequence[Mapping[str, Any]]) -> Matches:
    """Match the predictions of one image with its truths, at all thresholds and for all ranges of areas.

    Args:
        predictions: `labels` (N strings), `scores` (N), `boxes` (N, 4) as xmin, ymin, xmax, ymax.
        truths: each with `label`, `box`, perhaps `iscrowd`, `difficult`, `area` (else that of the box).
    """
    boxes = _to_sizes(np.asarray(predictions["boxes"], dtype=np.float64).reshape(-1, 4))
    truth_boxes = _to_sizes(np.array([truth["box"] for truth in truths], dtype=np.float64).reshape(-1, 4))
    crowd = np.array([bool(truth.get("iscrowd")) for truth in truths], dtype=bool)
    given = [truth.get("area") for truth in truths]
    area = np.where([a is None for a in given], truth_boxes[:, 2] * truth_boxes[:, 3], [a or 0.0 for a in given])
    return match_by(
        lambda a, b: _overlaps(boxes[a], truth_boxes[b], crowd[b]),
        list(predictions["labels"]),
        predictions["scores"],
        boxes[:, 2] * boxes[:, 3],
        [truth["label"] for truth in truths],
        area,
        crowd,
        np.array([bool(t.get("difficult")) for t in truths], dtype=bool),
    )


def match_by(
    overlap: Callable[[Sequence[int], Sequence[int]], np.ndarray],
    labels: Sequence[str],
    scores: Any,
    areas: np.ndarray,
    truth_labels: Sequence[str],
    truth_areas: np.ndarray,
    crowd: np.ndarray,
    left_out: np.ndarray,
    most: int = MOST,
) -> Matches:
    """The same with an overlap of one's own.

    Args:
        overlap: of some predictions with some truths, given by their numbers: (D, G).
        labels, scores, areas: of the N predictions.
        truth_labels, truth_areas: of the truths.
        crowd: bool, truths that may be found several times, and need not be found at all.
        left_out: bool, others that need not be found.
        most: predictions of one class that count.
    """
    scores = np.asarray(scores, dtype=np.float64).reshape(-1)
    if not len(labels) == len(scores) == len(areas):
        raise ValueError(f"{len(labels)} labels, {len(scores)} scores and {len(areas)} areas do not belong together")
    outside = _outside(np.asarray(areas, np.float64))
    ignored = _outside(np.asarray(truth_areas, np.float64)) | crowd | left_out

    names = tuple(sorted({*labels, *truth_labels}))
    members: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in names}
    for i in np.argsort(-scores, kind="stable"):
        if len(members[labels[i]][0]) < most:
            members[labels[i]][0].append(int(i))
    for j, name in enumerate(truth_labels):
        members[name][1].append(j)

    outcomes = [
        _greedy(overlap(found, there), outside[:, found], crowd[there], ignored[:, there])
        for found, there in members.values()
    ]
    chosen = np.array([i for found, _ in members.values() for i in found], dtype=np.int64)
    sizes = [len(found) for found, _ in members.values()]
    counts = np.array([(~ignored[:, there]).sum(1) for _, there in members.values()], dtype=np.int64)
    return Matches(
        labels=names,
        truths=counts.reshape(-1, len(AREAS)),
        classes=np.repeat(np.arange(len(names)), sizes),
        scores=scores[chosen],
        ranks=np.array([rank for size in sizes for rank in range(size)], dtype=np.int64),
        outcomes=np.concatenate([np.zeros((0, len(AREAS), len(THRESHOLDS)), np.int8), *outcomes]),
    )


def average_precision(matches: Sequence[Matches]) -> dict[str, float]:
    """The twelve COCO metrics over these images; NaN where there is no truth to be found (pycocotools: -1).

    Returns:
        `map` (mean over thresholds 0.5 to 0.95), `map_50`, `map_75`, `map_small`, `map_medium`, `map_large`,
        and the mean average recall `mar_1`, `mar_10`, `mar_100`, `mar_small`, `mar_medium`, `mar_large`.
    """
    curves = list(_by_class(matches).values())
    precision = _mean([c[0] for c in curves], (len(AREAS), len(THRESHOLDS)))
    recall = _mean([c[1] for c in curves], (3, len(AREAS), len(THRESHOLDS)))
    return {
        "map": float(precision[0].mean()),
        "map_50": float(precision[0, 0]),
        "map_75": float(precision[0, 5]),
        "map_small": float(precision[1].mean()),
        "map_medium": float(precision[2].mean()),
        "map_large": float(precision[3].mean()),
        "mar_1": float(recall[0, 0].mean()),
        "mar_10": float(recall[1, 0].mean()),
        "mar_100": float(recall[2, 0].mean()),
        "mar_small": float(recall[2, 1].mean()),
        "mar_medium": float(recall[2, 2].mean()),
        "mar_large": float(recall[2, 3].mean()),
    }


def _by_class(matches: Sequence[Matches]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per class: precision (4, 10), recall (3, 4, 10) with at most 1, 10, 100 detections; NaN: no truths."""
    names = sorted({label for m in matches for label in m.labels})
    index = {name: k for k, name in enumerate(names)}
    places = [np.array([index[label] for label in m.labels], dtype=np.int64) for m in matches]
    truths = np.zeros((len(names), len(AREAS)), np.int64)
    for m, place in zip(matches, places):
        truths[place] += m.truths
    if not names:
        return {}
    classes = np.concatenate([place[m.classes] for m, place in zip(matches, places)])
    scores = np.concatenate([m.scores for m in matches])
    order = np.lexsort((-scores, classes))  # stable: equal scores stay in the order of the images
    ranks = np.concatenate([m.ranks for m in matches])[order]
    outcomes = np.concatenate([m.outcomes for m in matches])[order].reshape(
        len(order), AREAS.shape[0] * len(THRESHOLDS)
    )
    bounds = np.searchsorted(classes[order], np.arange(len(names) + 1))
    return {
        name: _curves(outcomes[bounds[k] : bounds[k + 1]], ranks[bounds[k] : bounds[k + 1]], truths[k])
        for k, name in enumerate(names)
    }


def _curves(outcomes: np.ndarray, ranks: np.ndarray, truths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision, averaged over the recalls, and recall of one class.

    Args:
        outcomes: int8 (D, 4 * 10), in falling order of score.
        truths: int (4,).
    """
    shape = (len(AREAS), len(THRESHOLDS))
    hits = outcomes == _HIT
    recall = np.stack([hits[ranks < most].sum(0).reshape(shape) for most in (1, 10, MOST)])
    # Precision rises at hits only. So the curve is kept as its value at the n-th hit, n = 0 being its start.
    counts = np.cumsum(hits, 0, dtype=np.int32)
    mistakes = np.cumsum(outcomes == _MISS, 0, dtype=np.int32)
    column, position = np.nonzero(hits.T)
    n, wrong = counts[position, column], mistakes[position, column]
    best = np.zeros((shape[0] * shape[1], int(truths.max(initial=0)) + 2))
    best[column, n] = n / (wrong + n + np.spacing(1))
    envelope = np.maximum.accumulate(best[:, ::-1], 1)[:, ::-1].reshape(*shape, -1)
    precision = np.full(shape, np.nan)
    for a, truth in enumerate(truths):
        if truth:
            # The least n with n / truth >= r, in the same floating point arithmetic as the definition.
            wanted = np.searchsorted(np.arange(truth + 1) / truth, RECALLS, side="left")
            precision[a] = envelope[a][:, wanted].mean(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return precision, np.where(truths[:, None] > 0, recall / truths[:, None], np.nan)


def _mean(values: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Mean over the classes that have truths (the same ones for each threshold)."""
    stacked = np.stack(values) if values else np.full((1, *shape), np.nan)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0.0).sum(0)
    count = known.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _greedy(overlap: np.ndarray, outside: np.ndarray, crowd: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Give each detection, best score first, the free truth that it overlaps most; ignored ones come second.

    Args:
        overlap: (D, G), the detections in falling order of score.
        outside: bool (4, D), detections of another size, which are no mistakes. crowd: bool (G,). ignored: bool (4, G).

    Returns:
        outcomes, int8 (D, 4, 10).
    """
    shape = (len(AREAS), len(THRESHOLDS))
    unmatched = np.where(outside, _IGNORED, _MISS).T[:, :, None]
    outcomes = np.broadcast_to(unmatched, (len(overlap), *shape)).astype(np.int8)
    if not overlap.size:
        return outcomes
    # Of equal overlaps the last truth wins; turned round, that is the first, as argmax has it.
    overlap = overlap[:, ::-1]
    crowd, ignored = crowd[::-1], ignored[:, None, ::-1]
    free = np.ones((*shape, overlap.shape[1]), dtype=bool)
    rows, columns = np.indices(shape)
    for d in np.flatnonzero(overlap.max(1) >= THRESHOLDS[0]):
        possible = free & (overlap[d] >= THRESHOLDS[:, None])
        wanted = possible & ~ignored
        pool = np.where(wanted.any(-1, keepdims=True), wanted, possible)
        found = pool.any(-1)
        best = np.where(pool, overlap[d], -1.0).argmax(-1)
        outcomes[d][found] = np.where(ignored[rows, 0, best], _IGNORED, _HIT)[found]
        free[rows[found], columns[found], best[found]] = crowd[best[found]]  # a crowd can be found many times
    return outcomes


def _to_sizes(boxes: np.ndarray) -> np.ndarray:
    """Corners to x, y, width, height, in which pycocotools reckons (the last bit can decide a match)."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def _outside(area: np.ndarray) -> np.ndarray:
    """Which areas (N,) are outside of each range: bool (4, N)."""
    return (area < AREAS[:, :1]) | (area > AREAS[:, 1:])


def _overlaps(boxes: np.ndarray, truths: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersection over union (D, G); over the detection's own area where the truth is a crowd."""
    a, b = boxes[:, None], truths[None]
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.where((sides > 0).all(-1), sides[..., 0] * sides[..., 1], 0.0)
    own = a[..., 2] * a[..., 3]
    union = np.where(crowd, own, own + b[..., 2] * b[..., 3] - common)
    overlap: np.ndarray = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    return overlap
