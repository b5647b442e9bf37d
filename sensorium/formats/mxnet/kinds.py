"""Types of MXNet's arrays; floating point is always float32 here."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.formats.mxnet.call import Call

ZEROS = 1 << 24  # elements of an array that only a shape describes


TYPES = {"float32": np.float32, "float64": np.float32, "float16": np.float32, "uint8": np.uint8, "int32": np.int32,
    "int8": np.int8, "int64": np.int64, "bool": np.bool_}  # fmt: skip


def kind_of(call: Call, key: str = "dtype", default: str = "float32") -> Any:
    """A type; floating point is always float32 here."""
    name = call.text(key, default)
    if name not in TYPES:
        raise call.fault(f"{key}={name[:20]} is not supported")
    if name in ("float16", "float64"):
        call.graph.notes.append(f"layer '{call.name}': computed in float32 instead of {name}")
    return TYPES[name]
