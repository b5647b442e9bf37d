"""Lines that are crossed and zones that are entered by what is tracked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

Point = Sequence[float]


def inside(points: np.ndarray, polygon: Sequence[Point]) -> np.ndarray:
    """Which points (N, 2) lie in a polygon (even-odd rule; of shared edges each point is in one polygon only)."""
    corners = np.asarray(polygon, dtype=np.float64)
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    start, end = corners[None], np.roll(corners, -1, 0)[None]
    x, y = points[:, 0:1], points[:, 1:2]
    spans = (start[..., 1] > y) != (end[..., 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        edge = start[..., 0] + (y - start[..., 1]) / (end[..., 1] - start[..., 1]) * (end[..., 0] - start[..., 0])
    crossed: np.ndarray = (spans & (x < edge)).sum(1) % 2 == 1
    return crossed


def crossing(before: Point, after: Point, line: tuple[Point, Point]) -> int:
    """Whether a step crosses a line.

    Args:
        before, after: where something was and is, in pixels (y grows downwards).
        line: its two ends.

    Returns:
        1 if the step goes over to the right of the line, as one looks from its first end to its second; -1 if to the
        left; 0 if it does not cross. What is on the line counts as right of it: so no crossing counts twice.
    """
    start, end, was, now = (np.asarray(p, dtype=np.float64) for p in (*line, before, after))
    side = _right(now, start, end)
    # The step's ends are on different sides of the line, and the line's ends on different sides of the step.
    if _right(was, start, end) == side or _right(start, was, now) == _right(end, was, now):
        return 0
    return 1 if side else -1


def crossings(frames: Iterable[Mapping[int, Point]], line: tuple[Point, Point]) -> Iterator[list[tuple[int, int]]]:
    """For each frame, (identity, direction) of what has crossed the line since it was last seen.

    Args:
        frames: for each frame, where each identity is (see `feet`).
        line: its two ends; for the direction see `crossing`.
    """
    last: dict[int, Point] = {}
    for places in frames:
        found = [(i, crossing(last[i], place, line)) for i, place in places.items() if i in last]
        last.update(places)
        yield [(i, direction) for i, direction in found if direction]


def presence(frames: Iterable[Mapping[int, Point]], polygon: Sequence[Point]) -> Iterator[list[int]]:
    """For each frame, the identities inside of the polygon."""
    for places in frames:
        there = inside(np.array(list(places.values()), dtype=np.float64), polygon)
        yield [i for i, within in zip(places, there) if within]


def feet(box: Sequence[float]) -> tuple[float, float]:
    """Where something stands: the middle of the lower edge of its box (xmin, ymin, xmax, ymax)."""
    return (box[0] + box[2]) / 2, box[3]


def _right(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> bool:
    """Whether a point is right of (or on) the line from start to end."""
    along, to = end - start, point - start
    return bool(along[0] * to[1] - along[1] * to[0] >= 0)
