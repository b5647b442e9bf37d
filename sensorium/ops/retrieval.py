"""How well a ranking finds what belongs to a question: nDCG, reciprocal rank and recall, equal to ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt


def measures(
    ranking: Sequence[str], grades: Mapping[str, float], depths: Sequence[int] = (10, 100)
) -> dict[str, float]:
    """Measures of one ranking.

    Args:
        ranking: documents, the best first.
        grades: how much each document belongs to the question; those not named do not (0).
        depths: of the recall.

    Returns:
        `ndcg_at_10` (the grade is the gain), `mrr_at_10`, and `recall_at_N` for each depth; NaN where nothing belongs.
    """
    right = {name for name, grade in grades.items() if grade > 0}
    if not right:
        return dict.fromkeys(["ndcg_at_10", "mrr_at_10", *(f"recall_at_{n}" for n in depths)], float("nan"))
    gains = np.array([max(0.0, grades.get(name, 0.0)) for name in ranking[:10]])
    best = np.array(sorted((grades[name] for name in right), reverse=True)[:10])
    discounts = 1 / np.log2(np.arange(2, 12))
    first = next((rank for rank, gain in enumerate(gains, 1) if gain > 0), None)
    found = {
        "ndcg_at_10": float((gains * discounts[: len(gains)]).sum() / (best * discounts[: len(best)]).sum()),
        "mrr_at_10": 0.0 if first is None else 1 / first,
    }
    return found | {f"recall_at_{n}": len(right & set(ranking[:n])) / len(right) for n in depths}


def ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


def pearson(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Correlation of two series; NaN where one of them does not vary."""
    x, y = (np.asarray(v, np.float64) - np.mean(np.asarray(v, np.float64)) for v in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y))) if len(x) > 1 else 0.0
    return float(x @ y) / scale if scale > 0 else float("nan")


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Correlation of the ranks of two series, equal to SciPy's."""
    return pearson(ranks(a), ranks(b))
