"""Layers of Keras that are products with a matrix or look-ups in one; masks; and what acts in training only."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.formats.shared.keras.base import LAYERS, Layer, Net, Value, activate, layer
from sensorium.formats.shared.keras.layers.inputs import Extra, one
from sensorium.formats.shared.keras.weights import Flat


@layer("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "GaussianNoise",
       "AlphaDropout", "ActivityRegularization", "Identity", "RandomFlip", "RandomRotation", "RandomZoom",
       "RandomTranslation", "RandomContrast", "RandomBrightness", "RandomSharpness", "RandomColorJitter",
       "RandomHeight", "RandomWidth", "RandomErasing", "RandomSaturation", "RandomHue", "RandomGrayscale",
       "RandomShear", "RandomGaussianBlur",
       "RandomPosterization", "RandomInvert", "RandomPerspective", "RandomElasticTransform",
       "RandomColorDegeneration", "RandAugment", "AugMix", "MixUp", "CutMix", "Solarization",
       "Equalization")  # fmt: skip
def _identity(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    part.used.update(part.config)  # these act in training only
    return one(part, inputs)


@layer("RandomCrop")
def _cropped(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Any:
    """Nothing but in training; in Keras 2 the middle of the same shape, resized."""
    if net.dialect.version >= 3:
        return _identity(net, part, inputs, extra)
    part.used.update(part.config)
    told = {key: part.get(key) for key in ("height", "width")}
    middle = {**told, "crop_to_aspect_ratio": True, "interpolation": "bilinear"}
    return LAYERS["Resizing"](net, Layer("Resizing", part.name, middle, part.weights), inputs, extra)


def whole_weights(part: Layer) -> None:
    """The weights must be as they are used; adapters (LoRA) are merged when Keras saves them."""
    part.used.add("lora_rank")
    if part.get("quantization_mode"):
        raise part.fault("quantised weights are not converted")


@layer("Dense", "TimeDistributedDense")
def _dense(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    units, bias = part.positive("units"), part.flag("use_bias", True)
    whole_weights(part)
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
    whole_weights(part)
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
    whole_weights(part)
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
