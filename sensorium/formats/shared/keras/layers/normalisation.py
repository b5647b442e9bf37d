"""Normalisations of Keras."""

from __future__ import annotations

import numpy as np

from sensorium.formats.shared.keras.base import Layer, Net, Value, layer
from sensorium.formats.shared.keras.layers.inputs import Extra, one


def _along(array: np.ndarray, axes: list[int], rank: int, part: Layer) -> np.ndarray:
    if array.ndim != len(axes):
        raise part.fault(f"weights of {array.ndim} axes instead of {len(axes)}")
    shape = [1] * rank
    for size, axis in zip(array.shape, axes):
        shape[axis] = size
    return array.reshape(shape)


def axes_of(net: Net, part: Layer, value: str, default: int = -1) -> list[int]:
    axis = part.get("axis", default)
    if isinstance(axis, dict):
        axis = axis.get("config", {}).get("value", axis) if isinstance(axis.get("config"), dict) else axis
    given = axis if isinstance(axis, list) else [axis]
    if not given or not all(isinstance(a, int) for a in given):
        raise part.fault(f"an axis of {str(axis)[:40]} is not known")
    return [net.axis(part, value, a) for a in given]


@layer("BatchNormalization", "SyncBatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2")
def _batch_norm(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    axes = axes_of(net, part, value)
    epsilon = part.real("epsilon", 1e-3)
    if part.whole("mode", 0) == 1:
        raise part.fault("mode 1 (each sample by itself) is not converted")
    scale, center = part.flag("scale", True), part.flag("center", True)
    arrays = part.arrays(2 + scale + center)
    variance, mean = arrays.pop(), arrays.pop()
    factor = 1 / np.sqrt(variance.astype(np.float64) + epsilon)
    if scale:
        factor = factor * arrays[0]
    shift = (arrays[-1] if center else 0) - mean.astype(np.float64) * factor
    rank = net.rank(value)
    if factor.shape != tuple(net.size(value, a) for a in axes):
        raise part.fault(f"weights of the shape {list(factor.shape)} do not fit the axis {axes}")
    y = net.op("Mul", value, net.array(_along(factor, axes, rank, part), f"{part.name}.scale"))
    return Value(net.op("Add", y, net.array(_along(shift, axes, rank, part), f"{part.name}.shift")), x.mask)


@layer("LayerNormalization")
def _layer_norm(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    axes = sorted(axes_of(net, part, value))
    scale, center, epsilon = part.flag("scale", True), part.flag("center", True), part.real("epsilon", 1e-3)
    rms = part.flag("rms_scaling")
    scale, center = scale or rms, center and not rms
    arrays = part.arrays(scale + center)
    over = net.ints(axes)
    middle = net.op("Sub", value, net.op("ReduceMean", value, over, keepdims=1))
    power = net.op("ReduceMean", net.op("Mul", middle, middle), over, keepdims=1)
    # `rms_scaling` divides by the deviation, too, but leaves the mean where it is
    y = net.op("Div", value if rms else middle, net.op("Sqrt", net.op("Add", power, net.number(epsilon))))
    rank = net.rank(value)
    if scale:
        y = net.op("Mul", y, net.array(_along(arrays[0], axes, rank, part), f"{part.name}.gamma"))
    if center:
        y = net.op("Add", y, net.array(_along(arrays[-1], axes, rank, part), f"{part.name}.beta"))
    return Value(y, x.mask)


@layer("RMSNormalization")
def _rms_norm(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    axes = sorted(axes_of(net, part, value))
    power = net.op("ReduceMean", net.op("Mul", value, value), net.ints(axes), keepdims=1)
    y = net.op("Div", value, net.op("Sqrt", net.op("Add", power, net.number(part.real("epsilon", 1e-6)))))
    scale = _along(part.arrays(1)[0], axes, net.rank(value), part)
    return Value(net.op("Mul", y, net.array(scale, f"{part.name}.scale")), x.mask)


@layer("GroupNormalization")
def _group_norm(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    (axis,) = axes_of(net, part, value)
    groups, rank, size = part.whole("groups", 32), net.rank(value), net.size(value, axis)
    groups = size if groups == -1 else groups
    if groups < 1 or size % groups:
        raise part.fault(f"{size} channels cannot be divided into {groups} groups")
    scale, center = part.flag("scale", True), part.flag("center", True)
    arrays = part.arrays(scale + center)
    order = [0, axis, *(a for a in range(1, rank) if a != axis)]
    first = net.transpose(value, order)
    flat = net.op("Reshape", first, net.ints([0, groups, -1]))
    middle = net.op("Sub", flat, net.op("ReduceMean", flat, net.ints([2]), keepdims=1))
    power = net.op("ReduceMean", net.op("Mul", middle, middle), net.ints([2]), keepdims=1)
    flat = net.op("Div", middle, net.op("Sqrt", net.op("Add", power, net.number(part.real("epsilon", 1e-3)))))
    y = net.transpose(net.op("Reshape", flat, net.sizes(first)), [int(i) for i in np.argsort(order)])
    if scale:
        y = net.op("Mul", y, net.array(_along(arrays[0], [axis], rank, part), f"{part.name}.gamma"))
    if center:
        y = net.op("Add", y, net.array(_along(arrays[-1], [axis], rank, part), f"{part.name}.beta"))
    return Value(y, x.mask)


@layer("UnitNormalization")
def _unit_norm(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    power = net.op("ReduceSum", net.op("Mul", value, value), net.ints(axes_of(net, part, value)), keepdims=1)
    return Value(net.op("Div", value, net.op("Sqrt", net.op("Max", power, net.number(1e-12)))), x.mask)


@layer("Normalization")
def _normalization(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    axis, rank = part.get("axis", -1) if part.config.get("axis", -1) is not None else None, net.rank(value)
    axes = [] if axis is None or axis == [] else axes_of(net, part, value)
    mean, variance = part.get("mean"), part.get("variance")
    if mean is None or variance is None:
        arrays = part.arrays(2, 3)
        mean, variance = arrays[0], arrays[1]
    parts = []
    for given in (mean, variance):
        array = np.asarray(given, np.float64)
        sizes = [net.size(value, a) for a in axes]
        array = np.broadcast_to(array.reshape([1] * len(axes)) if array.size == 1 else array.reshape(sizes), sizes)
        parts.append(_along(array, axes, rank, part))
    spread = np.maximum(np.sqrt(parts[1]), 1e-7)
    if part.flag("invert"):
        y = net.op("Mul", value, net.array(spread))
        return Value(net.op("Add", y, net.array(parts[0])), x.mask)
    return Value(net.op("Div", net.op("Sub", value, net.array(parts[0])), net.array(spread)), x.mask)


@layer("Rescaling")
def _rescaling(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    part.used.add("data_format")
    values = []
    for key, default in (("scale", 1.0), ("offset", 0.0)):
        given = part.get(key, default)
        if isinstance(given, dict):
            given = given.get("config", {}).get("value", default) if isinstance(given.get("config"), dict) else default
        array = np.asarray(given, np.float32)
        if array.ndim > 1:
            raise part.fault(f"'{key}' of {array.ndim} axes is not known")
        if array.ndim == 1 and part.config.get("data_format") == "channels_first":
            array = array.reshape(-1, *[1] * (net.rank(x) - 2))
        values.append(array)
    y = net.op("Mul", net.real(x.name), net.array(values[0]))
    return Value(net.op("Add", y, net.array(values[1])), x.mask)
