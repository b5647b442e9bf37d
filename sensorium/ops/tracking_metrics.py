"""HOTA, MOTA and IDF1 of tracked boxes, equal to TrackEval's: count each sequence once, then score any selection.

HOTA: Luiten et al. 2020, https://arxiv.org/abs/2009.07736. CLEAR MOT (MOTA): Bernardin and Stiefelhagen 2008,
https://doi.org/10.1155/2008/246309. Identity (IDF1): Ristani et al. 2016, https://arxiv.org/abs/1609.01775.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.ops.assignment import best_pairs

ALPHAS = np.arange(0.05, 0.99, 0.05)  # overlaps at which HOTA looks
THRESHOLD = 0.5  # overlap from which MOTA and IDF1 count a box as found
# What MOTChallenge annotates so that finding it is neither right nor wrong.
DISTRACTORS = frozenset({"person on vehicle", "static person", "distractor", "reflection"})
_EPSILON = float(np.finfo(float).eps)

# One frame: identities of the truths (G,) and of the predictions (P,), int64, and their overlap (G, P).
Frame = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Counts:
    """What the metrics need to know of one class in one sequence; sums over sequences and classes.

    Attributes:
        hits, misses, extras: (19,) boxes that are found, not found, and made up, at each overlap in `ALPHAS`.
        association: (19,) sum over the hits of how well their identities are kept.
        found, missed, made_up, switches: boxes, and changes of identity, as CLEAR MOT counts them.
        identified, unidentified, misidentified: IDTP, IDFN, IDFP.
    """

    hits: np.ndarray
    misses: np.ndarray
    extras: np.ndarray
    association: np.ndarray
    found: int
    missed: int
    made_up: int
    switches: int
    identified: int
    unidentified: int
    misidentified: int


def metrics(counts: Sequence[Counts]) -> dict[str, float]:
    """The metrics over sequences and classes, combined as TrackEval combines them (classes: detection-averaged).

    Returns:
        `hota`, `deta`, `assa` (means over the overlaps), `mota`, `idf1`, 1 is best, and `switches`, a number.
        Without any truth and prediction they are 0, as in TrackEval.
    """
    hits = sum((c.hits for c in counts), np.zeros(len(ALPHAS)))
    misses = sum((c.misses for c in counts), np.zeros(len(ALPHAS)))
    extras = sum((c.extras for c in counts), np.zeros(len(ALPHAS)))
    detection = hits / np.maximum(1, hits + misses + extras)
    association = sum((c.association for c in counts), np.zeros(len(ALPHAS))) / np.maximum(1, hits)
    found, missed, made_up = (sum(getattr(c, name) for c in counts) for name in ("found", "missed", "made_up"))
    switches = sum(c.switches for c in counts)
    identified = sum(c.identified for c in counts)
    wrong = sum(c.unidentified + c.misidentified for c in counts)
    return {
        "hota": float(np.sqrt(detection * association).mean()),
        "deta": float(detection.mean()),
        "assa": float(association.mean()),
        "mota": (found - made_up - switches) / max(1, found + missed),
        "idf1": identified / max(1.0, identified + 0.5 * wrong),
        "switches": float(switches),
    }


def compare(
    truths: Sequence[Sequence[Mapping[str, Any]]],
    predictions: Sequence[Sequence[Mapping[str, Any]]],
    labels: Collection[str],
    distractors: Collection[str] = DISTRACTORS,
) -> list[Counts]:
    """Count one sequence, each class by itself, with the preprocessing of MOTChallenge.

    Predictions that lie on a distractor are taken out. Truths with `ignore` (MOTChallenge marks them with a zero)
    and those of classes that are not looked for are taken out, but not what was predicted there.

    Args:
        truths: for each frame the objects, each with `id` (int), `label`, `box` (xmin, ymin, xmax, ymax), `ignore`.
        predictions: for each frame the objects, each with `id`, `label`, `box`.
        labels: the classes to look for.
        distractors: classes where predictions do not count.

    Raises:
        ValueError: the numbers of frames differ, or an identity appears twice in one frame.
    """
    if len(truths) != len(predictions):
        raise ValueError(f"{len(truths)} frames with truths, but {len(predictions)} with predictions")
    counts = []
    for label in sorted(labels):
        frames = [_frame(t, p, label, distractors, f"frame {i}") for i, (t, p) in enumerate(zip(truths, predictions))]
        if any(len(t) or len(p) for t, p, _ in frames):
            counts.append(count(frames))
    return counts


def count(frames: Sequence[Frame]) -> Counts:
    """Count one class in one sequence."""
    truth_ids, truth_sizes = _ids([t for t, _, _ in frames])
    found_ids, found_sizes = _ids([p for _, p, _ in frames])
    total, predicted = sum(truth_sizes), sum(found_sizes)
    if not total or not predicted:
        nothing = np.zeros(len(ALPHAS))
        return Counts(
            nothing, nothing + total, nothing + predicted, nothing, 0, total, predicted, 0, 0, total, predicted
        )
    numbered = [(np.searchsorted(truth_ids, t), np.searchsorted(found_ids, p), overlap) for t, p, overlap in frames]
    truth_lengths = _lengths([t for t, _, _ in numbered], len(truth_ids))
    found_lengths = _lengths([p for _, p, _ in numbered], len(found_ids))
    hits, association = _hota(numbered, truth_lengths, found_lengths)
    found, switches = _clear(numbered, len(truth_ids))
    identified = _identity(numbered, len(truth_ids), len(found_ids))
    return Counts(
        hits,
        total - hits,
        predicted - hits,
        association,
        found,
        total - found,
        predicted - found,
        switches,
        identified,
        total - identified,
        predicted - identified,
    )


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (A, 4) and (B, 4) as xmin, ymin, xmax, ymax: (A, B); 0 for empty boxes."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.maximum(sides, 0).prod(-1)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b))
    union = area_a[:, None] + area_b - common
    valid = (area_a[:, None] > _EPSILON) & (area_b > _EPSILON) & (union > _EPSILON)
    result: np.ndarray = np.divide(common, union, out=np.zeros_like(common), where=valid)
    return result


def _frame(
    truths: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    label: str,
    distractors: Collection[str],
    where: str,
) -> Frame:
    """The truths and predictions of one class in one frame, after preprocessing."""
    found = [p for p in predictions if p["label"] == label]
    wanted = np.array([t["label"] == label and not t.get("ignore") for t in truths], dtype=bool)
    truth_ids = np.array([t["id"] for t in truths], dtype=np.int64)
    found_ids = np.array([p["id"] for p in found], dtype=np.int64)
    for ids in (truth_ids[wanted], found_ids):
        if len(np.unique(ids)) < len(ids):
            raise ValueError(f"{where}: the same identity twice")
    overlap = overlaps(_boxes(truths), _boxes(found))
    if label not in distractors and any(t["label"] in distractors for t in truths):
        rows, columns = best_pairs(np.where(overlap < THRESHOLD - _EPSILON, 0.0, overlap))
        on_distractor = columns[[truths[row]["label"] in distractors for row in rows]]
        found_ids, overlap = np.delete(found_ids, on_distractor), np.delete(overlap, on_distractor, 1)
    return truth_ids[wanted], found_ids, overlap[wanted]


def _boxes(objects: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([o["box"] for o in objects], dtype=np.float64).reshape(-1, 4)


def _ids(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """All identities, sorted, and how many boxes there are in each frame."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *frames])), [len(f) for f in frames]


def _lengths(frames: Sequence[np.ndarray], identities: int) -> np.ndarray:
    """In how many frames each identity is there."""
    return np.bincount(np.concatenate(frames), minlength=identities)


def _hota(
    frames: Sequence[Frame], truth_lengths: np.ndarray, found_lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hits, and the sum over the hits of how well their identities go together, at each overlap."""
    # How well a truth's and a prediction's whole tracks go together, before anything is matched.
    together = np.zeros((len(truth_lengths), len(found_lengths)))
    for truths, found, overlap in frames:
        either = overlap.sum(0)[None, :] + overlap.sum(1)[:, None] - overlap
        share = np.divide(overlap, either, out=np.zeros_like(overlap), where=either > _EPSILON)
        together[truths[:, None], found] += share
    alignment = together / (truth_lengths[:, None] + found_lengths - together)
    pairs, similarity = [], []
    for truths, found, overlap in frames:
        rows, columns = best_pairs(alignment[truths[:, None], found] * overlap)
        pairs.append(truths[rows] * len(found_lengths) + found[columns])
        similarity.append(overlap[rows, columns])
    pair, which = np.unique(np.concatenate(pairs), return_inverse=True)
    hit = np.concatenate(similarity)[:, None] >= ALPHAS - _EPSILON
    times = np.stack([np.bincount(which[column], minlength=len(pair)) for column in hit.T])
    lengths = truth_lengths[pair // len(found_lengths)] + found_lengths[pair % len(found_lengths)]
    association = (times * (times / np.maximum(1, lengths - times))).sum(1)
    return hit.sum(0).astype(float), association


def _clear(frames: Sequence[Frame], identities: int) -> tuple[int, int]:
    """Boxes found, and changes of the identity under which a truth is found."""
    hits, switches = 0, 0
    last = np.full(identities, -1)  # under which identity each truth was found last ...
    before = np.full(identities, -1)  # ... and in the frame before, if it was
    for truths, found, overlap in frames:
        if not len(truths) or not len(found):
            continue
        # Going on with the identity of the frame before comes first, then overlap.
        wish = 1000 * (found == before[truths][:, None]) + overlap
        rows, columns = best_pairs(np.where(overlap < THRESHOLD - _EPSILON, 0.0, wish))
        truth, identity = truths[rows], found[columns]
        switches += int(((last[truth] >= 0) & (last[truth] != identity)).sum())
        last[truth] = identity
        before[:] = -1
        before[truth] = identity
        hits += len(rows)
    return hits, switches


def _identity(frames: Sequence[Frame], truths: int, found: int) -> int:
    """Boxes found under the one identity that suits each truth best over the whole sequence."""
    times = np.zeros((truths, found))
    for truth, prediction, overlap in frames:
        rows, columns = np.nonzero(overlap >= THRESHOLD)
        times[truth[rows], prediction[columns]] += 1
    rows, columns = best_pairs(times)
    return int(times[rows, columns].sum())
