"""CNTK's operations on sequences: shifted, chosen from, packed and unpacked."""

from __future__ import annotations

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.cntk.build import Builder, Span, Value, delay_offset
from sensorium.formats.cntk.network import Function


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
