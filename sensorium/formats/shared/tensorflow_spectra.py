"""TensorFlow's complex numbers and Fourier transforms, as products with waves; and its older operators on sound."""

from __future__ import annotations

import math

import numpy as np

from sensorium.formats.shared import tensorflow_ops  # the operators of real numbers come first
from sensorium.formats.shared.tensorflow_graph import OPS, Complex, Net, Node, Value, operator

LIMIT = 1 << 12  # values of one transform
__all__ = ["tensorflow_ops"]


def _last(net: Net, node: Node, x: str) -> int:
    """The size of the last axis, which must be the same for all inputs."""
    size = (net.graph.sizes(x) or (None,))[-1]
    if size is None:
        raise node.fault("the length of what is transformed is not known; this is not converted")
    net.steady(np.array(size))
    return size


def _waves(net: Net, node: Node, x: str, length: int, kept: int, sign: float = -1.0) -> tuple[str, str]:
    """Products of the last axis with cosines and sines: the first `length` values, `kept` frequencies."""
    if not 0 < length <= LIMIT:
        raise node.fault(f"a transform of {length} values is not converted")
    given = _last(net, node, x)
    angle = 2 * np.pi * np.outer(np.arange(min(given, length)), np.arange(kept)) / length
    if given > length:
        x = net.op("Slice", x, net.ints([0]), net.ints([length]), net.ints([-1]))
    parts = [net.op("MatMul", x, net.graph.constant(w.astype(np.float32), "waves"))
             for w in (np.cos(angle), sign * np.sin(angle))]  # fmt: skip
    return parts[0], parts[1]


def _whole(net: Net, node: Node, x: Complex, sign: float) -> Complex:
    length = _last(net, node, x.real)
    a, b = _waves(net, node, x.real, length, length, sign)
    c, d = _waves(net, node, x.imaginary, length, length, sign)
    return Complex(net.op("Sub", a, d), net.op("Add", b, c))


@operator("RFFT", "RFFT2D")
def _rfft(net: Net, node: Node, inputs: list[str]) -> Complex:
    lengths = net.list(node, inputs[1], "length")
    found = Complex(*_waves(net, node, inputs[0], lengths[-1], lengths[-1] // 2 + 1))
    if node.op == "RFFT":
        return found
    rank = net.graph.rank(inputs[0])
    order = [*range(rank - 2), rank - 1, rank - 2]
    if net.graph.shape(inputs[0])[-2] != lengths[0]:
        raise node.fault("of another size than its input is not converted")
    turned = Complex(*(net.op("Transpose", p, perm=order) for p in (found.real, found.imaginary)))
    made = _whole(net, node, turned, -1.0)
    return Complex(*(net.op("Transpose", p, perm=order) for p in (made.real, made.imaginary)))


@operator("FFT", "IFFT", loose=True)
def _fft(net: Net, node: Node, inputs: list[Value]) -> Complex:
    (x,) = inputs
    if not isinstance(x, Complex):
        raise node.fault("works on what is not complex; not converted")
    if node.op == "FFT":
        return _whole(net, node, x, -1.0)
    made = _whole(net, node, x, 1.0)
    share = net.number(1 / _last(net, node, x.real))
    return Complex(net.op("Mul", made.real, share), net.op("Mul", made.imaginary, share))


@operator("IRFFT", loose=True)
def _irfft(net: Net, node: Node, inputs: list[Value]) -> str:
    """Each frequency but the first and the last counts twice."""
    x, (length,) = inputs[0], net.list(node, inputs[1], "length")
    if not isinstance(x, Complex) or not 0 < length <= LIMIT:
        raise node.fault(f"a transform of {length} values is not converted")
    kept = min(length // 2 + 1, _last(net, node, x.real))
    twice = np.full((kept, 1), 2.0)
    twice[0] = 1
    if length % 2 == 0 and kept == length // 2 + 1:
        twice[-1] = 1
    angle = 2 * np.pi * np.outer(np.arange(kept), np.arange(length)) / length
    parts = []
    for part, wave in ((x.real, np.cos(angle)), (x.imaginary, -np.sin(angle))):
        cut = net.op("Slice", part, net.ints([0]), net.ints([kept]), net.ints([-1]))
        parts.append(net.op("MatMul", cut, net.graph.constant((twice * wave / length).astype(np.float32), "waves")))
    return net.op("Add", *parts)


@operator("Complex")
def _complex(net: Net, node: Node, inputs: list[str]) -> Complex:
    return Complex(inputs[0], inputs[1])


@operator("ComplexAbs", "Real", "Imag", "Angle", "Conj", loose=True)
def _part(net: Net, node: Node, inputs: list[Value]) -> Value:
    (x,) = inputs
    if isinstance(x, str):
        if node.op in ("Real", "Conj"):
            return x
        raise node.fault("of a real number is not converted")
    if not isinstance(x, Complex):
        raise node.fault("works on what is not complex; not converted")
    if node.op == "ComplexAbs":
        return net.op("Sqrt", net.op("Add", net.op("Mul", x.real, x.real), net.op("Mul", x.imaginary, x.imaginary)))
    if node.op == "Angle":
        raise node.fault("is not converted")
    if node.op == "Conj":
        return Complex(x.real, net.op("Neg", x.imaginary))
    return x.real if node.op == "Real" else x.imaginary


_real = {kind: OPS[kind] for kind in ("Mul", "Exp", "Cast")}  # of real numbers


@operator(*_real, loose=True)
def _either(net: Net, node: Node, inputs: list[Value]) -> Value:
    """What is also done with complex numbers."""
    if all(isinstance(i, str) for i in inputs):
        if node.op == "Cast" and node.get("DstT") == "DT_COMPLEX64":
            x = net.op("Cast", inputs[0], to=1)
            return Complex(x, net.op("Mul", x, net.number(0.0)))
        return _real[node.op](net, node, inputs)
    if not all(isinstance(i, (str, Complex)) for i in inputs) or node.op == "Cast":
        raise node.fault("works on what is no array; not converted")
    if node.op == "Mul":
        return product(net, node, *inputs)
    (x,) = inputs
    size = net.op("Exp", x.real)
    return Complex(net.op("Mul", size, net.op("Cos", x.imaginary)), net.op("Mul", size, net.op("Sin", x.imaginary)))


def product(net: Net, node: Node, a: Value, b: Value) -> Value:
    """Of two numbers of which one or both are complex."""
    if isinstance(a, str) or isinstance(b, str):
        real, x = (a, b) if isinstance(a, str) else (b, a)
        if not isinstance(x, Complex):
            raise node.fault("works on what is no array; not converted")
        return Complex(net.op("Mul", x.real, real), net.op("Mul", x.imaginary, real))
    if not isinstance(a, Complex) or not isinstance(b, Complex):
        raise node.fault("works on what is no array; not converted")
    return Complex(
        net.op("Sub", net.op("Mul", a.real, b.real), net.op("Mul", a.imaginary, b.imaginary)),
        net.op("Add", net.op("Mul", a.real, b.imaginary), net.op("Mul", a.imaginary, b.real)),
    )


# Sound, as speech commands were trained with. Source: core/kernels/spectrogram.cc, mfcc.cc, mfcc_mel_filterbank.cc


@operator("AudioSpectrogram")
def _spectrogram(net: Net, node: Node, inputs: list[str]) -> str:
    """Samples (length, channels) to magnitudes (channels, frames, frequencies), under a Hann window."""
    size, step = int(node.get("window_size", 0)), int(node.get("stride", 0))
    if not 1 < size <= LIMIT or step < 1:
        raise node.fault(f"a window of {size} in steps of {step} is not converted")
    length = 1 << math.ceil(math.log2(size))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    angle = 2 * np.pi * np.outer(np.arange(length // 2 + 1), np.arange(size)) / length
    x = net.op("Unsqueeze", net.op("Transpose", inputs[0], perm=[1, 0]), net.ints([1]))
    parts = []
    for wave in (np.cos(angle), -np.sin(angle)):
        kernel = net.graph.constant((wave * window)[:, None].astype(np.float32), "waves")
        part = net.op("Conv", x, kernel, kernel_shape=[size], strides=[step])
        parts.append(net.op("Mul", part, part))
    power = net.op("Transpose", net.op("Add", *parts), perm=[0, 2, 1])
    return power if node.get("magnitude_squared") else net.op("Sqrt", power)


@operator("Mfcc")
def _mfcc(net: Net, node: Node, inputs: list[str]) -> str:
    """Squared magnitudes to cepstral coefficients, through triangles of the mel scale."""
    rate = float(net.known(node, inputs[1], "rate").reshape(-1)[0])
    high, low = float(node.get("upper_frequency_limit", 4000.0)), float(node.get("lower_frequency_limit", 20.0))
    channels, count = int(node.get("filterbank_channel_count", 40)), int(node.get("dct_coefficient_count", 13))
    bins = _last(net, node, inputs[0])
    if not (0 < channels <= LIMIT and 0 < count <= channels and 0 <= low < high and bins > 1):
        raise node.fault(f"{channels} channels from {low} to {high} Hz are not possible")

    def mel(hertz: float | np.ndarray) -> np.ndarray:
        return np.asarray(1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700))

    centres = mel(low) + (mel(high) - mel(low)) / (channels + 1) * np.arange(1, channels + 2)
    width = 0.5 * rate / (bins - 1)
    first, last = int(1.5 + low / width), int(high / width)
    matrix = np.zeros((bins, channels))
    for i in range(max(first, 0), min(last, bins - 1) + 1):
        place = float(mel(i * width))
        channel = int(np.searchsorted(centres, place, "left")) - 1
        above = centres[channel + 1] if channel + 1 < len(centres) else centres[-1]
        below = centres[channel] if channel >= 0 else float(mel(low))
        weight = (above - place) / (above - below)
        if channel >= 0:
            matrix[i, channel] += weight
        if channel + 1 < channels:
            matrix[i, channel + 1] += 1 - weight
    energy = net.op("MatMul", net.op("Sqrt", inputs[0]), net.graph.constant(matrix.astype(np.float32), "mel"))
    energy = net.op("Log", net.op("Max", energy, net.number(1e-12)))
    turn = math.pi / channels * np.outer(np.arange(channels) + 0.5, np.arange(count))
    cosines = (math.sqrt(2 / channels) * np.cos(turn)).astype(np.float32)
    return net.op("MatMul", energy, net.graph.constant(cosines, "cosines"))
