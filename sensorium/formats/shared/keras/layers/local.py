"""Convolutions of Keras 1 and 2 whose kernel is another one at each place."""

from __future__ import annotations

import math

import numpy as np

from sensorium.formats.shared.keras.base import Layer, Net, Value, activate, layer
from sensorium.formats.shared.keras.layers.inputs import Extra, channels_first, one


@layer("LocallyConnected1D", "LocallyConnected2D")
def _local(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """The parts of the input that the places see, side by side, each times the matrix of its place."""
    x, axes = one(part, inputs), int(part.kind[-2])
    first = channels_first(net, part, axes)
    kernel, strides = part.ints("kernel_size", axes), part.ints("strides", axes, 1)
    filters, bias = part.positive("filters"), part.flag("use_bias", True)
    part.choice("padding", "valid", "valid")
    if part.config.get("implementation", 1) not in (1, None) or not all(kernel) or not all(strides):
        raise part.fault("the implementations 2 and 3 are not converted")
    if net.rank(x) != axes + 2:
        raise part.fault(f"takes an input of {axes + 2} axes, not {net.rank(x)}")
    value = net.real(x.name)
    value = net.first_to_last(value) if first else value
    sizes, channels = net.graph.shape(value)[1:-1], net.graph.shape(value)[-1]
    counts = [(n - k) // s + 1 for n, k, s in zip(sizes, kernel, strides)]
    if min(counts) < 1:
        raise part.fault(f"a kernel of {kernel} does not fit {list(sizes)}")
    for axis, (count, k, s) in enumerate(zip(counts, kernel, strides)):
        seen = np.arange(count)[:, None] * s + np.arange(k)
        value = net.op("Gather", value, net.graph.constant(seen, "seen"), axis=1 + 2 * axis)
    places, inner, last = [1 + 2 * a for a in range(axes)], [2 + 2 * a for a in range(axes)], 2 * axes + 1
    value = net.transpose(value, [*places, 0, *([last, *inner] if first else [*inner, last])])
    total, width = math.prod(counts), math.prod(kernel) * channels
    value = net.op("Reshape", value, net.ints([total, -1, width]))
    arrays = part.arrays(2 if bias else 1)
    matrix = net.array(part.shaped(arrays[0], total, width, filters), f"{part.name}.kernel")
    y = net.op("Transpose", net.op("MatMul", value, matrix), perm=[1, 0, 2])
    y = net.op("Reshape", y, net.ints([0, *counts, filters]))
    if bias:
        added = part.shaped(arrays[1], *counts, filters)
        if first:  # Keras takes the same numbers in this order for (filters, rows, columns)
            added = np.moveaxis(added.reshape(filters, *counts), 0, -1)
        y = net.op("Add", y, net.array(added, f"{part.name}.bias"))
    return Value(activate(net, part, net.last_to_first(y) if first else y))
