"""Caffe's layers that move values, change shapes, choose and reduce."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from sensorium.formats.caffe.context import LAST, MANY, Context, layer


@layer("Concat", bottoms=MANY)
def concat(c: Context) -> str:
    param = c.layer.param("concat_param")
    axis = c.axis(param.whole("concat_dim", 1) if "concat_dim" in param else param.whole("axis", 1))
    return str(c.add("Concat", *c.inputs, axis=axis))


@layer("Slice")
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


@layer("Flatten")
def flatten(c: Context) -> str:
    param = c.layer.param("flatten_param")
    start, end = c.axis(param.whole("axis", 1)), c.axis(param.whole("end_axis", -1))
    if end < start:
        raise c.layer.fault(f"its axes end ({end}) before they begin ({start})")
    return _reshaped(c, start, [-1], end + 1)


@layer("Reshape")
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


@layer("Permute")
def permute(c: Context) -> str:
    order = c.layer.param("permute_param").whole_list("order")
    if len(set(order)) != len(order) or any(not 0 <= a < c.rank() for a in order):
        raise c.layer.fault(f"order {order[:16]} of {c.rank()} axes")
    return str(c.add("Transpose", c.x, perm=order + [a for a in range(c.rank()) if a not in order]))


@layer("Crop", bottoms=2)
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


@layer("Parameter", blobs=1)
def parameter(c: Context) -> str:
    """A trained array of its own."""
    shape = c.layer.param("parameter_param").block("shape").whole_list("dim")
    return c.constant(c.blob(0, shape or c.layer.blobs[0].shape, "array"), "parameter")


@layer("BatchReindex", bottoms=2)
def batch_reindex(c: Context) -> str:
    """The pictures of the first bottom that the second names."""
    return str(c.add("Gather", c.x, c.graph.add("Cast", c.inputs[1], to=7), axis=0))


@layer("Filter", bottoms=MANY)
def filtered(c: Context) -> list[str]:
    """The pictures of each bottom for which the last bottom is not zero."""
    if len(c.inputs) < 2 or len(c.layer.tops) != len(c.inputs) - 1:
        raise c.layer.fault("needs what is filtered, and what chooses")
    chosen = c.graph.add("Cast", c.graph.add("Reshape", c.inputs[-1], c.graph.ints(-1)), to=9)
    found = [c.graph.add("Compress", x, chosen, axis=0) for x in c.inputs[:-1]]
    for i, y in enumerate(found):
        c.graph.tell(y, c.shape(i))
    return found


@layer("Tile")
def tile(c: Context) -> str:
    param = c.layer.param("tile_param")
    repeats = [1] * c.rank()
    repeats[c.axis(param.whole("axis", 1))] = param.whole("tiles")
    if not 0 < max(repeats) < 1 << 20 or min(repeats) < 1:
        raise c.layer.fault(f"tiles: {param.whole('tiles')}")
    return str(c.add("Tile", c.x, c.graph.ints(*repeats)))


@layer("ShuffleChannel")
def shuffle_channel(c: Context) -> str:
    groups, channels = c.layer.param("shuffle_channel_param").whole("group", 1), c.shape()[1]
    if groups < 1 or channels % groups:
        raise c.layer.fault(f"{channels} channels in {groups} groups")
    size = c.graph.add("Shape", c.x)
    inner = [c.graph.ints(0, groups, channels // groups), c.graph.add("Shape", c.x, start=2, end=c.rank())]
    y = c.add("Reshape", c.x, c.graph.add("Concat", *inner, axis=0))
    y = c.add("Transpose", y, perm=[0, 2, 1, *range(3, c.rank() + 1)])
    return str(c.add("Reshape", y, size))


@layer("ArgMax")
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


@layer("Reduction")
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
