"""Lasagne's layers as they are described in an architecture file, and what parameters each has, in Lasagne's order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph

ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}), "rectify": ("Relu", {}), "relu": ("Relu", {}),
    "softplus": ("Softplus", {}), "elu": ("Elu", {}), "leaky_rectify": ("LeakyRelu", {"alpha": 0.01}),
    "very_leaky_rectify": ("LeakyRelu", {"alpha": 1 / 3}),
    "selu": ("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}), "softmax": ("Softmax", {"axis": 1}),
}  # fmt: skip
MODES = {"max": "MaxPool", "average_inc_pad": "AveragePool", "average_exc_pad": "AveragePool"}
DROPPED = {"dropout", "dropoutchannels", "dropoutlocations", "spatialdropout", "gaussiannoise", "dropout_channels",
    "dropout_locations", "spatial_dropout", "dropoutlayer"}  # fmt: skip
FAR = (1 << 63) - 1


@dataclass
class Layer:
    """One entry of the architecture.

    Attributes:
        kind: Lasagne's class without `Layer`, in lower case: `conv2d`, `dense`, `batch_norm`.
        options: its arguments; every one that is given must be looked at.
        arrays: its parameters, in the order in which Lasagne adds them.
    """

    name: str
    kind: str
    written: str
    incoming: list[str]
    options: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    normalised: bool = False  # a batch_norm or prelu after it took its bias and nonlinearity

    def fault(self, message: str) -> InputError:
        return InputError(f"layer '{self.name[:80]}' ({self.written[:60]}): {message}")

    def get(self, key: str, default: Any = None) -> Any:
        self.used.add(key)
        return self.options.get(key, default)

    def whole(self, key: str, default: int | None = None, least: int = 0) -> int:
        value = self.get(key, default)
        if type(value) is not int or not least <= value < 1 << 31:
            raise self.fault(f"{key}={str(value)[:40]} is not a whole number from {least} on")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.fault(f"{key}={str(value)[:40]} is not a number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.fault(f"{key}={str(value)[:40]} is neither true nor false")
        return value

    def each(self, key: str, count: int, default: Any = None, least: int = 0) -> list[int]:
        value = self.get(key, default)
        value = [value] * count if type(value) is int else value
        if not isinstance(value, list) or len(value) != count or any(type(v) is not int or v < least for v in value):
            raise self.fault(f"{key}={str(value)[:40]} is not {count} whole numbers from {least} on")
        return value

    def word(self, key: str, default: str, allowed: Mapping[str, Any] | set[str]) -> str:
        value = self.get(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise self.fault(f"{key}={str(value)[:40]} is not supported (only {', '.join(allowed)})")
        return value

    @property
    def biased(self) -> bool:
        return not self.normalised and self.get("b", True) not in (None, False)

    def array(self, name: str, *shape: int) -> np.ndarray:
        found = self.arrays[name]
        if found.shape != shape:
            raise self.fault(f"its {name} has the shape {list(found.shape)}, but {list(shape)} is expected")
        return found.astype(np.float32)

    def finish(self) -> None:
        for key in self.options:
            if key not in self.used and key not in ("name", "W", "convolution", "alpha", "epsilon"):
                raise self.fault(f"the argument {key[:40]} is not known")


def parameters(layer: Layer) -> list[str]:
    """The names of a layer's parameters, in the order in which Lasagne lists them.

    Raises:
        InputError: the layer is not known.
    """
    kind = layer.kind
    if kind in CONVOLUTIONS or kind in ("dense", "nin"):
        return ["W", "b"] if layer.biased else ["W"]
    if kind in ("batchnorm", "batch_norm", "batchnormdnn"):
        kept = [name for name in ("beta", "gamma") if layer.get(name, True) not in (None, False)]
        return [*kept, "mean", "inv_std"]
    if kind == "embedding":
        return ["W"]
    if kind in ("bias", "scale", "parametricrectifier", "prelu"):
        return [{"bias": "b", "scale": "scales"}.get(kind, "alpha")]
    if kind == "lstm":
        gates = [f"{p}_{g}" for g in ("ingate", "forgetgate", "cell", "outgate") for p in ("W_in_to", "W_hid_to", "b")]
        holes = [f"W_cell_to_{g}" for g in ("ingate", "forgetgate", "outgate")] if layer.flag("peepholes", True) else []
        return [*gates, *holes, "cell_init", "hid_init"]
    if kind == "gru":
        gates = [f"{p}_{g}" for g in GRU_ORDER for p in ("W_in_to", "W_hid_to", "b")]
        return [*gates, "hid_init"]
    if kind == "recurrent":
        return ["hid_init", "W_in_to_hid", "b", "W_hid_to_hid"]
    if kind in BUILDERS or kind in DROPPED or kind == "input":
        return []
    raise layer.fault(f"the layer {layer.written[:60]} is not known or not supported")


GRU_ORDER = ("updategate", "resetgate", "hidden_update")
CONVOLUTIONS = {
    **{f"conv{n}d{k}": n for n in (1, 2, 3) for k in ("", "dnn", "mm")}, "transposedconv2d": 2, "deconv2d": 2,
    "transposedconv3d": 3, "deconv3d": 3, "dilatedconv2d": 2,
}  # fmt: skip


class Build:
    """Layers added to a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def constant(self, layer: Layer, name: str, array: np.ndarray) -> str:
        return self.graph.constant(array, f"{layer.name}.{name}", np.float32)

    def pin_size(self, first: int) -> None:
        """Say that sizes from this axis on are built in."""
        if names := [n for i in self.graph.inputs for a, n in i.free.items() if a >= first]:
            self.graph.pin(*names)

    def one(self, number: float) -> str:
        return self.graph.constant(np.float32(number))

    def activate(self, layer: Layer, x: str, default: Any = "linear", key: str = "nonlinearity") -> str:
        value = layer.get(key, default)
        extra: dict[str, Any] = {}
        if isinstance(value, dict):
            extra = {k: v for k, v in value.items() if k not in ("name", "type", "class")}
            value = value.get("name") or value.get("type") or value.get("class")
        if value is None or value in ("linear", "identity"):
            return x
        if value in ("LeakyRectify", "leaky_rectify") and set(extra) <= {"leakiness"} and extra:
            return str(self.graph.add("LeakyRelu", x, alpha=float(extra["leakiness"]), hint=layer.name))
        if value in ("ScaledTanH", "ScaledTanh") and set(extra) <= {"scale_in", "scale_out"}:
            inner = self.graph.add("Mul", x, self.one(extra.get("scale_in", 1)))
            return str(self.graph.add("Mul", self.graph.add("Tanh", inner), self.one(extra.get("scale_out", 1))))
        if value not in ACTIVATIONS or extra:
            raise layer.fault(f"the nonlinearity {str(value)[:40]} is not supported")
        op, attributes = ACTIVATIONS[value]
        if op == "Softmax" and self.graph.rank(x) != 2:
            raise layer.fault("softmax is for arrays of two axes")
        return str(self.graph.add(op, x, hint=layer.name, **attributes))

    def convolution(self, layer: Layer, x: str) -> str:
        n = CONVOLUTIONS[layer.kind]
        kernel, filters = layer.each("filter_size", n, least=1), layer.whole("num_filters", least=1)
        if self.graph.rank(x) != n + 2:
            raise layer.fault(f"its input has {self.graph.rank(x)} axes instead of {n + 2}")
        channels = self.graph.shape(x)[1]
        transposed = layer.kind.startswith(("transposed", "deconv"))
        dilated = layer.kind == "dilatedconv2d"
        ordinary = not transposed and not dilated and not layer.kind.endswith(("dnn", "mm"))
        flip = layer.flag("flip_filters", ordinary)
        stride = [1] * n if dilated else layer.each("stride", n, 1, 1)
        groups = layer.whole("num_groups", 1, 1)
        pad = layer.get("crop" if transposed else "pad", 0)
        if pad == "valid":
            pads = [0] * n
        elif pad == "full":
            pads = [k - 1 for k in kernel]
        elif pad in ("same", "half"):
            if pad == "same" and any(k % 2 == 0 for k in kernel):
                raise layer.fault("pad=same needs odd filter sizes")
            pads = [k // 2 for k in kernel]
        else:
            pads = layer.each("crop" if transposed else "pad", n, 0)
        untied = layer.flag("untie_biases", False)
        swapped = transposed or dilated
        if channels % groups or filters % groups or (swapped and groups != 1):
            raise layer.fault(f"{channels} channels and {filters} filters in {groups} groups")
        shape = (channels, filters, *kernel) if swapped else (filters, channels // groups, *kernel)
        weight = layer.array("W", *shape)
        if dilated:
            weight = weight.swapaxes(0, 1)
        if dilated and (flip or any(pads)):
            raise layer.fault("dilated convolutions have neither flipped filters nor padding")
        if (flip and not transposed) or (transposed and not flip):  # a true convolution: ONNX's is a correlation
            weight = weight[(slice(None), slice(None), *[slice(None, None, -1)] * n)]
        bias = ""
        if layer.biased and not untied:
            bias = self.constant(layer, "b", layer.array("b", filters))
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "pads": pads * 2}
        if dilated:
            attributes["dilations"] = layer.each("dilation", 2, 1, 1)
        if transposed:
            if layer.get("output_size") is not None:
                raise layer.fault("output_size is not supported")
            y = self.graph.add(
                "ConvTranspose", x, self.constant(layer, "W", weight), bias, hint=layer.name, **attributes
            )
        else:
            y = self.graph.add(
                "Conv", x, self.constant(layer, "W", weight), bias, group=groups, hint=layer.name, **attributes
            )
        if layer.biased and untied:
            y = self.graph.add("Add", y, self.constant(layer, "b", layer.array("b", *self.graph.shape(y)[1:])))
            self.graph.pin(*{name for i in self.graph.inputs for a, name in i.free.items() if a})
        return y if layer.normalised else self.activate(layer, str(y), "rectify")

    def dense(self, layer: Layer, x: str) -> str:
        units, leading = layer.whole("num_units", least=1), layer.whole("num_leading_axes", 1, 1)
        shape = self.graph.shape(x)
        if leading >= len(shape):
            raise layer.fault(f"num_leading_axes={leading} for an input with {len(shape)} axes")
        width = int(np.prod(shape[leading:]))
        if len(shape) > leading + 1:
            x = self.graph.add("Reshape", x, self.graph.ints(*[0] * leading, width))
        weight = self.constant(layer, "W", layer.array("W", width, units))
        y = self.graph.add("MatMul", x, weight, hint=layer.name)
        if layer.biased:
            y = self.graph.add("Add", y, self.constant(layer, "b", layer.array("b", units)), hint=layer.name)
        return y if layer.normalised else self.activate(layer, str(y), "rectify")

    def nin(self, layer: Layer, x: str) -> str:
        units, shape = layer.whole("num_units", least=1), self.graph.shape(x)
        if layer.flag("untie_biases", False) or len(shape) < 3:
            raise layer.fault("untied biases, or an input of less than three axes, are not supported")
        weight = layer.array("W", shape[1], units).T.reshape(units, shape[1], *[1] * (len(shape) - 2))
        bias = self.constant(layer, "b", layer.array("b", units)) if layer.biased else ""
        y = self.graph.add("Conv", x, self.constant(layer, "W", weight), bias, hint=layer.name)
        return y if layer.normalised else self.activate(layer, str(y), "rectify")

    def pool(self, layer: Layer, x: str) -> str:
        n = next(int(c) for c in layer.kind if c.isdigit())
        kernel = layer.each("pool_size", n, least=1)
        stride = kernel if layer.get("stride") is None else layer.each("stride", n, least=1)
        pad, whole_only = layer.each("pad", n, 0), layer.flag("ignore_border", True)
        mode = "max" if layer.kind.startswith("max") else layer.word("mode", "max", MODES)
        if self.graph.rank(x) != n + 2:
            raise layer.fault(f"its input has {self.graph.rank(x)} axes instead of {n + 2}")
        if any(p >= k for p, k in zip(pad, kernel) if p) or (any(pad) and not whole_only):
            raise layer.fault(f"pad={pad} for windows of {kernel}")
        # Rounding up the number of windows is padding at the end that does not count.
        more = [0] * n if whole_only else [min(k, s) - 1 for k, s in zip(kernel, stride)]
        counted = int(mode == "average_inc_pad" and whole_only)
        attributes: dict[str, Any] = {} if mode == "max" else {"count_include_pad": counted}
        ends = [p + m for p, m in zip(pad, more)]
        if any(size + 2 * p < k and whole_only for size, p, k in zip(self.graph.shape(x)[2:], pad, kernel)):
            raise layer.fault("its input is smaller than its window")
        return str(
            self.graph.add(
                MODES[mode], x, kernel_shape=kernel, strides=stride, pads=pad + ends, hint=layer.name, **attributes
            )
        )

    def pyramid(self, layer: Layer, x: str) -> str:
        """(batch, channels, places) of pools whose windows divide the plane into ever fewer parts."""
        dims = layer.get("pool_dims", [4, 2, 1])
        mode = layer.word("mode", "max", MODES)
        layer.word("implementation", "fast", {"fast"})
        shape = self.graph.shape(x)
        sides = [d if isinstance(d, list) else [d, d] for d in dims] if isinstance(dims, list) else []
        fits = len(shape) == 4 and all(
            len(s) == 2 and all(type(n) is int and 0 < n <= whole for n, whole in zip(s, shape[2:])) for s in sides
        )
        if not sides or not fits:
            raise layer.fault(f"pool_dims={str(dims)[:60]} for an input of {list(shape)}")
        self.pin_size(2)
        parts = []
        for side in sides:
            kernel = [-(-whole // n) for n, whole in zip(side, shape[2:])]
            steps = [whole // n for n, whole in zip(side, shape[2:])]
            part = self.graph.add(MODES[mode], x, kernel_shape=kernel, strides=steps)
            parts.append(self.graph.add("Reshape", part, self.graph.ints(0, 0, -1)))
        return str(self.graph.add("Concat", *parts, axis=2, hint=layer.name))

    def reduced(self, layer: Layer, x: str, axis: int, key: str, default: str) -> str:
        ops = {"mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "sum": "ReduceSum"}
        op = ops[layer.word(key, default, ops)]
        return str(self.graph.add(op, x, self.graph.ints(axis), keepdims=0, hint=layer.name))

    def global_pool(self, layer: Layer, x: str) -> str:
        if self.graph.rank(x) < 3:
            raise layer.fault("its input has less than three axes")
        flat = self.graph.add("Reshape", x, self.graph.ints(0, 0, -1))
        return self.reduced(layer, flat, 2, "pool_function", "mean")

    def feature_pool(self, layer: Layer, x: str) -> str:
        size, axis = layer.whole("pool_size", least=1), layer.whole("axis", 1)
        shape = self.graph.shape(x)
        if axis >= len(shape) or shape[axis] % size:
            raise layer.fault(f"axis {axis} of {list(shape)} in groups of {size}")
        start = self.graph.add("Shape", x, start=0, end=axis) if axis else ""
        rest = self.graph.add("Shape", x, start=axis + 1) if axis + 1 < len(shape) else ""
        middle = self.graph.ints(shape[axis] // size, size)
        parts = [p for p in (start, middle, rest) if p]
        split = self.graph.add("Reshape", x, self.graph.add("Concat", *parts, axis=0))
        return self.reduced(layer, split, axis + 1, "pool_function", "max")

    def upscale(self, layer: Layer, x: str) -> str:
        n = self.graph.rank(x) - 2
        factors = layer.each("scale_factor", n, least=1)
        layer.word("mode", "repeat", {"repeat"})
        scales = self.graph.constant(np.array([1, 1, *factors], np.float32))
        return str(
            self.graph.add("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric", hint=layer.name)
        )  # fmt: skip

    def response(self, layer: Layer, x: str) -> str:
        size = layer.whole("n", 5, 1)
        if size % 2 == 0:
            raise layer.fault(f"n={size} is not odd")
        alpha, k, beta = layer.number("alpha", 1e-4), layer.number("k", 2), layer.number("beta", 0.75)
        return str(self.graph.add("LRN", x, size=size, alpha=alpha * size, beta=beta, bias=k, hint=layer.name))

    def _apart(self, layer: Layer, x: str, key: str) -> tuple[list[int], list[int]]:
        """Shape of parameters that are shared along some axes, and the same with ones for these."""
        shape = self.graph.shape(x)
        value = layer.get(key, "auto")
        if value == "auto":
            shared = [0, *range(2, len(shape))]
        elif value == "all":
            shared = list(range(len(shape)))
        else:
            value = [value] if type(value) is int else value
            if not isinstance(value, list) or any(
                type(a) is not int or not -len(shape) <= a < len(shape) for a in value
            ):
                raise layer.fault(f"{key}={str(value)[:40]}")
            shared = [a % len(shape) for a in value]
        if 0 not in shared:
            raise layer.fault(f"{key} without the batch is not supported")
        return [n for i, n in enumerate(shape) if i not in shared], [
            1 if i in shared else n for i, n in enumerate(shape)
        ]

    def batch_norm(self, layer: Layer, x: str) -> str:
        own, spread = self._apart(layer, x, "axes")

        def value(name: str) -> str:
            return self.constant(layer, name, layer.array(name, *own).reshape(spread))

        scale = layer.array("inv_std", *own)
        if "gamma" in layer.arrays:
            scale = scale * layer.array("gamma", *own)
        y = self.graph.add("Sub", x, value("mean"))
        y = self.graph.add("Mul", y, self.constant(layer, "scale", scale.reshape(spread)), hint=layer.name)
        return str(self.graph.add("Add", y, value("beta"), hint=layer.name) if "beta" in layer.arrays else y)

    def shifted(self, layer: Layer, x: str) -> str:
        own, spread = self._apart(layer, x, "shared_axes")
        name = parameters(layer)[0]
        value = self.constant(layer, name, layer.array(name, *own).reshape(spread))
        if name == "alpha":
            return str(
                self.graph.add("PRelu", x, value if not spread else self._slopes(layer, own, spread), hint=layer.name)
            )
        return str(self.graph.add("Add" if name == "b" else "Mul", x, value, hint=layer.name))

    def _slopes(self, layer: Layer, own: list[int], spread: list[int]) -> str:
        return self.constant(layer, "alpha", layer.array("alpha", *own).reshape(spread[1:]))

    def randomised(self, layer: Layer, x: str) -> str:
        layer.get("shared_axes")
        middle = (layer.number("lower", 0.3) + layer.number("upper", 0.8)) / 2
        return str(self.graph.add("LeakyRelu", x, alpha=middle, hint=layer.name))

    def flatten(self, layer: Layer, x: str) -> str:
        axes = layer.whole("outdim", 2, 1)
        if axes > self.graph.rank(x):
            raise layer.fault(f"outdim={axes} for an input with {self.graph.rank(x)} axes")
        return str(self.graph.add("Reshape", x, self.graph.ints(*[0] * (axes - 1), -1), hint=layer.name))

    def reshape(self, layer: Layer, x: str) -> str:
        shape, rank = layer.get("shape"), self.graph.rank(x)
        if not isinstance(shape, list) or not shape:
            raise layer.fault("shape is a list")
        parts = []
        for entry in shape:
            if type(entry) is int and (entry > 0 or entry == -1):
                parts.append(self.graph.ints(entry))
            elif isinstance(entry, list) and len(entry) == 1 and type(entry[0]) is int and 0 <= entry[0] < rank:
                parts.append(self.graph.add("Shape", x, start=entry[0], end=entry[0] + 1))
            else:
                raise layer.fault(f"{str(entry)[:40]} in shape")
        sizes = self.graph.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
        return str(self.graph.add("Reshape", x, sizes, hint=layer.name))

    def dimshuffle(self, layer: Layer, x: str) -> str:
        pattern, shape = layer.get("pattern"), self.graph.shape(x)
        if not isinstance(pattern, list):
            raise layer.fault("pattern is a list")
        kept = [p for p in pattern if p != "x"]
        if any(type(p) is not int or not 0 <= p < len(shape) for p in kept) or len(set(kept)) != len(kept):
            raise layer.fault(f"pattern={str(pattern)[:60]} for an input with {len(shape)} axes")
        gone = [i for i in range(len(shape)) if i not in kept]
        if any(shape[i] != 1 for i in gone):
            raise layer.fault(f"it drops an axis of {[shape[i] for i in gone]} values")
        if gone:
            x = self.graph.add("Squeeze", x, self.graph.ints(*gone))
        order = [sorted(kept).index(p) for p in kept]
        if order != sorted(order):
            x = self.graph.add("Transpose", x, perm=order)
        new = [i for i, p in enumerate(pattern) if p == "x"]
        return str(self.graph.add("Unsqueeze", x, self.graph.ints(*new)) if new else x)

    def pad(self, layer: Layer, x: str) -> str:
        first, rank = layer.whole("batch_ndim", 2), self.graph.rank(x)
        width, value = layer.get("width"), layer.number("val", 0)
        width = [width] * (rank - first) if type(width) is int else width
        if not isinstance(width, list) or len(width) != rank - first:
            raise layer.fault(f"width={str(width)[:40]} for {rank - first} axes")
        pairs = [[w, w] if type(w) is int else w for w in width]
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2 or any(type(p) is not int or p < 0 for p in pair):
                raise layer.fault(f"width={str(width)[:40]}")
        pads = [*[0] * first, *(p[0] for p in pairs), *[0] * first, *(p[1] for p in pairs)]
        return str(self.graph.add("Pad", x, self.graph.ints(*pads), self.one(value), hint=layer.name))

    def slice(self, layer: Layer, x: str) -> str:
        axis, which = layer.get("axis", -1), layer.get("indices")
        rank = self.graph.rank(x)
        if type(axis) is not int or not -rank <= axis < rank:
            raise layer.fault(f"axis={str(axis)[:20]}")
        if type(which) is int:
            return str(
                self.graph.add("Gather", x, self.graph.constant(np.array(which, np.int64)), axis=axis, hint=layer.name)
            )
        if isinstance(which, dict):
            which = [which.get("start"), which.get("stop"), which.get("step")]
        if (
            not isinstance(which, list)
            or not 2 <= len(which) <= 3
            or any(w is not None and type(w) is not int for w in which)
        ):
            raise layer.fault("indices are a number, or [start, stop] or [start, stop, step]")
        start, stop, step = (*which, None)[:3]
        step = 1 if step is None else step
        start = (0 if step > 0 else FAR) if start is None else start
        stop = (FAR if step > 0 else -FAR) if stop is None else stop
        ends = [self.graph.ints(v) for v in (start, stop, axis, step)]
        return str(self.graph.add("Slice", x, *ends, hint=layer.name))

    def cropped(self, layer: Layer, values: tuple[str, ...]) -> list[str]:
        """Cut to the least size along each axis that has a `cropping`, as Lasagne's autocrop does."""
        cropping = layer.get("cropping")
        if cropping is None:
            return list(values)
        known = (None, "None", "lower", "center", "upper")
        shapes = [self.graph.shape(v) for v in values]
        if not isinstance(cropping, list) or any(c not in known for c in cropping) or len({*map(len, shapes)}) > 1:
            raise layer.fault(f"cropping={str(cropping)[:60]} is not a list of {', '.join(map(str, known[1:]))}")
        axes = [a for a, c in enumerate(cropping[: len(shapes[0])]) if c not in (None, "None")]
        if any(len({shape[a] for shape in shapes}) > 1 for a in axes):
            self.pin_size(1)
        made = []
        for value, shape in zip(values, shapes):
            for a in axes:
                least = min(s[a] for s in shapes)
                start = {"lower": 0, "upper": shape[a] - least}.get(cropping[a], (shape[a] - least) // 2)
                if shape[a] > least:
                    ends = (self.graph.ints(n) for n in (start, start + least, a))
                    value = str(self.graph.add("Slice", value, *ends))
            made.append(value)
        return made

    def concat(self, layer: Layer, *values: str) -> str:
        given = self.cropped(layer, values)
        return str(self.graph.add("Concat", *given, axis=layer.whole("axis", 1), hint=layer.name))

    def merge(self, layer: Layer, *values: str) -> str:
        ops = {"add": "Sum", "mul": "Mul", "maximum": "Max", "minimum": "Min"}
        op = "Sum" if layer.kind == "elemwisesum" else ops[layer.word("merge_function", "", ops)]
        factors = layer.get("coeffs", 1)
        factors = factors if isinstance(factors, list) else [factors] * len(values)
        if len(factors) != len(values) or any(isinstance(f, bool) or not isinstance(f, (int, float)) for f in factors):
            raise layer.fault("as many coeffs as inputs are needed")
        parts = self.cropped(layer, values)
        given = [v if f == 1 else str(self.graph.add("Mul", v, self.one(f))) for v, f in zip(parts, factors)]
        if op != "Mul":
            return str(self.graph.add(op, *given, hint=layer.name))
        y = given[0]
        for value in given[1:]:
            y = self.graph.add("Mul", y, value, hint=layer.name)
        return y

    def embedding(self, layer: Layer, x: str) -> str:
        rows, width = layer.whole("input_size", least=1), layer.whole("output_size", least=1)
        index = self.graph.add("Cast", x, to=7)
        return str(
            self.graph.add("Gather", self.constant(layer, "W", layer.array("W", rows, width)), index, hint=layer.name)
        )

    def recurrent(self, layer: Layer, x: str) -> str:
        units, backwards = layer.whole("num_units", least=1), layer.flag("backwards", False)
        final = layer.flag("only_return_final", False)
        for key in ("learn_init", "gradient_steps", "unroll_scan", "precompute_input", "grad_clipping", "peepholes"):
            layer.get(key)
        if layer.get("mask_input") is not None:
            raise layer.fault("mask_input is not supported")
        if self.graph.rank(x) > 3:
            x = self.graph.add("Reshape", x, self.graph.ints(0, 0, int(np.prod(self.graph.shape(x)[2:]))))
        if self.graph.rank(x) != 3:
            raise layer.fault("its input has less than three axes")
        width = self.graph.shape(x)[2]
        more: dict[str, Any] = {}

        def stacked(gates: list[str], signs: list[int]) -> list[np.ndarray]:
            shapes = {"W_in_to": (width, units), "W_hid_to": (units, units), "b": (units,)}
            w, r, b = (
                np.concatenate([layer.array(f"{p}_{g}", *shapes[p]).T * s for g, s in zip(gates, signs)])
                for p in shapes
            )
            return [w, r, np.concatenate([b, np.zeros_like(b)])]

        if layer.kind == "lstm":
            op, states = "LSTM", ["hid_init", "cell_init"]
            w, r, b = stacked(["ingate", "outgate", "forgetgate", "cell"], [1, 1, 1, 1])
            last = layer.get("nonlinearity", "tanh")
            if last != "tanh":
                raise layer.fault(f"nonlinearity={str(last)[:40]} is not supported")
        elif layer.kind == "gru":  # its update gate keeps what ONNX's replaces
            op, states = "GRU", ["hid_init"]
            w, r, b = stacked(["updategate", "resetgate", "hidden_update"], [-1, 1, 1])
            more["linear_before_reset"] = 1
        else:
            op, states = "RNN", ["hid_init"]
            kinds = {"tanh": "Tanh", "rectify": "Relu", "sigmoid": "Sigmoid"}
            more["activations"] = [kinds[layer.word("nonlinearity", "rectify", kinds)]]
            w, r = layer.array("W_in_to_hid", width, units).T, layer.array("W_hid_to_hid", units, units).T
            bias = layer.array("b", units)
            b = np.concatenate([bias, np.zeros_like(bias)])
        steps = self.graph.add("Transpose", x, perm=[1, 0, 2])
        batch = self.graph.add("Shape", steps, start=1, end=2)
        size = self.graph.add("Concat", self.graph.ints(1), batch, self.graph.ints(units), axis=0)
        begin = []
        for name in states:
            first = layer.array(name, 1, units)
            begin.append(
                str(self.graph.add("Expand", self.constant(layer, name, first[None]), size)) if first.any() else ""
            )
        holes = ""
        if "W_cell_to_ingate" in layer.arrays:
            row = [layer.array(f"W_cell_to_{g}", units) for g in ("ingate", "outgate", "forgetgate")]
            holes = self.constant(layer, "peepholes", np.concatenate(row)[None])
        given = [self.constant(layer, n, a[None]) for n, a in (("W", w), ("R", r), ("B", b))]
        inputs = [steps, *given, "", *(begin if op != "LSTM" else [*(begin), holes])]
        found = self.graph.add(op, *inputs, outputs=2 if op != "LSTM" else 3, hidden_size=units, hint=layer.name,
            direction="reverse" if backwards else "forward", **more)  # fmt: skip
        if final:
            return str(self.graph.add("Squeeze", found[1], self.graph.ints(0), hint=layer.name))
        every = self.graph.add("Squeeze", found[0], self.graph.ints(1))
        return str(self.graph.add("Transpose", every, perm=[1, 0, 2], hint=layer.name))

    def nonlinearity(self, layer: Layer, x: str) -> str:
        return self.activate(layer, x, "rectify")

    def dropped(self, layer: Layer, x: str) -> str:
        layer.used.update(layer.options)
        return x


BUILDERS: dict[str, Any] = {
    **dict.fromkeys(CONVOLUTIONS, Build.convolution), "dense": Build.dense, "nin": Build.nin,
    **{f"{m}pool{n}d{k}": Build.pool for m in ("", "max") for n in (1, 2, 3) for k in ("", "dnn")},
    **dict.fromkeys(("spatialpyramidpooling", "spatialpyramidpoolingdnn"), Build.pyramid),
    "globalpool": Build.global_pool, "featurepool": Build.feature_pool,
    **{f"upscale{n}d": Build.upscale for n in (1, 2, 3)}, "localresponsenormalization2d": Build.response,
    "batchnorm": Build.batch_norm, "batch_norm": Build.batch_norm, "batchnormdnn": Build.batch_norm,
    "bias": Build.shifted, "scale": Build.shifted, "parametricrectifier": Build.shifted, "prelu": Build.shifted,
    "randomizedrectifier": Build.randomised, "flatten": Build.flatten, "reshape": Build.reshape,
    "dimshuffle": Build.dimshuffle, "pad": Build.pad, "slice": Build.slice, "concat": Build.concat,
    "elemwisesum": Build.merge, "elemwisemerge": Build.merge, "embedding": Build.embedding,
    "lstm": Build.recurrent, "gru": Build.recurrent, "recurrent": Build.recurrent,
    "nonlinearity": Build.nonlinearity, **dict.fromkeys(DROPPED, Build.dropped),
}  # fmt: skip
