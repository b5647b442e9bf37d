"""What moves values and changes shapes: reshape, slices, joins, look-ups, padding, resizing, sequences."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from sensorium.formats.mxnet.call import Call, Misfit, operator

FAR = (1 << 63) - 1
ZEROS = 1 << 24  # elements of an array that only a shape describes
TYPES = {"float32": np.float32, "float64": np.float32, "float16": np.float32, "uint8": np.uint8, "int32": np.int32,
    "int8": np.int8, "int64": np.int64, "bool": np.bool_}  # fmt: skip


def _kind(call: Call, key: str = "dtype", default: str = "float32") -> Any:
    """A type; floating point is always float32 here."""
    name = call.text(key, default)
    if name not in TYPES:
        raise call.fault(f"{key}={name[:20]} is not supported")
    if name in ("float16", "float64"):
        call.graph.notes.append(f"layer '{call.name}': computed in float32 instead of {name}")
    return TYPES[name]


# Shapes

Piece = int | tuple[int, ...]  # a length (-1: what is left), or axes of the input whose product it is


def _to_pieces(call: Call, value: str, pieces: list[Piece]) -> str:
    rank = call.rank(value)
    stored = call.graph.constants.get(value)
    if stored is not None:
        sizes = [p if isinstance(p, int) else int(np.prod([stored.shape[a] for a in p])) for p in pieces]
        try:
            return call.graph.constant(stored.reshape(sizes), call.name)
        except ValueError:
            raise call.fault(f"{list(stored.shape)} cannot be given the shape {sizes}") from None
    if sum(p == -1 for p in pieces) > 1:
        raise call.fault("more than one length is left open")
    if all(isinstance(p, int) or p == (i,) for i, p in enumerate(pieces)):
        return str(call.add("Reshape", value, call.ints(*(p if isinstance(p, int) else 0 for p in pieces))))
    dims = call.dims(value)
    parts = []
    for piece in pieces:
        if isinstance(piece, int):
            parts.append(call.ints(piece))
        elif any(not 0 <= a < rank for a in piece):
            raise call.fault("its shape needs more axes than its input has")
        else:
            size = call.graph.add("Gather", dims, call.ints(*piece))
            parts.append(str(call.graph.add("ReduceProd", size, keepdims=1)) if len(piece) > 1 else str(size))
    shape = call.graph.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
    return str(call.add("Reshape", value, shape))


@operator("Reshape", "reshape")
def reshape(call: Call) -> str:
    rank = call.rank(call.x)
    call.expect(1)
    codes = call.wholes("shape")
    if not codes and call.given("target_shape"):  # before 0.8: 0 is what is left
        codes = [-1 if c == 0 else c for c in call.wholes("target_shape")]
        if call.flag("keep_highest"):
            codes[:1] = [0]
        return _to_pieces(call, call.x, [c if c else (0,) for c in codes])
    call.used.update(("target_shape", "keep_highest"))
    back = call.flag("reverse")
    if not codes:
        raise call.fault("shape=() is not supported")
    if back:
        if any(c < -1 for c in codes):
            raise call.fault("reverse=True with the codes -2, -3 and -4 is not supported")
        pieces: list[Piece] = []
        for i, code in enumerate(codes):
            at = rank - len(codes) + i
            if code == 0 and at < 0:
                raise call.fault(f"shape={codes} for an input with {rank} axes")
            pieces.append((at,) if code == 0 else code)
        return _to_pieces(call, call.x, pieces)
    pieces, at, i = [], 0, 0
    while i < len(codes):
        code = codes[i]
        i += 1
        if code == 0:
            pieces.append((at,))
            at += 1
        elif code == -2:
            pieces += [(a,) for a in range(at, rank)]
            at = rank
        elif code == -3:
            pieces.append((at, at + 1))
            at += 2
        elif code == -4:
            if i + 2 > len(codes) or at >= rank:
                raise call.fault(f"shape={codes}: -4 needs two lengths after it")
            pieces += _divided(call, codes[i], codes[i + 1], call.shape(call.x)[at])
            i, at = i + 2, at + 1
        elif code < -4:
            raise call.fault(f"shape={codes}: the code {code} is not known")
        else:
            pieces.append(code)
            at += 1
        if at > rank and code in (0, -3):
            raise call.fault(f"shape={codes} for an input with {rank} axes")
    return _to_pieces(call, call.x, pieces)


def _divided(call: Call, first: int, second: int, size: int) -> list[Piece]:
    """One axis as two, one length of which may be left open (-1)."""
    known = [n for n in (first, second) if n != -1]
    if (
        not known
        or any(n < 1 for n in known)
        or size % int(np.prod(known))
        or (len(known) == 2 and first * second != size)
    ):
        raise call.fault(f"an axis of {size} cannot be divided into {first} and {second}")
    return [first, second]


@operator("_npx_reshape", "_npi_reshape", "_np_reshape")
def numpy_reshape(call: Call) -> str:
    codes = call.wholes("newshape")
    if call.text("order", "C") != "C" or call.flag("reverse"):
        raise call.fault("another order than C is not supported")
    rank, shape = call.rank(call.x), call.shape(call.x)
    if call.op != "_npx_reshape":
        if any(c < -1 for c in codes):
            raise call.fault(f"newshape={codes}")
        return _to_pieces(call, call.x, list(codes))
    pieces: list[Piece] = []
    at, i = 0, 0
    while i < len(codes):
        code = codes[i]
        i += 1
        step = 1
        if code in (-2, -3, -5, -6) and at + (code == -5) >= rank:
            raise call.fault(f"newshape={codes} for an input with {rank} axes")
        if code == -2:
            pieces.append((at,))
        elif code == -3:
            if shape[at] != 1:
                raise call.fault(f"newshape={codes}: axis {at} has {shape[at]} values, not one")
        elif code == -4:
            pieces += [(a,) for a in range(at, rank)]
            step = rank - at
        elif code == -5:
            pieces.append((at, at + 1))
            step = 2
        elif code == -6:
            if i + 2 > len(codes):
                raise call.fault(f"newshape={codes}: -6 needs two lengths after it")
            pieces += _divided(call, codes[i], codes[i + 1], shape[at])
            i += 2
        elif code < -6:
            raise call.fault(f"newshape={codes}: the code {code} is not known")
        else:
            pieces.append(code)
        at += step
    return _to_pieces(call, call.x, pieces)


@operator("Flatten", "flatten", "_npx_batch_flatten")
def flatten(call: Call) -> str:
    return call.x if call.rank(call.x) == 2 else str(call.add("Flatten", call.x))


@operator("reshape_like", "_npx_reshape_like")
def reshape_like(call: Call) -> str:
    call.expect(2)
    for key in ("lhs_begin", "lhs_end", "rhs_begin", "rhs_end"):
        call.refuse(key)
    return str(call.add("Reshape", call.x, call.dims(call.input(1))))


@operator("transpose", "_npi_transpose", "_np_transpose")
def transpose(call: Call) -> str:
    rank = call.rank(call.x)
    axes = [call.axis(a, rank) for a in call.wholes("axes")] or list(range(rank))[::-1]
    if sorted(axes) != list(range(rank)):
        raise call.fault(f"axes={axes} for an input with {rank} axes")
    return str(call.add("Transpose", call.x, perm=axes))


@operator("SwapAxis", "swapaxes", "_npi_swapaxes")
def swap_axes(call: Call) -> str:
    rank = call.rank(call.x)
    a = call.axis(call.whole("dim1", 0), rank)
    b = call.axis(call.whole("dim2", 0), rank)
    axes = list(range(rank))
    axes[a], axes[b] = b, a
    return str(call.add("Transpose", call.x, perm=axes))


@operator("expand_dims", "_npi_expand_dims")
def expand_dims(call: Call) -> str:
    return str(call.add("Unsqueeze", call.x, call.ints(call.axis(call.whole("axis"), call.rank(call.x) + 1))))


@operator("squeeze", "_npi_squeeze", "_np_squeeze")
def squeeze(call: Call) -> str:
    shape = call.shape(call.x)
    axes = [call.axis(a, len(shape)) for a in call.wholes("axis")]
    if not axes:
        axes = [i for i, size in enumerate(shape) if size == 1 and i > 0]
        if shape and shape[0] == 1:
            raise call.fault("without an axis it would take away the batch, too")
        call.pin()
    if any(shape[a] != 1 for a in axes):
        raise call.fault(f"axis {axes} of an input of shape {list(shape)}")
    return str(call.add("Squeeze", call.x, call.ints(*axes)))


@operator("broadcast_axis", "broadcast_axes")
def broadcast_axis(call: Call) -> str:
    rank = call.rank(call.x)
    axes, sizes = call.wholes("axis"), call.wholes("size", least=1)
    if len(axes) != len(sizes):
        raise call.fault("as many sizes as axes are needed")
    shape = [1] * rank
    for a, size in zip(axes, sizes):
        shape[call.axis(a, rank)] = size
    return str(call.add("Expand", call.x, call.ints(*shape)))


@operator("broadcast_to", "_npi_broadcast_to", "_np_broadcast_to")
def broadcast_to(call: Call) -> str:
    shape = call.wholes("shape", least=0)
    return str(call.add("Expand", call.x, call.ints(*(size or 1 for size in shape))))


@operator("broadcast_like")
def broadcast_like(call: Call) -> str:
    call.expect(2)
    call.refuse("lhs_axes")
    call.refuse("rhs_axes")
    return str(call.add("Expand", call.x, call.dims(call.input(1))))


@operator("shape_array", "_npx_shape_array")
def shape_array(call: Call) -> str:
    return call.dims(call.x)


@operator("size_array")
def size_array(call: Call) -> str:
    return str(call.add("Reshape", call.add("Size", call.x), call.ints(1)))


# Joins and slices


@operator("Concat", "concat", "_rnn_param_concat", "_npi_concatenate", "_np_concatenate", "_npi_concat")
def concat(call: Call) -> str:
    axis = call.whole("axis", 0) if call.op.startswith("_np") else call.whole("dim", 1)
    arrays = [call.graph.constants[value] for value in call.inputs if value in call.graph.constants]
    if not call.inputs:
        raise call.fault("it joins nothing")
    if len(arrays) == len(call.inputs):
        try:
            return call.graph.constant(np.concatenate(arrays, axis), call.name)
        except ValueError as error:
            raise call.fault(str(error)) from None
    return str(call.add("Concat", *call.inputs, axis=call.axis(axis, call.rank(call.x))))


@operator("stack", "_npi_stack")
def stack(call: Call) -> str:
    axis = call.ints(call.axis(call.whole("axis", 0), call.rank(call.x) + 1))
    parts = [call.add("Unsqueeze", value, axis) for value in call.inputs]
    return str(call.add("Concat", *parts, axis=call.axis(call.whole("axis", 0), call.rank(call.x) + 1)))


@operator("SliceChannel", "split")
def split(call: Call) -> tuple[str, ...]:
    count = call.whole("num_outputs")
    rank = call.rank(call.x)
    axis = call.axis(call.whole("axis", 1), rank)
    size = call.shape(call.x)[axis]
    alone = call.flag("squeeze_axis")
    if not 1 <= count <= 10_000:
        raise call.fault(f"num_outputs={count}")
    if size % count or (alone and size != count):
        message = str(call.fault(f"axis {axis} of {size} values cannot be split into {count}"))
        raise Misfit(message, size, count if alone else size + count - size % count)
    names = {e.name for e in call.graph.inputs}
    if alone and names:
        call.pin()
    if count == 1:
        parts = [call.x]
    else:
        made = call.add("Split", call.x, axis=axis, num_outputs=count, outputs=count)
        parts = list(made)
    if alone:
        parts = [str(call.add("Squeeze", part, call.ints(axis))) for part in parts]
    return tuple(parts)


@operator("_split_v2", "_npi_split", "_npi_array_split")
def split_at(call: Call) -> tuple[str, ...]:
    rank = call.rank(call.x)
    axis = call.axis(call.whole("axis", 0), rank)
    sections, places = call.whole("sections", 0), call.wholes("indices", least=0)
    alone = call.flag("squeeze_axis")
    size = call.shape(call.x)[axis]
    if sections > 0:
        if sections > 10_000 or size % sections:
            raise call.fault(f"axis {axis} of {size} values cannot be split into {sections}")
        if sections == 1:
            return (call.x,)
        parts = list(call.add("Split", call.x, axis=axis, num_outputs=sections, outputs=sections))
    else:
        if places[:1] == [0]:
            places = places[1:]
        bounds = [0, *places, FAR]
        parts = [_cut(call, call.x, [a], [b], [axis]) for a, b in pairwise(bounds)]
    if alone:
        parts = [str(call.add("Squeeze", part, call.ints(axis))) for part in parts]
    return tuple(parts)


def _cut(call: Call, x: str, begin: list[int], end: list[int], axes: list[int], step: list[int] | None = None) -> str:
    more = [call.ints(*step)] if step else []
    return str(call.add("Slice", x, call.ints(*begin), call.ints(*end), call.ints(*axes), *more))


@operator("slice", "crop", "_npi_slice", "_npx_slice")
def slice_(call: Call) -> str:
    begin, end, step = (call.wholes_or_none(key) for key in ("begin", "end", "step"))
    rank = call.rank(call.x)
    if not len(begin) == len(end) <= rank or len(step) not in (0, len(begin)):
        raise call.fault(f"begin and end for an input with {rank} axes")
    steps = [s or 1 for s in step] or [1] * len(begin)
    starts = [b if b is not None else (0 if s > 0 else FAR) for b, s in zip(begin, steps)]
    ends = [e if e is not None else (FAR if s > 0 else -FAR) for e, s in zip(end, steps)]
    return _cut(call, call.x, starts, ends, list(range(len(begin))), steps)


@operator("slice_axis")
def slice_axis(call: Call) -> str:
    axis = call.axis(call.whole("axis"), call.rank(call.x))
    begin, end = call.whole("begin"), call.whole_or_none("end")
    size = call.shape(call.x)[axis]
    if (end is not None and end > size) or abs(begin) > size:
        raise Misfit(str(call.fault(f"{begin} to {end} of {size} values")), size, max(abs(begin), end or 0))
    return _cut(call, call.x, [begin], [FAR if end is None else end], [axis])


@operator("slice_like")
def slice_like(call: Call) -> str:
    call.expect(2)
    x, like = call.inputs
    axes = [call.axis(a, call.rank(x)) for a in call.wholes("axes")] or list(range(call.rank(x)))
    if any(a >= call.rank(like) for a in axes):
        raise call.fault("its inputs have different numbers of axes")
    ends = call.graph.add("Gather", call.dims(like), call.ints(*axes))
    return str(call.add("Slice", x, call.ints(*[0] * len(axes)), ends, call.ints(*axes)))


@operator("Crop")
def crop(call: Call) -> str:
    """The height and width of a picture, to a size (`h_w`) or to that of a second input."""
    call.expect(1, 2)
    x = call.x
    if call.rank(x) != 4:
        raise call.fault("an input with other than 4 axes")
    offset, size = call.wholes("offset", (0, 0), 0), call.wholes("h_w", (0, 0), 0)
    centre = call.flag("center_crop")
    if len(offset) != 2 or len(size) != 2:
        raise call.fault("offset and h_w are two numbers each")
    wanted = call.dims(call.input(1), 2, 4) if len(call.inputs) == 2 else call.ints(*size)
    if centre:
        spare = call.graph.add("Sub", call.dims(x, 2, 4), wanted)
        start = str(call.graph.add("Div", spare, call.ints(2)))
    else:
        start = call.ints(*offset)
    return str(call.add("Slice", x, start, call.graph.add("Add", start, wanted), call.ints(2, 3)))


@operator("reverse", "flip", "_npi_flip")
def reverse(call: Call) -> str:
    axes = [call.axis(a, call.rank(call.x)) for a in call.wholes("axis")]
    return _cut(call, call.x, [-1] * len(axes), [-FAR] * len(axes), axes, [-1] * len(axes))


@operator("tile", "_npi_tile")
def tile(call: Call) -> str:
    counts = call.wholes("reps", least=0)
    rank = call.rank(call.x)
    x = call.x
    if len(counts) > rank:
        x = call.add("Unsqueeze", x, call.ints(*range(len(counts) - rank)))
    counts = [1] * (rank - len(counts)) + counts
    return str(call.add("Tile", x, call.ints(*counts)))


@operator("repeat", "_np_repeat", "_npi_repeat")
def repeat(call: Call) -> str:
    count = call.whole("repeats")
    axis = call.whole_or_none("axis")
    x = call.x if axis is not None else str(call.add("Reshape", call.x, call.ints(-1)))
    rank = call.rank(x)
    axis = call.axis(axis or 0, rank)
    if count < 1:
        raise call.fault(f"repeats={count}")
    apart = call.add("Unsqueeze", x, call.ints(axis + 1))
    tiled = call.add("Tile", apart, call.ints(*(count if i == axis + 1 else 1 for i in range(rank + 1))))
    pieces = [call.ints(0)] * axis + [call.ints(-1)]
    rest = [call.dims(x, axis + 1)] if axis + 1 < rank else []
    shape = call.graph.add("Concat", *pieces, *rest, axis=0) if len(pieces) + len(rest) > 1 else pieces[0]
    return str(call.add("Reshape", tiled, shape))


@operator("depth_to_space", "space_to_depth")
def depth_and_space(call: Call) -> str:
    op = "DepthToSpace" if call.op == "depth_to_space" else "SpaceToDepth"
    return str(call.add(op, call.x, blocksize=call.whole("block_size")))


@operator("Pad", "pad", "_npi_pad")
def pad(call: Call) -> str:
    if call.op == "_npi_pad":
        raise call.fault("is not supported")
    widths = call.wholes("pad_width", least=0)
    mode = call.text("mode", None, ("constant", "edge", "reflect"))
    if len(widths) != 2 * call.rank(call.x):
        raise call.fault(f"pad_width={widths} for an input with {call.rank(call.x)} axes")
    number = call.number("constant_value", 0.0)
    value = call.number_like(number, call.x) if mode == "constant" else ""
    return str(call.add("Pad", call.x, call.ints(*widths[::2], *widths[1::2]), value, mode=mode))


# Look-ups


def _index(call: Call, value: str, size: str, mode: str) -> str:
    """Whole numbers below a size, however the array writes them."""
    index = call.cast(value, np.int64)
    if mode == "wrap":
        return str(call.add("Mod", index, size))
    return str(call.add("Min", call.add("Max", index, call.ints(0)), call.graph.add("Sub", size, call.ints(1))))


@operator("take", "_npi_take")
def take(call: Call) -> str:
    call.expect(2)
    mode = call.text("mode", "clip", ("clip", "wrap", "raise"))
    axis = call.axis(call.whole("axis", 0), call.rank(call.x))
    index = _index(call, call.input(1), call.dims(call.x, axis, axis + 1), mode)
    if call.rank(index) != call.rank(call.input(1)):
        index = call.add("Reshape", index, call.dims(call.input(1)))
    return str(call.add("Gather", call.x, index, axis=axis))


@operator("pick", "_npx_pick", "choose_element_0index")
def pick(call: Call) -> str:
    call.expect(2)
    rank = call.rank(call.x)
    axis = call.axis(call.whole("axis", -1), rank)
    keep, mode = call.flag("keepdims"), call.text("mode", "clip", ("clip", "wrap"))
    index = call.input(1)
    if call.rank(index) == rank - 1:
        index = call.add("Unsqueeze", index, call.ints(axis))
    index = _index(call, index, call.dims(call.x, axis, axis + 1), mode)
    found = call.add("GatherElements", call.x, index, axis=axis)
    return str(found if keep else call.add("Squeeze", found, call.ints(axis)))


@operator("batch_take")
def batch_take(call: Call) -> str:
    call.expect(2)
    index = call.add("Unsqueeze", call.input(1), call.ints(1))
    index = _index(call, index, call.dims(call.x, 1, 2), "clip")
    return str(call.add("Squeeze", call.add("GatherElements", call.x, index, axis=1), call.ints(1)))


@operator("gather_nd", "_npx_gather_nd")
def gather_nd(call: Call) -> str:
    call.expect(2)
    index = call.cast(call.input(1), np.int64)
    rank = call.rank(index)
    return str(call.add("GatherND", call.x, call.add("Transpose", index, perm=[*range(1, rank), 0])))


@operator("one_hot", "_npx_one_hot")
def one_hot(call: Call) -> str:
    depth, kind = call.whole("depth"), _kind(call)
    if not 1 <= depth <= ZEROS:
        raise call.fault(f"depth={depth}")
    on, off = (
        call.graph.constant(np.array(call.number(k, d)).astype(kind))
        for k, d in (("on_value", 1.0), ("off_value", 0.0))
    )
    index = call.add("Unsqueeze", call.cast(call.x, np.int64), call.ints(-1))
    return str(call.add("Where", call.add("Equal", index, call.constant(np.arange(depth))), on, off))


@operator("topk", "_npx_topk")
def top_k(call: Call) -> str | tuple[str, ...]:
    wanted = call.text("ret_typ", "indices", ("indices", "value", "both", "mask"))
    return _sorted(call, wanted, call.flag("is_ascend"), call.whole("k", 1))


@operator("sort", "_npi_sort")
def sort(call: Call) -> str | tuple[str, ...]:
    return _sorted(call, "value", call.flag("is_ascend", True), 0)


@operator("argsort", "_npi_argsort")
def arg_sort(call: Call) -> str | tuple[str, ...]:
    return _sorted(call, "indices", call.flag("is_ascend", True), 0)


def _sorted(call: Call, wanted: str, ascending: bool, count: int) -> str | tuple[str, ...]:
    kind = _kind(call)
    x, axis = call.x, call.whole_or_none("axis") if "axis" in call.attributes else -1
    if axis is None:
        x, axis = str(call.add("Reshape", x, call.ints(-1))), 0
    axis = call.axis(axis, call.rank(x))
    size = call.shape(x)[axis]
    if count > size:
        raise Misfit(str(call.fault(f"k={count} of {size} values")), size, count)
    number = call.ints(count) if count > 0 else call.dims(x, axis, axis + 1)
    values, places = call.add("TopK", x, number, axis=axis, largest=int(not ascending), sorted=1, outputs=2)
    if wanted == "value":
        return str(values)
    if wanted == "mask":
        full = call.add("Expand", call.number_like(0, x), call.dims(x))
        ones = call.add("Expand", call.number_like(1, x), call.dims(places))
        return str(call.add("ScatterElements", full, places, ones, axis=axis))
    found = call.cast(places, kind)
    return found if wanted == "indices" else (str(values), found)


# Arrays out of nothing


def _filled(call: Call, value: float) -> str:
    shape = [size if size > 0 else 1 for size in call.wholes("shape", (1,))]
    if int(np.prod(np.array(shape, np.float64))) > ZEROS or len(shape) > 16:
        raise call.fault(f"an array of shape {shape[:16]} is too large")
    return call.graph.constant(np.full(shape, value, _kind(call)), call.name)


@operator("_zeros", "_zeros_without_dtype", "_npi_zeros")
def zeros(call: Call) -> str:
    return _filled(call, 0)


@operator("_ones", "_npi_ones")
def ones(call: Call) -> str:
    return _filled(call, 1)


@operator("_full", "_npi_full")
def full(call: Call) -> str:
    return _filled(call, call.number("value"))


@operator("zeros_like", "ones_like", "_npi_zeros_like", "_npi_ones_like")
def filled_like(call: Call) -> str:
    return str(call.add("Expand", call.number_like(float("ones" in call.op), call.x), call.dims(call.x)))


@operator("_npi_full_like")
def full_like(call: Call) -> str:
    call.refuse("dtype")
    return str(call.add("Expand", call.number_like(call.number("fill_value"), call.x), call.dims(call.x)))


@operator("_arange", "_npi_arange")
def arange(call: Call) -> str:
    start, stop, step = (
        call.number("start"),
        call.number("stop") if call.given("stop") else None,
        call.number("step", 1.0),
    )
    times = call.whole("repeat", 1)
    call.refuse("infer_range")
    if stop is None:
        start, stop = 0.0, start
    if step == 0 or not 0 <= (stop - start) / step * times <= ZEROS or times < 1:
        raise call.fault("a range that is not possible")
    return call.graph.constant(np.repeat(np.arange(start, stop, step), times).astype(_kind(call)), call.name)


@operator("_contrib_arange_like", "_npx_arange_like")
def arange_like(call: Call) -> str:
    start, step, axis = call.number("start", 0.0), call.number("step", 1.0), call.whole_or_none("axis")
    if call.whole("repeat", 1) != 1:
        raise call.fault("repeat is not supported")
    size = (
        call.add("Size", call.x)
        if axis is None
        else call.dims(call.x, (a := call.axis(axis, call.rank(call.x))), a + 1)
    )
    none = call.graph.constant(np.zeros(0, np.int64))
    zero, one = (call.graph.constant(np.array(n, np.int64)) for n in (0, 1))
    counted = call.cast(call.add("Range", zero, call.graph.add("Reshape", size, none), one), np.float32)
    value = call.add("Add", call.add("Mul", counted, call.number_like(step, counted)), call.number_like(start, counted))
    return str(value if axis is not None else call.add("Reshape", value, call.dims(call.x)))


@operator("Cast", "cast", "_npi_cast", "_npx_cast", "amp_cast")
def cast(call: Call) -> str:
    return call.cast(call.x, _kind(call))


@operator("amp_multicast")
def cast_all(call: Call) -> tuple[str, ...]:
    call.used.update(("num_outputs", "cast_narrow"))
    return tuple(call.inputs)


# Pictures


@operator("UpSampling")
def upsampling(call: Call) -> str:
    scale = call.whole("scale")
    kind = call.text("sample_type", None, ("nearest", "bilinear"))
    mode = call.text("multi_input_mode", "concat", ("concat", "sum"))
    filters = call.whole("num_filter", 0)
    if not 1 <= scale <= 1000:
        raise call.fault(f"scale={scale}")
    if kind == "bilinear":
        call.expect(2)
        if filters != call.shape(call.x)[1]:
            raise call.fault(f"num_filter={filters} for {call.shape(call.x)[1]} channels")
        size, side = 2 * scale - scale % 2, scale // 2 if scale % 2 == 0 else (scale - 1) // 2
        return str(
            call.add("ConvTranspose", call.x, call.input(1), kernel_shape=[size] * 2, strides=[scale] * 2,
                pads=[side] * 4, group=filters)
        )  # fmt: skip
    height, width = (side * scale for side in call.shape(call.x)[2:])
    parts = []
    for value in call.inputs:
        rows, columns = call.shape(value)[2:]
        if height % rows or width % columns:
            raise call.fault(f"a picture of {rows}x{columns} cannot become {height}x{width}")
        factors = call.constant(np.array([1, 1, height // rows, width // columns], np.float32))
        parts.append(
            call.add("Resize", value, "", factors, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric")
        )  # fmt: skip
    if len(parts) == 1:
        return str(parts[0])
    return str(call.add("Sum", *parts) if mode == "sum" else call.add("Concat", *parts, axis=1))


@operator("_contrib_BilinearResize2D", "contrib_BilinearResize2D")
def bilinear_resize(call: Call) -> str:
    mode = call.text("mode", "size", ("size", "like", "simple"))
    sizes = call.whole("height", 1), call.whole("width", 1)
    aligned = call.flag("align_corners", True)
    factors = [call.number(k) if call.given(k) else None for k in ("scale_height", "scale_width")]
    if mode == "like":
        call.expect(2)
        target = call.dims(call.input(1), 2, 4)
    elif None not in factors:
        scaled = call.add(
            "Mul", call.cast(call.dims(call.x, 2, 4), np.float32), call.constant(np.array(factors, np.float32))
        )
        target = call.cast(call.add("Floor", scaled), np.int64)
    else:
        target = call.ints(*sizes)
    full_size = call.graph.add("Concat", call.dims(call.x, 0, 2), target, axis=0)
    where = "align_corners" if aligned else "half_pixel"
    return str(call.add("Resize", call.x, "", "", full_size, mode="linear", coordinate_transformation_mode=where))


@operator("BilinearSampler")
def bilinear_sampler(call: Call) -> str:
    call.expect(2)
    grid = call.add("Transpose", call.input(1), perm=[0, 2, 3, 1])
    return str(call.add("GridSample", call.x, grid, mode="bilinear", padding_mode="zeros", align_corners=1))


# Sequences: (time, batch, ...)


def _lengths(call: Call) -> str:
    """The second input, where there is one."""
    if not call.flag("use_sequence_length"):
        return ""
    call.expect(2)
    return call.cast(call.input(1), np.int64)


@operator("SequenceLast", "_npx_sequence_last")
def sequence_last(call: Call) -> str:
    axis = call.whole("axis", 0)
    lengths = _lengths(call)
    if not lengths:
        return str(
            call.add(
                "Gather", call.x, call.graph.constant(np.array(-1, np.int64)), axis=call.axis(axis, call.rank(call.x))
            )
        )
    x = call.x if axis == 0 else str(call.add("Transpose", call.x, perm=[1, 0, *range(2, call.rank(call.x))]))
    shape = call.graph.add("Concat", call.ints(1), call.dims(x, 1), axis=0)
    last = call.graph.add("Sub", lengths, call.ints(1))
    place = call.add("Unsqueeze", last, call.ints(0, *range(2, call.rank(x))))
    return str(
        call.add("Squeeze", call.add("GatherElements", x, call.add("Expand", place, shape), axis=0), call.ints(0))
    )


@operator("SequenceMask", "_npx_sequence_mask")
def sequence_mask(call: Call) -> str:
    axis = call.whole("axis", 0)
    value = call.number("value", 0.0)
    lengths = _lengths(call)
    if not lengths:
        return call.x
    if axis not in (0, 1):
        raise call.fault(f"axis={axis}")
    none = call.graph.constant(np.zeros(0, np.int64))
    zero, one = (call.graph.constant(np.array(n, np.int64)) for n in (0, 1))
    times = call.add("Range", zero, call.graph.add("Reshape", call.dims(call.x, axis, axis + 1), none), one)
    times = call.add("Unsqueeze", times, call.ints(1 - axis))
    inside = call.add("Less", times, call.add("Unsqueeze", lengths, call.ints(axis)))
    rank = call.rank(call.x)
    if rank > 2:
        inside = call.add("Unsqueeze", inside, call.ints(*range(2, rank)))
    return str(call.add("Where", inside, call.x, call.number_like(value, call.x)))


@operator("SequenceReverse", "_npx_sequence_reverse")
def sequence_reverse(call: Call) -> str:
    if call.whole("axis", 0) != 0:
        raise call.fault("an axis other than 0 is not supported")
    lengths = _lengths(call)
    if not lengths:
        return _cut(call, call.x, [-1], [-FAR], [0], [-1])
    return str(call.add("ReverseSequence", call.x, lengths, time_axis=0, batch_axis=1))
