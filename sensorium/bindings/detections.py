"""Which outputs of a converted network are those of a detector, and of which kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.bindings.shared import Binding, Told, listed, maker, output_shape
from sensorium.errors import InputError
from sensorium.formats import Graph

NOTHING = {"background", "__background__", "???", "none_of_the_above"}  # what label files call no object


def bind(graph: Graph, told: Told, found: Binding) -> None:
    shapes = {name: output_shape(graph, name) or () for name in graph.outputs}
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
        found.missing.append(
            "outputs that are those of SSD (Caffe, MXNet), TensorFlow's detection API or Darknet's YOLO; "
            f"this network has {listed(graph)}"
        )
        return
    found.config["labels"] = labels
    found.content["detections"] = how | {"classes": len(labels)}


def _maker_text(graph: Graph, name: str) -> str:
    node = maker(graph, graph.outputs[name])
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
