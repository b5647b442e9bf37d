"""TFLite's rarer operators: places, three axes, spectra, branches, variables, and the older recurrent ones.

They add themselves to the table of `operators`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.tflite.build import Builder, inside
from sensorium.formats.tflite.operators import (
    HANDLERS,
    Handler,
    activated,
    convert,
    moved,
    need,
    option,
    pads,
    plain,
    rank_of,
    recurrent,
    steps_of,
)
from sensorium.formats.tflite.schema import Operator

__all__ = ["convert"]

FLOOR = float(np.finfo(np.float32).min)


def atan2(b: Builder, o: Operator) -> None:
    need(o, 2)
    g = b.graph
    y, x = (b.numbers(i) for i in o.inputs)
    zero, pi = b.number(0), b.number(np.pi)
    upright = g.add("Equal", x, zero)
    angle = g.add("Atan", g.add("Div", y, g.add("Where", upright, b.number(1), x)))
    turn = g.add("Where", g.add("Less", y, zero), g.add("Neg", pi), pi)
    angle = g.add("Where", g.add("Less", x, zero), g.add("Add", angle, turn), angle)
    b.put(o.outputs[0], g.add("Where", upright, g.add("Mul", g.add("Sign", y), b.number(np.pi / 2)), angle))


def broadcast_args(b: Builder, o: Operator) -> None:
    """The shape that two shapes have together: the larger size of each axis, from the last one on."""
    need(o, 2)
    g = b.graph
    one, other = (b.value(i) for i in o.inputs)
    lengths = [g.add("Shape", v) for v in (one, other)]
    most = g.add("Max", *lengths)
    parts = []
    for value, length in zip((one, other), lengths):
        ahead = g.add("Concat", g.add("Sub", most, length), g.ints(0), axis=0)
        parts.append(g.add("Pad", value, ahead, g.constant(np.int64(1))))
    b.keep(o.outputs[0], g.add("Max", *parts))


def bits(b: Builder, o: Operator) -> None:
    need(o, 2)
    b.keep(o.outputs[0], b.graph.add("BitwiseXor", *(b.value(i) for i in o.inputs)))


def right_shift(b: Builder, o: Operator) -> None:
    """A division by a power of two, rounded down."""
    need(o, 2)
    g = b.graph
    x, by = (b.value(i) for i in o.inputs)
    power = g.add("Pow", g.constant(np.int64(2)), by)
    b.keep(o.outputs[0], g.add("Div", g.add("Sub", x, g.add("Mod", x, power)), power))


def bucketize(b: Builder, o: Operator) -> None:
    need(o, 1)
    edges = np.array(o.options.array(0, np.float32) if o.options is not None else [], np.float32)
    g = b.graph
    spread = g.add("Unsqueeze", g.add("Cast", b.numbers(o.inputs[0]), to=1), g.ints(-1))
    above = g.add("Cast", g.add("GreaterOrEqual", spread, g.constant(edges, "edges")), to=7)
    b.keep(o.outputs[0], g.add("ReduceSum", above, g.ints(-1), keepdims=0))


def fake_quantised(b: Builder, o: Operator) -> None:
    """Rounded to the steps of a range that contains 0. Source: kernels/internal/reference/fake_quant.h."""
    need(o, 1)
    low, high = (float(np.float32(option(o, n, "f"))) for n in (0, 1))
    bits_, first = option(o, 2), int(bool(option(o, 3, "B")))
    if not 2 <= bits_ <= 16 or not low < high:
        raise InputError(f"{bits_} bits from {low} to {high}")
    last = (1 << bits_) - 1
    scale = float(np.float32((high - low) / (last - first)))
    zero = float(np.clip(np.floor(np.float32(first - low / scale + 0.5)), first, last))
    low, high = (first - zero) * scale, (last - zero) * scale
    g = b.graph
    x = g.add("Sub", g.add("Clip", b.numbers(o.inputs[0]), b.number(low), b.number(high)), b.number(low))
    level = g.add("Floor", g.add("Add", g.add("Mul", x, b.number(1 / scale)), b.number(0.5)))
    b.put(o.outputs[0], g.add("Add", g.add("Mul", level, b.number(scale)), b.number(low)))


def rank(b: Builder, o: Operator) -> None:
    need(o, 1)
    b.keep(o.outputs[0], b.graph.constant(np.int64(rank_of(b, o.inputs[0]))))


def reverse_sequence(b: Builder, o: Operator) -> None:
    need(o, 2)
    time, batch = option(o, 0), option(o, 1)
    if {time, batch} != {0, 1}:
        raise InputError(f"along the axis {time} by {batch}: only the first two are converted")
    lengths = b.value(o.inputs[1])
    moved(b, o, lambda x: str(b.graph.add("ReverseSequence", x, lengths, time_axis=time, batch_axis=batch)))


def where(b: Builder, o: Operator) -> None:
    need(o, 1)
    g = b.graph
    flag = b.numbers(o.inputs[0])
    b.keep(o.outputs[0], g.add("Transpose", g.add("NonZero", flag), perm=[1, 0]))


def unique(b: Builder, o: Operator) -> None:
    need(o, 1)
    found = b.graph.add("Unique", b.numbers(o.inputs[0]), outputs=3, axis=0, sorted=0)
    b.put(o.outputs[0], found[0])
    if len(o.outputs) > 1:
        b.keep(o.outputs[1], found[2])


def _filled(b: Builder, value: float | int, like: str, shape: str) -> str:
    return str(b.graph.add("Expand", b.graph.constant(np.array(value, b.graph.dtype(like))), shape))


def scatter(b: Builder, o: Operator) -> None:
    need(o, 3)
    new = b.numbers(o.inputs[1])
    start = _filled(b, 0, new, b.value(o.inputs[2]))
    b.put(o.outputs[0], b.graph.add("ScatterND", start, b.value(o.inputs[0]), new, reduction="add"))


def sparse_to_dense(b: Builder, o: Operator) -> None:
    need(o, 4)
    g = b.graph
    places, shape, new, rest = (b.numbers(i) for i in o.inputs)
    if g.rank(places) < 2:
        places = g.add("Reshape", places, g.ints(-1, 1))
    if not g.rank(new):
        new = g.add("Expand", new, g.add("Shape", places, start=0, end=1))
    b.put(o.outputs[0], g.add("ScatterND", g.add("Expand", rest, shape), places, new))


def segments(how: str, empty: float) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2, 3)
        g = b.graph
        x, places = b.numbers(o.inputs[0]), b.value(o.inputs[1])
        if len(o.inputs) > 2:
            count = g.add("Reshape", b.value(o.inputs[2]), g.ints(1))
        else:
            count = g.add("Add", g.add("ReduceMax", places, g.ints(0), keepdims=1), g.ints(1))
        start = _filled(b, empty, x, g.add("Concat", count, g.add("Shape", x, start=1), axis=0))
        index = g.add("Unsqueeze", places, g.ints(-1))
        b.put(o.outputs[0], g.add("ScatterND", start, index, x, reduction=how))

    return handle


def diagonal(b: Builder, o: Operator) -> None:
    """A diagonal as a matrix, or set into one (MATRIX_SET_DIAG)."""
    need(o, 1, 2)
    g = b.graph
    line = b.numbers(o.inputs[-1])
    size = g.shape(line)[-1]
    spread = g.add("Unsqueeze", line, g.ints(-1 if len(o.inputs) == 1 else -2))
    if len(o.inputs) == 1:
        on = g.constant(np.eye(size, dtype=np.bool_))
        b.put(o.outputs[0], g.add("Where", on, spread, g.constant(np.zeros((), g.dtype(line)))))
        return
    x = b.numbers(o.inputs[0])
    rows, columns = g.shape(x)[-2:]
    if size != min(rows, columns):
        raise InputError(f"a diagonal of {size} for {rows} by {columns}")
    on = g.constant(np.eye(rows, columns, dtype=np.bool_))
    if columns > size:
        widths = [0] * (g.rank(spread) * 2)
        widths[-1] = columns - size
        spread = g.add("Pad", spread, g.ints(*widths))
    elif rows > columns:
        spread = g.add("Reshape", spread, g.add("Shape", spread))
    b.put(o.outputs[0], g.add("Where", on, spread, x))


def update_slice(b: Builder, o: Operator) -> None:
    need(o, 3)
    g = b.graph
    x, new, start = b.numbers(o.inputs[0]), b.numbers(o.inputs[1]), b.value(o.inputs[2])
    room = g.add("Sub", g.add("Shape", x), g.add("Shape", new))
    start = g.add("Max", g.add("Min", start, room), g.ints(0))
    widths = g.add("Concat", start, g.add("Sub", room, start), axis=0)
    inner = g.add("ConstantOfShape", g.add("Shape", new), value=np.ones(1, np.int32))
    inner = g.add("Cast", g.add("Pad", inner, widths), to=9)
    b.put(o.outputs[0], g.add("Where", inner, g.add("Pad", new, widths), x))


def bitcast(b: Builder, o: Operator) -> None:
    need(o, 1)
    if inside(b.tensor(o.inputs[0])) is not inside(b.tensor(o.outputs[0])):
        raise InputError("the bits of one type as another are not converted")
    moved(b, o, lambda x: str(b.graph.add("Identity", x)))


# Non-maximum suppression


def suppression(b: Builder, o: Operator) -> None:
    """Boxes (N, 4) and scores (N,): places of those kept, with V5 their scores, and how many; filled up with 0."""
    need(o, 5, 6)
    g = b.graph
    if o.op.endswith("V5") and len(o.inputs) > 5 and np.any(b.stored(o.inputs[5])):
        raise InputError("soft suppression is not converted")
    boxes, scores = g.add("Unsqueeze", b.numbers(o.inputs[0]), g.ints(0)), b.numbers(o.inputs[1])
    limit = g.add("Reshape", b.value(o.inputs[2]), g.ints(1))
    rest = [g.add("Reshape", b.numbers(i), g.ints(1)) for i in o.inputs[3:5]]
    found = g.add("NonMaxSuppression", boxes, g.add("Unsqueeze", scores, g.ints(0, 1)), limit, *rest)
    places = g.add("Reshape", g.add("Slice", found, g.ints(2), g.ints(3), g.ints(1)), g.ints(-1))
    count = g.add("Shape", places)
    values = g.add("Gather", scores, places)
    missing = g.add("Concat", g.ints(0), g.add("Sub", limit, count), axis=0)
    b.keep(o.outputs[0], g.add("Pad", places, missing))
    if o.op.endswith("V5"):
        b.put(o.outputs[1], g.add("Pad", values, missing))
    b.keep(o.outputs[-1], g.add("Squeeze", count, g.ints(0)))


# Three axes, and pooling by squares


def _deep(b: Builder, name: str, first: bool) -> str:
    return str(b.graph.add("Transpose", name, perm=[0, 4, 1, 2, 3] if first else [0, 2, 3, 4, 1]))


def convolution3(b: Builder, o: Operator) -> None:
    """Weights (depth, height, width, in, out); turned round (out, in) for the transposed one."""
    turned = o.op == "CONV_3D_TRANSPOSE"
    need(o, 3 if turned else 2, 4 if turned else 3)
    value, bias = (o.inputs[2], o.inputs[3:]) if turned else (o.inputs[0], o.inputs[2:])
    weights = b.stored(o.inputs[1])
    if weights is None or weights.ndim != 5 or rank_of(b, value) != 5:
        raise InputError("weights that are computed, or not of five axes")
    g = b.graph
    x = _deep(b, b.numbers(value), True)
    strides, dilations = steps_of(o, 1, 3, 2), steps_of(o, 5, 7, 6, default=1)
    kernel = list(weights.shape[:3])
    weight = g.constant(np.ascontiguousarray(weights.transpose(4, 3, 0, 1, 2)), b.tensor(o.inputs[1]).name)
    more = b.bias(bias[0]) if bias else ""
    if turned:
        target = b.known(o.inputs[0])
        sizes = zip(g.shape(x)[2:], target[1:4], kernel, strides, dilations)
        cut = [(n - 1) * s + (k - 1) * d + 1 - t for n, t, k, s, d in sizes]
        begin = [max(c, 0) // 2 if option(o, 0, "b") == 0 else 0 for c in cut]
        y = g.add("ConvTranspose", x, weight, more, kernel_shape=kernel, strides=strides, dilations=dilations,
                  pads=begin + [max(c - a, 0) for c, a in zip(cut, begin)],
                  output_padding=[max(a - c, 0) for c, a in zip(cut, begin)])  # fmt: skip
    else:
        settings = pads(b, x, kernel, strides, dilations, option(o, 0, "b"))
        y = g.add("Conv", x, weight, more, kernel_shape=kernel, strides=strides, dilations=dilations, **settings)
    b.put(o.outputs[0], _deep(b, activated(b, y, option(o, 4, "b")), False))


def l2_pool(b: Builder, o: Operator) -> None:
    need(o, 1)
    g = b.graph
    x = b.numbers(o.inputs[0], True)
    strides, kernel = steps_of(o, 2, 1), steps_of(o, 4, 3)
    settings = pads(b, x, kernel, strides, [1, 1], option(o, 0, "b"))
    mean = g.add("AveragePool", g.add("Mul", x, x), kernel_shape=kernel, strides=strides, **settings)
    b.put(o.outputs[0], activated(b, g.add("Sqrt", mean), option(o, 5, "b")), True)


# Spectra: a complex value is kept with its real and imaginary parts as a last axis of two


def rfft2(b: Builder, o: Operator) -> None:
    need(o, 2)
    g = b.graph
    rows, columns = b.known(o.inputs[1])
    if not 0 < columns <= 1 << 12 or not 0 < rows <= 1 << 11 or rank_of(b, o.inputs[0]) < 2:
        raise InputError(f"a transform of {rows} by {columns} is not converted")
    x = b.numbers(o.inputs[0])
    height, width = g.shape(x)[-2:]
    axes = g.ints(-2, -1)
    x = g.add("Slice", x, g.ints(0, 0), g.ints(rows, columns), axes)
    short = [max(rows - height, 0), max(columns - width, 0)]
    if any(short):
        rank_ = g.rank(x)
        x = g.add("Pad", x, g.ints(*[0] * (2 * rank_ - 2), *short))
    angle = 2 * np.pi * np.outer(np.arange(columns), np.arange(columns // 2 + 1)) / columns
    real, imaginary = (g.add("MatMul", x, g.constant(w.astype(np.float32))) for w in (np.cos(angle), -np.sin(angle)))
    if rows > 1:
        angle = 2 * np.pi * np.outer(np.arange(rows), np.arange(rows)) / rows
        c, s = (g.constant(w.astype(np.float32)) for w in (np.cos(angle), np.sin(angle)))
        real, imaginary = (
            g.add("Add", g.add("MatMul", c, real), g.add("MatMul", s, imaginary)),
            g.add("Sub", g.add("MatMul", c, imaginary), g.add("MatMul", s, real)),
        )
    b.complex[o.outputs[0]] = (real, imaginary)


def of_complex(b: Builder, o: Operator) -> None:
    need(o, 1)
    if o.inputs[0] not in b.complex:
        raise InputError("a complex value that is no spectrum is not converted")
    g = b.graph
    real, imaginary = b.complex[o.inputs[0]]
    if o.op == "COMPLEX_ABS":
        power = g.add("Add", g.add("Mul", real, real), g.add("Mul", imaginary, imaginary))
        b.put(o.outputs[0], g.add("Sqrt", power))
    else:
        b.put(o.outputs[0], real if o.op == "REAL" else imaginary)


def moved_complex(handler: Handler) -> Handler:
    """What only moves numbers, for both parts of a complex value."""

    def handle(b: Builder, o: Operator) -> None:
        if o.inputs[0] not in b.complex:
            handler(b, o)
            return
        parts = []
        for part in b.complex[o.inputs[0]]:
            b.raw[o.inputs[0]] = part
            handler(b, o)
            parts.append(b.raw.pop(o.outputs[0]))
            del b.raw[o.inputs[0]]
        b.complex[o.outputs[0]] = (parts[0], parts[1])

    return handle


# Control and variables


def branch(b: Builder, o: Operator) -> None:
    """IF: both graphs of the model as ONNX subgraphs."""
    need(o, 1, len(o.inputs))
    g = b.graph
    values = [b.value(i) for i in o.inputs[1:]]
    flag = b.value(o.inputs[0])
    sides = []
    for number in (option(o, 0), option(o, 1)):
        side = g.subgraph()
        made = b.inner(number, side, values)
        if len(made) != len(o.outputs):
            raise InputError(f"corrupt: a branch gives {len(made)} values, not {len(o.outputs)}")
        for value in made:
            side.output(side.add("Identity", value), side.fresh("chosen"))
        sides.append((side, made))
    flag = g.add("Reshape", flag, g.ints()) if g.rank(flag) else flag
    found = g.add("If", flag, outputs=len(o.outputs), then_branch=sides[0][0], else_branch=sides[1][0])
    for i, (index, name) in enumerate(zip(o.outputs, found if isinstance(found, tuple) else (found,))):
        shapes = [side.find_shape(made[i]) for side, made in sides]
        tensor = b.tensor(index)
        g.tell(name, shapes[0] if shapes[0] is not None and shapes[0] == shapes[1] else [None] * len(tensor.shape),
               inside(tensor))  # fmt: skip
        b.keep(index, name)


def called(b: Builder, o: Operator) -> None:
    made = b.inner(option(o, 0, "I"), b.graph, [b.value(i) for i in o.inputs])
    if len(made) != len(o.outputs):
        raise InputError(f"corrupt: the graph gives {len(made)} values, not {len(o.outputs)}")
    for index, name in zip(o.outputs, made):
        b.keep(index, name)


def variable(b: Builder, o: Operator) -> None:
    name = o.options.text(1) if o.options is not None else ""
    b.handles[o.outputs[0]] = name


def _variable_of(b: Builder, index: int) -> str:
    if index not in b.handles:
        raise InputError("a variable that comes from elsewhere is not converted")
    return b.handles[index]


def assigned(b: Builder, o: Operator) -> None:
    need(o, 2)
    if b.graph.parent is not None:
        raise InputError("a variable that is set in a loop or a branch is not converted")
    name = _variable_of(b, o.inputs[0])
    b.variables[name] = b.value(o.inputs[1])
    if not b.setting:
        note = f"the variable '{name}' keeps its value between calls in the source; here each call begins anew"
        if note not in b.graph.notes:
            b.graph.notes.append(note)


def read_variable(b: Builder, o: Operator) -> None:
    need(o, 1)
    name = _variable_of(b, o.inputs[0])
    if name not in b.variables:
        raise InputError(f"the variable '{name}' is read before it is set")
    b.keep(o.outputs[0], b.variables[name])


# Older recurrent operators


def stateful(b: Builder, o: Operator) -> None:
    b.graph.notes.append(f"layer '{o.label}' keeps its state between calls in the source; here it begins with zeros")


def svdf(b: Builder, o: Operator) -> None:
    """A filter of features over time; of the times before there is nothing but zeros."""
    need(o, 3, 5)
    rank_ = option(o, 0)
    weights = [b.stored(i) for i in o.inputs[1:3]]
    if b.tensor(o.inputs[0]).quantised or any(w is None or w.ndim != 2 for w in weights):
        raise InputError("weights that are quantised or computed are not converted")
    feature, time = (np.asarray(w) for w in weights)
    if rank_ < 1 or len(feature) % rank_ or len(feature) != len(time):
        raise InputError(f"weights of {list(feature.shape)} and {list(time.shape)} of rank {rank_}")
    stateful(b, o)
    mixed = (feature * time[:, -1:]).reshape(-1, rank_, feature.shape[1]).sum(1)
    g = b.graph
    y = g.add("MatMul", b.numbers(o.inputs[0]), g.constant(mixed.T.astype(np.float32)))
    if len(o.inputs) > 3 and o.inputs[3] >= 0:
        y = g.add("Add", y, b.bias(o.inputs[3]))
    b.put(o.outputs[0], activated(b, y, option(o, 1, "b")))


def _simple(
    b: Builder, o: Operator, x: str, weights: Sequence[int], state: int, kind: int, reverse: bool, dtype: str = "RNN"
) -> str:
    """A simple recurrent layer over values (time, batch, features)."""
    names = {1: "Relu", 4: "Tanh"}
    arrays = [b.stored(i) for i in weights]
    if kind not in names or any(a is None for a in arrays) or any(b.tensor(i).quantised for i in weights[:2]):
        raise InputError(f"with the activation {kind}, or with weights that are quantised or computed")
    w, r, bias = (np.asarray(a, np.float32) for a in arrays)
    g = b.graph
    y, _ = g.add(dtype, x, g.constant(w[None]), g.constant(r[None]),
                 g.constant(np.concatenate([bias, np.zeros_like(bias)])[None]), outputs=2, hidden_size=len(w),
                 activations=[names[kind]], direction="reverse" if reverse else "forward")  # fmt: skip
    if state >= 0 and not b.tensor(state).variable and state in b.raw:
        raise InputError("a state that is given is not converted")
    return str(g.add("Squeeze", y, g.ints(1)))


def rnn(b: Builder, o: Operator) -> None:
    need(o, 5)
    sequence = o.op == "UNIDIRECTIONAL_SEQUENCE_RNN"
    g = b.graph
    x = b.numbers(o.inputs[0])
    major = bool(option(o, 0, "B")) if sequence else True
    if not sequence:
        stateful(b, o)
        x = g.add("Unsqueeze", x, g.ints(0))
    elif not major:
        x = g.add("Transpose", x, perm=[1, 0, 2])
    y = _simple(b, o, x, o.inputs[1:4], o.inputs[4], option(o, 1 if sequence else 0, "b"), False)
    if not sequence:
        y = g.add("Squeeze", y, g.ints(0))
    elif not major:
        y = g.add("Transpose", y, perm=[1, 0, 2])
    b.put(o.outputs[0], y)


def both_ways(b: Builder, o: Operator) -> None:
    """BIDIRECTIONAL_SEQUENCE_RNN and _LSTM."""
    lstm = o.op.endswith("LSTM")
    if len(o.inputs) not in ((39, 48) if lstm else (9, 12)):
        raise InputError(f"has {len(o.inputs)} inputs")
    merged = option(o, 3 if lstm else 2, "B")
    major = option(o, 4, "B", 1) if lstm else option(o, 0, "B")
    if any(i >= 0 for i in o.inputs[39 if lstm else 9 :]):
        raise InputError("a second input is not converted")
    g = b.graph
    x = b.numbers(o.inputs[0])
    x = x if major else g.add("Transpose", x, perm=[1, 0, 2])
    if lstm:
        if option(o, 0, "b") != 4:
            raise InputError("another activation than tanh is not converted")
        clip = option(o, 1, "f")
        uneven = option(o, 5, "B")
        made = []
        for a, s, reverse in ((1, 35, False), (18, 37, True)):
            given = [o.inputs[0], *o.inputs[a : a + 17], *o.inputs[s : s + 2]]
            made.append(recurrent(b, given, x, clip, reverse, uneven, major))
    else:
        kind = option(o, 1, "b")
        made = [_simple(b, o, x, o.inputs[a : a + 3], o.inputs[a + 3], kind, a > 1) for a in (1, 5)]
    if merged:
        made = [g.add("Concat", *made, axis=2)]
    for index, y in zip(o.outputs, made):
        b.put(index, y if major else g.add("Transpose", y, perm=[1, 0, 2]))


def basic_lstm(b: Builder, o: Operator) -> None:
    """One step; the gates' weights in one matrix: input, new, forget, output. Also as a sequence of one step."""
    g = b.graph
    if option(o, 3, "b") == 0:
        if option(o, 0, "b") != 4:
            raise InputError("another activation than tanh is not converted")
        stateful(b, o)
        x = g.add("Unsqueeze", b.numbers(o.inputs[0]), g.ints(0))
        y = recurrent(b, o.inputs, x, option(o, 1, "f"), False, False, True)
        b.put(o.outputs[-1], g.add("Squeeze", y, g.ints(0)))
        return
    need(o, 5)
    if len(o.outputs) < 2 or any(b.tensor(i).quantised for i in o.inputs):
        raise InputError("quantised numbers are not converted")
    x, before, weight, bias, memory = (b.numbers(i) for i in o.inputs)
    total = g.add("Gemm", g.add("Concat", x, before, axis=1), weight, bias, transB=1)
    parts = g.add("Split", total, outputs=4, axis=1, num_outputs=4)
    enter, forget, leave = (g.add("Sigmoid", parts[i]) for i in (0, 2, 3))
    cell = g.add("Add", g.add("Mul", enter, g.add("Tanh", parts[1])), g.add("Mul", forget, memory))
    b.put(o.outputs[0], g.add("Mul", leave, g.add("Tanh", cell)))
    b.put(o.outputs[1], cell)


HANDLERS.update({
    "ATAN2": atan2,
    "BROADCAST_ARGS": broadcast_args,
    "BITWISE_XOR": bits,
    "RIGHT_SHIFT": right_shift,
    "BUCKETIZE": bucketize,
    "FAKE_QUANT": fake_quantised,
    "RANK": rank,
    "REVERSE_SEQUENCE": reverse_sequence,
    "WHERE": where,
    "UNIQUE": unique,
    "SCATTER_ND": scatter,
    "SPARSE_TO_DENSE": sparse_to_dense,
    "SEGMENT_SUM": segments("add", 0),
    "UNSORTED_SEGMENT_SUM": segments("add", 0),
    "UNSORTED_SEGMENT_MAX": segments("max", FLOOR),
    "UNSORTED_SEGMENT_MIN": segments("min", -FLOOR),
    "UNSORTED_SEGMENT_PROD": segments("mul", 1),
    "MATRIX_DIAG": diagonal,
    "MATRIX_SET_DIAG": diagonal,
    "DYNAMIC_UPDATE_SLICE": update_slice,
    "BITCAST": bitcast,
    "DENSIFY": plain("Identity"),
    "NON_MAX_SUPPRESSION_V4": suppression,
    "NON_MAX_SUPPRESSION_V5": suppression,
    "CONV_3D": convolution3,
    "CONV_3D_TRANSPOSE": convolution3,
    "L2_POOL_2D": l2_pool,
    "RFFT2D": rfft2,
    "REAL": of_complex,
    "IMAG": of_complex,
    "COMPLEX_ABS": of_complex,
    "IF": branch,
    "CALL": called,
    "CALL_ONCE": called,
    "VAR_HANDLE": variable,
    "ASSIGN_VARIABLE": assigned,
    "READ_VARIABLE": read_variable,
    "SVDF": svdf,
    "RNN": rnn,
    "UNIDIRECTIONAL_SEQUENCE_RNN": rnn,
    "BIDIRECTIONAL_SEQUENCE_RNN": both_ways,
    "BIDIRECTIONAL_SEQUENCE_LSTM": both_ways,
    "LSTM": basic_lstm,
})  # fmt: skip
for _kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE"):
    HANDLERS[_kind] = moved_complex(HANDLERS[_kind])
