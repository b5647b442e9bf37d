"""TFLite's operators that work element by element, and normalisations over channels."""

from __future__ import annotations

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.tflite.build import Builder, inside, onnx_type
from sensorium.formats.tflite.call import LIMIT, Handler, activated, need, operand, option, rank_of, turned_only, unary
from sensorium.formats.tflite.schema import Operator


def clipped(low: float, high: float) -> Handler:
    return unary(lambda b, o, x: str(b.graph.add("Clip", x, b.number(low), b.number(high))))


def binary(kind: str, fused: int | None = 0) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2)
        first = turned_only(b, *o.inputs)
        names = [operand(b, i, first) for i in o.inputs]
        result = b.graph.add(kind, *names)
        if fused is not None:
            result = activated(b, result, option(o, fused, "b"))
        b.put(o.outputs[0], result, first)

    return handle


def compare(kind: str, invert: bool = False) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2)
        names = [b.numbers(i) for i in o.inputs]
        result = b.graph.add(kind, *names)
        b.keep(o.outputs[0], b.graph.add("Not", result) if invert else result)

    return handle


def squared_difference(b: Builder, o: Operator) -> None:
    need(o, 2)
    first = turned_only(b, *o.inputs)
    gap = b.graph.add("Sub", *(operand(b, i, first) for i in o.inputs))
    b.put(o.outputs[0], b.graph.add("Mul", gap, gap), first)


def floor_div(b: Builder, o: Operator) -> None:
    need(o, 2)
    names = [b.numbers(i) for i in o.inputs]
    if b.graph.dtype(names[0]).kind != "f":  # the rest has the sign of the divisor
        even = b.graph.add("Sub", names[0], b.graph.add("Mod", *names))
        b.put(o.outputs[0], b.graph.add("Div", even, names[1]))
        return
    b.put(o.outputs[0], b.graph.add("Floor", b.graph.add("Div", *names)))


def floor_mod(b: Builder, o: Operator) -> None:
    need(o, 2)
    names = [b.numbers(i) for i in o.inputs]
    if b.graph.dtype(names[0]).kind != "f":
        b.put(o.outputs[0], b.graph.add("Mod", *names))
        return
    parts = b.graph.add("Floor", b.graph.add("Div", *names))
    b.put(o.outputs[0], b.graph.add("Sub", names[0], b.graph.add("Mul", parts, names[1])))


def divide(b: Builder, o: Operator) -> None:
    need(o, 2)
    first = turned_only(b, *o.inputs)
    result = b.graph.add("Div", *(operand(b, i, first) for i in o.inputs))
    b.put(o.outputs[0], activated(b, result, option(o, 0, "b")), first)


def add_many(b: Builder, o: Operator) -> None:
    b.put(o.outputs[0], b.graph.add("Sum", *(b.numbers(i) for i in o.inputs)))


def prelu(b: Builder, o: Operator) -> None:
    need(o, 2)
    first = turned_only(b, *o.inputs)
    b.put(o.outputs[0], b.graph.add("PRelu", *(operand(b, i, first) for i in o.inputs)), first)


def select(b: Builder, o: Operator) -> None:
    need(o, 3)
    flag, yes, no = o.inputs
    chosen = b.value(flag)
    if o.op == "SELECT" and rank_of(b, flag) == 1 and rank_of(b, yes) > 1:  # whole rows
        chosen = b.graph.add("Reshape", chosen, b.graph.ints(-1, *[1] * (rank_of(b, yes) - 1)))
    b.put(o.outputs[0], b.graph.add("Where", chosen, b.numbers(yes), b.numbers(no)))


def logical(kind: str) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        b.keep(o.outputs[0], b.graph.add(kind, *(b.value(i) for i in o.inputs)))

    return handle


def cast(b: Builder, o: Operator) -> None:
    need(o, 1)
    target = b.tensor(o.outputs[0])
    if target.quantised or b.tensor(o.inputs[0]).quantised:
        raise InputError("a cast of quantised numbers is not converted")
    name = b.value(o.inputs[0])
    b.keep(o.outputs[0], b.graph.add("Cast", name, to=onnx_type(inside(target))))


def softmax(b: Builder, o: Operator) -> None:
    need(o, 1)
    beta = option(o, 0, "f", 1.0)
    name = b.numbers(o.inputs[0])
    if beta != 1:
        name = b.graph.add("Mul", name, b.number(beta))
    b.put(o.outputs[0], b.graph.add("Softmax", name, axis=-1))


def log_softmax(b: Builder, o: Operator) -> None:
    need(o, 1)
    b.put(o.outputs[0], b.graph.add("LogSoftmax", b.numbers(o.inputs[0]), axis=-1))


def l2_normal(b: Builder, o: Operator) -> None:
    need(o, 1)
    x = b.numbers(o.inputs[0])
    g = b.graph
    total = g.add("ReduceSum", g.add("Mul", x, x), g.ints(-1), keepdims=1)
    result = g.add("Div", x, g.add("Sqrt", g.add("Max", total, b.number(1e-12))))
    b.put(o.outputs[0], activated(b, result, option(o, 0, "b")))


def lrn(b: Builder, o: Operator) -> None:
    need(o, 1)
    radius, bias = option(o, 0), option(o, 1, "f")
    if not 0 <= radius < LIMIT:
        raise InputError(f"a radius of {radius}")
    size = 2 * radius + 1
    alpha, beta = option(o, 2, "f"), option(o, 3, "f")
    x = b.numbers(o.inputs[0], True)
    b.put(o.outputs[0], b.graph.add("LRN", x, size=size, alpha=alpha * size, beta=beta, bias=bias), True)


def hard_swish(b: Builder, o: Operator, x: str) -> str:
    return str(b.graph.add("HardSwish", x))


def rsqrt(b: Builder, o: Operator, x: str) -> str:
    return str(b.graph.add("Reciprocal", b.graph.add("Sqrt", x)))


def square(b: Builder, o: Operator, x: str) -> str:
    return str(b.graph.add("Mul", x, x))


def gelu(b: Builder, o: Operator, x: str) -> str:
    g = b.graph
    if option(o, 0, "B"):
        cube = g.add("Mul", g.add("Mul", x, x), x)
        inner = g.add("Add", x, g.add("Mul", cube, b.number(0.044715)))
        half = g.add("Tanh", g.add("Mul", inner, b.number(0.7978845608028654)))
    else:
        half = g.add("Erf", g.add("Mul", x, b.number(0.7071067811865476)))
    return str(g.add("Mul", g.add("Mul", x, b.number(0.5)), g.add("Add", half, b.number(1))))


def requantise(b: Builder, o: Operator) -> None:
    need(o, 1)
    first = turned_only(b, o.inputs[0])
    b.put(o.outputs[0], b.numbers(o.inputs[0], first), first)


def atan2(b: Builder, o: Operator) -> None:
    need(o, 2)
    g = b.graph
    y, x = (b.numbers(i) for i in o.inputs)
    zero, pi = b.number(0), b.number(np.pi)
    upright = g.add("Equal", x, zero)
    angle = g.add("Atan", g.add("Div", y, g.add("Where", upright, b.number(1), x)))
    turn = g.add("Where", g.add("Less", y, zero), g.add("Neg", pi), pi)
    angle = g.add("Where", g.add("Less", x, zero), g.add("Add", angle, turn), angle)
    b.put(o.outputs[0], g.add("Where", upright, g.add("Mul", g.add("Sign", y), b.number(np.pi / 2)), angle))


def bits(b: Builder, o: Operator) -> None:
    need(o, 2)
    b.keep(o.outputs[0], b.graph.add("BitwiseXor", *(b.value(i) for i in o.inputs)))


def right_shift(b: Builder, o: Operator) -> None:
    """A division by a power of two, rounded down."""
    need(o, 2)
    g = b.graph
    x, by = (b.value(i) for i in o.inputs)
    power = g.add("Pow", g.constant(np.int64(2)), by)
    b.keep(o.outputs[0], g.add("Div", g.add("Sub", x, g.add("Mod", x, power)), power))


def bucketize(b: Builder, o: Operator) -> None:
    need(o, 1)
    edges = np.array(o.options.array(0, np.float32) if o.options is not None else [], np.float32)
    g = b.graph
    spread = g.add("Unsqueeze", g.add("Cast", b.numbers(o.inputs[0]), to=1), g.ints(-1))
    above = g.add("Cast", g.add("GreaterOrEqual", spread, g.constant(edges, "edges")), to=7)
    b.keep(o.outputs[0], g.add("ReduceSum", above, g.ints(-1), keepdims=0))


def fake_quantised(b: Builder, o: Operator) -> None:
    """Rounded to the steps of a range that contains 0. Source: kernels/internal/reference/fake_quant.h."""
    need(o, 1)
    low, high = (float(np.float32(option(o, n, "f"))) for n in (0, 1))
    bits_, first = option(o, 2), int(bool(option(o, 3, "B")))
    if not 2 <= bits_ <= 16 or not low < high:
        raise InputError(f"{bits_} bits from {low} to {high}")
    last = (1 << bits_) - 1
    scale = float(np.float32((high - low) / (last - first)))
    zero = float(np.clip(np.floor(np.float32(first - low / scale + 0.5)), first, last))
    low, high = (first - zero) * scale, (last - zero) * scale
    g = b.graph
    x = g.add("Sub", g.add("Clip", b.numbers(o.inputs[0]), b.number(low), b.number(high)), b.number(low))
    level = g.add("Floor", g.add("Add", g.add("Mul", x, b.number(1 / scale)), b.number(0.5)))
    b.put(o.outputs[0], g.add("Add", g.add("Mul", level, b.number(scale)), b.number(low)))
