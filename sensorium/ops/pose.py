"""Key points: from heat maps to places in the picture, and how well poses agree.

The places are those of `VitPoseImageProcessor.post_process_pose_estimation`: the peak of each heat map, moved to where
its logarithm, smoothed, would have its maximum (DARK, https://arxiv.org/abs/1910.06278, in the unbiased way of
https://arxiv.org/abs/1911.07524).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# How far people disagree about each of COCO's 17 key points, as a share of the size of the body.
COCO_SIGMAS = np.array(
    [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float64
) / 1000.0  # fmt: skip
OTHER_SIGMA = 0.05
MOST = 20  # poses of one picture that are evaluated, as COCO does


def frame(box: Sequence[float], width: int, height: int, padding: float = 1.25) -> tuple[np.ndarray, np.ndarray]:
    """(centre, size) of what is cut out around a box (xmin, ymin, xmax, ymax): width : height in shape, with a rim."""
    left, top, right, bottom = (float(v) for v in box)
    across, down = right - left, bottom - top
    centre = np.array([left + across * 0.5, top + down * 0.5], np.float32)
    shape = width / height
    if across > shape * down:
        down = across / shape
    elif across < shape * down:
        across = down * shape
    # Rounded as the reference does it, which counts in units of 200 pixels.
    return centre, np.array([across / 200.0, down / 200.0], np.float32) * np.float32(padding) * np.float32(200.0)


def cut(pixels: np.ndarray, centre: np.ndarray, size: np.ndarray, width: int, height: int) -> np.ndarray:
    """What is in a frame, (height, width, 3) uint8, read between pixels; black outside of the picture (H, W, 3)."""
    places = []
    for axis, wanted in ((1, height), (0, width)):
        # In single precision where the reference is, as half a bit decides about a pixel at the edge.
        scale = (wanted - 1.0) / float(size[axis])
        shift = np.float32(scale * float(np.float32(0.5) * size[axis] - centre[axis]))
        step = 1 / float(np.float32(scale))
        places.append(-float(shift) * step + np.arange(wanted) * step)
    rows, columns = places
    return _between(pixels, rows, columns)


def _between(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float64)
    inside = []
    for axis, place in ((0, rows), (1, columns)):
        last = pixels.shape[axis] - 1
        inside.append((place >= 0) & (place <= last))
        low = np.clip(np.floor(place).astype(np.int64), 0, last)
        high = np.minimum(low + 1, last)
        share = np.clip(place - low, 0, 1).reshape([-1 if k == axis else 1 for k in range(3)])
        values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    values *= (inside[0][:, None] & inside[1][None])[..., None]
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


def places(
    heatmaps: np.ndarray, centre: np.ndarray, size: np.ndarray, kernel: int = 11
) -> tuple[np.ndarray, np.ndarray]:
    """Where the key points are.

    Args:
        heatmaps: (K, h, w) of one frame.

    Returns:
        (K, 2) x and y in pixels of the picture, and (K,) the heights of the peaks.
    """
    count, height, width = heatmaps.shape
    flat = heatmaps.reshape(count, -1)
    peak = flat.argmax(1)
    scores = flat.max(1)
    spots = np.stack([peak % width, peak // width], -1).astype(np.float32)
    spots[scores <= 0] = -1
    spots = _refined(spots, heatmaps, (kernel - 1) // 2)
    steps = size / np.array([width - 1.0, height - 1.0], np.float32)
    return spots * steps + centre - size * np.float32(0.5), scores


def _refined(spots: np.ndarray, heatmaps: np.ndarray, radius: int) -> np.ndarray:
    smooth = _blurred(_blurred(heatmaps.astype(np.float32), 1, radius), 2, radius)
    logs = np.pad(np.log(np.clip(smooth, 0.001, 50)), ((0, 0), (1, 1), (1, 1)), mode="edge")
    k = np.arange(len(logs))
    x, y = (spots[:, axis].astype(np.int64) + 1 for axis in (0, 1))
    here, right, below, corner = logs[k, y, x], logs[k, y, x + 1], logs[k, y + 1, x], logs[k, y + 1, x + 1]
    left, above, other = logs[k, y, x - 1], logs[k, y - 1, x], logs[k, y - 1, x - 1]
    slope = np.stack([0.5 * (right - left), 0.5 * (below - above)], -1)
    dxx, dyy = right - 2 * here + left, below - 2 * here + above
    dxy = 0.5 * (corner - right - below + here + here - left - above + other)
    bend = np.stack([dxx, dxy, dxy, dyy], -1).reshape(-1, 2, 2)
    inverse = np.linalg.inv(bend + np.finfo(np.float32).eps * np.eye(2))
    moved: np.ndarray = spots - np.einsum("kmn,kn->km", inverse, slope).astype(np.float32)
    return moved


def _blurred(maps: np.ndarray, axis: int, radius: int, sigma: float = 0.8) -> np.ndarray:
    """Smoothed along an axis by a Gaussian, mirrored at the borders."""
    weights = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    weights /= weights.sum()
    widths = [(radius, radius) if k == axis else (0, 0) for k in range(maps.ndim)]
    wide = np.pad(maps.astype(np.float64), widths, mode="symmetric")
    count = maps.shape[axis]
    total = sum(w * np.take(wide, np.arange(k, k + count), axis) for k, w in enumerate(weights))
    return np.asarray(total).astype(np.float32)


def similarity(
    found: np.ndarray, truth: np.ndarray, area: float, box: Sequence[float], sigmas: np.ndarray | None = None
) -> np.ndarray:
    """COCO's object key point similarity of poses with a true one: (N,), 1 where they agree.

    Args:
        found: (N, K, 2).
        truth: (K, 3) with the visibility last (0: not known). Where no point is known, the distance is that from the
            box, made three times as large.
        area: of the body, in square pixels. box: (xmin, ymin, xmax, ymax).
        sigmas: (K,); by default COCO's, where there are 17.
    """
    if sigmas is None:
        sigmas = COCO_SIGMAS if len(truth) == len(COCO_SIGMAS) else np.full(len(truth), OTHER_SIGMA)
    known = truth[:, 2] > 0
    if known.any():
        apart = found - truth[None, :, :2]
    else:
        low, size = np.array(box[:2]), np.array(box[2:]) - np.array(box[:2])
        apart = np.maximum(0, low - size - found) + np.maximum(0, found - (low + 2 * size))
        known = np.ones(len(truth), bool)
    far = (apart**2).sum(-1) / (2 * sigmas) ** 2 / (area + np.spacing(1)) / 2
    likeness: np.ndarray = np.exp(-far[:, known]).sum(1) / known.sum()
    return likeness
