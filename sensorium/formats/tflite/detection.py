"""TFLite's custom operator TFLite_Detection_PostProcess: boxes from anchors, suppressed, the best as four lists.

Source: tensorflow/lite/kernels/detection_postprocess.cc; its options are a map in the FlexBuffers format
(https://flatbuffers.dev/flatbuffers_internals/#flexbuffers).
"""

from __future__ import annotations

import struct

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.tflite.build import Builder
from sensorium.formats.tflite.schema import Operator

NAME = "CUSTOM:TFLite_Detection_PostProcess"
INT, UINT, FLOAT, MAP, BOOL = 1, 2, 3, 9, 26
MOST = 1000


def options(data: bytes) -> dict[str, float]:
    """The numbers of a map.

    Raises:
        InputError: it is none.
    """
    try:
        width, kind = data[-1], data[-2]
        if width not in (1, 2, 4, 8) or kind >> 2 != MAP:
            raise ValueError("no map")
        at = len(data) - 2 - width
        place = at - _unsigned(data, at, width)
        inner = 1 << (kind & 3)
        count = _unsigned(data, place - inner, inner)
        keys_at = place - 3 * inner
        keys = keys_at - _unsigned(data, keys_at, inner)
        key_width = _unsigned(data, place - 2 * inner, inner)
        if key_width not in (1, 2, 4, 8) or (count + 1) * inner > len(data):
            raise ValueError("its keys do not fit")
        found = {}
        for i in range(count):
            where = keys + i * key_width
            start = where - _unsigned(data, where, key_width)
            if not 0 <= start < len(data):
                raise ValueError("a key lies outside")
            name = data[start : data.index(b"\0", start)].decode()
            found[name] = _number(data, place + i * inner, inner, data[place + count * inner + i] >> 2)
        return found
    except (ValueError, IndexError, struct.error) as error:
        raise InputError(f"corrupt: its options cannot be read: {error}") from None


def _unsigned(data: bytes, at: int, width: int) -> int:
    if at < 0 or at + width > len(data):
        raise ValueError("a number lies outside")
    return int.from_bytes(data[at : at + width], "little")


def _number(data: bytes, at: int, width: int, kind: int) -> float:
    if kind == FLOAT and width >= 4:
        return float(struct.unpack_from("<f" if width == 4 else "<d", data, at)[0])
    value = _unsigned(data, at, width)
    if kind == INT and value >> (8 * width - 1):
        value -= 1 << (8 * width)
    if kind not in (INT, UINT, BOOL):
        raise ValueError(f"a value of kind {kind}")
    return float(value)


def post_process(b: Builder, o: Operator) -> None:
    """Boxes (1, M, 4) as top, left, bottom, right; classes and scores (1, M); their number (1,).

    M is the largest number of detections: after those that were found there are zeros.
    """
    told, g = options(o.custom), b.graph
    if len(o.inputs) != 3 or len(o.outputs) != 4:
        raise InputError(f"has {len(o.inputs)} inputs and {len(o.outputs)} outputs")
    most, classes = int(told.get("max_detections", 0)), int(told.get("num_classes", 0))
    if not 0 < most <= MOST or not 0 < classes <= MOST:
        raise InputError(f"corrupt: {most} detections of {classes} classes")
    if told.get("max_classes_per_detection", 1) != 1:
        raise InputError("several classes for one box are not converted")
    anchors = b.stored(o.inputs[2])
    count, columns = b.tensor(o.inputs[0]).shape[1], b.tensor(o.inputs[1]).shape[-1]
    if anchors is None or anchors.shape != (count, 4) or columns not in (classes, classes + 1):
        raise InputError("corrupt: its anchors or classes do not fit its boxes")
    scales = np.array([told.get(f"{k}_scale", 0.0) for k in "yxhw"], np.float32)
    if not (scales > 0).all():
        raise InputError(f"corrupt: scales of {scales.tolist()}")
    encoded = g.add("Div", b.numbers(o.inputs[0]), g.constant(scales, "scales"))  # (1, N, 4)
    middle, size = g.add("Split", encoded, g.ints(2, 2), outputs=2, axis=2)
    sides = g.constant(anchors[None, :, 2:].astype(np.float32), "sides")
    middle = g.add("Add", g.add("Mul", middle, sides), g.constant(anchors[None, :, :2].astype(np.float32), "middles"))
    half = g.add("Mul", g.add("Mul", g.add("Exp", size), sides), b.number(0.5))
    boxes = g.add("Concat", g.add("Sub", middle, half), g.add("Add", middle, half), axis=2)
    scores = b.numbers(o.inputs[1])
    if columns > classes:  # the first is the background
        scores = g.add("Slice", scores, g.ints(1), g.ints(columns), g.ints(2))
    overlap, least = (g.constant(np.array([told.get(k, 0.0)], np.float32), "limit")
                      for k in ("nms_iou_threshold", "nms_score_threshold"))  # fmt: skip
    if told.get("use_regular_nms"):
        each = min(int(told.get("detections_per_class", 100)), most)
        _each_class(b, o, boxes, scores, (most, max(each, 1)), (overlap, least))
        return
    best = g.add("ReduceMax", scores, g.ints(2), keepdims=0)
    kind = g.add("ArgMax", scores, axis=2, keepdims=0)
    stays = g.add("NonMaxSuppression", boxes, g.add("Unsqueeze", best, g.ints(1)), g.ints(most), overlap, least)
    rows = g.add("Squeeze", g.add("Slice", stays, g.ints(2), g.ints(3), g.ints(1)), g.ints(1))
    g.tell(rows, (None,), np.int64)
    found = g.add("Shape", rows)
    missing = g.add("Sub", g.ints(most), found)
    zeros = g.ints(0, 0, 0, 0)
    picked = []
    for value, ends in ((boxes, (zeros, missing, g.ints(0))), (kind, (g.ints(0, 0, 0), missing)),
                        (best, (g.ints(0, 0, 0), missing))):  # fmt: skip
        taken = g.add("Gather", value, rows, axis=1)
        picked.append(g.add("Pad", taken, g.add("Concat", *ends, axis=0)))
    b.keep(o.outputs[0], picked[0])
    b.keep(o.outputs[1], g.add("Cast", picked[1], to=1))
    b.keep(o.outputs[2], picked[2])
    b.keep(o.outputs[3], g.add("Cast", found, to=1))


def _each_class(
    b: Builder, o: Operator, boxes: str, scores: str, limits: tuple[int, int], thresholds: tuple[str, str]
) -> None:  # fmt: skip
    """Suppression within each class by itself: `limits` are the most detections in all, and of one class."""
    g, (most, each) = b.graph, limits
    by_class = g.add("Transpose", scores, perm=[0, 2, 1])
    found = g.add("NonMaxSuppression", boxes, by_class, g.ints(each), *thresholds)  # picture, class, box
    value = g.add("GatherND", by_class, found)
    g.tell(value, (None,))
    none = g.constant(np.full(most, -1, np.float32), "none")
    best, order = g.add("TopK", g.add("Concat", value, none, axis=0), g.ints(most), outputs=2, axis=0)
    rows = g.add("Gather", g.add("Pad", found, g.ints(0, 0, most, 0)), order, axis=0)
    real = g.add("Cast", g.add("GreaterOrEqual", best, b.number(0)), to=1)
    kind, place = (g.add("Squeeze", g.add("Slice", rows, g.ints(i), g.ints(i + 1), g.ints(1)), g.ints(1))
                   for i in (1, 2))  # fmt: skip
    corners = g.add("Mul", g.add("Gather", boxes, place, axis=1), g.add("Unsqueeze", real, g.ints(0, 2)))
    b.keep(o.outputs[0], corners)
    for output, shown in zip(o.outputs[1:3], (g.add("Cast", kind, to=1), best)):
        b.keep(output, g.add("Unsqueeze", g.add("Mul", shown, real), g.ints(0)))
    b.keep(o.outputs[3], g.add("ReduceSum", real, g.ints(0), keepdims=1))
