"""Functions of `keras.ops` between the layers of a model, as ONNX.

A function is named by its class, with the arguments of its call and those of its class; each handler has both, by
Keras's names and with Keras's defaults. Source: keras.io/api/ops, each function's docstring; where backends differ,
what TensorFlow's computes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import Net, Value

Handler = Callable[..., Any]


H = TypeVar("H", bound=Handler)


OPS: dict[str, Handler] = {}


TYPES = {"float32": 1, "float64": 1, "float16": 1, "bfloat16": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5,
         "int32": 6, "int64": 7, "bool": 9, "uint32": 12, "uint64": 13, "int": 6, "float": 1}  # fmt: skip


RUN = 1024  # of an axis that is compared with itself


def op(*kinds: str) -> Callable[[H], H]:
    """Register what converts the functions of these classes."""

    def register(handler: H) -> H:
        OPS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def call(net: Net, kind: str, args: Sequence[Any], kwargs: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """The values that a function gives.

    Raises:
        InputError: the function, or this use of it, is not known.
    """
    handler = OPS.get(kind)
    if handler is None:
        raise InputError("this function of keras.ops is not known")
    options = {k: v for k, v in config.items() if k not in ("name", "trainable")}
    if "dtype" not in inspect.signature(handler).parameters:
        options.pop("dtype", None)
    try:
        bound = inspect.signature(handler).bind(net, *args, **{**options, **kwargs})
    except TypeError as error:
        raise InputError(f"called in a way that is not known: {error}") from None
    return handler(*bound.args, **bound.kwargs)


def tensor(net: Net, value: Any, like: np.dtype[Any] | None = None) -> str:
    """A value, an array or a number of Python, which takes the type of what it meets."""
    if isinstance(value, Value):
        return value.name
    if isinstance(value, (list, tuple)) and any(isinstance(v, Value) for v in value):
        return net.op("Concat", *[net.op("Unsqueeze", tensor(net, v), net.ints([0])) for v in value], axis=0)
    if value is None or isinstance(value, (str, dict)):
        raise InputError(f"an argument of {str(value)[:40]} is not known")
    if isinstance(value, np.ndarray):
        return net.graph.constant(value.astype(np.float32) if value.dtype.kind == "f" else value, "array")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise InputError(f"an argument of {str(value)[:40]} is not known")
    kind = {"f": np.float32, "b": np.bool_}.get(array.dtype.kind, np.int32)
    if like is not None and array.ndim == 0 and (array.dtype.kind in "iub" or like.kind == "f"):
        kind = like.type if like.kind != "b" or array.dtype.kind == "b" else kind
    return net.graph.constant(array.astype(kind), "number")


def _weak(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def together(net: Net, *values: Any, real: bool = False) -> list[str]:
    """Values of one type: that of the widest; whole numbers and truth values as float32 where `real`."""
    strong = [net.graph.dtype(tensor(net, v)) for v in values if not _weak(v)]
    wide = [d for d in strong if d.kind == "f"]
    if real or wide or any(isinstance(v, float) for v in values):
        kind: np.dtype[Any] = np.dtype(np.float32)
    else:
        kind = np.result_type(*strong) if strong else np.dtype(np.int32)
        if kind.kind == "b" and any(_weak(v) for v in values):
            kind = np.dtype(np.int32)
    return [as_type(net, tensor(net, v, kind), kind) for v in values]


def as_type(net: Net, value: str, kind: np.dtype[Any] | Any) -> str:
    kind = np.dtype(kind)
    return value if net.graph.dtype(value) == kind else net.op("Cast", value, to=TYPES[kind.name])


def real_of(net: Net, x: Any) -> str:
    return net.real(tensor(net, x))


def like(net: Net, value: str, number: float) -> str:
    """A number of a value's type."""
    return net.graph.constant(np.array(number, net.graph.dtype(value)), "number")


def wide(net: Net, values: Sequence[str], work: Callable[..., str]) -> str:
    """Arithmetic of narrow types, for which ONNX Runtime has no kernels, in int32 and back."""
    kind = net.graph.dtype(values[0])
    if kind.name not in ("int8", "uint8", "int16", "uint16", "bool", "uint32"):
        return work(*values)
    inner = np.int64 if kind.name == "uint32" else np.int32
    return as_type(net, work(*[as_type(net, v, inner) for v in values]), kind)


def axes_of(net: Net, x: str, axis: Any) -> list[int]:
    """The axes meant, counted from the front; all of them for None."""
    rank = net.rank(x)
    given = list(range(rank)) if axis is None else [axis] if isinstance(axis, int) else axis
    if not isinstance(given, (list, tuple)) or not all(isinstance(a, int) and -rank <= a < rank for a in given):
        raise InputError(f"there is no axis {str(axis)[:40]} in {rank} axes")
    return [a % rank for a in given]


def axis_of(net: Net, x: str, axis: Any) -> int:
    found = axes_of(net, x, axis)
    if len(found) != 1:
        raise InputError(f"an axis of {str(axis)[:40]} is not known here")
    return found[0]


def fixed(net: Net, x: Any, axis: int) -> int:
    """Size of an axis that is the same for every input.

    Raises:
        InputError: it is free.
    """
    sizes = x.sizes if isinstance(x, Value) else None
    name = tensor(net, x)
    size = net.size(name, axis)
    if (sizes is not None and sizes[axis] is None) or (sizes is None and axis == 0 and name not in net.graph.constants):
        raise InputError(f"needs the size of axis {axis}, which is free in the file; this is not converted")
    return size


def flat(net: Net, x: str) -> str:
    return net.op("Reshape", x, net.ints([-1]))


def in_order(net: Net, value: str, at: int, count: str | None = None, largest: int = 0) -> tuple[str, str]:
    """Values in order along an axis, and where they were."""
    found: tuple[str, str] = net.graph.add(
        "TopK", value, count or net.sizes(value, at, at + 1), outputs=2, axis=at, largest=largest
    )
    return found
