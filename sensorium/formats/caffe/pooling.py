"""Caffe's pooling: windows rounded up, pyramids, parts of regions."""

from __future__ import annotations

import math
from typing import Any

from sensorium.formats.caffe.context import Context, layer
from sensorium.formats.caffe.convolution import windows


@layer("Pooling")
def pooling(c: Context) -> Any:
    param = c.layer.param("pooling_param")
    kind = {"0": "MAX", "1": "AVE", "2": "STOCHASTIC"}.get(param.text("pool", "MAX"), param.text("pool", "MAX"))
    if kind not in ("MAX", "AVE"):
        raise c.layer.fault(f"unsupported pooling '{kind}'")
    ceil = param.text("round_mode", "CEIL") not in ("FLOOR", "1") and param.flag("ceil_mode", True)
    if param.flag("global_pooling"):
        param.seen.update(("kernel_size", "kernel_h", "kernel_w", "stride", "stride_h", "stride_w", "pad", "pad_h",
                           "pad_w"))  # fmt: skip
        if len(c.layer.tops) > 1:
            raise c.layer.fault("unsupported: the place of the largest of all")
        return c.add("GlobalMaxPool" if kind == "MAX" else "GlobalAveragePool", c.x)
    kernel, stride, pad, _ = windows(c, param)
    if len(c.layer.tops) == 1:
        return pool(c, c.x, kind, kernel, stride, pad, ceil)
    if kind != "MAX":
        raise c.layer.fault("the places of averages are not defined")
    y, places = pool(c, c.x, kind, kernel, stride, pad, ceil, outputs=2)
    # ONNX counts through the whole batch, Caffe within each plane.
    plane = c.graph.add("ReduceProd", c.graph.add("Shape", c.x, start=2), keepdims=1)
    return [y, c.graph.add("Cast", c.graph.add("Mod", places, plane), to=1)]


def pool(
    c: Context, x: str, kind: str, kernel: list[int], stride: list[int], pad: list[int], ceil: bool = True,
    outputs: int = 1,
) -> Any:  # fmt: skip
    """Pooling as Caffe does it.

    The output size is rounded up; a last window that would begin beyond the padded picture is left out (ONNX: the same
    since opset 19, and ONNX Runtime for all); averages divide by the part of the window inside the padded picture.
    """
    if any(p >= k for p, k in zip(pad, kernel)):
        raise c.layer.fault(f"padding {pad} is not smaller than the kernel {kernel}")
    for size, k, s, p in zip(c.graph.shape(x)[2:], kernel, stride, pad):
        if size + 2 * p < k and not ceil:
            raise c.layer.fault(f"a kernel of {k} does not fit an input of {size}")
        if ceil and not any(pad) and math.ceil((size - k) / s) * s >= size:
            raise c.layer.fault(f"its last window lies outside the input (size {size}, kernel {k}, stride {s})")
    more = {} if kind == "MAX" else {"count_include_pad": 1}
    op = "MaxPool" if kind == "MAX" else "AveragePool"
    return c.add(
        op, x, outputs=outputs, kernel_shape=kernel, strides=stride, pads=pad + pad, ceil_mode=int(ceil), **more
    )


@layer("SPP", settles=True)
def spatial_pyramid(c: Context) -> str:
    param = c.layer.param("spp_param")
    kind = {"0": "MAX", "1": "AVE"}.get(param.text("pool", "MAX"), param.text("pool", "MAX"))
    levels = param.whole("pyramid_height")
    if kind not in ("MAX", "AVE") or not 0 < levels < 12:
        raise c.layer.fault(f"unsupported: {levels} levels of pooling '{kind}'")
    if not c.fixed:
        c.pin_size()
    parts = []
    for level in range(levels):
        bins = 2**level
        kernel = [-(-size // bins) for size in c.shape()[2:]]
        pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, c.shape()[2:])]
        parts.append(c.add("Flatten", pool(c, c.x, kind, kernel, kernel, pad), axis=1))
    return str(parts[0] if levels == 1 else c.add("Concat", *parts, axis=1))


@layer("ROIPooling", bottoms=2, settles=True)
def roi_pooling(c: Context) -> str:
    param = c.layer.param("roi_pooling_param")
    shape = [param.whole("pooled_h"), param.whole("pooled_w")]
    if not all(0 < side < 1000 for side in shape):
        raise c.layer.fault(f"pooled size {shape}")
    return str(c.add("MaxRoiPool", c.x, c.inputs[1], pooled_shape=shape,
                     spatial_scale=param.number("spatial_scale", 1.0)))  # fmt: skip
