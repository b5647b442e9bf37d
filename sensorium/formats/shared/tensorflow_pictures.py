"""TensorFlow's rarer operators on pictures and boxes, as ONNX."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sensorium.formats.shared.resampling import KERNELS, area, cubic, scaled
from sensorium.formats.shared.tensorflow_graph import Net, Node, operator
from sensorium.formats.shared.tensorflow_ops import first_axis, pads, spatial

END = (1 << 62) - 1


@operator("ResizeBicubic", "ResizeArea")
def _resize(net: Net, node: Node, inputs: list[str]) -> str:
    weigh: Callable[[int, int, bool, bool], np.ndarray] = cubic if node.op == "ResizeBicubic" else area
    how = bool(node.get("align_corners")), bool(node.get("half_pixel_centers"))
    x = net.op("Cast", inputs[0], to=1) if net.graph.dtype(inputs[0]).kind in "iu" else inputs[0]
    sizes = net.list(node, inputs[1], "sizes")
    for axis, wanted in ((1, sizes[0]), (2, sizes[1])):
        given = net.size(x, axis)
        if given is None or not 0 < wanted < 1 << 14:
            raise node.fault("pictures of any size are not converted; give one with --image-size or --shape")
        matrix = weigh(given, wanted, *how).astype(np.float32)
        last = net.op("Transpose", x, perm=[0, 3, 1, 2] if axis == 2 else [0, 3, 2, 1])
        last = net.op("MatMul", last, net.graph.constant(matrix.T, "weights"))
        x = net.op("Transpose", last, perm=[0, 2, 3, 1] if axis == 2 else [0, 3, 2, 1])
    return x


@operator("ExtractImagePatches")
def _patches(net: Net, node: Node, inputs: list[str]) -> str:
    x = net.first(inputs[0])
    size, strides, rates = (spatial(node, k, False, 2) for k in ("ksizes", "strides", "rates"))
    channels = net.graph.shape(x)[1]
    count = size[0] * size[1] * channels
    if count * count > 1 << 24:
        raise node.fault("patches of this size are not converted")
    kernel = np.eye(count, dtype=np.float32).reshape(count, *size, channels).transpose(0, 3, 1, 2)
    reach = [(k - 1) * r + 1 for k, r in zip(size, rates)]
    y = net.op("Conv", x, net.graph.constant(kernel, "patches"), kernel_shape=size, strides=strides, dilations=rates,
               **pads(net, node, x, False, reach, strides))  # fmt: skip
    return net.last(y)


@operator("MaxPoolWithArgmax")
def _max_pool(net: Net, node: Node, inputs: list[str]) -> str:
    x = net.first(inputs[0])
    size, strides = spatial(node, "ksize", False, 2), spatial(node, "strides", False, 2)
    return net.last(
        net.op("MaxPool", x, kernel_shape=size, strides=strides, **pads(net, node, x, False, size, strides))
    )


@operator("LRN")
def _lrn(net: Net, node: Node, inputs: list[str]) -> str:
    radius = int(node.get("depth_radius", 5))
    size = 2 * radius + 1
    y = net.op("LRN", net.first(inputs[0]), size=size, alpha=float(node.get("alpha", 1.0)) * size,
               beta=float(node.get("beta", 0.5)), bias=float(node.get("bias", 1.0)))  # fmt: skip
    return net.last(y)


@operator("Conv3DBackpropInputV2")
def _backprop(net: Net, node: Node, inputs: list[str]) -> str:
    if first_axis(node):
        raise node.fault("channels first are not converted")
    x = net.first(inputs[2])
    strides, dilations = spatial(node, "strides", False, 3), spatial(node, "dilations", False, 3)
    sizes = net.graph.known(inputs[0])
    if sizes is None or sizes.size != 5:
        raise node.fault("its output sizes are not constants; this is not converted")
    kernel = list(net.graph.shape(inputs[1])[:3])
    cut = np.array([(n - 1) * s + (k - 1) * d + 1 - int(size) for n, s, k, d, size in
                    zip(net.graph.shape(x)[2:], strides, kernel, dilations, sizes[1:4])])  # fmt: skip
    net.steady(cut)
    begin = [max(int(c), 0) // 2 if node.get("padding") == "SAME" else 0 for c in cut]
    w = net.op("Transpose", inputs[1], perm=[4, 3, 0, 1, 2])
    y = net.op("ConvTranspose", x, w, kernel_shape=kernel, strides=strides, dilations=dilations,
               pads=begin + [max(int(c) - b, 0) for c, b in zip(cut, begin)],
               output_padding=[max(b - int(c), 0) for c, b in zip(cut, begin)])  # fmt: skip
    return net.last(y)


@operator("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def _fake_quant(net: Net, node: Node, inputs: list[str]) -> str:
    """Rounded to the steps that it will have when quantised. Source: core/kernels/fake_quant_ops_functor.h."""
    if node.op == "FakeQuantWithMinMaxArgs":
        low, high = np.array(node.get("min", -6.0), np.float32), np.array(node.get("max", 6.0), np.float32)
    else:
        low, high = (net.known(node, i, "limits").astype(np.float32) for i in inputs[1:3])
    first = 1 if node.get("narrow_range") else 0
    last = (1 << int(node.get("num_bits", 8))) - 1
    scale = ((high - low) / np.float32(last - first)).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    zero = np.clip(np.floor(first - low / scale + np.float32(0.5)), first, last).astype(np.float32)
    low, high = (first - zero) * scale, (last - zero) * scale
    c = {k: net.graph.constant(v.astype(np.float32), k) for k, v in {"low": low, "high": high, "scale": scale}.items()}
    x = net.op("Min", net.op("Max", inputs[0], c["low"]), c["high"])
    steps = net.op("Div", net.op("Sub", x, c["low"]), c["scale"])
    steps = net.op("Floor", net.op("Add", steps, net.number(0.5)))
    return net.op("Add", net.op("Mul", steps, c["scale"]), c["low"])


@operator("AdjustContrastv2")
def _contrast(net: Net, node: Node, inputs: list[str]) -> str:
    mean = net.op("ReduceMean", inputs[0], net.ints([-3, -2]), keepdims=1)
    return net.op("Add", net.op("Mul", net.op("Sub", inputs[0], mean), inputs[1]), mean)


@operator("ScaleAndTranslate")
def _scale(net: Net, node: Node, inputs: list[str]) -> str:
    """Resized with a kernel as wide as the pixels that become one."""
    kernel = str(node.get("kernel_type", "lanczos3"))
    sizes = net.list(node, inputs[1], "sizes")
    scale, shift = (net.known(node, i, w).reshape(-1) if net.graph.known(i) is not None else None
                    for i, w in ((inputs[2], "scale"), (inputs[3], "shift")))  # fmt: skip
    if kernel not in KERNELS or (shift is not None and shift.any()):
        raise node.fault(f"with the kernel {kernel[:20]}, or moved, is not converted")
    x = net.op("Cast", inputs[0], to=1) if net.graph.dtype(inputs[0]).kind in "iu" else inputs[0]
    for axis, wanted in ((1, sizes[0]), (2, sizes[1])):
        given = net.size(x, axis)
        if given is None or not 0 < wanted < 1 << 14:
            raise node.fault("pictures of any size are not converted; give one with --image-size or --shape")
        factor = None if scale is None else float(scale[axis - 1])
        matrix = scaled(given, wanted, kernel, bool(node.get("antialias", True)), factor).astype(np.float32)
        last = net.op("Transpose", x, perm=[0, 3, 1, 2] if axis == 2 else [0, 3, 2, 1])
        last = net.op("MatMul", last, net.graph.constant(matrix.T, "weights"))
        x = net.op("Transpose", last, perm=[0, 2, 3, 1] if axis == 2 else [0, 3, 2, 1])
    return x


# Colours: hue, saturation and value, each from 0 to 1


def _to_hsv(net: Net, x: str) -> list[str]:
    r, g, b = net.graph.add("Split", x, outputs=3, axis=-1, num_outputs=3)
    top, low = net.op("Max", r, g, b), net.op("Min", r, g, b)
    span = net.op("Sub", top, low)
    zero, one = net.number(0.0), net.number(1.0)
    flat, dark = net.op("Equal", span, zero), net.op("Equal", top, zero)
    share = net.op("Div", net.number(1 / 6), net.op("Where", flat, one, span))
    turns = [net.op("Mul", net.op("Sub", p, q), share) for p, q in ((g, b), (b, r), (r, g))]
    second = net.op("Add", turns[1], net.number(2 / 6))
    third = net.op("Add", turns[2], net.number(4 / 6))
    hue = net.op("Where", net.op("Equal", r, top), turns[0], net.op("Where", net.op("Equal", g, top), second, third))
    hue = net.op("Where", flat, zero, hue)
    hue = net.op("Where", net.op("Less", hue, zero), net.op("Add", hue, one), hue)
    strength = net.op("Where", dark, zero, net.op("Div", span, net.op("Where", dark, one, top)))
    return [hue, strength, top]


def _to_rgb(net: Net, hue: str, strength: str, top: str) -> str:
    six, one = net.op("Mul", hue, net.number(6.0)), net.number(1.0)
    colours = []
    for middle, sign, base in ((3.0, 1.0, -1.0), (2.0, -1.0, 2.0), (4.0, -1.0, 2.0)):
        apart = net.op("Abs", net.op("Sub", six, net.number(middle)))
        part = net.op("Add", net.op("Mul", apart, net.number(sign)), net.number(base))
        part = net.op("Clip", part, net.number(0.0), one)
        less = net.op("Mul", strength, net.op("Sub", one, part))
        colours.append(net.op("Mul", top, net.op("Sub", one, less)))
    return net.op("Concat", *colours, axis=-1)


@operator("RGBToHSV")
def _hsv(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Concat", *_to_hsv(net, inputs[0]), axis=-1)


@operator("HSVToRGB")
def _rgb(net: Net, node: Node, inputs: list[str]) -> str:
    return _to_rgb(net, *net.graph.add("Split", inputs[0], outputs=3, axis=-1, num_outputs=3))


@operator("AdjustSaturation", "AdjustHue")
def _adjusted(net: Net, node: Node, inputs: list[str]) -> str:
    hue, strength, top = _to_hsv(net, inputs[0])
    if node.op == "AdjustSaturation":
        strength = net.op("Clip", net.op("Mul", strength, inputs[1]), net.number(0.0), net.number(1.0))
    else:
        moved = net.op("Add", hue, inputs[1])
        hue = net.op("Sub", moved, net.op("Floor", moved))
    return _to_rgb(net, hue, strength, top)


@operator("Dilation2D")
def _dilation(net: Net, node: Node, inputs: list[str]) -> str:
    """The largest sum of pixels under a kernel and its values; what lies outside takes no part."""
    x, kernel = net.first(inputs[0]), net.known(node, inputs[1], "kernel")
    strides, rates = (spatial(node, k, False, 2) for k in ("strides", "rates"))
    height, width, _ = kernel.shape
    reach = [(k - 1) * r + 1 for k, r in zip((height, width), rates)]
    if height * width > 1024:
        raise node.fault("a kernel of this size is not converted")
    how = pads(net, node, x, False, reach, strides)
    if "pads" not in how and node.get("padding") == "SAME":
        raise node.fault("pictures of any size are not converted; give one with --image-size or --shape")
    a, b, c, d = how.get("pads", [0, 0, 0, 0])
    x = net.op("Pad", x, net.ints([0, 0, a, b, 0, 0, c, d]), net.number(float(np.finfo(np.float32).min)))
    rows, columns = ((n + p - r) // s + 1 for n, p, r, s in
                     zip(net.graph.shape(net.first(inputs[0]))[2:], (a + c, b + d), reach, strides))  # fmt: skip
    net.steady(np.array([rows, columns]))
    found = []
    for i in range(height):
        for j in range(width):
            start = [i * rates[0], j * rates[1]]
            end = [start[0] + (rows - 1) * strides[0] + 1, start[1] + (columns - 1) * strides[1] + 1]
            part = net.op("Slice", x, net.ints(start), net.ints(end), net.ints([2, 3]), net.ints(strides))
            weight = net.graph.constant(kernel[i, j].astype(np.float32)[:, None, None], "weight")
            found.append(net.op("Add", part, weight))
    return net.last(net.op("Max", *found))


# Parts of pictures


@operator("CropAndResize")
def _crop(net: Net, node: Node, inputs: list[str]) -> str:
    """Points of a grid in each box, between four pixels; what lies outside has a value of its own."""
    image, boxes, which, sizes = inputs
    wanted = net.list(node, sizes, "sizes")
    nearest = node.get("method", "bilinear") == "nearest"
    limit = net.op("Cast", net.op("Sub", net.op("Shape", image, start=1, end=3), net.ints([1, 1])), to=1)
    places, inside = [], []
    for axis, count in enumerate(wanted):
        edge = net.op("Slice", limit, net.ints([axis]), net.ints([axis + 1]))
        begin, end = (net.op("Slice", boxes, net.ints([k]), net.ints([k + 1]), net.ints([1])) for k in (axis, axis + 2))
        if count > 1:
            step = net.op("Div", net.op("Mul", net.op("Sub", end, begin), edge), net.number(count - 1.0))
            steps = net.graph.constant(np.arange(count, dtype=np.float32)[None], "steps")
            at = net.op("Add", net.op("Mul", begin, edge), net.op("Mul", step, steps))
        else:
            at = net.op("Mul", net.op("Mul", net.op("Add", begin, end), net.number(0.5)), edge)
        inside.append(net.op("And", net.op("GreaterOrEqual", at, net.number(0.0)), net.op("LessOrEqual", at, edge)))
        places.append(net.op("Min", net.op("Max", at, net.number(0.0)), edge))
    shape = net.op("Concat", net.op("Shape", boxes, start=0, end=1), net.ints(wanted), axis=0)
    rows = net.op("Unsqueeze", net.op("Expand", net.op("Unsqueeze", which, net.ints([1, 2])), shape), net.ints([3]))

    def pick(ups: str, sides: str) -> str:
        y = net.op("Expand", net.op("Unsqueeze", net.op("Cast", ups, to=7), net.ints([2])), shape)
        x = net.op("Expand", net.op("Unsqueeze", net.op("Cast", sides, to=7), net.ints([1])), shape)
        parts = [net.op("Unsqueeze", p, net.ints([3])) for p in (y, x)]
        index = net.op("Concat", rows, *parts, axis=3)
        return net.op("GatherND", image, index)

    if nearest:
        half = net.number(0.5)
        y = pick(*(net.op("Floor", net.op("Add", p, half)) for p in places))
    else:
        low = [net.op("Floor", p) for p in places]
        high = [net.op("Ceil", p) for p in places]
        down = net.op("Unsqueeze", net.op("Sub", places[0], low[0]), net.ints([2, 3]))
        along = net.op("Unsqueeze", net.op("Sub", places[1], low[1]), net.ints([1, 3]))

        def between(a: str, b: str, share: str) -> str:
            return net.op("Add", a, net.op("Mul", net.op("Sub", b, a), share))

        top = between(pick(low[0], low[1]), pick(low[0], high[1]), along)
        y = between(top, between(pick(high[0], low[1]), pick(high[0], high[1]), along), down)
    both = net.op("And", net.op("Unsqueeze", inside[0], net.ints([2])), net.op("Unsqueeze", inside[1], net.ints([1])))
    outside = net.number(float(node.get("extrapolation_value", 0.0)))
    return net.op("Where", net.op("Unsqueeze", both, net.ints([3])), y, outside)


# Non-maximum suppression


def _suppress(net: Net, node: Node, inputs: list[str]) -> str:
    """Numbers (K,) of the boxes that stay, the best first."""
    boxes, scores = net.op("Unsqueeze", inputs[0], net.ints([0])), net.op("Unsqueeze", inputs[1], net.ints([0, 1]))
    if node.op == "NonMaxSuppression":
        overlap = net.graph.constant(np.array([float(node.get("iou_threshold", 0.5))], np.float32), "overlap")
        more = [net.op("Reshape", inputs[2], net.ints([1])), overlap]
    else:
        more = [net.op("Reshape", i, net.ints([1])) for i in inputs[2:5]]
    found = net.op("NonMaxSuppression", boxes, scores, *more)
    return net.op("Squeeze", net.op("Slice", found, net.ints([2]), net.ints([3]), net.ints([1])), net.ints([1]))


@operator("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3")
def _suppression(net: Net, node: Node, inputs: list[str]) -> str:
    return _suppress(net, node, inputs)


@operator("NonMaxSuppressionV4", "NonMaxSuppressionV5")
def _suppression_padded(net: Net, node: Node, inputs: list[str]) -> list[str]:
    if node.op == "NonMaxSuppressionV5" and float(net.known(node, inputs[5], "sigma")[()]) != 0:
        raise node.fault("soft suppression is not converted")
    found = _suppress(net, node, inputs)
    scores = net.op("Gather", inputs[1], found, axis=0)
    count = net.op("Shape", found)
    if node.get("pad_to_max_output_size"):
        zero = net.ints([0])
        missing = net.op("Concat", zero, net.op("Sub", net.shape1(inputs[2]), count), axis=0)
        found, scores = net.op("Pad", found, missing), net.op("Pad", scores, missing)
    valid = net.op("Squeeze", count, net.ints([0]))
    return [found, valid] if node.op == "NonMaxSuppressionV4" else [found, scores, valid]


@operator("CombinedNonMaxSuppression")
def _combined(net: Net, node: Node, inputs: list[str]) -> list[str]:
    """Each class of each picture by itself, then the best of all: boxes, scores, classes and how many there are.

    Boxes (B, N, 1 or C, 4), scores (B, N, C).
    """
    boxes, scores = inputs[:2]
    total = net.list(node, inputs[3], "largest number")[0]
    per_class = net.list(node, inputs[2], "largest number of a class")[0]
    if node.get("pad_per_class"):
        total = min(total, per_class * net.graph.shape(scores)[2])
    classes, own = net.size(scores, 2), net.size(boxes, 2)
    if classes is None or own not in (1, classes):
        raise node.fault("boxes that do not fit the classes")
    scores = net.op("Transpose", scores, perm=[0, 2, 1])  # (B, C, N)
    shape = net.op("Shape", scores)
    if own == 1:
        flat, asked = net.op("Squeeze", boxes, net.ints([2])), scores
    else:
        flat = net.op("Reshape", net.op("Transpose", boxes, perm=[0, 2, 1, 3]), net.op(
            "Concat", net.ints([-1]), net.op("Shape", scores, start=2), net.ints([4]), axis=0))  # fmt: skip
        asked = net.op("Reshape", scores, net.op("Concat", net.ints([-1, 1]), net.op("Shape", scores, start=2), axis=0))
    more = [net.op("Reshape", i, net.ints([1])) for i in (inputs[2], inputs[4], inputs[5])]
    found = net.op("NonMaxSuppression", flat, asked, *more)
    nothing = net.op("ConstantOfShape", net.op("Shape", asked), value=np.array([-1], np.float32))
    kept = net.op("ScatterND", nothing, found, net.op("GatherND", asked, found))
    kept = net.op("Reshape", kept, net.op("Concat", net.op("Shape", scores, start=0, end=1), net.ints([-1]), axis=0))
    kept = net.op("Pad", kept, net.ints([0, 0, 0, total]), net.number(-1.0))
    values, places = net.graph.add("TopK", kept, net.ints([total]), outputs=2, axis=1)
    live = net.op("GreaterOrEqual", values, net.number(0.0))
    count = net.op("Slice", shape, net.ints([2]), net.ints([3]))
    zero = net.ints([0])
    places = net.op("Where", live, places, zero)
    kind, box = net.op("Div", places, count), net.op("Mod", places, count)
    if own == 1:
        index = net.op("Unsqueeze", box, net.ints([2]))
        picked = net.op("GatherND", flat, index, batch_dims=1)
    else:
        index = net.op("Concat", *[net.op("Unsqueeze", p, net.ints([2])) for p in (box, kind)], axis=2)
        picked = net.op("GatherND", boxes, index, batch_dims=1)
    if node.get("clip_boxes", True):
        picked = net.op("Clip", picked, net.number(0.0), net.number(1.0))
    picked = net.op("Where", net.op("Unsqueeze", live, net.ints([2])), picked, net.number(0.0))
    values = net.op("Where", live, values, net.number(0.0))
    kind = net.op("Cast", net.op("Where", live, kind, zero), to=1)
    return [picked, values, kind, net.op("ReduceSum", net.op("Cast", live, to=7), net.ints([1]), keepdims=0)]
