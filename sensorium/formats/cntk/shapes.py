"""CNTK's operations that change shapes, cut, join and pad."""

from __future__ import annotations

import math

from sensorium.errors import InputError
from sensorium.formats.cntk import network as cn
from sensorium.formats.cntk.attributes import given, position, static_axis
from sensorium.formats.cntk.build import Builder, Value
from sensorium.formats.cntk.network import Axis, Function


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
