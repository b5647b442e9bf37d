"""Functions of two arrays, element by element."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import Net, Value
from sensorium.formats.shared.keras.ops.call import OPS, as_type, like, op, tensor, together, wide
from sensorium.formats.shared.keras.ops.elements import series

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
    return wide(net, [a, b], lambda p, q: net.op(name, p, q))


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

    return wide(net, [a, b], whole)


@op("Mod")
def _mod(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    if net.graph.dtype(a).kind != "f":
        return wide(net, [a, b], lambda p, q: net.op("Mod", p, q))
    rest = net.op("Mod", a, b, fmod=1)
    wrong = net.op("Less", net.op("Mul", rest, b), net.number(0.0))
    return net.where(wrong, net.op("Add", rest, b), rest)


@op("Fmod")
def _fmod(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    return wide(net, [a, b], lambda p, q: net.op("Mod", p, q, fmod=1))


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
    return wide(net, [a, b], lambda p, q: net.op("Pow", p, q))


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
        "Add", top, net.op("Div", series(net, Value(net.op("Exp", low)), log=True), net.number(math.log(base)))
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
    return wide(net, [a, b], lambda p, q: net.where(chosen, p, q))


@op("Select")
def _select(net: Net, condlist: Any, choicelist: Any, default: Any = 0) -> str:
    if not isinstance(condlist, (list, tuple)) or not isinstance(choicelist, (list, tuple)) or not choicelist:
        raise InputError("takes lists")
    *choices, result = together(net, *choicelist, default)
    for condition, choice in reversed(list(zip(condlist, choices))):
        result = net.where(as_type(net, tensor(net, condition), np.bool_), choice, result)
    return result
