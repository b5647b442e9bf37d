"""A network whose inputs and outputs have names and forms of their own, as the task knows them.

A converted network keeps what its framework called things, while a task prepares `pixel_values` and reads `logits`.
`bindings.json` in the folder says which is which:

    {"inputs": {"pixel_values": {"name": "input_1:0", "layout": "NHWC"}},
     "outputs": {"logits": {"name": "dense/Softmax:0"}},
     "constants": {"is_training:0": false}}

An input may besides have `channels` (1: grey), `size` (height and width of a picture that the network takes as a
list, or flat), `flat`, and `scale` and `zero_point` (of a quantised input); an output `scale` and `zero_point`,
`layout`, and `binary` (one chance, of the second of two labels). A detector has `detections` in place of outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import files
from sensorium.errors import InputError
from sensorium.nets.openvino import OpenVinoNet
from sensorium.nets.ort import Arrays, OrtNet
from sensorium.ops import boxes as box_ops

FILE = "bindings.json"
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue, as Pillow has it


class BoundNet:
    """A network behind other names.

    Attributes:
        inputs: name to (shape, dtype), as the task prepares them; `outputs` names.

    Raises:
        InputError: the binding names what the network does not have.
    """

    def __init__(self, net: OrtNet | OpenVinoNet, binding: Mapping[str, Any]) -> None:
        self.net = net
        self.path = net.path
        self._inputs: dict[str, dict[str, Any]] = dict(binding.get("inputs") or {})
        self._outputs: dict[str, dict[str, Any]] = dict(binding.get("outputs") or {})
        self._detections: dict[str, Any] | None = binding.get("detections")
        self._constants: dict[str, Any] = dict(binding.get("constants") or {})
        wanted = [i["name"] for i in self._inputs.values()] + list(self._constants)
        given = [o["name"] for o in self._outputs.values()] + list((self._detections or {}).get("names", {}).values())
        for name, has in [(n, net.inputs) for n in wanted] + [(n, net.outputs) for n in given]:
            if name not in has:
                raise InputError(f"{FILE}: {net.path.name} has no '{name}'; it has {', '.join(has)}")
        self.inputs: dict[str, tuple[list[Any], Any]] = {
            name: (_as_prepared(net.inputs[how["name"]][0], how), np.float32 if "layout" in how else np.int64)
            for name, how in self._inputs.items()
        }
        self.outputs = ["logits", "pred_boxes"] if self._detections else list(self._outputs)

    def __call__(self, feeds: Arrays) -> Arrays:
        missing = [name for name in self._inputs if name not in feeds]
        if missing:
            raise InputError(f"{self.path.name} needs the input '{missing[0]}', which this task does not prepare")
        return self.answers(self.net(self.feeds(feeds)), len(next(iter(feeds.values()))))

    def feeds(self, prepared: Arrays) -> Arrays:
        """What the network itself takes."""
        found: Arrays = {}
        for name, how in self._inputs.items():
            array = prepared[name]
            if "layout" in how:
                array = _picture(array, how)
            if "scale" in how:
                limits = np.iinfo(self.net.inputs[how["name"]][1])
                steps = np.rint(array / np.float32(how["scale"])) + how.get("zero_point", 0)
                array = np.clip(steps, limits.min, limits.max)
            found[how["name"]] = array
        for name, value in self._constants.items():
            found[name] = np.array(value)
        return found

    def answers(self, given: Arrays, count: int) -> Arrays:
        """What the task reads, of this many examples."""
        if self._detections:
            return detections(self._detections, given, count)
        found: Arrays = {}
        for name, how in self._outputs.items():
            array = given[how["name"]]
            if "scale" in how:
                array = (array.astype(np.float32) - how.get("zero_point", 0)) * np.float32(how["scale"])
            if how.get("flat") or how.get("binary"):
                array = array.reshape(len(array), -1)
            if how.get("layout") == "NHWC":
                array = np.moveaxis(array, -1, 1)
            if how.get("binary") == "chance":
                array = np.concatenate([1 - array, array], 1)
            elif how.get("binary"):
                array = np.concatenate([np.zeros_like(array), array], 1)
            found[name] = array
        return found


def _as_prepared(shape: list[Any], how: Mapping[str, Any]) -> list[Any]:
    if "layout" not in how:
        return shape
    if how.get("size"):
        return [shape[0], 3, *how["size"]]
    sides = shape[1:3] if how["layout"] == "NHWC" else shape[2:4]
    return [shape[0], 3, *sides]


def _picture(array: np.ndarray, how: Mapping[str, Any]) -> np.ndarray:
    """(N, 3, H, W) as the network takes pictures."""
    if how.get("channels", 3) == 1:
        array = np.tensordot(array, GREY, (1, 0))[:, None]
    if how["layout"] == "NHWC":
        array = np.moveaxis(array, 1, -1)
    if how.get("flat"):
        return array.reshape(len(array), -1)
    if how.get("squeeze"):  # (N, H, W)
        return array.reshape(len(array), *how["size"])
    return array


def read(folder: Path) -> dict[str, Any]:
    """The bindings of a folder; empty where it has none.

    Raises:
        InputError: the file does not hold what it should.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    found = files.read_json(path)
    tables = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(t, dict) for t in tables) or not all(
        isinstance(how, dict) and isinstance(how.get("name"), str)
        for key in ("inputs", "outputs")
        for how in found.get(key, {}).values()
    ):
        raise InputError(f"{path}: should hold objects: inputs, outputs, constants, each name with its own")
    return dict(found)


# Detectors


def detections(how: Mapping[str, Any], given: Arrays, count: int) -> Arrays:
    """Scores and boxes of a detector's own form: `logits` (N, Q, C), which are scores, and `pred_boxes` (N, Q, 4).

    Forms (`how["form"]`), boxes as shares of the picture:

    - `ssd`: (1, 1, N, 7) rows of picture, label, score and corners, as Caffe's DetectionOutput gives them.
    - `multibox`: (N, Q, 6) rows of label, score and corners, as MXNet's MultiBoxDetection does; label -1 is none.
    - `lists`: boxes (N, Q, 4) as top, left, bottom, right; classes and scores (N, Q); count (N,): TensorFlow, TFLite.
    - `grid`: boxes (N, Q, 4) corners and scores (N, Q, C) before suppression, as YOLO does.
    """
    names, classes, first = how["names"], int(how["classes"]), int(how.get("first", 0))
    if how["form"] == "grid":
        boxes, scores = given[names["boxes"]], given[names["scores"]].astype(np.float32)
        kept = [suppress(b, s, float(how.get("overlap", 0.45)), float(how.get("least", 0.005)))
                for b, s in zip(boxes, scores)]  # fmt: skip
        return _together([(boxes[i][rows], scores) for i, (rows, scores) in enumerate(kept)], classes)
    pictures = []
    if how["form"] == "ssd":
        rows = given[names["found"]].reshape(-1, 7)
        for i in range(count):
            own = rows[(rows[:, 0] == i) & (rows[:, 1] >= 0)]
            pictures.append((own[:, 3:7], _spread(own[:, 1] - first, own[:, 2], classes)))
    elif how["form"] == "multibox":
        for rows in given[names["found"]]:
            own = rows[rows[:, 0] >= 0]
            pictures.append((own[:, 2:6], _spread(own[:, 0] - first, own[:, 1], classes)))
    else:
        boxes, kinds, scores = (given[names[k]] for k in ("boxes", "classes", "scores"))
        counts = given[names["count"]].reshape(-1) if "count" in names else np.full(len(boxes), boxes.shape[1])
        for box, kind, score, live in zip(boxes, kinds, scores, counts.astype(int)):
            corners = box[:live][:, [1, 0, 3, 2]]
            pictures.append((corners, _spread(kind[:live] - first, score[:live], classes)))
    return _together(pictures, classes)


def _spread(kinds: np.ndarray, scores: np.ndarray, classes: int) -> np.ndarray:
    """Scores (Q, C) of rows with one class each; a class that is not known scores nothing."""
    found = np.zeros((len(kinds), classes), np.float32)
    numbers = kinds.astype(int)
    known = (numbers >= 0) & (numbers < classes)
    found[np.flatnonzero(known), numbers[known]] = scores[known]
    return found


def _together(pictures: list[tuple[np.ndarray, np.ndarray]], classes: int) -> Arrays:
    """Pictures with their boxes, filled up to the same number with boxes that score nothing."""
    most = max(1, *(len(boxes) for boxes, _ in pictures))
    corners = np.zeros((len(pictures), most, 4), np.float32)
    scores = np.zeros((len(pictures), most, classes), np.float32)
    for i, (box, score) in enumerate(pictures):
        corners[i, : len(box)], scores[i, : len(box)] = box, score
    return {"logits": scores, "pred_boxes": box_ops.to_centres(corners)}


def suppress(
    boxes: np.ndarray, scores: np.ndarray, overlap: float, least: float, most: int = 300
) -> tuple[np.ndarray, np.ndarray]:
    """Non-maximum suppression for each class.

    Args:
        boxes: (Q, 4) corners; scores: (Q, C).
        overlap: of two boxes of a class that overlap by more, the better one stays.
        least: scores below are not looked at.

    Returns:
        Numbers of the boxes where something stayed, and their scores (K, C), 0 for classes that did not.
    """
    stays = np.zeros_like(scores)
    for kind in range(scores.shape[1]):
        order = np.flatnonzero(scores[:, kind] >= least)
        order = order[np.argsort(-scores[order, kind], kind="stable")][: 4 * most]
        while len(order):
            best, order = order[0], order[1:]
            stays[best, kind] = scores[best, kind]
            order = order[box_ops.iou(boxes[best][None], boxes[order])[0] <= overlap]
    rows = np.flatnonzero(stays.any(1))
    rows = rows[np.argsort(-stays[rows].max(1), kind="stable")][:most]
    return rows, stays[rows]
