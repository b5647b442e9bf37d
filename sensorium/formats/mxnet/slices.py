"""What joins, cuts, repeats and pads."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sensorium.formats.mxnet.call import Call, Misfit, operator

FAR = (1 << 63) - 1


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
            parts = [call.x]
        else:
            parts = list(call.add("Split", call.x, axis=axis, num_outputs=sections, outputs=sections))
    else:
        if places[:1] == [0]:
            places = places[1:]
        bounds = [0, *places, FAR]
        parts = [cut(call, call.x, [a], [b], [axis]) for a, b in pairwise(bounds)]
    if alone:
        parts = [str(call.add("Squeeze", part, call.ints(axis))) for part in parts]
    return tuple(parts)


def cut(call: Call, x: str, begin: list[int], end: list[int], axes: list[int], step: list[int] | None = None) -> str:
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
    return cut(call, call.x, starts, ends, list(range(len(begin))), steps)


@operator("slice_axis")
def slice_axis(call: Call) -> str:
    axis = call.axis(call.whole("axis"), call.rank(call.x))
    begin, end = call.whole("begin"), call.whole_or_none("end")
    size = call.shape(call.x)[axis]
    if (end is not None and end > size) or abs(begin) > size:
        raise Misfit(str(call.fault(f"{begin} to {end} of {size} values")), size, max(abs(begin), end or 0))
    return cut(call, call.x, [begin], [FAR if end is None else end], [axis])


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
    return cut(call, call.x, [-1] * len(axes), [-FAR] * len(axes), axes, [-1] * len(axes))


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
