"""What the layers of Keras ask of their inputs: one of them, the place of the channels, the axes of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.formats.shared.keras.base import Layer, Net, Value

Extra = Mapping[str, Any]


def one(part: Layer, inputs: list[Value]) -> Value:
    if len(inputs) != 1:
        raise part.fault(f"takes one input, not {len(inputs)}")
    return inputs[0]


def channels_first(net: Net, part: Layer, axes: int = 2) -> bool:
    default = net.dialect.data_format if axes > 1 else "channels_last"
    return part.choice("data_format", default, "channels_last", "channels_first") == "channels_first"


def spatial_axes(net: Net, part: Layer, x: Value, axes: int) -> list[int]:
    if net.rank(x) != axes + 2:
        raise part.fault(f"takes an input of {axes + 2} axes, not {net.rank(x)}")
    return list(range(2, axes + 2) if channels_first(net, part, axes) else range(1, axes + 1))
