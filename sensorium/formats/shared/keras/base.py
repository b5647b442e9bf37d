"""What the layers of Keras are converted with: their options, their weights, their values, activations and padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.keras.weights import Weights

END = (1 << 62) - 1
# Options that say nothing of what a trained layer computes.
NEUTRAL = {
    "name", "trainable", "dtype", "batch_input_shape", "input_shape", "batch_shape", "build_config", "init",
    "inner_init", "forget_bias_init", "unit_forget_bias", "momentum", "seed", "noise_shape", "rate", "dropout",
    "recurrent_dropout", "dropout_W", "dropout_U", "implementation", "unroll", "stateful", "input_length",
    "input_dim", "consume_less", "sparse", "ragged", "synchronized", "renorm", "renorm_clipping", "renorm_momentum",
    "fused", "virtual_batch_size", "adjustment", "autocast", "cache_enabled", "flash_attention", "input_dtype",
    "gamma_init", "beta_init", "weights", "time_major_hint", "lora_alpha", "supports_masking", "static",
    "_sensorium_key", "input_spec", "optional", "use_cudnn_on_gpu",
}  # fmt: skip
NEUTRAL_ENDS = ("_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True)
class Value:
    """A value of the graph, its mask (bool, batch and time) where it has one, and its sizes as the file has them."""

    name: str
    mask: str | None = None
    sizes: tuple[int | None, ...] | None = None


@dataclass
class Dialect:
    """Which Keras wrote the file: it decides what some options mean.

    Attributes:
        version: 1, 2 or 3.
        backend: `tensorflow`, `theano`, `cntk`, `tfjs`, ...
        half_pixel: whether bilinear enlargement looks at the middle of pixels.
        data_format: of layers that do not say theirs (some of Keras 1).
        free: whether an axis of an input other than the first is free.
    """

    version: int = 3
    backend: str = "tensorflow"
    half_pixel: bool = True
    data_format: str = "channels_last"
    free: bool = False


@dataclass
class Layer:
    """One layer: its class, its options, and where its weights are."""

    kind: str
    name: str
    config: dict[str, Any]
    weights: Weights
    used: set[str] = field(default_factory=set)

    def fault(self, text: str) -> InputError:
        return InputError(f"layer '{self.name[:80]}' ({self.kind[:60]}): {text}")

    def get(self, key: str, default: Any = None) -> Any:
        self.used.add(key)
        value = self.config.get(key, default)
        return default if value is None else value

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int):
            raise self.fault(f"'{key}' should be a whole number, not {str(value)[:40]}")
        if not -(1 << 31) < value < 1 << 31:
            raise self.fault(f"'{key}' of {value} is not possible")
        return int(value)

    def positive(self, key: str, default: int | None = None) -> int:
        value = self.whole(key, default)
        if value < 1:
            raise self.fault(f"'{key}' of {value} is not possible")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if isinstance(value, dict):  # a serialised NumPy scalar
            value = value.get("config", {}).get("value") if isinstance(value.get("config"), dict) else None
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise self.fault(f"'{key}' should be a number, not {str(value)[:40]}")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.get(key, default)
        if value not in (True, False):
            raise self.fault(f"'{key}' should be true or false, not {str(value)[:40]}")
        return bool(value)

    def choice(self, key: str, default: str, *allowed: str) -> str:
        value = self.get(key, default)
        if value not in allowed:
            raise self.fault(f"'{key}' of '{str(value)[:40]}' is not known; known: {', '.join(allowed)}")
        return str(value)

    def ints(self, key: str, count: int, default: int | None = None) -> list[int]:
        """So many numbers, or one for all of them."""
        value = self.get(key, default)
        values = [value] * count if isinstance(value, int) else value
        if not isinstance(values, list) or len(values) != count or not all(isinstance(v, int) for v in values):
            raise self.fault(f"'{key}' should be {count} whole numbers, not {str(value)[:40]}")
        if any(not 0 <= v < 1 << 24 for v in values):
            raise self.fault(f"'{key}' of {str(value)[:40]} is not possible")
        return [int(v) for v in values]

    def arrays(self, *counts: int) -> list[np.ndarray]:
        """The weights, whose number must be one of these."""
        found = self.weights.arrays()
        if len(found) not in counts:
            wanted = " or ".join(map(str, counts))
            raise self.fault(f"{len(found)} arrays of weights in the file instead of {wanted}: missing, or too many")
        return [a if a.dtype == np.float32 else a.astype(np.float32) for a in found]

    def shaped(self, array: np.ndarray, *shape: int | None) -> np.ndarray:
        """The array, if it has this shape (None: any size)."""
        if len(array.shape) != len(shape) or any(w is not None and w != s for w, s in zip(shape, array.shape)):
            wanted = ["any" if w is None else w for w in shape]
            raise self.fault(f"weights of the shape {list(array.shape)} instead of {wanted}")
        return array

    def finish(self) -> None:
        """Every option must have been understood.

        Raises:
            InputError: one was not.
        """
        for key, value in self.config.items():
            if key in self.used or key in NEUTRAL or key.endswith(NEUTRAL_ENDS):
                continue
            if value is None or value is False or value in ([], {}, "", 0):
                continue
            raise self.fault(f"the option '{str(key)[:40]}' of {str(value)[:60]} is not known")


Handler = Callable[["Net", Layer, list[Value], Mapping[str, Any]], Any]
LAYERS: dict[str, Handler] = {}


def layer(*kinds: str) -> Callable[[Handler], Handler]:
    """Register what converts the layers of these classes."""

    def register(handler: Handler) -> Handler:
        LAYERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def _no_layer(entry: Any, *_: Any) -> Any:
    raise InputError("a layer within a layer is not converted here")


class Net:
    """The graph in the making, with what the layers often need."""

    def __init__(self, graph: Graph, dialect: Dialect) -> None:
        self.graph, self.dialect = graph, dialect
        self.apply: Callable[[Any, Weights, list[Value], Mapping[str, Any]], Any] = _no_layer

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        value: str = self.graph.add(op, *inputs, **attributes)
        return value

    def number(self, value: float) -> str:
        return self.graph.constant(np.array(value, np.float32), "number")

    def array(self, value: Any, hint: str = "weight") -> str:
        return self.graph.constant(np.asarray(value, np.float32), hint)

    def ints(self, values: Sequence[int]) -> str:
        return self.graph.ints(*values)

    def rank(self, value: Value | str) -> int:
        return self.graph.rank(value.name if isinstance(value, Value) else value)

    def real(self, value: str) -> str:
        """As float32."""
        return value if self.graph.dtype(value) == np.float32 else self.op("Cast", value, to=1)

    def where(self, condition: str, a: str, b: str) -> str:
        return self.op("Where", condition, a, b)

    def axis(self, part: Layer, value: str, axis: int, *, batch: bool = False) -> int:
        """An axis counted from the front."""
        rank = self.rank(value)
        found = axis + rank if axis < 0 else axis
        if not (0 if batch else 1) <= found < rank:
            raise part.fault(f"there is no axis {axis} in an input of {rank} axes")
        return found

    def transpose(self, value: str, order: Sequence[int]) -> str:
        return value if list(order) == list(range(len(order))) else self.op("Transpose", value, perm=list(order))

    def last_to_first(self, value: str) -> str:
        """Channels from the last axis to the second."""
        rank = self.rank(value)
        return self.transpose(value, [0, rank - 1, *range(1, rank - 1)])

    def first_to_last(self, value: str) -> str:
        rank = self.rank(value)
        return self.transpose(value, [0, *range(2, rank), 1])

    def part(self, value: str, axis: int, start: int, end: int, step: int = 1) -> str:
        return self.op("Slice", value, self.ints([start]), self.ints([end]), self.ints([axis]), self.ints([step]))

    def sizes(self, value: str, start: int = 0, end: int | None = None) -> str:
        """Sizes of some axes, as int64."""
        return self.op("Shape", value, start=start, end=end)

    def size(self, value: str, axis: int) -> int:
        """Size of an axis in the example."""
        return self.graph.shape(value)[axis]

    def joined(self, *parts: str) -> str:
        return self.op("Concat", *parts, axis=0)

    def dense(self, value: str, kernel: np.ndarray, bias: np.ndarray | None, hint: str = "dense") -> str:
        y = self.op("MatMul", value, self.array(kernel, f"{hint}.kernel"))
        return y if bias is None else self.op("Add", y, self.array(bias, f"{hint}.bias"))


# Activations. Source: keras.io/api/layers/activations, each function's docstring.

Function = Callable[[Net, str, int], str]


def _hard_sigmoid(net: Net, x: str, _: int) -> str:
    return net.op("HardSigmoid", x, alpha=1 / 6 if net.dialect.version == 3 else 0.2, beta=0.5)


def _gelu(net: Net, x: str, approximate: bool = False) -> str:
    if approximate:
        cube = net.op("Mul", net.op("Mul", x, x), x)
        inner = net.op("Add", x, net.op("Mul", cube, net.number(0.044715)))
        gate = net.op("Tanh", net.op("Mul", inner, net.number(math.sqrt(2 / math.pi))))
    else:
        gate = net.op("Erf", net.op("Mul", x, net.number(math.sqrt(0.5))))
    return net.op("Mul", net.op("Mul", x, net.number(0.5)), net.op("Add", gate, net.number(1.0)))


def _clip(net: Net, x: str, low: float, high: float) -> str:
    return net.op("Clip", x, net.number(low), net.number(high))


def _gated(net: Net, x: str, gate: str) -> str:
    return net.op("Mul", x, gate)


def _softmax(net: Net, x: str, axis: int) -> str:
    if net.rank(x) < 2:
        raise InputError("softmax of a list of single numbers is not defined")
    return net.op("Softmax", x, axis=axis)


def _shrink(net: Net, x: str, _: int) -> str:
    return net.op("Sub", x, net.op("Tanh", x))


def _squareplus(net: Net, x: str, _: int) -> str:
    root = net.op("Sqrt", net.op("Add", net.op("Mul", x, x), net.number(4.0)))
    return net.op("Mul", net.op("Add", x, root), net.number(0.5))


def _sparse_plus(net: Net, x: str, _: int) -> str:
    """0 below -1, x above 1, (x + 1)^2 / 4 between."""
    ramp = _clip(net, net.op("Add", x, net.number(1.0)), 0.0, 2.0)
    over = net.op("Relu", net.op("Sub", x, net.number(1.0)))
    return net.op("Add", net.op("Mul", net.op("Mul", ramp, ramp), net.number(0.25)), over)


ACTIVATIONS: dict[str, Function] = {
    "linear": lambda net, x, _: x,
    "relu": lambda net, x, _: net.op("Relu", x),
    "relu6": lambda net, x, _: _clip(net, x, 0.0, 6.0),
    "sigmoid": lambda net, x, _: net.op("Sigmoid", x),
    "hard_sigmoid": _hard_sigmoid,
    "tanh": lambda net, x, _: net.op("Tanh", x),
    "softmax": _softmax,
    "log_softmax": lambda net, x, axis: net.op("LogSoftmax", x, axis=axis),
    "softplus": lambda net, x, _: net.op("Softplus", x),
    "softsign": lambda net, x, _: net.op("Softsign", x),
    "elu": lambda net, x, _: net.op("Elu", x, alpha=1.0),
    "selu": lambda net, x, _: net.op("Selu", x, alpha=1.6732632423543772, gamma=1.0507009873554805),
    "celu": lambda net, x, _: net.op("Celu", x, alpha=1.0),
    "exponential": lambda net, x, _: net.op("Exp", x),
    "swish": lambda net, x, _: _gated(net, x, net.op("Sigmoid", x)),
    "gelu": lambda net, x, _: _gelu(net, x),
    "gelu_new": lambda net, x, _: _gelu(net, x, True),
    "mish": lambda net, x, _: net.op("Mish", x),
    "leaky_relu": lambda net, x, _: net.op("LeakyRelu", x, alpha=0.2),
    "hard_silu": lambda net, x, _: _gated(net, x, net.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    "hard_tanh": lambda net, x, _: _clip(net, x, -1.0, 1.0),
    "hard_shrink": lambda net, x, _: net.op("Shrink", x, lambd=0.5, bias=0.0),
    "soft_shrink": lambda net, x, _: net.op("Shrink", x, lambd=0.5, bias=0.5),
    "tanh_shrink": _shrink,
    "log_sigmoid": lambda net, x, _: net.op("Neg", net.op("Softplus", net.op("Neg", x))),
    "squareplus": _squareplus,
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": lambda net, x, _: net.op(
        "Mul", _clip(net, net.op("Add", x, net.number(1.0)), 0.0, 2.0), net.number(0.5)
    ),
}
ACTIVATIONS["silu"] = ACTIVATIONS["swish"]
ACTIVATIONS["hard_swish"] = ACTIVATIONS["hard_silu"]
SLOPED = {"LeakyReLU", "ReLU", "ELU", "Softmax", "ThresholdedReLU"}


def activation_name(part: Layer, key: str = "activation", default: str = "linear") -> Any:
    """Name of the function, or the dictionary of an activation layer."""
    spec = part.get(key, default)
    if isinstance(spec, dict):
        kind = str(spec.get("class_name"))
        if kind in SLOPED and isinstance(spec.get("config"), dict):
            return spec
        raise part.fault(
            f"the function '{str(spec.get('config') or kind)[:60]}' is code that is not in the file; refused"
        )
    if spec not in ACTIVATIONS:
        raise part.fault(f"the activation '{str(spec)[:60]}' is not known")
    return str(spec)


def activate(net: Net, part: Layer, x: str, key: str = "activation", default: str = "linear", axis: int = -1) -> str:
    """Apply the function that an option names."""
    spec = activation_name(part, key, default)
    if isinstance(spec, dict):
        inner = Layer(str(spec["class_name"]), part.name, dict(spec["config"]), part.weights)
        result: Value = LAYERS[inner.kind](net, inner, [Value(x)], {})
        inner.finish()
        return result.name
    try:
        return ACTIVATIONS[spec](net, x, axis)
    except InputError as error:
        raise part.fault(str(error)) from None


def flatten(tree: Any) -> Iterator[Value]:
    """All values in nested lists and dictionaries, in Keras's order (keys sorted)."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from flatten(item)
    elif isinstance(tree, dict):
        for key in sorted(tree):
            yield from flatten(tree[key])
