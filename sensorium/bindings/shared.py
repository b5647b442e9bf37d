"""What bindings are made of: what is told, what is found, and the scores that a network answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats import Graph
from sensorium.formats.shared.graph import Input
from sensorium.ops.batches import Arrays

PASSING = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Cast", "QuantizeLinear",
           "DequantizeLinear", "Clip"}  # fmt: skip
# What a network that is not trained any more is told by inputs that are neither picture, sound nor text.
CONSTANTS = {"keep_prob": 1.0, "dropout_keep_prob": 1.0, "keep_probability": 1.0}


@dataclass
class Told:
    """What the caller says: see `sensorium.convert`."""

    labels: Sequence[str] = ()
    size: tuple[int, int] | None = None
    layout: str | None = None
    shapes: Sequence[str] = ()  # names of inputs whose shape was told
    tokenizer: Path | None = None
    padding: str | None = None
    rate: int | None = None
    features: Path | None = None


@dataclass
class Binding:
    """What was found.

    Attributes:
        content: of `bindings.json`.
        config: what `config.json` has to say besides.
        files: further files of the model folder.
        example: a made-up source as the task prepares it, without batch axis.
        size: (height, width) of the picture.
        missing: what has to be told, each with the flag for it.
    """

    content: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    example: Arrays = field(default_factory=dict)
    size: tuple[int, int] | None = None
    missing: list[str] = field(default_factory=list)


def constant(entry: Input, found: Binding, what: str) -> Any:
    """What a further input is given; a missing one where this cannot be known."""
    word = entry.name.removesuffix(":0").split("/")[-1].lower()
    if entry.dtype == np.bool_ and not entry.shape:
        return False  # whether it is being trained
    if word in CONSTANTS and not entry.shape:
        return CONSTANTS[word]
    found.missing.append(f"a value for the input '{entry.name}', which is no {what}; this is not converted for a task")
    return None


def length(graph: Graph, entry: Input, axis: int, told: Told) -> int | None:
    """The size of an axis that a source has to be brought to; None where any will do."""
    return None if axis in graph.free_axes(entry) and entry.name not in told.shapes else entry.shape[axis]


def maker(graph: Graph, value: str) -> Any:
    return next((node for node in graph.nodes if value in node.outputs), None)


def output_shape(graph: Graph, name: str) -> tuple[int, ...] | None:
    """The shape of an output for the example: 0 for a size that is not known; None without even their number."""
    sizes = graph.sizes(graph.outputs[name])
    return None if sizes is None else tuple(n or (0 if axis else 1) for axis, n in enumerate(sizes))


def listed(graph: Graph) -> str:
    """The outputs and their shapes, for messages."""
    shapes = {name: output_shape(graph, name) for name in graph.outputs}
    sizes = {n: "?" if s is None else "[" + ", ".join(str(k or "?") for k in s) + "]" for n, s in shapes.items()}
    return ", ".join(f"{name} {text}" for name, text in sizes.items())


def quantised(graph: Graph, entry: Input) -> dict[str, Any]:
    """Scale and zero point of an input in whole numbers."""
    if entry.dtype.kind not in "iu" or entry.dtype.itemsize > 1:
        return {}
    for node in graph.nodes:
        if node.op == "DequantizeLinear" and node.inputs[0] == entry.name:
            return steps(graph, node.inputs)
    return {}


def steps(graph: Graph, inputs: Sequence[str]) -> dict[str, Any]:
    scale, zero = graph.known(inputs[1]), graph.known(inputs[2]) if len(inputs) > 2 else None
    if scale is None or scale.size != 1:
        return {}
    return {"scale": float(scale.reshape(-1)[0]), "zero_point": int(zero.reshape(-1)[0]) if zero is not None else 0}


def activation(graph: Graph, value: str) -> str:
    """What the network ends with: `softmax`, `sigmoid`, or `none`."""
    for _ in range(32):
        node = maker(graph, value)
        if node is None:
            return "none"
        if node.op in ("Softmax", "Sigmoid", "HardSigmoid"):
            return "softmax" if node.op == "Softmax" else "sigmoid"
        if node.op == "Div":  # exp(x) / sum(exp(x))
            above, below = (maker(graph, name) for name in node.inputs)
            sums = below is not None and below.op == "ReduceSum"
            return "softmax" if above is not None and above.op == "Exp" and sums else "none"
        if node.op not in PASSING:
            return "none"
        value = node.inputs[0]
    return "none"


def output(graph: Graph, name: str) -> dict[str, Any]:
    """How to read an output: its name, and its scale and zero point where it is quantised."""
    value = graph.outputs[name]
    node = maker(graph, value)
    how: dict[str, Any] = {"name": name}
    if node is not None and node.op == "QuantizeLinear" and graph.dtype(value).kind in "iu":
        how |= steps(graph, node.inputs)
    return how


def scores(graph: Graph, told: Told, found: Binding) -> None:
    """The output that has one score for each label."""
    counts = {}
    for name in graph.outputs:
        shape = output_shape(graph, name)
        if shape is not None and len(shape) > 1 and 0 not in shape and sum(n > 1 for n in shape[1:]) <= 1:
            counts[name] = int(np.prod(shape[1:]))
    fitting = {n: c for n, c in counts.items() if c == len(told.labels) or (c == 1 and len(told.labels) == 2)}
    names = list(fitting or counts)
    if len(names) > 1:  # the chances, where the values before them are an output as well
        names = [n for n in names if activation(graph, graph.outputs[n]) != "none"] or names
    if len(names) != 1:
        found.missing.append(f"which output has a score for each label: --outputs NAME, of {listed(graph)}")
    if not told.labels:
        many = f" ({counts[names[0]]} of them)" if len(names) == 1 else ""
        found.missing.append(f"the names of its labels{many}: --labels FILE")
    if len(names) != 1 or not told.labels:
        return
    name, count = names[0], counts[names[0]]
    if name not in fitting:
        hint = "; one more than the labels: is the first a background?" if count == len(told.labels) + 1 else ""
        raise InputError(f"--labels names {len(told.labels)} labels, the output '{name}' has {count} scores{hint}")
    how, last = output(graph, name), ending(graph, name, count, found)
    if count == 1 and len(told.labels) == 2:
        how["binary"] = "chance" if last == "sigmoid" else "logit"
    else:
        how["flat"] = True
    found.content["outputs"] = {"logits": how}


def ending(graph: Graph, name: str, count: int, found: Binding) -> str:
    """What an output of so many scores ends with, and what `config.json` has to say of it."""
    last = activation(graph, graph.outputs[name])
    if last != "none":
        found.config["function_to_apply"] = "none"
        if last == "sigmoid" and count > 1:
            found.config["problem_type"] = "multi_label_classification"
    return last
