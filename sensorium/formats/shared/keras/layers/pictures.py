"""Layers of Keras that resize, cut and pool pictures to given sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import Layer, Net, Value, layer
from sensorium.formats.shared.keras.layers.inputs import channels_first, one, spatial_axes
from sensorium.formats.shared.resampling import cubic, scaled

Extra = Mapping[str, Any]


def _size(net: Net, x: Value, axis: int) -> int:
    """Size of an axis of a picture that is the same for all of them."""
    if (x.sizes[axis] is None) if x.sizes is not None else net.dialect.free:
        raise InputError("pictures of any size are not converted here; give one with --image-size")
    return net.size(x.name, axis)


def _weighted(net: Net, value: str, axis: int, matrix: np.ndarray) -> str:
    """An axis of pictures (batch, channels, height, width) as sums of its elements."""
    weights = net.array(matrix.T if axis == 3 else matrix, "weights")
    return net.op("MatMul", value, weights) if axis == 3 else net.op("MatMul", weights, value)


def resized(
    net: Net, x: Value, target: list[int], first: bool, interpolation: str, antialias: bool = False,
    crop: bool = False, pad: bool = False, fill: float = 0.0,
) -> str:  # fmt: skip
    """Pictures (batch of them, or one) of another size, as TensorFlow resizes them with its pixels' middles."""
    single = net.rank(x) == 3
    value, sizes = x.name, x.sizes
    if single:
        value, sizes = net.op("Unsqueeze", value, net.ints([0])), None if sizes is None else (1, *sizes)
    if net.rank(value) != 4:
        raise InputError("takes pictures")
    if not first:
        value = net.last_to_first(value)
        sizes = None if sizes is None else (sizes[0], sizes[3], sizes[1], sizes[2])
    if crop or pad:
        picture = Value(value, None, sizes)
        given = [_size(net, picture, a) for a in (2, 3)]
        ideal = [int(np.float32(given[1] * target[0]) / target[1]), int(np.float32(given[0] * target[1]) / target[0])]
        if crop:
            kept = [max(min(g, w), 1) for g, w in zip(given, ideal)]
            for axis, g, k in zip((2, 3), given, kept):
                value = net.part(value, axis, (g - k) // 2, (g - k) // 2 + k)
        else:
            more = [(max(g, w) - g) // 2 for g, w in zip(given, ideal)]
            value = net.op("Pad", value, net.ints([0, 0, *more] * 2), net.number(fill))
        sizes = (None, None, *net.graph.shape(value)[2:])
    if interpolation in ("nearest", "bilinear") and not (antialias and interpolation == "bilinear"):
        mode = "linear" if interpolation == "bilinear" else "nearest"
        wanted = net.joined(net.sizes(value, 0, 2), net.ints(target))
        value = net.op("Resize", value, "", "", wanted, mode=mode, coordinate_transformation_mode="half_pixel",
                       nearest_mode="round_prefer_ceil" if mode == "nearest" else None)  # fmt: skip
    else:
        picture = Value(value, None, sizes)
        for axis, wanted_size in zip((2, 3), target):
            size = _size(net, picture, axis)
            if size * wanted_size > 1 << 24:
                raise InputError(f"pictures of {size} pixels are not converted")
            if interpolation == "bicubic" and not antialias:
                matrix = cubic(size, wanted_size, False, True)
            else:
                matrix = scaled(size, wanted_size, interpolation, antialias)
            value = _weighted(net, value, axis, matrix)
    value = value if first else net.first_to_last(value)
    return net.op("Squeeze", value, net.ints([0])) if single else value


@layer("UpSampling1D", "UpSampling2D", "UpSampling3D")
def _upsampling(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x, count = one(part, inputs), int(part.kind[-2])
    where = spatial_axes(net, part, x, count)
    size = part.ints("size", count, 2)
    if not all(size):
        raise part.fault("a size of 0 is not possible")
    known = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
    mode = part.choice("interpolation", "nearest", *known) if count == 2 else "nearest"
    if mode != "nearest" and net.dialect.backend in ("theano", "cntk"):
        raise part.fault(f"bilinear enlargement of the backend {net.dialect.backend} is not converted")
    first = where[0] == 2
    value = net.real(x.name)
    if mode not in ("nearest", "bilinear"):
        wanted = [_size(net, x, a) * s for a, s in zip(where, size)]
        return Value(resized(net, Value(value, None, x.sizes), wanted, first, mode))
    value = value if first else net.last_to_first(value)
    scales = net.graph.constant(np.array([1, 1, *size], np.float32), "scales")
    if mode == "nearest":
        y = net.op("Resize", value, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                   nearest_mode="floor")  # fmt: skip
    else:
        how = "half_pixel" if net.dialect.half_pixel else "asymmetric"
        y = net.op("Resize", value, "", scales, mode="linear", coordinate_transformation_mode=how)
    return Value(y if first else net.first_to_last(y))


@layer("Resizing")
def _resizing(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    known = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")
    mode, target = part.choice("interpolation", "bilinear", *known), [part.positive("height"), part.positive("width")]
    part.choice("fill_mode", "constant", "constant")
    kind = net.graph.dtype(x.name)
    y = resized(net, Value(net.real(x.name), None, x.sizes), target, channels_first(net, part), mode,
                part.flag("antialias"), part.flag("crop_to_aspect_ratio"), part.flag("pad_to_aspect_ratio"),
                part.real("fill_value", 0.0))  # fmt: skip
    if kind.kind in "iu" and mode != "nearest":
        y = net.op("Round", y)
    return Value(y)


@layer("CenterCrop")
def _center_crop(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """The middle; a picture that is too small is enlarged, and cut to the same proportions."""
    x = one(part, inputs)
    first = channels_first(net, part)
    if net.rank(x) != 4:
        raise part.fault("takes a batch of pictures")
    target = [part.positive("height"), part.positive("width")]
    value, axes = x.name, (2, 3) if first else (1, 2)
    free = [(x.sizes[a] is None) if x.sizes is not None else net.dialect.free for a in axes]
    if any(net.size(value, a) < t for a, t in zip(axes, target)) and not any(free):
        return Value(resized(net, Value(net.real(value), None, x.sizes), target, first, "bilinear", crop=True))
    if any(free):
        net.graph.notes.append(f"layer '{part.name}' cuts the middle; smaller pictures than {target} do not work")
    for axis, wanted in zip(axes, target):
        room = net.op("Sub", net.sizes(value, axis, axis + 1), net.ints([wanted]))
        start = net.op("Div", room, net.ints([2]))
        value = net.op("Slice", value, start, net.op("Add", start, net.ints([wanted])), net.ints([axis]))
    return Value(value)


@layer("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D", "AdaptiveMaxPooling1D",
       "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D")  # fmt: skip
def _adaptive(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """As many windows as asked for: from floor(i n / m) to ceil((i + 1) n / m)."""
    x, count = one(part, inputs), int(part.kind[-2])
    where = spatial_axes(net, part, x, count)
    targets = part.ints("output_size", count)
    op = "ReduceMax" if "Max" in part.kind else "ReduceMean"
    value = net.real(x.name)
    for axis, target in zip(where, targets):
        size = _size(net, x, axis)
        if not 0 < target <= 4096:
            raise part.fault(f"{target} windows of {size} are not possible")
        windows = [(i * size // target, -((-(i + 1) * size) // target)) for i in range(target)]
        parts = [net.op(op, net.part(value, axis, a, b), net.ints([axis]), keepdims=1) for a, b in windows]
        value = net.op("Concat", *parts, axis=axis)
    return Value(value)


@layer("AutoContrast")
def _auto_contrast(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """Each picture and channel stretched over the whole range; one of a single value stays as it is."""
    x = one(part, inputs)
    span = part.get("value_range", [0, 255])
    part.used.update(part.config)
    if net.rank(x) != 4 or not isinstance(span, list) or len(span) != 2 or not span[0] < span[1]:
        raise part.fault("takes a batch of pictures, and a range of values")
    value, over = net.real(x.name), net.ints([1, 2])
    low, high = (net.op(op, value, over, keepdims=1) for op in ("ReduceMin", "ReduceMax"))
    wide = net.op("Greater", high, low)
    share = net.op("Div", net.op("Sub", value, low), net.where(wide, net.op("Sub", high, low), net.number(1.0)))
    y = net.op("Add", net.op("Mul", share, net.number(span[1] - span[0])), net.number(span[0]))
    return Value(net.where(wide, y, value))
