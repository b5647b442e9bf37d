"""Forecasts of series: quantiles of distributions, and the metrics of the field."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def normal_quantile(q: float) -> float:
    """Where the standard normal distribution has passed the share q, 0..1."""
    return NormalDist().inv_cdf(q)


def student_quantile(q: float, df: npt.ArrayLike, points: int = 4001) -> Floats:
    """Where Student's distribution has passed the share q; `df` (more than 1) may have any shape.

    With t = sqrt(df) tan(a), its density is cos(a)^(df - 1) up to a constant, which is summed up over even steps of a.
    """
    freedom = np.asarray(df, np.float64)
    angles = np.linspace(-np.pi / 2, np.pi / 2, points)
    flat = np.maximum(freedom.reshape(-1, 1), 1.0 + 1e-6)
    density = np.maximum(np.cos(angles), 0.0) ** (flat - 1)
    middle = np.maximum(np.cos((angles[1:] + angles[:-1]) / 2), 0.0) ** (flat - 1)
    shares = np.cumsum(density[:, :-1] + 4 * middle + density[:, 1:], axis=1)  # Simpson's rule
    shares = np.concatenate([np.zeros((len(flat), 1)), shares / shares[:, -1:]], axis=1)
    found = np.array([np.interp(q, row, angles) for row in shares])
    return np.asarray((np.sqrt(flat[:, 0]) * np.tan(found)).reshape(freedom.shape))


def pinball(truth: Floats, found: Floats, q: float) -> Floats:
    """Loss of a quantile at each step: too low costs q, too high 1 - q."""
    gap = truth - found
    return np.asarray(np.maximum(q * gap, (q - 1) * gap))


def mase(history: Floats, truth: Floats, found: Floats, season: int = 1) -> float:
    """Mean absolute error, in units of that of repeating the value of a season before within the history.

    Args:
        history, truth, found: (T, C), (H, C), (H, C).

    NaN where the history does not vary, or is no longer than a season.
    """
    if len(history) <= season:
        return float("nan")
    scale = np.abs(history[season:] - history[:-season]).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(truth - found).mean(axis=0) / scale
    ratio = ratio[np.isfinite(ratio)]
    return float(ratio.mean()) if len(ratio) else float("nan")


def smape(truth: Floats, found: Floats) -> float:
    """Symmetric mean absolute percentage error, 0..200, as in the M4 competition; two zeros are no error."""
    total = np.abs(truth) + np.abs(found)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total > 0, np.abs(truth - found) / total, 0.0)
    return float(200 * share.mean())


def weighted_loss(truth: Floats, quantiles: Mapping[float, Floats]) -> tuple[float, float]:
    """Numerator and denominator of the weighted quantile loss (WQL): both are summed over series before dividing."""
    losses = [2 * pinball(truth, found, q).sum() for q, found in quantiles.items()]
    return float(np.mean(losses)) if losses else float("nan"), float(np.abs(truth).sum())
