"""Functions of each element by itself, and of an axis: rounding, logarithms, activations."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import ACTIVATIONS, Net, Value
from sensorium.formats.shared.keras.ops.call import (
    OPS,
    TYPES,
    as_type,
    axes_of,
    axis_of,
    in_order,
    op,
    real_of,
    tensor,
    together,
    wide,
)

SAME = {"Abs": "Abs", "Absolute": "Abs", "Fabs": "Abs", "Negative": "Neg", "Sign": "Sign"}


REAL = {
    "Arccos": "Acos", "Arccosh": "Acosh", "Arcsin": "Asin", "Arcsinh": "Asinh", "Arctan": "Atan", "Arctanh": "Atanh",
    "Cos": "Cos", "Cosh": "Cosh", "Sin": "Sin", "Sinh": "Sinh", "Tan": "Tan", "Exp": "Exp", "Log": "Log",
    "Sqrt": "Sqrt", "Erf": "Erf", "Reciprocal": "Reciprocal", "Det": "Det",
}  # fmt: skip


ROUND = {"Ceil": "Ceil", "Floor": "Floor"}


FUNCTIONS = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Silu": "silu", "Softplus": "softplus",
    "Softsign": "softsign", "SparsePlus": "sparse_plus", "SparseSigmoid": "sparse_sigmoid",
    "LogSigmoid": "log_sigmoid", "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "Selu": "selu",
    "TanhShrink": "tanh_shrink", "HardTanh": "hard_tanh", "Tanh": "tanh", "Exponential": "exponential",
    "Mish": "mish", "Linear": "linear",
}  # fmt: skip


def _same(name: str, net: Net, x: Any) -> str:
    return wide(net, [tensor(net, x)], lambda v: net.op(name, v))


def _of_real(name: str, net: Net, x: Any) -> str:
    return net.op(name, real_of(net, x))


def _function(name: str, net: Net, x: Any) -> str:
    return ACTIVATIONS[name](net, real_of(net, x), -1)


OPS.update({kind: partial(_same, name) for kind, name in SAME.items()})


OPS.update({kind: partial(_of_real, name) for kind, name in {**REAL, **ROUND}.items()})


OPS.update({kind: partial(_function, name) for kind, name in FUNCTIONS.items()})


@op("Copy", "StopGradient", "Real", "Conj", "Conjugate", "Array", "ConvertToTensor")
def _copy(net: Net, x: Any, *, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> str:
    y = tensor(net, x)
    return cast(net, Value(y), dtype=dtype) if dtype else net.op("Identity", y)


@op("Cast")
def cast(net: Net, x: Any, *, dtype: Any) -> str:
    """Reals become truth values where they are not 0, and whole numbers by cutting."""
    if dtype not in TYPES:
        raise InputError(f"the type {str(dtype)[:40]} is not converted")
    value = tensor(net, x)
    if dtype in ("float16", "bfloat16") and net.graph.dtype(value) != np.float32:
        value = net.real(value)
    if dtype in ("float16", "bfloat16"):  # rounded as there, and computed with as float32
        return net.op("Cast", net.op("Cast", value, to=10 if dtype == "float16" else 16), to=1)
    return net.op("Cast", value, to=TYPES[str(dtype)])


@op("SaturateCast")
def _saturate(net: Net, x: Any, *, dtype: Any) -> str:
    if dtype in TYPES and dtype.startswith(("int", "uint")) and dtype not in ("int64", "uint64", "int"):
        value, limits = real_of(net, x), np.iinfo(dtype)
        top = np.float32(limits.max) if limits.max < 1 << 24 else np.nextafter(np.float32(limits.max), np.float32(0))
        x = Value(net.op("Clip", value, net.number(float(limits.min)), net.number(float(top))))
    return cast(net, x, dtype=dtype)


@op("Square")
def _square(net: Net, x: Any) -> str:
    return wide(net, [tensor(net, x)], lambda v: net.op("Mul", v, v))


@op("Round")
def _round(net: Net, x: Any, *, decimals: int = 0) -> str:
    value = tensor(net, x)
    if net.graph.dtype(value).kind in "iu" and decimals >= 0:
        return net.op("Identity", value)
    factor = net.number(10.0**decimals)
    if not decimals:
        return net.op("Round", net.real(value))
    return net.op("Div", net.op("Round", net.op("Mul", net.real(value), factor)), factor)


@op("Trunc")
def _trunc(net: Net, x: Any) -> str:
    value = real_of(net, x)
    return net.op("Mul", net.op("Sign", value), net.op("Floor", net.op("Abs", value)))


@op("Rsqrt")
def _rsqrt(net: Net, x: Any) -> str:
    return net.op("Reciprocal", net.op("Sqrt", real_of(net, x)))


@op("Exp2")
def _exp2(net: Net, x: Any) -> str:
    return net.op("Pow", net.number(2.0), real_of(net, x))


@op("Log2")
def _log2(net: Net, x: Any) -> str:
    return net.op("Div", net.op("Log", real_of(net, x)), net.number(math.log(2.0)))


OPS["Log10"] = lambda net, x: net.op("Div", net.op("Log", real_of(net, x)), net.number(math.log(10.0)))


def series(net: Net, x: Any, *, log: bool) -> str:
    """log(1 + x) and exp(x) - 1: by series where the sum would lose the digits of a small number."""
    value = real_of(net, x)
    small = net.op("Less", net.op("Abs", value), net.number(1e-3))
    square, third = net.op("Mul", value, value), net.op("Mul", value, net.number(-1 / 3 if log else 1 / 6))
    bent = net.op("Mul", square, net.op("Add", third, net.number(0.5)))
    near = net.op("Sub" if log else "Add", value, bent)
    one = net.number(1.0)
    far = net.op("Log", net.op("Add", value, one)) if log else net.op("Sub", net.op("Exp", value), one)
    return net.where(small, near, far)


OPS["Log1p"], OPS["Expm1"] = partial(series, log=True), partial(series, log=False)


@op("Erfc")
def _erfc(net: Net, x: Any) -> str:
    return net.op("Sub", net.number(1.0), net.op("Erf", real_of(net, x)))


@op("Cbrt")
def _cbrt(net: Net, x: Any) -> str:
    value = real_of(net, x)
    return net.op("Mul", net.op("Sign", value), net.op("Pow", net.op("Abs", value), net.number(1 / 3)))


@op("Deg2rad")
def _radians(net: Net, x: Any) -> str:
    return net.op("Mul", real_of(net, x), net.number(math.pi / 180))


@op("Rad2deg")
def _degrees(net: Net, x: Any) -> str:
    return net.op("Mul", real_of(net, x), net.number(180 / math.pi))


@op("Sinc")
def _sinc(net: Net, x: Any) -> str:
    value = net.op("Mul", real_of(net, x), net.number(math.pi))
    none = net.op("Equal", value, net.number(0.0))
    safe = net.where(none, net.number(1.0), value)
    return net.where(none, net.number(1.0), net.op("Div", net.op("Sin", safe), safe))


@op("Signbit")
def _signbit(net: Net, x: Any) -> str:
    value = real_of(net, x)
    return net.op("Less", net.where(net.op("Equal", value, net.number(0.0)), net.op("Reciprocal", value), value),
                  net.number(0.0))  # fmt: skip


@op("Isnan")
def isnan(net: Net, x: Any) -> str:
    return net.op("IsNaN", real_of(net, x))


@op("Isinf")
def _isinf(net: Net, x: Any) -> str:
    return net.op("IsInf", real_of(net, x))


@op("Isposinf")
def _isposinf(net: Net, x: Any) -> str:
    return net.op("IsInf", real_of(net, x), detect_negative=0)


@op("Isneginf")
def _isneginf(net: Net, x: Any) -> str:
    return net.op("IsInf", real_of(net, x), detect_positive=0)


@op("Isfinite")
def _isfinite(net: Net, x: Any) -> str:
    return net.op("Not", net.op("Or", isnan(net, x), _isinf(net, x)))


@op("NanToNum")
def _nan_to_num(net: Net, x: Any, *, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> str:
    limit = float(np.finfo(np.float32).max)
    value = net.where(isnan(net, x), net.number(float(nan)), real_of(net, x))
    value = net.where(_isposinf(net, Value(value)), net.number(limit if posinf is None else float(posinf)), value)
    return net.where(_isneginf(net, Value(value)), net.number(-limit if neginf is None else float(neginf)), value)


@op("OnesLike")
def _ones_like(net: Net, x: Any, *, dtype: Any = None) -> str:
    return _full_like(net, x, 1, dtype=dtype)


@op("FullLike")
def _full_like(net: Net, x: Any, fill_value: Any, *, dtype: Any = None) -> str:
    value = tensor(net, x)
    number = tensor(net, fill_value, net.graph.dtype(value))
    number = as_type(net, number, net.graph.dtype(value)) if dtype is None else cast(net, Value(number), dtype=dtype)
    return net.op("Expand", number, net.sizes(value))


OPS["ZerosLike"] = lambda net, x, dtype=None: _full_like(net, x, 0, dtype=dtype)


@op("Clip")
def _clip(net: Net, x: Any, *, x_min: Any, x_max: Any) -> str:
    value, low, high = together(net, x, x_min, x_max)
    return wide(net, [value, low, high], lambda v, a, b: net.op("Min", net.op("Max", v, a), b))


@op("LeakyRelu")
def _leaky(net: Net, x: Any, *, negative_slope: float = 0.2) -> str:
    return net.op("LeakyRelu", real_of(net, x), alpha=float(negative_slope))


@op("Elu")
def _elu(net: Net, x: Any, *, alpha: float = 1.0) -> str:
    return net.op("Elu", real_of(net, x), alpha=float(alpha))


OPS["Celu"] = lambda net, x, alpha=1.0: net.op("Celu", real_of(net, x), alpha=float(alpha))


@op("Gelu")
def _gelu(net: Net, x: Any, *, approximate: bool = True) -> str:
    return ACTIVATIONS["gelu_new" if approximate else "gelu"](net, real_of(net, x), -1)


@op("SoftShrink")
def _shrink(net: Net, x: Any, *, threshold: float = 0.5) -> str:
    return net.op("Shrink", real_of(net, x), lambd=float(threshold), bias=float(threshold))


OPS["HardShrink"] = lambda net, x, threshold=0.5: net.op("Shrink", real_of(net, x), lambd=float(threshold), bias=0.0)


@op("Squareplus")
def _squareplus(net: Net, x: Any, *, b: float = 4) -> str:
    value = real_of(net, x)
    root = net.op("Sqrt", net.op("Add", net.op("Mul", value, value), net.number(float(b))))
    return net.op("Mul", net.op("Add", value, root), net.number(0.5))


@op("Threshold")
def _threshold(net: Net, x: Any, *, threshold: float, default_value: float) -> str:
    value = real_of(net, x)
    return net.where(net.op("Greater", value, net.number(threshold)), value, net.number(default_value))


@op("Glu")
def _glu(net: Net, x: Any, *, axis: int = -1) -> str:
    value = real_of(net, x)
    a, b = net.graph.add("Split", value, outputs=2, axis=axis_of(net, value, axis), num_outputs=2)
    return net.op("Mul", a, net.op("Sigmoid", b))


@op("Softmax")
def _softmax(net: Net, x: Any, *, axis: Any = -1) -> str:
    value = real_of(net, x)
    axes = axes_of(net, value, axis)
    if len(axes) == 1:
        return net.op("Softmax", value, axis=axes[0])
    over = net.ints(axes)
    e = net.op("Exp", net.op("Sub", value, net.op("ReduceMax", value, over, keepdims=1)))
    return net.op("Div", e, net.op("ReduceSum", e, over, keepdims=1))


@op("LogSoftmax")
def _log_softmax(net: Net, x: Any, *, axis: Any = -1) -> str:
    value = real_of(net, x)
    return net.op("LogSoftmax", value, axis=axis_of(net, value, axis))


@op("Sparsemax")
def _sparsemax(net: Net, x: Any, *, axis: int = -1) -> str:
    """As Keras has it: the threshold comes from all running sums of what is kept, not from the last one."""
    value = real_of(net, x)
    at = axis_of(net, value, axis)
    size = net.sizes(value, at, at + 1)
    ordered = in_order(net, value, at, size, 1)[0]
    sums = net.op("CumSum", ordered, net.graph.constant(np.array(at, np.int64), "axis"))
    one = net.graph.constant(np.array(1, np.int64), "one")
    ranks = net.op("Cast", net.op("Range", one, net.op("Add", net.op("Squeeze", size, net.ints([0])), one), one), to=1)
    after = net.rank(value) - 1 - at
    ranks = net.op("Unsqueeze", ranks, net.ints(range(1, 1 + after))) if after else ranks
    kept = net.op("Greater", ordered, net.op("Div", net.op("Sub", sums, net.number(1.0)), ranks))
    total = net.op("ReduceSum", net.where(kept, sums, net.number(0.0)), net.ints([at]), keepdims=1)
    count = net.op("ReduceSum", net.op("Cast", kept, to=1), net.ints([at]), keepdims=1)
    return net.op("Relu", net.op("Sub", value, net.op("Div", net.op("Sub", total, net.number(1.0)), count)))


ACTIVATIONS["sparsemax"] = lambda net, x, axis: _sparsemax(net, Value(x), axis=axis)


ACTIVATIONS["glu"] = lambda net, x, axis: _glu(net, Value(x), axis=axis)
