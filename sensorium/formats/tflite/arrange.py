"""TFLite's operators that move values and change shapes: reshape, joins, slices, padding, blocks, resizing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.tflite.build import BIG, FIRST, Builder, inside
from sensorium.formats.tflite.call import LIMIT, activated, axis_of, moved, need, option, rank_of, turned_only
from sensorium.formats.tflite.convolution import steps_of
from sensorium.formats.tflite.schema import Operator


def reshape(b: Builder, o: Operator) -> None:
    g = b.graph
    need(o, 1, 2)
    if len(o.inputs) > 1 and o.inputs[1] >= 0:
        stored = b.stored(o.inputs[1])
        target = g.ints(*(int(n) for n in stored.reshape(-1))) if stored is not None else b.value(o.inputs[1])
    else:
        told = [int(n) for n in o.options.array(0, np.int32)] if o.options is not None else []
        target = g.ints(*(told if told != [0] else []))
    moved(b, o, lambda x: str(g.add("Reshape", x, target, allowzero=1)))


def squeeze(b: Builder, o: Operator) -> None:
    axes = [int(n) for n in o.options.array(0, np.int32)] if o.options is not None else []
    if not axes:
        axes = [i for i, n in enumerate(b.tensor(o.inputs[0]).shape) if n == 1]
    moved(b, o, lambda x: str(b.graph.add("Squeeze", x, b.graph.ints(*axes)) if axes else x))


def expand_dims(b: Builder, o: Operator) -> None:
    need(o, 2)
    axis = b.known(o.inputs[1])
    moved(b, o, lambda x: str(b.graph.add("Unsqueeze", x, b.graph.ints(*axis))))


def transpose(b: Builder, o: Operator) -> None:
    need(o, 2)
    order = b.known(o.inputs[1])
    if sorted(order) != list(range(rank_of(b, o.inputs[0]))):
        raise InputError(f"{order} is no order of {rank_of(b, o.inputs[0])} axes")
    moved(b, o, lambda x: str(b.graph.add("Transpose", x, perm=order)))


def concatenate(b: Builder, o: Operator) -> None:
    axis = axis_of(option(o, 0), rank_of(b, o.outputs[0]))
    first = len(b.tensor(o.outputs[0]).shape) == 4 and turned_only(b, *o.inputs)
    if all(b.same(i, o.outputs[0]) for i in o.inputs) and not option(o, 1, "b"):
        names = [b.channels_first(i) if first else b.value(i) for i in o.inputs]
        b.keep(o.outputs[0], b.graph.add("Concat", *names, axis=FIRST.index(axis) if first else axis), first)
        return
    names = [b.numbers(i, first) for i in o.inputs]
    result = b.graph.add("Concat", *names, axis=FIRST.index(axis) if first else axis)
    b.put(o.outputs[0], activated(b, result, option(o, 1, "b")), first)


def pad(b: Builder, o: Operator) -> None:
    need(o, 2, 3)
    g = b.graph
    rank = rank_of(b, o.inputs[0])
    widths = b.known(o.inputs[1])
    if len(widths) != 2 * rank or not all(0 <= n < LIMIT for n in widths):
        raise InputError(f"paddings {widths} of {rank} axes")
    fill = b.numbers(o.inputs[2]) if len(o.inputs) > 2 else ""
    x = b.numbers(o.inputs[0])
    if fill and g.rank(fill):
        fill = g.add("Squeeze", fill)
    b.put(o.outputs[0], g.add("Pad", x, g.ints(*widths[::2], *widths[1::2]), fill))


def mirror_pad(b: Builder, o: Operator) -> None:
    need(o, 2)
    widths = b.known(o.inputs[1])
    if len(widths) != 2 * rank_of(b, o.inputs[0]):
        raise InputError(f"paddings {widths}")
    if option(o, 0, "b"):
        _symmetric_pad(b, o, widths)
        return
    target = b.graph.ints(*widths[::2], *widths[1::2])
    b.put(o.outputs[0], b.graph.add("Pad", b.numbers(o.inputs[0]), target, mode="reflect"))


def _symmetric_pad(b: Builder, o: Operator, widths: Sequence[int]) -> None:
    """The edge itself comes twice: what lies before and behind is cut and turned round."""
    g = b.graph
    x = b.numbers(o.inputs[0])
    back = g.ints(-1)
    for axis, (before, after) in enumerate(zip(widths[::2], widths[1::2])):
        where = g.ints(axis)
        parts = [x]
        if before > 0:
            parts.insert(0, g.add("Slice", x, g.ints(before - 1), g.ints(-BIG), where, back))
        if after > 0:
            parts.append(g.add("Slice", x, back, g.ints(-after - 1), where, back))
        x = g.add("Concat", *parts, axis=axis) if len(parts) > 1 else x
    b.put(o.outputs[0], x)


def slice_(b: Builder, o: Operator) -> None:
    need(o, 3)
    g = b.graph
    start = b.value(o.inputs[1])
    axes = g.ints(*range(rank_of(b, o.inputs[0])))
    size = b.value(o.inputs[2])
    end = g.add("Where", g.add("Less", size, g.ints(0)), g.ints(BIG), g.add("Add", start, size))
    moved(b, o, lambda x: str(g.add("Slice", x, start, end, axes)))


def strided_slice(b: Builder, o: Operator) -> None:
    need(o, 4)
    g = b.graph
    masks = [option(o, n) for n in range(5)]
    rank = rank_of(b, o.inputs[0])
    steps = b.known(o.inputs[3])
    places = [i for i in range(len(steps))]
    fresh = [i for i in places if masks[3] >> i & 1 and not masks[2] >> i & 1]
    wide = [i for i in places if masks[2] >> i & 1]
    if option(o, 5, "B") or len(wide) > 1 or 0 in steps or len(steps) - len(fresh) - len(wide) > rank:
        raise InputError(f"takes steps of {steps} of {rank} axes")
    axes, gone, new, axis, out = {}, [], [], 0, 0  # place among the settings to axis; axes that go and that come
    for i in places:
        if i in wide:
            filled = rank - (len(steps) - len(fresh) - 1)
            axis, out = axis + filled, out + filled
        elif i in fresh:
            new.append(out)
            out += 1
        else:
            axes[i] = axis
            if masks[4] >> i & 1:
                gone.append(axis)
            else:
                out += 1
            axis += 1
    kept = list(axes)
    first, last = _ends(b, o, masks, steps)

    def make(x: str) -> str:
        if kept:
            picked = [g.add("Gather", v, g.ints(*kept)) for v in (first, last)]
            x = g.add("Slice", x, *picked, g.ints(*axes.values()), g.ints(*(steps[i] for i in kept)))
        x = g.add("Squeeze", x, g.ints(*gone)) if gone else x
        return str(g.add("Unsqueeze", x, g.ints(*new)) if new else x)

    moved(b, o, make)


def _ends(b: Builder, o: Operator, masks: Sequence[int], steps: Sequence[int]) -> tuple[str, str]:
    """Where a slice begins and ends on each axis, where they are not told as all there is."""
    g = b.graph
    begin, end = b.value(o.inputs[1]), b.value(o.inputs[2])
    single = np.array([bool(masks[4] >> i & 1) for i in range(len(steps))])
    after = g.add("Add", begin, g.ints(1))
    after = g.add("Where", g.add("Equal", after, g.ints(0)), g.ints(BIG), after)  # of the last one
    end = g.add("Where", g.constant(single), after, end)
    ends = []
    for value, mask, edge in ((begin, masks[0], (0, BIG)), (end, masks[1], (BIG, -BIG))):
        whole = np.array([bool(mask >> i & 1) and not single[i] for i in range(len(steps))])
        edges = g.ints(*(edge[0] if step > 0 else edge[1] for step in steps))
        ends.append(g.add("Where", g.constant(whole), edges, value) if whole.any() else value)
    return ends[0], ends[1]


def pack(b: Builder, o: Operator) -> None:
    axis = axis_of(option(o, 1), rank_of(b, o.outputs[0]))
    same = all(b.same(i, o.outputs[0]) for i in o.inputs)
    where = b.graph.ints(axis)
    names = [b.graph.add("Unsqueeze", b.value(i) if same else b.numbers(i), where) for i in o.inputs]
    (b.keep if same else b.put)(o.outputs[0], b.graph.add("Concat", *names, axis=axis))


def unpack(b: Builder, o: Operator) -> None:
    need(o, 1)
    axis = axis_of(option(o, 1), rank_of(b, o.inputs[0]))
    _split(b, o, o.inputs[0], axis, None, drop=True)


def split(b: Builder, o: Operator) -> None:
    need(o, 2)
    axis = axis_of(b.known(o.inputs[0])[0], rank_of(b, o.inputs[1]))
    _split(b, o, o.inputs[1], axis, None)


def split_v(b: Builder, o: Operator) -> None:
    need(o, 3)
    axis = axis_of(b.known(o.inputs[2])[0], rank_of(b, o.inputs[0]))
    _split(b, o, o.inputs[0], axis, b.known(o.inputs[1]))


def _split(b: Builder, o: Operator, index: int, axis: int, sizes: list[int] | None, drop: bool = False) -> None:
    g = b.graph
    same = all(b.same(index, i) for i in o.outputs)
    x = b.value(index) if same else b.numbers(index)
    total = g.shape(x)[axis]
    if sizes is None:
        if total % len(o.outputs) or (drop and total != len(o.outputs)):
            raise InputError(f"{total} in {len(o.outputs)} parts")
        sizes = [total // len(o.outputs)] * len(o.outputs)
    rest = total - sum(n for n in sizes if n >= 0)
    sizes = [rest if n < 0 else n for n in sizes]
    if len(sizes) != len(o.outputs) or sum(sizes) != total:
        raise InputError(f"{total} in parts of {sizes}")
    parts = g.add("Split", x, g.ints(*sizes), outputs=len(sizes), axis=axis)
    for i, part in zip(o.outputs, parts if isinstance(parts, tuple) else (parts,)):
        part = g.add("Squeeze", part, g.ints(axis)) if drop else part
        (b.keep if same else b.put)(i, part)


def tile(b: Builder, o: Operator) -> None:
    need(o, 2)
    moved(b, o, lambda x: str(b.graph.add("Tile", x, b.value(o.inputs[1]))))


def broadcast(b: Builder, o: Operator) -> None:
    need(o, 2)
    moved(b, o, lambda x: str(b.graph.add("Expand", x, b.value(o.inputs[1]))))


def shape(b: Builder, o: Operator) -> None:
    need(o, 1)
    b.keep(o.outputs[0], b.graph.add("Shape", b.value(o.inputs[0])))


def reverse(b: Builder, o: Operator) -> None:
    need(o, 2)
    axes = b.known(o.inputs[1])
    g = b.graph
    back = g.ints(*[-1] * len(axes))
    moved(b, o, lambda x: str(g.add("Slice", x, back, g.ints(*[-BIG] * len(axes)), g.ints(*axes), back)))


def space_to_batch(b: Builder, o: Operator) -> None:
    need(o, 3)
    block, widths = _block(b, o), b.known(o.inputs[2])
    g = b.graph
    count, rest = len(block), rank_of(b, o.inputs[0]) - 1 - len(block)
    x = g.add("Pad", b.numbers(o.inputs[0]), g.ints(0, *widths[::2], *[0] * rest, 0, *widths[1::2], *[0] * rest))
    size = list(g.shape(x))
    if any(n % k for n, k in zip(size[1:], block)):
        raise InputError(f"{size} in blocks of {block}")
    inner = [n // k for n, k in zip(size[1:], block)]
    tail = size[1 + count :]
    x = g.add("Reshape", x, g.ints(0, *(n for pair in zip(inner, block) for n in pair), *tail))
    order = [*range(2, 2 + 2 * count, 2), 0, *range(1, 1 + 2 * count, 2), *range(1 + 2 * count, 1 + 2 * count + rest)]
    x = g.add("Transpose", x, perm=order)
    b.put(o.outputs[0], g.add("Reshape", x, g.ints(-1, *inner, *tail)))
    made = b.raw[o.outputs[0]]
    g.tell(made, (size[0] * int(np.prod(block)), *inner, *tail), g.dtype(made))


def batch_to_space(b: Builder, o: Operator) -> None:
    need(o, 3)
    block, cuts = _block(b, o), b.known(o.inputs[2])
    g = b.graph
    x = b.numbers(o.inputs[0])
    size = list(g.shape(x))
    count, many = len(block), int(np.prod(block))
    if size[0] % many:
        raise InputError(f"{size} of blocks of {block}")
    tail = size[1 + count :]
    x = g.add("Reshape", x, g.ints(*block, -1, *size[1:]))
    pairs = [a for i in range(count) for a in (count + 1 + i, i)]
    x = g.add("Transpose", x, perm=[count, *pairs, *range(2 * count + 1, 2 * count + 1 + len(tail))])
    whole = [n * k for n, k in zip(size[1:], block)]
    x = g.add("Reshape", x, g.ints(-1, *whole, *tail))
    g.tell(x, (size[0] // many, *whole, *tail), g.dtype(x))
    ends = g.ints(*(n - c for n, c in zip(whole, cuts[1::2])))
    b.put(o.outputs[0], g.add("Slice", x, g.ints(*cuts[::2]), ends, g.ints(*range(1, 1 + count))))


def _block(b: Builder, o: Operator) -> list[int]:
    block = b.known(o.inputs[1])
    others = b.known(o.inputs[2])
    if not 0 < len(block) < rank_of(b, o.inputs[0]) or len(others) != 2 * len(block):
        raise InputError(f"blocks of {block} of {rank_of(b, o.inputs[0])} axes")
    if not all(0 < n < LIMIT for n in block) or not all(0 <= n < LIMIT for n in others):
        raise InputError(f"blocks of {block} with edges of {others}")
    return block


def depth_to_space(b: Builder, o: Operator) -> None:
    need(o, 1)
    size = steps_of(o, 0)[0]
    if o.op == "DEPTH_TO_SPACE":
        b.put(o.outputs[0], b.graph.add("DepthToSpace", b.numbers(o.inputs[0], True), blocksize=size), True)
        return
    g = b.graph
    x = b.numbers(o.inputs[0])
    shape = g.shape(x)
    if len(shape) != 4 or shape[1] % size or shape[2] % size:
        raise InputError(f"{list(shape)} in blocks of {size}")
    x = g.add("Reshape", x, g.ints(0, shape[1] // size, size, shape[2] // size, size, shape[3]))
    x = g.add("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
    b.put(o.outputs[0], g.add("Reshape", x, g.ints(0, shape[1] // size, shape[2] // size, size * size * shape[3])))


def resize(b: Builder, o: Operator) -> None:
    need(o, 2)
    bilinear = o.op == "RESIZE_BILINEAR"
    corners, centres = (option(o, n, "B") for n in ((2, 3) if bilinear else (0, 1)))
    x = b.numbers(o.inputs[0], True)
    g = b.graph
    size = g.add("Concat", g.add("Shape", x, start=0, end=2), b.value(o.inputs[1]), axis=0)
    result = g.add(
        "Resize",
        x,
        "",
        "",
        size,
        mode="linear" if bilinear else "nearest",
        coordinate_transformation_mode="align_corners" if corners else "half_pixel" if centres else "asymmetric",
        nearest_mode=None if bilinear else "round_prefer_ceil" if corners or centres else "floor",
    )
    b.put(o.outputs[0], result, True)


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


def bitcast(b: Builder, o: Operator) -> None:
    need(o, 1)
    if inside(b.tensor(o.inputs[0])) is not inside(b.tensor(o.outputs[0])):
        raise InputError("the bits of one type as another are not converted")
    moved(b, o, lambda x: str(b.graph.add("Identity", x)))
