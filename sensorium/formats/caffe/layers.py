"""Caffe's layers as ONNX operators, as caffe.proto and the layers' source (BVLC Caffe 1.0, and SSD's) define them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.formats.caffe.net import Layer
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.textproto import Block

LAST = np.iinfo(np.int64).max


@dataclass
class Context:
    """One layer being converted.

    Attributes:
        inputs: values of its bottoms.
        fixed: whether none of them changes its size with the picture.
    """

    graph: Graph
    layer: Layer
    inputs: Sequence[str]
    fixed: bool

    @property
    def x(self) -> str:
        if not self.inputs:
            raise self.layer.fault("has no bottom")
        return self.inputs[0]

    @property
    def hint(self) -> str:
        return self.layer.tops[0] if self.layer.tops else self.layer.name

    def add(self, op: str, *inputs: str, **attributes: Any) -> Any:
        return self.graph.add(op, *inputs, hint=self.hint, **attributes)

    def constant(self, array: Any, name: str = "value") -> str:
        return self.graph.constant(np.asarray(array, np.float32), f"{self.layer.name}.{name}")

    def shape(self, i: int = 0) -> tuple[int, ...]:
        return self.graph.shape(self.inputs[i])

    def rank(self, i: int = 0) -> int:
        return self.graph.rank(self.inputs[i])

    def axis(self, given: int, i: int = 0, extra: int = 0) -> int:
        """An axis counted from the front."""
        rank = self.rank(i)
        axis = given + rank if given < 0 else given
        if not 0 <= axis < rank + extra:
            raise self.layer.fault(f"axis {given} of an input with {rank} axes")
        return axis

    def blob(self, i: int, shape: Sequence[int], what: str) -> np.ndarray:
        """A trained array of this shape; old files write leading ones."""
        found = self.layer.blobs[i]
        if tuple(n for n in found.shape if n != 1) != tuple(n for n in shape if n != 1):
            raise self.layer.fault(
                f"its {what} should have the shape {'x'.join(map(str, shape))}, the caffemodel's blob {i} has "
                f"{'x'.join(map(str, found.shape))}"
            )
        return np.asarray(found.reshape(shape), np.float32)

    def pin_size(self) -> None:
        """Say that the size of the picture is built in."""
        if names := [n for i in self.graph.inputs for a, n in i.free.items() if len(i.shape) == 4 and a > 1]:
            self.graph.pin(*names)

    def affine(self, x: str, scale: np.ndarray | float | None, shift: np.ndarray | float | None, axis: int) -> str:
        """x * scale + shift, the arrays laid along the axes from `axis` on."""
        for op, given in (("Mul", scale), ("Add", shift)):
            if given is not None:
                array = np.asarray(given, np.float32)
                after = self.graph.rank(x) - axis - array.ndim
                if after < 0:
                    raise self.layer.fault(f"parameters of {array.ndim} axes do not fit behind axis {axis}")
                x = self.add(op, x, self.constant(array.reshape(array.shape + (1,) * after), op.lower()))
        return x


def simple(op: str) -> Callable[[Context], str]:
    def convert(c: Context) -> str:
        return str(c.add(op, c.x))

    return convert


def identity(c: Context) -> list[str]:
    return [c.add("Identity", c.x) for _ in c.layer.tops]


# Convolutions and products


def _spatial(c: Context, param: Block, name: str, count: int, default: int, side: str = "") -> list[int]:
    """A value for each spatial axis: `kernel_size: 3`, repeated, or `kernel_h` and `kernel_w`."""
    short = side or name
    if f"{short}_h" in param or f"{short}_w" in param:
        if count != 2:
            raise c.layer.fault(f"{short}_h and {short}_w are for two spatial axes, there are {count}")
        return [param.whole(f"{short}_h", default), param.whole(f"{short}_w", default)]
    found = param.whole_list(name)
    if len(found) == 1:
        return found * count
    if found and len(found) != count:
        raise c.layer.fault(f"{len(found)} values of {name} for {count} spatial axes")
    return found or [default] * count


def _window(c: Context, param: Block) -> tuple[list[int], list[int], list[int], list[int]]:
    count = c.rank() - 2
    if count < 1:
        raise c.layer.fault(f"its input has {c.rank()} axes; it takes pictures (batch, channels, height, width)")
    kernel = _spatial(c, param, "kernel_size", count, 0, "kernel")
    stride = _spatial(c, param, "stride", count, 1)
    pad = _spatial(c, param, "pad", count, 0)
    dilation = _spatial(c, param, "dilation", count, 1)
    if min(kernel) < 1 or min(stride) < 1 or min(pad) < 0 or min(dilation) < 1 or max(*kernel, *pad, *dilation) > 9999:
        raise c.layer.fault(f"kernel {kernel}, stride {stride}, pad {pad}, dilation {dilation} are not possible")
    return kernel, stride, pad, dilation


def _has_bias(layer: Layer, group: str) -> int:
    return 1 + layer.param(group).flag("bias_term", True)


def convolution(c: Context) -> str:
    param = c.layer.param("convolution_param")
    kernel, stride, pad, dilation = _window(c, param)
    channels, outputs = c.shape()[1], param.whole("num_output")
    transposed = c.layer.type == "Deconvolution"
    group = channels if "epthwise" in c.layer.type else param.whole("group", 1)
    if param.whole("axis", 1) != 1:
        raise c.layer.fault("a channel axis other than 1 is not converted")
    if outputs < 1 or group < 1 or channels % group or outputs % group:
        raise c.layer.fault(f"{channels} channels to {outputs} in {group} groups is not possible")
    shape = (channels, outputs // group) if transposed else (outputs, channels // group)
    inputs = [c.x, c.constant(c.blob(0, [*shape, *kernel], "weights"), "weight")]
    if param.flag("bias_term", True):
        inputs.append(c.constant(c.blob(1, [outputs], "bias"), "bias"))
    return str(
        c.add(
            "ConvTranspose" if transposed else "Conv",
            *inputs,
            kernel_shape=kernel,
            strides=stride,
            pads=pad + pad,
            dilations=dilation,
            group=group,
        )
    )


def inner_product(c: Context) -> str:
    param = c.layer.param("inner_product_param")
    outputs, axis = param.whole("num_output"), c.axis(param.whole("axis", 1))
    inner = math.prod(c.shape()[axis:])
    held = c.layer.blobs[0].size
    if held != outputs * inner:
        raise c.layer.fault(
            f"its weights have {held} values, {outputs} outputs of an input of {list(c.shape()[axis:])} need "
            f"{outputs * inner}; is that the network's input size?"
        )
    transpose = param.flag("transpose")
    weight = c.blob(0, [inner, outputs] if transpose else [outputs, inner], "weights")
    bias = c.blob(1, [outputs], "bias") if param.flag("bias_term", True) else None
    if not c.fixed and c.rank() > 2 and axis < 3:
        c.pin_size()
    if axis == 1:
        x = c.x if c.rank() == 2 else c.add("Flatten", c.x, axis=1)
        inputs = [x, c.constant(weight, "weight")] + ([] if bias is None else [c.constant(bias, "bias")])
        return str(c.add("Gemm", *inputs, transB=0 if transpose else 1))
    x = c.x if axis == c.rank() - 1 else c.add("Reshape", c.x, c.graph.ints(*[0] * axis, -1))
    y = c.add("MatMul", x, c.constant(weight if transpose else weight.T, "weight"))
    return str(y if bias is None else c.add("Add", y, c.constant(bias, "bias")))


def embed(c: Context) -> str:
    param = c.layer.param("embed_param")
    rows, width = param.whole("input_dim"), param.whole("num_output")
    table = c.constant(c.blob(0, [rows, width], "weights"), "weight")
    y = c.add("Gather", table, c.graph.add("Cast", c.x, to=7))
    return str(c.add("Add", y, c.constant(c.blob(1, [width], "bias"))) if param.flag("bias_term", True) else y)


# Pooling and normalisation


def pooling(c: Context) -> Any:
    param = c.layer.param("pooling_param")
    kind = {"0": "MAX", "1": "AVE", "2": "STOCHASTIC"}.get(param.text("pool", "MAX"), param.text("pool", "MAX"))
    if kind not in ("MAX", "AVE"):
        raise c.layer.fault(f"unsupported pooling '{kind}'")
    if len(c.layer.tops) > 1:
        raise c.layer.fault("unsupported: a second top with the places of the maxima")
    if param.flag("global_pooling"):
        return c.add("GlobalMaxPool" if kind == "MAX" else "GlobalAveragePool", c.x)
    kernel, stride, pad, _ = _window(c, param)
    return pool(c, c.x, kind, kernel, stride, pad, param.text("round_mode", "CEIL") not in ("FLOOR", "1"))


def pool(c: Context, x: str, kind: str, kernel: list[int], stride: list[int], pad: list[int], ceil: bool = True) -> str:
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
    return str(c.add(op, x, kernel_shape=kernel, strides=stride, pads=pad + pad, ceil_mode=int(ceil), **more))


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


def lrn(c: Context) -> str:
    param = c.layer.param("lrn_param")
    size, alpha, beta = param.whole("local_size", 5), param.number("alpha", 1.0), param.number("beta", 0.75)
    if size < 1 or size % 2 == 0 or size > 999:
        raise c.layer.fault(f"local_size {size} is not odd")
    if param.text("norm_region", "ACROSS_CHANNELS") in ("ACROSS_CHANNELS", "0"):
        return str(c.add("LRN", c.x, size=size, alpha=alpha, beta=beta, bias=param.number("k", 1.0)))
    # Within a channel: x * (1 + alpha * mean of squares over the window, padding counted as zeros) ^ -beta
    squares = c.add("Mul", c.x, c.x)
    mean = pool(c, squares, "AVE", [size] * 2, [1, 1], [size // 2] * 2) if size > 1 else squares
    scale = c.affine(mean, alpha, 1.0, 0)
    return str(c.add("Mul", c.x, c.add("Pow", scale, c.constant(-beta))))


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


def mvn(c: Context) -> str:
    param = c.layer.param("mvn_param")
    axes = list(range(1 if param.flag("across_channels") else 2, c.rank()))
    if not axes:
        raise c.layer.fault(f"its input has only {c.rank()} axes")
    return normalised(c, c.x, axes, param.number("eps", 1e-9), False, param.flag("normalize_variance", True))


def normalize(c: Context) -> str:
    """SSD's: divided by the L2 norm, over channels or the whole picture, times a trained scale."""
    param = c.layer.param("norm_param")
    axes = c.graph.ints(*([1, 2, 3] if param.flag("across_spatial", True) else [1]))
    total = c.add("ReduceSum", c.add("Mul", c.x, c.x), axes, keepdims=1)
    y = c.add("Div", c.x, c.add("Sqrt", c.add("Add", total, c.constant(param.number("eps", 1e-10), "epsilon"))))
    shared = param.flag("channel_shared", True)
    return c.affine(y, c.blob(0, [1 if shared else c.shape()[1]], "scale"), None, 1)


# Element by element


def relu(c: Context) -> str:
    slope = c.layer.param("relu_param").number("negative_slope", 0.0)
    return str(c.add("LeakyRelu", c.x, alpha=slope) if slope else c.add("Relu", c.x))


def prelu(c: Context) -> str:
    shared = c.layer.param("prelu_param").flag("channel_shared")
    channels = 1 if shared else c.shape()[1]
    slope = c.blob(0, [channels], "slope").reshape(channels, *[1] * (c.rank() - 2))
    return str(c.add("PRelu", c.x, c.constant(slope, "slope")))


def elu(c: Context) -> str:
    return str(c.add("Elu", c.x, alpha=c.layer.param("elu_param").number("alpha", 1.0)))


def _base(c: Context, param: Block) -> float:
    base = param.number("base", -1.0)
    if base == -1.0:
        return 1.0
    if base <= 0:
        raise c.layer.fault(f"base {base} is not possible")
    return math.log(base)


def _inner(c: Context, param: Block, factor: float = 1.0) -> str:
    """factor * (shift + scale * x)."""
    scale, shift = param.number("scale", 1.0) * factor, param.number("shift", 0.0) * factor
    return c.affine(c.x, None if scale == 1 else scale, shift or None, 0)


def exponential(c: Context) -> str:
    param = c.layer.param("exp_param")
    return str(c.add("Exp", _inner(c, param, _base(c, param))))


def logarithm(c: Context) -> str:
    param = c.layer.param("log_param")
    base = _base(c, param)
    y = c.add("Log", _inner(c, param))
    return str(y if base == 1.0 else c.add("Div", y, c.constant(base, "base")))


def power(c: Context) -> str:
    param = c.layer.param("power_param")
    exponent = param.number("power", 1.0)
    y = _inner(c, param)
    if exponent == 1.0:
        return y if y != c.x else str(c.add("Identity", y))
    return str(c.add("Mul", y, y) if exponent == 2.0 else c.add("Pow", y, c.constant(exponent, "power")))


def threshold(c: Context) -> str:
    limit = c.constant(c.layer.param("threshold_param").number("threshold", 0.0), "threshold")
    return str(c.add("Cast", c.graph.add("Greater", c.x, limit), to=1))


def clip(c: Context) -> str:
    param = c.layer.param("clip_param")
    low, high = (0.0, 6.0) if c.layer.type == "ReLU6" else (param.number("min"), param.number("max"))
    return str(c.add("Clip", c.x, c.constant(low, "min"), c.constant(high, "max")))


def swish(c: Context) -> str:
    beta = c.layer.param("swish_param").number("beta", 1.0)
    inner = c.x if beta == 1 else c.affine(c.x, beta, None, 0)
    return str(c.add("Mul", c.x, c.add("Sigmoid", inner)))


def _covered(c: Context, param: Block, axis: int) -> list[int]:
    """The axes that trained scales or shifts cover."""
    count = param.whole("num_axes", 1)
    end = c.rank() if count == -1 else axis + count
    if count < -1 or end > c.rank():
        raise c.layer.fault(f"{count} axes from axis {axis} on, of an input with {c.rank()}")
    if any(a == 0 for a in range(axis, end)):
        c.graph.pin("batch")
    return list(c.shape()[axis:end])


def _second(c: Context, axis: int) -> str:
    """The second bottom, laid along the axes of the first from `axis` on."""
    after = c.rank() - axis - c.rank(1)
    if after < 0:
        raise c.layer.fault("its second bottom has more axes than fit")
    if not after:
        return c.inputs[1]
    return str(c.graph.add("Unsqueeze", c.inputs[1], c.graph.ints(*range(c.rank(1), c.rank(1) + after))))


def scale(c: Context) -> str:
    param = c.layer.param("scale_param")
    axis, biased = c.axis(param.whole("axis", 1), extra=1), param.flag("bias_term")
    if len(c.inputs) > 1:
        y = c.add("Mul", c.x, _second(c, axis))
        shape = list(c.shape(1))
        return c.affine(y, None, c.blob(0, shape, "bias"), axis) if biased else str(y)
    shape = _covered(c, param, axis)
    return c.affine(c.x, c.blob(0, shape, "scale"), c.blob(1, shape, "bias") if biased else None, axis)


def _scale_blobs(layer: Layer) -> int:
    return (len(layer.bottoms) < 2) + layer.param("scale_param").flag("bias_term")


def bias(c: Context) -> str:
    param = c.layer.param("bias_param")
    axis = c.axis(param.whole("axis", 1), extra=1)
    if len(c.inputs) > 1:
        return str(c.add("Add", c.x, _second(c, axis)))
    return c.affine(c.x, None, c.blob(0, _covered(c, param, axis), "bias"), axis)


def eltwise(c: Context) -> str:
    param = c.layer.param("eltwise_param")
    kind = {"0": "PROD", "1": "SUM", "2": "MAX"}.get(param.text("operation", "SUM"), param.text("operation", "SUM"))
    factors = param.number_list("coeff")
    if factors and len(factors) != len(c.inputs):
        raise c.layer.fault(f"{len(factors)} coefficients for {len(c.inputs)} bottoms")
    if any(c.shape(i) != c.shape() for i in range(1, len(c.inputs))):
        raise c.layer.fault(
            f"its bottoms differ in shape: {', '.join(str(list(c.shape(i))) for i in range(len(c.inputs)))}"
        )
    if kind == "SUM":
        parts = [
            x if f == 1 else c.add("Mul", x, c.constant(f, "coeff"))
            for x, f in zip(c.inputs, factors or [1.0] * len(c.inputs))
        ]
        return str(c.add("Sum", *parts))
    if kind == "MAX":
        return str(c.add("Max", *c.inputs))
    if kind != "PROD":
        raise c.layer.fault(f"unsupported operation '{kind}'")
    y = c.x
    for x in c.inputs[1:]:
        y = c.add("Mul", y, x)
    return y


def axpy(c: Context) -> str:
    """bottom 0 (batch, channels) times bottom 1, plus bottom 2."""
    factor = c.x
    if c.rank() < c.rank(1):
        factor = c.graph.add("Unsqueeze", factor, c.graph.ints(*range(c.rank(), c.rank(1))))
    return str(c.add("Add", c.add("Mul", c.inputs[1], factor), c.inputs[2]))


def softmax(c: Context) -> str:
    return str(c.add("Softmax", c.x, axis=c.axis(c.layer.param("softmax_param").whole("axis", 1))))


# Shapes


def concat(c: Context) -> str:
    param = c.layer.param("concat_param")
    axis = c.axis(param.whole("concat_dim", 1) if "concat_dim" in param else param.whole("axis", 1))
    return str(c.add("Concat", *c.inputs, axis=axis))


def slices(c: Context) -> list[str]:
    param = c.layer.param("slice_param")
    axis = c.axis(param.whole("slice_dim", 1) if "slice_dim" in param else param.whole("axis", 1))
    points, count, size = param.whole_list("slice_point"), len(c.layer.tops), c.shape()[axis]
    if not points:
        if not count or size % count:
            raise c.layer.fault(f"{size} cannot be divided evenly among {count} tops")
        found = c.graph.add("Split", c.x, outputs=count, hint=c.hint, axis=axis, num_outputs=count)
        return [found] if count == 1 else list(found)
    if len(points) != count - 1 or points != sorted(set(points)) or points[0] < 1 or points[-1] >= size:
        raise c.layer.fault(f"slice points {points[:20]} for {count} tops of an axis of {size}")
    edges = [0, *points, LAST]
    ints = c.graph.ints
    return [c.add("Slice", c.x, ints(a), ints(b), ints(axis)) for a, b in itertools.pairwise(edges)]


def _part(c: Context, start: int, end: int) -> str:
    """Some sizes of the first bottom, as they will be."""
    return str(c.graph.add("Shape", c.x, start=start, end=end))


def _reshaped(c: Context, before: int, middle: Sequence[int], after: int) -> str:
    """The first bottom with its axes from `before` to `after` replaced."""
    if after >= c.rank():  # zeros stand for the sizes before
        return str(c.add("Reshape", c.x, c.graph.ints(*[0] * before, *middle)))
    parts = [_part(c, 0, before)] if before else []
    parts += [c.graph.ints(*middle)] if middle else []
    return str(c.add("Reshape", c.x, c.graph.add("Concat", *parts, _part(c, after, c.rank()), axis=0)))


def flatten(c: Context) -> str:
    param = c.layer.param("flatten_param")
    start, end = c.axis(param.whole("axis", 1)), c.axis(param.whole("end_axis", -1))
    if end < start:
        raise c.layer.fault(f"its axes end ({end}) before they begin ({start})")
    return _reshaped(c, start, [-1], end + 1)


def reshape(c: Context) -> str:
    param = c.layer.param("reshape_param")
    dims = param.block("shape").whole_list("dim")
    start = param.whole("axis", 0)
    start = start + c.rank() + 1 if start < 0 else start
    count = param.whole("num_axes", -1)
    end = c.rank() if count == -1 else start + count
    if not 0 <= start <= end <= c.rank():
        raise c.layer.fault(f"axes {start} to {end} of an input with {c.rank()}")
    if any(d < -1 for d in dims) or dims.count(-1) > 1:
        raise c.layer.fault(f"a shape of {dims[:16]} (one dim may be -1, none less)")
    if any(d == 0 and start + i >= c.rank() for i, d in enumerate(dims)):
        raise c.layer.fault(f"a shape of {dims[:16]} copies (0) more axes than there are")
    if end == c.rank():
        return _reshaped(c, start, dims, end)
    parts = [_part(c, 0, start)] if start else []
    parts += [_part(c, start + i, start + i + 1) if d == 0 else c.graph.ints(d) for i, d in enumerate(dims)]
    return str(c.add("Reshape", c.x, c.graph.add("Concat", *parts, _part(c, end, c.rank()), axis=0)))


def permute(c: Context) -> str:
    order = c.layer.param("permute_param").whole_list("order")
    if len(set(order)) != len(order) or any(not 0 <= a < c.rank() for a in order):
        raise c.layer.fault(f"order {order[:16]} of {c.rank()} axes")
    return str(c.add("Transpose", c.x, perm=order + [a for a in range(c.rank()) if a not in order]))


def crop(c: Context) -> str:
    """The first bottom cut to the second's size, from the offsets on."""
    param = c.layer.param("crop_param")
    axis = c.axis(param.whole("axis", 2))
    count = c.rank() - axis
    offsets = param.whole_list("offset") or [0]
    if len(offsets) not in (1, count) or min(offsets) < 0:
        raise c.layer.fault(f"{len(offsets)} offsets for {count} axes")
    offsets = offsets * count if len(offsets) == 1 else offsets
    for i, start in enumerate(offsets):
        if start + c.shape(1)[axis + i] > c.shape()[axis + i]:
            raise c.layer.fault(f"cannot cut {c.shape(1)[axis + i]} from {c.shape()[axis + i]} at offset {start}")
    starts = c.graph.ints(*offsets)
    ends = c.graph.add("Add", starts, c.graph.add("Shape", c.inputs[1], start=axis, end=c.rank()))
    return str(c.add("Slice", c.x, starts, ends, c.graph.ints(*range(axis, c.rank()))))


def tile(c: Context) -> str:
    param = c.layer.param("tile_param")
    repeats = [1] * c.rank()
    repeats[c.axis(param.whole("axis", 1))] = param.whole("tiles")
    if not 0 < max(repeats) < 1 << 20 or min(repeats) < 1:
        raise c.layer.fault(f"tiles: {param.whole('tiles')}")
    return str(c.add("Tile", c.x, c.graph.ints(*repeats)))


def shuffle_channel(c: Context) -> str:
    groups, channels = c.layer.param("shuffle_channel_param").whole("group", 1), c.shape()[1]
    if groups < 1 or channels % groups:
        raise c.layer.fault(f"{channels} channels in {groups} groups")
    size = c.graph.add("Shape", c.x)
    inner = [c.graph.ints(0, groups, channels // groups), c.graph.add("Shape", c.x, start=2, end=c.rank())]
    y = c.add("Reshape", c.x, c.graph.add("Concat", *inner, axis=0))
    y = c.add("Transpose", y, perm=[0, 2, 1, *range(3, c.rank() + 1)])
    return str(c.add("Reshape", y, size))


def argmax(c: Context) -> str:
    param = c.layer.param("argmax_param")
    k, values = param.whole("top_k", 1), param.flag("out_max_val")
    x, axis = c.x, 1
    if "axis" in param:
        axis = c.axis(param.whole("axis"))
    elif c.rank() > 2:
        x = c.add("Flatten", x, axis=1)
    if not 0 < k <= c.graph.shape(x)[axis]:
        raise c.layer.fault(f"top_k: {k} of {c.graph.shape(x)[axis]}")
    best, places = c.graph.add("TopK", x, c.graph.ints(k), outputs=2, hint=c.hint, axis=axis)
    if k == 1:
        places = c.graph.add("ArgMax", x, axis=axis, keepdims=1, select_last_index=1)
    places = c.add("Cast", places, to=1)
    if "axis" in param:
        return str(best if values else places)
    found = [c.add("Unsqueeze", part, c.graph.ints(1)) for part in ([places, best] if values else [places])]
    return str(found[0] if len(found) == 1 else c.add("Concat", *found, axis=1))


def reduction(c: Context) -> str:
    param = c.layer.param("reduction_param")
    names = {"1": "SUM", "2": "ASUM", "3": "SUMSQ", "4": "MEAN"}
    kind = names.get(param.text("operation", "SUM"), param.text("operation", "SUM"))
    ops = {"SUM": "ReduceSum", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}
    if kind not in ops:
        raise c.layer.fault(f"unsupported operation '{kind}'")
    axes = range(c.axis(param.whole("axis", 0)), c.rank())
    y = c.add(ops[kind], c.x, c.graph.ints(*axes), keepdims=0)
    factor = param.number("coeff", 1.0)
    return str(y if factor == 1 else c.add("Mul", y, c.constant(factor, "coeff")))


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


def roi_pooling(c: Context) -> str:
    param = c.layer.param("roi_pooling_param")
    shape = [param.whole("pooled_h"), param.whole("pooled_w")]
    if not all(0 < side < 1000 for side in shape):
        raise c.layer.fault(f"pooled size {shape}")
    return str(c.add("MaxRoiPool", c.x, c.inputs[1], pooled_shape=shape,
                     spatial_scale=param.number("spatial_scale", 1.0)))  # fmt: skip


# Type to its conversion, and the least number of trained blobs (a number, or a function of the layer).
TABLE: dict[str, tuple[Callable[[Context], Any], Any]] = {
    "Convolution": (convolution, lambda layer: _has_bias(layer, "convolution_param")),
    "ConvolutionDepthwise": (convolution, lambda layer: _has_bias(layer, "convolution_param")),
    "DepthwiseConvolution": (convolution, lambda layer: _has_bias(layer, "convolution_param")),
    "Deconvolution": (convolution, lambda layer: _has_bias(layer, "convolution_param")),
    "InnerProduct": (inner_product, lambda layer: _has_bias(layer, "inner_product_param")),
    "Embed": (embed, lambda layer: _has_bias(layer, "embed_param")),
    "Pooling": (pooling, 0),
    "SPP": (spatial_pyramid, 0),
    "LRN": (lrn, 0),
    "BatchNorm": (batch_norm, lambda layer: 3 * layer.param("batch_norm_param").flag("use_global_stats", True)),
    "MVN": (mvn, 0),
    "Normalize": (normalize, 1),
    "ReLU": (relu, 0),
    "ReLU6": (clip, 0),
    "PReLU": (prelu, 1),
    "ELU": (elu, 0),
    "Sigmoid": (simple("Sigmoid"), 0),
    "TanH": (simple("Tanh"), 0),
    "AbsVal": (simple("Abs"), 0),
    "BNLL": (simple("Softplus"), 0),
    "Exp": (exponential, 0),
    "Log": (logarithm, 0),
    "Power": (power, 0),
    "Threshold": (threshold, 0),
    "Clip": (clip, 0),
    "Swish": (swish, 0),
    "Scale": (scale, _scale_blobs),
    "Bias": (bias, lambda layer: int(len(layer.bottoms) < 2)),
    "Eltwise": (eltwise, 0),
    "Axpy": (axpy, 0),
    "Softmax": (softmax, 0),
    "Concat": (concat, 0),
    "Slice": (slices, 0),
    "Flatten": (flatten, 0),
    "Reshape": (reshape, 0),
    "Permute": (permute, 0),
    "Crop": (crop, 0),
    "Tile": (tile, 0),
    "ShuffleChannel": (shuffle_channel, 0),
    "ArgMax": (argmax, 0),
    "Reduction": (reduction, 0),
    "Upsample": (upsample, 0),
    "Interp": (interp, 0),
    "ROIPooling": (roi_pooling, 0),
    "Dropout": (identity, 0),
    "Split": (identity, 0),
}
# Whose outputs have one size, whatever the picture's.
SETTLING = frozenset({inner_product, spatial_pyramid, roi_pooling})
