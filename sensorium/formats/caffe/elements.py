"""Caffe's layers that work element by element: activations, scales, sums, products, softmax."""

from __future__ import annotations

import math

from sensorium.formats.caffe.context import MANY, Context, layer
from sensorium.formats.caffe.net import Layer
from sensorium.formats.shared.textproto import Block

PLAIN = {"Sigmoid": "Sigmoid", "TanH": "Tanh", "AbsVal": "Abs", "BNLL": "Softplus"}


@layer(*PLAIN)
def plain(c: Context) -> str:
    return str(c.add(PLAIN[c.layer.type], c.x))


@layer("Split")
def same(c: Context) -> list[str]:
    return [c.add("Identity", c.x) for _ in c.layer.tops]


@layer("Dropout", "SpatialDropout")
def dropout(c: Context) -> str:
    """Nothing; forks that do not scale while they train (scale_train: false) do it here."""
    param = c.layer.param("dropout_param" if c.layer.type == "Dropout" else "spatial_dropout_param")
    ratio = param.number("dropout_ratio", 0.5)
    return str(c.add("Identity", c.x) if param.flag("scale_train", True) else c.affine(c.x, 1 - ratio, None, 0))


@layer("ReLU")
def relu(c: Context) -> str:
    slope = c.layer.param("relu_param").number("negative_slope", 0.0)
    return str(c.add("LeakyRelu", c.x, alpha=slope) if slope else c.add("Relu", c.x))


@layer("PReLU", blobs=1)
def prelu(c: Context) -> str:
    shared = c.layer.param("prelu_param").flag("channel_shared")
    channels = 1 if shared else c.shape()[1]
    slope = c.blob(0, [channels], "slope").reshape(channels, *[1] * (c.rank() - 2))
    return str(c.add("PRelu", c.x, c.constant(slope, "slope")))


@layer("ELU")
def elu(c: Context) -> str:
    return str(c.add("Elu", c.x, alpha=c.layer.param("elu_param").number("alpha", 1.0)))


def _base(c: Context, param: Block) -> float:
    base = param.number("base", -1.0)
    if base == -1.0:
        return 1.0
    if base <= 0:
        raise c.layer.fault(f"base {base} is not possible")
    return math.log(base)


def _inner(c: Context, param: Block, factor: float = 1.0) -> str:
    """factor * (shift + scale * x)."""
    scale, shift = param.number("scale", 1.0) * factor, param.number("shift", 0.0) * factor
    return c.affine(c.x, None if scale == 1 else scale, shift or None, 0)


@layer("Exp")
def exponential(c: Context) -> str:
    param = c.layer.param("exp_param")
    return str(c.add("Exp", _inner(c, param, _base(c, param))))


@layer("Log")
def logarithm(c: Context) -> str:
    param = c.layer.param("log_param")
    base = _base(c, param)
    y = c.add("Log", _inner(c, param))
    return str(y if base == 1.0 else c.add("Div", y, c.constant(base, "base")))


@layer("Power")
def power(c: Context) -> str:
    param = c.layer.param("power_param")
    exponent = param.number("power", 1.0)
    y = _inner(c, param)
    if exponent == 1.0:
        return y if y != c.x else str(c.add("Identity", y))
    return str(c.add("Mul", y, y) if exponent == 2.0 else c.add("Pow", y, c.constant(exponent, "power")))


@layer("Threshold")
def threshold(c: Context) -> str:
    limit = c.constant(c.layer.param("threshold_param").number("threshold", 0.0), "threshold")
    return str(c.add("Cast", c.graph.add("Greater", c.x, limit), to=1))


@layer("Clip", "ReLU6")
def clip(c: Context) -> str:
    param = c.layer.param("clip_param")
    low, high = (0.0, 6.0) if c.layer.type == "ReLU6" else (param.number("min"), param.number("max"))
    return str(c.add("Clip", c.x, c.constant(low, "min"), c.constant(high, "max")))


@layer("Swish")
def swish(c: Context) -> str:
    beta = c.layer.param("swish_param").number("beta", 1.0)
    inner = c.x if beta == 1 else c.affine(c.x, beta, None, 0)
    return str(c.add("Mul", c.x, c.add("Sigmoid", inner)))


def _covered(c: Context, param: Block, axis: int) -> list[int]:
    """The axes that trained scales or shifts cover."""
    count = param.whole("num_axes", 1)
    end = c.rank() if count == -1 else axis + count
    if count < -1 or end > c.rank():
        raise c.layer.fault(f"{count} axes from axis {axis} on, of an input with {c.rank()}")
    if any(a == 0 for a in range(axis, end)):
        c.graph.pin("batch")
    return list(c.shape()[axis:end])


def _second(c: Context, axis: int) -> str:
    """The second bottom, laid along the axes of the first from `axis` on."""
    after = c.rank() - axis - c.rank(1)
    if after < 0:
        raise c.layer.fault("its second bottom has more axes than fit")
    if not after:
        return c.inputs[1]
    return str(c.graph.add("Unsqueeze", c.inputs[1], c.graph.ints(*range(c.rank(1), c.rank(1) + after))))


def _scale_blobs(layer: Layer) -> int:
    return (len(layer.bottoms) < 2) + layer.param("scale_param").flag("bias_term")


@layer("Scale", bottoms=2, blobs=_scale_blobs)
def scale(c: Context) -> str:
    param = c.layer.param("scale_param")
    axis, biased = c.axis(param.whole("axis", 1), extra=1), param.flag("bias_term")
    param.seen.add("num_axes")  # the second bottom has axes of its own
    if len(c.inputs) > 1:
        y = c.add("Mul", c.x, _second(c, axis))
        shape = list(c.shape(1))
        return c.affine(y, None, c.blob(0, shape, "bias"), axis) if biased else str(y)
    shape = _covered(c, param, axis)
    return c.affine(c.x, c.blob(0, shape, "scale"), c.blob(1, shape, "bias") if biased else None, axis)


@layer("Bias", bottoms=2, blobs=lambda layer: int(len(layer.bottoms) < 2))
def bias(c: Context) -> str:
    param = c.layer.param("bias_param")
    axis = c.axis(param.whole("axis", 1), extra=1)
    param.seen.add("num_axes")
    if len(c.inputs) > 1:
        return str(c.add("Add", c.x, _second(c, axis)))
    return c.affine(c.x, None, c.blob(0, _covered(c, param, axis), "bias"), axis)


@layer("Eltwise", bottoms=MANY)
def eltwise(c: Context) -> str:
    param = c.layer.param("eltwise_param")
    kind = {"0": "PROD", "1": "SUM", "2": "MAX"}.get(param.text("operation", "SUM"), param.text("operation", "SUM"))
    factors = param.number_list("coeff")
    if factors and len(factors) != len(c.inputs):
        raise c.layer.fault(f"{len(factors)} coefficients for {len(c.inputs)} bottoms")
    if factors and kind != "SUM":
        raise c.layer.fault(f"coefficients of the operation '{kind}' are not defined")
    if any(c.shape(i) != c.shape() for i in range(1, len(c.inputs))):
        raise c.layer.fault(
            f"its bottoms differ in shape: {', '.join(str(list(c.shape(i))) for i in range(len(c.inputs)))}"
        )
    if kind == "SUM":
        parts = [
            x if f == 1 else c.add("Mul", x, c.constant(f, "coeff"))
            for x, f in zip(c.inputs, factors or [1.0] * len(c.inputs))
        ]
        return str(c.add("Sum", *parts))
    if kind == "MAX":
        return str(c.add("Max", *c.inputs))
    if kind != "PROD":
        raise c.layer.fault(f"unsupported operation '{kind}'")
    y = c.x
    for x in c.inputs[1:]:
        y = c.add("Mul", y, x)
    return y


@layer("Axpy", bottoms=3)
def axpy(c: Context) -> str:
    """bottom 0 (batch, channels) times bottom 1, plus bottom 2."""
    factor = c.x
    if c.rank() < c.rank(1):
        factor = c.graph.add("Unsqueeze", factor, c.graph.ints(*range(c.rank(), c.rank(1))))
    return str(c.add("Add", c.add("Mul", c.inputs[1], factor), c.inputs[2]))


@layer("Softmax")
def softmax(c: Context) -> str:
    return str(c.add("Softmax", c.x, axis=c.axis(c.layer.param("softmax_param").whole("axis", 1))))
