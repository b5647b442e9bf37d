"""The layers of Keras that have no memory, as ONNX. Values keep the layout of the source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sensorium.formats.shared.keras_base import END, LAYERS, Layer, Net, Value, activate, layer
from sensorium.formats.shared.keras_weights import Flat

Extra = Mapping[str, Any]


def one(part: Layer, inputs: list[Value]) -> Value:
    if len(inputs) != 1:
        raise part.fault(f"takes one input, not {len(inputs)}")
    return inputs[0]


def channels_first(net: Net, part: Layer, axes: int = 2) -> bool:
    default = net.dialect.data_format if axes > 1 else "channels_last"
    return part.choice("data_format", default, "channels_last", "channels_first") == "channels_first"


# Nothing to compute


@layer("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "GaussianNoise",
       "AlphaDropout", "ActivityRegularization", "Identity", "RandomFlip", "RandomRotation", "RandomZoom",
       "RandomTranslation", "RandomContrast", "RandomBrightness", "RandomSharpness", "RandomColorJitter",
       "RandomErasing", "RandomSaturation", "RandomHue", "RandomGrayscale", "RandomShear", "RandomGaussianBlur",
       "RandomPosterization", "RandomInvert", "RandomCrop", "RandomPerspective", "RandomElasticTransform",
       "RandomColorDegeneration", "RandAugment", "AugMix", "MixUp", "CutMix", "Solarization",
       "Equalization")  # fmt: skip
def _identity(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    part.used.update(part.config)  # these act in training only
    return one(part, inputs)


# Dense and friends


def _whole(part: Layer) -> None:
    """The weights must be as they are used; adapters (LoRA) are merged when Keras saves them."""
    part.used.add("lora_rank")
    if part.get("quantization_mode"):
        raise part.fault("quantised weights are not converted")


@layer("Dense")
def _dense(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    units, bias = part.positive("units"), part.flag("use_bias", True)
    _whole(part)
    arrays = part.arrays(2 if bias else 1)
    part.shaped(arrays[0], None, units)
    y = net.dense(net.real(x.name), arrays[0], part.shaped(arrays[1], units) if bias else None, part.name)
    return Value(activate(net, part, y), x.mask)


@layer("EinsumDense")
def _einsum(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    equation = str(part.get("equation", "")).replace(" ", "")
    bias = part.get("bias_axes")
    part.used.update(("output_shape", "bias_axes", "gptq_unpacked_column_size"))
    _whole(part)
    arrays = part.arrays(2 if bias else 1)
    y = net.op(
        "Einsum", net.real(x.name), net.array(arrays[0], f"{part.name}.kernel"), equation=_dots(net, x, equation)
    )
    if bias:
        y = net.op("Add", y, net.array(arrays[1], f"{part.name}.bias"))
    return Value(activate(net, part, y), x.mask)


def _dots(net: Net, x: Value, equation: str) -> str:
    if "..." not in equation:
        return equation
    terms = equation.split(",")[0].replace("...", "")
    free = [c for c in "ABCDEFGH" if c not in equation][: net.rank(x) - len(terms)]
    return equation.replace("...", "".join(free))


@layer("Embedding")
def _embedding(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    width = part.positive("output_dim")
    _whole(part)
    table = part.shaped(part.arrays(1)[0], None, width)
    indices = net.op("Cast", x.name, to=7)
    mask = None
    if part.flag("mask_zero"):
        mask = net.op("Not", net.op("Equal", indices, net.graph.constant(np.array(0, np.int64), "zero")))
    return Value(net.op("Gather", net.array(table, f"{part.name}.embeddings"), indices, axis=0), mask)


@layer("ReversibleEmbedding")
def _reversible(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """An embedding, and the way back from it to one score for each of its rows."""
    tied = part.flag("tie_weights", True)
    if not extra.get("reverse"):
        arrays = part.arrays(1 if tied else 2)
        inner = Layer("Embedding", part.name, {"output_dim": part.positive("output_dim")}, part.weights)
        part.used.update(part.config)
        result: Value = LAYERS["Embedding"](net, inner, inputs, {})
        if part.config.get("mask_zero"):
            raise part.fault("mask_zero is not converted")
        return result
    part.used.update(part.config)
    if part.config.get("logit_soft_cap") is not None or part.config.get("quantization_mode"):
        raise part.fault("a cap of the scores, or quantised weights, are not converted")
    arrays = part.arrays(1 if tied else 2)
    back = arrays[0].T if tied else arrays[1]
    return Value(net.op("MatMul", net.real(one(part, inputs).name), net.array(back, f"{part.name}.reverse")))


@layer("SpectralNormalization")
def _wrapped(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Any:
    """The layer within: its weights are stored as they were normalised last."""
    part.used.update(("power_iterations", "layer"))
    spec = part.config.get("layer")
    if not isinstance(spec, dict):
        raise part.fault("has no layer")
    weights = part.weights.part("layer", 0, 1)
    if isinstance(weights, Flat):  # the layer's own, and a vector that only training needs
        kept = [item for item in weights.items if "vector_u" not in item[0]]
        weights = Flat(kept, weights.where)
    return net.apply(spec, weights, inputs, extra)


@layer("Masking")
def _masking(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = net.real(one(part, inputs).name)
    equal = net.op("Equal", x, net.number(part.real("mask_value", 0.0)))
    differs = net.op("Cast", net.op("Not", equal), to=1)
    kept = net.op("ReduceMax", differs, net.ints([-1]), keepdims=1)
    mask = net.op("Cast", net.op("Squeeze", kept, net.ints([-1])), to=9)
    return Value(net.op("Mul", x, kept), mask)


@layer("MaxoutDense")
def _maxout(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    features, units, bias = part.positive("nb_feature", 4), part.positive("units"), part.flag("use_bias", True)
    arrays = part.arrays(2 if bias else 1)
    kernel = part.shaped(arrays[0], features, None, units)
    flat = kernel.transpose(1, 0, 2).reshape(kernel.shape[1], -1)
    y = net.dense(x.name, flat, part.shaped(arrays[1], features, units).reshape(-1) if bias else None, part.name)
    y = net.op("Reshape", y, net.ints([0, features, units]))
    return Value(net.op("ReduceMax", y, net.ints([1]), keepdims=0))


@layer("Highway")
def _highway(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x, bias = one(part, inputs), part.flag("use_bias", True)
    arrays = part.arrays(4 if bias else 2)
    gate = net.op("Sigmoid", net.dense(x.name, arrays[1], arrays[3] if bias else None, part.name))
    y = activate(net, part, net.dense(x.name, arrays[0], arrays[2] if bias else None, part.name))
    rest = net.op("Mul", net.op("Sub", net.number(1.0), gate), x.name)
    return Value(net.op("Add", net.op("Mul", y, gate), rest))


# Convolution


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


def _to_first(net: Net, part: Layer, x: Value, axes: int) -> tuple[str, bool]:
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
    x, first = _to_first(net, part, one(part, inputs), axes)
    kernel, strides, dilation, reach = _geometry(net, part, axes)
    filters, groups, bias = part.positive("filters"), part.positive("groups", 1), part.flag("use_bias", True)
    _whole(part)
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
    x, first = _to_first(net, part, one(part, inputs), axes)
    part.used.update(("filters", "groups"))
    arrays = part.arrays(2 if part.flag("use_bias", True) else 1)
    y = _depthwise(net, part, x, axes, arrays[0], arrays[1] if len(arrays) > 1 else None)
    return Value(_from_first(net, part, y, first))


@layer("SeparableConv1D", "SeparableConv2D")
def _separable(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    axes = int(part.kind[13])
    x, first = _to_first(net, part, one(part, inputs), axes)
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
    x, first = _to_first(net, part, one(part, inputs), axes)
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


# Pooling


@layer("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
       "MaxPool1D", "MaxPool2D", "MaxPool3D", "AvgPool1D", "AvgPool2D", "AvgPool3D")  # fmt: skip
def _pool(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    axes = int(part.kind[-2])
    x, first = _to_first(net, part, one(part, inputs), axes)
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


# Normalisation


def _along(array: np.ndarray, axes: list[int], rank: int, part: Layer) -> np.ndarray:
    if array.ndim != len(axes):
        raise part.fault(f"weights of {array.ndim} axes instead of {len(axes)}")
    shape = [1] * rank
    for size, axis in zip(array.shape, axes):
        shape[axis] = size
    return array.reshape(shape)


def _axes(net: Net, part: Layer, value: str, default: int = -1) -> list[int]:
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
    axes = _axes(net, part, value)
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
    axes = sorted(_axes(net, part, value))
    scale, center, epsilon = part.flag("scale", True), part.flag("center", True), part.real("epsilon", 1e-3)
    rms = part.flag("rms_scaling")
    scale, center = scale or rms, center and not rms
    arrays = part.arrays(scale + center)
    over = net.ints(axes)
    if rms:
        middle = value
    else:
        middle = net.op("Sub", value, net.op("ReduceMean", value, over, keepdims=1))
    power = net.op("ReduceMean", net.op("Mul", middle, middle), over, keepdims=1)
    y = net.op("Div", middle, net.op("Sqrt", net.op("Add", power, net.number(epsilon))))
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
    axes = sorted(_axes(net, part, value))
    power = net.op("ReduceMean", net.op("Mul", value, value), net.ints(axes), keepdims=1)
    y = net.op("Div", value, net.op("Sqrt", net.op("Add", power, net.number(part.real("epsilon", 1e-6)))))
    scale = _along(part.arrays(1)[0], axes, net.rank(value), part)
    return Value(net.op("Mul", y, net.array(scale, f"{part.name}.scale")), x.mask)


@layer("GroupNormalization")
def _group_norm(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    (axis,) = _axes(net, part, value)
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
    power = net.op("ReduceSum", net.op("Mul", value, value), net.ints(_axes(net, part, value)), keepdims=1)
    return Value(net.op("Div", value, net.op("Sqrt", net.op("Max", power, net.number(1e-12)))), x.mask)


@layer("Normalization")
def _normalization(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    value = net.real(x.name)
    axis, rank = part.get("axis", -1) if part.config.get("axis", -1) is not None else None, net.rank(value)
    axes = [] if axis is None or axis == [] else _axes(net, part, value)
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


@layer("CategoryEncoding")
def _category(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    tokens = part.positive("num_tokens")
    mode = part.choice("output_mode", "multi_hot", "one_hot", "multi_hot", "count")
    weights = extra.get("count_weights", inputs[1] if len(inputs) > 1 else None)
    given = weights.name if isinstance(weights, Value) else None
    return _encoded(net, net.op("Cast", inputs[0].name, to=7), mode, tokens, given)


def _encoded(net: Net, indices: str, mode: str, tokens: int, weights: str | None = None) -> Value:
    """Numbers as rows of as many places: one each, or those of a row together or counted."""
    values = net.graph.constant(np.array([0, 1], np.float32), "off_on")
    hot = net.op("OneHot", indices, net.ints([tokens]), values, axis=-1)
    rank = net.rank(indices)
    if mode == "one_hot":
        if rank > 1 and net.size(indices, rank - 1) == 1:
            hot = net.op("Squeeze", hot, net.ints([rank - 1]))
        return Value(hot)
    if rank == 1:
        return Value(hot)
    if mode == "count" and weights is not None:
        hot = net.op("Mul", hot, net.op("Unsqueeze", net.real(weights), net.ints([-1])))
    return Value(net.op("ReduceMax" if mode == "multi_hot" else "ReduceSum", hot, net.ints([rank - 1]), keepdims=0))


@layer("Discretization")
def _discretization(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    part.used.update(("num_bins", "epsilon"))
    bounds = part.get("bin_boundaries")
    if not isinstance(bounds, list) or not bounds:
        raise part.fault("has no bin_boundaries")
    spread = net.op("Unsqueeze", net.real(x.name), net.ints([-1]))
    above = net.op("GreaterOrEqual", spread, net.array(bounds))
    bins = net.op("ReduceSum", net.op("Cast", above, to=7), net.ints([-1]), keepdims=0)
    mode = part.choice("output_mode", "int", "int", "one_hot", "multi_hot", "count")
    if mode != "int":
        return _encoded(net, bins, mode, len(bounds) + 1)
    return Value(net.op("Cast", bins, to=7 if net.dialect.version < 3 else 6))


@layer("IntegerLookup")
def _integer_lookup(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """Places in a list of whole numbers: the mask's first, then those of what is not in it."""
    x = one(part, inputs)
    vocabulary, mask = part.get("vocabulary"), part.get("mask_token")
    part.used.update(
        ("max_tokens", "vocabulary_dtype", "vocabulary_size", "oov_token", "encoding", "idf_weights", "oov_method")
    )
    if isinstance(vocabulary, dict):
        vocabulary = vocabulary.get("config", {}).get("value") if isinstance(vocabulary.get("config"), dict) else None
    if not isinstance(vocabulary, list) or not vocabulary or not all(isinstance(v, int) for v in vocabulary):
        raise part.fault("its vocabulary is not in the file's description; this is not converted")
    others = part.whole("num_oov_indices", 1)
    if part.get("invert") or others > 1 or (others and part.config.get("vocabulary_dtype", "int64") != "int64"):
        raise part.fault("several places for unknown numbers, or the way back, are not converted")
    mode = part.choice("output_mode", "int", "int", "one_hot", "multi_hot", "count")
    start = others + (mask is not None and mode == "int")
    value = net.op("Cast", x.name, to=7)
    same = net.op("Equal", net.op("Unsqueeze", value, net.ints([-1])), net.ints(vocabulary))
    places = net.graph.constant(np.arange(start, start + len(vocabulary), dtype=np.int64), "places")
    unknown = net.graph.constant(np.array(start - 1 if others else -1, np.int64), "unknown")
    found = net.op("ReduceMax", net.where(same, places, unknown), net.ints([-1]), keepdims=0)
    if mask is not None and mode == "int":
        zero = net.graph.constant(np.array(0, np.int64), "zero")
        given = net.graph.constant(np.array(int(mask), np.int64), "mask")
        found = net.where(net.op("Equal", value, given), zero, found)
    width = part.config.get("max_tokens") if part.flag("pad_to_max_tokens") else None
    return Value(found) if mode == "int" else _encoded(net, found, mode, width or start + len(vocabulary))


# Activations


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
    axes = sorted(_axes(net, part, value))
    if len(axes) == 1:
        return Value(net.op("Softmax", value, axis=axes[0]), x.mask)
    over = net.ints(axes)
    e = net.op("Exp", net.op("Sub", value, net.op("ReduceMax", value, over, keepdims=1)))
    return Value(net.op("Div", e, net.op("ReduceSum", e, over, keepdims=1)), x.mask)


# Shapes


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


def spatial_axes(net: Net, part: Layer, x: Value, axes: int) -> list[int]:
    if net.rank(x) != axes + 2:
        raise part.fault(f"takes an input of {axes + 2} axes, not {net.rank(x)}")
    return list(range(2, axes + 2) if channels_first(net, part, axes) else range(1, axes + 1))


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


# Merging


def _merged_mask(net: Net, inputs: list[Value]) -> str | None:
    masks = [x.mask for x in inputs]
    given = [m for m in masks if m is not None]
    if not given or (net.dialect.version == 3 and len(given) < len(masks)):
        return None
    result = given[0]
    for mask in given[1:]:
        result = net.op("Or" if net.dialect.version == 3 else "And", result, mask)
    return result


def _aligned(net: Net, inputs: list[Value]) -> list[str]:
    """Inputs of fewer axes get more after the first."""
    values = [net.real(x.name) for x in inputs]
    rank = max(net.rank(v) for v in values)
    return [
        net.op("Unsqueeze", v, net.ints(range(1, 1 + rank - net.rank(v)))) if net.rank(v) < rank else v for v in values
    ]


@layer("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
def _merge(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    if len(inputs) < 2 or (part.kind == "Subtract" and len(inputs) != 2):
        raise part.fault(f"cannot merge {len(inputs)} inputs")
    op = {"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Average": "Add", "Maximum": "Max", "Minimum": "Min"}
    values = _aligned(net, inputs)
    y = values[0]
    for value in values[1:]:
        y = net.op(op[part.kind], y, value)
    if part.kind == "Average":
        y = net.op("Div", y, net.number(float(len(values))))
    return Value(y, _merged_mask(net, inputs))


@layer("Concatenate")
def _concatenate(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    axis = part.whole("axis", -1)
    if not inputs:
        raise part.fault("has no input")
    rank = net.rank(inputs[0])
    axis = net.axis(part, inputs[0].name, axis, batch=True)
    same = all(net.graph.dtype(x.name) == net.graph.dtype(inputs[0].name) for x in inputs)
    values = [x.name if same else net.real(x.name) for x in inputs]
    y = net.op("Concat", *values, axis=axis)
    if all(x.mask is None for x in inputs):
        return Value(y)
    if rank != 3 or axis != 2:
        if axis == 1 and all(x.mask is not None for x in inputs):
            return Value(y, net.op("Concat", *[str(x.mask) for x in inputs], axis=1))
        return Value(y) if rank != 3 else _no_mask(part)
    masks = [x.mask for x in inputs if x.mask is not None]
    result = masks[0]
    for mask in masks[1:]:
        result = net.op("And", result, mask)
    return Value(y, result)


def _no_mask(part: Layer) -> Value:
    raise part.fault("joins values of which only some have a mask; this is not converted")


@layer("Dot")
def _dot(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    if len(inputs) != 2:
        raise part.fault("takes two inputs")
    axes = part.get("axes", -1)
    pair = [axes, axes] if isinstance(axes, int) else axes
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(a, int) for a in pair):
        raise part.fault(f"axes of {str(axes)[:40]} are not known")
    values = [net.real(x.name) for x in inputs]
    if part.flag("normalize"):
        for i, (v, a) in enumerate(zip(values, pair)):
            power = net.op("ReduceSum", net.op("Mul", v, v), net.ints([net.axis(part, v, a)]), keepdims=1)
            values[i] = net.op("Div", v, net.op("Sqrt", net.op("Max", power, net.number(1e-12))))
    letters = ["b" + "cdefgh"[: net.rank(values[0]) - 1], "b" + "ijklmn"[: net.rank(values[1]) - 1]]
    if any(net.rank(v) > 6 for v in values):
        raise part.fault("inputs of so many axes are not converted")
    terms = []
    for v, a, text in zip(values, pair, letters):
        axis = net.axis(part, v, a)
        terms.append(text[:axis] + "z" + text[axis + 1 :])
    out = "".join(c for c in terms[0] + terms[1][1:] if c != "z")
    y = net.op("Einsum", *values, equation=f"{terms[0]},{terms[1]}->{out}")
    return Value(net.op("Unsqueeze", y, net.ints([1])) if len(out) == 1 else y)


@layer("Merge")
def _merge1(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """Of Keras 1."""
    part.used.update(("output_shape", "output_shape_type", "arguments", "output_mask", "output_mask_type", "mode_type",
                      "layers", "node_indices", "tensor_indices"))  # fmt: skip
    kinds = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot",
             "cos": "Dot"}  # fmt: skip
    mode = part.get("mode", "sum")
    if part.config.get("mode_type") not in (None, "raw") or mode not in kinds:
        raise part.fault(f"the mode '{str(mode)[:40]}' is not known: a Python function is not run")
    axis, axes = part.whole("concat_axis", -1), part.get("dot_axes", -1)
    if isinstance(axes, list) and axes and isinstance(axes[0], list):
        axes = [a[0] for a in axes]
    kind = kinds[mode]
    config: dict[str, Any] = {"axis": axis} if kind == "Concatenate" else {}
    if kind == "Dot":
        config = {"axes": axes, "normalize": mode == "cos"}
    result: Value = LAYERS[kind](net, Layer(kind, part.name, config, part.weights), inputs, {})
    return result
