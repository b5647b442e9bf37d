"""What CNTK's operations are asked for: attributes of the right type, and static axes.

Axes count from the fastest one: axis i of a static shape is axis -1-i of the array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.cntk import network as cn
from sensorium.formats.cntk.build import Builder, Value
from sensorium.formats.cntk.network import Axis, Function

Handler = Callable[[Builder, Function, list[Value]], Any]


def given(f: Function, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """An attribute of the right type; without a default it has to be there."""
    value = f.attributes.get(name, default)
    if value is None or not isinstance(value, kind):
        raise InputError(f"its attribute '{name}' is missing or not of the right kind")
    return value


def static_axis(f: Function, axis: Any, rank: int) -> int:
    """The number of a static axis; negative ones count from the slowest."""
    if not isinstance(axis, Axis) or not -cn.RANK <= axis.index <= cn.RANK:
        name = axis.name if isinstance(axis, Axis) else axis
        raise InputError(f"does not work along a static axis ('{name}')")
    return axis.index + rank if axis.index < 0 else axis.index


def position(b: Builder, value: Value, axis: int) -> int:
    """Where a static axis lies in the array."""
    rank = len(b.static(value))
    if not 0 <= axis < rank:
        raise InputError(f"axis {axis} of a value of {rank} axes")
    return value.dynamic + rank - 1 - axis
