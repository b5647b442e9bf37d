"""Caffe's layers that enlarge pictures (of its forks)."""

from __future__ import annotations

from sensorium.formats.caffe.context import LAST, Context, layer
from sensorium.formats.shared.textproto import Block


@layer("Upsample", bottoms=2)
def upsample(c: Context) -> str:
    """Nearest neighbours, by a whole number (a layer of the YOLO forks); or each value to its place (of SegNet's)."""
    param = c.layer.param("upsample_param")
    if len(c.inputs) > 1:
        return _placed(c, param)
    factor = param.number("scale", 2.0)
    if not 1 <= factor <= 64:
        raise c.layer.fault(f"scale: {factor}")
    scales = c.constant([1, 1, factor, factor], "scales")
    return str(c.add("Resize", c.x, "", scales, mode="nearest", nearest_mode="floor",
                     coordinate_transformation_mode="asymmetric"))  # fmt: skip


def _placed(c: Context, param: Block) -> str:
    """Values where pooling found them (the second bottom counts through a plane of the result), zeros elsewhere."""
    g, ints = c.graph, c.graph.ints
    scale = param.whole("scale", 2)
    factors = [param.whole("scale_h", scale), param.whole("scale_w", scale)]
    size = g.add("Mul", g.add("Shape", c.x, start=2, end=4), ints(*factors))
    size = g.add("Sub", size, ints(int(param.flag("pad_out_h")), int(param.flag("pad_out_w"))))
    told = [param.whole("upsample_h"), param.whole("upsample_w")]
    if any(told):
        size = ints(*told)
    if min(*factors, *told) < 0 or not all(factors) or any(told) != all(told) or c.shape() != c.shape(1):
        raise c.layer.fault(f"cannot place {list(c.shape())} by {list(c.shape(1))}, scale {factors}, size {told}")
    around = g.add("Shape", c.x, start=0, end=2)
    flat = [g.add("Reshape", v, g.add("Concat", around, ints(-1), axis=0)) for v in c.inputs]
    whole = g.add("Concat", around, g.add("ReduceProd", size, keepdims=1), axis=0)
    empty = g.add("Expand", c.constant(0.0, "zero"), whole)
    y = g.add("ScatterElements", empty, g.add("Cast", flat[1], to=7), flat[0], axis=2)
    return str(c.add("Reshape", y, g.add("Concat", around, size, axis=0)))


@layer("Interp")
def interp(c: Context) -> str:
    """DeepLab's: bilinear with the corners aligned, to a size or by whole factors; negative padding cuts."""
    param = c.layer.param("interp_param")
    begin, end = param.whole("pad_beg"), param.whole("pad_end")
    if begin > 0 or end > 0:
        raise c.layer.fault("pad_beg and pad_end should not be greater than 0")
    x, ints = c.x, c.graph.ints
    if begin or end:
        x = c.add("Slice", x, ints(-begin, -begin), ints(end or LAST, end or LAST), ints(2, 3))
    if "height" in param and ("shrink_factor" in param or "zoom_factor" in param):
        raise c.layer.fault("a size and factors contradict each other")
    if "height" in param and "width" in param:
        size = ints(param.whole("height"), param.whole("width"))
        if min(param.whole("height"), param.whole("width")) < 1:
            raise c.layer.fault("height and width are not possible")
    else:
        size = c.graph.add("Shape", x, start=2, end=4)
        shrink, zoom = param.whole("shrink_factor", 1), param.whole("zoom_factor", 1)
        if shrink < 1 or zoom < 1:
            raise c.layer.fault("factors should be 1 or greater")
        one = ints(1)
        if shrink > 1:
            size = c.graph.add("Add", c.graph.add("Div", c.graph.add("Sub", size, one), ints(shrink)), one)
        if zoom > 1:
            grown = c.graph.add("Mul", c.graph.add("Sub", size, one), ints(zoom - 1))
            size = c.graph.add("Add", size, grown)
    whole = c.graph.add("Concat", c.graph.add("Shape", x, start=0, end=2), size, axis=0)
    return str(c.add("Resize", x, "", "", whole, mode="linear", coordinate_transformation_mode="align_corners"))
