"""TFLite's builtin operators as ONNX operators. Options by their number in schema.fbs."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.tflite import detection, schema
from sensorium.formats.tflite.build import BIG, FIRST, Builder, inside, onnx_type
from sensorium.formats.tflite.schema import Operator

LIMIT = 1 << 20
Handler = Callable[[Builder, Operator], None]


def convert(b: Builder, o: Operator) -> None:
    """Evaluate one operator.

    Raises:
        InputError: it is not one that is converted; the reason, without its name.
    """
    handler = HANDLERS.get(o.op)
    if handler is None:
        raise InputError("this operator is not converted")
    if not o.outputs:
        raise InputError("corrupt: it has no output")
    handler(b, o)


def option(o: Operator, number: int, code: str = "i", default: Any = 0) -> Any:
    return o.options.number(number, code, default) if o.options is not None else default


def axis_of(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise InputError(f"axis {axis} of {rank}")
    return axis % rank


def rank_of(b: Builder, index: int) -> int:
    return len(b.tensor(index).shape)


def need(o: Operator, least: int, most: int | None = None) -> None:
    if not least <= len(o.inputs) <= (least if most is None else most) or any(i < 0 for i in o.inputs[:least]):
        raise InputError(f"has {len(o.inputs)} inputs")


# Activations


def activated(b: Builder, name: str, kind: int) -> str:
    """A fused activation."""
    g = b.graph
    if kind == 0:
        return name
    if kind == 1:
        return str(g.add("Relu", name))
    if kind == 2:
        return str(g.add("Clip", name, b.number(-1), b.number(1)))
    if kind == 3:
        return str(g.add("Clip", name, b.number(0), b.number(6)))
    if kind == 4:
        return str(g.add("Tanh", name))
    raise InputError(f"the activation {kind} is not converted")


def _first(b: Builder, *indices: int) -> bool:
    """Whether values are at hand with the channel as second axis only: element-wise operators leave them so."""
    turned = [i for i in indices if i in b.turned and i not in b.raw]
    rest = [i for i in indices if i not in turned]
    return bool(turned) and all(i in b.turned or (b.tensor(i).stored is not None and rank_of(b, i) <= 4) for i in rest)


def operand(b: Builder, index: int, first: bool) -> str:
    """A number-valued input of an element-wise operator; a stored one is turned to fit."""
    if not first or index in b.turned:
        return b.numbers(index, first)
    array = b.stored(index)
    if array is None:
        return b.numbers(index, first)
    full = array.reshape((1,) * (4 - array.ndim) + array.shape) if array.ndim else array
    return b.graph.constant(full.transpose(FIRST) if array.ndim else full, b.tensor(index).name)


def unary(make: Callable[[Builder, Operator, str], str]) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 1)
        first = _first(b, o.inputs[0])
        b.put(o.outputs[0], make(b, o, b.numbers(o.inputs[0], first)), first)

    return handle


def plain(kind: str, **attributes: Any) -> Handler:
    return unary(lambda b, o, x: str(b.graph.add(kind, x, **attributes)))


def clipped(low: float, high: float) -> Handler:
    return unary(lambda b, o, x: str(b.graph.add("Clip", x, b.number(low), b.number(high))))


def binary(kind: str, fused: int | None = 0) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2)
        first = _first(b, *o.inputs)
        names = [operand(b, i, first) for i in o.inputs]
        result = b.graph.add(kind, *names)
        if fused is not None:
            result = activated(b, result, option(o, fused, "b"))
        b.put(o.outputs[0], result, first)

    return handle


def compare(kind: str, invert: bool = False) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2)
        names = [b.numbers(i) for i in o.inputs]
        result = b.graph.add(kind, *names)
        b.keep(o.outputs[0], b.graph.add("Not", result) if invert else result)

    return handle


def squared_difference(b: Builder, o: Operator) -> None:
    need(o, 2)
    first = _first(b, *o.inputs)
    gap = b.graph.add("Sub", *(operand(b, i, first) for i in o.inputs))
    b.put(o.outputs[0], b.graph.add("Mul", gap, gap), first)


def floor_div(b: Builder, o: Operator) -> None:
    need(o, 2)
    names = [b.numbers(i) for i in o.inputs]
    if b.graph.dtype(names[0]).kind != "f":  # the rest has the sign of the divisor
        even = b.graph.add("Sub", names[0], b.graph.add("Mod", *names))
        b.put(o.outputs[0], b.graph.add("Div", even, names[1]))
        return
    b.put(o.outputs[0], b.graph.add("Floor", b.graph.add("Div", *names)))


def floor_mod(b: Builder, o: Operator) -> None:
    need(o, 2)
    names = [b.numbers(i) for i in o.inputs]
    if b.graph.dtype(names[0]).kind != "f":
        b.put(o.outputs[0], b.graph.add("Mod", *names))
        return
    parts = b.graph.add("Floor", b.graph.add("Div", *names))
    b.put(o.outputs[0], b.graph.add("Sub", names[0], b.graph.add("Mul", parts, names[1])))


def divide(b: Builder, o: Operator) -> None:
    need(o, 2)
    first = _first(b, *o.inputs)
    result = b.graph.add("Div", *(operand(b, i, first) for i in o.inputs))
    b.put(o.outputs[0], activated(b, result, option(o, 0, "b")), first)


def add_many(b: Builder, o: Operator) -> None:
    b.put(o.outputs[0], b.graph.add("Sum", *(b.numbers(i) for i in o.inputs)))


def prelu(b: Builder, o: Operator) -> None:
    need(o, 2)
    first = _first(b, *o.inputs)
    b.put(o.outputs[0], b.graph.add("PRelu", *(operand(b, i, first) for i in o.inputs)), first)


def select(b: Builder, o: Operator) -> None:
    need(o, 3)
    flag, yes, no = o.inputs
    chosen = b.value(flag)
    if o.op == "SELECT" and rank_of(b, flag) == 1 and rank_of(b, yes) > 1:  # whole rows
        chosen = b.graph.add("Reshape", chosen, b.graph.ints(-1, *[1] * (rank_of(b, yes) - 1)))
    b.put(o.outputs[0], b.graph.add("Where", chosen, b.numbers(yes), b.numbers(no)))


def logical(kind: str) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        b.keep(o.outputs[0], b.graph.add(kind, *(b.value(i) for i in o.inputs)))

    return handle


def cast(b: Builder, o: Operator) -> None:
    need(o, 1)
    target = b.tensor(o.outputs[0])
    if target.quantised or b.tensor(o.inputs[0]).quantised:
        raise InputError("a cast of quantised numbers is not converted")
    name = b.value(o.inputs[0])
    b.keep(o.outputs[0], b.graph.add("Cast", name, to=onnx_type(inside(target))))


def softmax(b: Builder, o: Operator) -> None:
    need(o, 1)
    beta = option(o, 0, "f", 1.0)
    name = b.numbers(o.inputs[0])
    if beta != 1:
        name = b.graph.add("Mul", name, b.number(beta))
    b.put(o.outputs[0], b.graph.add("Softmax", name, axis=-1))


def log_softmax(b: Builder, o: Operator) -> None:
    need(o, 1)
    b.put(o.outputs[0], b.graph.add("LogSoftmax", b.numbers(o.inputs[0]), axis=-1))


def l2_normal(b: Builder, o: Operator) -> None:
    need(o, 1)
    x = b.numbers(o.inputs[0])
    g = b.graph
    total = g.add("ReduceSum", g.add("Mul", x, x), g.ints(-1), keepdims=1)
    result = g.add("Div", x, g.add("Sqrt", g.add("Max", total, b.number(1e-12))))
    b.put(o.outputs[0], activated(b, result, option(o, 0, "b")))


def lrn(b: Builder, o: Operator) -> None:
    need(o, 1)
    radius, bias = option(o, 0), option(o, 1, "f")
    if not 0 <= radius < LIMIT:
        raise InputError(f"a radius of {radius}")
    size = 2 * radius + 1
    alpha, beta = option(o, 2, "f"), option(o, 3, "f")
    x = b.numbers(o.inputs[0], True)
    b.put(o.outputs[0], b.graph.add("LRN", x, size=size, alpha=alpha * size, beta=beta, bias=bias), True)


def hard_swish(b: Builder, o: Operator, x: str) -> str:
    return str(b.graph.add("HardSwish", x))


def rsqrt(b: Builder, o: Operator, x: str) -> str:
    return str(b.graph.add("Reciprocal", b.graph.add("Sqrt", x)))


def square(b: Builder, o: Operator, x: str) -> str:
    return str(b.graph.add("Mul", x, x))


def gelu(b: Builder, o: Operator, x: str) -> str:
    g = b.graph
    if option(o, 0, "B"):
        cube = g.add("Mul", g.add("Mul", x, x), x)
        inner = g.add("Add", x, g.add("Mul", cube, b.number(0.044715)))
        half = g.add("Tanh", g.add("Mul", inner, b.number(0.7978845608028654)))
    else:
        half = g.add("Erf", g.add("Mul", x, b.number(0.7071067811865476)))
    return str(g.add("Mul", g.add("Mul", x, b.number(0.5)), g.add("Add", half, b.number(1))))


# Convolutions


def pads(
    b: Builder, name: str, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], kind: int
) -> Any:
    """Explicit pads of a convolution or pooling over the last two axes."""
    if kind not in (0, 1):
        raise InputError(f"the padding {kind}")
    if kind == 1:
        return {"pads": [0] * (2 * len(kernel))}
    free = {axis for i in b.graph.inputs for axis in b.graph.free_axes(i)} - {0}
    if free:
        return {"auto_pad": "SAME_UPPER"}
    before, after = [], []
    for size, k, s, d in zip(b.graph.shape(name)[2:], kernel, strides, dilations):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return {"pads": [*before, *after]}


def steps_of(o: Operator, *numbers: int, default: int = 0) -> list[int]:
    found = [option(o, n, "i", default) for n in numbers]
    if not all(0 < n < LIMIT for n in found):
        raise InputError(f"steps of {found}")
    return found


def nearest(g: Graph, name: str) -> str:
    """Rounded, halves away from 0."""
    half = g.add("Floor", g.add("Add", g.add("Abs", name), g.constant(np.float32(0.5))))
    return str(g.add("Mul", g.add("Sign", name), half))


def rounded(g: Graph, name: str, axes: Sequence[int]) -> str:
    """What the hybrid kernels make of numbers before they meet 8-bit weights: 256 steps from the least to the most."""
    where = g.ints(*axes)
    least, most, zero = (g.constant(np.float32(n)) for n in (-128, 127, 0))
    low = g.add("Min", g.add("ReduceMin", name, where, keepdims=1), zero)
    high = g.add("Max", g.add("ReduceMax", name, where, keepdims=1), zero)
    step = g.add("Div", g.add("Sub", high, low), g.constant(np.float32(255)))
    step = g.add("Max", step, g.constant(np.float32(1e-30)))
    middle = g.add("Clip", nearest(g, g.add("Sub", least, g.add("Div", low, step))), least, most)
    level = g.add("Clip", nearest(g, g.add("Add", middle, g.add("Div", name, step))), least, most)
    return str(g.add("Mul", g.add("Sub", level, middle), step))


def symmetric(g: Graph, name: str, axes: Sequence[int]) -> str:
    """The same with steps that are even on both sides of 0."""
    limit = g.constant(np.float32(127))
    most = g.add("ReduceMax", g.add("Abs", name), g.ints(*axes), keepdims=1)
    step = g.add("Max", g.add("Div", most, limit), g.constant(np.float32(1e-30)))
    level = g.add("Clip", nearest(g, g.add("Div", name, step)), g.add("Neg", limit), limit)
    return str(g.add("Mul", level, step))


def hybrid(b: Builder, o: Operator) -> bool:
    """Whether 8-bit weights meet numbers that are not quantised."""
    weight, value = b.tensor(o.inputs[1]), b.tensor(o.inputs[0])
    return weight.quantised and weight.kind in (schema.INT8, schema.UINT8) and not value.quantised


def convolution(b: Builder, o: Operator) -> None:
    need(o, 2, 3)
    depthwise = o.op == "DEPTHWISE_CONV_2D"
    shape = b.tensor(o.inputs[1]).shape
    if len(shape) != 4 or 0 in shape:
        raise InputError(f"weights of shape {list(shape)}")
    x = b.numbers(o.inputs[0], True)
    channels = b.graph.shape(x)[1]
    strides = steps_of(o, 2, 1)
    if depthwise:
        weight, group = b.weight(o.inputs[1], (3, 0, 1, 2)), channels
        dilations, fused = steps_of(o, 6, 5, default=1), option(o, 4, "b")
        if not channels or shape[3] % channels or shape[0] != 1:
            raise InputError(f"weights of shape {list(shape)} for {channels} channels")
    else:
        weight = b.weight(o.inputs[1], (0, 3, 1, 2))
        dilations, fused = steps_of(o, 5, 4, default=1), option(o, 3, "b")
        if channels % shape[3]:
            raise InputError(f"weights of shape {list(shape)} for {channels} channels")
        group = channels // shape[3]
    if hybrid(b, o):
        scale = b.tensor(o.inputs[1]).scale
        by_channel = scale is not None and len(scale) > 1
        x = (rounded if by_channel else symmetric)(b.graph, x, (1, 2, 3))
    kernel = list(shape[1:3])
    result = b.graph.add(
        "Conv",
        x,
        weight,
        b.bias(o.inputs[2]) if len(o.inputs) > 2 else "",
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        group=group,
        **pads(b, x, kernel, strides, dilations, option(o, 0, "b")),
    )
    b.put(o.outputs[0], activated(b, result, fused), True)


def transposed(b: Builder, o: Operator) -> None:
    need(o, 3, 4)
    size, weights, value = o.inputs[:3]
    target = b.known(size) if b.tensor(size).stored is not None else list(b.tensor(o.outputs[0]).shape)
    bias = o.inputs[3] if len(o.inputs) > 3 else -1
    _transposed(b, o, (value, weights, bias), target, option(o, 0, "b") == 1, steps_of(o, 2, 1), option(o, 3, "b"))


def transposed_with_bias(b: Builder, o: Operator) -> None:
    """MediaPipe's; its settings are those numbers as they lie in memory: padding (1 same, 2 valid), width, height."""
    need(o, 3)
    if len(o.custom) < 12:
        raise InputError(f"corrupt: settings of {len(o.custom)} bytes")
    padding, *steps = struct.unpack_from("<3i", o.custom)
    if padding not in (1, 2) or not all(0 < n < LIMIT for n in steps):
        raise InputError(f"corrupt: padding {padding}, steps of {steps}")
    target = list(b.tensor(o.outputs[0]).shape)
    _transposed(b, o, (o.inputs[0], o.inputs[1], o.inputs[2]), target, padding == 2, steps[::-1], 0)


def _transposed(
    b: Builder, o: Operator, inputs: tuple[int, int, int], target: Sequence[int], valid: bool, strides: Sequence[int],
    fused: int,
) -> None:  # fmt: skip
    """A transposed convolution of value, weights and bias to the size of `target` (batch, height, width, channels)."""
    value, weights, bias = inputs
    shape = b.tensor(weights).shape
    x = b.numbers(value, True)
    given = b.graph.shape(x)
    if len(shape) != 4 or len(target) != 4 or len(given) != 4:
        raise InputError(f"weights of shape {list(shape)} for an output of {list(target)}")
    before, after, extra = [], [], []
    for n, t, k, s in zip(given[2:], target[1:3], shape[1:3], strides):
        total = (n - 1) * s + k - t
        before.append(0 if valid else max(total, 0) // 2)
        after.append(max(total, 0) - before[-1])
        extra.append(max(-total, 0))
        if extra[-1] >= s:
            raise InputError(f"an output of {t} from {n} in steps of {s}")
    result = b.graph.add(
        "ConvTranspose",
        x,
        b.weight(weights, (3, 0, 1, 2)),
        b.bias(bias),
        kernel_shape=list(shape[1:3]),
        strides=list(strides),
        pads=[*before, *after],
        output_padding=extra,
    )
    b.put(o.outputs[0], activated(b, result, fused), True)


def pool(b: Builder, o: Operator) -> None:
    need(o, 1)
    x = b.numbers(o.inputs[0], True)
    strides, kernel = steps_of(o, 2, 1), steps_of(o, 4, 3)
    settings = pads(b, x, kernel, strides, [1, 1], option(o, 0, "b"))
    kind = "AveragePool" if o.op == "AVERAGE_POOL_2D" else "MaxPool"
    result = b.graph.add(kind, x, kernel_shape=kernel, strides=strides, **settings)
    b.put(o.outputs[0], activated(b, result, option(o, 5, "b")), True)


def dense(b: Builder, o: Operator) -> None:
    need(o, 2, 3)
    shape = b.tensor(o.inputs[1]).shape
    if len(shape) != 2 or 0 in shape or option(o, 1, "b"):
        raise InputError(f"weights of shape {list(shape)} in the order {option(o, 1, 'b')}")
    keep = option(o, 2, "B")
    x = b.numbers(o.inputs[0])
    g = b.graph
    if not keep and g.rank(x) != 2:
        x = g.add("Reshape", x, g.ints(-1, shape[1]))
    if hybrid(b, o):
        x = (rounded if option(o, 3, "B") else symmetric)(g, x, (-1,))
    bias = b.bias(o.inputs[2]) if len(o.inputs) > 2 else ""
    if keep:
        result = g.add("MatMul", x, b.weight(o.inputs[1], (1, 0)))
        result = g.add("Add", result, bias) if bias else result
    else:
        result = g.add("Gemm", x, b.weight(o.inputs[1], (0, 1)), bias, transB=1)
    b.put(o.outputs[0], activated(b, result, option(o, 0, "b")))


def product(b: Builder, o: Operator) -> None:
    need(o, 2)
    names = []
    for index, turn in zip(o.inputs, (option(o, 0, "B"), option(o, 1, "B"))):
        name = b.numbers(index)
        rank = rank_of(b, index)
        if rank < 2:
            raise InputError(f"a product of {rank} axes")
        order = [*range(rank - 2), rank - 1, rank - 2]
        names.append(b.graph.add("Transpose", name, perm=order) if turn else name)
    if hybrid(b, o):
        names[0] = (rounded if option(o, 2, "B") else symmetric)(b.graph, names[0], (-1,))
    b.put(o.outputs[0], b.graph.add("MatMul", *names))


# Moving numbers about


def moved(b: Builder, o: Operator, make: Callable[[str], str], source: int | None = None) -> None:
    """What only moves numbers is done on what is stored, where both sides store it in the same way."""
    index = o.inputs[0] if source is None else source
    if b.same(index, o.outputs[0]):
        b.keep(o.outputs[0], make(b.value(index)))
    else:
        b.put(o.outputs[0], make(b.numbers(index)))


def reshape(b: Builder, o: Operator) -> None:
    g = b.graph
    need(o, 1, 2)
    if len(o.inputs) > 1 and o.inputs[1] >= 0:
        stored = b.stored(o.inputs[1])
        target = g.ints(*(int(n) for n in stored.reshape(-1))) if stored is not None else b.value(o.inputs[1])
    else:
        told = [int(n) for n in o.options.array(0, np.int32)] if o.options is not None else []
        target = g.ints(*(told if told != [0] else []))
    moved(b, o, lambda x: str(g.add("Reshape", x, target, allowzero=1)))


def squeeze(b: Builder, o: Operator) -> None:
    axes = [int(n) for n in o.options.array(0, np.int32)] if o.options is not None else []
    if not axes:
        axes = [i for i, n in enumerate(b.tensor(o.inputs[0]).shape) if n == 1]
    moved(b, o, lambda x: str(b.graph.add("Squeeze", x, b.graph.ints(*axes)) if axes else x))


def expand_dims(b: Builder, o: Operator) -> None:
    need(o, 2)
    axis = b.known(o.inputs[1])
    moved(b, o, lambda x: str(b.graph.add("Unsqueeze", x, b.graph.ints(*axis))))


def transpose(b: Builder, o: Operator) -> None:
    need(o, 2)
    order = b.known(o.inputs[1])
    if sorted(order) != list(range(rank_of(b, o.inputs[0]))):
        raise InputError(f"{order} is no order of {rank_of(b, o.inputs[0])} axes")
    moved(b, o, lambda x: str(b.graph.add("Transpose", x, perm=order)))


def concatenate(b: Builder, o: Operator) -> None:
    axis = axis_of(option(o, 0), rank_of(b, o.outputs[0]))
    first = len(b.tensor(o.outputs[0]).shape) == 4 and _first(b, *o.inputs)
    if all(b.same(i, o.outputs[0]) for i in o.inputs) and not option(o, 1, "b"):
        names = [b.channels_first(i) if first else b.value(i) for i in o.inputs]
        b.keep(o.outputs[0], b.graph.add("Concat", *names, axis=FIRST.index(axis) if first else axis), first)
        return
    names = [b.numbers(i, first) for i in o.inputs]
    result = b.graph.add("Concat", *names, axis=FIRST.index(axis) if first else axis)
    b.put(o.outputs[0], activated(b, result, option(o, 1, "b")), first)


def pad(b: Builder, o: Operator) -> None:
    need(o, 2, 3)
    g = b.graph
    rank = rank_of(b, o.inputs[0])
    widths = b.known(o.inputs[1])
    if len(widths) != 2 * rank or not all(0 <= n < LIMIT for n in widths):
        raise InputError(f"paddings {widths} of {rank} axes")
    fill = b.numbers(o.inputs[2]) if len(o.inputs) > 2 else ""
    x = b.numbers(o.inputs[0])
    if fill and g.rank(fill):
        fill = g.add("Squeeze", fill)
    b.put(o.outputs[0], g.add("Pad", x, g.ints(*widths[::2], *widths[1::2]), fill))


def mirror_pad(b: Builder, o: Operator) -> None:
    need(o, 2)
    widths = b.known(o.inputs[1])
    if len(widths) != 2 * rank_of(b, o.inputs[0]):
        raise InputError(f"paddings {widths}")
    if option(o, 0, "b"):
        _symmetric_pad(b, o, widths)
        return
    target = b.graph.ints(*widths[::2], *widths[1::2])
    b.put(o.outputs[0], b.graph.add("Pad", b.numbers(o.inputs[0]), target, mode="reflect"))


def _symmetric_pad(b: Builder, o: Operator, widths: Sequence[int]) -> None:
    """The edge itself comes twice: what lies before and behind is cut and turned round."""
    g = b.graph
    x = b.numbers(o.inputs[0])
    back = g.ints(-1)
    for axis, (before, after) in enumerate(zip(widths[::2], widths[1::2])):
        where = g.ints(axis)
        parts = [x]
        if before > 0:
            parts.insert(0, g.add("Slice", x, g.ints(before - 1), g.ints(-BIG), where, back))
        if after > 0:
            parts.append(g.add("Slice", x, back, g.ints(-after - 1), where, back))
        x = g.add("Concat", *parts, axis=axis) if len(parts) > 1 else x
    b.put(o.outputs[0], x)


def slice_(b: Builder, o: Operator) -> None:
    need(o, 3)
    g = b.graph
    start = b.value(o.inputs[1])
    axes = g.ints(*range(rank_of(b, o.inputs[0])))
    size = b.value(o.inputs[2])
    end = g.add("Where", g.add("Less", size, g.ints(0)), g.ints(BIG), g.add("Add", start, size))
    moved(b, o, lambda x: str(g.add("Slice", x, start, end, axes)))


def strided_slice(b: Builder, o: Operator) -> None:
    need(o, 4)
    g = b.graph
    masks = [option(o, n) for n in range(5)]
    rank = rank_of(b, o.inputs[0])
    steps = b.known(o.inputs[3])
    places = [i for i in range(len(steps))]
    fresh = [i for i in places if masks[3] >> i & 1 and not masks[2] >> i & 1]
    wide = [i for i in places if masks[2] >> i & 1]
    if option(o, 5, "B") or len(wide) > 1 or 0 in steps or len(steps) - len(fresh) - len(wide) > rank:
        raise InputError(f"takes steps of {steps} of {rank} axes")
    axes, gone, new, axis, out = {}, [], [], 0, 0  # place among the settings to axis; axes that go and that come
    for i in places:
        if i in wide:
            filled = rank - (len(steps) - len(fresh) - 1)
            axis, out = axis + filled, out + filled
        elif i in fresh:
            new.append(out)
            out += 1
        else:
            axes[i] = axis
            if masks[4] >> i & 1:
                gone.append(axis)
            else:
                out += 1
            axis += 1
    kept = list(axes)
    first, last = _ends(b, o, masks, steps)

    def make(x: str) -> str:
        if kept:
            picked = [g.add("Gather", v, g.ints(*kept)) for v in (first, last)]
            x = g.add("Slice", x, *picked, g.ints(*axes.values()), g.ints(*(steps[i] for i in kept)))
        x = g.add("Squeeze", x, g.ints(*gone)) if gone else x
        return str(g.add("Unsqueeze", x, g.ints(*new)) if new else x)

    moved(b, o, make)


def _ends(b: Builder, o: Operator, masks: Sequence[int], steps: Sequence[int]) -> tuple[str, str]:
    """Where a slice begins and ends on each axis, where they are not told as all there is."""
    g = b.graph
    begin, end = b.value(o.inputs[1]), b.value(o.inputs[2])
    single = np.array([bool(masks[4] >> i & 1) for i in range(len(steps))])
    after = g.add("Add", begin, g.ints(1))
    after = g.add("Where", g.add("Equal", after, g.ints(0)), g.ints(BIG), after)  # of the last one
    end = g.add("Where", g.constant(single), after, end)
    ends = []
    for value, mask, edge in ((begin, masks[0], (0, BIG)), (end, masks[1], (BIG, -BIG))):
        whole = np.array([bool(mask >> i & 1) and not single[i] for i in range(len(steps))])
        edges = g.ints(*(edge[0] if step > 0 else edge[1] for step in steps))
        ends.append(g.add("Where", g.constant(whole), edges, value) if whole.any() else value)
    return ends[0], ends[1]


def gather(b: Builder, o: Operator) -> None:
    need(o, 2)
    axis, batch = axis_of(option(o, 0), rank_of(b, o.inputs[0])), option(o, 1)
    rank, g = rank_of(b, o.inputs[0]), b.graph
    if not batch:
        moved(b, o, lambda x: str(g.add("Gather", x, b.value(o.inputs[1]), axis=axis)))
        return
    batch += rank_of(b, o.inputs[1]) if batch < 0 else 0
    if not 0 < batch <= min(axis, rank_of(b, o.inputs[1])):
        raise InputError(f"by {batch} axes of batches along the axis {axis}")
    places = g.add("Unsqueeze", b.value(o.inputs[1]), g.ints(-1))
    inner = rank_of(b, o.inputs[1]) - batch  # axes of the places, which stand where the axis was
    order = [*range(batch), axis, *(a for a in range(batch, rank) if a != axis)]
    after = list(range(batch + inner, batch + inner + axis - batch))
    back = [*range(batch), *after, *range(batch, batch + inner), *range(batch + inner + axis - batch, rank - 1 + inner)]

    def make(x: str) -> str:
        found = g.add("GatherND", g.add("Transpose", x, perm=order), places, batch_dims=batch)
        return str(g.add("Transpose", found, perm=back))

    moved(b, o, make)


def gather_nd(b: Builder, o: Operator) -> None:
    need(o, 2)
    moved(b, o, lambda x: str(b.graph.add("GatherND", x, b.value(o.inputs[1]))))


def lookup(b: Builder, o: Operator) -> None:
    need(o, 2)
    moved(b, o, lambda x: str(b.graph.add("Gather", x, b.value(o.inputs[0]), axis=0)), o.inputs[1])


def pack(b: Builder, o: Operator) -> None:
    axis = axis_of(option(o, 1), rank_of(b, o.outputs[0]))
    same = all(b.same(i, o.outputs[0]) for i in o.inputs)
    where = b.graph.ints(axis)
    names = [b.graph.add("Unsqueeze", b.value(i) if same else b.numbers(i), where) for i in o.inputs]
    (b.keep if same else b.put)(o.outputs[0], b.graph.add("Concat", *names, axis=axis))


def unpack(b: Builder, o: Operator) -> None:
    need(o, 1)
    axis = axis_of(option(o, 1), rank_of(b, o.inputs[0]))
    _split(b, o, o.inputs[0], axis, None, drop=True)


def split(b: Builder, o: Operator) -> None:
    need(o, 2)
    axis = axis_of(b.known(o.inputs[0])[0], rank_of(b, o.inputs[1]))
    _split(b, o, o.inputs[1], axis, None)


def split_v(b: Builder, o: Operator) -> None:
    need(o, 3)
    axis = axis_of(b.known(o.inputs[2])[0], rank_of(b, o.inputs[0]))
    _split(b, o, o.inputs[0], axis, b.known(o.inputs[1]))


def _split(b: Builder, o: Operator, index: int, axis: int, sizes: list[int] | None, drop: bool = False) -> None:
    g = b.graph
    same = all(b.same(index, i) for i in o.outputs)
    x = b.value(index) if same else b.numbers(index)
    total = g.shape(x)[axis]
    if sizes is None:
        if total % len(o.outputs) or (drop and total != len(o.outputs)):
            raise InputError(f"{total} in {len(o.outputs)} parts")
        sizes = [total // len(o.outputs)] * len(o.outputs)
    rest = total - sum(n for n in sizes if n >= 0)
    sizes = [rest if n < 0 else n for n in sizes]
    if len(sizes) != len(o.outputs) or sum(sizes) != total:
        raise InputError(f"{total} in parts of {sizes}")
    parts = g.add("Split", x, g.ints(*sizes), outputs=len(sizes), axis=axis)
    for i, part in zip(o.outputs, parts if isinstance(parts, tuple) else (parts,)):
        part = g.add("Squeeze", part, g.ints(axis)) if drop else part
        (b.keep if same else b.put)(i, part)


def tile(b: Builder, o: Operator) -> None:
    need(o, 2)
    moved(b, o, lambda x: str(b.graph.add("Tile", x, b.value(o.inputs[1]))))


def broadcast(b: Builder, o: Operator) -> None:
    need(o, 2)
    moved(b, o, lambda x: str(b.graph.add("Expand", x, b.value(o.inputs[1]))))


def shape(b: Builder, o: Operator) -> None:
    need(o, 1)
    b.keep(o.outputs[0], b.graph.add("Shape", b.value(o.inputs[0])))


def fill(b: Builder, o: Operator) -> None:
    need(o, 2)
    moved(b, o, lambda x: str(b.graph.add("Expand", x, b.value(o.inputs[0]))), o.inputs[1])


def zeros_like(b: Builder, o: Operator) -> None:
    x = b.numbers(o.inputs[0])
    zero = b.graph.constant(np.zeros((), b.graph.dtype(x)))
    b.put(o.outputs[0], b.graph.add("Mul", x, zero))


def span(b: Builder, o: Operator) -> None:
    need(o, 3)
    b.keep(o.outputs[0], b.graph.add("Range", *(b.value(i) for i in o.inputs)))
    b.graph.tell(b.raw[o.outputs[0]], b.tensor(o.outputs[0]).shape, inside(b.tensor(o.outputs[0])))


def reverse(b: Builder, o: Operator) -> None:
    need(o, 2)
    axes = b.known(o.inputs[1])
    g = b.graph
    back = g.ints(*[-1] * len(axes))
    moved(b, o, lambda x: str(g.add("Slice", x, back, g.ints(*[-BIG] * len(axes)), g.ints(*axes), back)))


def one_hot(b: Builder, o: Operator) -> None:
    need(o, 4)
    g = b.graph
    values = g.add("Concat", *(g.add("Reshape", b.numbers(i), g.ints(1)) for i in (o.inputs[3], o.inputs[2])), axis=0)
    depth, index = g.constant(np.int64(b.known(o.inputs[1])[0])), b.value(o.inputs[0])
    # ONNX counts negative ones from the end; here they are none of the places.
    index = g.add("Where", g.add("Less", index, g.constant(np.int64(0))), depth, index)
    b.put(o.outputs[0], g.add("OneHot", index, depth, values, axis=option(o, 0)))


def space_to_batch(b: Builder, o: Operator) -> None:
    need(o, 3)
    block, widths = _block(b, o), b.known(o.inputs[2])
    g = b.graph
    count, rest = len(block), rank_of(b, o.inputs[0]) - 1 - len(block)
    x = g.add("Pad", b.numbers(o.inputs[0]), g.ints(0, *widths[::2], *[0] * rest, 0, *widths[1::2], *[0] * rest))
    size = list(g.shape(x))
    if any(n % k for n, k in zip(size[1:], block)):
        raise InputError(f"{size} in blocks of {block}")
    inner = [n // k for n, k in zip(size[1:], block)]
    tail = size[1 + count :]
    x = g.add("Reshape", x, g.ints(0, *(n for pair in zip(inner, block) for n in pair), *tail))
    order = [*range(2, 2 + 2 * count, 2), 0, *range(1, 1 + 2 * count, 2), *range(1 + 2 * count, 1 + 2 * count + rest)]
    x = g.add("Transpose", x, perm=order)
    b.put(o.outputs[0], g.add("Reshape", x, g.ints(-1, *inner, *tail)))
    made = b.raw[o.outputs[0]]
    g.tell(made, (size[0] * int(np.prod(block)), *inner, *tail), g.dtype(made))


def batch_to_space(b: Builder, o: Operator) -> None:
    need(o, 3)
    block, cuts = _block(b, o), b.known(o.inputs[2])
    g = b.graph
    x = b.numbers(o.inputs[0])
    size = list(g.shape(x))
    count, many = len(block), int(np.prod(block))
    if size[0] % many:
        raise InputError(f"{size} of blocks of {block}")
    tail = size[1 + count :]
    x = g.add("Reshape", x, g.ints(*block, -1, *size[1:]))
    pairs = [a for i in range(count) for a in (count + 1 + i, i)]
    x = g.add("Transpose", x, perm=[count, *pairs, *range(2 * count + 1, 2 * count + 1 + len(tail))])
    whole = [n * k for n, k in zip(size[1:], block)]
    x = g.add("Reshape", x, g.ints(-1, *whole, *tail))
    g.tell(x, (size[0] // many, *whole, *tail), g.dtype(x))
    ends = g.ints(*(n - c for n, c in zip(whole, cuts[1::2])))
    b.put(o.outputs[0], g.add("Slice", x, g.ints(*cuts[::2]), ends, g.ints(*range(1, 1 + count))))


def _block(b: Builder, o: Operator) -> list[int]:
    block = b.known(o.inputs[1])
    others = b.known(o.inputs[2])
    if not 0 < len(block) < rank_of(b, o.inputs[0]) or len(others) != 2 * len(block):
        raise InputError(f"blocks of {block} of {rank_of(b, o.inputs[0])} axes")
    if not all(0 < n < LIMIT for n in block) or not all(0 <= n < LIMIT for n in others):
        raise InputError(f"blocks of {block} with edges of {others}")
    return block


def depth_to_space(b: Builder, o: Operator) -> None:
    need(o, 1)
    size = steps_of(o, 0)[0]
    if o.op == "DEPTH_TO_SPACE":
        b.put(o.outputs[0], b.graph.add("DepthToSpace", b.numbers(o.inputs[0], True), blocksize=size), True)
        return
    g = b.graph
    x = b.numbers(o.inputs[0])
    shape = g.shape(x)
    if len(shape) != 4 or shape[1] % size or shape[2] % size:
        raise InputError(f"{list(shape)} in blocks of {size}")
    x = g.add("Reshape", x, g.ints(0, shape[1] // size, size, shape[2] // size, size, shape[3]))
    x = g.add("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
    b.put(o.outputs[0], g.add("Reshape", x, g.ints(0, shape[1] // size, shape[2] // size, size * size * shape[3])))


def resize(b: Builder, o: Operator) -> None:
    need(o, 2)
    bilinear = o.op == "RESIZE_BILINEAR"
    corners, centres = (option(o, n, "B") for n in ((2, 3) if bilinear else (0, 1)))
    x = b.numbers(o.inputs[0], True)
    g = b.graph
    size = g.add("Concat", g.add("Shape", x, start=0, end=2), b.value(o.inputs[1]), axis=0)
    result = g.add(
        "Resize",
        x,
        "",
        "",
        size,
        mode="linear" if bilinear else "nearest",
        coordinate_transformation_mode="align_corners" if corners else "half_pixel" if centres else "asymmetric",
        nearest_mode=None if bilinear else "round_prefer_ceil" if corners or centres else "floor",
    )
    b.put(o.outputs[0], result, True)


# Reductions


def reduce(kind: str) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2)
        rank = rank_of(b, o.inputs[0])
        axes = sorted({axis_of(a, rank) for a in b.known(o.inputs[1])})
        first = rank == 4 and _first(b, o.inputs[0]) and (axes == [1, 2] or bool(option(o, 0, "B")))
        x = b.numbers(o.inputs[0], first)
        where = b.graph.ints(*(FIRST.index(a) if first else a for a in axes))
        keep = int(bool(option(o, 0, "B")))
        result = b.graph.add(kind, x, where, keepdims=keep) if axes else x
        b.put(o.outputs[0], result, first and bool(keep))

    return handle


def any_of(b: Builder, o: Operator) -> None:
    need(o, 2)
    kind = "ReduceMax" if o.op == "REDUCE_ANY" else "ReduceMin"
    x = b.graph.add("Cast", b.value(o.inputs[0]), to=6)
    axes = b.graph.ints(*b.known(o.inputs[1]))
    result = b.graph.add(kind, x, axes, keepdims=int(bool(option(o, 0, "B"))))
    b.keep(o.outputs[0], b.graph.add("Cast", result, to=9))


def arg(kind: str) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2)
        axis = axis_of(b.known(o.inputs[1])[0], rank_of(b, o.inputs[0]))
        b.keep(o.outputs[0], b.graph.add(kind, b.numbers(o.inputs[0]), axis=axis, keepdims=0))

    return handle


def top_k(b: Builder, o: Operator) -> None:
    need(o, 2)
    count = b.graph.ints(*b.known(o.inputs[1])[:1])
    values, places = b.graph.add("TopK", b.numbers(o.inputs[0]), count, outputs=2, axis=-1)
    b.put(o.outputs[0], values)
    if len(o.outputs) > 1:
        b.keep(o.outputs[1], places)


def cumulate(b: Builder, o: Operator) -> None:
    need(o, 2)
    axis = b.graph.constant(np.int64(b.known(o.inputs[1])[0]))
    x = b.numbers(o.inputs[0])
    flags = [int(bool(option(o, n, "B"))) for n in (0, 1)]
    b.put(o.outputs[0], b.graph.add("CumSum", x, axis, exclusive=flags[0], reverse=flags[1]))


def requantise(b: Builder, o: Operator) -> None:
    need(o, 1)
    first = _first(b, o.inputs[0])
    b.put(o.outputs[0], b.numbers(o.inputs[0], first), first)


# Recurrence and control


def sequence_lstm(b: Builder, o: Operator) -> None:
    if len(o.inputs) not in (20, 24):
        raise InputError(f"has {len(o.inputs)} inputs")
    if option(o, 0, "b") != 4:
        raise InputError("another activation than tanh is not converted")
    g, major = b.graph, option(o, 3, "B")
    x = b.numbers(o.inputs[0])
    x = x if major else g.add("Transpose", x, perm=[1, 0, 2])
    y = recurrent(b, o.inputs, x, option(o, 1, "f"), False, option(o, 4, "B"), major)
    b.put(o.outputs[0], y if major else g.add("Transpose", y, perm=[1, 0, 2]))


def recurrent(b: Builder, given: Sequence[int], x: str, clip: float, reverse: bool, uneven: bool, major: bool) -> str:
    """An LSTM over values (time, batch, features): the input, 17 arrays, and two states.

    Args:
        clip: limit of the cell's state; 0 for none.
        uneven: whether numbers that meet 8-bit weights are rounded in 256 steps from the least to the most.
        major: whether time is the first axis of the source's values.
    """
    if any(i >= 0 for i in [*given[9:12], *given[16:18], *given[20:24]]):
        raise InputError("peepholes, projections and layer normalisation are not converted")
    if any(given[i] < 0 for i in (*range(1, 9), *range(12, 16), 0, 18, 19)):
        raise InputError("coupled gates are not converted")
    arrays = [_lstm_array(b, given, i) for i in (*range(1, 9), *range(12, 16))]
    order = [0, 3, 1, 2]  # input, forget, cell, output to ONNX's input, output, forget, cell
    w, r, bias = (np.concatenate([arrays[k + i] for i in order]) for k in (0, 4, 8))
    if w.ndim != 2 or r.ndim != 2 or bias.ndim != 1:
        raise InputError("weights of other than two axes are not converted")
    g = b.graph
    states = []
    size = g.add("Concat", g.add("Shape", x, start=1, end=2), g.ints(r.shape[1]), axis=0)
    for index in given[18:20]:
        fresh = b.tensor(index).variable or index not in b.raw
        states.append(g.add("Expand", b.number(0), size) if fresh else b.numbers(index))
    weight, value = b.tensor(given[2]), b.tensor(given[0])
    kept, before = b.tensor(given[18]), rounded if uneven else symmetric
    after: Callable[[Graph, str], str] | None = None
    if value.quantised and kept.scale is not None and kept.zero is not None:
        after = partial(_stepped, scale=float(kept.scale[0]), zero=int(kept.zero[0]))
    elif weight.quantised and not value.quantised:
        x = before(g, x, (-1,))
        after = partial(before, axes=(-1,))
    free = {axis for i in g.inputs for axis in g.free_axes(i)} - (set() if major else {0})
    # From zero on, each step adds 1 at the most: so many steps do not reach the limit.
    unlimited = clip <= 0 or (not free and g.shape(x)[0] <= clip and b.tensor(given[19]).variable)
    if after is None and unlimited:
        return _lstm(b, x, w, r, bias, states, reverse)
    return _stepwise_lstm(b, x, w, r, bias, states, clip, reverse, after)


def _lstm_array(b: Builder, given: Sequence[int], place: int) -> np.ndarray:
    """Weights or a bias, as numbers; a bias may have the scale of its products without saying so."""
    found = b.stored(given[place])
    if found is None:
        raise InputError("its weights are not stored")
    tensor, value, weight = (b.tensor(given[i]) for i in (place, 0, place - 11 if place > 11 else place))
    if tensor.kind == schema.INT32 and not tensor.quantised:
        if value.scale is None or weight.scale is None:
            raise InputError("a bias of whole numbers without a scale")
        return np.asarray(found * float(value.scale[0]) * float(weight.scale[0]), np.float32)
    return np.asarray(found, np.float32)


def _stepped(g: Graph, name: str, scale: float, zero: int) -> str:
    """Numbers as 8 bits hold them."""
    low, high, step = (g.constant(np.float32(n)) for n in (-128 - zero, 127 - zero, scale))
    return str(g.add("Mul", g.add("Clip", g.add("Round", g.add("Div", name, step)), low, high), step))


def _lstm(
    b: Builder, x: str, w: np.ndarray, r: np.ndarray, bias: np.ndarray, states: Sequence[str], reverse: bool
) -> str:
    g = b.graph
    y, _, _ = g.add(
        "LSTM",
        x,
        g.constant(w[None], "w"),
        g.constant(r[None], "r"),
        g.constant(np.concatenate([bias, np.zeros_like(bias)])[None], "b"),
        "",
        *(g.add("Unsqueeze", state, g.ints(0)) for state in states),
        outputs=3,
        hidden_size=r.shape[1],
        direction="reverse" if reverse else "forward",
    )
    return str(g.add("Squeeze", y, g.ints(1)))


def _stepwise_lstm(
    b: Builder, x: str, w: np.ndarray, r: np.ndarray, bias: np.ndarray, states: Sequence[str], clip: float,
    reverse: bool, after: Callable[[Graph, str], str] | None,
) -> str:  # fmt: skip
    """With a limit of the cell's state (ONNX's LSTM would limit the gates), or an output that is rounded each step."""
    g = b.graph
    time, batch = g.shape(x)[:2]
    hidden = r.shape[1]
    ready = g.add("Add", g.add("MatMul", x, g.constant(w.T, "w")), g.constant(bias, "b"))
    recurrent, low, high = g.constant(r.T, "r"), b.number(-clip), b.number(clip)
    body = g.subgraph()
    free = {0: "batch"}
    h, c = (body.input(body.fresh(n), (batch, hidden), free=free) for n in ("h", "c"))
    step = body.input(body.fresh("step"), (batch, 4 * hidden), free=free)
    seen = after(body, h) if after is not None else h
    gates = body.add("Add", step, body.add("MatMul", seen, recurrent))
    parts = body.add("Split", gates, body.ints(*[hidden] * 4), outputs=4, axis=1)
    enter, leave, forget = (body.add("Sigmoid", p) for p in parts[:3])
    cell = body.add("Add", body.add("Mul", forget, c), body.add("Mul", enter, body.add("Tanh", parts[3])))
    cell = body.add("Clip", cell, low, high) if clip > 0 else cell
    out = body.add("Mul", leave, body.add("Tanh", cell))
    for name, value in (("h.next", out), ("c.next", cell), ("y", out)):
        body.output(body.add("Identity", value), body.fresh(name))
    _, _, y = g.add("Scan", *states, ready, outputs=3, body=body, num_scan_inputs=1,
                    scan_input_directions=[int(reverse)], scan_output_directions=[int(reverse)])  # fmt: skip
    g.tell(y, (time, batch, hidden))
    return str(y)


def loop(b: Builder, o: Operator) -> None:
    """WHILE: ONNX's Loop; the condition is evaluated before the first round and at the end of each."""
    condition, body_number = option(o, 0), option(o, 1)
    g = b.graph
    values = [b.value(i) for i in o.inputs]
    if len(o.outputs) != len(values):
        raise InputError(f"corrupt: takes {len(values)} values and gives {len(o.outputs)}")
    start = b.inner(condition, g, values)
    body = g.subgraph()
    body.input(body.fresh("round"), (), np.int64)
    body.input(body.fresh("go"), (), np.bool_)
    carried = []
    for index, value in zip(o.inputs, values):
        tensor = b.tensor(index)
        shape = g.find_shape(value) or tensor.shape
        free = {axis: f"{tensor.name}_{axis}" for axis in range(len(shape))}
        carried.append(body.input(body.fresh("carried"), shape, inside(tensor), free))
    made = b.inner(body_number, body, carried)
    if len(made) != len(values):
        raise InputError(f"corrupt: its body gives {len(made)} values, not {len(values)}")
    again = b.inner(condition, body, made)
    body.output(
        body.add("Squeeze", again[0]) if body.rank(again[0]) else body.add("Identity", again[0]), body.fresh("again")
    )
    for value in made:
        body.output(body.add("Identity", value), body.fresh("next"))
    go = g.add("Squeeze", start[0]) if g.rank(start[0]) else start[0]
    found = g.add("Loop", "", go, *values, outputs=len(values), body=body)
    for index, name in zip(o.outputs, found if isinstance(found, tuple) else (found,)):
        tensor = b.tensor(index)
        g.tell(name, tensor.shape, inside(tensor))
        b.keep(index, name)


HANDLERS: dict[str, Handler] = {
    detection.NAME: detection.post_process,
    "ADD": binary("Add"),
    "SUB": binary("Sub"),
    "MUL": binary("Mul"),
    "DIV": divide,
    "POW": binary("Pow", None),
    "MAXIMUM": binary("Max", None),
    "MINIMUM": binary("Min", None),
    "FLOOR_DIV": floor_div,
    "FLOOR_MOD": floor_mod,
    "SQUARED_DIFFERENCE": squared_difference,
    "ADD_N": add_many,
    "PRELU": prelu,
    "EQUAL": compare("Equal"),
    "NOT_EQUAL": compare("Equal", True),
    "LESS": compare("Less"),
    "LESS_EQUAL": compare("LessOrEqual"),
    "GREATER": compare("Greater"),
    "GREATER_EQUAL": compare("GreaterOrEqual"),
    "LOGICAL_AND": logical("And"),
    "LOGICAL_OR": logical("Or"),
    "LOGICAL_NOT": logical("Not"),
    "SELECT": select,
    "SELECT_V2": select,
    "RELU": plain("Relu"),
    "RELU6": clipped(0, 6),
    "RELU_N1_TO_1": clipped(-1, 1),
    "RELU_0_TO_1": clipped(0, 1),
    "LEAKY_RELU": unary(lambda b, o, x: str(b.graph.add("LeakyRelu", x, alpha=option(o, 0, "f")))),
    "ELU": plain("Elu"),
    "HARD_SWISH": unary(hard_swish),
    "GELU": unary(gelu),
    "LOGISTIC": plain("Sigmoid"),
    "TANH": plain("Tanh"),
    "EXP": plain("Exp"),
    "LOG": plain("Log"),
    "SQRT": plain("Sqrt"),
    "RSQRT": unary(rsqrt),
    "SQUARE": unary(square),
    "ABS": plain("Abs"),
    "NEG": plain("Neg"),
    "SIN": plain("Sin"),
    "COS": plain("Cos"),
    "FLOOR": plain("Floor"),
    "CEIL": plain("Ceil"),
    "ROUND": plain("Round"),
    "SIGN": plain("Sign"),
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": log_softmax,
    "L2_NORMALIZATION": l2_normal,
    "LOCAL_RESPONSE_NORMALIZATION": lrn,
    "CAST": cast,
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": convolution,
    "TRANSPOSE_CONV": transposed,
    "CUSTOM:Convolution2DTransposeBias": transposed_with_bias,
    "AVERAGE_POOL_2D": pool,
    "MAX_POOL_2D": pool,
    "FULLY_CONNECTED": dense,
    "BATCH_MATMUL": product,
    "RESHAPE": reshape,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "TRANSPOSE": transpose,
    "CONCATENATION": concatenate,
    "PAD": pad,
    "PADV2": pad,
    "MIRROR_PAD": mirror_pad,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "EMBEDDING_LOOKUP": lookup,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "TILE": tile,
    "BROADCAST_TO": broadcast,
    "SHAPE": shape,
    "FILL": fill,
    "ZEROS_LIKE": zeros_like,
    "RANGE": span,
    "REVERSE_V2": reverse,
    "ONE_HOT": one_hot,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "BATCH_TO_SPACE_ND": batch_to_space,
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_DEPTH": depth_to_space,
    "RESIZE_BILINEAR": resize,
    "RESIZE_NEAREST_NEIGHBOR": resize,
    "MEAN": reduce("ReduceMean"),
    "SUM": reduce("ReduceSum"),
    "REDUCE_MAX": reduce("ReduceMax"),
    "REDUCE_MIN": reduce("ReduceMin"),
    "REDUCE_PROD": reduce("ReduceProd"),
    "REDUCE_ANY": any_of,
    "REDUCE_ALL": any_of,
    "ARG_MAX": arg("ArgMax"),
    "ARG_MIN": arg("ArgMin"),
    "TOPK_V2": top_k,
    "CUMSUM": cumulate,
    "DEQUANTIZE": requantise,
    "QUANTIZE": requantise,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": sequence_lstm,
    "WHILE": loop,
}
