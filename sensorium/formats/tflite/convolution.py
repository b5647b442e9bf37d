"""TFLite's convolutions, pooling and products."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.tflite.build import Builder
from sensorium.formats.tflite.call import LIMIT, activated, need, option, rank_of
from sensorium.formats.tflite.rounding import hybrid, rounded, symmetric
from sensorium.formats.tflite.schema import Operator


def pads(
    b: Builder, name: str, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], kind: int
) -> Any:
    """Explicit pads of a convolution or pooling over the last two axes."""
    if kind not in (0, 1):
        raise InputError(f"the padding {kind}")
    if kind == 1:
        return {"pads": [0] * (2 * len(kernel))}
    free = {axis for i in b.graph.inputs for axis in b.graph.free_axes(i)} - {0}
    if free:
        return {"auto_pad": "SAME_UPPER"}
    before, after = [], []
    for size, k, s, d in zip(b.graph.shape(name)[2:], kernel, strides, dilations):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return {"pads": [*before, *after]}


def steps_of(o: Operator, *numbers: int, default: int = 0) -> list[int]:
    found = [option(o, n, "i", default) for n in numbers]
    if not all(0 < n < LIMIT for n in found):
        raise InputError(f"steps of {found}")
    return found


def convolution(b: Builder, o: Operator) -> None:
    need(o, 2, 3)
    depthwise = o.op == "DEPTHWISE_CONV_2D"
    shape = b.tensor(o.inputs[1]).shape
    if len(shape) != 4 or 0 in shape:
        raise InputError(f"weights of shape {list(shape)}")
    x = b.numbers(o.inputs[0], True)
    channels = b.graph.shape(x)[1]
    strides = steps_of(o, 2, 1)
    if depthwise:
        weight, group = b.weight(o.inputs[1], (3, 0, 1, 2)), channels
        dilations, fused = steps_of(o, 6, 5, default=1), option(o, 4, "b")
        if not channels or shape[3] % channels or shape[0] != 1:
            raise InputError(f"weights of shape {list(shape)} for {channels} channels")
    else:
        weight = b.weight(o.inputs[1], (0, 3, 1, 2))
        dilations, fused = steps_of(o, 5, 4, default=1), option(o, 3, "b")
        if channels % shape[3]:
            raise InputError(f"weights of shape {list(shape)} for {channels} channels")
        group = channels // shape[3]
    if hybrid(b, o):
        scale = b.tensor(o.inputs[1]).scale
        by_channel = scale is not None and len(scale) > 1
        x = (rounded if by_channel else symmetric)(b.graph, x, (1, 2, 3))
    kernel = list(shape[1:3])
    result = b.graph.add(
        "Conv",
        x,
        weight,
        b.bias(o.inputs[2]) if len(o.inputs) > 2 else "",
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        group=group,
        **pads(b, x, kernel, strides, dilations, option(o, 0, "b")),
    )
    b.put(o.outputs[0], activated(b, result, fused), True)


def transposed(b: Builder, o: Operator) -> None:
    need(o, 3, 4)
    size, weights, value = o.inputs[:3]
    target = b.known(size) if b.tensor(size).stored is not None else list(b.tensor(o.outputs[0]).shape)
    bias = o.inputs[3] if len(o.inputs) > 3 else -1
    _transposed(b, o, (value, weights, bias), target, option(o, 0, "b") == 1, steps_of(o, 2, 1), option(o, 3, "b"))


def transposed_with_bias(b: Builder, o: Operator) -> None:
    """MediaPipe's; its settings are those numbers as they lie in memory: padding (1 same, 2 valid), width, height."""
    need(o, 3)
    if len(o.custom) < 12:
        raise InputError(f"corrupt: settings of {len(o.custom)} bytes")
    padding, *steps = struct.unpack_from("<3i", o.custom)
    if padding not in (1, 2) or not all(0 < n < LIMIT for n in steps):
        raise InputError(f"corrupt: padding {padding}, steps of {steps}")
    target = list(b.tensor(o.outputs[0]).shape)
    _transposed(b, o, (o.inputs[0], o.inputs[1], o.inputs[2]), target, padding == 2, steps[::-1], 0)


def _transposed(
    b: Builder, o: Operator, inputs: tuple[int, int, int], target: Sequence[int], valid: bool, strides: Sequence[int],
    fused: int,
) -> None:  # fmt: skip
    """A transposed convolution of value, weights and bias to the size of `target` (batch, height, width, channels)."""
    value, weights, bias = inputs
    shape = b.tensor(weights).shape
    x = b.numbers(value, True)
    given = b.graph.shape(x)
    if len(shape) != 4 or len(target) != 4 or len(given) != 4:
        raise InputError(f"weights of shape {list(shape)} for an output of {list(target)}")
    before, after, extra = [], [], []
    for n, t, k, s in zip(given[2:], target[1:3], shape[1:3], strides):
        total = (n - 1) * s + k - t
        before.append(0 if valid else max(total, 0) // 2)
        after.append(max(total, 0) - before[-1])
        extra.append(max(-total, 0))
        if extra[-1] >= s:
            raise InputError(f"an output of {t} from {n} in steps of {s}")
    result = b.graph.add(
        "ConvTranspose",
        x,
        b.weight(weights, (3, 0, 1, 2)),
        b.bias(bias),
        kernel_shape=list(shape[1:3]),
        strides=list(strides),
        pads=[*before, *after],
        output_padding=extra,
    )
    b.put(o.outputs[0], activated(b, result, fused), True)


def pool(b: Builder, o: Operator) -> None:
    need(o, 1)
    x = b.numbers(o.inputs[0], True)
    strides, kernel = steps_of(o, 2, 1), steps_of(o, 4, 3)
    settings = pads(b, x, kernel, strides, [1, 1], option(o, 0, "b"))
    kind = "AveragePool" if o.op == "AVERAGE_POOL_2D" else "MaxPool"
    result = b.graph.add(kind, x, kernel_shape=kernel, strides=strides, **settings)
    b.put(o.outputs[0], activated(b, result, option(o, 5, "b")), True)


def dense(b: Builder, o: Operator) -> None:
    need(o, 2, 3)
    shape = b.tensor(o.inputs[1]).shape
    if len(shape) != 2 or 0 in shape or option(o, 1, "b"):
        raise InputError(f"weights of shape {list(shape)} in the order {option(o, 1, 'b')}")
    keep = option(o, 2, "B")
    x = b.numbers(o.inputs[0])
    g = b.graph
    if not keep and g.rank(x) != 2:
        x = g.add("Reshape", x, g.ints(-1, shape[1]))
    if hybrid(b, o):
        x = (rounded if option(o, 3, "B") else symmetric)(g, x, (-1,))
    bias = b.bias(o.inputs[2]) if len(o.inputs) > 2 else ""
    if keep:
        result = g.add("MatMul", x, b.weight(o.inputs[1], (1, 0)))
        result = g.add("Add", result, bias) if bias else result
    else:
        result = g.add("Gemm", x, b.weight(o.inputs[1], (0, 1)), bias, transB=1)
    b.put(o.outputs[0], activated(b, result, option(o, 0, "b")))


def product(b: Builder, o: Operator) -> None:
    need(o, 2)
    names = []
    for index, turn in zip(o.inputs, (option(o, 0, "B"), option(o, 1, "B"))):
        name = b.numbers(index)
        rank = rank_of(b, index)
        if rank < 2:
            raise InputError(f"a product of {rank} axes")
        order = [*range(rank - 2), rank - 1, rank - 2]
        names.append(b.graph.add("Transpose", name, perm=order) if turn else name)
    if hybrid(b, o):
        names[0] = (rounded if option(o, 2, "B") else symmetric)(b.graph, names[0], (-1,))
    b.put(o.outputs[0], b.graph.add("MatMul", *names))


def _deep(b: Builder, name: str, first: bool) -> str:
    return str(b.graph.add("Transpose", name, perm=[0, 4, 1, 2, 3] if first else [0, 2, 3, 4, 1]))


def convolution3(b: Builder, o: Operator) -> None:
    """Weights (depth, height, width, in, out); turned round (out, in) for the transposed one."""
    turned = o.op == "CONV_3D_TRANSPOSE"
    need(o, 3 if turned else 2, 4 if turned else 3)
    value, bias = (o.inputs[2], o.inputs[3:]) if turned else (o.inputs[0], o.inputs[2:])
    weights = b.stored(o.inputs[1])
    if weights is None or weights.ndim != 5 or rank_of(b, value) != 5:
        raise InputError("weights that are computed, or not of five axes")
    g = b.graph
    x = _deep(b, b.numbers(value), True)
    strides, dilations = steps_of(o, 1, 3, 2), steps_of(o, 5, 7, 6, default=1)
    kernel = list(weights.shape[:3])
    weight = g.constant(np.ascontiguousarray(weights.transpose(4, 3, 0, 1, 2)), b.tensor(o.inputs[1]).name)
    more = b.bias(bias[0]) if bias else ""
    if turned:
        target = b.known(o.inputs[0])
        sizes = zip(g.shape(x)[2:], target[1:4], kernel, strides, dilations)
        cut = [(n - 1) * s + (k - 1) * d + 1 - t for n, t, k, s, d in sizes]
        begin = [max(c, 0) // 2 if option(o, 0, "b") == 0 else 0 for c in cut]
        y = g.add("ConvTranspose", x, weight, more, kernel_shape=kernel, strides=strides, dilations=dilations,
                  pads=begin + [max(c - a, 0) for c, a in zip(cut, begin)],
                  output_padding=[max(a - c, 0) for c, a in zip(cut, begin)])  # fmt: skip
    else:
        settings = pads(b, x, kernel, strides, dilations, option(o, 0, "b"))
        y = g.add("Conv", x, weight, more, kernel_shape=kernel, strides=strides, dilations=dilations, **settings)
    b.put(o.outputs[0], _deep(b, activated(b, y, option(o, 4, "b")), False))


def l2_pool(b: Builder, o: Operator) -> None:
    need(o, 1)
    g = b.graph
    x = b.numbers(o.inputs[0], True)
    strides, kernel = steps_of(o, 2, 1), steps_of(o, 4, 3)
    settings = pads(b, x, kernel, strides, [1, 1], option(o, 0, "b"))
    mean = g.add("AveragePool", g.add("Mul", x, x), kernel_shape=kernel, strides=strides, **settings)
    b.put(o.outputs[0], activated(b, g.add("Sqrt", mean), option(o, 5, "b")), True)
