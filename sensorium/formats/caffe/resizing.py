"""Caffe's layers that enlarge pictures (of its forks)."""

from __future__ import annotations

from sensorium.formats.caffe.context import LAST, Context, layer


@layer("Upsample")
def upsample(c: Context) -> str:
    """Nearest neighbours, by a whole number (a layer of the YOLO forks)."""
    if len(c.inputs) > 1:
        raise c.layer.fault("unsupported: upsampling by the places of a pooling layer")
    param = c.layer.param("upsample_param")
    factor = param.number("scale", 2.0)
    if not 1 <= factor <= 64:
        raise c.layer.fault(f"scale: {factor}")
    scales = c.constant([1, 1, factor, factor], "scales")
    return str(c.add("Resize", c.x, "", scales, mode="nearest", nearest_mode="floor",
                     coordinate_transformation_mode="asymmetric"))  # fmt: skip


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
