"""Pooling of Keras."""

from __future__ import annotations

from sensorium.formats.shared.keras.base import Layer, Net, Value, layer
from sensorium.formats.shared.keras.layers.convolution import same, to_first
from sensorium.formats.shared.keras.layers.inputs import Extra, channels_first, one


@layer("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
       "MaxPool1D", "MaxPool2D", "MaxPool3D", "AvgPool1D", "AvgPool2D", "AvgPool3D")  # fmt: skip
def _pool(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    axes = int(part.kind[-2])
    x, first = to_first(net, part, one(part, inputs), axes)
    size = part.ints("pool_size", axes, 2)
    strides = part.ints("strides", axes) if part.get("strides") is not None else size
    if not all(size) or not all(strides):
        raise part.fault("a pool size or stride of 0 is not possible")
    op = "MaxPool" if part.kind.startswith("Max") else "AveragePool"
    kept = part.choice("padding", "valid", "valid", "same") == "same"
    if kept and net.dialect.backend == "theano":
        pads = [k - 2 if k > 2 and k % 2 else k - 1 for k in size]
        y = net.op(op, x, kernel_shape=size, strides=strides, pads=pads * 2)
        inner = net.sizes(x, 2)
        step = net.ints(strides)
        count = net.op("Div", net.op("Sub", net.op("Add", inner, step), net.ints([1] * axes)), step)
        y = net.op("Slice", y, net.ints([0] * axes), count, net.ints(range(2, axes + 2)))
    else:
        pads_ = same(net, x, axes, size, strides) if kept else {}
        y = net.op(op, x, kernel_shape=size, strides=strides, **pads_)
    return Value(y if first else net.first_to_last(y))


@layer("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "GlobalAveragePooling1D",
       "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D",
       "GlobalAvgPool1D", "GlobalAvgPool2D", "GlobalAvgPool3D")  # fmt: skip
def _global_pool(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x, axes = one(part, inputs), int(part.kind[-2])
    if net.rank(x) != axes + 2:
        raise part.fault(f"takes an input of {axes + 2} axes, not {net.rank(x)}")
    over = net.ints(range(2, axes + 2) if channels_first(net, part, axes) else range(1, axes + 1))
    keep = int(part.flag("keepdims"))
    mean = not part.kind.startswith("GlobalMax")
    value = net.real(x.name)
    if mean and axes == 1 and x.mask is not None:
        weight = net.op(
            "Unsqueeze",
            net.op("Cast", x.mask, to=1),
            net.ints([1 if part.get("data_format") == "channels_first" else 2]),
        )
        total = net.op("ReduceSum", net.op("Mul", value, weight), over, keepdims=keep)
        return Value(net.op("Div", total, net.op("ReduceSum", weight, over, keepdims=keep)))
    return Value(net.op("ReduceMean" if mean else "ReduceMax", value, over, keepdims=keep))
