"""Arrays out of nothing, and of other types."""

from __future__ import annotations

import numpy as np

from sensorium.formats.mxnet.call import Call, operator
from sensorium.formats.mxnet.kinds import ZEROS, kind_of


def _filled(call: Call, value: float) -> str:
    shape = [size if size > 0 else 1 for size in call.wholes("shape", (1,))]
    if int(np.prod(np.array(shape, np.float64))) > ZEROS or len(shape) > 16:
        raise call.fault(f"an array of shape {shape[:16]} is too large")
    return call.graph.constant(np.full(shape, value, kind_of(call)), call.name)


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
    return call.graph.constant(np.repeat(np.arange(start, stop, step), times).astype(kind_of(call)), call.name)


@operator("_linspace", "_npi_linspace")
def linspace(call: Call) -> str:
    start, stop, count = call.number("start"), call.number("stop"), call.whole("num")
    if not 0 <= count <= ZEROS:
        raise call.fault("a range that is not possible")
    values = np.linspace(start, stop, count, endpoint=call.flag("endpoint", True))
    return call.graph.constant(values.astype(kind_of(call)), call.name)


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
    return call.cast(call.x, kind_of(call))


@operator("amp_multicast")
def cast_all(call: Call) -> tuple[str, ...]:
    call.used.update(("num_outputs", "cast_narrow"))
    return tuple(call.inputs)
