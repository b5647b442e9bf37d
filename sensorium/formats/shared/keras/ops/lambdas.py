"""Functions of TensorFlow that Keras 2 keeps between layers (`TFOpLambda`, `SlicingOpLambda`), in those of `keras.ops`.

Such a layer holds a function's name and arguments, and no code. Source: tensorflow.org/api_docs, each function.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.keras.base import Net, Value
from sensorium.formats.shared.keras.ops.call import as_type, call, tensor

KINDS = frozenset({"TFOpLambda", "SlicingOpLambda"})
PLACES = ("", "math", "nn", "linalg", "__operators__", "compat.v1", "compat.v1.math", "compat.v1.nn")

# TensorFlow's name: the function of keras.ops, and its names of the arguments after the first (TensorFlow's=Keras's).
ONE = {
    "negative": "Negative", "abs": "Absolute", "relu": "Relu", "relu6": "Relu6", "sigmoid": "Sigmoid", "tanh": "Tanh",
    "exp": "Exp", "log": "Log", "log1p": "Log1p", "softplus": "Softplus", "softsign": "Softsign", "silu": "Silu",
    "swish": "Silu", "elu": "Elu", "selu": "Selu", "square": "Square", "sqrt": "Sqrt", "rsqrt": "Rsqrt",
    "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round", "sin": "Sin", "cos": "Cos", "erf": "Erf",
    "logical_not": "LogicalNot", "reciprocal": "Reciprocal",
}  # fmt: skip
TWO = {
    "add": "Add", "subtract": "Subtract", "multiply": "Multiply", "truediv": "TrueDivide", "divide": "TrueDivide",
    "maximum": "Maximum", "minimum": "Minimum", "pow": "Power", "greater": "Greater", "greater_equal": "GreaterEqual",
    "less": "Less", "less_equal": "LessEqual", "equal": "Equal", "not_equal": "NotEqual", "logical_and": "LogicalAnd",
    "logical_or": "LogicalOr", "logical_xor": "LogicalXor",
}  # fmt: skip
REDUCED = {
    "reduce_mean": "Mean", "reduce_sum": "Sum", "reduce_max": "Max", "reduce_min": "Min", "reduce_prod": "Prod",
    "reduce_std": "Std", "reduce_variance": "Var", "reduce_logsumexp": "Logsumexp", "reduce_any": "Any",
    "reduce_all": "All",
}  # fmt: skip
TABLE: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    **{name: (kind, {}, {}) for name, kind in ONE.items()},
    **{name: (kind, {"y": "x2"}, {}) for name, kind in TWO.items()},
    **{name: (kind, {"axis": "axis", "keepdims": "keepdims"}, {}) for name, kind in REDUCED.items()},
    "leaky_relu": ("LeakyRelu", {"alpha": "negative_slope"}, {"negative_slope": 0.2}),
    "gelu": ("Gelu", {"approximate": "approximate"}, {"approximate": False}),
    "softmax": ("Softmax", {"axis": "axis"}, {}),
    "log_softmax": ("LogSoftmax", {"axis": "axis"}, {}),
    "concat": ("Concatenate", {"axis": "axis"}, {}),
    "stack": ("Stack", {"axis": "axis"}, {}),
    "unstack": ("Unstack", {"axis": "axis", "num": "num"}, {}),
    "reshape": ("Reshape", {"shape": "newshape"}, {}),
    "transpose": ("Transpose", {"perm": "axes"}, {}),
    "expand_dims": ("ExpandDims", {"axis": "axis"}, {}),
    "squeeze": ("Squeeze", {"axis": "axis"}, {}),
    "tile": ("Tile", {"multiples": "repeats"}, {}),
    "gather": ("Take", {"indices": "indices", "axis": "axis"}, {"axis": 0}),
    "where": ("Where", {"x": "x1", "y": "x2"}, {}),
    "clip_by_value": ("Clip", {"clip_value_min": "x_min", "clip_value_max": "x_max"}, {}),
    "cast": ("Cast", {"dtype": "dtype"}, {}),
    "reverse": ("Flip", {"axis": "axis"}, {}),
    "cumsum": ("Cumsum", {"axis": "axis"}, {"axis": 0}),
    "top_k": ("TopK", {"k": "k", "sorted": "sorted"}, {"k": 1}),
    "one_hot": ("OneHot", {"depth": "num_classes", "axis": "axis"}, {}),
    "depth_to_space": ("DepthToSpace", {"block_size": "block_size"}, {}),
    "space_to_depth": ("SpaceToDepth", {"block_size": "block_size"}, {}),
}


def function(net: Net, name: str, args: list[Any], given: Mapping[str, Any]) -> Any:
    """The values of a function of TensorFlow.

    Args:
        name: as the layer's configuration has it: `math.multiply`, `__operators__.getitem`.

    Raises:
        InputError: the function, or this use of it, is not known.
    """
    place, _, short = name.rpartition(".")
    # What says nothing of the values, and what is as by default
    quiet = {"name": None, "conjugate": False, "validate_indices": None, "batch_dims": 0, "adjoint_a": False,
             "adjoint_b": False, "constant_values": 0}  # fmt: skip
    kwargs = {k: v for k, v in given.items() if k != "name" and v is not None and (k not in quiet or v != quiet[k])}
    if name == "image.resize":
        return _resize(net, args, kwargs)
    if place in PLACES:
        special = SPECIAL.get(short)
        if special is not None:
            return special(net, args, kwargs)
        if short in TABLE:
            kind, names, defaults = TABLE[short]
            if unknown := set(kwargs) - set(names):
                raise InputError(f"the argument '{min(unknown)[:40]}' is not known")
            return call(net, kind, args, {**defaults, **{names[k]: v for k, v in kwargs.items()}}, {})
    raise InputError(f"the function tf.{name[:60]} is not known")


def _item(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    spec = kwargs.get("slice_spec")
    parts = spec if isinstance(spec, list) else [spec]
    keys: list[Any] = []
    for part in parts:
        if isinstance(part, dict) and set(part) == {"start", "stop", "step"}:
            keys.append(slice(*(part[k] for k in ("start", "stop", "step"))))
        elif part is ... or (isinstance(part, dict) and part.get("class_name") == "__ellipsis__"):
            keys.append(...)
        elif part is None or type(part) is int:
            keys.append(part)
        else:
            raise InputError(f"a part {str(part)[:40]} is not known")
    return call(net, "GetItem", [args[0], keys], {}, {})


def _matmul(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    pair = [*args, *([kwargs.pop("b")] if "b" in kwargs else [])]
    for i, key in enumerate(("transpose_a", "transpose_b")):
        if kwargs.pop(key, False):
            pair[i] = Value(call(net, "Swapaxes", [pair[i]], {"axis1": -1, "axis2": -2}, {}))
    if kwargs:
        raise InputError(f"the argument '{min(kwargs)[:40]}' is not known")
    return call(net, "Matmul", pair, {}, {})


def _split(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    sizes = kwargs.get("num_or_size_splits")
    if isinstance(sizes, list):
        if not all(type(n) is int and n >= 0 for n in sizes):
            raise InputError("a split into sizes that are not given is not converted")
        sizes = list(accumulate(sizes))[:-1]
    return call(net, "Split", args, {"indices_or_sections": sizes, "axis": kwargs.get("axis", 0)}, {})


def _pad(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    mode = str(kwargs.get("mode", "CONSTANT")).lower()
    fill = {"constant_values": kwargs["constant_values"]} if "constant_values" in kwargs else {}
    return call(net, "Pad", args, {"pad_width": kwargs.get("paddings"), "mode": mode, **fill}, {})


def _einsum(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if len(args) < 2 or not isinstance(args[0], str) or kwargs:  # Keras 2 writes a list of operands nowhere
        raise InputError("the file does not say of what this is a product")
    return call(net, "Einsum", args[1:], {"subscripts": args[0]}, {})


def _add_all(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return net.op("Sum", *(tensor(net, v) for v in (args[0] if isinstance(args[0], list) else args)))


def _length(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """x / sqrt(max(sum of squares, epsilon))."""
    x, axis = tensor(net, args[0]), kwargs.get("axis", -1)
    total = net.op("ReduceSum", net.op("Mul", x, x), net.ints(axis if isinstance(axis, list) else [axis]), keepdims=1)
    return net.op("Div", x, net.op("Sqrt", net.op("Max", total, net.number(kwargs.get("epsilon", 1e-12)))))


def _most(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if unknown := set(kwargs) - {"axis"}:
        raise InputError(f"the argument '{min(unknown)[:40]}' is not known")
    return as_type(net, call(net, "Argmax", args, {"axis": kwargs.get("axis", 0)}, {}), np.dtype(np.int64))


def _shape(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return as_type(net, net.op("Shape", tensor(net, args[0])), np.dtype(kwargs.get("out_type", "int32")))


def _resize(net: Net, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if unknown := set(kwargs) - {"size", "method", "antialias", "preserve_aspect_ratio"}:
        raise InputError(f"the argument '{min(unknown)[:40]}' is not known")
    if kwargs.get("preserve_aspect_ratio"):
        raise InputError("a resize that keeps the shape is not converted")
    options = {"size": kwargs.get("size"), "interpolation": kwargs.get("method", "bilinear"),
               "antialias": kwargs.get("antialias", False), "data_format": "channels_last"}  # fmt: skip
    return call(net, "Resize", args, options, {})


SPECIAL = {
    "shape": _shape, "getitem": _item, "matmul": _matmul, "split": _split, "pad": _pad, "einsum": _einsum,
    "add_n": _add_all, "l2_normalize": _length, "argmax": _most,
}  # fmt: skip
