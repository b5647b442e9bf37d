"""Which input of a converted network is the picture, and in what form."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.bindings.shared import Binding, Told, length, listed, output, output_shape, quantised
from sensorium.errors import InputError
from sensorium.formats import Graph
from sensorium.formats.shared.graph import Input

COLOURS = (3, 1)  # numbers of channels that a picture may have, the likeliest first


def bind(graph: Graph, told: Told, found: Binding) -> list[str]:
    """The input that takes the picture, by name; empty where there is not one."""
    pictures = [i for i in graph.inputs if len(i.shape) == 4]
    flat = [i for i in graph.inputs if len(i.shape) in (2, 3) and i.dtype.kind == "f"]
    entries = pictures or flat
    if len(entries) != 1:
        listed = ", ".join(i.name for i in graph.inputs)
        found.missing.append(f"one input that takes a picture; this network has {listed}")
        return []
    entry = entries[0]
    how: dict[str, Any] = {"name": entry.name}
    size = told.size or graph.preprocessing.get("size")
    if pictures:
        layout = told.layout or graph.preprocessing.get("layout") or _layout(entry)
        if layout is None:
            found.missing.append(f"the order of axes of '{entry.name}' {list(entry.shape)}: --layout NCHW or NHWC")
            return [entry.name]
        height, width, channels = (1, 2, 3) if layout == "NHWC" else (2, 3, 1)
        sides = length(graph, entry, height, told), length(graph, entry, width, told)
        fixed = (sides[0], sides[1]) if sides[0] and sides[1] else None
        if fixed and size and tuple(size) != fixed:
            raise InputError(f"--image-size {size[0]}x{size[1]}: '{entry.name}' takes {fixed[0]}x{fixed[1]}")
        size, count = fixed or size, entry.shape[channels]
        how |= {"layout": layout} | ({"channels": 1} if count == 1 else {})
    else:
        count = 0
        if len(entry.shape) == 3:
            size = entry.shape[1:]
            how |= {"layout": "NCHW", "channels": 1, "squeeze": True, "size": list(size)}
        elif size is not None:
            count = entry.shape[1] // (size[0] * size[1])
            if count not in (1, 3) or count * size[0] * size[1] != entry.shape[1]:
                raise InputError(f"--image-size {size[0]}x{size[1]} does not fit the {entry.shape[1]} values it takes")
            how |= {"layout": told.layout or ("NCHW" if count == 1 else "NHWC"), "flat": True, "size": list(size)}
            how |= {"channels": 1} if count == 1 else {}
    if size is None:
        found.missing.append("the size of its pictures: --image-size HxW")
    elif count not in (0, 1, 3):
        found.missing.append(f"pictures of {count} channels, which no file of a picture has")
    found.size = (int(size[0]), int(size[1])) if size is not None else None
    found.content["inputs"] = {"pixel_values": how | quantised(graph, entry)}
    found.example = {"pixel_values": np.random.default_rng(0).random((3, *(found.size or (1, 1))), np.float32)}
    return [entry.name]


def _layout(entry: Input) -> str | None:
    for count in COLOURS:
        if (entry.shape[1] == count) != (entry.shape[3] == count):
            return "NCHW" if entry.shape[1] == count else "NHWC"
    return None


def segmentation(graph: Graph, told: Told, found: Binding) -> None:
    """A score for each class at each pixel."""
    fitting: dict[str, str] = {}
    for name in graph.outputs:
        shape = output_shape(graph, name)
        if shape is not None and len(shape) == 4:
            for layout, axis in (("NCHW", 1), ("NHWC", 3)):
                if not told.labels or shape[axis] == len(told.labels):
                    fitting.setdefault(name, layout)
    if len(fitting) != 1:
        found.missing.append(f"which output has a score for each label and pixel: --outputs NAME, of {listed(graph)}")
    if not told.labels:
        found.missing.append("the names of its labels: --labels FILE")
    if len(fitting) == 1 and told.labels:
        ((name, layout),) = fitting.items()
        found.content["outputs"] = {"logits": output(graph, name) | {"layout": layout}}
