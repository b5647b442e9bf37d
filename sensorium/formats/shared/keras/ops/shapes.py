"""Functions of `keras.ops` that arrange, pick and place, as ONNX."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import END, Net, Value
from sensorium.formats.shared.keras.ops.call import (
    OPS,
    as_type,
    axes_of,
    axis_of,
    fixed,
    flat,
    like,
    op,
    tensor,
    together,
)
from sensorium.formats.shared.keras.ops.elements import cast
from sensorium.formats.shared.keras.ops.reductions import over

# Shapes


@op("Reshape")
def _reshape(net: Net, x: Any, *, newshape: Any) -> str:
    value = tensor(net, x)
    given = list(newshape) if isinstance(newshape, (list, tuple)) else [newshape]
    if all(isinstance(n, int) for n in given) and given.count(-1) <= 1 and 0 not in given:
        return net.op("Reshape", value, net.ints(given))
    parts = [net.ints([n]) if isinstance(n, int) else flat(net, as_type(net, tensor(net, n), np.int64)) for n in given]
    return net.op("Reshape", value, net.joined(*parts))


@op("Ravel")
def _ravel(net: Net, x: Any) -> str:
    return flat(net, tensor(net, x))


@op("ExpandDims")
def _expand_dims(net: Net, x: Any, *, axis: Any) -> str:
    value = tensor(net, x)
    given = [axis] if isinstance(axis, int) else list(axis)
    return net.op("Unsqueeze", value, net.ints(given))


@op("Squeeze")
def _squeeze(net: Net, x: Any, *, axis: Any = None) -> str:
    value = tensor(net, x)
    if axis is None:
        sizes = x.sizes if isinstance(x, Value) and x.sizes is not None else net.graph.shape(value)
        axis = [a for a, size in enumerate(sizes) if size == 1]
    axes = axes_of(net, value, axis)
    return net.op("Squeeze", value, net.ints(axes)) if axes else net.op("Identity", value)


@op("Transpose")
def _transpose(net: Net, x: Any, *, axes: Any = None) -> str:
    value = tensor(net, x)
    order = list(reversed(range(net.rank(value)))) if axes is None else axes_of(net, value, axes)
    return net.op("Transpose", value, perm=order)


@op("Swapaxes")
def _swapaxes(net: Net, x: Any, *, axis1: int, axis2: int) -> str:
    value = tensor(net, x)
    order = list(range(net.rank(value)))
    a, b = axes_of(net, value, [axis1, axis2])
    order[a], order[b] = b, a
    return net.op("Transpose", value, perm=order)


@op("Moveaxis")
def _moveaxis(net: Net, x: Any, *, source: Any, destination: Any) -> str:
    value = tensor(net, x)
    old, new = axes_of(net, value, source), axes_of(net, value, destination)
    order = [a for a in range(net.rank(value)) if a not in old]
    for target, axis in sorted(zip(new, old)):
        order.insert(target, axis)
    return net.op("Transpose", value, perm=order)


@op("BroadcastTo")
def _broadcast_to(net: Net, x: Any, *, shape: Any) -> str:
    wanted = [1 if s is None or s == -1 else s for s in shape]
    return net.op("Expand", tensor(net, x), net.ints(wanted))


@op("Concatenate")
def _concatenate(net: Net, xs: Any, *, axis: int = 0) -> str:
    values = together(net, *xs)
    if axis is None:
        return net.op("Concat", *[flat(net, v) for v in values], axis=0)
    return net.op("Concat", *values, axis=axis_of(net, values[0], axis))


@op("Append")
def _append(net: Net, x1: Any, x2: Any, *, axis: Any = None) -> str:
    return _concatenate(net, [x1, x2], axis=axis)


@op("Stack")
def _stack(net: Net, x: Any, *, axis: int = 0) -> str:
    values = together(net, *x)
    at = axis if axis >= 0 else axis + net.rank(values[0]) + 1
    return net.op("Concat", *[net.op("Unsqueeze", v, net.ints([at])) for v in values], axis=at)


@op("Hstack")
def _hstack(net: Net, xs: Any) -> str:
    return _concatenate(net, xs, axis=1 if net.rank(tensor(net, xs[0])) > 1 else 0)


@op("Vstack")
def _vstack(net: Net, xs: Any) -> str:
    return (_stack if net.rank(tensor(net, xs[0])) == 1 else _concatenate)(net, xs, axis=0)


def _cut(net: Net, x: Any, cuts: Any, axis: int, *, uneven: bool = False) -> list[str]:
    value = tensor(net, x)
    at = axis_of(net, value, axis)
    if isinstance(cuts, int):
        size = fixed(net, x, at)
        if cuts < 1 or (size % cuts and not uneven):
            raise InputError(f"an axis of {size} cannot be divided by {cuts}")
        edges = [0, *np.cumsum([size // cuts + (i < size % cuts) for i in range(cuts)]).tolist()]
    else:
        edges = [0, *cuts, END]
    return [net.part(value, at, a, b) for a, b in pairwise(edges)]


@op("Split")
def _split(net: Net, x: Any, *, indices_or_sections: Any, axis: int = 0) -> list[str]:
    return _cut(net, x, indices_or_sections, axis)


@op("ArraySplit")
def _array_split(net: Net, x: Any, *, indices_or_sections: Any, axis: int = 0) -> list[str]:
    return _cut(net, x, indices_or_sections, axis, uneven=True)


@op("Unstack")
def _unstack(net: Net, x: Any, *, num: Any = None, axis: int = 0) -> list[str]:
    value = tensor(net, x)
    at = axis_of(net, value, axis)
    count = num if isinstance(num, int) else fixed(net, x, at)
    return [net.op("Squeeze", net.part(value, at, i, i + 1), net.ints([at])) for i in range(count)]


@op("Flip")
def _flip(net: Net, x: Any, *, axis: Any = None) -> str:
    value = tensor(net, x)
    axes = axes_of(net, value, axis)
    n = len(axes)
    return net.op("Slice", value, net.ints([-1] * n), net.ints([-END] * n), net.ints(axes), net.ints([-1] * n))


OPS["Fliplr"] = lambda net, x: _flip(net, x, axis=1)
OPS["Flipud"] = lambda net, x: _flip(net, x, axis=0)


@op("Rot90")
def _rot90(net: Net, array: Any, *, k: int = 1, axes: Any = (0, 1)) -> str:
    value = tensor(net, array)
    a, b = axes_of(net, value, list(axes))
    for _ in range(k % 4):
        value = _swapaxes(net, Value(_flip(net, Value(value), axis=b)), axis1=a, axis2=b)
    return value


@op("Roll")
def _roll(net: Net, x: Any, *, shift: Any, axis: Any = None) -> str:
    value = tensor(net, x)
    if axis is None:
        return net.op("Reshape", _roll(net, Value(flat(net, value)), shift=shift, axis=0), net.sizes(value))
    axes = axes_of(net, value, axis)
    shifts = [shift] * len(axes) if isinstance(shift, int) else list(shift)
    for by, at in zip(shifts, axes):
        size = net.sizes(value, at, at + 1)
        start = net.op("Mod", net.ints([-by]), size)
        tail = net.op("Slice", value, start, net.ints([END]), net.ints([at]))
        head = net.op("Slice", value, net.ints([0]), start, net.ints([at]))
        value = net.op("Concat", tail, head, axis=at)
    return value


@op("Repeat")
def _repeat(net: Net, x: Any, *, repeats: Any, axis: Any = None) -> str:
    value = tensor(net, x)
    if axis is None:
        value, axis = flat(net, value), 0
    at = axis_of(net, value, axis)
    if isinstance(repeats, (list, tuple)) and len(repeats) == 1:
        repeats = repeats[0]
    if isinstance(repeats, (list, tuple, np.ndarray)):
        if not all(isinstance(r, int) and 0 <= r < 1 << 16 for r in repeats) or sum(repeats) > 1 << 20:
            raise InputError("so many repetitions are not converted")
        index = np.repeat(np.arange(len(repeats)), repeats)
        return net.op("Gather", value, net.ints(index.tolist()), axis=at)
    if not isinstance(repeats, int):
        raise InputError("numbers of repetitions that are computed are not converted")
    spread = net.op("Unsqueeze", value, net.ints([at + 1]))
    spread = net.op("Tile", spread, net.ints([repeats if a == at + 1 else 1 for a in range(net.rank(spread))]))
    size = net.op("Mul", net.sizes(value, at, at + 1), net.ints([repeats]))
    parts = [net.sizes(value, 0, at)] * bool(at) + [size]
    parts += [net.sizes(value, at + 1)] * (at + 1 < net.rank(value))
    return net.op("Reshape", spread, net.joined(*parts))


@op("Tile")
def _tile(net: Net, x: Any, *, repeats: Any) -> str:
    value = tensor(net, x)
    counts = [repeats] if isinstance(repeats, int) else list(repeats)
    missing = len(counts) - net.rank(value)
    if missing > 0:
        value = net.op("Unsqueeze", value, net.ints(range(missing)))
    return net.op("Tile", value, net.ints([1] * -min(missing, 0) + counts))


@op("Pad")
def _pad(net: Net, x: Any, constant_values: Any = None, *, pad_width: Any, mode: str = "constant") -> str:
    value = tensor(net, x)
    rank = net.rank(value)
    given = (
        [[pad_width] * 2] * rank
        if isinstance(pad_width, int)
        else [list(p) if isinstance(p, (list, tuple)) else p for p in pad_width]
    )
    if len(given) == 1:
        given = given * rank
    if len(given) == 2 and all(isinstance(p, int) for p in given):
        given = [given] * rank
    pads = [p[0] for p in given] + [p[1] for p in given]
    if mode not in ("constant", "reflect", "symmetric") or any(not isinstance(p, int) or p < 0 for p in pads):
        raise InputError(f"padding of {str(pad_width)[:40]} in the mode {str(mode)[:20]} is not known")
    if mode == "constant":
        number = (
            like(net, value, 0) if constant_values is None else tensor(net, constant_values, net.graph.dtype(value))
        )
        return net.op("Pad", value, net.ints(pads), as_type(net, number, net.graph.dtype(value)))
    if mode == "reflect":
        return net.op("Pad", value, net.ints(pads), mode="reflect")
    for axis, (before, after) in enumerate(given):  # the edge itself comes twice
        parts = [_flip(net, Value(net.part(value, axis, 0, before)), axis=axis)] * bool(before) + [value]
        parts += [_flip(net, Value(net.part(value, axis, -after, END)), axis=axis)] * bool(after)
        value = net.op("Concat", *parts, axis=axis) if len(parts) > 1 else value
    return value


@op("Size")
def _size(net: Net, x: Any) -> str:
    return net.op("Cast", net.op("Size", tensor(net, x)), to=6)


@op("Ndim")
def _ndim(net: Net, x: Any) -> str:
    return net.graph.constant(np.array(net.rank(tensor(net, x)), np.int32), "rank")


@op("Meshgrid")
def _meshgrid(net: Net, *x: Any, indexing: str = "xy") -> list[str]:
    values = [flat(net, tensor(net, v)) for v in x]
    count = len(values)
    place = list(range(count))
    if indexing == "xy" and count > 1:
        place[:2] = [1, 0]
    spread = [
        net.op("Unsqueeze", v, net.ints([a for a in range(count) if a != p])) if count > 1 else v
        for v, p in zip(values, place)
    ]
    lengths = [net.sizes(v) for v in values]
    shape = net.joined(*[lengths[place[a]] for a in range(count)])
    return [net.op("Expand", v, shape) for v in spread]


@op("Tril")
def _tril(net: Net, x: Any, *, k: int = 0, upper: int = 0) -> str:
    value = tensor(net, x)
    kind = net.graph.dtype(value)
    inner = value if kind.name in ("float32", "int64", "bool") else as_type(net, value, np.int64)
    return as_type(net, net.op("Trilu", inner, net.graph.constant(np.array(k, np.int64), "k"), upper=upper), kind)


OPS["Triu"] = lambda net, x, k=0: _tril(net, x, k=k, upper=1)


@op("Diagonal")
def _diagonal(net: Net, x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> str:
    value = tensor(net, x)
    a, b = axes_of(net, value, [axis1, axis2])
    rest = [i for i in range(net.rank(value)) if i not in (a, b)]
    rows, columns = fixed(net, x, a), fixed(net, x, b)
    count = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    if count < 1:
        raise InputError(f"there is no diagonal {offset}")
    places = np.stack([np.arange(count) + max(-offset, 0), np.arange(count) + max(offset, 0)], 1).astype(np.int64)
    first = net.op("GatherND", net.transpose(value, [a, b, *rest]), net.graph.constant(places, "places"))
    return net.transpose(first, [*range(1, 1 + len(rest)), 0])


@op("Trace")
def _trace(net: Net, x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> str:
    line = _diagonal(net, x, offset=offset, axis1=axis1, axis2=axis2)
    return net.op("ReduceSum", line, net.ints([-1]), keepdims=0)


# Places


@op("Take")
def _take(net: Net, x: Any, indices: Any, *, axis: Any = None) -> str:
    value = tensor(net, x)
    if axis is None:
        value, axis = flat(net, value), 0
    places = tensor(net, indices)
    return net.op("Gather", value, as_type(net, places, np.int64), axis=axis_of(net, value, axis))


@op("TakeAlongAxis")
def _take_along(net: Net, x: Any, indices: Any, *, axis: Any = None) -> str:
    value, places = tensor(net, x), as_type(net, tensor(net, indices), np.int64)
    if axis is None:
        return net.op("GatherElements", flat(net, value), flat(net, places), axis=0)
    at = axis_of(net, value, axis)
    one = [1] * net.rank(value)  # the other axes fit each other

    def fitted(first: str, second: str) -> str:
        parts = [net.sizes(second, 0, at)] * bool(at) + [net.ints([1])]
        parts += [net.sizes(second, at + 1)] * (at + 1 < len(one))
        return net.op("Expand", first, net.joined(*parts))

    return net.op("GatherElements", fitted(value, places), fitted(places, value), axis=at)


@op("GetItem")
def _get(net: Net, x: Any, key: Any) -> str:
    value = tensor(net, x)
    keys = list(key) if isinstance(key, (list, tuple)) else [key]
    rank = net.rank(value)
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        filled = rank - sum(k is not None and k is not Ellipsis for k in keys)
        keys[at : at + 1] = [slice(None)] * filled
    axis, gone, new, place = 0, [], [], 0
    starts: list[tuple[int, int, int, int]] = []
    for one in keys:
        if one is None:
            new.append(place)
            place += 1
            continue
        if axis >= rank:
            raise InputError("takes more axes than there are")
        if isinstance(one, int) and not isinstance(one, bool):
            starts.append((axis, one, one + 1 or END, 1))
            gone.append(axis)
        elif isinstance(one, slice):
            if not all(v is None or isinstance(v, int) for v in (one.start, one.stop, one.step)):
                raise InputError("a part whose ends are computed is not converted")
            step = one.step or 1
            start = one.start if one.start is not None else (0 if step > 0 else -1)
            stop = one.stop if one.stop is not None else (END if step > 0 else -END)
            if (start, stop, step) != (0, END, 1):
                starts.append((axis, start, stop, step))
            place += 1
        else:
            raise InputError("places that are computed are not converted; use keras.ops.take")
        axis += 1
    if starts:
        value = net.op("Slice", value, *(net.ints([s[i] for s in starts]) for i in (1, 2, 0, 3)))
    value = net.op("Squeeze", value, net.ints(gone)) if gone else value
    value = net.op("Unsqueeze", value, net.ints(new)) if new else value
    return value if value != tensor(net, x) else net.op("Identity", value)


@op("Slice")
def _slice(net: Net, inputs: Any, start_indices: Any, *, shape: Any) -> str:
    value = tensor(net, inputs)
    start = as_type(net, tensor(net, start_indices), np.int64)
    end = net.op("Add", start, net.ints([int(s) for s in shape]))
    return net.op("Slice", value, start, end, net.ints(range(net.rank(value))))


@op("SliceUpdate")
def _slice_update(net: Net, inputs: Any, start_indices: Any, updates: Any) -> str:
    value, new = together(net, inputs, updates)
    start = as_type(net, tensor(net, start_indices), np.int64)
    rest = net.op("Sub", net.op("Sub", net.sizes(value), start), net.sizes(new))
    pads = net.joined(start, rest)
    inside = net.op("Pad", net.op("Expand", net.graph.constant(np.array(1, np.int32), "one"), net.sizes(new)), pads)
    return net.where(net.op("Cast", inside, to=9), net.op("Pad", new, pads), value)


@op("ScatterUpdate")
def _scatter_update(net: Net, inputs: Any, indices: Any, updates: Any, *, reduction: Any = None) -> str:
    how = {None: "none", "add": "add", "max": "max", "min": "min", "mul": "mul"}.get(reduction)
    if how is None:
        raise InputError(f"the reduction {str(reduction)[:40]} is not known")
    value, new = together(net, inputs, updates)
    return net.op("ScatterND", value, as_type(net, tensor(net, indices), np.int64), new, reduction=how)


@op("Scatter")
def _scatter(net: Net, indices: Any, values: Any, *, shape: Any) -> str:
    new = tensor(net, values)
    empty = net.op("Expand", like(net, new, 0), net.ints([int(s) for s in shape]))
    return net.op("ScatterND", empty, as_type(net, tensor(net, indices), np.int64), new, reduction="add")


@op("SegmentSum")
def _segment_sum(net: Net, data: Any, segment_ids: Any, *, num_segments: Any = None, sorted: bool = False) -> str:
    return _segments(net, data, segment_ids, num_segments, "add", 0.0)


def _segments(net: Net, data: Any, places: Any, count: Any, how: str, empty: float) -> str:
    if not isinstance(count, int):
        raise InputError("the number of segments is not in the file")
    value = tensor(net, data)
    shape = net.joined(net.ints([count]), net.sizes(value, 1)) if net.rank(value) > 1 else net.ints([count])
    start = net.op("Expand", like(net, value, empty), shape)
    index = net.op("Unsqueeze", as_type(net, tensor(net, places), np.int64), net.ints([1]))
    return net.op("ScatterND", start, index, value, reduction=how)


LIMIT = float(np.finfo(np.float32).max)
OPS["SegmentMax"] = lambda net, data, segment_ids, num_segments=None, sorted=False: _segments(
    net, data, segment_ids, num_segments, "max", -LIMIT
)
OPS["SegmentMin"] = lambda net, data, segment_ids, num_segments=None, sorted=False: _segments(
    net, data, segment_ids, num_segments, "min", LIMIT
)


@op("OneHot")
def _one_hot(net: Net, x: Any, *, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> str:
    indices = as_type(net, tensor(net, x), np.int64)
    inside = net.op("And", net.op("GreaterOrEqual", indices, like(net, indices, 0)),
                    net.op("Less", indices, like(net, indices, num_classes)))  # fmt: skip
    safe = net.where(inside, indices, like(net, indices, num_classes))  # ONNX counts negative ones from the end
    hot = net.op(
        "OneHot", safe, net.ints([num_classes + 1]), net.graph.constant(np.array([0, 1], np.float32), "off_on")
    )
    hot = net.part(hot, net.rank(hot) - 1, 0, num_classes)
    at = axis % net.rank(hot)
    order = [a for a in range(net.rank(hot) - 1)]
    order.insert(at, net.rank(hot) - 1)
    hot = net.transpose(hot, order)
    return cast(net, Value(hot), dtype=dtype) if dtype else hot


@op("MultiHot")
def _multi_hot(
    net: Net, inputs: Any, *, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False
) -> str:
    rank = net.rank(tensor(net, inputs))
    hot = _one_hot(net, inputs, num_classes=num_classes, axis=axis if axis != -1 else -1, dtype=dtype)
    return net.op("ReduceMax", hot, net.ints([1 if rank > 1 else 0]), keepdims=0)


@op("Digitize")
def _digitize(net: Net, x: Any, bins: Any) -> str:
    a, edges = together(net, x, bins if isinstance(bins, Value) else np.asarray(bins), real=True)
    above = net.op("GreaterOrEqual", net.op("Unsqueeze", a, net.ints([-1])), edges)
    return net.op("ReduceSum", net.op("Cast", above, to=6), net.ints([-1]), keepdims=0)


@op("SearchSorted")
def _search(net: Net, sorted_sequence: Any, values: Any, *, side: str = "left") -> str:
    edges, a = together(net, sorted_sequence, values)
    above = net.op("Greater" if side == "left" else "GreaterOrEqual", net.op("Unsqueeze", a, net.ints([-1])), edges)
    return net.op("ReduceSum", net.op("Cast", above, to=6), net.ints([-1]), keepdims=0)


@op("IsIn")
def _is_in(net: Net, x1: Any, x2: Any, *, assume_unique: bool = False, invert: bool = False) -> str:
    a, members = together(net, x1, x2 if isinstance(x2, Value) else np.asarray(x2))
    same = net.op("Equal", net.op("Unsqueeze", a, net.ints([-1])), flat(net, members))
    found = over(net, "ReduceMax", same, -1)
    return net.op("Not", found) if invert else found
