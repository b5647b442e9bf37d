"""CNTK's operations of each element, and of whole samples.

What CNTK's own kernels do at the edges is kept: 1/0 is 0, the root of a negative number is 0, the logarithm of 0 is
-85.1.
"""

from __future__ import annotations

import math

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.cntk.attributes import given
from sensorium.formats.cntk.build import Builder, Span, Value
from sensorium.formats.cntk.network import Function

SMALLEST_LOG = math.exp(-85.1)  # CNTK's logarithm goes no lower


UNARY = {
    "Negate": "Neg",
    "Sigmoid": "Sigmoid",
    "StableSigmoid": "Sigmoid",
    "Tanh": "Tanh",
    "ReLU": "Relu",
    "Exp": "Exp",
    "Floor": "Floor",
    "Abs": "Abs",
    "Sin": "Sin",
    "Cos": "Cos",
    "Tan": "Tan",
    "Sinh": "Sinh",
    "Cosh": "Cosh",
    "Asin": "Asin",
    "Acos": "Acos",
    "Atan": "Atan",
    "Asinh": "Asinh",
    "Atanh": "Atanh",
}


BINARY = {"Plus": "Add", "Minus": "Sub", "ElementTimes": "Mul", "Pow": "Pow"}


COMPARE = {
    "Equal": ("Equal", False),
    "NotEqual": ("Equal", True),
    "Less": ("Less", False),
    "LessEqual": ("LessOrEqual", False),
    "Greater": ("Greater", False),
    "GreaterEqual": ("GreaterOrEqual", False),
}


def unary(b: Builder, f: Function, x: list[Value]) -> Value:
    return b.add(UNARY[f.op], x[0])


def identity(b: Builder, f: Function, x: list[Value]) -> Value:
    return x[0]


def reciprocal(b: Builder, f: Function, x: list[Value]) -> Value:
    stored = b.known(x[0])
    if stored is not None and stored.all():
        return b.add("Reciprocal", x[0])
    zero = b.number(0)
    return b.add("Where", b.add("Equal", x[0], zero), zero, b.add("Reciprocal", x[0]))


def logarithm(b: Builder, f: Function, x: list[Value]) -> Value:
    return b.add("Log", b.add("Max", x[0], b.number(SMALLEST_LOG)))


def root(b: Builder, f: Function, x: list[Value]) -> Value:
    return b.add("Sqrt", b.add("Relu", x[0]))


def elu(b: Builder, f: Function, x: list[Value]) -> Value:
    return b.add("Elu", x[0], alpha=float(given(f, "alpha", (int, float), 1.0)))


def softmax(b: Builder, f: Function, x: list[Value]) -> Value:
    """Over all of a sample."""
    kind = {"Softmax": "Softmax", "LogSoftmax": "LogSoftmax", "Hardmax": "Hardmax"}[f.op]
    static = b.static(x[0])
    flat = b.reshape(x[0], [math.prod(static)])
    return b.reshape(b.add(kind, flat, axis=-1), static)


def binary(b: Builder, f: Function, x: list[Value]) -> Value:
    found = b.add(BINARY[f.op], *b.aligned(x))
    return Value(found.name, found.dynamic, span=_span(b, f, x))


def _span(b: Builder, f: Function, x: list[Value]) -> Span | None:
    """1 - flag, and flag * flag, are flags again: how parts of sequences are marked."""
    first, second = x[0].span, x[1].span
    if f.op == "Minus" and second is not None:
        one = b.known(x[0])
        if one is not None and one.size == 1 and one.item() == 1:
            start, stop = second
            if start == 0 and stop is not None:
                return (stop, None)
            if stop is None:
                return (0, start)
    if f.op == "ElementTimes" and first is not None and second is not None:
        return intersection(first, second)
    return None


def intersection(a: Span, b: Span) -> Span | None:
    """Steps that two slices have in common, where that is a slice whatever the length."""
    starts = {a[0], b[0]} - {0}
    stops = {s for s in (a[1], b[1]) if s is not None}
    if len(starts) > 1 or len(stops) > 1:
        return None
    return (next(iter(starts), 0), next(iter(stops), None))


def compare(b: Builder, f: Function, x: list[Value]) -> Value:
    kind, invert = COMPARE[f.op]
    found = b.add(kind, *b.aligned(x))
    return b.add("Cast", b.add("Not", found) if invert else found, to=1)


def log_plus(b: Builder, f: Function, x: list[Value]) -> Value:
    one, two = b.aligned(x)
    most = b.add("Max", one, two)
    total = b.add("Add", b.add("Exp", b.add("Sub", one, most)), b.add("Exp", b.add("Sub", two, most)))
    return b.add("Add", most, b.add("Log", total))


def clip(b: Builder, f: Function, x: list[Value]) -> Value:
    value, low, high = b.aligned(x)
    return b.add("Min", b.add("Max", value, low), high)


def select(b: Builder, f: Function, x: list[Value]) -> Value:
    flag, yes, no = b.aligned(x)
    return b.add("Where", b.add("Not", b.add("Equal", flag, b.number(0))), yes, no)


def assign(b: Builder, f: Function, x: list[Value]) -> Value:
    b.top.notes.append(f"the assignment '{f.label}' keeps nothing from one call to the next")
    return x[1]


def fill(b: Builder, f: Function, x: list[Value]) -> Value:
    number = float(given(f, "fillValue", (int, float)))
    return b.add("Add", b.add("Mul", x[0], b.number(0)), b.number(number))


def cosine(b: Builder, f: Function, x: list[Value]) -> Value:
    """Of whole samples."""
    flat = [b.reshape(v, [math.prod(b.static(v))]) for v in x]
    one, two = b.aligned(flat)
    last = b.top.ints(-1)

    def total(value: Value) -> Value:
        return Value(b.graph.add("ReduceSum", value.name, last, keepdims=0), value.dynamic)

    norms = b.add("Sqrt", b.add("Mul", total(b.add("Mul", one, one)), total(b.add("Mul", two, two))))
    return b.add("Div", total(b.add("Mul", one, two)), b.add("Max", norms, b.number(1e-30)))


def batch_norm(b: Builder, f: Function, x: list[Value]) -> Value:
    value = x[0]
    stored = [b.known(v) for v in x[1:5]]
    if any(array is None for array in stored):
        raise InputError("its statistics are not stored in the file")
    scale, bias, mean, variance = (np.asarray(a, np.float64).reshape(-1) for a in stored)
    epsilon = float(given(f, "epsilon", (int, float), 1e-5))
    static = b.static(value)
    spatial = given(f, "spatial", bool)
    count = (static[0] if static else 1) if spatial else math.prod(static)
    if any(a.size != count for a in (scale, bias, mean, variance)):
        raise InputError(f"has {scale.size} scales and {mean.size} means for {count} channels")
    if spatial and value.dynamic == 1 and static:
        parts = [
            b.stored(a, hint).name for a, hint in zip((scale, bias, mean, variance), ("scale", "bias", "mean", "var"))
        ]
        return Value(b.graph.add("BatchNormalization", value.name, *parts, epsilon=epsilon), 1)
    if (variance + epsilon <= 0).any():
        raise InputError("a variance below zero")
    factor = scale / np.sqrt(variance + epsilon)
    shape = [count] + [1] * (len(static) - 1) if spatial and static else list(static)
    scaled = b.add("Mul", value, b.stored(factor.reshape(shape), "scale"))
    return b.add("Add", scaled, b.stored((bias - mean * factor).reshape(shape), "bias"))
