"""CNTK's reductions, places, look-ups and regions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.cntk import network as cn
from sensorium.formats.cntk.attributes import given, position, static_axis
from sensorium.formats.cntk.build import Builder, Value
from sensorium.formats.cntk.network import Axis, Function

REDUCE = {
    "Sum": "ReduceSum",
    "Mean": "ReduceMean",
    "Max": "ReduceMax",
    "Min": "ReduceMin",
    "Prod": "ReduceProd",
    "LogSum": "ReduceLogSumExp",
}


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
