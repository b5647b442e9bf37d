"""Functions of `keras.ops` between the layers of a model, as ONNX.

A function is named by its class, with the arguments of its call and those of its class; each handler here has both, by
Keras's names and with Keras's defaults. Source: keras.io/api/ops, each function's docstring; where backends differ,
what TensorFlow's computes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras_base import ACTIVATIONS, END, Net, Value

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)
OPS: dict[str, Handler] = {}
TYPES = {"float32": 1, "float64": 1, "float16": 1, "bfloat16": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5,
         "int32": 6, "int64": 7, "bool": 9, "uint32": 12, "uint64": 13, "int": 6, "float": 1}  # fmt: skip
RUN = 1024  # of an axis that is compared with itself


def op(*kinds: str) -> Callable[[H], H]:
    """Register what converts the functions of these classes."""

    def register(handler: H) -> H:
        OPS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def call(net: Net, kind: str, args: Sequence[Any], kwargs: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """The values that a function gives.

    Raises:
        InputError: the function, or this use of it, is not known.
    """
    handler = OPS.get(kind)
    if handler is None:
        raise InputError("this function of keras.ops is not known")
    options = {k: v for k, v in config.items() if k not in ("name", "trainable")}
    if "dtype" not in inspect.signature(handler).parameters:
        options.pop("dtype", None)
    try:
        bound = inspect.signature(handler).bind(net, *args, **{**options, **kwargs})
    except TypeError as error:
        raise InputError(f"called in a way that is not known: {error}") from None
    return handler(*bound.args, **bound.kwargs)


# Values


def tensor(net: Net, value: Any, like: np.dtype[Any] | None = None) -> str:
    """A value, an array or a number of Python, which takes the type of what it meets."""
    if isinstance(value, Value):
        return value.name
    if isinstance(value, (list, tuple)) and any(isinstance(v, Value) for v in value):
        return net.op("Concat", *[net.op("Unsqueeze", tensor(net, v), net.ints([0])) for v in value], axis=0)
    if value is None or isinstance(value, (str, dict)):
        raise InputError(f"an argument of {str(value)[:40]} is not known")
    if isinstance(value, np.ndarray):
        return net.graph.constant(value.astype(np.float32) if value.dtype.kind == "f" else value, "array")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise InputError(f"an argument of {str(value)[:40]} is not known")
    kind = {"f": np.float32, "b": np.bool_}.get(array.dtype.kind, np.int32)
    if like is not None and array.ndim == 0 and (array.dtype.kind in "iub" or like.kind == "f"):
        kind = like.type if like.kind != "b" or array.dtype.kind == "b" else kind
    return net.graph.constant(array.astype(kind), "number")


def _weak(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def together(net: Net, *values: Any, real: bool = False) -> list[str]:
    """Values of one type: that of the widest; whole numbers and truth values as float32 where `real`."""
    strong = [net.graph.dtype(tensor(net, v)) for v in values if not _weak(v)]
    wide = [d for d in strong if d.kind == "f"]
    if real or wide or any(isinstance(v, float) for v in values):
        kind: np.dtype[Any] = np.dtype(np.float32)
    else:
        kind = np.result_type(*strong) if strong else np.dtype(np.int32)
        if kind.kind == "b" and any(_weak(v) for v in values):
            kind = np.dtype(np.int32)
    return [as_type(net, tensor(net, v, kind), kind) for v in values]


def as_type(net: Net, value: str, kind: np.dtype[Any] | Any) -> str:
    kind = np.dtype(kind)
    return value if net.graph.dtype(value) == kind else net.op("Cast", value, to=TYPES[kind.name])


def _real(net: Net, x: Any) -> str:
    return net.real(tensor(net, x))


def like(net: Net, value: str, number: float) -> str:
    """A number of a value's type."""
    return net.graph.constant(np.array(number, net.graph.dtype(value)), "number")


def _wide(net: Net, values: Sequence[str], work: Callable[..., str]) -> str:
    """Arithmetic of narrow types, for which ONNX Runtime has no kernels, in int32 and back."""
    kind = net.graph.dtype(values[0])
    if kind.name not in ("int8", "uint8", "int16", "uint16", "bool", "uint32"):
        return work(*values)
    inner = np.int64 if kind.name == "uint32" else np.int32
    return as_type(net, work(*[as_type(net, v, inner) for v in values]), kind)


def axes_of(net: Net, x: str, axis: Any) -> list[int]:
    """The axes meant, counted from the front; all of them for None."""
    rank = net.rank(x)
    given = list(range(rank)) if axis is None else [axis] if isinstance(axis, int) else axis
    if not isinstance(given, (list, tuple)) or not all(isinstance(a, int) and -rank <= a < rank for a in given):
        raise InputError(f"there is no axis {str(axis)[:40]} in {rank} axes")
    return [a % rank for a in given]


def axis_of(net: Net, x: str, axis: Any) -> int:
    found = axes_of(net, x, axis)
    if len(found) != 1:
        raise InputError(f"an axis of {str(axis)[:40]} is not known here")
    return found[0]


def fixed(net: Net, x: Any, axis: int) -> int:
    """Size of an axis that is the same for every input.

    Raises:
        InputError: it is free.
    """
    sizes = x.sizes if isinstance(x, Value) else None
    name = tensor(net, x)
    size = net.size(name, axis)
    if (sizes is not None and sizes[axis] is None) or (sizes is None and axis == 0 and name not in net.graph.constants):
        raise InputError(f"needs the size of axis {axis}, which is free in the file; this is not converted")
    return size


def flat(net: Net, x: str) -> str:
    return net.op("Reshape", x, net.ints([-1]))


# Each element by itself

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
    return _wide(net, [tensor(net, x)], lambda v: net.op(name, v))


def _of_real(name: str, net: Net, x: Any) -> str:
    return net.op(name, _real(net, x))


def _function(name: str, net: Net, x: Any) -> str:
    return ACTIVATIONS[name](net, _real(net, x), -1)


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
        value, limits = _real(net, x), np.iinfo(dtype)
        top = np.float32(limits.max) if limits.max < 1 << 24 else np.nextafter(np.float32(limits.max), np.float32(0))
        x = Value(net.op("Clip", value, net.number(float(limits.min)), net.number(float(top))))
    return cast(net, x, dtype=dtype)


@op("Square")
def _square(net: Net, x: Any) -> str:
    return _wide(net, [tensor(net, x)], lambda v: net.op("Mul", v, v))


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
    value = _real(net, x)
    return net.op("Mul", net.op("Sign", value), net.op("Floor", net.op("Abs", value)))


@op("Rsqrt")
def _rsqrt(net: Net, x: Any) -> str:
    return net.op("Reciprocal", net.op("Sqrt", _real(net, x)))


@op("Exp2")
def _exp2(net: Net, x: Any) -> str:
    return net.op("Pow", net.number(2.0), _real(net, x))


@op("Log2")
def _log2(net: Net, x: Any) -> str:
    return net.op("Div", net.op("Log", _real(net, x)), net.number(math.log(2.0)))


OPS["Log10"] = lambda net, x: net.op("Div", net.op("Log", _real(net, x)), net.number(math.log(10.0)))


def _series(net: Net, x: Any, *, log: bool) -> str:
    """log(1 + x) and exp(x) - 1: by series where the sum would lose the digits of a small number."""
    value = _real(net, x)
    small = net.op("Less", net.op("Abs", value), net.number(1e-3))
    square, third = net.op("Mul", value, value), net.op("Mul", value, net.number(-1 / 3 if log else 1 / 6))
    bent = net.op("Mul", square, net.op("Add", third, net.number(0.5)))
    near = net.op("Sub" if log else "Add", value, bent)
    one = net.number(1.0)
    far = net.op("Log", net.op("Add", value, one)) if log else net.op("Sub", net.op("Exp", value), one)
    return net.where(small, near, far)


OPS["Log1p"], OPS["Expm1"] = partial(_series, log=True), partial(_series, log=False)


@op("Erfc")
def _erfc(net: Net, x: Any) -> str:
    return net.op("Sub", net.number(1.0), net.op("Erf", _real(net, x)))


@op("Cbrt")
def _cbrt(net: Net, x: Any) -> str:
    value = _real(net, x)
    return net.op("Mul", net.op("Sign", value), net.op("Pow", net.op("Abs", value), net.number(1 / 3)))


@op("Deg2rad")
def _radians(net: Net, x: Any) -> str:
    return net.op("Mul", _real(net, x), net.number(math.pi / 180))


@op("Rad2deg")
def _degrees(net: Net, x: Any) -> str:
    return net.op("Mul", _real(net, x), net.number(180 / math.pi))


@op("Sinc")
def _sinc(net: Net, x: Any) -> str:
    value = net.op("Mul", _real(net, x), net.number(math.pi))
    none = net.op("Equal", value, net.number(0.0))
    safe = net.where(none, net.number(1.0), value)
    return net.where(none, net.number(1.0), net.op("Div", net.op("Sin", safe), safe))


@op("Signbit")
def _signbit(net: Net, x: Any) -> str:
    value = _real(net, x)
    return net.op("Less", net.where(net.op("Equal", value, net.number(0.0)), net.op("Reciprocal", value), value),
                  net.number(0.0))  # fmt: skip


@op("Isnan")
def _isnan(net: Net, x: Any) -> str:
    return net.op("IsNaN", _real(net, x))


@op("Isinf")
def _isinf(net: Net, x: Any) -> str:
    return net.op("IsInf", _real(net, x))


@op("Isposinf")
def _isposinf(net: Net, x: Any) -> str:
    return net.op("IsInf", _real(net, x), detect_negative=0)


@op("Isneginf")
def _isneginf(net: Net, x: Any) -> str:
    return net.op("IsInf", _real(net, x), detect_positive=0)


@op("Isfinite")
def _isfinite(net: Net, x: Any) -> str:
    return net.op("Not", net.op("Or", _isnan(net, x), _isinf(net, x)))


@op("NanToNum")
def _nan_to_num(net: Net, x: Any, *, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> str:
    limit = float(np.finfo(np.float32).max)
    value = net.where(_isnan(net, x), net.number(float(nan)), _real(net, x))
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
    return _wide(net, [value, low, high], lambda v, a, b: net.op("Min", net.op("Max", v, a), b))


@op("LeakyRelu")
def _leaky(net: Net, x: Any, *, negative_slope: float = 0.2) -> str:
    return net.op("LeakyRelu", _real(net, x), alpha=float(negative_slope))


@op("Elu")
def _elu(net: Net, x: Any, *, alpha: float = 1.0) -> str:
    return net.op("Elu", _real(net, x), alpha=float(alpha))


OPS["Celu"] = lambda net, x, alpha=1.0: net.op("Celu", _real(net, x), alpha=float(alpha))


@op("Gelu")
def _gelu(net: Net, x: Any, *, approximate: bool = True) -> str:
    return ACTIVATIONS["gelu_new" if approximate else "gelu"](net, _real(net, x), -1)


@op("SoftShrink")
def _shrink(net: Net, x: Any, *, threshold: float = 0.5) -> str:
    return net.op("Shrink", _real(net, x), lambd=float(threshold), bias=float(threshold))


OPS["HardShrink"] = lambda net, x, threshold=0.5: net.op("Shrink", _real(net, x), lambd=float(threshold), bias=0.0)


@op("Squareplus")
def _squareplus(net: Net, x: Any, *, b: float = 4) -> str:
    value = _real(net, x)
    root = net.op("Sqrt", net.op("Add", net.op("Mul", value, value), net.number(float(b))))
    return net.op("Mul", net.op("Add", value, root), net.number(0.5))


@op("Threshold")
def _threshold(net: Net, x: Any, *, threshold: float, default_value: float) -> str:
    value = _real(net, x)
    return net.where(net.op("Greater", value, net.number(threshold)), value, net.number(default_value))


@op("Glu")
def _glu(net: Net, x: Any, *, axis: int = -1) -> str:
    value = _real(net, x)
    a, b = net.graph.add("Split", value, outputs=2, axis=axis_of(net, value, axis), num_outputs=2)
    return net.op("Mul", a, net.op("Sigmoid", b))


@op("Softmax")
def _softmax(net: Net, x: Any, *, axis: Any = -1) -> str:
    value = _real(net, x)
    axes = axes_of(net, value, axis)
    if len(axes) == 1:
        return net.op("Softmax", value, axis=axes[0])
    over = net.ints(axes)
    e = net.op("Exp", net.op("Sub", value, net.op("ReduceMax", value, over, keepdims=1)))
    return net.op("Div", e, net.op("ReduceSum", e, over, keepdims=1))


@op("LogSoftmax")
def _log_softmax(net: Net, x: Any, *, axis: Any = -1) -> str:
    value = _real(net, x)
    return net.op("LogSoftmax", value, axis=axis_of(net, value, axis))


@op("Sparsemax")
def _sparsemax(net: Net, x: Any, *, axis: int = -1) -> str:
    """As Keras has it: the threshold comes from all running sums of what is kept, not from the last one."""
    value = _real(net, x)
    at = axis_of(net, value, axis)
    size = net.sizes(value, at, at + 1)
    ordered = _ordered(net, value, at, size, 1)[0]
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


# Two at a time

ARITHMETIC = {"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Maximum": "Max", "Minimum": "Min", "Fmax": "Max",
              "Fmin": "Min"}  # fmt: skip
COMPARE = {"Greater": "Greater", "GreaterEqual": "GreaterOrEqual", "Less": "Less", "LessEqual": "LessOrEqual",
           "Equal": "Equal"}  # fmt: skip
LOGIC = {"LogicalAnd": "And", "LogicalOr": "Or", "LogicalXor": "Xor"}
BITS = {"BitwiseAnd": "BitwiseAnd", "BitwiseOr": "BitwiseOr", "BitwiseXor": "BitwiseXor"}


def _arithmetic(name: str, net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    if net.graph.dtype(a).kind == "b":  # sums and products of truth values
        logic = {"Add": "Or", "Mul": "And", "Max": "Or", "Min": "And"}.get(name)
        if logic is None:
            raise InputError("is not known for truth values")
        return net.op(logic, a, b)
    return _wide(net, [a, b], lambda p, q: net.op(name, p, q))


def _compare(name: str, net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    if net.graph.dtype(a).name in ("int8", "uint8", "int16", "uint16") or (
        net.graph.dtype(a).kind == "b" and name != "Equal"
    ):
        a, b = as_type(net, a, np.int32), as_type(net, b, np.int32)
    return net.op(name, a, b)


def _logic(name: str, net: Net, x1: Any, x2: Any) -> str:
    return net.op(name, *[as_type(net, tensor(net, v), np.bool_) for v in (x1, x2)])


def _bits(name: str, net: Net, x: Any, y: Any) -> str:
    a, b = together(net, x, y)
    if net.graph.dtype(a).kind == "b":
        return net.op(name.removeprefix("Bitwise"), a, b)
    return net.op(name, a, b)


OPS.update({kind: partial(_arithmetic, name) for kind, name in ARITHMETIC.items()})
OPS.update({kind: partial(_compare, name) for kind, name in COMPARE.items()})
OPS.update({kind: partial(_logic, name) for kind, name in LOGIC.items()})
OPS.update({kind: partial(_bits, name) for kind, name in BITS.items()})


@op("NotEqual")
def _not_equal(net: Net, x1: Any, x2: Any) -> str:
    return net.op("Not", _compare("Equal", net, x1, x2))


@op("LogicalNot")
def _not(net: Net, x: Any) -> str:
    return net.op("Not", as_type(net, tensor(net, x), np.bool_))


def _invert(net: Net, x: Any) -> str:
    value = tensor(net, x)
    return net.op("Not" if net.graph.dtype(value).kind == "b" else "BitwiseNot", value)


OPS["BitwiseInvert"] = OPS["BitwiseNot"] = _invert


@op("Divide", "TrueDivide")
def _divide(net: Net, x1: Any, x2: Any) -> str:
    return net.op("Div", *together(net, x1, x2, real=True))


@op("DivideNoNan")
def _divide_no_nan(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2, real=True)
    return net.where(net.op("Equal", b, net.number(0.0)), net.number(0.0), net.op("Div", a, b))


@op("FloorDivide")
def _floor_divide(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    if net.graph.dtype(a).kind == "f":
        return net.op("Floor", net.op("Div", a, b))

    def whole(p: str, q: str) -> str:  # the rest has the sign of the divisor
        return net.op("Div", net.op("Sub", p, net.op("Mod", p, q)), q)

    return _wide(net, [a, b], whole)


@op("Mod")
def _mod(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    if net.graph.dtype(a).kind != "f":
        return _wide(net, [a, b], lambda p, q: net.op("Mod", p, q))
    rest = net.op("Mod", a, b, fmod=1)
    wrong = net.op("Less", net.op("Mul", rest, b), net.number(0.0))
    return net.where(wrong, net.op("Add", rest, b), rest)


@op("Fmod")
def _fmod(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    return _wide(net, [a, b], lambda p, q: net.op("Mod", p, q, fmod=1))


@op("LeftShift", "BitwiseLeftShift")
def _left(net: Net, x: Any, y: Any) -> str:
    a, b = (as_type(net, v, np.int64) for v in together(net, x, y))
    kind = net.graph.dtype(together(net, x, y)[0])
    return as_type(net, net.op("Mul", a, net.op("Pow", like(net, a, 2), b)), kind)


@op("RightShift", "BitwiseRightShift")
def _right(net: Net, x: Any, y: Any) -> str:
    return _floor_divide(net, x, Value(net.op("Pow", tensor(net, np.array(2, np.int32)), together(net, x, y)[1])))


@op("Power")
def _power(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    return _wide(net, [a, b], lambda p, q: net.op("Pow", p, q))


@op("Arctan2")
def _arctan2(net: Net, x1: Any, x2: Any) -> str:
    y, x = together(net, x1, x2, real=True)
    zero, pi = net.number(0.0), net.number(math.pi)
    upright = net.op("Equal", x, zero)
    angle = net.op("Atan", net.op("Div", y, net.where(upright, net.number(1.0), x)))
    turn = net.where(net.op("Less", y, zero), net.op("Neg", pi), pi)
    angle = net.where(net.op("Less", x, zero), net.op("Add", angle, turn), angle)
    return net.where(upright, net.op("Mul", net.op("Sign", y), net.number(math.pi / 2)), angle)


@op("Hypot")
def _hypot(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2, real=True)
    return net.op("Sqrt", net.op("Add", net.op("Mul", a, a), net.op("Mul", b, b)))


def _log_add(base: float, net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2, real=True)
    top = net.op("Max", a, b)
    low = net.op("Mul", net.op("Neg", net.op("Abs", net.op("Sub", a, b))), net.number(math.log(base)))
    return net.op(
        "Add", top, net.op("Div", _series(net, Value(net.op("Exp", low)), log=True), net.number(math.log(base)))
    )


OPS["Logaddexp"], OPS["Logaddexp2"] = partial(_log_add, math.e), partial(_log_add, 2.0)


@op("Heaviside")
def _heaviside(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    zero, one = like(net, a, 0), like(net, a, 1)
    return net.where(net.op("Equal", a, zero), b, net.where(net.op("Greater", a, zero), one, zero))


@op("Isclose")
def _isclose(net: Net, x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: bool = False) -> str:
    if equal_nan:
        raise InputError("equal_nan is not converted")
    a, b = together(net, x1, x2, real=True)
    room = net.op("Add", net.op("Mul", net.op("Abs", b), net.number(rtol)), net.number(atol))
    near = net.op("LessOrEqual", net.op("Abs", net.op("Sub", a, b)), room)
    return net.op("Or", near, net.op("Equal", a, b))


@op("Where")
def _where(net: Net, condition: Any, x1: Any = None, x2: Any = None) -> str:
    if x1 is None or x2 is None:
        raise InputError("the places of what is true are not converted")
    a, b = together(net, x1, x2)
    chosen = as_type(net, tensor(net, condition), np.bool_)
    return _wide(net, [a, b], lambda p, q: net.where(chosen, p, q))


@op("Select")
def _select(net: Net, condlist: Any, choicelist: Any, default: Any = 0) -> str:
    if not isinstance(condlist, (list, tuple)) or not isinstance(choicelist, (list, tuple)) or not choicelist:
        raise InputError("takes lists")
    *choices, result = together(net, *choicelist, default)
    for condition, choice in reversed(list(zip(condlist, choices))):
        result = net.where(as_type(net, tensor(net, condition), np.bool_), choice, result)
    return result


# Over axes

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
    return over(net, "ReduceMean", _real(net, x), axis, keepdims)


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
    return variance(net, _real(net, x), axis, keepdims)


@op("Std")
def _std(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return net.op("Sqrt", variance(net, _real(net, x), axis, keepdims))


@op("Moments")
def _moments(net: Net, x: Any, *, axes: Any, keepdims: bool = False, synchronized: bool = False) -> list[str]:
    value = _real(net, x)
    return [over(net, "ReduceMean", value, axes, keepdims), variance(net, value, axes, keepdims)]


@op("Ptp")
def _ptp(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    value = tensor(net, x)
    return net.op("Sub", over(net, "ReduceMax", value, axis, keepdims), over(net, "ReduceMin", value, axis, keepdims))


@op("Logsumexp")
def _logsumexp(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return over(net, "ReduceLogSumExp", _real(net, x), axis, keepdims)


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
    return net.where(_isnan(net, x), net.number(value), _real(net, x))


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
    count = over(net, "ReduceSum", net.op("Cast", net.op("Not", _isnan(net, x)), to=1), axis, keepdims)
    return net.op("Div", _nansum(net, x, axis=axis, keepdims=keepdims), count)


@op("Argmax")
def _argmax(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return _arg(net, "ArgMax", x, axis, keepdims)


@op("Argmin")
def _argmin(net: Net, x: Any, *, axis: Any = None, keepdims: bool = False) -> str:
    return _arg(net, "ArgMin", x, axis, keepdims)


def _arg(net: Net, name: str, x: Any, axis: Any, keepdims: bool) -> str:
    value = tensor(net, x)
    value = value if net.graph.dtype(value).name in ("float32", "int32") else _real(net, x)
    if axis is None:
        if keepdims:
            raise InputError("over all axes, which are kept: this is not converted")
        value, axis = flat(net, value), 0
    y = net.op(name, value, axis=axis_of(net, value, axis), keepdims=int(bool(keepdims)))
    return net.op("Cast", y, to=6)


def _ordered(net: Net, value: str, at: int, count: str | None = None, largest: int = 0) -> tuple[str, str]:
    """Values in order along an axis, and where they were."""
    found: tuple[str, str] = net.graph.add(
        "TopK", value, count or net.sizes(value, at, at + 1), outputs=2, axis=at, largest=largest
    )
    return found


@op("Sort")
def _sort(net: Net, x: Any, *, axis: Any = -1) -> str:
    value = tensor(net, x)
    return _ordered(net, value, axis_of(net, value, axis))[0]


@op("Argsort")
def _argsort(net: Net, x: Any, *, axis: Any = -1) -> str:
    value = tensor(net, x)
    return net.op("Cast", _ordered(net, value, axis_of(net, value, axis))[1], to=6)


@op("TopK")
def _top(net: Net, x: Any, *, k: int, sorted: bool = True) -> list[str]:
    value = tensor(net, x)
    y, places = _ordered(net, value, net.rank(value) - 1, net.ints([k]), 1)
    return [y, net.op("Cast", places, to=6)]


@op("InTopK")
def _in_top(net: Net, targets: Any, predictions: Any, *, k: int) -> str:
    scores, wanted = _real(net, predictions), as_type(net, tensor(net, targets), np.int64)
    own = net.op("GatherElements", scores, net.op("Unsqueeze", wanted, net.ints([-1])), axis=-1)
    better = net.op("ReduceSum", net.op("Cast", net.op("Greater", scores, own), to=7), net.ints([-1]), keepdims=0)
    return net.op("Less", better, net.graph.constant(np.array(k, np.int64), "k"))


def _gathered(net: Net, x: Any, axis: Any) -> tuple[str, int, int, list[int]]:
    """The axes joined to one in front: the value, its size, how many axes there were, and which."""
    value = _real(net, x)
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
    ordered = _ordered(net, joined, 0)[0]
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
    value = _real(net, y)
    at = axis_of(net, value, axis)
    pairs = net.op("Add", net.part(value, at, 1, END), net.part(value, at, 0, -1))
    return net.op("Mul", net.op("ReduceSum", pairs, net.ints([at]), keepdims=0), net.number(dx / 2))


# Products


@op("Matmul")
def _matmul(net: Net, x1: Any, x2: Any) -> str:
    return net.op("MatMul", *together(net, x1, x2))


@op("Dot")
def _dot(net: Net, x1: Any, x2: Any) -> str:
    """The last axis with the last but one."""
    a, b = together(net, x1, x2)
    if not net.rank(a) or not net.rank(b):
        return net.op("Mul", a, b)
    if net.rank(b) <= 2:
        return net.op("MatMul", a, b)
    return _tensordot(net, Value(a), Value(b), axes=[[net.rank(a) - 1], [net.rank(b) - 2]])


@op("Tensordot")
def _tensordot(net: Net, x1: Any, x2: Any, *, axes: Any = 2) -> str:
    a, b = together(net, x1, x2)
    if isinstance(axes, int):
        axes = [list(range(net.rank(a) - axes, net.rank(a))), list(range(axes))]
    first, second = axes_of(net, a, axes[0]), axes_of(net, b, axes[1])
    if len(first) != len(second) or net.rank(a) + net.rank(b) > 24:
        raise InputError(f"axes of {str(axes)[:40]} are not known")
    left = [chr(97 + i) for i in range(net.rank(a))]
    right = [chr(65 + i) for i in range(net.rank(b))]
    for p, q in zip(first, second):
        right[q] = left[p]
    out = [c for c in left + right if (c in left) != (c in right)]
    return net.op("Einsum", a, b, equation=f"{''.join(left)},{''.join(right)}->{''.join(out)}")


@op("Einsum")
def _einsum(net: Net, *operands: Any, subscripts: str) -> str:
    values = together(net, *operands)
    return net.op("Einsum", *values, equation=str(subscripts).replace(" ", ""))


@op("Inner")
def _inner(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    return _tensordot(net, Value(a), Value(b), axes=[[net.rank(a) - 1], [net.rank(b) - 1]])


@op("Outer")
def _outer(net: Net, x1: Any, x2: Any) -> str:
    a, b = (flat(net, v) for v in together(net, x1, x2))
    return net.op("Mul", net.op("Unsqueeze", a, net.ints([1])), b)


@op("Vdot")
def _vdot(net: Net, x1: Any, x2: Any) -> str:
    return net.op("MatMul", *[flat(net, v) for v in together(net, x1, x2)])


@op("CDist")
def _cdist(net: Net, x: Any, y: Any) -> str:
    a, b = together(net, x, y, real=True)
    apart = net.op("Sub", net.op("Unsqueeze", a, net.ints([-2])), net.op("Unsqueeze", b, net.ints([-3])))
    return net.op("ReduceL2", apart, net.ints([-1]), keepdims=0)


@op("ExtractSequences")
def _sequences(net: Net, x: Any, *, sequence_length: int, sequence_stride: int) -> str:
    value = tensor(net, x)
    size = fixed(net, x, net.rank(value) - 1)
    count = (size - sequence_length) // sequence_stride + 1
    places = np.arange(count)[:, None] * sequence_stride + np.arange(sequence_length)
    if count < 1 or places.size > 1 << 20:
        raise InputError(f"sequences of {sequence_length} of {size} are not possible")
    return net.op("Gather", value, net.graph.constant(places.astype(np.int64), "places"), axis=-1)


def _spectrum(net: Net, x: Any, length: int, given: int) -> list[str]:
    """Real and imaginary parts of a Fourier transform of real values, as products with waves."""
    if length * length > 1 << 24:
        raise InputError(f"a transform of {length} values is not converted")
    angle = 2 * np.pi * np.outer(np.arange(min(given, length)), np.arange(length // 2 + 1)) / length
    value = net.part(_real(net, x), net.rank(tensor(net, x)) - 1, 0, length)
    return [net.op("MatMul", value, net.array(wave, "waves")) for wave in (np.cos(angle), -np.sin(angle))]


@op("RFFT")
def _rfft(net: Net, x: Any, *, fft_length: Any = None) -> list[str]:
    given = fixed(net, x, net.rank(tensor(net, x)) - 1)
    return _spectrum(net, x, given if fft_length is None else int(fft_length), given)


@op("IRFFT")
def _irfft(net: Net, x: Any, *, fft_length: Any = None) -> str:
    """Each frequency but the first and the last counts twice."""
    parts = [tensor(net, v) for v in x]
    count = fixed(net, x[0], net.rank(parts[0]) - 1)
    length = 2 * (count - 1) if fft_length is None else int(fft_length)
    kept = length // 2 + 1
    if length * length > 1 << 24 or kept > count or length < 1:
        raise InputError(f"a transform of {length} values is not converted")
    angle = 2 * np.pi * np.outer(np.arange(kept), np.arange(length)) / length
    twice = np.full((kept, 1), 2.0)
    twice[0] = 1
    twice[-1] = 1 if length % 2 == 0 else 2
    last = net.rank(parts[0]) - 1
    a, b = (net.op("MatMul", net.part(p, last, 0, kept), net.array(twice * wave / length, "waves"))
            for p, wave in zip(parts, (np.cos(angle), -np.sin(angle))))  # fmt: skip
    return net.op("Add", a, b)


@op("STFT")
def _stft(
    net: Net, x: Any, *, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann",
    center: bool = True,
) -> list[str]:  # fmt: skip
    if not 0 < fft_length <= 1 << 12 or sequence_length < 1:
        raise InputError(f"a transform of {fft_length} values is not converted")
    if window not in ("hann", "hamming", None) or sequence_length > fft_length:
        raise InputError(f"a window of {str(window)[:40]} is not converted")
    turn = 2 * np.pi * np.arange(sequence_length) / sequence_length
    shape = {"hann": 0.5 - 0.5 * np.cos(turn), "hamming": 0.54 - 0.46 * np.cos(turn)}.get(window, np.ones(len(turn)))
    left = (fft_length - sequence_length) // 2
    shape = np.pad(shape, (left, fft_length - sequence_length - left))
    value = _real(net, x)
    rank = net.rank(value)
    flat = net.op("Reshape", value, net.joined(net.ints([-1, 1]), net.sizes(value, rank - 1)))
    if center:
        flat = net.op("Pad", flat, net.ints([0, 0, fft_length // 2] * 2), mode="reflect")
    angle = 2 * np.pi * np.outer(np.arange(fft_length // 2 + 1), np.arange(fft_length)) / fft_length
    results = []
    for wave in (np.cos(angle), -np.sin(angle)):
        y = net.op("Conv", flat, net.array((wave * shape)[:, None], "waves"), kernel_shape=[fft_length],
                   strides=[sequence_stride])  # fmt: skip
        y = net.op("Transpose", y, perm=[0, 2, 1])
        before = [net.sizes(value, 0, rank - 1)] if rank > 1 else []
        results.append(net.op("Reshape", y, net.joined(*before, net.sizes(y, 1))))
    return results


@op("Cross")
def _cross(net: Net, x1: Any, x2: Any, *, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None) -> str:
    a, b = together(net, x1, x2)
    rank = net.rank(a)
    if axis is not None and axis % rank == rank - 1:
        axisa = axisb = axisc = -1
    elif axis is not None or (axisa, axisb, axisc) != (-1, -1, -1):
        raise InputError("is converted along the last axis only")
    if fixed(net, Value(a), rank - 1) != 3 or net.size(b, net.rank(b) - 1) != 3:
        raise InputError("is converted for 3 elements only")
    turn, back = net.ints([1, 2, 0]), net.ints([2, 0, 1])
    p = net.op("Mul", net.op("Gather", a, turn, axis=-1), net.op("Gather", b, back, axis=-1))
    q = net.op("Mul", net.op("Gather", a, back, axis=-1), net.op("Gather", b, turn, axis=-1))
    return net.op("Sub", p, q)


@op("Norm")
def _norm(net: Net, x: Any, *, ord: Any = None, axis: Any = None, keepdims: bool = False) -> str:
    value = _real(net, x)
    axes = axes_of(net, value, axis)
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return over(net, "ReduceL2", value, axes, keepdims)
    if len(axes) != 1 or not isinstance(ord, (int, float)):
        raise InputError(f"a norm of order {str(ord)[:20]} over these axes is not converted")
    magnitude = net.op("Abs", value)
    if math.isinf(ord):
        return over(net, "ReduceMax" if ord > 0 else "ReduceMin", magnitude, axes, keepdims)
    if ord == 0:
        return net.op("Cast", over(net, "ReduceSum", as_type(net, value, np.bool_), axes, keepdims), to=1)
    total = over(net, "ReduceSum", net.op("Pow", magnitude, net.number(float(ord))), axes, keepdims)
    return net.op("Pow", total, net.number(1 / ord))


@op("Normalize")
def _normalize(net: Net, x: Any, *, axis: Any = -1, order: Any = 2, epsilon: Any = None) -> str:
    value, least = _real(net, x), 1e-7 if epsilon is None else float(epsilon)
    if order == 2:
        power = over(net, "ReduceSumSquare", value, axis, True)
        return net.op("Div", value, net.op("Sqrt", net.op("Max", power, net.number(least**2))))
    length = _norm(net, x, ord=order, axis=axis, keepdims=True)
    return net.op("Div", value, net.op("Max", length, net.number(least)))
