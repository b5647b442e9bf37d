"""CNTK's primitive operations as ONNX operators.

Axes count from the fastest one: axis i of a static shape is axis -1-i of the array. What CNTK's own kernels do at the
edges is kept: 1/0 is 0, the root of a negative number is 0, the logarithm of 0 is -85.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.cntk import network as cn
from sensorium.formats.cntk.build import Builder, Span, Value, delay_offset
from sensorium.formats.cntk.convolution import convolution, pooling, unpooling
from sensorium.formats.cntk.network import Axis, Function
from sensorium.formats.cntk.recurrent import rnn_stack

SMALLEST_LOG = math.exp(-85.1)  # CNTK's logarithm goes no lower

UNARY = {
    "Negate": "Neg",
    "Sigmoid": "Sigmoid",
    "StableSigmoid": "Sigmoid",
    "Tanh": "Tanh",
    "ReLU": "Relu",
    "Exp": "Exp",
    "Floor": "Floor",
    "Abs": "Abs",
    "Sin": "Sin",
    "Cos": "Cos",
    "Tan": "Tan",
    "Sinh": "Sinh",
    "Cosh": "Cosh",
    "Asin": "Asin",
    "Acos": "Acos",
    "Atan": "Atan",
    "Asinh": "Asinh",
    "Atanh": "Atanh",
}
IDENTITY = ("Pass", "NoOp", "StopGradient", "Dropout", "Cast")
BINARY = {"Plus": "Add", "Minus": "Sub", "ElementTimes": "Mul", "Pow": "Pow"}
COMPARE = {
    "Equal": ("Equal", False),
    "NotEqual": ("Equal", True),
    "Less": ("Less", False),
    "LessEqual": ("LessOrEqual", False),
    "Greater": ("Greater", False),
    "GreaterEqual": ("GreaterOrEqual", False),
}
REDUCE = {
    "Sum": "ReduceSum",
    "Mean": "ReduceMean",
    "Max": "ReduceMax",
    "Min": "ReduceMin",
    "Prod": "ReduceProd",
    "LogSum": "ReduceLogSumExp",
}
Handler = Callable[[Builder, Function, list[Value]], Any]


def convert(b: Builder, function: Function) -> list[Value]:
    """Evaluate one function; its outputs.

    Raises:
        InputError: it is not one that is converted; the reason, without its name.
    """
    op = function.block if function.op == "Block" else function.op
    handler = HANDLERS.get(op)
    if handler is None:
        raise InputError("this operation is not converted")
    least, most = ARITY.get(op, (1, 1))
    sources = function.arguments if function.op == "Block" else function.inputs
    if not least <= len(sources) <= most:
        raise InputError(f"has {len(sources)} inputs")
    found = handler(b, function, [b.value(uid) for uid in sources])
    return found if isinstance(found, list) else [found]


# Attributes


def given(f: Function, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """An attribute of the right type; without a default it has to be there."""
    value = f.attributes.get(name, default)
    if value is None or not isinstance(value, kind):
        raise InputError(f"its attribute '{name}' is missing or not of the right kind")
    return value


def static_axis(f: Function, axis: Any, rank: int) -> int:
    """The number of a static axis; negative ones count from the slowest."""
    if not isinstance(axis, Axis) or not -cn.RANK <= axis.index <= cn.RANK:
        name = axis.name if isinstance(axis, Axis) else axis
        raise InputError(f"does not work along a static axis ('{name}')")
    return axis.index + rank if axis.index < 0 else axis.index


def position(b: Builder, value: Value, axis: int) -> int:
    """Where a static axis lies in the array."""
    rank = len(b.static(value))
    if not 0 <= axis < rank:
        raise InputError(f"axis {axis} of a value of {rank} axes")
    return value.dynamic + rank - 1 - axis


# Element by element


def unary(b: Builder, f: Function, x: list[Value]) -> Value:
    return b.add(UNARY[f.op], x[0])


def identity(b: Builder, f: Function, x: list[Value]) -> Value:
    return x[0]


def reciprocal(b: Builder, f: Function, x: list[Value]) -> Value:
    stored = b.known(x[0])
    if stored is not None and stored.all():
        return b.add("Reciprocal", x[0])
    zero = b.number(0)
    return b.add("Where", b.add("Equal", x[0], zero), zero, b.add("Reciprocal", x[0]))


def logarithm(b: Builder, f: Function, x: list[Value]) -> Value:
    return b.add("Log", b.add("Max", x[0], b.number(SMALLEST_LOG)))


def root(b: Builder, f: Function, x: list[Value]) -> Value:
    return b.add("Sqrt", b.add("Relu", x[0]))


def elu(b: Builder, f: Function, x: list[Value]) -> Value:
    return b.add("Elu", x[0], alpha=float(given(f, "alpha", (int, float), 1.0)))


def softmax(b: Builder, f: Function, x: list[Value]) -> Value:
    """Over all of a sample."""
    kind = {"Softmax": "Softmax", "LogSoftmax": "LogSoftmax", "Hardmax": "Hardmax"}[f.op]
    static = b.static(x[0])
    flat = b.reshape(x[0], [math.prod(static)])
    return b.reshape(b.add(kind, flat, axis=-1), static)


def binary(b: Builder, f: Function, x: list[Value]) -> Value:
    found = b.add(BINARY[f.op], *b.aligned(x))
    return Value(found.name, found.dynamic, span=_span(b, f, x))


def _span(b: Builder, f: Function, x: list[Value]) -> Span | None:
    """1 - flag, and flag * flag, are flags again: how parts of sequences are marked."""
    first, second = x[0].span, x[1].span
    if f.op == "Minus" and second is not None:
        one = b.known(x[0])
        if one is not None and one.size == 1 and one.item() == 1:
            start, stop = second
            if start == 0 and stop is not None:
                return (stop, None)
            if stop is None:
                return (0, start)
    if f.op == "ElementTimes" and first is not None and second is not None:
        return intersection(first, second)
    return None


def intersection(a: Span, b: Span) -> Span | None:
    """Steps that two slices have in common, where that is a slice whatever the length."""
    starts = {a[0], b[0]} - {0}
    stops = {s for s in (a[1], b[1]) if s is not None}
    if len(starts) > 1 or len(stops) > 1:
        return None
    return (next(iter(starts), 0), next(iter(stops), None))


def compare(b: Builder, f: Function, x: list[Value]) -> Value:
    kind, invert = COMPARE[f.op]
    found = b.add(kind, *b.aligned(x))
    return b.add("Cast", b.add("Not", found) if invert else found, to=1)


def log_plus(b: Builder, f: Function, x: list[Value]) -> Value:
    one, two = b.aligned(x)
    most = b.add("Max", one, two)
    total = b.add("Add", b.add("Exp", b.add("Sub", one, most)), b.add("Exp", b.add("Sub", two, most)))
    return b.add("Add", most, b.add("Log", total))


def clip(b: Builder, f: Function, x: list[Value]) -> Value:
    value, low, high = b.aligned(x)
    return b.add("Min", b.add("Max", value, low), high)


def select(b: Builder, f: Function, x: list[Value]) -> Value:
    flag, yes, no = b.aligned(x)
    return b.add("Where", b.add("Not", b.add("Equal", flag, b.number(0))), yes, no)


def assign(b: Builder, f: Function, x: list[Value]) -> Value:
    b.top.notes.append(f"the assignment '{f.label}' keeps nothing from one call to the next")
    return x[1]


def fill(b: Builder, f: Function, x: list[Value]) -> Value:
    number = float(given(f, "fillValue", (int, float)))
    return b.add("Add", b.add("Mul", x[0], b.number(0)), b.number(number))


def cosine(b: Builder, f: Function, x: list[Value]) -> Value:
    """Of whole samples."""
    flat = [b.reshape(v, [math.prod(b.static(v))]) for v in x]
    one, two = b.aligned(flat)
    last = b.top.ints(-1)

    def total(value: Value) -> Value:
        return Value(b.graph.add("ReduceSum", value.name, last, keepdims=0), value.dynamic)

    norms = b.add("Sqrt", b.add("Mul", total(b.add("Mul", one, one)), total(b.add("Mul", two, two))))
    return b.add("Div", total(b.add("Mul", one, two)), b.add("Max", norms, b.number(1e-30)))


# Products


def times(b: Builder, f: Function, x: list[Value]) -> Value:
    """Left [out x in] times right [in x rest] is [out x rest]; as arrays, right times left."""
    out_rank = given(f, "outputRank", int, 1)
    if f.attributes.get("inferInputRankToMap", -1) == -2:
        raise InputError("a product that sums over the sequence is not converted")
    left, right = x
    a, c = b.static(left), b.static(right)
    if not a and not c:
        return b.add("Mul", *b.aligned(x))
    if f.op == "TransposeTimes":
        if len(a) > 2:
            raise InputError(f"its left operand has {len(a)} axes")
        if len(a) == 1:
            left = b.unsqueeze(left, left.dynamic)
        order = [*range(left.dynamic), left.dynamic + 1, left.dynamic]
        stored = b.known(left)
        if stored is not None and stored.ndim == 2:
            left = b.stored(stored.T, "weight")
        else:
            left = b.add("Transpose", left, perm=order)
        a = b.static(left)
    if not 0 <= out_rank <= len(a):
        raise InputError(f"outputRank is {out_rank}, its left operand has {len(a)} axes")
    inner = len(a) - out_rank
    if inner > len(c):
        raise InputError(f"shapes {list(a[::-1])} and {list(c[::-1])} do not fit")
    shared, rest, outs = a[:inner], c[: len(c) - inner], a[inner:]
    if shared != c[len(c) - inner :]:
        raise InputError(f"shapes {list(a[::-1])} and {list(c[::-1])} do not fit")
    size, count = math.prod(shared), math.prod(outs)
    left = b.reshape(left, [size, count]) if len(a) != 2 or inner != 1 else left
    plain = len(rest) <= 1 and inner == 1  # the right operand is a row, or rows, already
    if not plain:
        right = b.reshape(right, [math.prod(rest), size])
    row = plain and not rest and bool(left.dynamic or right.dynamic) and (left.dynamic > 0 or not right.dynamic)
    if row:
        right = b.unsqueeze(right, right.dynamic)
    if left.dynamic and right.dynamic and left.dynamic != right.dynamic:
        left, right = (b.unsqueeze(v, 1, dynamic=2) if v.dynamic == 1 else v for v in (left, right))
    found = b.add("MatMul", right, left)
    if row:
        found = b.squeeze(found, found.dynamic)
    if plain and len(outs) == 1:
        return found
    return b.reshape(found, [*rest, *outs])


# Shapes


def new_shape(b: Builder, f: Function, x: list[Value]) -> Value:
    """Replaces the axes from beginAxis to endAxis; one new size may follow from the others."""
    value = x[0]
    shape = b.static(value)[::-1]
    rank = len(shape)

    def end(name: str, default: int) -> int:
        axis = f.attributes.get(name)
        if axis is None:
            return default
        if isinstance(axis, Axis) and axis.index == cn.END:
            return rank
        return static_axis(f, axis, rank)

    start, stop = end("beginAxis", 0), end("endAxis", rank)
    if not 0 <= start <= stop <= rank:
        raise InputError(f"replaces the axes {start} to {stop} of {rank}")
    new = list(given(f, "newShape", tuple))
    blank = (0, cn.INFERRED) if b.network.version != "2" else (cn.INFERRED,)
    open_axes = [i for i, size in enumerate(new) if size in blank]
    before, told = math.prod(shape[start:stop]), math.prod(size for size in new if size not in blank)
    if len(open_axes) > 1 or any(size < 0 and size not in blank for size in new):
        raise InputError(f"the shape {new} cannot be worked out")
    if open_axes:
        if not told or before % told:
            raise InputError(f"{list(shape)} cannot be given the shape {new}")
        new[open_axes[0]] = before // told
    elif told != before:
        raise InputError(f"{list(shape)} cannot be given the shape {new}")
    return b.reshape(value, [*shape[:start], *new, *shape[stop:]][::-1])


def transpose(b: Builder, f: Function, x: list[Value]) -> Value:
    value = x[0]
    rank = len(b.static(value))
    if "axisVec" in f.attributes:
        perm = [static_axis(f, a, rank) for a in given(f, "axisVec", list)]
    else:
        one, two = (static_axis(f, f.attributes.get(k), rank) for k in ("axis1", "axis2"))
        wanted = max(rank, one + 1, two + 1)
        value = b.unsqueeze(value, *range(value.dynamic, value.dynamic + wanted - rank))
        rank = wanted
        perm = list(range(rank))
        perm[one], perm[two] = two, one
    if sorted(perm) != list(range(rank)):
        raise InputError(f"{perm} is no order of {rank} axes")
    order = [rank - 1 - perm[rank - 1 - i] for i in range(rank)]
    return b.add("Transpose", value, perm=[*range(value.dynamic), *(value.dynamic + i for i in order)])


def cut(b: Builder, f: Function, x: list[Value]) -> Value:
    value = x[0]
    rank = len(b.static(value))
    if "axisVec" in f.attributes:
        axes, starts, stops = (given(f, k, list) for k in ("axisVec", "beginIndexVec", "endIndexVec"))
        steps = f.attributes.get("sliceStridesVec") or [1] * len(axes)
    else:
        axes, starts, stops = (
            [f.attributes.get("axis")],
            [given(f, "beginIndex", int)],
            [given(f, "endIndex", int)],
        )
        steps = [given(f, "sliceStrides", int, 1)]
    if not len(axes) == len(starts) == len(stops) == len(steps) or not all(
        isinstance(v, int) for v in (*starts, *stops, *steps)
    ):
        raise InputError("its axes and indices do not match")
    where = [position(b, value, static_axis(f, a, rank)) for a in axes]
    shape = b.graph.shape(value.name)
    for axis, start, stop, step in zip(where, starts, stops, steps):
        size = shape[axis]
        low, high = start + size * (start < 0), stop + size * (stop <= 0)
        if not 0 <= low <= high <= size or step < 1:
            raise InputError(f"takes {start} to {stop} of {size}")
    ends = [stop if stop else (1 << 62) for stop in stops]
    g = b.graph
    name = g.add("Slice", value.name, g.ints(*starts), g.ints(*ends), g.ints(*where), g.ints(*steps))
    return Value(name, value.dynamic)


def splice(b: Builder, f: Function, x: list[Value]) -> Value:
    rank = max(len(b.static(v)) for v in x)
    axis = static_axis(f, f.attributes.get("axis"), rank)
    rank = max(rank, axis + 1)
    most = max(x, key=lambda v: v.dynamic)
    ready = []
    for v in x:
        missing = rank - len(b.static(v))
        v = b.unsqueeze(v, *range(v.dynamic, v.dynamic + missing))
        ready.append(b.spread(v, most))
    at = rank - 1 - axis
    shapes = [b.static(v) for v in ready]
    full = [max(s[i] for s in shapes) for i in range(rank)]
    spread = []
    for v, shape in zip(ready, shapes):
        wanted = [1 if i == at else full[i] for i in range(rank)]
        if any(shape[i] != wanted[i] for i in range(rank) if i != at):
            v = b.add("Expand", v, Value(b.top.ints(*wanted), 0), dynamic=v.dynamic)
        spread.append(v)
    return b.add("Concat", *spread, axis=most.dynamic + at)


def squeezed(b: Builder, f: Function, x: list[Value]) -> Value:
    value = x[0]
    shape = b.static(value)[::-1]
    if "axisVec" in f.attributes:
        axes = [static_axis(f, a, len(shape)) for a in given(f, "axisVec", list)]
    elif "axis" in f.attributes:
        axes = [static_axis(f, f.attributes["axis"], len(shape))]
    else:
        axes = [i for i, size in enumerate(shape) if size == 1]
    return b.squeeze(value, *sorted(position(b, value, a) for a in axes))


def pad(b: Builder, f: Function, x: list[Value]) -> Value:
    value = x[0]
    rank = len(b.static(value))
    head, foot = given(f, "paddingHead", list), given(f, "paddingFoot", list)
    mode = given(f, "paddingMode", int, 0)
    if len(head) != rank or len(foot) != rank or not all(isinstance(n, int) and n < 1 << 20 for n in head + foot):
        raise InputError("its paddings do not fit its input")
    if mode not in (0, 1):
        raise InputError(f"the padding mode {mode} (symmetric) is not converted")
    none = [0] * value.dynamic
    pads = b.top.ints(*none, *head[::-1], *none, *foot[::-1])
    constant = float(given(f, "paddingConstantValue", (int, float), 0.0))
    name = b.graph.add("Pad", value.name, pads, b.number(constant).name, mode="reflect" if mode else "constant")
    return Value(name, value.dynamic)


def crop(b: Builder, f: Function, x: list[Value]) -> Value:
    offset = f.attributes.get("offset")
    if not isinstance(offset, list) or len(offset) != 2 or not all(isinstance(n, int) for n in offset):
        raise InputError("a crop whose place follows from the layers before it is not converted")
    size = b.static(x[1])[-2:]
    have = b.static(x[0])[-2:]
    if len(size) < 2 or len(have) < 2 or any(o < 0 or o + s > h for o, s, h in zip(offset[::-1], size, have)):
        raise InputError(f"takes {list(size)} at {offset} of {list(have)}")
    ends = [o + s for o, s in zip(offset[::-1], size)]
    g = b.graph
    name = g.add("Slice", x[0].name, g.ints(*offset[::-1]), g.ints(*ends), g.ints(-2, -1))
    return Value(name, x[0].dynamic)


# Reductions and indices


def reduce(b: Builder, f: Function, x: list[Value]) -> Value:
    value = x[0]
    kind = given(f, "reductionOpName", str, "Sum") if f.op == "ReduceElements" else "Sum"
    keep = given(f, "reductionKeepDimensions", bool, True)
    if f.op == "SumAll":
        axes: list[Any] = [Axis(cn.ALL)]
    else:
        axes = given(f, "axisVec", list) if "axisVec" in f.attributes else [f.attributes.get("axis")]
    rank = len(b.static(value))
    where: set[int] = set()
    dynamic = value.dynamic
    for axis in axes:
        index = axis.index if isinstance(axis, Axis) else None
        if index == cn.ALL:
            where.update(range(value.dynamic + rank))
            dynamic, keep = 0, keep and f.op != "SumAll"
        elif index == cn.ALL_STATIC:
            where.update(range(value.dynamic, value.dynamic + rank))
        elif index == cn.DYNAMIC:
            raise InputError(f"a reduction over the dynamic axis '{axis.name}' is not converted")
        else:
            where.add(position(b, value, static_axis(f, axis, rank)))
    if f.op != "SumAll" and any(isinstance(a, Axis) and a.index == cn.ALL for a in axes):
        raise InputError("a reduction over the batch is not converted")
    order = sorted(where)
    if kind in ("Argmax", "Argmin"):
        return _arg(b, value, order, kind, keep, rank)
    if kind not in REDUCE:
        raise InputError(f"the reduction '{kind}' is not converted")
    if not order:
        return value
    name = b.graph.add(REDUCE[kind], value.name, b.graph.ints(*order), keepdims=int(keep))
    return Value(name, dynamic)


def _arg(b: Builder, value: Value, order: list[int], kind: str, keep: bool, rank: int) -> Value:
    if len(order) != 1:
        if order != list(range(value.dynamic, value.dynamic + rank)):
            raise InputError(f"{kind} over several axes is not converted")
        value = b.reshape(value, [1] * (rank - 1) + [math.prod(b.static(value))])
        order = [value.dynamic + rank - 1]
        found = b.add("ArgMax" if kind == "Argmax" else "ArgMin", value, axis=order[0], keepdims=1)
        found = found if keep else b.reshape(found, [])
    else:
        found = b.add("ArgMax" if kind == "Argmax" else "ArgMin", value, axis=order[0], keepdims=int(keep))
    return b.add("Cast", found, to=1)


def one_hot(b: Builder, f: Function, x: list[Value]) -> Value:
    count = given(f, "numClass", int)
    rank = len(b.static(x[0])) + 1
    axis = static_axis(f, f.attributes.get("onehotAxis"), rank)
    if not 0 < count < 1 << 24 or not 0 <= axis < rank:
        raise InputError(f"{count} classes along axis {axis}")
    indices = b.add("Cast", x[0], to=7)
    at = x[0].dynamic + rank - 1 - axis
    g = b.graph
    name = g.add("OneHot", indices.name, g.constant(np.int64(count)), g.constant(np.array([0, 1], np.float32)), axis=at)
    return Value(name, x[0].dynamic)


def gather(b: Builder, f: Function, x: list[Value]) -> Value:
    """Rows of a stored table."""
    if x[1].dynamic:
        raise InputError("gathering from a table that depends on the input is not converted")
    if "axis" in f.attributes and isinstance(f.attributes["axis"], Axis):
        rank = len(b.static(x[1]))
        if static_axis(f, f.attributes["axis"], rank) != rank - 1:
            raise InputError("gathers along another axis than the last")
    indices = b.add("Cast", x[0], to=7)
    return b.add("Gather", x[1], indices, axis=0, dynamic=x[0].dynamic)


def top_k(b: Builder, f: Function, x: list[Value]) -> list[Value]:
    count = given(f, "numItems", int)
    at = position(b, x[0], static_axis(f, f.attributes.get("axis", Axis(0)), len(b.static(x[0]))))
    if not 0 < count <= b.graph.shape(x[0].name)[at]:
        raise InputError(f"takes the largest {count} of {b.graph.shape(x[0].name)[at]}")
    values, indices = b.graph.add("TopK", x[0].name, b.graph.ints(count), outputs=2, axis=at)
    return [Value(values, x[0].dynamic), b.add("Cast", Value(indices, x[0].dynamic), to=1)]


# Normalisation


def batch_norm(b: Builder, f: Function, x: list[Value]) -> Value:
    value = x[0]
    stored = [b.known(v) for v in x[1:5]]
    if any(array is None for array in stored):
        raise InputError("its statistics are not stored in the file")
    scale, bias, mean, variance = (np.asarray(a, np.float64).reshape(-1) for a in stored)
    epsilon = float(given(f, "epsilon", (int, float), 1e-5))
    static = b.static(value)
    spatial = given(f, "spatial", bool)
    count = (static[0] if static else 1) if spatial else math.prod(static)
    if any(a.size != count for a in (scale, bias, mean, variance)):
        raise InputError(f"has {scale.size} scales and {mean.size} means for {count} channels")
    if spatial and value.dynamic == 1 and static:
        parts = [
            b.stored(a, hint).name for a, hint in zip((scale, bias, mean, variance), ("scale", "bias", "mean", "var"))
        ]
        return Value(b.graph.add("BatchNormalization", value.name, *parts, epsilon=epsilon), 1)
    if (variance + epsilon <= 0).any():
        raise InputError("a variance below zero")
    factor = scale / np.sqrt(variance + epsilon)
    shape = [count] + [1] * (len(static) - 1) if spatial and static else list(static)
    scaled = b.add("Mul", value, b.stored(factor.reshape(shape), "scale"))
    return b.add("Add", scaled, b.stored((bias - mean * factor).reshape(shape), "bias"))


# Regions


def roi_pooling(b: Builder, f: Function, x: list[Value]) -> Value:
    if "spatialScale" not in f.attributes:
        raise InputError("regions in fractions of the picture (before CNTK 2.1) are not converted")
    if f.attributes.get("poolingType", 0) != 0:
        raise InputError("average pooling of regions is not converted")
    size = given(f, "roiOutputShape", tuple)
    maps, regions = x
    shape, boxes = b.static(maps), b.static(regions)
    if (
        len(size) != 2
        or len(shape) != 3
        or len(boxes) != 2
        or boxes[1] != 4
        or maps.dynamic != 1
        or regions.dynamic != 1
    ):
        raise InputError("its inputs are no maps and boxes")
    g = b.graph
    count = g.add("Shape", regions.name, start=0, end=1)
    scalar = g.add("Squeeze", count, g.ints(0))
    numbers = g.add("Range", g.constant(np.int64(0)), scalar, g.constant(np.int64(1)))
    g.tell(numbers, (g.shape(regions.name)[0],), np.int64)
    numbers = g.add("Unsqueeze", g.add("Cast", numbers, to=1), g.ints(1, 2))
    numbers = g.add("Expand", numbers, g.ints(1, boxes[0], 1))
    rows = g.add("Reshape", g.add("Concat", numbers, regions.name, axis=2), g.ints(-1, 5))
    found = g.add(
        "MaxRoiPool",
        maps.name,
        rows,
        pooled_shape=[size[1], size[0]],
        spatial_scale=float(given(f, "spatialScale", (int, float))),
    )
    return Value(g.add("Reshape", found, g.ints(-1, boxes[0], shape[0], size[1], size[0])), 1)


# Sequences


def delay(b: Builder, f: Function, x: list[Value]) -> Value:
    """Outside of a loop: the sequence shifted, with the initial state where it has nothing."""
    value = x[0]
    if value.dynamic != 2:
        raise InputError("a delay of what is no sequence")
    offset = delay_offset(f)
    if offset > 1 << 12:
        raise InputError(f"a delay of {offset} steps")
    first = x[1] if len(x) > 1 else b.number(float(f.attributes.get("initial", 0.0)))
    initial = b.known(first)
    flag = value.zero and initial is not None and initial.size == 1 and float(initial.reshape(-1)[0]) == 1
    if first.dynamic == 2:
        raise InputError("an initial state that is a sequence is not converted")
    static = b.static(value)
    g = b.graph
    if first.dynamic:
        first = b.unsqueeze(first, *range(1, 2 + len(static) - len(b.static(first))))
    batch = g.add("Shape", value.name, start=0, end=1)
    edge = g.add("Expand", first.name, g.add("Concat", batch, g.ints(offset, *static), axis=0))
    joined = [edge, value.name] if f.op == "PastValue" else [value.name, edge]
    long = g.add("Concat", *joined, axis=1)
    cuts = (0, -offset) if f.op == "PastValue" else (offset, 1 << 62)
    name = g.add("Slice", long, g.ints(cuts[0]), g.ints(cuts[1]), g.ints(1))
    span: Span | None = None
    if flag:
        span = (0, offset) if f.op == "PastValue" else (-offset, None)
    return Value(name, 2, span)


def reconcile(b: Builder, f: Function, x: list[Value]) -> Value:
    value, like = x
    return b.spread(value, like) if value.dynamic < like.dynamic else value


def where(b: Builder, f: Function, x: list[Value]) -> Value:
    if x[0].span is None:
        raise InputError("choosing steps of a sequence by their values is not converted")
    axes = f.attributes.get("newDynamicAxes")
    single = isinstance(axes, list) and len(axes) == 1
    return Value(x[0].name, 1 if single else 2, x[0].span)


def packed_index(b: Builder, f: Function, x: list[Value]) -> Value:
    return x[1]


def gather_packed(b: Builder, f: Function, x: list[Value]) -> Value:
    value, index = x
    if index.span is None or value.dynamic != 2:
        raise InputError("choosing steps of a sequence by their values is not converted")
    start, stop = index.span
    g = b.graph
    if index.dynamic == 1 and (start, stop) in ((0, 1), (-1, None)):
        return Value(g.add("Gather", value.name, g.constant(np.int64(start)), axis=1), 1)
    name = g.add("Slice", value.name, g.ints(start), g.ints(1 << 62 if stop is None else stop), g.ints(1))
    return Value(name, 2) if index.dynamic == 2 else b.squeeze(Value(name, 2), 1, dynamic=1)


def broadcast_as(b: Builder, f: Function, x: list[Value]) -> Value:
    value, like = sorted(x, key=lambda v: v.dynamic)
    if value.dynamic == 2 or like.dynamic != 2:
        raise InputError("does not broadcast one value over a sequence")
    return b.spread(value, like)


def unpack(b: Builder, f: Function, x: list[Value]) -> list[Value]:
    """The time becomes the slowest static axis: the array is the same."""
    if x[0].dynamic != 2:
        raise InputError("its input is no sequence")
    found = [Value(x[0].name, 1)]
    if not f.attributes.get("sequenceUnpackSuppressMaskOutput", False):
        g = b.graph
        sizes = g.add("Shape", x[0].name, start=0, end=2)
        found.append(Value(g.add("Expand", b.number(1).name, sizes), 1))
    b.free.add("time")
    return found


def to_sequence(b: Builder, f: Function, x: list[Value]) -> Value:
    if f.op == "ToSequence" and len(x) > 1:
        raise InputError("sequences of given lengths are not converted")
    if x[0].dynamic != 1 or not b.static(x[0]):
        raise InputError("its input is no batch of arrays")
    return Value(x[0].name, 2)


def unpack_batch(b: Builder, f: Function, x: list[Value]) -> Value:
    if x[0].dynamic != 1:
        raise InputError("its input is no batch")
    return Value(x[0].name, 0)


def to_batch(b: Builder, f: Function, x: list[Value]) -> Value:
    if x[0].dynamic or not b.static(x[0]):
        raise InputError("its input is no array")
    return Value(x[0].name, 1)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(IDENTITY, identity),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(COMPARE, compare),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    "Reciprocal": reciprocal,
    "Log": logarithm,
    "Sqrt": root,
    "ELU": elu,
    "LogPlus": log_plus,
    "Clip": clip,
    "Select": select,
    "Assign": assign,
    "ConstantOp": fill,
    "CosDistance": cosine,
    "Times": times,
    "TransposeTimes": times,
    "Reshape": new_shape,
    "TransposeAxes": transpose,
    "Slice": cut,
    "Splice": splice,
    "Squeeze": squeezed,
    "Pad": pad,
    "Crop": crop,
    "ReduceElements": reduce,
    "SumAll": reduce,
    "OneHot": one_hot,
    "Gather": gather,
    "TopK": top_k,
    "BatchNormalization": batch_norm,
    "Convolution": convolution,
    "Pooling": pooling,
    "Unpooling": unpooling,
    "ROIPooling": roi_pooling,
    "OptimizedRNNStack": rnn_stack,
    "PastValue": delay,
    "FutureValue": delay,
    "ReconcileDynamicAxis": reconcile,
    "ToSequenceLike": to_sequence,
    "ToSequence": to_sequence,
    "UnpackSequence": unpack,
    "UnpackBatch": unpack_batch,
    "ToBatch": to_batch,
    "Where": where,
    "PackedIndex": packed_index,
    "GatherPacked": gather_packed,
    "Sequence::BroadcastAs": broadcast_as,
}
ARITY: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        (*BINARY, *COMPARE, "LogPlus", "Times", "TransposeTimes", "CosDistance", "Assign", "Gather"), (2, 2)
    ),
    **dict.fromkeys(("Convolution", "Unpooling", "ROIPooling", "OptimizedRNNStack", "ReconcileDynamicAxis"), (2, 2)),
    **dict.fromkeys(("PackedIndex", "GatherPacked", "Sequence::BroadcastAs", "ToSequenceLike"), (2, 2)),
    **dict.fromkeys(("PastValue", "FutureValue", "ToSequence"), (1, 2)),
    **dict.fromkeys(("Clip", "Select"), (3, 3)),
    "Crop": (2, 4),
    "Splice": (1, 1 << 16),
    "BatchNormalization": (5, 6),
}
