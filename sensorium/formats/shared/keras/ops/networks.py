"""Functions of `keras.ops.nn` and `keras.ops.image`: convolution, pooling, normalisation, attention, pictures."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import LAYERS, Layer, Net, Value
from sensorium.formats.shared.keras.layers.pictures import resized
from sensorium.formats.shared.keras.ops.call import fixed, op, tensor, together
from sensorium.formats.shared.keras.ops.reductions import over, variance
from sensorium.formats.shared.keras.weights import Flat


def _layer(net: Net, kind: str, x: Any, arrays: list[Any], **config: Any) -> str:
    """What the layer of this class computes."""
    if not all(isinstance(a, np.ndarray) for a in arrays):
        raise InputError("weights that are computed are not converted")
    inner = Layer(kind, kind, config, Flat([("", partial(np.asarray, a)) for a in arrays], kind))
    result: Value = LAYERS[kind](net, inner, [Value(net.real(tensor(net, x)), None, getattr(x, "sizes", None))], {})
    return result.name


def _pool(
    net: Net, inputs: Any, *, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None,
    kind: str = "MaxPooling",
) -> str:  # fmt: skip
    axes = net.rank(tensor(net, inputs)) - 2
    return _layer(net, f"{kind}{axes}D", inputs, [], pool_size=pool_size, strides=strides, padding=padding,
                  data_format=data_format)  # fmt: skip


@op("MaxPool")
def _max_pool(net: Net, inputs: Any, **config: Any) -> str:
    return _pool(net, inputs, **config)


@op("AveragePool")
def _average_pool(net: Net, inputs: Any, **config: Any) -> str:
    return _pool(net, inputs, kind="AveragePooling", **config)


def _adaptive(net: Net, kind: str, inputs: Any, output_size: Any, data_format: Any) -> str:
    axes = net.rank(tensor(net, inputs)) - 2
    return _layer(net, f"Adaptive{kind}Pooling{axes}D", inputs, [], output_size=output_size, data_format=data_format)


@op("AdaptiveMaxPool")
def _adaptive_max(net: Net, inputs: Any, *, output_size: Any, data_format: Any = None) -> str:
    return _adaptive(net, "Max", inputs, output_size, data_format)


@op("AdaptiveAveragePool")
def _adaptive_average(net: Net, inputs: Any, *, output_size: Any, data_format: Any = None) -> str:
    return _adaptive(net, "Average", inputs, output_size, data_format)


def _axes(net: Net, inputs: Any, *kernels: Any) -> int:
    """How many axes a convolution moves along.

    Raises:
        InputError: a kernel is not a weight of the model.
    """
    axes = net.rank(tensor(net, inputs)) - 2
    if not all(isinstance(kernel, np.ndarray) and kernel.ndim == axes + 2 for kernel in kernels):
        raise InputError("a kernel that is computed is not converted")
    return axes


@op("Conv")
def _conv(net: Net, inputs: Any, kernel: Any, **config: Any) -> str:
    axes = _axes(net, inputs, kernel)
    first = config.get("data_format") == "channels_first"
    channels = net.size(tensor(net, inputs), 1 if first else axes + 1)
    return _layer(net, f"Conv{axes}D", inputs, [kernel], kernel_size=list(kernel.shape[:axes]), use_bias=False,
                  filters=kernel.shape[-1], groups=channels // max(kernel.shape[-2], 1), **config)  # fmt: skip


@op("DepthwiseConv")
def _depthwise(net: Net, inputs: Any, kernel: Any, **config: Any) -> str:
    axes = _axes(net, inputs, kernel)
    return _layer(net, f"DepthwiseConv{axes}D", inputs, [kernel], kernel_size=list(kernel.shape[:axes]),
                  depth_multiplier=kernel.shape[-1], use_bias=False, **config)  # fmt: skip


@op("SeparableConv")
def _separable(net: Net, inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, **config: Any) -> str:
    kernels = [depthwise_kernel, pointwise_kernel]
    axes = _axes(net, inputs, *kernels)
    return _layer(net, f"SeparableConv{axes}D", inputs, kernels, kernel_size=list(kernels[0].shape[:axes]),
                  depth_multiplier=kernels[0].shape[-1], filters=kernels[1].shape[-1], use_bias=False,
                  **config)  # fmt: skip


@op("ConvTranspose")
def _conv_transpose(net: Net, inputs: Any, kernel: Any, **config: Any) -> str:
    axes = _axes(net, inputs, kernel)
    return _layer(net, f"Conv{axes}DTranspose", inputs, [kernel], kernel_size=list(kernel.shape[:axes]),
                  filters=kernel.shape[-2], use_bias=False, **config)  # fmt: skip


@op("BatchNorm")
def _batch_norm(
    net: Net, x: Any, mean: Any, variance: Any, offset: Any = None, scale: Any = None, *, axis: int,
    epsilon: float = 1e-3,
) -> str:  # fmt: skip
    value = net.real(tensor(net, x))
    shape = [1] * net.rank(value)
    shape[axis] = -1

    def along(given: Any) -> str:
        return net.op("Reshape", net.real(tensor(net, given)), net.ints(shape))

    y = net.op("Sub", value, along(mean))
    y = net.op("Div", y, net.op("Sqrt", net.op("Add", along(variance), net.number(epsilon))))
    y = y if scale is None else net.op("Mul", y, along(scale))
    return y if offset is None else net.op("Add", y, along(offset))


@op("LayerNorm")
def _layer_norm(
    net: Net, x: Any, gamma: Any = None, beta: Any = None, *, axis: Any = -1, epsilon: Any = None,
    rms_scaling: bool = False,
) -> str:  # fmt: skip
    value = net.real(tensor(net, x))
    small = net.number(1e-7 if epsilon is None else float(epsilon))
    if rms_scaling:
        spread = net.op("Sqrt", net.op("Add", variance(net, value, axis, True), small))
        y = net.op("Div", value, spread)
    else:
        middle = net.op("Sub", value, over(net, "ReduceMean", value, axis, True))
        y = net.op("Div", middle, net.op("Sqrt", net.op("Add", variance(net, value, axis, True), small)))
    y = y if gamma is None else net.op("Mul", y, net.real(tensor(net, gamma)))
    return y if beta is None else net.op("Add", y, net.real(tensor(net, beta)))


@op("RMSNorm")
def _rms_norm(net: Net, x: Any, scale: Any = None, *, axis: Any = -1, epsilon: Any = None) -> str:
    value = net.real(tensor(net, x))
    power = over(net, "ReduceMean", net.op("Mul", value, value), axis, True)
    small = net.number(1e-7 if epsilon is None else float(epsilon))
    y = net.op("Div", value, net.op("Sqrt", net.op("Add", power, small)))
    return y if scale is None else net.op("Mul", y, net.real(tensor(net, scale)))


@op("DotProductAttention")
def _attention(
    net: Net, query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: Any = None, *,
    is_causal: bool = False, flash_attention: Any = None, attn_logits_soft_cap: Any = None,
) -> str:  # fmt: skip
    """Values (batch, time, heads, size); fewer heads of keys are repeated."""
    if attn_logits_soft_cap is not None:
        raise InputError("a cap of the logits is not converted")
    q, k, v = together(net, query, key, value, real=True)
    heads, kept = net.size(q, 2), net.size(k, 2)
    if heads != kept:
        index = net.ints(np.repeat(np.arange(kept), heads // kept).tolist())
        k, v = (net.op("Gather", x, index, axis=2) for x in (k, v))
    factor = 1 / math.sqrt(net.size(q, 3)) if scale is None else float(scale)
    q = net.op("Mul", net.op("Transpose", q, perm=[0, 2, 1, 3]), net.number(factor))
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 2, 3, 1]))
    if bias is not None:
        scores = net.op("Add", scores, net.real(tensor(net, bias)))
    seen = [] if mask is None else [net.op("Cast", tensor(net, mask), to=9)]
    if is_causal:
        whole = net.op("ConstantOfShape", net.sizes(scores, 2), value=np.ones(1, np.float32))
        seen.append(net.op("Cast", net.op("Trilu", whole, upper=0), to=9))
    for one in seen:
        scores = net.where(one, scores, net.number(-3e38))
    weights = net.op("Softmax", scores, axis=-1)
    y = net.op("MatMul", weights, net.op("Transpose", v, perm=[0, 2, 1, 3]))
    return net.op("Transpose", y, perm=[0, 2, 1, 3])


@op("BinaryCrossentropy")
def _binary(net: Net, target: Any, output: Any, *, from_logits: bool = False) -> str:
    wanted, p = together(net, target, output, real=True)
    p = net.op("Sigmoid", p) if from_logits else p
    one = net.number(1.0)
    p = net.op("Clip", p, net.number(1e-7), net.number(1 - 1e-7))
    yes = net.op("Mul", wanted, net.op("Log", p))
    no = net.op("Mul", net.op("Sub", one, wanted), net.op("Log", net.op("Sub", one, p)))
    return net.op("Neg", net.op("Add", yes, no))


def _in_first(net: Net, x: Any, data_format: Any) -> tuple[str, bool]:
    value = tensor(net, x)
    first = data_format == "channels_first"
    if net.rank(value) != 4:
        raise InputError("is converted for a batch of pictures only")
    return (value if first else net.last_to_first(value)), first


@op("DepthToSpace")
def _depth_to_space(net: Net, x: Any, *, block_size: int, data_format: Any = "channels_last") -> str:
    value, first = _in_first(net, x, data_format)
    y = net.op("DepthToSpace", value, blocksize=block_size)
    return y if first else net.first_to_last(y)


@op("SpaceToDepth")
def _space_to_depth(net: Net, x: Any, *, block_size: int, data_format: Any = "channels_last") -> str:
    value, first = _in_first(net, x, data_format)
    y = net.op("SpaceToDepth", value, blocksize=block_size)
    return y if first else net.first_to_last(y)


def _pair(given: Any) -> list[int]:
    pair = [given, given] if isinstance(given, int) else list(given)
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
        raise InputError(f"{str(given)[:40]} are not two sizes")
    return pair


@op("Unfold")
def _unfold(net: Net, x: Any, *, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> str:
    value = net.real(tensor(net, x))
    size, pads = _pair(kernel_size), _pair(padding)
    count = net.size(value, 1) * size[0] * size[1]
    if not 0 < count <= 4096:
        raise InputError("patches of this size are not converted")
    kernel = net.array(np.eye(count).reshape(count, -1, *size), "patches")
    y = net.op(
        "Conv", value, kernel, kernel_shape=size, strides=_pair(stride), dilations=_pair(dilation), pads=pads * 2
    )
    return net.op("Reshape", y, net.ints([0, 0, -1]))


@op("ExtractPatches")
def _patches(
    net: Net, images: Any, *, size: Any, strides: Any = None, dilation_rate: Any = 1, padding: str = "valid",
    data_format: Any = None,
) -> str:  # fmt: skip
    value, first = _in_first(net, images, data_format)
    if first:
        raise InputError("channels first are not converted")
    extent = _pair(size)
    count = net.size(value, 1)
    if not 0 < count * extent[0] * extent[1] <= 4096:
        raise InputError("patches of this size are not converted")
    kernel = np.eye(count * extent[0] * extent[1], dtype=np.float32).reshape(*extent, count, -1)
    return _conv(net, images, kernel, strides=_pair(extent if strides is None else strides), padding=padding,
                 data_format="channels_last", dilation_rate=dilation_rate)  # fmt: skip


# Pictures


@op("Resize")
def _resize(
    net: Net, images: Any, *, size: Any, interpolation: str = "bilinear", antialias: bool = False,
    crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False, fill_mode: str = "constant",
    fill_value: float = 0.0, data_format: Any = None,
) -> str:  # fmt: skip
    value = net.real(tensor(net, images))
    sizes = images.sizes if isinstance(images, Value) else None
    return resized(net, Value(value, None, sizes), _pair(size), data_format == "channels_first", interpolation,
                   antialias, crop_to_aspect_ratio, pad_to_aspect_ratio, float(fill_value))  # fmt: skip


@op("RGBToGrayscale")
def _gray(net: Net, images: Any, *, data_format: Any = None) -> str:
    value = net.real(tensor(net, images))
    weights = np.array([0.2989, 0.587, 0.114], np.float32)
    axis = -3 if data_format == "channels_first" else -1
    shape = (3, 1, 1) if axis == -3 else (3,)
    return net.op("ReduceSum", net.op("Mul", value, net.array(weights.reshape(shape))), net.ints([axis]), keepdims=1)


@op("PadImages")
def _pad_images(
    net: Net, images: Any, *, top_padding: Any = None, left_padding: Any = None, bottom_padding: Any = None,
    right_padding: Any = None, target_height: Any = None, target_width: Any = None, data_format: Any = None,
) -> str:  # fmt: skip
    value = tensor(net, images)
    rank = net.rank(value)
    begin, end = [0] * rank, [0] * rank
    ends = ((top_padding, bottom_padding, target_height), (left_padding, right_padding, target_width))
    first = rank - (2 if data_format == "channels_first" else 3)
    for axis, (before, after, wanted) in zip((first, first + 1), ends):
        if before is None or after is None:
            room = int(wanted) - fixed(net, images, axis)
            before = room - after if before is None else before
            after = room - before
        if before < 0 or after < 0:
            raise InputError("a padding below 0 is not possible")
        begin[axis], end[axis] = before, after
    zero = net.graph.constant(np.zeros((), net.graph.dtype(value)), "zero")
    return net.op("Pad", value, net.ints(begin + end), zero)


@op("CropImages")
def _crop_images(
    net: Net, images: Any, *, top_cropping: Any = None, left_cropping: Any = None, bottom_cropping: Any = None,
    right_cropping: Any = None, target_height: Any = None, target_width: Any = None, data_format: Any = None,
) -> str:  # fmt: skip
    value = tensor(net, images)
    first = net.rank(value) - (2 if data_format == "channels_first" else 3)
    ends = ((top_cropping, bottom_cropping, target_height), (left_cropping, right_cropping, target_width))
    for axis, (before, after, wanted) in zip((first, first + 1), ends):
        size = fixed(net, images, axis)
        before = size - wanted - after if before is None else before
        stop = before + wanted if after is None else size - after
        value = net.part(value, axis, before, stop)
    return value
