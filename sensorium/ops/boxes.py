"""Boxes as arrays (..., 4): corners `xmin, ymin, xmax, ymax`, or centre form `x, y, width, height`."""

from __future__ import annotations

import numpy as np


def to_corners(boxes: np.ndarray) -> np.ndarray:
    """Centre form to corners."""
    half = boxes[..., 2:] * 0.5
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def to_centres(boxes: np.ndarray) -> np.ndarray:
    """Corners to centre form."""
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) * 0.5, boxes[..., 2:] - boxes[..., :2]], -1)


def area(boxes: np.ndarray) -> np.ndarray:
    """Areas (...) of boxes given by corners; 0 where a box is turned inside out."""
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    product: np.ndarray = sides[..., 0] * sides[..., 1]
    return product


def clip(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Corners, moved to within a picture of this size."""
    inside: np.ndarray = np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))
    return inside


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes a (N, 4) and b (M, 4), given by corners: (N, M), 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = area(np.concatenate([low, high], -1))
    union = area(a)[:, None] + area(b)[None] - common
    ratio: np.ndarray = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ratio
