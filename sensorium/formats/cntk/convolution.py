"""CNTK's convolution, pooling and unpooling: windows that are laid out by its own rules (ConvolveGeometry.h).

With automatic padding the centres of the windows, (kernel - 1) / 2 from their start, lie stride apart and as a whole in
the middle of the axis, the odd cell left over at the end. A window may so begin before, or behind, the first cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.cntk import network as cn
from sensorium.formats.cntk.build import Builder, Value
from sensorium.formats.cntk.network import Function

SIZE = 1 << 20  # largest kernel, stride or padding


@dataclass
class Window:
    """One axis: all sizes in cells. `lower` is None where automatic padding is asked for."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    lower: int | None = 0
    upper: int = 0
    ceil: bool = False

    @property
    def span(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def count(self, size: int) -> int:
        """How many windows an axis of this size has."""
        padded = size + (self.span - 1 if self.lower is None else self.lower + self.upper)
        if padded < self.span:
            raise InputError(f"a window of {self.kernel} on an axis of {size}")
        steps = padded - self.span
        return -(-steps // self.stride) + 1 if self.ceil else steps // self.stride + 1

    def pads(self, size: int) -> tuple[int, int]:
        """Cells before and behind an axis; negative where windows leave some out at the start."""
        windows = self.count(size)
        if self.lower is None:
            extra = size - ((windows - 1) * self.stride + 1)
            before = (self.span - 1) // 2 - int(extra / 2)
        else:
            before = self.lower
        return before, max(0, (windows - 1) * self.stride + self.span - size - before)


def _sizes(f: Function, name: str, rank: int, total: int, default: int, rest: int | None = None) -> list[int]:
    """A shape attribute of one size per axis; the last one counts up to `rank` axes, the rest have the default."""
    value = f.attributes.get(name)
    if value is None:
        value = (default,)
    if not isinstance(value, tuple) or not all(0 <= v < SIZE for v in value):
        raise InputError(f"its attribute '{name}' is {value}")
    return _filled(list(value), rank, total, default if rest is None else rest)


def _filled(value: list[Any], rank: int, total: int, rest: Any) -> list[Any]:
    if not value:
        return [rest] * total
    return (value + [value[-1]] * (rank - len(value)) + [rest] * total)[:total]


def _flags(f: Function, name: str, rank: int, total: int, default: bool) -> list[bool]:
    value = f.attributes.get(name, [default])
    if not isinstance(value, list) or not value or not all(isinstance(v, bool) for v in value):
        raise InputError(f"its attribute '{name}' is {value}")
    return _filled(list(value), rank, total, default)


def _windows(f: Function, kernel: Sequence[int], rank: int, total: int) -> list[Window]:
    strides = _sizes(f, "strides", rank, total, 1)
    dilation = _sizes(f, "dilation", rank, total, 1)
    lower, upper = _sizes(f, "lowerPad", rank, total, 0), _sizes(f, "upperPad", rank, total, 0)
    auto = _flags(f, "autoPadding", rank, total, False)
    ceil = bool(f.attributes.get("ceilOutDim", False))
    found = [
        Window(k, s, d, None if a else lo, hi, ceil)
        for k, s, d, a, lo, hi in zip(kernel, strides, dilation, auto, lower, upper)
    ]
    if any(w.kernel < 1 or w.stride < 1 or w.dilation < 1 for w in found):
        raise InputError(f"a window of {[w.kernel for w in found]} in steps of {[w.stride for w in found]}")
    return found


class Frame:
    """A value as ONNX's convolutions want it: one batch axis, one channel axis, spatial axes."""

    def __init__(self, b: Builder, value: Value, channels: bool) -> None:
        self.b = b
        self.dynamic = value.dynamic
        self.static = b.static(value)
        g = b.graph
        name = value.name
        if value.dynamic == 2:
            self.sizes = g.add("Shape", name, start=0, end=2)
            name = g.add("Reshape", name, g.ints(-1, *self.static))
            g.tell(name, (math.prod(g.shape(value.name)[:2]), *self.static))
        elif value.dynamic == 0:
            name = g.add("Unsqueeze", name, g.ints(0))
        if not channels:
            name = g.add("Unsqueeze", name, g.ints(1))
        self.name = name

    def back(self, name: str) -> Value:
        g = self.b.graph
        if self.dynamic == 1:
            return Value(name, 1)
        if self.dynamic == 0:
            return Value(g.add("Squeeze", name, g.ints(0)), 0)
        static = g.shape(name)[1:]
        return Value(g.add("Reshape", name, g.add("Concat", self.sizes, g.ints(*static), axis=0)), 2)


def _fit(b: Builder, name: str, windows: Sequence[Window], sizes: Sequence[int]) -> tuple[str, list[int]]:
    """The explicit pads of windows (fastest axis first) on the last axes of a value; cells left out are cut off."""
    if b.free:
        b.top.pin(*b.free)
    pads = [w.pads(size) for w, size in zip(windows, sizes)][::-1]
    cuts = [(-len(pads) + i, -before) for i, (before, _) in enumerate(pads) if before < 0]
    if cuts:
        g = b.graph
        ends = [1 << 62] * len(cuts)
        name = g.add("Slice", name, g.ints(*(c for _, c in cuts)), g.ints(*ends), g.ints(*(a for a, _ in cuts)))
    return name, [max(0, before) for before, _ in pads] + [after for _, after in pads]


def convolution(b: Builder, f: Function, x: list[Value]) -> Value:
    """Kernel [w x h x in x out] on [w x h x in]: over the last axis as a whole, or in steps like over the others."""
    kernel, value = x
    if kernel.dynamic:
        raise InputError("a kernel that depends on the input is not converted")
    shape, field = b.static(value)[::-1], b.static(kernel)[::-1]
    rank = len(shape)
    if f.attributes.get("sequential"):
        raise InputError("a convolution along the sequence is not converted")
    if not rank or not rank <= len(field) <= rank + 1:
        raise InputError(f"a kernel of shape {list(field)} on {list(shape)}")
    if not all(_flags(f, "sharing", rank, rank, True)):
        raise InputError("kernels that are not shared (locally connected) are not converted")
    groups = f.attributes.get("groups", 1) or 1
    if not isinstance(groups, int) or not 0 < groups < SIZE:
        raise InputError(f"{groups} groups")
    if f.attributes.get("transpose"):
        return _transposed(b, f, kernel, value, groups)
    windows = _windows(f, field[:rank], rank, rank)
    outs = field[rank] if len(field) > rank else 1
    last = windows[-1]
    whole = field[rank - 1] * groups == shape[-1] and (last.lower is not None or shape[-1] == 1)
    if whole and rank == 1:
        frame = Frame(b, value, channels=True)
        matrix = b.reshape(kernel, [outs, shape[0]])
        if groups > 1:
            raise InputError("groups on one axis are not converted")
        turned = b.graph.add("Transpose", matrix.name, perm=[1, 0])
        return frame.back(b.graph.add("MatMul", frame.name, turned))
    if whole:
        frame = Frame(b, value, channels=True)
        weight = b.reshape(kernel, [outs, field[rank - 1], *field[: rank - 1][::-1]])
        windows = windows[:-1]
    else:  # the last axis is one more that the windows move along
        if groups > 1:
            raise InputError(f"{groups} groups of {field[rank - 1]} channels on {shape[-1]}")
        frame = Frame(b, value, channels=False)
        weight = b.reshape(kernel, [outs, 1, *field[:rank][::-1]])
    if outs % groups:
        raise InputError(f"{outs} kernels in {groups} groups")
    name, pads = _fit(b, frame.name, windows, shape)
    found = b.graph.add(
        "Conv",
        name,
        weight.name,
        kernel_shape=[w.kernel for w in windows][::-1],
        strides=[w.stride for w in windows][::-1],
        dilations=[w.dilation for w in windows][::-1],
        pads=pads,
        group=groups,
    )
    if not whole:
        sizes = b.graph.shape(found)[1:]
        found = b.graph.add("Reshape", found, b.graph.ints(0, sizes[0] * sizes[1], *sizes[2:]))
    return frame.back(found)


def _transposed(b: Builder, f: Function, kernel: Value, value: Value, groups: int) -> Value:
    """Kernel [w x h x out x in]: the convolution that would make the input of the output, turned round."""
    shape, field = b.static(value)[::-1], b.static(kernel)[::-1]
    rank = len(shape)
    if len(field) != rank + 1 or field[rank] != shape[-1] or rank < 2:
        raise InputError(f"a transposed kernel of shape {list(field)} on {list(shape)}")
    windows = _windows(f, field[: rank - 1], rank - 1, rank - 1)
    told = f.attributes.get("outputShape")
    fixed = isinstance(told, tuple) and len(told) >= rank - 1 and all(0 < n < SIZE for n in told[: rank - 1])
    pads, extra = [], []
    for axis, w in enumerate(windows):
        size = shape[axis]
        if fixed and told:
            target = told[axis]
            if w.count(target) != size:
                raise InputError(f"an output of {target} does not come from {size}")
        else:
            target = (size - 1) * w.stride + (1 if w.lower is None else w.span - w.lower - w.upper)
        if target < 1:
            raise InputError(f"an output of {target}")
        if w.lower is None:
            before = (w.span - 1) // 2 - int((target - ((size - 1) * w.stride + 1)) / 2)
        else:
            before = w.lower
        after = (size - 1) * w.stride + w.span - target - before
        pads.append((before, max(after, 0)))
        extra.append(max(-after, 0))
        if before < 0 or extra[-1] >= max(w.stride, w.dilation):
            raise InputError(f"an output of {target} from {size} in steps of {w.stride} is not converted")
    if b.free:
        b.top.pin(*b.free)
    frame = Frame(b, value, channels=True)
    found = b.graph.add(
        "ConvTranspose",
        frame.name,
        kernel.name,
        kernel_shape=[w.kernel for w in windows][::-1],
        strides=[w.stride for w in windows][::-1],
        dilations=[w.dilation for w in windows][::-1],
        pads=[p for p, _ in pads[::-1]] + [p for _, p in pads[::-1]],
        output_padding=extra[::-1],
        group=groups,
    )
    return frame.back(found)


def _pool_windows(b: Builder, f: Function, value: Value, key: str) -> list[Window]:
    """The windows of the axes that are pooled: those up to the last with a window of more than one cell."""
    shape = b.static(value)[::-1]
    rank = len(shape)
    window = f.attributes.get(key)
    if not isinstance(window, tuple) or not window:
        raise InputError(f"its attribute '{key}' is {window}")
    if window == (cn.UNKNOWN_SHAPE,):
        return [Window(size) for size in shape[:-1]]
    if len(window) > rank or not all(0 < n < SIZE for n in window):
        raise InputError(f"a window of {list(window)} on {list(shape)}")
    found = _windows(f, (list(window) + [1] * rank)[:rank], len(window), rank)
    used = [i for i, w in enumerate(found) if w.kernel > 1 or w.stride > 1 or w.lower or w.upper]
    return found[: max([*used, 0]) + 1]


def pooling(b: Builder, f: Function, x: list[Value]) -> Value:
    value = x[0]
    shape = b.static(value)[::-1]
    if not shape:
        raise InputError("pools a single number")
    windows = _pool_windows(b, f, value, "poolingWindowShape")
    kind = f.attributes.get("poolingType")
    if kind not in (0, 1):
        raise InputError(f"the pooling type {kind}")
    channels = len(windows) < len(shape)
    windows += [Window(1)] * (len(shape) - channels - len(windows))
    if kind == 0 or not f.attributes.get("includePad"):
        include = None if kind == 0 else 0
    else:
        include = 1
    frame = Frame(b, value, channels=channels)
    name, pads = _fit(b, frame.name, windows, shape)
    kernel = [w.kernel for w in windows][::-1]
    half = len(pads) // 2
    if any(p >= k for p, k in zip(pads, [*kernel, *kernel])):
        name, pads, include = _pad_first(b, name, pads, kind, include)
    found = b.graph.add(
        "AveragePool" if kind else "MaxPool",
        name,
        kernel_shape=kernel,
        strides=[w.stride for w in windows][::-1],
        pads=pads if half else None,
        count_include_pad=include,
    )
    if not channels:
        found = b.graph.add("Squeeze", found, b.graph.ints(1))
    return frame.back(found)


def _pad_first(b: Builder, name: str, pads: list[int], kind: int, include: int | None) -> tuple[str, list[int], Any]:
    """Pads that are wider than the window: only as an operator of their own."""
    if kind and not include:
        raise InputError("averages of windows that lie in the padding alone")
    fill = b.number(0.0 if kind else float(np.finfo(np.float32).min)).name
    half = len(pads) // 2
    wide = b.graph.ints(0, 0, *pads[:half], 0, 0, *pads[half:])
    return b.graph.add("Pad", name, wide, fill), [0] * len(pads), include


def unpooling(b: Builder, f: Function, x: list[Value]) -> Value:
    """Every value back to where the largest of its window was in the second input."""
    value, source = x
    if f.attributes.get("poolingType") != 0:
        raise InputError("only max unpooling is converted")
    shape = b.static(source)[::-1]
    windows = _pool_windows(b, f, source, "unpoolingWindowShape")
    if len(windows) >= len(shape) or value.dynamic != 1 or source.dynamic != 1:
        raise InputError("unpools something else than maps")
    windows += [Window(1)] * (len(shape) - 1 - len(windows))
    name, pads = _fit(b, source.name, windows, shape)
    if name != source.name:
        raise InputError("unpools windows with gaps")
    settings: dict[str, Any] = {
        "kernel_shape": [w.kernel for w in windows][::-1],
        "strides": [w.stride for w in windows][::-1],
        "pads": pads,
    }
    pooled, places = b.graph.add("MaxPool", name, outputs=2, **settings)
    if b.graph.shape(pooled) != b.graph.shape(value.name):
        raise InputError(f"{list(b.static(value)[::-1])} is not what pooling {list(shape)} gives")
    sizes = b.graph.add("Shape", source.name)
    found = b.graph.add("MaxUnpool", value.name, places, sizes, **settings)
    b.graph.tell(found, b.graph.shape(source.name))
    return Value(found, 1)
