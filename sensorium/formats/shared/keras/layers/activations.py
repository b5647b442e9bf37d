"""Activations of Keras that are layers of their own."""

from __future__ import annotations

from sensorium.formats.shared.keras.base import Layer, Net, Value, activate, layer
from sensorium.formats.shared.keras.layers.inputs import Extra, one
from sensorium.formats.shared.keras.layers.normalisation import axes_of


@layer("Activation")
def _activation(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    return Value(activate(net, part, net.real(x.name)), x.mask)


@layer("ReLU")
def _relu(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """max_value above, x between, negative_slope * (x - threshold) below the threshold."""
    x = one(part, inputs)
    value = net.real(x.name)
    slope, threshold = part.real("negative_slope", 0.0), part.real("threshold", 0.0)
    top = part.get("max_value")
    if threshold == 0:
        y = net.op("LeakyRelu", value, alpha=slope) if slope else net.op("Relu", value)
    else:
        below = net.op("Mul", net.op("Sub", value, net.number(threshold)), net.number(slope))
        y = net.where(net.op("GreaterOrEqual", value, net.number(threshold)), value, below)
    if top is not None:
        y = net.op("Min", y, net.number(part.real("max_value")))
    return Value(y, x.mask)


@layer("LeakyReLU")
def _leaky(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    slope = part.real("negative_slope" if "negative_slope" in part.config else "alpha", 0.3)
    return Value(net.op("LeakyRelu", net.real(x.name), alpha=slope), x.mask)


@layer("ELU")
def _elu(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    return Value(net.op("Elu", net.real(x.name), alpha=part.real("alpha", 1.0)), x.mask)


@layer("ThresholdedReLU")
def _thresholded(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    return Value(net.op("ThresholdedRelu", net.real(x.name), alpha=part.real("theta", 1.0)), x.mask)


@layer("PReLU")
def _prelu(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    shared = part.get("shared_axes", [])
    shared = [shared] if isinstance(shared, int) else shared
    slope = part.arrays(1)[0]
    shape = net.graph.shape(value)
    wanted = [1 if a + 1 in shared else size for a, size in enumerate(shape[1:])]
    part.shaped(slope, *wanted)
    return Value(net.op("PRelu", value, net.array(slope[None], f"{part.name}.alpha")), x.mask)


@layer("Softmax")
def _softmax(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    mask = extra.get("mask")
    if mask is not None:
        hidden = net.op("Mul", net.op("Cast", net.op("Not", net.op("Cast", mask.name, to=9)), to=1), net.number(-3e38))
        value = net.op("Add", value, hidden)
    axes = sorted(axes_of(net, part, value))
    if len(axes) == 1:
        return Value(net.op("Softmax", value, axis=axes[0]), x.mask)
    over = net.ints(axes)
    e = net.op("Exp", net.op("Sub", value, net.op("ReduceMax", value, over, keepdims=1)))
    return Value(net.op("Div", e, net.op("ReduceSum", e, over, keepdims=1)), x.mask)


def _per_place(net: Net, part: Layer, x: Value, count: int) -> list[str]:
    """Trained arrays of the input's shape without the batch, with ones where an axis shares them."""
    shared = part.get("shared_axes", [])
    shape = net.graph.shape(x.name)[1:]
    wanted = [1 if a + 1 in shared else size for a, size in enumerate(shape)]
    return [
        net.array(part.shaped(array, *wanted)[None], f"{part.name}.{i}") for i, array in enumerate(part.arrays(count))
    ]


@layer("ParametricSoftplus")
def _parametric_softplus(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """Of Keras 1: alpha times the softplus of beta times x."""
    x = one(part, inputs)
    part.used.update(("alpha_init", "beta_init"))
    alpha, beta = _per_place(net, part, x, 2)
    return Value(net.op("Mul", alpha, net.op("Softplus", net.op("Mul", beta, net.real(x.name)))), x.mask)


@layer("SReLU")
def _s_shaped(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """Of Keras 1: x between two thresholds, and lines of other slopes beyond them."""
    x = one(part, inputs)
    part.used.update(("t_left_init", "a_left_init", "t_right_init", "a_right_init"))
    left, below, width, above = _per_place(net, part, x, 4)
    right = net.op("Add", left, net.op("Abs", width))
    value = net.real(x.name)
    middle = net.op("Min", net.op("Max", value, left), right)
    under = net.op("Mul", below, net.op("Min", net.op("Sub", value, left), net.number(0.0)))
    over = net.op("Mul", above, net.op("Relu", net.op("Sub", value, right)))
    return Value(net.op("Add", middle, net.op("Add", under, over)), x.mask)
