"""Masks, bool (height, width): from outlines and run lengths as COCO writes them, and how they overlap.

Equal to pycocotools, pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FINER = 5  # outlines are followed on a grid this much finer than the pixels


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
    """The pixels inside of any of the outlines.

    Args:
        polygons: x, y, x, y ... of each, in pixels.
    """
    mask = np.zeros((height, width), bool)
    for outline in polygons:
        if len(outline) >= 6:
            mask |= _inside(np.asarray(outline[: len(outline) // 2 * 2], np.float64).reshape(-1, 2), height, width)
    return mask


def _inside(points: np.ndarray, height: int, width: int) -> np.ndarray:
    corners = np.trunc(np.clip(points, -1e6, 1e6) * _FINER + 0.5).astype(np.int64)
    us, vs = [], []
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0)):
        across, down = abs(x1 - x0), abs(y1 - y0)
        flat = across >= down
        turned = x0 > x1 if flat else y0 > y1
        if turned:
            x0, y0, x1, y1 = x1, y1, x0, y0
        steps = np.arange(max(across, down) + 1)[:: -1 if turned else 1]
        slope = ((y1 - y0) / across if across else 0.0) if flat else (x1 - x0) / down
        us.append(steps + x0 if flat else np.trunc(x0 + slope * steps + 0.5).astype(np.int64))
        vs.append(np.trunc(y0 + slope * steps + 0.5).astype(np.int64) if flat else steps + y0)
    u, v = np.concatenate(us), np.concatenate(vs)
    # Where the outline goes from one column of the fine grid to the next one, it enters or leaves the mask.
    moved = np.flatnonzero(u[1:] != u[:-1]) + 1
    x = (np.minimum(u[moved], u[moved - 1]) + 0.5) / _FINER - 0.5
    y = np.ceil(np.clip((np.minimum(v[moved], v[moved - 1]) + 0.5) / _FINER - 0.5, 0, height)).astype(np.int64)
    middle = (np.floor(x) == x) & (x >= 0) & (x <= width - 1)
    turns = np.bincount(x[middle].astype(np.int64) * height + y[middle], minlength=height * width + 1)
    inside: np.ndarray = (np.cumsum(turns[: height * width]) % 2 == 1).reshape(width, height).T
    return inside


def from_counts(counts: str | Sequence[int], height: int, width: int) -> np.ndarray:
    """A mask from its run lengths, column by column, the first of zeros; as numbers, or packed in a text.

    Raises:
        ValueError: they do not fill the mask.
    """
    lengths = _unpack(counts) if isinstance(counts, str) else [int(n) for n in counts]
    if any(n < 0 for n in lengths) or sum(lengths) != height * width:
        raise ValueError(f"run lengths do not add up to {height} x {width}")
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return inside.reshape(width, height).T


def _unpack(text: str) -> list[int]:
    """Numbers of 5 bits a character, each but the first three less the last but one."""
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 50:
            raise ValueError("these are no packed run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    return lengths


def areas(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Pixels of each, int64 (N,)."""
    return np.array([np.count_nonzero(m) for m in masks], np.int64)


def common(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """Pixels that each of `a` shares with each of `b`, float64 (N, M)."""
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    left = np.stack([m.reshape(-1) for m in a]).astype(np.float32)
    right = np.stack([m.reshape(-1) for m in b]).astype(np.float32)
    step = 1 << 22  # sums of ones are exact in single precision up to 2 ** 24
    parts = (slice(start, start + step) for start in range(0, left.shape[1], step))
    shared = [(left[:, p] @ right[:, p].T).astype(np.float64) for p in parts]
    total: np.ndarray = np.sum(shared, 0)
    return total


def iou(a: Sequence[np.ndarray], b: Sequence[np.ndarray], crowd: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union (N, M), 0 where both are empty; over the area of `a` where `b` is a crowd."""
    shared = common(a, b)
    own = areas(a)[:, None]
    union = own + areas(b)[None] - shared
    if crowd is not None:
        union = np.where(crowd, own, union)
    ratio: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """(xmin, ymin, xmax, ymax) around the pixels, the last ones not included; None where there are none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
