"""Products of arrays, norms, and spectra."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import Net, Value
from sensorium.formats.shared.keras.ops.call import as_type, axes_of, fixed, flat, op, real_of, tensor, together
from sensorium.formats.shared.keras.ops.reductions import over


@op("Matmul")
def _matmul(net: Net, x1: Any, x2: Any) -> str:
    return net.op("MatMul", *together(net, x1, x2))


@op("Dot")
def _dot(net: Net, x1: Any, x2: Any) -> str:
    """The last axis with the last but one."""
    a, b = together(net, x1, x2)
    if not net.rank(a) or not net.rank(b):
        return net.op("Mul", a, b)
    if net.rank(b) <= 2:
        return net.op("MatMul", a, b)
    return _tensordot(net, Value(a), Value(b), axes=[[net.rank(a) - 1], [net.rank(b) - 2]])


@op("Tensordot")
def _tensordot(net: Net, x1: Any, x2: Any, *, axes: Any = 2) -> str:
    a, b = together(net, x1, x2)
    if isinstance(axes, int):
        axes = [list(range(net.rank(a) - axes, net.rank(a))), list(range(axes))]
    first, second = axes_of(net, a, axes[0]), axes_of(net, b, axes[1])
    if len(first) != len(second) or net.rank(a) + net.rank(b) > 24:
        raise InputError(f"axes of {str(axes)[:40]} are not known")
    left = [chr(97 + i) for i in range(net.rank(a))]
    right = [chr(65 + i) for i in range(net.rank(b))]
    for p, q in zip(first, second):
        right[q] = left[p]
    out = [c for c in left + right if (c in left) != (c in right)]
    return net.op("Einsum", a, b, equation=f"{''.join(left)},{''.join(right)}->{''.join(out)}")


@op("Einsum")
def _einsum(net: Net, *operands: Any, subscripts: str) -> str:
    values = together(net, *operands)
    return net.op("Einsum", *values, equation=str(subscripts).replace(" ", ""))


@op("Inner")
def _inner(net: Net, x1: Any, x2: Any) -> str:
    a, b = together(net, x1, x2)
    return _tensordot(net, Value(a), Value(b), axes=[[net.rank(a) - 1], [net.rank(b) - 1]])


@op("Outer")
def _outer(net: Net, x1: Any, x2: Any) -> str:
    a, b = (flat(net, v) for v in together(net, x1, x2))
    return net.op("Mul", net.op("Unsqueeze", a, net.ints([1])), b)


@op("Vdot")
def _vdot(net: Net, x1: Any, x2: Any) -> str:
    return net.op("MatMul", *[flat(net, v) for v in together(net, x1, x2)])


@op("CDist")
def _cdist(net: Net, x: Any, y: Any) -> str:
    a, b = together(net, x, y, real=True)
    apart = net.op("Sub", net.op("Unsqueeze", a, net.ints([-2])), net.op("Unsqueeze", b, net.ints([-3])))
    return net.op("ReduceL2", apart, net.ints([-1]), keepdims=0)


@op("ExtractSequences")
def _sequences(net: Net, x: Any, *, sequence_length: int, sequence_stride: int) -> str:
    value = tensor(net, x)
    size = fixed(net, x, net.rank(value) - 1)
    count = (size - sequence_length) // sequence_stride + 1
    places = np.arange(count)[:, None] * sequence_stride + np.arange(sequence_length)
    if count < 1 or places.size > 1 << 20:
        raise InputError(f"sequences of {sequence_length} of {size} are not possible")
    return net.op("Gather", value, net.graph.constant(places.astype(np.int64), "places"), axis=-1)


def _spectrum(net: Net, x: Any, length: int, given: int) -> list[str]:
    """Real and imaginary parts of a Fourier transform of real values, as products with waves."""
    if length * length > 1 << 24:
        raise InputError(f"a transform of {length} values is not converted")
    angle = 2 * np.pi * np.outer(np.arange(min(given, length)), np.arange(length // 2 + 1)) / length
    value = net.part(real_of(net, x), net.rank(tensor(net, x)) - 1, 0, length)
    return [net.op("MatMul", value, net.array(wave, "waves")) for wave in (np.cos(angle), -np.sin(angle))]


@op("RFFT")
def _rfft(net: Net, x: Any, *, fft_length: Any = None) -> list[str]:
    given = fixed(net, x, net.rank(tensor(net, x)) - 1)
    return _spectrum(net, x, given if fft_length is None else int(fft_length), given)


@op("IRFFT")
def _irfft(net: Net, x: Any, *, fft_length: Any = None) -> str:
    """Each frequency but the first and the last counts twice."""
    parts = [tensor(net, v) for v in x]
    count = fixed(net, x[0], net.rank(parts[0]) - 1)
    length = 2 * (count - 1) if fft_length is None else int(fft_length)
    kept = length // 2 + 1
    if length * length > 1 << 24 or kept > count or length < 1:
        raise InputError(f"a transform of {length} values is not converted")
    angle = 2 * np.pi * np.outer(np.arange(kept), np.arange(length)) / length
    twice = np.full((kept, 1), 2.0)
    twice[0] = 1
    twice[-1] = 1 if length % 2 == 0 else 2
    last = net.rank(parts[0]) - 1
    a, b = (net.op("MatMul", net.part(p, last, 0, kept), net.array(twice * wave / length, "waves"))
            for p, wave in zip(parts, (np.cos(angle), -np.sin(angle))))  # fmt: skip
    return net.op("Add", a, b)


@op("STFT")
def _stft(
    net: Net, x: Any, *, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann",
    center: bool = True,
) -> list[str]:  # fmt: skip
    if not 0 < fft_length <= 1 << 12 or sequence_length < 1:
        raise InputError(f"a transform of {fft_length} values is not converted")
    if window not in ("hann", "hamming", None) or sequence_length > fft_length:
        raise InputError(f"a window of {str(window)[:40]} is not converted")
    turn = 2 * np.pi * np.arange(sequence_length) / sequence_length
    shape = {"hann": 0.5 - 0.5 * np.cos(turn), "hamming": 0.54 - 0.46 * np.cos(turn)}.get(window, np.ones(len(turn)))
    left = (fft_length - sequence_length) // 2
    shape = np.pad(shape, (left, fft_length - sequence_length - left))
    value = real_of(net, x)
    rank = net.rank(value)
    flat = net.op("Reshape", value, net.joined(net.ints([-1, 1]), net.sizes(value, rank - 1)))
    if center:
        flat = net.op("Pad", flat, net.ints([0, 0, fft_length // 2] * 2), mode="reflect")
    angle = 2 * np.pi * np.outer(np.arange(fft_length // 2 + 1), np.arange(fft_length)) / fft_length
    results = []
    for wave in (np.cos(angle), -np.sin(angle)):
        y = net.op("Conv", flat, net.array((wave * shape)[:, None], "waves"), kernel_shape=[fft_length],
                   strides=[sequence_stride])  # fmt: skip
        y = net.op("Transpose", y, perm=[0, 2, 1])
        before = [net.sizes(value, 0, rank - 1)] if rank > 1 else []
        results.append(net.op("Reshape", y, net.joined(*before, net.sizes(y, 1))))
    return results


@op("Cross")
def _cross(net: Net, x1: Any, x2: Any, *, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None) -> str:
    a, b = together(net, x1, x2)
    rank = net.rank(a)
    if axis is not None and axis % rank == rank - 1:
        axisa = axisb = axisc = -1
    elif axis is not None or (axisa, axisb, axisc) != (-1, -1, -1):
        raise InputError("is converted along the last axis only")
    if fixed(net, Value(a), rank - 1) != 3 or net.size(b, net.rank(b) - 1) != 3:
        raise InputError("is converted for 3 elements only")
    turn, back = net.ints([1, 2, 0]), net.ints([2, 0, 1])
    p = net.op("Mul", net.op("Gather", a, turn, axis=-1), net.op("Gather", b, back, axis=-1))
    q = net.op("Mul", net.op("Gather", a, back, axis=-1), net.op("Gather", b, turn, axis=-1))
    return net.op("Sub", p, q)


@op("Norm")
def _norm(net: Net, x: Any, *, ord: Any = None, axis: Any = None, keepdims: bool = False) -> str:
    value = real_of(net, x)
    axes = axes_of(net, value, axis)
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return over(net, "ReduceL2", value, axes, keepdims)
    if len(axes) != 1 or not isinstance(ord, (int, float)):
        raise InputError(f"a norm of order {str(ord)[:20]} over these axes is not converted")
    magnitude = net.op("Abs", value)
    if math.isinf(ord):
        return over(net, "ReduceMax" if ord > 0 else "ReduceMin", magnitude, axes, keepdims)
    if ord == 0:
        return net.op("Cast", over(net, "ReduceSum", as_type(net, value, np.bool_), axes, keepdims), to=1)
    total = over(net, "ReduceSum", net.op("Pow", magnitude, net.number(float(ord))), axes, keepdims)
    return net.op("Pow", total, net.number(1 / ord))


@op("Normalize")
def _normalize(net: Net, x: Any, *, axis: Any = -1, order: Any = 2, epsilon: Any = None) -> str:
    value, least = real_of(net, x), 1e-7 if epsilon is None else float(epsilon)
    if order == 2:
        power = over(net, "ReduceSumSquare", value, axis, True)
        return net.op("Div", value, net.op("Sqrt", net.op("Max", power, net.number(least**2))))
    length = _norm(net, x, ord=order, axis=axis, keepdims=True)
    return net.op("Div", value, net.op("Max", length, net.number(least)))
