"""Darknet's layers."""

from __future__ import annotations

import numpy as np

from sensorium.formats.darknet.sections import Section
from sensorium.formats.darknet.state import CHANNELS, SIDE, State


def _activate(s: State, section: Section, x: str, default: str = "logistic") -> str:
    name = section.settings.get("activation", default).lower()
    g = s.graph
    if name == "linear":
        return x
    if name in SIMPLE:
        return str(g.add(SIMPLE[name], x))
    if name == "leaky":
        return str(g.add("LeakyRelu", x, alpha=0.1))
    if name == "elu":
        return str(g.add("Elu", x, alpha=1.0))
    if name in ("swish", "silu"):
        return str(g.add("Mul", x, g.add("Sigmoid", x)))
    if name == "mish":
        return str(g.add("Mul", x, g.add("Tanh", g.add("Softplus", x))))
    if name == "selu":
        return str(g.add("Selu", x, alpha=1.6732, gamma=1.0507))
    if name == "relu6":
        return str(g.add("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(6))))
    if name == "ramp":  # x * (x > 0) + 0.1 * x
        return str(g.add("Add", g.add("Relu", x), g.add("Mul", x, g.constant(np.float32(0.1)))))
    if name == "loggy":  # 2 / (1 + exp(-x)) - 1
        twice = g.add("Mul", g.add("Sigmoid", x), g.constant(np.float32(2)))
        return str(g.add("Sub", twice, g.constant(np.float32(1))))
    if name == "gelu":
        cube = g.add("Mul", g.add("Mul", x, x), g.add("Mul", x, g.constant(np.float32(0.035677))))
        inner = g.add("Add", g.add("Mul", x, g.constant(np.float32(0.797885))), cube)
        one, half = g.constant(np.float32(1)), g.add("Mul", x, g.constant(np.float32(0.5)))
        return str(g.add("Mul", half, g.add("Add", g.add("Tanh", inner), one)))
    if name == "hardtan":
        return str(g.add("Clip", x, g.constant(np.float32(-1)), g.constant(np.float32(1))))
    if name in ("lhtan", "plse"):  # a line with less slope outside of a range
        low, high, slope, shift, outside = (0.0, 1.0, 1.0, 0.0, 0.001) if name == "lhtan" else (-4, 4, 0.125, 0.5, 0.01)
        inner = g.add("Clip", x, g.constant(np.float32(low)), g.constant(np.float32(high)))
        beyond = g.add("Mul", g.add("Sub", x, inner), g.constant(np.float32(outside)))
        line = g.add("Add", g.add("Mul", inner, g.constant(np.float32(slope))), g.constant(np.float32(shift)))
        return str(g.add("Add", line, beyond))
    if name == "hard_mish":  # x * min(2, max(0, x + 2)) / 2
        gate = g.add("Add", x, g.constant(np.float32(2)))
        gate = g.add("Clip", gate, g.constant(np.float32(0)), g.constant(np.float32(2)))
        return str(g.add("Mul", g.add("Mul", x, gate), g.constant(np.float32(0.5))))
    if name == "relie":  # x > 0: x, else 0.01 * x
        return str(g.add("LeakyRelu", x, alpha=0.01))
    if name == "stair":  # flat over even steps, rising over odd ones
        whole = g.add("Floor", x)
        half = g.add("Floor", g.add("Mul", x, g.constant(np.float32(0.5))))
        odd = g.add("Sub", whole, g.add("Mul", half, g.constant(np.float32(2))))
        return str(g.add("Add", half, g.add("Mul", odd, g.add("Sub", x, whole))))
    raise section.fault(f"unsupported activation '{name[:40]}'")


SIMPLE = {"relu": "Relu", "logistic": "Sigmoid", "tanh": "Tanh"}


def _norm(s: State, section: Section, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Factor and shift for batch normalisation: scale * (x - mean) / (sqrt(variance) + 0.000001), as Darknet has it."""
    scales, mean, variance = (s.weights.take(section, count) for _ in range(3))
    if (variance < 0).any():
        raise section.fault("a negative variance in its weights: corrupt, or of another .cfg")
    factor = scales.astype(np.float64) / (np.sqrt(variance.astype(np.float64)) + 1e-6)
    return factor, -mean * factor


def convolutional(s: State, section: Section) -> str:
    filters = section.whole("filters", 1, 1, CHANNELS)
    size = section.whole("size", 1, 1, 255)
    stride = section.whole("stride", 1, 1, 255)
    stride_y, stride_x = section.whole("stride_y", stride, 1, 255), section.whole("stride_x", stride, 1, 255)
    dilation = section.whole("dilation", 1, 1, 255) if size > 1 else 1
    groups, channels = section.whole("groups", 1, 1, CHANNELS), s.shape()[1]
    pad = section.whole("padding", 0, 0, 255)
    if section.whole("pad"):
        pad = size // 2
    if channels % groups or filters % groups:
        raise section.fault(f"{channels} channels to {filters} filters in {groups} groups is not possible")
    for setting in ("antialiasing", "share_index", "assisted_excitation", "binary", "xnor", "deform", "sway",
                    "rotate", "stretch", "stretch_sway"):  # fmt: skip
        if section.whole(setting):
            raise section.fault(f"unsupported setting {setting}")
    bias = s.weights.take(section, filters).astype(np.float64)
    factor: np.ndarray | None = None
    if section.whole("batch_normalize") or section.whole("cbn"):
        factor, shift = _norm(s, section, filters)
        bias = bias + shift
    inner = channels // groups * size * size
    if section.whole("flipped"):  # stored with the filters last
        weight = s.weights.take(section, inner, filters).T
    else:
        weight = s.weights.take(section, filters, inner)
    weight = weight.reshape(filters, channels // groups, size, size)
    if factor is not None:
        weight = weight * factor[:, None, None, None]
    name = f"conv_{section.number}"
    y = s.graph.add(
        "Conv",
        s.x,
        s.graph.constant(weight.astype(np.float32), f"{name}.weight"),
        s.graph.constant(bias.astype(np.float32), f"{name}.bias"),
        kernel_shape=[size, size],
        strides=[stride_y, stride_x],
        pads=[pad * dilation] * 4,
        dilations=[dilation] * 2,
        group=groups,
    )
    return _activate(s, section, y)


def deconvolutional(s: State, section: Section) -> str:
    filters, channels = section.whole("filters", 1, 1, CHANNELS), s.shape()[1]
    size, stride = section.whole("size", 1, 1, 255), section.whole("stride", 1, 1, 255)
    pad = size // 2 if section.whole("pad") else section.whole("padding", 0, 0, 255)
    bias = s.weights.take(section, filters).astype(np.float64)
    factor = np.ones(filters)
    if section.whole("batch_normalize"):
        factor, shift = _norm(s, section, filters)
        bias = bias + shift
    weight = s.weights.take(section, channels, filters, size, size) * factor[:, None, None]
    y = s.graph.add(
        "ConvTranspose",
        s.x,
        s.graph.constant(weight.astype(np.float32), f"deconv_{section.number}.weight"),
        s.graph.constant(bias.astype(np.float32), f"deconv_{section.number}.bias"),
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=[pad] * 4,
    )
    return _activate(s, section, y)


def connected(s: State, section: Section) -> str:
    outputs = section.whole("output", 1, 1, 1 << 20)
    inner = int(np.prod(s.shape()[1:], dtype=np.float64))
    bias = s.weights.take(section, outputs).astype(np.float64)
    weight = s.weights.take(section, outputs, inner).astype(np.float64)
    if section.whole("batch_normalize"):
        factor, shift = _norm(s, section, outputs)
        weight, bias = weight * factor[:, None], bias + shift
    if len(s.shape()) > 2:
        if s.shape()[2:] != (1, 1):
            s.graph.pin("height", "width")
        s.x = s.graph.add("Flatten", s.x, axis=1)
    stored = [s.graph.constant(a.astype(np.float32), f"connected_{section.number}") for a in (weight, bias)]
    return _activate(s, section, s.graph.add("Gemm", s.x, *stored, transB=1))


def local(s: State, section: Section) -> str:
    """A convolution whose kernel is another one at every place."""
    filters, size = section.whole("filters", 1, 1, CHANNELS), section.whole("size", 1, 1, 255)
    stride, pad, g = section.whole("stride", 1, 1, 255), int(bool(section.whole("pad"))), s.graph
    if len(s.shape()) != 4:
        raise section.fault("takes a picture")
    channels, *plane = s.shape()[1:]
    rows, columns = ((n - (1 if pad else size)) // stride + 1 for n in plane)
    inner = channels * size * size
    if [rows, columns] != [(n + 2 * pad - size) // stride + 1 for n in plane] or min(rows, columns) < 1:
        raise section.fault(f"a kernel of {size} does not fit {plane} with padding {pad}")
    g.pin("height", "width")
    bias = s.weights.take(section, filters, rows, columns)
    weight = g.constant(s.weights.take(section, rows * columns, filters, inner), f"local_{section.number}")
    patches = np.tile(np.eye(size * size, dtype=np.float32).reshape(-1, 1, size, size), (channels, 1, 1, 1))
    x = g.add("Conv", s.x, g.constant(patches, "patches"), kernel_shape=[size, size], strides=[stride, stride],
              pads=[pad] * 4, group=channels)  # fmt: skip
    x = g.add("Transpose", g.add("Reshape", x, g.ints(0, inner, -1)), perm=[2, 1, 0])
    y = g.add("Transpose", g.add("MatMul", weight, x), perm=[2, 1, 0])
    y = g.add("Reshape", y, g.ints(-1, filters, rows, columns))
    return _activate(s, section, g.add("Add", y, g.constant(bias, "bias")))


def normalization(s: State, section: Section) -> str:
    """x / (kappa + alpha * the squares of the channels around) ^ beta, as Darknet runs through them.

    Its running total never takes up the channel `size / 2`, so this one is missing in all of them.
    """
    size, channels, g = section.whole("size", 5, 1, 255), s.shape()[1], s.graph
    half = size // 2
    if half > channels:
        raise section.fault(f"a window of {size} for {channels} channels")
    k, j = np.ogrid[:channels, :channels]
    window = ((j >= k - (size - 1) // 2) & (j <= k + half)).astype(np.float32)
    window[:, half : half + 1] -= 1
    window *= np.float32(section.number_of("alpha", 0.0001))
    bias = np.full(channels, section.number_of("kappa", 1.0), np.float32)
    total = g.add("Conv", g.add("Mul", s.x, s.x), g.constant(window[:, :, None, None], "window"),
                  g.constant(bias, "kappa"), kernel_shape=[1, 1])  # fmt: skip
    return str(g.add("Mul", s.x, g.add("Pow", total, g.constant(np.float32(-section.number_of("beta", 0.75))))))


def l2norm(s: State, section: Section) -> str:
    """Divided by the length of the vector of channels."""
    return str(s.graph.add("Div", s.x, s.graph.add("ReduceL2", s.x, s.graph.ints(1), keepdims=1)))


def logistic(s: State, section: Section) -> str:
    return str(s.graph.add("Sigmoid", s.x))


def batchnorm(s: State, section: Section) -> str:
    factor, shift = _norm(s, section, s.shape()[1])
    y = s.graph.add("Mul", s.x, s.graph.constant(factor.astype(np.float32).reshape(-1, 1, 1), "scale"))
    return str(s.graph.add("Add", y, s.graph.constant(shift.astype(np.float32).reshape(-1, 1, 1), "shift")))


def maxpool(s: State, section: Section) -> str:
    """Darknet pads by `padding` in all (size - 1 by default), the smaller half in front."""
    stride = section.whole("stride", 1, 1, 255)
    size = section.whole("size", stride, 1, 255)
    steps = [section.whole("stride_y", stride, 1, 255), section.whole("stride_x", stride, 1, 255)]
    padding = section.whole("padding", size - 1, 0, 255)
    if section.whole("maxpool_depth") or section.whole("antialiasing"):
        raise section.fault("unsupported: pooling over channels, or with a filter")
    before, after = padding // 2, padding - padding // 2
    if after >= size:
        raise section.fault(f"padding {padding} is too much for a window of {size}")
    # Output: (size of input + padding - window) / stride + 1, rounded down
    return str(s.graph.add("MaxPool", s.x, kernel_shape=[size, size], strides=steps,
                           pads=[before, before, after, after]))  # fmt: skip


def local_avgpool(s: State, section: Section) -> str:
    stride = section.whole("stride", 1, 1, 255)
    size = section.whole("size", stride, 1, 255)
    padding = section.whole("padding", size - 1, 0, 255)
    before, after = padding // 2, padding - padding // 2
    if after >= size:
        raise section.fault(f"padding {padding} is too much for a window of {size}")
    steps = [section.whole("stride_y", stride, 1, 255), section.whole("stride_x", stride, 1, 255)]
    return str(s.graph.add("AveragePool", s.x, kernel_shape=[size, size], strides=steps,
                           pads=[before, before, after, after], count_include_pad=0))  # fmt: skip


def avgpool(s: State, section: Section) -> str:
    return str(s.graph.add("GlobalAveragePool", s.x))


def softmax(s: State, section: Section) -> str:
    """Over all values of a picture, or of each of its groups."""
    groups, temperature = section.whole("groups", 1, 1, CHANNELS), section.number_of("temperature", 1.0)
    if section.whole("spatial") or "tree" in section.settings:
        raise section.fault("unsupported: over a tree of classes, or in space")
    g, x = s.graph, s.x
    if len(s.shape()) > 2:
        x = g.add("Flatten", x, axis=1)
    total = s.shape(x)[1]
    if total % groups or temperature <= 0:
        raise section.fault(f"{total} values in {groups} groups, temperature {temperature}")
    if temperature != 1:
        x = g.add("Div", x, g.constant(np.float32(temperature)))
    if groups == 1:
        return str(g.add("Softmax", x, axis=1))
    y = g.add("Softmax", g.add("Reshape", x, g.ints(0, groups, -1)), axis=2)
    return str(g.add("Flatten", y, axis=1))


def route(s: State, section: Section) -> str:
    places = section.numbers("layers")
    if not places:
        raise section.fault("names no layers")
    values = [s.layer(section, int(p), "route to layer") for p in places]
    sizes = {s.shape(v)[2:] for v in values}
    if len(sizes) > 1:
        raise section.fault(f"its layers differ in size: {', '.join(str(list(x)) for x in sizes)}")
    groups, part = section.whole("groups", 1, 1, CHANNELS), section.whole("group_id", 0, 0, CHANNELS)
    if groups > 1:
        cut = []
        for value in values:
            channels = s.shape(value)[1]
            if channels % groups or part >= groups:
                raise section.fault(f"part {part} of {channels} channels in {groups} groups")
            width = channels // groups
            ints = s.graph.ints
            cut.append(s.graph.add("Slice", value, ints(part * width), ints((part + 1) * width), ints(1)))
        values = cut
    if len(values) == 1:
        return str(s.graph.add("Identity", values[0]))
    return str(s.graph.add("Concat", *values, axis=1))


def _stuffed(s: State, x: str, sample: int, height: int, width: int) -> str:
    """Each value at every `sample`th place of a larger plane, zeros between them."""
    g, (_, channels, rows, columns) = s.graph, s.shape(x)
    if sample > 1:
        x = g.add("Reshape", x, g.ints(-1, channels, rows, 1, columns, 1))
        x = g.add("Pad", x, g.ints(0, 0, 0, 0, 0, 0, 0, 0, 0, sample - 1, 0, sample - 1))
        x = g.add("Reshape", x, g.ints(-1, channels, rows * sample, columns * sample))
    below, behind = height - rows * sample, width - columns * sample
    return str(g.add("Pad", x, g.ints(0, 0, 0, 0, 0, 0, below, behind)) if below or behind else x)


def shortcut(s: State, section: Section) -> str:
    """alpha * here + beta * earlier where both have channels and places; of a larger plane every `stride`th place."""
    if section.settings.get("weights_type", "none") not in ("none", "0"):
        raise section.fault("unsupported: a weighted sum (weights_type)")
    alpha, beta = section.number_of("alpha", 1.0), section.number_of("beta", 1.0)
    g, ints, y = s.graph, s.graph.ints, s.x
    channels, height, width = s.shape()[1:]
    for place in section.numbers("from"):
        other = s.layer(section, int(place), "from layer")
        common, (rows, columns) = min(channels, s.shape(other)[1]), s.shape(other)[2:]
        step, sample = max(1, columns // width), max(1, width // columns)
        if (rows, columns) != (height, width):
            if (max(1, rows // height), max(1, height // rows)) != (step, sample):
                raise section.fault(f"its layers differ in size: {list(s.shape(y))} and {list(s.shape(other))}")
            g.pin("height", "width")
            ends = step * (min(rows, height) - 1) + 1, step * (min(columns, width) - 1) + 1
            other = g.add("Slice", other, ints(0, 0), ints(*ends), ints(2, 3), ints(step, step))
        if s.shape(other)[1] > common:
            other = g.add("Slice", other, ints(0), ints(common), ints(1))
        more = ints(0, 0, 0, 0, 0, channels - common, 0, 0) if common < channels else ""
        if alpha != 1:  # only what is met is multiplied
            factor = g.add("Expand", g.constant(np.float32(alpha - 1)), g.add("Shape", other))
            factor = _stuffed(s, factor, sample, height, width)
            factor = g.add("Pad", factor, more) if more else factor
            y = g.add("Mul", y, g.add("Add", factor, g.constant(np.float32(1))))
        other = _stuffed(s, other, sample, height, width)
        other = g.add("Pad", other, more) if more else other
        y = g.add("Add", y, other if beta == 1 else g.add("Mul", other, g.constant(np.float32(beta))))
    if y == s.x:
        raise section.fault("names no layer (from)")
    return _activate(s, section, y, "linear")


def gate(s: State, section: Section) -> str:
    """The product with an earlier layer: of a value for each channel and a picture, or of two pictures."""
    if section.whole("scale_wh"):
        raise section.fault("unsupported setting scale_wh")
    places = section.numbers("from")
    if len(places) != 1:
        raise section.fault("names no layer (from)")
    y = s.graph.add("Mul", s.x, s.layer(section, int(places[0]), "from layer"))
    return _activate(s, section, y, "linear")


def upsample(s: State, section: Section) -> str:
    """Nearest neighbours, times `scale`; with a negative stride the sum of each square."""
    stride, factor = section.whole("stride", 2, -255, 255), section.number_of("scale", 1.0)
    g = s.graph
    if stride < 0:
        side = -stride
        if any(n % side for n in s.shape()[2:]):
            raise section.fault(f"a plane of {list(s.shape()[2:])} cannot be divided by {side}")
        y = g.add("AveragePool", s.x, kernel_shape=[side, side], strides=[side, side])
        factor *= side * side
    elif stride:
        y = g.add("Resize", s.x, "", g.constant(np.array([1, 1, stride, stride], np.float32)), mode="nearest",
                  nearest_mode="floor", coordinate_transformation_mode="asymmetric")  # fmt: skip
    else:
        raise section.fault("a stride of 0 is not possible")
    return str(y if factor == 1 else g.add("Mul", y, g.constant(np.float32(factor))))


def reorg(s: State, section: Section) -> str:
    """Space to channels, in Darknet's own order (that of its CPU code, as its weights were trained with)."""
    stride, g = section.whole("stride", 1, 1, 255), s.graph
    backwards = section.whole("reverse")
    if section.whole("extra"):
        raise section.fault("unsupported setting extra")
    _, channels, height, width = s.shape()
    square = stride * stride
    if channels % square and (backwards or not section.whole("flatten")):
        raise section.fault(f"{channels} channels cannot be divided by {square}")
    if not backwards and (height % stride or width % stride):
        raise section.fault(f"{channels} x {height} x {width} cannot be divided by {stride}")
    if section.whole("flatten"):  # channels last, or back; what is told of the shape is only told
        g.pin("height", "width")
        y = g.add(
            "Reshape", s.x, g.ints(-1, *((height * width, channels) if backwards else (channels, height * width)))
        )
        y = g.add("Transpose", y, perm=[0, 2, 1])
        shape = (channels // square, height * stride, width * stride)
        if not backwards:
            shape = (channels * square, height // stride, width // stride)
        return str(g.add("Reshape", y, g.ints(-1, *shape)))
    if backwards:
        return str(g.add("DepthToSpace", s.x, blocksize=stride))
    # As memory of (channels / stride^2, height, stride, width, stride): the two offsets become the first axes
    inner, side = channels // square, g.ints(stride)
    rows, columns = g.add("Shape", s.x, start=2, end=3), g.add("Shape", s.x, start=3, end=4)
    y = g.add("Reshape", s.x, g.add("Concat", g.ints(0, inner), rows, side, columns, side, axis=0))
    y = g.add("Transpose", y, perm=[0, 3, 5, 1, 2, 4])
    size = g.ints(0, channels * square), g.add("Div", rows, side), g.add("Div", columns, side)
    return str(g.add("Reshape", y, g.add("Concat", *size, axis=0)))


def reorg3d(s: State, section: Section) -> str:
    """Space to channels, in the order of ONNX (a layer of the later forks)."""
    return str(s.graph.add("SpaceToDepth", s.x, blocksize=section.whole("stride", 1, 1, 255)))


def crop(s: State, section: Section) -> str:
    """The middle of the picture, brought from 0..1 to -1..1 unless `noadjust`."""
    height, width = section.whole("crop_height", 1, 1, SIDE), section.whole("crop_width", 1, 1, SIDE)
    g, ints, shape = s.graph, s.graph.ints, s.shape()
    if height > shape[2] or width > shape[3]:
        raise section.fault(f"cannot cut {height} x {width} from {shape[2]} x {shape[3]}")
    top, left = (shape[2] - height) // 2, (shape[3] - width) // 2
    g.pin("height", "width")
    y = g.add("Slice", s.x, ints(top, left), ints(top + height, left + width), ints(2, 3))
    if section.whole("noadjust"):
        return str(y)
    return str(g.add("Sub", g.add("Mul", y, g.constant(np.float32(2))), g.constant(np.float32(1))))


def activation(s: State, section: Section) -> str:
    return _activate(s, section, s.x, "linear")
