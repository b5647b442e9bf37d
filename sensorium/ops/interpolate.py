"""Resizing arrays (not pictures): as `torch.nn.functional.interpolate` does it, without aligned corners."""

from __future__ import annotations

import numpy as np

_TOGETHER = 1 << 24  # values that are resized at once in `largest`: about 64 MB


def bilinear(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize the last two axes, reading between the values: (..., H, W) to (..., height, width) float32."""
    array = np.asarray(array, np.float32)
    if array.shape[-2:] == (height, width):
        return array.copy()
    return _rows(_columns(array, width), *_places(array.shape[-2], height))


def nearest(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize the last two axes, taking the value at or above and left of each place."""
    rows, columns = (
        np.minimum((np.arange(new, dtype=np.float32) * np.float32(old / new)).astype(np.int64), old - 1)
        for old, new in zip(array.shape[-2:], (height, width))
    )
    return array[..., rows[:, None], columns]


def largest(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """`bilinear(array, height, width).argmax(0)` of (C, H, W) without holding all of it: (height, width) int64."""
    if array.shape[1:] == (height, width):
        found: np.ndarray = array.argmax(0)
        return found
    wide = _columns(np.asarray(array, np.float32), width)
    low, high, share = _places(array.shape[1], height)
    step = max(1, _TOGETHER // max(1, len(array) * width))
    parts = (slice(start, start + step) for start in range(0, height, step))
    return np.concatenate([_rows(wide, low[p], high[p], share[p]).argmax(0) for p in parts])


def _places(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new place the two old ones that it lies between, and its share of the second, in single precision."""
    scale = float(np.float32(old) / np.float32(new))
    place = np.maximum((scale * (np.arange(new) + 0.5) - 0.5).astype(np.float32), 0)  # rounded once, as fused
    low = np.minimum(place.astype(np.int64), old - 1)
    share = np.clip(place - low.astype(np.float32), 0, 1).astype(np.float32)
    return low, np.minimum(low + 1, old - 1), share


def _columns(array: np.ndarray, width: int) -> np.ndarray:
    low, high, share = _places(array.shape[-1], width)
    result: np.ndarray = array[..., low] * (1 - share) + array[..., high] * share
    return result


def _rows(array: np.ndarray, low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share[:, None]
    result: np.ndarray = array[..., low, :] * (1 - share) + array[..., high, :] * share
    return result
