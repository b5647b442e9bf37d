"""Functions over axes: sums, extremes, order, running sums."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import END, Net, Value
from sensorium.formats.shared.keras.ops.call import (
    OPS,
    RUN,
    as_type,
    axes_of,
    axis_of,
    fixed,
    flat,
    in_order,
    like,
    op,
    real_of,
    tensor,
    together,
)
from sensorium.formats.shared.keras.ops.elements import cast, isnan

REDUCE = {"Sum": "ReduceSum", "Max": "ReduceMax", "Min": "ReduceMin", "Amax": "ReduceMax", "Amin": "ReduceMin",
          "Prod": "ReduceProd"}  # fmt: skip


def over(net: Net, name: str, x: str, axis: Any, keepdims: bool = False) -> str:
    """Reduce axes; truth values count as 0 and 1."""
    kind = net.graph.dtype(x)
    if kind.kind == "b" or kind.name in ("int8", "int16", "uint16"):
        x = net.op("Cast", x, to=6)
    y = net.op(name, x, net.ints(axes_of(net, x, axis)), keepdims=int(bool(keepdims)))
    return as_type(net, y, np.bool_) if kind.kind == "b" and name in ("ReduceMax", "ReduceMin") else y


def _reduce(
    name: str, net: Net, x: Any, *, axis: Any = None, keepdims: bool = False, initial: Any = None, dtype: Any = None
) -> str:
    y = over(net, name, tensor(net, x), axis, keepdims)
    if initial is not None:
        y = net.op("Max" if name == "ReduceMax" else "Min", *together(net, Value(y), initial))
    return cast(net, Value(y), dtype=dtype) if dtype else y


OPS.update({kind: partial(_reduce, name) for kind, name in REDUCE.items()})


@op("Mean")
def _mean(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceMean", real_of(net, x), axis, keepdims)


@op("Any")
def _any(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceMax", as_type(net, tensor(net, x), np.bool_), axis, keepdims)


@op("All")
def _all(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceMin", as_type(net, tensor(net, x), np.bool_), axis, keepdims)


@op("CountNonzero")
def _count(net: Net, x: Any, *, axis: Any = None) -> str:
    return over(net, "ReduceSum", as_type(net, tensor(net, x), np.bool_), axis)


def variance(net: Net, x: str, axis: Any, keepdims: bool = False) -> str:
    apart = net.op("Sub", x, over(net, "ReduceMean", x, axis, True))
    return over(net, "ReduceMean", net.op("Mul", apart, apart), axis, keepdims)


@op("Var")
def _var(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return variance(net, real_of(net, x), axis, keepdims)


@op("Std")
def _std(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return net.op("Sqrt", variance(net, real_of(net, x), axis, keepdims))


@op("Moments")
def _moments(net: Net, x: Any, *, axes: Any, keepdims: bool = False, synchronized: bool = False) -> list[str]:
    value = real_of(net, x)
    return [over(net, "ReduceMean", value, axes, keepdims), variance(net, value, axes, keepdims)]


@op("Ptp")
def _ptp(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    value = tensor(net, x)
    return net.op("Sub", over(net, "ReduceMax", value, axis, keepdims), over(net, "ReduceMin", value, axis, keepdims))


@op("Logsumexp")
def _logsumexp(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceLogSumExp", real_of(net, x), axis, keepdims)


@op("Average")
def _average(net: Net, x: Any, weights: Any = None, *, axis: Any = None) -> str:
    if weights is None:
        return _mean(net, x, axis=axis)
    a, w = together(net, x, weights, real=True)
    if net.rank(w) < net.rank(a):
        after = net.rank(a) - 1 - axis_of(net, a, axis)
        w = net.op("Unsqueeze", w, net.ints(range(1, 1 + after))) if after else w
    total = over(net, "ReduceSum", net.op("Mul", a, w), axis)
    return net.op("Div", total, over(net, "ReduceSum", net.op("Expand", w, net.sizes(a)), axis))


def _careful(net: Net, x: Any, value: float) -> str:
    return net.where(isnan(net, x), net.number(value), real_of(net, x))


@op("Nansum")
def _nansum(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceSum", _careful(net, x, 0.0), axis, keepdims)


@op("Nanmax")
def _nanmax(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceMax", _careful(net, x, -math.inf), axis, keepdims)


@op("Nanmin")
def _nanmin(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceMin", _careful(net, x, math.inf), axis, keepdims)


@op("Nanprod")
def _nanprod(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceProd", _careful(net, x, 1.0), axis, keepdims)


@op("Nanmean")
def _nanmean(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    count = over(net, "ReduceSum", net.op("Cast", net.op("Not", isnan(net, x)), to=1), axis, keepdims)
    return net.op("Div", _nansum(net, x, axis=axis, keepdims=keepdims), count)


@op("Argmax")
def _argmax(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return _arg(net, "ArgMax", x, axis, keepdims)


@op("Argmin")
def _argmin(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return _arg(net, "ArgMin", x, axis, keepdims)


def _arg(net: Net, name: str, x: Any, axis: Any, keepdims: bool) -> str:
    value = tensor(net, x)
    value = value if net.graph.dtype(value).name in ("float32", "int32") else real_of(net, x)
    if axis is None:
        if keepdims:
            raise InputError("over all axes, which are kept: this is not converted")
        value, axis = flat(net, value), 0
    y = net.op(name, value, axis=axis_of(net, value, axis), keepdims=int(bool(keepdims)))
    return net.op("Cast", y, to=6)


@op("Sort")
def _sort(net: Net, x: Any, *, axis: Any = -1) -> str:
    value = tensor(net, x)
    return in_order(net, value, axis_of(net, value, axis))[0]


@op("Argsort")
def _argsort(net: Net, x: Any, *, axis: Any = -1) -> str:
    value = tensor(net, x)
    return net.op("Cast", in_order(net, value, axis_of(net, value, axis))[1], to=6)


@op("TopK")
def _top(net: Net, x: Any, *, k: int, sorted: bool = True) -> list[str]:
    value = tensor(net, x)
    y, places = in_order(net, value, net.rank(value) - 1, net.ints([k]), 1)
    return [y, net.op("Cast", places, to=6)]


@op("InTopK")
def _in_top(net: Net, targets: Any, predictions: Any, *, k: int) -> str:
    scores, wanted = real_of(net, predictions), as_type(net, tensor(net, targets), np.int64)
    own = net.op("GatherElements", scores, net.op("Unsqueeze", wanted, net.ints([-1])), axis=-1)
    better = net.op("ReduceSum", net.op("Cast", net.op("Greater", scores, own), to=7), net.ints([-1]), keepdims=0)
    return net.op("Less", better, net.graph.constant(np.array(k, np.int64), "k"))


def _gathered(net: Net, x: Any, axis: Any) -> tuple[str, int, int, list[int]]:
    """The axes joined to one in front: the value, its size, how many axes there were, and which."""
    value = real_of(net, x)
    axes = axes_of(net, value, axis)
    size = math.prod(fixed(net, x, a) for a in axes)
    rest = [a for a in range(net.rank(value)) if a not in axes]
    turned = net.transpose(value, [*axes, *rest])
    shape = net.joined(net.ints([-1]), net.sizes(turned, len(axes))) if rest else net.ints([-1])
    return net.op("Reshape", turned, shape), size, net.rank(value), axes


@op("Quantile")
def _quantile(
    net: Net, x: Any, q: Any, *, axis: Any = None, method: str = "linear", keepdims: bool = False, percent: float = 1.0
) -> str:
    if method not in ("linear", "lower", "higher", "nearest", "midpoint"):
        raise InputError(f"the method {str(method)[:40]} is not known")
    share = np.asarray(q, np.float64)
    if (isinstance(q, (Value, list)) and not isinstance(q, list)) or share.ndim > 1:
        raise InputError("quantiles that are computed are not converted")
    joined, size, rank, axes = _gathered(net, x, axis)
    ordered = in_order(net, joined, 0)[0]
    results = []
    for place in np.atleast_1d(share) * percent * (size - 1):
        low, high = math.floor(place), math.ceil(place)
        part = place - low
        part = {"lower": 0.0, "higher": 1.0, "midpoint": 0.5, "nearest": float(round(place) - low)}.get(method, part)
        a, b = (
            net.op("Gather", ordered, net.graph.constant(np.array(i, np.int64), "place"), axis=0) for i in (low, high)
        )
        y = (
            a
            if low == high
            else net.op("Add", net.op("Mul", a, net.number(1 - part)), net.op("Mul", b, net.number(part)))
        )
        results.append(net.op("Unsqueeze", y, net.ints(sorted(axes))) if keepdims and rank else y)
    if share.ndim == 0:
        return results[0]
    return net.op("Concat", *[net.op("Unsqueeze", y, net.ints([0])) for y in results], axis=0)


@op("Percentile")
def _percentile(net: Net, x: Any, q: Any, *, axis: Any = None, method: str = "linear", keepdims: bool = False) -> str:
    return _quantile(net, x, q, axis=axis, method=method, keepdims=keepdims, percent=0.01)


@op("Median")
def _median(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return _quantile(net, x, 0.5, axis=axis, keepdims=keepdims)


@op("Cumsum")
def _cumsum(net: Net, x: Any, *, axis: Any = None, dtype: Any = None) -> str:
    value = tensor(net, x)
    value = as_type(net, value, np.int32) if net.graph.dtype(value).kind == "b" else value
    value, axis = (flat(net, value), 0) if axis is None else (value, axis)
    place = net.graph.constant(np.array(axis_of(net, value, axis), np.int64), "axis")
    y = net.op("CumSum", value, place)
    return cast(net, Value(y), dtype=dtype) if dtype else y


@op("Cumprod")
def _cumprod(net: Net, x: Any, *, axis: Any, dtype: Any = None) -> str:
    """Each with all before it: through a triangle where the others count as 1."""
    value = tensor(net, x)
    at = axis_of(net, value, axis)
    size = fixed(net, x, at)
    if size > RUN:
        raise InputError(f"over an axis of {size} this is not converted")
    taken = np.tril(np.ones((size, size), np.bool_)).reshape(size, size, *[1] * (net.rank(value) - 1 - at))
    spread = net.op("Unsqueeze", value, net.ints([at]))
    spread = net.where(net.graph.constant(taken, "taken"), spread, like(net, value, 1))
    return net.op("ReduceProd", spread, net.ints([at + 1]), keepdims=0)


@op("Diff")
def _diff(net: Net, a: Any, *, n: int = 1, axis: int = -1) -> str:
    value = tensor(net, a)
    at = axis_of(net, value, axis)
    if not 0 <= n <= 64:
        raise InputError(f"{n} differences are not converted")
    for _ in range(n):
        value = net.op("Sub", net.part(value, at, 1, END), net.part(value, at, 0, -1))
    return value


@op("Trapezoid")
def _trapezoid(net: Net, y: Any, *, x: Any = None, dx: float = 1.0, axis: int = -1) -> str:
    if x is not None:
        raise InputError("places of its own are not converted")
    value = real_of(net, y)
    at = axis_of(net, value, axis)
    pairs = net.op("Add", net.part(value, at, 1, END), net.part(value, at, 0, -1))
    return net.op("Mul", net.op("ReduceSum", pairs, net.ints([at]), keepdims=0), net.number(dx / 2))
