"""Convolutions of Keras. Values keep the layout of the source."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.formats.shared.keras.base import Layer, Net, Value, activate, layer
from sensorium.formats.shared.keras.layers.dense import whole_weights
from sensorium.formats.shared.keras.layers.inputs import Extra, channels_first, one


def same(net: Net, x: str, axes: int, kernel: list[int], strides: list[int]) -> dict[str, Any]:
    """Padding 'same' of a channels-first value; kernel sizes as dilated."""
    backend = net.dialect.backend
    if backend == "theano":  # half the kernel on both sides, ceil(size / stride) results
        return {"pads": [k // 2 for k in kernel] + [k - 1 - k // 2 for k in kernel]}
    lower = backend == "cntk"
    if all(s == 1 for s in strides):
        small, large = [(k - 1) // 2 for k in kernel], [k - 1 - (k - 1) // 2 for k in kernel]
        return {"pads": large + small if lower else small + large}
    if net.dialect.free:
        return {"auto_pad": "SAME_LOWER" if lower else "SAME_UPPER"}
    begin, end = [], []
    for axis, (k, s) in enumerate(zip(kernel, strides)):
        size = net.size(x, axis + 2)
        total = max((-(-size // s) - 1) * s + k - size, 0)
        begin.append(total - total // 2 if lower else total // 2)
        end.append(total - begin[-1])
    return {"pads": begin + end}


def padding(net: Net, part: Layer, x: str, axes: int, kernel: list[int], strides: list[int]) -> dict[str, Any]:
    padding = part.choice("padding", "valid", "valid", "same", *(["causal"] if axes == 1 else []))
    if padding == "same":
        return same(net, x, axes, kernel, strides)
    return {"pads": [kernel[0] - 1, 0]} if padding == "causal" else {}


def _geometry(net: Net, part: Layer, axes: int) -> tuple[list[int], list[int], list[int], list[int]]:
    kernel, strides = part.ints("kernel_size", axes), part.ints("strides", axes, 1)
    dilation = part.ints("dilation_rate", axes, 1)
    if not all(kernel) or not all(strides) or not all(dilation):
        raise part.fault("a kernel, stride or dilation of 0 is not possible")
    return kernel, strides, dilation, [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]


def to_first(net: Net, part: Layer, x: Value, axes: int) -> tuple[str, bool]:
    first = channels_first(net, part, axes)
    if net.rank(x) != axes + 2:
        raise part.fault(f"takes an input of {axes + 2} axes, not {net.rank(x)}")
    value = net.real(x.name)
    return (value, True) if first else (net.last_to_first(value), False)


def _from_first(net: Net, part: Layer, y: str, first: bool) -> str:
    """The activation works on the layout of the source: softmax on its last axis."""
    return activate(net, part, y if first else net.first_to_last(y))


def _stored(net: Net, part: Layer, kernel: np.ndarray, axes: int) -> np.ndarray:
    """A kernel as Keras 2 keeps it: space, channels in, channels out."""
    if net.dialect.version > 1 or kernel.ndim != 4 + (axes == 3):
        return kernel
    if axes == 1:
        length = part.ints("kernel_size", 1)[0]
        if kernel.shape[:2] != (length, 1) or kernel.shape[3] != part.positive("filters"):
            kernel = kernel.transpose(2, 3, 1, 0)
        return kernel[:, 0]
    return kernel.transpose(*range(2, axes + 2), 1, 0) if channels_first(net, part) else kernel


def _flipped(net: Net, kernel: np.ndarray, axes: int) -> np.ndarray:
    """Theano turns kernels around: a true convolution."""
    return kernel[(slice(None, None, -1),) * axes] if net.dialect.backend == "theano" else kernel


@layer("Conv1D", "Conv2D", "Conv3D")
def _conv(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    axes = int(part.kind[4])
    x, first = to_first(net, part, one(part, inputs), axes)
    kernel, strides, dilation, reach = _geometry(net, part, axes)
    filters, groups, bias = part.positive("filters"), part.positive("groups", 1), part.flag("use_bias", True)
    whole_weights(part)
    arrays = part.arrays(2 if bias else 1)
    weight = _flipped(net, part.shaped(_stored(net, part, arrays[0], axes), *kernel, None, filters), axes)
    if weight.shape[-2] * groups != net.size(x, 1):
        raise part.fault(f"weights for {weight.shape[-2] * groups} channels, the input has {net.size(x, 1)}")
    y = net.op(
        "Conv",
        x,
        net.array(weight.transpose(axes + 1, axes, *range(axes)), f"{part.name}.kernel"),
        net.array(part.shaped(arrays[1], filters), f"{part.name}.bias") if bias else "",
        kernel_shape=kernel,
        strides=strides,
        dilations=dilation,
        group=groups,
        **padding(net, part, x, axes, reach, strides),
    )
    return Value(_from_first(net, part, y, first))


def _depthwise(net: Net, part: Layer, x: str, axes: int, weight: np.ndarray, bias: np.ndarray | None) -> str:
    kernel, strides, dilation, reach = _geometry(net, part, axes)
    part.shaped(weight, *kernel, net.size(x, 1), part.positive("depth_multiplier", 1))
    channels = weight.shape[-2]
    count = channels * weight.shape[-1]
    return net.op(
        "Conv",
        x,
        net.array(weight.transpose(axes, axes + 1, *range(axes)).reshape(count, 1, *kernel), f"{part.name}.depthwise"),
        "" if bias is None else net.array(part.shaped(bias, count), f"{part.name}.bias"),
        kernel_shape=kernel,
        strides=strides,
        dilations=dilation,
        group=channels,
        **padding(net, part, x, axes, reach, strides),
    )


@layer("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise_layer(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    axes = int(part.kind[13])
    x, first = to_first(net, part, one(part, inputs), axes)
    part.used.update(("filters", "groups"))
    arrays = part.arrays(2 if part.flag("use_bias", True) else 1)
    y = _depthwise(net, part, x, axes, arrays[0], arrays[1] if len(arrays) > 1 else None)
    return Value(_from_first(net, part, y, first))


@layer("SeparableConv1D", "SeparableConv2D")
def _separable(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    axes = int(part.kind[13])
    x, first = to_first(net, part, one(part, inputs), axes)
    part.used.add("groups")
    filters, bias = part.positive("filters"), part.flag("use_bias", True)
    arrays = part.arrays(3 if bias else 2)
    y = _depthwise(net, part, x, axes, _stored(net, part, arrays[0], axes), None)
    point = part.shaped(_stored(net, part, arrays[1], axes), *[1] * axes, net.size(y, 1), filters)
    y = net.op(
        "Conv",
        y,
        net.array(point.transpose(axes + 1, axes, *range(axes)), f"{part.name}.pointwise"),
        net.array(part.shaped(arrays[2], filters), f"{part.name}.bias") if bias else "",
        kernel_shape=[1] * axes,
    )
    return Value(_from_first(net, part, y, first))


@layer("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def _transposed(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """The gradient of a convolution: its padding is cut from the result, more at the end where it is odd."""
    axes = int(part.kind[4])
    x, first = to_first(net, part, one(part, inputs), axes)
    kernel, strides, dilation, reach = _geometry(net, part, axes)
    filters, bias = part.positive("filters"), part.flag("use_bias", True)
    part.used.add("groups")
    if part.config.get("groups") not in (None, 1):
        raise part.fault("groups in a transposed convolution are not known")
    if net.dialect.version == 1:
        raise part.fault("the transposed convolution of Keras 1 is not converted")
    arrays = part.arrays(2 if bias else 1)
    weight = _flipped(net, part.shaped(arrays[0], *kernel, filters, None), axes)
    kept = part.choice("padding", "valid", "valid", "same") == "same"
    given = part.get("output_padding")
    output_padding = part.ints("output_padding", axes) if given is not None else None
    begin, end, more = [], [], []
    for a in range(axes):
        k, s = reach[a], strides[a]
        if output_padding is None:
            cut = k - s if kept else min(k - s, 0)
        else:
            cut = (2 * (k // 2) if kept else 0) - output_padding[a]
        start = (k // 2 if net.dialect.backend == "theano" else max(cut, 0) // 2) if kept else 0
        begin.append(start)
        end.append(max(cut - start, 0))
        more.append(max(start - cut, 0))
    y = net.op(
        "ConvTranspose",
        x,
        net.array(weight.transpose(axes + 1, axes, *range(axes)), f"{part.name}.kernel"),
        net.array(part.shaped(arrays[1], filters), f"{part.name}.bias") if bias else "",
        kernel_shape=kernel,
        strides=strides,
        dilations=dilation,
        pads=begin + end,
        output_padding=more,
    )
    return Value(_from_first(net, part, y, first))
