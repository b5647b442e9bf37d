"""How far maps of depth are off: the measures of Eigen et al. (2014), as KITTI and NYU benchmarks use them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

LEAST = 1e-6


def known(truth: Floats) -> npt.NDArray[np.bool_]:
    """Where the true depth is known: finite and above 0."""
    return np.asarray(np.isfinite(truth) & (truth > 0))


def errors(predicted: Floats, truth: Floats) -> dict[str, float]:
    """Measures over the pixels whose true depth is known; NaN where there is none.

    Args:
        predicted, truth: (H, W), in the same unit; predictions of 0 or less count as nearly 0.

    Returns:
        `abs_rel`: mean of |predicted - truth| / truth; `delta1`: share within a factor of 1.25; `rmse`.
    """
    where = known(truth)
    if not where.any():
        return {"abs_rel": float("nan"), "delta1": float("nan"), "rmse": float("nan")}
    a, b = np.maximum(predicted[where].astype(np.float64), LEAST), truth[where].astype(np.float64)
    return {
        "abs_rel": float(np.mean(np.abs(a - b) / b)),
        "delta1": float(np.mean(np.maximum(a / b, b / a) < 1.25)),
        "rmse": float(np.sqrt(np.mean((a - b) ** 2))),
    }


def from_relative(predicted: Floats, truth: Floats) -> Floats:
    """The depth that a prediction of nearness without a unit (MiDaS, Depth Anything) means: (H, W).

    Scale and shift are fitted to the inverse of the true depth by least squares, as Ranftl et al. (2022) do it.
    """
    where = known(truth)
    if not where.any():
        return predicted
    near, inverse = predicted[where].astype(np.float64), 1 / truth[where].astype(np.float64)
    spread = near.var()
    scale = ((near - near.mean()) * (inverse - inverse.mean())).mean() / spread if spread > 0 else 0.0
    fitted = (predicted - near.mean()) * scale + inverse.mean()
    return np.asarray(1 / np.maximum(fitted, inverse.min() / 10))
