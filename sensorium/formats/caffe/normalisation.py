"""Caffe's normalisations."""

from __future__ import annotations

import numpy as np

from sensorium.formats.caffe.context import Context, layer
from sensorium.formats.caffe.pooling import pool


@layer("LRN")
def lrn(c: Context) -> str:
    param = c.layer.param("lrn_param")
    size, alpha, beta = param.whole("local_size", 5), param.number("alpha", 1.0), param.number("beta", 0.75)
    if size < 1 or size % 2 == 0 or size > 999:
        raise c.layer.fault(f"local_size {size} is not odd")
    param.seen.add("k")  # without effect within a channel
    if param.text("norm_region", "ACROSS_CHANNELS") in ("ACROSS_CHANNELS", "0"):
        return str(c.add("LRN", c.x, size=size, alpha=alpha, beta=beta, bias=param.number("k", 1.0)))
    # Within a channel: x * (1 + alpha * mean of squares over the window, padding counted as zeros) ^ -beta
    squares = c.add("Mul", c.x, c.x)
    mean = pool(c, squares, "AVE", [size] * 2, [1, 1], [size // 2] * 2) if size > 1 else squares
    scale = c.affine(mean, alpha, 1.0, 0)
    return str(c.add("Mul", c.x, c.add("Pow", scale, c.constant(-beta))))


@layer("BatchNorm", blobs=lambda layer: 3 * layer.param("batch_norm_param").flag("use_global_stats", True))
def batch_norm(c: Context) -> str:
    param = c.layer.param("batch_norm_param")
    epsilon, channels = param.number("eps", 1e-5), c.shape()[1] if c.rank() > 1 else 1
    if not param.flag("use_global_stats", True):
        return normalised(c, c.x, [0, *range(2, c.rank())], epsilon, inside=True)
    if len(c.layer.blobs) > 3:
        raise c.layer.fault(f"unsupported: {len(c.layer.blobs)} blobs, a variant of some fork")
    factor = float(c.layer.blobs[2].reshape(-1)[0]) if c.layer.blobs[2].size else 0.0
    scale = 0.0 if factor == 0 else 1.0 / factor
    mean = c.blob(0, [channels], "mean") * np.float32(scale)
    variance = c.blob(1, [channels], "variance") * np.float32(scale)
    ones = c.constant(np.ones(channels), "one"), c.constant(np.zeros(channels), "zero")
    return str(
        c.add("BatchNormalization", c.x, *ones, c.constant(mean, "mean"), c.constant(variance, "var"), epsilon=epsilon)
    )


@layer("BN", blobs=2)
def slope_and_shift(c: Context) -> str:
    """Of PSPNet's fork: slope, shift, mean, variance. Of SegNet's: factor and shift, once it was made for inference."""
    param, channels = c.layer.param("bn_param"), c.shape()[1]
    epsilon, mode = param.number("eps", 1e-5), param.text("bn_mode", "LEARN")
    count = len(c.layer.blobs)
    if count == 2 and mode in ("INFERENCE", "1"):
        return c.affine(c.x, c.blob(0, [channels], "scale"), c.blob(1, [channels], "shift"), 1)
    if count != 4 or mode not in ("LEARN", "0"):
        raise c.layer.fault(f"unsupported: {count} blobs with bn_mode {mode[:20]} (its statistics are not in the file)")
    arrays = [c.constant(c.blob(i, [channels], n), n) for i, n in enumerate(("slope", "shift", "mean", "variance"))]
    return str(c.add("BatchNormalization", c.x, *arrays, epsilon=epsilon))


def normalised(c: Context, x: str, axes: list[int], epsilon: float, inside: bool, variance: bool = True) -> str:
    """(x - mean) / sqrt(variance + epsilon), or / (sqrt(variance) + epsilon), over these axes."""
    over = c.graph.ints(*axes)
    y = c.add("Sub", x, c.add("ReduceMean", x, over, keepdims=1))
    if not variance:
        return str(y)
    spread = c.add("ReduceMean", c.add("Mul", y, y), over, keepdims=1)
    small = c.constant(epsilon, "epsilon")
    spread = c.add("Sqrt", c.add("Add", spread, small)) if inside else c.add("Add", c.add("Sqrt", spread), small)
    return str(c.add("Div", y, spread))


@layer("MVN")
def mvn(c: Context) -> str:
    param = c.layer.param("mvn_param")
    axes = list(range(1 if param.flag("across_channels") else 2, c.rank()))
    if not axes:
        raise c.layer.fault(f"its input has only {c.rank()} axes")
    return normalised(c, c.x, axes, param.number("eps", 1e-9), False, param.flag("normalize_variance", True))


@layer("Normalize", blobs=1)
def normalize(c: Context) -> str:
    """SSD's: divided by the L2 norm, over channels or the whole picture, times a trained scale."""
    param = c.layer.param("norm_param")
    axes = c.graph.ints(*(range(1, c.rank()) if param.flag("across_spatial", True) else [1]))
    total = c.add("ReduceSum", c.add("Mul", c.x, c.x), axes, keepdims=1)
    y = c.add("Div", c.x, c.add("Sqrt", c.add("Add", total, c.constant(param.number("eps", 1e-10), "epsilon"))))
    shared = param.flag("channel_shared", True)
    return c.affine(y, c.blob(0, [1 if shared else c.shape()[1]], "scale"), None, 1)
