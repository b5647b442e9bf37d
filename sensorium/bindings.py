"""How a converted network serves a task: which input is the picture, which output the answer, and in what form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats import Graph
from sensorium.formats.shared.graph import Input

TASKS = ("image-classification", "object-detection", "image-segmentation")
COLOURS = (3, 1)  # numbers of channels that a picture may have, the likeliest first
PASSING = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Cast", "QuantizeLinear",
           "DequantizeLinear", "Clip"}  # fmt: skip
NOTHING = {"background", "__background__", "???", "none_of_the_above"}  # what label files call no object
# What a network that is not trained any more is told by inputs that are no pictures.
CONSTANTS = {"keep_prob": 1.0, "dropout_keep_prob": 1.0, "keep_probability": 1.0}


@dataclass
class Told:
    """What the caller says: see `sensorium.convert`."""

    labels: Sequence[str] = ()
    size: tuple[int, int] | None = None
    layout: str | None = None
    shapes: Sequence[str] = ()  # names of inputs whose shape was told


@dataclass
class Binding:
    """What was found.

    Attributes:
        content: of `bindings.json`.
        config: what `config.json` has to say besides.
        size: (height, width) of the picture.
        missing: what has to be told, each with the flag for it.
    """

    content: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    missing: list[str] = field(default_factory=list)


def find(graph: Graph, task: str, told: Told) -> Binding:
    """The binding of a converted network for a task.

    Raises:
        InputError: something has to be told: everything that is missing, in one line.
    """
    if task not in TASKS:
        raise InputError(
            f"--task {task}: a converted network can serve {', '.join(TASKS)}; leave --task out to convert it as it is"
        )
    found = Binding()
    picture = _picture(graph, told, found)
    others = [i for i in graph.inputs if i is not picture]
    found.content["constants"] = {i.name: _constant(i, found) for i in others}
    if task == "object-detection":
        _detections(graph, told, found)
    elif task == "image-segmentation":
        _map(graph, told, found)
    else:
        _scores(graph, told, found)
    if found.missing:
        raise InputError(f"{task} also needs: " + "; ".join(found.missing))
    found.content = {key: value for key, value in found.content.items() if value}
    return found


def _constant(entry: Input, found: Binding) -> Any:
    word = entry.name.removesuffix(":0").split("/")[-1].lower()
    if entry.dtype == np.bool_ and not entry.shape:
        return False  # whether it is being trained
    if word in CONSTANTS and not entry.shape:
        return CONSTANTS[word]
    found.missing.append(f"a value for the input '{entry.name}', which is no picture; this is not converted for a task")
    return None


# The picture


def _picture(graph: Graph, told: Told, found: Binding) -> Input | None:
    pictures = [i for i in graph.inputs if len(i.shape) == 4]
    flat = [i for i in graph.inputs if len(i.shape) in (2, 3) and i.dtype.kind == "f"]
    entries = pictures or flat
    if len(entries) != 1:
        listed = ", ".join(i.name for i in graph.inputs)
        found.missing.append(f"one input that takes a picture; this network has {listed}")
        return None
    entry = entries[0]
    how: dict[str, Any] = {"name": entry.name}
    size = told.size or graph.preprocessing.get("size")
    if pictures:
        layout = told.layout or graph.preprocessing.get("layout") or _layout(entry)
        if layout is None:
            found.missing.append(f"the order of axes of '{entry.name}' {list(entry.shape)}: --layout NCHW or NHWC")
            return entry
        height, width, channels = (1, 2, 3) if layout == "NHWC" else (2, 3, 1)
        free = graph.free_axes(entry)
        told_all = entry.name in told.shapes
        fixed = (
            None if (height in free or width in free) and not told_all else (entry.shape[height], entry.shape[width])
        )
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
    found.content["inputs"] = {"pixel_values": how | _quantised(graph, entry)}
    return entry


def _layout(entry: Input) -> str | None:
    for count in COLOURS:
        if (entry.shape[1] == count) != (entry.shape[3] == count):
            return "NCHW" if entry.shape[1] == count else "NHWC"
    return None


def _quantised(graph: Graph, entry: Input) -> dict[str, Any]:
    """Scale and zero point of an input in whole numbers."""
    if entry.dtype.kind not in "iu" or entry.dtype.itemsize > 1:
        return {}
    for node in graph.nodes:
        if node.op == "DequantizeLinear" and node.inputs[0] == entry.name:
            return _steps(graph, node.inputs)
    return {}


def _steps(graph: Graph, inputs: Sequence[str]) -> dict[str, Any]:
    scale, zero = graph.known(inputs[1]), graph.known(inputs[2]) if len(inputs) > 2 else None
    if scale is None or scale.size != 1:
        return {}
    return {"scale": float(scale.reshape(-1)[0]), "zero_point": int(zero.reshape(-1)[0]) if zero is not None else 0}


# The answer


def _maker(graph: Graph, value: str) -> Any:
    return next((node for node in graph.nodes if value in node.outputs), None)


def activation(graph: Graph, value: str) -> str:
    """What the network ends with: `softmax`, `sigmoid`, or `none`."""
    for _ in range(32):
        node = _maker(graph, value)
        if node is None:
            return "none"
        if node.op in ("Softmax", "Sigmoid", "HardSigmoid"):
            return "softmax" if node.op == "Softmax" else "sigmoid"
        if node.op == "Div":  # exp(x) / sum(exp(x))
            above, below = (_maker(graph, name) for name in node.inputs)
            sums = below is not None and below.op == "ReduceSum"
            return "softmax" if above is not None and above.op == "Exp" and sums else "none"
        if node.op not in PASSING:
            return "none"
        value = node.inputs[0]
    return "none"


def _output(graph: Graph, name: str) -> dict[str, Any]:
    """How to read an output: its name, and its scale and zero point where it is quantised."""
    value = graph.outputs[name]
    node = _maker(graph, value)
    how: dict[str, Any] = {"name": name}
    if node is not None and node.op == "QuantizeLinear" and graph.dtype(value).kind in "iu":
        how |= _steps(graph, node.inputs)
    return how


def _shape(graph: Graph, name: str) -> tuple[int, ...] | None:
    return graph.find_shape(graph.outputs[name])


def _scores(graph: Graph, told: Told, found: Binding) -> None:
    counts = {}
    for name in graph.outputs:
        shape = _shape(graph, name)
        if shape is not None and len(shape) > 1 and sum(n > 1 for n in shape[1:]) <= 1:
            counts[name] = int(np.prod(shape[1:]))
    fitting = {n: c for n, c in counts.items() if c == len(told.labels) or (c == 1 and len(told.labels) == 2)}
    names = list(fitting or counts)
    if len(names) > 1:  # the chances, where the values before them are an output as well
        names = [n for n in names if activation(graph, graph.outputs[n]) != "none"] or names
    if len(names) != 1:
        listed = ", ".join(f"{n} {list(_shape(graph, n) or ['?'])}" for n in graph.outputs)
        found.missing.append(f"which output has a score for each label: --outputs NAME, of {listed}")
    if not told.labels:
        many = f" ({counts[names[0]]} of them)" if len(names) == 1 else ""
        found.missing.append(f"the names of its labels{many}: --labels FILE")
    if len(names) != 1 or not told.labels:
        return
    name, count = names[0], counts[names[0]]
    if name not in fitting:
        hint = "; one more than the labels: is the first a background?" if count == len(told.labels) + 1 else ""
        raise InputError(f"--labels names {len(told.labels)} labels, the output '{name}' has {count} scores{hint}")
    how, last = _output(graph, name), activation(graph, graph.outputs[name])
    if count == 1 and len(told.labels) == 2:
        how["binary"] = "chance" if last == "sigmoid" else "logit"
    else:
        how["flat"] = True
    if last != "none":
        found.config["function_to_apply"] = "none"
        if last == "sigmoid" and count > 1:
            found.config["problem_type"] = "multi_label_classification"
    found.content["outputs"] = {"logits": how}


def _map(graph: Graph, told: Told, found: Binding) -> None:
    """A score for each class at each pixel."""
    fitting: dict[str, str] = {}
    for name in graph.outputs:
        shape = _shape(graph, name)
        if shape is not None and len(shape) == 4:
            for layout, axis in (("NCHW", 1), ("NHWC", 3)):
                if not told.labels or shape[axis] == len(told.labels):
                    fitting.setdefault(name, layout)
    if len(fitting) != 1:
        listed = ", ".join(f"{n} {list(_shape(graph, n) or ['?'])}" for n in graph.outputs)
        found.missing.append(f"which output has a score for each label and pixel: --outputs NAME, of {listed}")
    if not told.labels:
        found.missing.append("the names of its labels: --labels FILE")
    if len(fitting) == 1 and told.labels:
        ((name, layout),) = fitting.items()
        found.content["outputs"] = {"logits": _output(graph, name) | {"layout": layout}}


def _detections(graph: Graph, told: Told, found: Binding) -> None:
    shapes = {name: _shape(graph, name) or () for name in graph.outputs}
    labels = list(told.labels)
    if not labels:
        found.missing.append("the names of its labels: --labels FILE")
    if labels and labels[0].lower() in NOTHING:  # no answer, whether it is counted or not
        labels = labels[1:]
    how: dict[str, Any] | None = None
    sevens = [n for n, s in shapes.items() if len(s) == 4 and s[-1] == 7 and s[:2] == (1, 1)] or [
        n for n, s in shapes.items() if not s and _maker_text(graph, n) == "Concat"]  # fmt: skip
    sixes = [n for n, s in shapes.items() if len(s) == 3 and s[-1] == 6]
    lists = _lists(graph, shapes)
    if "boxes" in shapes and "scores" in shapes and len(shapes["scores"]) == 3:
        how = {"form": "grid", "names": {"boxes": "boxes", "scores": "scores"}}
        if labels and shapes["scores"][2] != len(labels):
            raise InputError(f"--labels names {len(labels)} labels, the network knows {shapes['scores'][2]}")
    elif lists:
        how = {"form": "lists", "names": lists, "first": 1 if "detection_classes" in lists["classes"] else 0}
    elif len(sevens) == 1:
        how = {"form": "ssd", "names": {"found": sevens[0]}, "first": 1}
    elif len(sixes) == 1:
        how = {"form": "multibox", "names": {"found": sixes[0]}}
    if how is None:
        listed = ", ".join(f"{n} {list(s) or '?'}" for n, s in shapes.items())
        found.missing.append(
            "outputs that are those of SSD (Caffe, MXNet), TensorFlow's detection API or Darknet's YOLO; "
            f"this network has {listed}"
        )
        return
    found.config["labels"] = labels
    found.content["detections"] = how | {"classes": len(labels)}


def _maker_text(graph: Graph, name: str) -> str:
    node = _maker(graph, graph.outputs[name])
    return node.op if node is not None else ""


def _lists(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str] | None:
    """Boxes, classes, scores and their number, by name, by what makes them, or in the order that TFLite has."""
    boxes = [n for n, s in shapes.items() if len(s) == 3 and s[-1] == 4 and "raw" not in n]
    flat = [n for n, s in shapes.items() if len(s) == 2]
    if len(boxes) != 1 or len(flat) < 2:
        return None
    whole = [n for n in flat if _maker_text(graph, n) == "Cast"]  # classes were whole numbers
    kinds = [n for n in flat if "class" in n] or (whole if len(whole) == 1 else flat[:1])
    scores = [n for n in flat if "score" in n and n not in kinds] or [n for n in flat if n not in kinds][:1]
    counts = [n for n, s in shapes.items() if len(s) <= 1 and n not in (*kinds, *scores)]
    if len(kinds) != 1 or len(scores) != 1:
        return None
    return {"boxes": boxes[0], "classes": kinds[0], "scores": scores[0]} | ({"count": counts[0]} if counts else {})
