"""How like one picture is to another: PSNR and SSIM, equal to scikit-image's."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

WINDOW = 7  # pixels of the side of the window that SSIM looks through


def psnr(picture: Pixels, truth: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, infinite for equal pictures.

    Args:
        picture, truth: (H, W, C) uint8.
    """
    error = float(np.mean((picture.astype(np.float64) - truth.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(picture: Pixels, truth: Pixels) -> float:
    """Structural similarity (Wang et al. 2004), the mean of the channels: 1 for equal pictures.

    With a flat window of 7 pixels, as scikit-image has it by default. NaN for pictures smaller than the window.

    Args:
        picture, truth: (H, W, C) uint8.
    """
    if min(picture.shape[:2]) < WINDOW:
        return math.nan
    a, b = picture.astype(np.float64), truth.astype(np.float64)
    count = WINDOW**2
    unbiased = count / (count - 1)
    mean_a, mean_b = _means(a), _means(b)
    var_a = unbiased * (_means(a * a) - mean_a * mean_a)
    var_b = unbiased * (_means(b * b) - mean_b * mean_b)
    both = unbiased * (_means(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    bottom = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(np.mean(top / bottom))


def _means(array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of all windows that lie inside: (H - 6, W - 6, C)."""
    total = np.pad(array, ((1, 0), (1, 0), (0, 0))).cumsum(0).cumsum(1)
    k = WINDOW
    return np.asarray((total[k:, k:] - total[:-k, k:] - total[k:, :-k] + total[:-k, :-k]) / k**2)
