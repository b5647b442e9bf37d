"""Element by element, with numbers, with broadcasting; and reductions."""

from __future__ import annotations

import math

import numpy as np

from sensorium.formats.mxnet.call import Call, operator

# Two arrays of equal or of broadcast shape.
TWO = {
    "Add": "elemwise_add _plus _Plus _add _grad_add broadcast_add broadcast_plus _npi_add",
    "Sub": "elemwise_sub _minus _Minus _sub broadcast_sub broadcast_minus _npi_subtract",
    "Mul": "elemwise_mul _mul _Mul broadcast_mul _npi_multiply",
    "Div": "elemwise_div _div _Div broadcast_div _npi_true_divide",
    "Pow": "_power _Power broadcast_power _npi_power",
    "Max": "_maximum _Maximum broadcast_maximum _npi_maximum",
    "Min": "_minimum _Minimum broadcast_minimum _npi_minimum",
    "Mod": "_mod _Mod broadcast_mod _npi_mod",
    "Hypot": "_hypot _Hypot broadcast_hypot _npi_hypot",
    "Equal": "_equal _Equal broadcast_equal _npi_equal",
    "NotEqual": "_not_equal _Not_Equal broadcast_not_equal _npi_not_equal",
    "Greater": "_greater _Greater broadcast_greater _npi_greater",
    "GreaterOrEqual": "_greater_equal _Greater_Equal broadcast_greater_equal _npi_greater_equal",
    "Less": "_lesser _Lesser broadcast_lesser _npi_less",
    "LessOrEqual": "_lesser_equal _Lesser_Equal broadcast_lesser_equal _npi_less_equal",
    "And": "_logical_and _Logical_And broadcast_logical_and _npi_logical_and",
    "Or": "_logical_or _Logical_Or broadcast_logical_or _npi_logical_or",
    "Xor": "_logical_xor _Logical_Xor broadcast_logical_xor _npi_logical_xor",
}

# An array and a number (`scalar`); names beginning with R have them the other way round.
NUMBER = {
    "Add": "_plus_scalar _PlusScalar _npi_add_scalar",
    "Sub": "_minus_scalar _MinusScalar _npi_subtract_scalar",
    "RSub": "_rminus_scalar _RMinusScalar _npi_rsubtract_scalar",
    "Mul": "_mul_scalar _MulScalar _npi_multiply_scalar",
    "Div": "_div_scalar _DivScalar _npi_true_divide_scalar",
    "RDiv": "_rdiv_scalar _RDivScalar _npi_rtrue_divide_scalar",
    "Pow": "_power_scalar _PowerScalar _npi_power_scalar",
    "RPow": "_rpower_scalar _RPowerScalar _npi_rpower_scalar",
    "Max": "_maximum_scalar _MaximumScalar _npi_maximum_scalar",
    "Min": "_minimum_scalar _MinimumScalar _npi_minimum_scalar",
    "Mod": "_mod_scalar _ModScalar _npi_mod_scalar",
    "RMod": "_rmod_scalar _RModScalar _npi_rmod_scalar",
    "Hypot": "_hypot_scalar _HypotScalar _npi_hypot_scalar",
    "Equal": "_equal_scalar _EqualScalar _npi_equal_scalar",
    "NotEqual": "_not_equal_scalar _NotEqualScalar _npi_not_equal_scalar",
    "Greater": "_greater_scalar _GreaterScalar _npi_greater_scalar",
    "GreaterOrEqual": "_greater_equal_scalar _GreaterEqualScalar _npi_greater_equal_scalar",
    "Less": "_lesser_scalar _LesserScalar _npi_less_scalar",
    "LessOrEqual": "_lesser_equal_scalar _LesserEqualScalar _npi_less_equal_scalar",
    "And": "_logical_and_scalar _LogicalAndScalar",
    "Or": "_logical_or_scalar _LogicalOrScalar",
    "Xor": "_logical_xor_scalar _LogicalXorScalar",
}

# What ONNX has by itself.
ONE = {
    "Abs": "abs _npi_absolute _npi_abs", "Sign": "_contrib_sign_ste sign _npi_sign", "Ceil": "ceil _npi_ceil",
    "Floor": "floor _npi_floor",
    "Sqrt": "sqrt _npi_sqrt", "Exp": "exp _npi_exp", "Log": "log _npi_log", "Reciprocal": "reciprocal _npi_reciprocal",
    "Neg": "negative _npi_negative", "Sin": "sin _npi_sin", "Cos": "cos _npi_cos", "Tan": "tan _npi_tan",
    "Asin": "arcsin _npi_arcsin", "Acos": "arccos _npi_arccos", "Atan": "arctan _npi_arctan",
    "Sinh": "sinh _npi_sinh", "Cosh": "cosh _npi_cosh", "Tanh": "tanh _npi_tanh", "Asinh": "arcsinh _npi_arcsinh",
    "Acosh": "arccosh _npi_arccosh", "Atanh": "arctanh _npi_arctanh", "Relu": "relu _npx_relu",
    "Sigmoid": "sigmoid _npx_sigmoid", "Softsign": "softsign", "Erf": "erf _npx_erf", "Mish": "mish",
}  # fmt: skip

RIGHT = {name: op for op, names in NUMBER.items() for name in names.split()}
PAIR = {name: op for op, names in TWO.items() for name in names.split()}
SINGLE = {name: op for op, names in ONE.items() for name in names.split()}


def combine(call: Call, op: str, a: str, b: str) -> str:
    """One of the operators above; comparisons give 0 and 1 of the type of what they compare."""
    kind = call.graph.dtype(a)
    if kind != call.graph.dtype(b):
        raise call.fault(f"its inputs are of the types {kind} and {call.graph.dtype(b)}")
    if kind == np.bool_ and op not in ("And", "Or", "Xor", "Equal"):
        raise call.fault("arithmetic of truth values is not supported")
    if op == "Mod":  # of the sign of the divisor, as in Python
        whole = call.add("Div", a, b)
        if kind.kind != "f":
            return str(call.add("Mod", a, b))
        return str(call.add("Sub", a, call.add("Mul", b, call.add("Floor", whole))))
    if op == "Hypot":
        return str(call.add("Sqrt", call.add("Add", call.add("Mul", a, a), call.add("Mul", b, b))))
    if op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"):
        return str(call.add(op, a, b))
    if op == "NotEqual":
        return call.cast(call.add("Not", call.add("Equal", a, b)), kind)
    if op in ("And", "Or", "Xor"):
        a, b = call.cast(a, np.bool_), call.cast(b, np.bool_)
    result = str(call.add(op, a, b))
    return result if "_npi_" in call.op else call.cast(result, kind)


@operator(*PAIR)
def two(call: Call) -> str:
    call.expect(2)
    return combine(call, PAIR[call.op], call.input(0), call.input(1))


@operator(*RIGHT)
def with_number(call: Call) -> str:
    call.expect(1)
    op, x = RIGHT[call.op], call.x
    value = call.number("scalar") if call.attributes.get("scalar", "") not in ("True", "False") else call.flag("scalar")
    if call.graph.dtype(x).kind in "iu" and (value != int(value) or op in ("Div", "RDiv", "RPow", "Pow")):
        raise call.fault(f"the number {value} with an array of whole numbers is not supported")
    number = call.number_like(value, x)
    if op.startswith("R"):
        return combine(call, op[1:], number, x)
    return combine(call, op, x, number)


@operator(*SINGLE)
def one(call: Call) -> str:
    call.expect(1)
    return str(call.add(SINGLE[call.op], call.x))


def _times(call: Call, value: str, factor: float) -> str:
    return str(call.add("Mul", value, call.number_like(factor, value)))


def _towards_zero(call: Call, value: str) -> str:
    return str(call.add("Mul", call.add("Sign", value), call.add("Floor", call.add("Abs", value))))


def powered(call: Call, value: str, exponent: float) -> str:
    root = call.add("Pow", call.add("Abs", value), call.number_like(exponent, value))
    return str(call.add("Mul", call.add("Sign", value), root))


@operator("square", "rsqrt", "cbrt", "rcbrt", "log2", "log10", "log1p", "expm1", "degrees", "radians", "trunc", "fix",
    "round", "rint", "logical_not", "_contrib_div_sqrt_dim", "_npi_square", "_npi_log2", "_npi_log10", "_npi_log1p",
    "_npi_expm1", "_npi_trunc", "_npi_fix", "_npi_rint", "_npi_logical_not", "_npi_cbrt", "silu", "_contrib_quadratic",
    "_npi_degrees", "_npi_radians")  # fmt: skip
def one_more(call: Call) -> str:
    call.expect(1)
    x, name = call.x, call.op.removeprefix("_npi_")
    if name == "_contrib_quadratic":
        a, b, c = (call.number_like(call.number(k, 0.0), x) for k in "abc")
        inner = call.add("Add", call.add("Mul", a, x), b)
        return str(call.add("Add", call.add("Mul", inner, x), c))
    if name == "square":
        return str(call.add("Mul", x, x))
    if name == "rsqrt":
        return str(call.add("Reciprocal", call.add("Sqrt", x)))
    if name in ("cbrt", "rcbrt"):
        root = powered(call, x, 1 / 3)
        return root if name == "cbrt" else str(call.add("Reciprocal", root))
    if name in ("log2", "log10"):
        return _times(call, call.add("Log", x), 1 / math.log(float(name[3:])))
    if name == "log1p":
        return str(call.add("Log", call.add("Add", x, call.number_like(1, x))))
    if name == "expm1":
        return str(call.add("Sub", call.add("Exp", x), call.number_like(1, x)))
    if name in ("degrees", "radians"):
        return _times(call, x, 180 / math.pi if name == "degrees" else math.pi / 180)
    if name in ("trunc", "fix"):
        return _towards_zero(call, x)
    if name == "round":  # halves away from zero
        apart = call.add("Floor", call.add("Add", call.add("Abs", x), call.number_like(0.5, x)))
        return str(call.add("Mul", call.add("Sign", x), apart))
    if name == "rint":
        if call.op == "rint":  # halves down
            return str(call.add("Ceil", call.add("Sub", x, call.number_like(0.5, x))))
        return str(call.add("Round", x))
    if name == "logical_not":
        return call.cast(
            call.add("Not", call.cast(x, np.bool_)), np.bool_ if "_npi" in call.op else call.graph.dtype(x)
        )
    if name == "silu":
        return str(call.add("Mul", x, call.add("Sigmoid", x)))
    last = call.cast(call.dims(x, -1), np.float32)
    return str(
        call.add("Div", x, call.add("Sqrt", call.add("Reshape", last, call.graph.constant(np.zeros(0, np.int64)))))
    )


@operator("smooth_l1", "_npx_smooth_l1")
def smooth_l1(call: Call) -> str:
    square = call.number("scalar", 1.0) ** 2
    x = call.x
    if square == 0:
        raise call.fault("scalar=0")
    size = call.add("Abs", x)
    inner = _times(call, call.add("Mul", x, x), 0.5 * square)
    outer = call.add("Sub", size, call.number_like(0.5 / square, x))
    return str(call.add("Where", call.add("Less", size, call.number_like(1 / square, x)), inner, outer))


@operator("clip", "_npi_clip")
def clip(call: Call) -> str:
    low = call.number_like(call.number("a_min"), call.x) if call.given("a_min") else ""
    high = call.number_like(call.number("a_max"), call.x) if call.given("a_max") else ""
    return str(call.add("Clip", call.x, low, high))


@operator("add_n", "ElementWiseSum", "_sum", "elemwise_sum")
def add_all(call: Call) -> str:
    return str(call.add("Sum", *call.inputs))


@operator("where", "_npi_where")
def where(call: Call) -> str:
    call.expect(3)
    condition, x, y = call.inputs
    if call.rank(condition) == 1 and call.rank(x) > 1 and "_npi" not in call.op:
        condition = call.add("Unsqueeze", condition, call.ints(*range(1, call.rank(x))))
    return str(call.add("Where", call.cast(condition, np.bool_), x, y))


# Reductions

REDUCE = {"sum": "ReduceSum", "sum_axis": "ReduceSum", "mean": "ReduceMean", "prod": "ReduceProd", "max": "ReduceMax",
    "amax": "ReduceMax", "amin": "ReduceMin", "max_axis": "ReduceMax", "min": "ReduceMin",
    "min_axis": "ReduceMin"}  # fmt: skip


@operator(
    *REDUCE,
    "nansum",
    "norm",
    *(f"{p}{n}" for p in ("_np_", "_npi_") for n in ("sum", "mean", "prod", "max", "min")),
    "_np_amax",
    "_np_amin",
)
def reduce(call: Call) -> str:
    call.expect(1)
    name = call.op.removeprefix("_npi_").removeprefix("_np_")
    numpy_style = name != call.op
    rank = call.rank(call.x)
    axes = [call.axis(a, rank) for a in call.wholes("axis")]
    if call.flag("exclude"):
        if len(set(axes)) == rank:
            return call.x  # nothing is left to reduce
        axes = [a for a in range(rank) if a not in axes] if axes else []
    keep = call.flag("keepdims")
    call.refuse("dtype", "float32")
    call.refuse("out_dtype", "float32")
    call.refuse("initial")
    call.used.add("safe_accumulation")
    everything = not axes or len(axes) == rank
    which = call.ints(*(axes or range(rank)))
    if name == "norm":
        order = call.whole("ord", 2)
        if order not in (1, 2):
            raise call.fault(f"ord={order} is not supported")
        op = "ReduceL1" if order == 1 else "ReduceL2"
        value = call.add(op, call.x, which, keepdims=int(keep))
    elif name == "nansum":
        clean = call.add("Where", call.add("IsNaN", call.x), call.number_like(0, call.x), call.x)
        value = call.add("ReduceSum", clean, which, keepdims=int(keep))
    else:
        value = call.add(REDUCE[name], call.x, which, keepdims=int(keep))
    if everything and not keep and not numpy_style:  # MXNet's arrays have an axis
        value = call.add("Reshape", value, call.ints(1))
    return str(value)


@operator("argmax", "argmin", "argmax_channel", "_npi_argmax", "_npi_argmin")
def arg_max(call: Call) -> str:
    call.expect(1)
    x, keep = call.x, call.flag("keepdims")
    op = "ArgMin" if "argmin" in call.op else "ArgMax"
    kind = np.int64 if "_npi" in call.op else np.float32
    if call.op == "argmax_channel":
        return call.cast(call.add(op, x, axis=1, keepdims=0), kind)
    axis = call.whole_or_none("axis")
    if axis is None:
        flat = call.add("Reshape", x, call.ints(-1))
        value = call.add(op, flat, axis=0, keepdims=1)
        if keep or "_npi" in call.op:
            value = call.add("Reshape", value, call.ints(*[1] * (call.rank(x) if keep else 0)))
        return call.cast(value, kind)
    axis = call.axis(axis, call.rank(x))
    value = call.add(op, x, axis=axis, keepdims=int(keep))
    if call.rank(x) == 1 and not keep and "_npi" not in call.op:
        value = call.add("Reshape", value, call.ints(1))
    return call.cast(value, kind)


# Products


def _flip(call: Call, value: str, wanted: bool) -> str:
    if not wanted:
        return value
    rank = call.rank(value)
    if rank < 2:
        return value
    return str(call.add("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2]))


@operator("dot", "_npi_dot", "_np_dot", "_npi_matmul")
def dot(call: Call) -> str:
    call.expect(2)
    call.refuse("forward_stype", "default")
    a, b = call.inputs
    ranks = call.rank(a), call.rank(b)
    flips = call.flag("transpose_a"), call.flag("transpose_b")
    if ranks == (1, 1):
        value = call.add("MatMul", a, b)
        return str(value if "_np" in call.op else call.add("Reshape", value, call.ints(1)))
    if "matmul" in call.op:
        return str(call.add("MatMul", a, b))
    # Of more than two axes, the last of the first array meets the first of the second (or the other way, transposed).
    if flips[0]:
        a = str(call.add("Transpose", a, perm=[*range(1, ranks[0]), 0]))
    if flips[1]:
        b = str(call.add("Transpose", b, perm=[ranks[1] - 1, *range(ranks[1] - 1)]))
    if ranks[1] <= 2:
        return str(call.add("MatMul", a, b))
    flat = call.add("Reshape", b, call.ints(0, -1))
    size = call.add("Concat", *([call.dims(a, 0, ranks[0] - 1)] if ranks[0] > 1 else []), call.dims(b, 1, ranks[1]),
                    axis=0)  # fmt: skip
    return str(call.add("Reshape", call.add("MatMul", a, flat), size))


@operator("batch_dot", "_npx_batch_dot", "_linalg_gemm2", "linalg_gemm2")
def batch_dot(call: Call) -> str:
    call.expect(2)
    call.refuse("forward_stype", "default")
    if call.whole("axis", -2) != -2:
        raise call.fault("an axis other than -2 is not supported")
    a = _flip(call, call.input(0), call.flag("transpose_a"))
    b = _flip(call, call.input(1), call.flag("transpose_b"))
    value = str(call.add("MatMul", a, b))
    factor = call.number("alpha", 1.0)
    return value if factor == 1 else _times(call, value, factor)


@operator("_contrib_interleaved_matmul_selfatt_qk")
def attention_scores(call: Call) -> str:
    """Queries, keys and values side by side: (time, batch, heads * 3 * width) to (batch * heads, time, time)."""
    query, key, _ = _heads(call, call.x, 3)
    scale = call.shape(query)[-1] ** -0.5
    return str(call.add("MatMul", _times(call, query, scale), _flip(call, key, True)))


@operator("_contrib_interleaved_matmul_selfatt_valatt")
def attention_values(call: Call) -> str:
    return _joined(call, call.add("MatMul", call.input(1), _heads(call, call.x, 3)[2]))


@operator("_contrib_interleaved_matmul_encdec_qk")
def cross_scores(call: Call) -> str:
    query = _heads(call, call.x, 1)[0]
    key = _heads(call, call.input(1), 2)[0]
    scale = call.shape(query)[-1] ** -0.5
    return str(call.add("MatMul", _times(call, query, scale), _flip(call, key, True)))


@operator("_contrib_interleaved_matmul_encdec_valatt")
def cross_values(call: Call) -> str:
    return _joined(call, call.add("MatMul", call.input(1), _heads(call, call.x, 2)[1]))


def _heads(call: Call, value: str, parts: int) -> list[str]:
    """(time, batch, heads * parts * width) to `parts` arrays of (batch * heads, time, width)."""
    heads = call.whole("heads")
    if heads < 1 or call.rank(value) != 3 or call.shape(value)[2] % (heads * parts):
        raise call.fault(f"heads={heads} for an input of shape {list(call.shape(value))}")
    width = call.shape(value)[2] // heads // parts
    split = call.add("Reshape", value, call.ints(0, -1, parts, width))
    moved = call.add("Transpose", split, perm=[2, 1, 0, 3])
    return [str(call.add("Gather", moved, call.graph.constant(np.array(i, np.int64)), axis=0)) for i in range(parts)]


def _joined(call: Call, value: str) -> str:
    """(batch * heads, time, width) to (time, batch, heads * width)."""
    width = call.whole("heads") * call.shape(value)[2]
    moved = call.add("Transpose", value, perm=[1, 0, 2])
    return str(call.add("Reshape", moved, call.ints(0, -1, width)))
