"""Resizing arrays of real numbers, equal to `torch.nn.functional.interpolate`: maps of depth, masks, heat maps."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Mode = Literal["nearest", "bilinear", "bicubic"]
CUBIC = -0.75  # the constant of the cubic filter, as in PyTorch


def resize(array: Floats, size: tuple[int, int], mode: Mode = "bilinear", align_corners: bool = False) -> Floats:
    """Resize the last two axes.

    Args:
        array: (..., H, W), of real numbers.
        size: (height, width) wanted.
        mode: filter; none of them smooths before it makes smaller.
        align_corners: whether the middles of the corner pixels, and not the corners themselves, stay in place.

    Returns:
        (..., height, width), of the array's type.
    """
    across = _along_last(array, size[1], mode, align_corners)
    return np.ascontiguousarray(_along_last(across.swapaxes(-1, -2), size[0], mode, align_corners).swapaxes(-1, -2))


def _along_last(array: Floats, length: int, mode: Mode, align_corners: bool) -> Floats:
    count = array.shape[-1]
    if count == length:
        return array
    steps = np.arange(length, dtype=np.float32)
    if mode == "nearest":
        scale = np.float32(count / length)
        return array[..., np.minimum((steps * scale).astype(np.int64), count - 1)]
    if align_corners:
        places = steps * np.float32((count - 1) / (length - 1) if length > 1 else 0)
    else:  # one rounding at the end, as a fused multiplication and addition has it
        places = ((steps + 0.5).astype(np.float64) * np.float32(count / length) - 0.5).astype(np.float32)
    if mode == "bilinear":
        places = np.maximum(places, 0)
        low = np.minimum(places.astype(np.int64), count - 1)
        rest = (places - low).astype(array.dtype)
        high = np.minimum(low + 1, count - 1)
        return np.asarray(array[..., low] * (1 - rest) + array[..., high] * rest)
    low = np.floor(places).astype(np.int64)
    rest = (places - low).astype(array.dtype)
    total = np.zeros((*array.shape[:-1], length), array.dtype)
    for tap in range(-1, 3):
        total += array[..., np.clip(low + tap, 0, count - 1)] * _cubic(np.abs(rest - tap))
    return total


def _cubic(distance: Floats) -> Floats:
    """Weight of a pixel at this distance, 0..2 (Keys 1981)."""
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
    far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
    return np.where(distance <= 1, near, far).astype(distance.dtype)


def smooth_resize(array: Floats, size: tuple[int, int]) -> Floats:
    """Resize the last two axes linearly, smoothed by a Gaussian first where they become smaller.

    Equal to `scipy.ndimage.gaussian_filter` and `zoom` (mirrored borders, `grid_mode`), as scikit-image resizes.
    """
    result = array
    for axis, length in ((-2, size[0]), (-1, size[1])):
        result = _smooth(result, axis, (array.shape[axis] / length - 1) / 2)
    result = result.astype(np.float64)
    for axis, length in ((-2, size[0]), (-1, size[1])):
        result = _mirrored_zoom(result.swapaxes(axis, -1), length).swapaxes(axis, -1)
    return np.clip(result, array.min(), array.max()).astype(array.dtype)


def _smooth(array: Floats, axis: int, sigma: float) -> Floats:
    if sigma <= 1e-15:
        return array
    radius = int(4 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    lines = np.pad(
        array.swapaxes(axis, -1).astype(np.float64), [(0, 0)] * (array.ndim - 1) + [(radius, radius)], mode="reflect"
    )
    count = array.shape[axis]
    total = sum(w * lines[..., k : k + count] for k, w in enumerate(weights))
    return np.asarray(total).swapaxes(axis, -1).astype(array.dtype)


def _mirrored_zoom(array: Floats, length: int) -> Floats:
    count = array.shape[-1]
    if count == 1:
        return np.repeat(array, length, -1)
    places = np.abs((np.arange(length) + 0.5) * (count / length) - 0.5)
    places = np.minimum(places, 2 * (count - 1) - places)
    low = np.minimum(places.astype(np.int64), count - 2)
    rest = places - low
    return np.asarray(array[..., low] * (1 - rest) + array[..., low + 1] * rest)
