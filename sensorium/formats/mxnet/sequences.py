"""Sequences: (time, batch, ...)."""

from __future__ import annotations

import numpy as np

from sensorium.formats.mxnet.call import Call, operator
from sensorium.formats.mxnet.slices import FAR, cut


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
        return cut(call, call.x, [-1], [-FAR], [0], [-1])
    return str(call.add("ReverseSequence", call.x, lengths, time_axis=0, batch_axis=1))
