"""How well vectors find their like: recall at k and mean average precision, by cosine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

CUTS = (1, 5, 10)


def unit(vectors: Floats) -> Floats:
    """Rows of length 1 (a row of zeros stays)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


def found(vectors: Floats, labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """What each vector finds among all others: (N, 4): whether one of its label is within the first 1, 5, 10, and the
    average precision. NaN where no other has its label.

    Args:
        vectors: (N, D).
        labels: N of them.
    """
    rows = unit(np.asarray(vectors, np.float64))
    names = np.array(labels, dtype=object)
    results = np.full((len(rows), len(CUTS) + 1), np.nan)
    for i, row in enumerate(rows):
        right = names == names[i]
        right[i] = False
        if not right.any():
            continue
        likeness = rows @ row
        likeness[i] = -np.inf
        hits = right[np.argsort(-likeness, kind="stable")[:-1]]
        places = np.flatnonzero(hits)
        results[i, : len(CUTS)] = [places[0] < cut for cut in CUTS]
        results[i, -1] = np.mean(np.arange(1, len(places) + 1) / (places + 1))
    return results
