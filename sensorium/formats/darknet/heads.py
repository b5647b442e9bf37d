"""Darknet's layers that find boxes: what they answer, and the boxes decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.formats.darknet.sections import Section
from sensorium.formats.darknet.state import CHANNELS, State


def _split(s: State, section: Section, boxes: int, classes: int, coordinates: int = 4) -> tuple[str, ...]:
    """Place, size, further coordinates ("" for none), objectness and classes (batch, boxes, values, height, width)."""
    g, channels = s.graph, s.shape()[1]
    values = coordinates + 1 + classes
    if len(s.shape()) != 4 or channels != boxes * values:
        raise section.fault(f"{boxes} boxes of {values} values do not fit {channels} channels")
    size = g.add("Concat", g.ints(0, boxes, values), g.add("Shape", s.x, start=2, end=4), axis=0)
    parts = [2, 2, *([coordinates - 4] if coordinates > 4 else []), 1, classes]
    found = g.add("Split", g.add("Reshape", s.x, size), g.ints(*parts), outputs=len(parts), axis=2)
    return tuple(found) if coordinates > 4 else (*found[:2], "", *found[2:])


def _decode(s: State, parts: Sequence[str], anchors: np.ndarray, of_input: bool, square: bool = False) -> None:
    """Corners in 0..1 of the picture, and scores (objectness times class), for all boxes of a head.

    Args:
        parts: place (0..1 in its cell), size, objectness and classes, as `_split` has them.
        anchors: (boxes, 2) widths and heights.
        of_input: whether anchors are pixels of the network's input; else cells.
        square: whether sizes are (2 * value)^2 anchors instead of e^value.
    """
    g, ints = s.graph, s.graph.ints
    place, size, objectness, classes = parts
    cells = g.add("Cast", g.add("Shape", s.x, start=2, end=4), to=1)  # height, width
    zero, one = g.constant(np.float32(0)), g.constant(np.float32(1))
    grids, scales = [], []
    for axis, shape in ((1, (1, 1, 1, 1, -1)), (0, (1, 1, 1, -1, 1))):
        count = g.add("Gather", cells, g.constant(np.int64(axis)))
        line = g.add("Range", zero, count, one)
        g.tell(line, (s.shape()[2 + axis],))
        grids.append(g.add("Reshape", line, ints(*shape)))
        scales.append(count)
    inputs = g.add("Cast", g.add("Shape", g.inputs[0].name, start=2, end=4), to=1)
    corners: list[list[str]] = [[], []]
    for i in (0, 1):
        centre = g.add("Slice", place, ints(i), ints(i + 1), ints(2))
        centre = g.add("Div", g.add("Add", centre, grids[i]), scales[i])
        side = g.add("Slice", size, ints(i), ints(i + 1), ints(2))
        if square:
            side = g.add("Mul", g.add("Mul", side, side), g.constant(np.float32(4)))
        else:
            side = g.add("Exp", side)
        side = g.add("Mul", side, g.constant(anchors[:, i].astype(np.float32).reshape(1, -1, 1, 1, 1), "anchors"))
        whole = g.add("Gather", inputs, g.constant(np.int64(1 - i))) if of_input else scales[i]
        half = g.add("Mul", g.add("Div", side, whole), g.constant(np.float32(0.5)))
        corners[0].append(g.add("Sub", centre, half))
        corners[1].append(g.add("Add", centre, half))
    box = g.add("Concat", *corners[0], *corners[1], axis=2)
    for found, value, width in (
        (s.boxes, box, 4),
        (s.scores, g.add("Mul", classes, objectness), g.shape(classes)[2]),
    ):
        value = g.add("Transpose", value, perm=[0, 1, 3, 4, 2])
        found.append(g.add("Reshape", value, ints(0, -1, width)))


def yolo(s: State, section: Section) -> str:
    """As Darknet's own layer answers: x, y, objectness and classes through the logistic function; w, h as they are."""
    classes, g = section.whole("classes", 20, 1, CHANNELS), s.graph
    mask = [int(m) for m in section.numbers("mask")] or list(range(section.whole("num", 1, 1, 1000)))
    place, size, _, objectness, rest = _split(s, section, len(mask), classes)
    anchors = section.numbers("anchors")
    new = bool(section.whole("new_coords"))
    if not new:  # else the convolution before has gone through the logistic function already
        place, objectness, rest = (g.add("Sigmoid", v) for v in (place, objectness, rest))
    factor = section.number_of("scale_x_y", 1.0)
    if factor != 1:
        place = g.add("Mul", place, g.constant(np.float32(factor)))
        place = g.add("Sub", place, g.constant(np.float32((factor - 1) / 2)))
    if anchors:
        if len(anchors) < 2 * (max(mask) + 1) or min(mask) < 0:
            raise section.fault(f"the mask {mask[:20]} goes beyond its {len(anchors) // 2} anchors")
        pairs = np.array(anchors[: len(anchors) // 2 * 2]).reshape(-1, 2)[mask]
        _decode(s, (place, size, objectness, rest), pairs, True, new)
    whole = g.add("Concat", place, size, objectness, rest, axis=2)
    return str(g.add("Reshape", whole, g.add("Shape", s.x)))


def region(s: State, section: Section) -> str:
    """As Darknet's own layer answers: x, y and objectness through the logistic function, classes through softmax.

    With a `background`, the place of objectness holds its score, one of the softmax's.
    """
    classes, boxes, g = section.whole("classes", 20, 1, CHANNELS), section.whole("num", 1, 1, 1000), s.graph
    coordinates, background = section.whole("coords", 4, 4, CHANNELS), bool(section.whole("background"))
    if section.settings.get("tree"):
        raise section.fault("unsupported: a tree of classes")
    place, size, more, objectness, rest = _split(s, section, boxes, classes, coordinates)
    place, soft = g.add("Sigmoid", place), section.whole("softmax")
    if background and soft:
        every = g.add("Softmax", g.add("Concat", objectness, rest, axis=2), axis=2)
        objectness, rest = g.add("Split", every, g.ints(1, classes), outputs=2, axis=2)
    else:
        objectness = objectness if background else g.add("Sigmoid", objectness)
        rest = g.add("Softmax", rest, axis=2) if soft else g.add("Sigmoid", rest)
    anchors = section.numbers("anchors")
    if anchors:
        if len(anchors) < 2 * boxes:
            raise section.fault(f"{len(anchors) // 2} anchors for {boxes} boxes")
        parts = (place, size, g.constant(np.float32(1)) if background else objectness, rest)
        _decode(s, parts, np.array(anchors[: 2 * boxes]).reshape(-1, 2), False)
    whole = g.add("Concat", place, size, *([more] if more else []), objectness, rest, axis=2)
    return str(g.add("Reshape", whole, g.add("Shape", s.x)))


def detection(s: State, section: Section) -> str:
    """The head of YOLO v1: classes of every cell, objectness of its boxes, then their x, y, width and height."""
    g, ints = s.graph, s.graph.ints
    classes, count = section.whole("classes", 1, 1, CHANNELS), section.whole("num", 1, 1, 1000)
    side, coordinates = section.whole("side", 7, 1, 1000), section.whole("coords", 1, 1, CHANNELS)
    cells = side * side
    shape = s.shape()
    if int(np.prod(shape[1:])) != cells * ((1 + coordinates) * count + classes):
        raise section.fault(f"{count} boxes and {classes} classes in {side} by {side} cells do not fit its input")
    if len(shape) > 2:
        g.pin("height", "width")
    x = g.add("Flatten", s.x, axis=1)
    labels, objectness, places = g.add(
        "Split", x, ints(cells * classes, cells * count, cells * count * coordinates), outputs=3, axis=1
    )
    labels = g.add("Reshape", labels, ints(0, cells, classes))
    if section.whole("softmax"):
        labels = g.add("Softmax", labels, axis=2)
    if coordinates == 4:
        box = g.add("Reshape", places, ints(0, cells, count, 4))
        centre, size = g.add("Split", box, ints(2, 2), outputs=2, axis=3)
        rows, columns = np.divmod(np.arange(cells, dtype=np.float32), np.float32(side))
        centre = g.add("Add", centre, g.constant(np.stack([columns, rows], -1).reshape(cells, 1, 2), "cells"))
        centre = g.add("Mul", centre, g.constant(np.float32(1 / side)))
        if section.whole("sqrt"):
            size = g.add("Mul", size, size)
        half = g.add("Mul", size, g.constant(np.float32(0.5)))
        corners = g.add("Concat", g.add("Sub", centre, half), g.add("Add", centre, half), axis=3)
        s.boxes.append(g.add("Reshape", corners, ints(0, cells * count, 4)))
        sure = g.add("Reshape", objectness, ints(0, cells, count, 1))
        scores = g.add("Mul", sure, g.add("Unsqueeze", labels, ints(2)))
        s.scores.append(g.add("Reshape", scores, ints(0, cells * count, classes)))
    whole = g.add("Concat", g.add("Flatten", labels, axis=1), objectness, places, axis=1)
    return str(g.add("Reshape", whole, g.add("Shape", s.x)))
