"""Layers of Keras that make spectrograms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sensorium.formats.shared.keras.base import Layer, Net, Value, layer
from sensorium.formats.shared.keras.layers.inputs import one
from sensorium.formats.shared.keras.ops.call import OPS

Extra = Mapping[str, Any]


@layer("STFTSpectrogram")
def _stft(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """A convolution with waves under a window, whose weights are stored: (length, 1, frequencies)."""
    x = one(part, inputs)
    mode = part.choice("mode", "log", "log", "magnitude", "psd", "real", "imag", "angle", "stft")
    length, step = part.positive("frame_length", 256), None
    step = part.positive("frame_step", max(length // 2, 1))
    part.used.update(("fft_length", "window", "periodic", "scaling"))
    first = part.choice("data_format", "channels_last", "channels_last", "channels_first") == "channels_first"
    if net.rank(x) != 3:
        raise part.fault(f"takes an input of 3 axes, not {net.rank(x)}")
    kernels = [part.shaped(k, length, 1, None) for k in part.arrays(1 if mode in ("real", "imag") else 2)]
    value = net.real(x.name)
    value = value if first else net.op("Transpose", value, perm=[0, 2, 1])
    flat = net.op("Reshape", value, net.joined(net.ints([-1, 1]), net.sizes(value, 2)))
    pads = None
    if part.choice("padding", "valid", "valid", "same") == "same":
        if net.dialect.free if x.sizes is None else None in x.sizes[1:]:
            raise part.fault("the padding 'same' of a length that is free is not converted; give --shape")
        size = net.size(value, 2)
        total = max((-(-size // step) - 1) * step + length - size, 0)
        pads = [total // 2, total - total // 2]

    def wave(kernel: np.ndarray) -> str:
        weight = net.array(kernel.transpose(2, 1, 0), f"{part.name}.kernel")
        y = net.op("Conv", flat, weight, kernel_shape=[length], strides=[step], pads=pads)
        return net.op("Reshape", y, net.joined(net.sizes(value, 0, 2), net.sizes(y, 1)))  # batch, channels, f, time

    waves = [wave(kernel) for kernel in kernels]
    if mode in ("real", "imag"):
        y = waves[0]
    elif mode == "angle":
        y = OPS["Arctan2"](net, Value(waves[1]), Value(waves[0]))
    elif mode == "stft":
        y = net.op("Concat", *waves, axis=2)
    else:
        power = net.op("Add", *[net.op("Mul", w, w) for w in waves])
        if mode == "psd":  # both halves of the spectrum; the ends have one each
            twice = net.op("Pad", net.part(power, 2, 1, -1), net.ints([0, 0, 1, 0, 0, 0, 1, 0]))
            y = net.op("Add", power, twice)
        else:
            y = net.op("Sqrt", net.op("Max", power, net.number(1e-7)))
            y = net.op("Log", net.op("Max", y, net.number(1e-7))) if mode == "log" else y
    if part.flag("expand_dims"):
        return Value(net.op("Transpose", y, perm=[0, 1, 3, 2] if first else [0, 3, 2, 1]))
    shape = net.joined(net.sizes(y, 0, 1), net.ints([-1]), net.sizes(y, 3, 4))
    y = net.op("Reshape", y, shape)
    return Value(y if first else net.op("Transpose", y, perm=[0, 2, 1]))


@layer("MelSpectrogram")
def _mel(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """Magnitudes under a Hann window, in triangles of the mel scale (HTK), in decibels."""
    x = one(part, inputs)
    size = part.positive("fft_length", 2048)
    step, length = part.positive("sequence_stride", 512), part.positive("sequence_length", size)
    window = part.get("window", "hann")
    if window not in ("hann", "hamming") or length > size or size > 1 << 14:
        raise part.fault(f"a window of {str(window)[:40]}, {length} of {size} samples, is not converted")
    rate, bins = part.positive("sampling_rate", 16000), part.positive("num_mel_bins", 128)
    low, high = part.real("min_freq", 20.0), part.real("max_freq", rate / 2)
    rank = net.rank(x)
    parts = [
        net.op("Transpose", v, perm=[*range(rank - 1), rank, rank - 1])
        for v in OPS["STFT"](net, x, sequence_length=length, sequence_stride=step, fft_length=size, window=window)
    ]
    power = net.op("Add", *[net.op("Mul", p, p) for p in parts])
    magnitude = net.op("Pow", net.op("Sqrt", power), net.number(part.real("mag_exp", 1.0)))
    scale = [1127.0 * math.log(1 + f / 700) for f in (low, high)]
    edges = np.linspace(scale[0], scale[1], bins + 2)
    places = 1127.0 * np.log1p(np.linspace(0, rate / 2, size // 2 + 1)[1:] / 700)[:, None]
    rise = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    matrix = np.pad(np.maximum(0, np.minimum(rise, fall)), ((1, 0), (0, 0)))
    y = net.op("MatMul", net.array(matrix.T, f"{part.name}.mel"), magnitude)
    least = part.real("min_power", 1e-10)
    reference, top = part.real("ref_power", 1.0), part.real("top_db", 80.0)
    if part.flag("power_to_db", True):
        ten = net.number(10 / math.log(10))
        y = net.op("Mul", net.op("Log", net.op("Max", y, net.number(least))), ten)
        y = net.op("Sub", y, net.number(10 * math.log10(max(abs(reference), least))))
        y = net.op("Max", y, net.op("Sub", net.op("ReduceMax", y, keepdims=0), net.number(top)))
    return Value(y)
