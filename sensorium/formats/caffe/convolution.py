"""Caffe's convolutions and products, as caffe.proto and the layers' source (BVLC Caffe 1.0) define them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sensorium.formats.caffe.context import Context, layer
from sensorium.formats.caffe.net import Layer
from sensorium.formats.shared.textproto import Block


def _spatial(c: Context, param: Block, name: str, count: int, default: int, side: str = "") -> list[int]:
    """A value for each spatial axis: `kernel_size: 3`, repeated, or `kernel_h` and `kernel_w`."""
    short = side or name
    if f"{short}_h" in param or f"{short}_w" in param:
        if count != 2:
            raise c.layer.fault(f"{short}_h and {short}_w are for two spatial axes, there are {count}")
        return [param.whole(f"{short}_h", default), param.whole(f"{short}_w", default)]
    found = param.whole_list(name)
    if len(found) == 1:
        return found * count
    if found and len(found) != count:
        raise c.layer.fault(f"{len(found)} values of {name} for {count} spatial axes")
    return found or [default] * count


def windows(c: Context, param: Block) -> tuple[list[int], list[int], list[int], list[int]]:
    count = c.rank() - 2
    if count < 1:
        raise c.layer.fault(f"its input has {c.rank()} axes; it takes pictures (batch, channels, height, width)")
    kernel = _spatial(c, param, "kernel_size", count, 0, "kernel")
    stride = _spatial(c, param, "stride", count, 1)
    pad = _spatial(c, param, "pad", count, 0)
    dilation = _spatial(c, param, "dilation", count, 1)
    if min(kernel) < 1 or min(stride) < 1 or min(pad) < 0 or min(dilation) < 1 or max(*kernel, *pad, *dilation) > 9999:
        raise c.layer.fault(f"kernel {kernel}, stride {stride}, pad {pad}, dilation {dilation} are not possible")
    return kernel, stride, pad, dilation


def with_bias(group: str) -> Callable[[Layer], int]:
    """Weights, and a bias unless the layer's parameters say that there is none."""
    return lambda layer: 1 + layer.param(group).flag("bias_term", True)


@layer(
    "Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution", blobs=with_bias("convolution_param")
)
def convolution(c: Context) -> str:
    param = c.layer.param("convolution_param")
    kernel, stride, pad, dilation = windows(c, param)
    channels, outputs = c.shape()[1], param.whole("num_output")
    transposed = c.layer.type == "Deconvolution"
    told = param.whole("group", 1)
    group = channels if "epthwise" in c.layer.type else told
    if param.whole("axis", 1) != 1:
        raise c.layer.fault("a channel axis other than 1 is not converted")
    if outputs < 1 or group < 1 or channels % group or outputs % group:
        raise c.layer.fault(f"{channels} channels to {outputs} in {group} groups is not possible")
    shape = (channels, outputs // group) if transposed else (outputs, channels // group)
    inputs = [c.x, c.constant(c.blob(0, [*shape, *kernel], "weights"), "weight")]
    if param.flag("bias_term", True):
        inputs.append(c.constant(c.blob(1, [outputs], "bias"), "bias"))
    return str(
        c.add(
            "ConvTranspose" if transposed else "Conv",
            *inputs,
            kernel_shape=kernel,
            strides=stride,
            pads=pad + pad,
            dilations=dilation,
            group=group,
        )
    )


@layer("Im2col")
def im2col(c: Context) -> str:
    """The values of each window as channels: a convolution with kernels that pick one value each."""
    param = c.layer.param("convolution_param")
    kernel, stride, pad, dilation = windows(c, param)
    if param.whole("axis", 1) != 1:
        raise c.layer.fault("a channel axis other than 1 is not converted")
    count, channels = math.prod(kernel), c.shape()[1]
    if count > 1 << 12:
        raise c.layer.fault(f"a window of {kernel}")
    pick = np.tile(np.eye(count).reshape(count, 1, *kernel), (channels, *[1] * (1 + len(kernel))))
    return str(c.add("Conv", c.x, c.constant(pick, "pick"), kernel_shape=kernel, strides=stride, pads=pad + pad,
                     dilations=dilation, group=channels))  # fmt: skip


@layer("InnerProduct", blobs=with_bias("inner_product_param"), settles=True)
def inner_product(c: Context) -> str:
    param = c.layer.param("inner_product_param")
    outputs, axis = param.whole("num_output"), c.axis(param.whole("axis", 1))
    inner = math.prod(c.shape()[axis:])
    held = c.layer.blobs[0].size
    if held != outputs * inner:
        raise c.layer.fault(
            f"its weights have {held} values, {outputs} outputs of an input of {list(c.shape()[axis:])} need "
            f"{outputs * inner}; is that the network's input size?"
        )
    transpose = param.flag("transpose")
    weight = c.blob(0, [inner, outputs] if transpose else [outputs, inner], "weights")
    bias = c.blob(1, [outputs], "bias") if param.flag("bias_term", True) else None
    if not c.fixed and c.rank() > 2 and axis < 3:
        c.pin_size()
    if axis == 1:
        x = c.x if c.rank() == 2 else c.add("Flatten", c.x, axis=1)
        inputs = [x, c.constant(weight, "weight")] + ([] if bias is None else [c.constant(bias, "bias")])
        return str(c.add("Gemm", *inputs, transB=0 if transpose else 1))
    x = c.x if axis == c.rank() - 1 else c.add("Reshape", c.x, c.graph.ints(*[0] * axis, -1))
    y = c.add("MatMul", x, c.constant(weight if transpose else weight.T, "weight"))
    return str(y if bias is None else c.add("Add", y, c.constant(bias, "bias")))


@layer("Embed", blobs=with_bias("embed_param"))
def embed(c: Context) -> str:
    param = c.layer.param("embed_param")
    rows, width = param.whole("input_dim"), param.whole("num_output")
    table = c.constant(c.blob(0, [rows, width], "weights"), "weight")
    y = c.add("Gather", table, c.graph.add("Cast", c.x, to=7))
    return str(c.add("Add", y, c.constant(c.blob(1, [width], "bias"))) if param.flag("bias_term", True) else y)
