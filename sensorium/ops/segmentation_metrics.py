"""How good segments are: mean intersection over union of classes, and panoptic quality of objects.

The first is that of the `mean_iou` metric of `evaluate` (of MMSegmentation before it), the second that of
`panopticapi` (https://arxiv.org/abs/1801.00868). Pixels that no true segment covers are void: they count for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.ops import masks


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one picture, a row for each class in it.

    Attributes:
        labels: the classes.
        pixels: int64 (N, 3): common to both, predicted, true; without void.
        objects: float64 (N, 4): sum of the overlaps of the objects found, objects found, wrong, missed.
    """

    labels: tuple[str, ...]
    pixels: np.ndarray
    objects: np.ndarray


def count(
    labels: Sequence[str],
    found: Sequence[np.ndarray],
    truth_labels: Sequence[str],
    truths: Sequence[np.ndarray],
    crowd: np.ndarray,
) -> Counts:
    """Compare the segments of one picture with the true ones.

    Args:
        found, truths: masks, bool (height, width); where they overlap, the smaller one is on top.
        crowd: bool (N,), which of the truths are groups, whose members are not told apart.
    """
    names = tuple(sorted({*labels, *truth_labels}))
    index = {name: i for i, name in enumerate(names)}
    pixels = np.zeros((len(names), 3), np.int64)
    objects = np.zeros((len(names), 4))
    if truths:
        # One number a pixel: which segment, from 1; 0 for none.
        mine, real = _map(found, truths[0].shape), _map(truths, truths[0].shape)
        table = np.bincount(
            mine.reshape(-1) * (len(truths) + 1) + real.reshape(-1), minlength=(len(found) + 1) * (len(truths) + 1)
        )
        table = table.reshape(len(found) + 1, len(truths) + 1)
        kinds, real_kinds = [index[name] for name in labels], [index[name] for name in truth_labels]
        np.add.at(pixels[:, 1], kinds, table[1:, 1:].sum(1))
        np.add.at(pixels[:, 2], real_kinds, table[:, 1:].sum(0))
        np.add.at(pixels[:, 0], kinds, (table[1:, 1:] * np.equal.outer(kinds, real_kinds)).sum(1))
        _match(objects, table, np.array(kinds, int), np.array(real_kinds, int), crowd)
    return Counts(names, pixels, objects)


def _map(segments: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    which = np.zeros(shape, np.int64)
    for i in np.argsort(-masks.areas(segments), kind="stable"):
        which[segments[i]] = i + 1
    return which


def _match(objects: np.ndarray, table: np.ndarray, kinds: np.ndarray, real: np.ndarray, crowd: np.ndarray) -> None:
    """Two segments of one class are the same object where they overlap by more than a half: then no other one can."""
    shared = table[1:, 1:].astype(np.float64)
    own, theirs = table[1:].sum(1), table[:, 1:].sum(0)
    union = own[:, None] + theirs[None] - shared - table[1:, :1]
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    hit = (iou > 0.5) & (kinds[:, None] == real[None]) & ~crowd[None]
    rows, columns = np.nonzero(hit)
    np.add.at(objects[:, 0], kinds[rows], iou[rows, columns])
    np.add.at(objects[:, 1], kinds[rows], 1)
    np.add.at(objects[:, 3], real[(~hit.any(0)) & ~crowd & (theirs > 0)], 1)
    # A segment that lies mostly in the void, or in a crowd of its class, is no mistake.
    same_crowd = (shared * (crowd[None] & (kinds[:, None] == real[None]))).sum(1)
    excused = np.divide(table[1:, 0] + same_crowd, own, out=np.ones(len(own)), where=own > 0) > 0.5
    np.add.at(objects[:, 2], kinds[~hit.any(1) & ~excused], 1)


def score(counts: Sequence[Counts], objects: bool) -> dict[str, float]:
    """The metrics over these pictures; NaN where there is nothing to measure.

    Returns:
        `miou`, `mean_accuracy`, `accuracy` of the pixels; with `objects` also the panoptic quality `pq` and its factors
        `sq` (how well those found fit) and `rq` (how many are found).
    """
    names = sorted({name for c in counts for name in c.labels})
    index = {name: i for i, name in enumerate(names)}
    pixels, things = np.zeros((len(names), 3)), np.zeros((len(names), 4))
    for c in counts:
        rows = [index[name] for name in c.labels]
        pixels[rows] += c.pixels
        things[rows] += c.objects
    both, mine, real = pixels.T
    result = {
        "miou": _mean(both, mine + real - both),
        "mean_accuracy": _mean(both, real),
        "accuracy": float(both.sum() / real.sum()) if real.sum() else float("nan"),
    }
    if objects:
        overlap, hits, wrong, missed = things[things[:, 1:].sum(1) > 0].T
        total = hits + (wrong + missed) / 2
        result["pq"] = _mean(overlap, total)
        result["sq"] = (
            float(np.divide(overlap, hits, out=np.zeros_like(hits), where=hits > 0).mean())
            if len(hits)
            else float("nan")
        )
        result["rq"] = _mean(hits, total)
    return result


def _mean(part: np.ndarray, whole: np.ndarray) -> float:
    known = whole > 0
    return float((part[known] / whole[known]).mean()) if known.any() else float("nan")
