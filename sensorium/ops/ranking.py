"""The best of many, without putting all of them in order."""

from __future__ import annotations

import numpy as np


def highest(scores: np.ndarray, count: int | None = None) -> np.ndarray:
    """Indices of the highest scores, the highest first and equal ones in their order; not-a-number comes last.

    Args:
        scores: (N,) of any kind of number that has a sign.
        count: how many; None for all.

    Returns:
        (min(N, count),) int64: `argsort(-scores, kind="stable")[:count]`.
    """
    if count is None or not 0 < count < len(scores):
        return np.argsort(-scores, kind="stable")[:count]
    negative = -scores
    some = np.flatnonzero(negative <= np.partition(negative, count - 1)[count - 1])
    if len(some) < count:  # there are less numbers than are asked for
        some = np.arange(len(scores))
    return some[np.argsort(negative[some], kind="stable")[:count]]
