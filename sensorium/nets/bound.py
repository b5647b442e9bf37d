"""A network whose inputs and outputs have names and forms of their own, as the task knows them.

A converted network keeps what its framework called things, while a task prepares `pixel_values` and reads `logits`.
`bindings.json` in the folder says which is which:

    {"inputs": {"pixel_values": {"name": "input_1:0", "layout": "NHWC"}},
     "outputs": {"logits": {"name": "dense/Softmax:0"}},
     "constants": {"is_training:0": false}}

A picture may besides have `channels` (1: grey), `size` (height and width of a picture that the network takes as a
list, or flat) and `flat`. A text or a sound may have `length`, to which it is filled up with `fill` or cut at its
`side` (`left` or `right`); a sound the letters of its axes, `from` as prepared and `axes` as the network takes them: N
(without it the network takes one sound at a time), T (time), F (bands), 1. An input that is the `count` of tokens is
made here. Any input may be quantised, with `scale` and `zero_point`; an output too. It may have a `layout`, be `binary`
(one chance, of the second of two labels), or the `mean` of the scores of parts. A detector has `detections` in place of
outputs.
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
FLOATS = {"layout", "axes"}  # entries of what is measured: pictures and sounds
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
        self.pieces = getattr(net, "pieces", False)
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
            name: (_as_prepared(net.inputs[how["name"]][0], how), np.float32 if FLOATS & set(how) else np.int64)
            for name, how in self._inputs.items()
            if not how.get("count")
        }
        self._single = any("N" not in how.get("axes", "N") for how in self._inputs.values())
        self.outputs = ["logits", "pred_boxes"] if self._detections else list(self._outputs)

    def __call__(self, feeds: Arrays) -> Arrays:
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise InputError(f"{self.path.name} needs the input '{missing[0]}', which this task does not prepare")
        count = len(next(iter(feeds.values())))
        if self._single and count > 1:
            each = [self({name: array[i : i + 1] for name, array in feeds.items()}) for i in range(count)]
            return {name: np.concatenate([one[name] for one in each]) for name in each[0]}
        return self.answers(self.net(self.feeds(feeds)), count)

    def feeds(self, prepared: Arrays) -> Arrays:
        """What the network itself takes."""
        found: Arrays = {}
        for name, how in self._inputs.items():
            if how.get("count"):
                found[how["name"]] = prepared["attention_mask"].sum(1)
                continue
            array = prepared[name]
            if "layout" in how:
                array = _picture(array, how)
            elif {"length", "axes"} & set(how):
                array = _sequence(array, how)
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
            if how.get("mean"):
                array = array.reshape(count, -1, array.shape[-1]).mean(1)
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
    if "axes" in how:
        sizes = dict(zip(how["axes"], shape)) | {"T": None, "1": 1}
        return [sizes.get(letter, 1) for letter in how["from"]]
    if "layout" not in how:
        return [*shape[:1], *([None] if "length" in how else shape[1:])]
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


def _sequence(array: np.ndarray, how: Mapping[str, Any]) -> np.ndarray:
    """A batch of texts or sounds, as long and along the axes as the network takes them."""
    letters, axes = how.get("from", "NT"), how.get("axes", "NT")
    time = letters.index("T")
    if "length" in how:
        lack, left = int(how["length"]) - array.shape[time], how.get("side") == "left"
        if lack > 0:
            around = [(0, 0)] * array.ndim
            around[time] = (lack, 0) if left else (0, lack)
            array = np.pad(array, around, constant_values=np.array(how["fill"], array.dtype))
        elif lack < 0:
            array = array.take(range(-lack, array.shape[time]) if left else range(how["length"]), time)
    array = array.reshape([n for n, letter in zip(array.shape, letters) if letter != "1"])
    order = letters.replace("1", "")
    if "N" not in axes:
        array, order = array[0], order.replace("N", "")
    array = array.transpose([order.index(letter) for letter in axes if letter != "1"])
    return np.expand_dims(array, tuple(i for i, letter in enumerate(axes) if letter == "1"))


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
