"""TFLite's operators that look values up, put them at places, and make arrays."""

from __future__ import annotations

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.tflite.build import Builder, inside
from sensorium.formats.tflite.call import Handler, axis_of, moved, need, option, rank_of
from sensorium.formats.tflite.schema import Operator


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


def one_hot(b: Builder, o: Operator) -> None:
    need(o, 4)
    g = b.graph
    values = g.add("Concat", *(g.add("Reshape", b.numbers(i), g.ints(1)) for i in (o.inputs[3], o.inputs[2])), axis=0)
    depth, index = g.constant(np.int64(b.known(o.inputs[1])[0])), b.value(o.inputs[0])
    # ONNX counts negative ones from the end; here they are none of the places.
    index = g.add("Where", g.add("Less", index, g.constant(np.int64(0))), depth, index)
    b.put(o.outputs[0], g.add("OneHot", index, depth, values, axis=option(o, 0)))


FLOOR = float(np.finfo(np.float32).min)


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
