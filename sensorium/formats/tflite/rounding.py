"""What TFLite's kernels make of numbers that meet 8-bit weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.formats.shared.graph import Graph
from sensorium.formats.tflite import schema
from sensorium.formats.tflite.build import Builder
from sensorium.formats.tflite.schema import Operator


def nearest(g: Graph, name: str) -> str:
    """Rounded, halves away from 0."""
    half = g.add("Floor", g.add("Add", g.add("Abs", name), g.constant(np.float32(0.5))))
    return str(g.add("Mul", g.add("Sign", name), half))


def rounded(g: Graph, name: str, axes: Sequence[int]) -> str:
    """What the hybrid kernels make of numbers before they meet 8-bit weights: 256 steps from the least to the most."""
    where = g.ints(*axes)
    least, most, zero = (g.constant(np.float32(n)) for n in (-128, 127, 0))
    low = g.add("Min", g.add("ReduceMin", name, where, keepdims=1), zero)
    high = g.add("Max", g.add("ReduceMax", name, where, keepdims=1), zero)
    step = g.add("Div", g.add("Sub", high, low), g.constant(np.float32(255)))
    step = g.add("Max", step, g.constant(np.float32(1e-30)))
    middle = g.add("Clip", nearest(g, g.add("Sub", least, g.add("Div", low, step))), least, most)
    level = g.add("Clip", nearest(g, g.add("Add", middle, g.add("Div", name, step))), least, most)
    return str(g.add("Mul", g.add("Sub", level, middle), step))


def symmetric(g: Graph, name: str, axes: Sequence[int]) -> str:
    """The same with steps that are even on both sides of 0."""
    limit = g.constant(np.float32(127))
    most = g.add("ReduceMax", g.add("Abs", name), g.ints(*axes), keepdims=1)
    step = g.add("Max", g.add("Div", most, limit), g.constant(np.float32(1e-30)))
    level = g.add("Clip", nearest(g, g.add("Div", name, step)), g.add("Neg", limit), limit)
    return str(g.add("Mul", level, step))


def hybrid(b: Builder, o: Operator) -> bool:
    """Whether 8-bit weights meet numbers that are not quantised."""
    weight, value = b.tensor(o.inputs[1]), b.tensor(o.inputs[0])
    return weight.quantised and weight.kind in (schema.INT8, schema.UINT8) and not value.quantised
