"""What looks values up and puts them in order."""

from __future__ import annotations

import numpy as np

from sensorium.formats.mxnet.call import Call, Misfit, operator
from sensorium.formats.mxnet.kinds import ZEROS, kind_of


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
    depth, kind = call.whole("depth"), kind_of(call)
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
    kind = kind_of(call)
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
