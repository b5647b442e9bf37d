"""Layers of Keras that change shapes, pad and cut."""

from __future__ import annotations

from sensorium.formats.shared.keras.base import END, Layer, Net, Value, layer
from sensorium.formats.shared.keras.layers.inputs import Extra, one, spatial_axes


@layer("Flatten")
def _flatten(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    value = one(part, inputs).name
    if (
        part.choice("data_format", "channels_last", "channels_last", "channels_first") == "channels_first"
        and net.rank(value) > 2
    ):
        value = net.first_to_last(value)
    if net.rank(value) == 1:
        return Value(net.op("Unsqueeze", value, net.ints([1])))
    return Value(net.op("Reshape", value, net.ints([0, -1])))


@layer("Reshape")
def _reshape(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    target = part.get("target_shape", [])
    if not isinstance(target, list) or not all(isinstance(v, int) and (v > 0 or v == -1) for v in target):
        raise part.fault(f"a target_shape of {str(target)[:60]} is not possible")
    if target.count(-1) > 1:
        raise part.fault("more than one size of -1")
    wanted = [0, *target]
    if net.dialect.free and -1 not in target:
        wanted = [-1, *target]
    return Value(net.op("Reshape", x.name, net.ints(wanted)))


@layer("Permute")
def _permute(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    order = part.get("dims", [])
    if not isinstance(order, list) or sorted(order) != list(range(1, net.rank(x))):
        raise part.fault(f"dims of {str(order)[:40]} are not an order of its axes")
    return Value(net.op("Transpose", x.name, perm=[0, *order]))


@layer("RepeatVector")
def _repeat(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.op("Unsqueeze", x.name, net.ints([1]))
    return Value(net.op("Tile", value, net.ints([1, part.positive("n"), 1])))


def _pairs(part: Layer, key: str, axes: int, default: int) -> list[list[int]]:
    given = part.get(key, default)
    if isinstance(given, int):
        given = [[given, given]] * axes
    elif isinstance(given, list) and axes == 1 and len(given) == 2 and all(isinstance(v, int) for v in given):
        given = [given]
    elif isinstance(given, list):
        given = [[v, v] if isinstance(v, int) else v for v in given]
    good = isinstance(given, list) and len(given) == axes
    if not good or any(
        not isinstance(p, list) or len(p) != 2 or any(not isinstance(v, int) or not 0 <= v < 1 << 20 for v in p)
        for p in given
    ):
        raise part.fault(f"'{key}' of {str(given)[:60]} is not known")
    return [[int(a), int(b)] for a, b in given]


@layer("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def _zero_padding(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x, count = one(part, inputs), int(part.kind[-2])
    where = spatial_axes(net, part, x, count)
    pads = _pairs(part, "padding", count, 1)
    rank = net.rank(x)
    begin, end = [0] * rank, [0] * rank
    for axis, (a, b) in zip(where, pads):
        begin[axis], end[axis] = a, b
    return Value(net.op("Pad", net.real(x.name), net.ints(begin + end)))


@layer("Cropping1D", "Cropping2D", "Cropping3D")
def _cropping(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x, count = one(part, inputs), int(part.kind[-2])
    where = spatial_axes(net, part, x, count)
    cuts = _pairs(part, "cropping", count, 1 if count == 1 else 0)
    starts, ends = [a for a, _ in cuts], [-b if b else END for _, b in cuts]
    return Value(net.op("Slice", x.name, net.ints(starts), net.ints(ends), net.ints(where)))
