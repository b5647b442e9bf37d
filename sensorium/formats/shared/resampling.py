"""The weights with which an axis of pictures is resized, as matrices of (wanted, given)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

TABLE = 1024  # steps of TensorFlow's table of cubic weights


def cubic(size: int, wanted: int, corners: bool, half: bool) -> np.ndarray:
    """The weights (wanted, size) of ResizeBicubic. Source: core/util/image_resizer_state.h, resize_bicubic_op.cc."""
    scale = np.float32((size - 1) / (wanted - 1) if corners and wanted > 1 else size / wanted)
    a = -0.5 if half else -0.75
    result = np.zeros((wanted, size))
    for i in range(wanted):
        place = (np.float32(i) + np.float32(0.5)) * scale - np.float32(0.5) if half else np.float32(i) * scale
        low = int(np.floor(place))
        step = round(float(place - low) * TABLE) / TABLE
        weights = []
        for x in (1 + step, step, 1 - step, 2 - step):
            near = ((a + 2) * x - (a + 3)) * x * x + 1
            weights.append(near if x <= 1 else ((a * x - 5 * a) * x + 8 * a) * x - 4 * a)
        inside = [not half or 0 <= low + k - 1 < size for k in range(4)]
        total = sum(w for w, ok in zip(weights, inside) if ok) if half else 1.0
        for k, (w, ok) in enumerate(zip(weights, inside)):
            if ok:
                result[i, min(max(low + k - 1, 0), size - 1)] += w / total
    return result


def area(size: int, wanted: int, corners: bool, half: bool) -> np.ndarray:
    """The weights (wanted, size) of ResizeArea: shares of what each pixel covers."""
    scale = (size - 1) / (wanted - 1) if corners and wanted > 1 else size / wanted
    edges = np.arange(wanted)[:, None] * scale
    pixels = np.arange(size)[None]
    covered = np.minimum(pixels + 1, edges + scale) - np.maximum(pixels, edges)
    return np.asarray(np.maximum(covered, 0) / scale)


def _lanczos(radius: int) -> Callable[[float], float]:
    return lambda x: (
        0.0
        if x >= radius
        else 1.0
        if x < 1e-3
        else (radius * math.sin(math.pi * x) * math.sin(math.pi * x / radius) / (math.pi * x) ** 2)
    )


def _keys(x: float) -> float:
    if x >= 2:
        return 0.0
    if x >= 1:
        return ((-0.5 * x + 2.5) * x - 4) * x + 2
    return (1.5 * x - 2.5) * x * x + 1


def _mitchell(x: float) -> float:
    if x >= 2:
        return 0.0
    if x >= 1:
        return (((-7 / 18) * x + 2) * x - 10 / 3) * x + 16 / 9
    return (((7 / 6) * x - 2) * x) * x + 8 / 9


# Name to radius and kernel. Source: core/kernels/image/sampling_kernels.h of TensorFlow.
KERNELS: dict[str, tuple[float, Callable[[float], float]]] = {
    "bilinear": (1, lambda x: max(0.0, 1 - x)),
    "bicubic": (2, _keys),
    "lanczos3": (3, _lanczos(3)),
    "lanczos5": (5, _lanczos(5)),
    "triangle": (1, lambda x: max(0.0, 1 - x)),
    "lanczos1": (1, _lanczos(1)),
    "keyscubic": (2, _keys),
    "mitchellcubic": (2, _mitchell),
    "gaussian": (1.5, lambda x: math.exp(-x * x / (2 * 0.5**2)) if x < 1.5 else 0.0),
    "box": (1, lambda x: 1.0 if x < 0.5 else 0.5 if x == 0.5 else 0.0),
}


def scaled(size: int, wanted: int, kernel: str, antialias: bool, scale: float | None = None,
           shift: float = 0.0) -> np.ndarray:  # fmt: skip
    """The weights of ScaleAndTranslate. Source: core/kernels/image/scale_and_translate_op.cc."""
    radius, function = KERNELS[kernel]
    inverse = 1 / (wanted / size if scale is None else scale)
    stretch = max(inverse, 1.0) if antialias else 1.0
    result = np.zeros((wanted, size))
    for i in range(wanted):
        place = (i + 0.5) * inverse - shift * inverse
        if not 0 <= place <= size:
            continue
        low = max(math.ceil(place - radius * stretch - 0.5), 0)
        high = min(math.floor(place + radius * stretch - 0.5), size - 1)
        weights = [function(abs((j + 0.5 - place) / stretch)) for j in range(low, high + 1)]
        total = sum(weights)
        if abs(total) >= 1000 * np.finfo(np.float32).tiny:
            result[i, low : high + 1] = np.array(weights) / total
    return result
