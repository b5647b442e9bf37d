"""Caffe layers of detectors in two steps: regions that may hold something (Faster R-CNN), and their parts (R-FCN)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from sensorium.formats.caffe.context import Context, layer
from sensorium.formats.shared.textproto import Block, Scalar

LIMIT = 1 << 20  # anchors


def _anchors(size: float, ratios: list[float], scales: list[float]) -> np.ndarray:
    """Corners (ratios x scales, 4) around one place. Source: generate_anchors.py of py-faster-rcnn."""
    centre = (size - 1) / 2
    rows = []
    for ratio in ratios:
        width = np.round(np.sqrt(size * size / ratio))
        height = np.round(width * ratio)
        for scale in scales:
            half = np.array([width * scale - 1, height * scale - 1]) / 2
            rows.append([*(centre - half), *(centre + half)])
    return np.array(rows, np.float32)


@layer("Proposal", bottoms=3)
def proposal(c: Context) -> Any:
    """Scores (1, 2A, H, W), moves (1, 4A, H, W), and height, width and scale: rows of 0 and corners; their scores."""
    return _proposed(c, c.layer.param("proposal_param"))


@layer("Python", bottoms=3)
def python(c: Context) -> Any:
    """The layer of py-faster-rcnn that proposes regions, with the settings it is tested with; no other is known."""
    param = c.layer.param("python_param")
    param.seen.add("share_in_parallel")
    module, name, text = (param.text(k) for k in ("module", "layer", "param_str"))
    if name != "ProposalLayer":
        raise c.layer.fault(f"runs Python code ({module[:60]}.{name[:60]}), which nothing here does")
    told = Block(param.where, param.line)
    for key, field in (("feat_stride", "feat_stride"), ("scales", "scale")):
        if found := re.search(rf"['\"]?{key}['\"]?\s*:\s*[\[(]?([\d., ]+)", text):
            told.fields[field] = [Scalar(v, param.line) for v in re.split(r"[,\s]+", found[1]) if v]
    return _proposed(c, told)


def _proposed(c: Context, param: Block) -> Any:
    ratios = param.number_list("ratio") or [0.5, 1.0, 2.0]
    scales = param.number_list("scale") or [8.0, 16.0, 32.0]
    stride, size = param.number("feat_stride", 16), param.number("base_size", 16)
    before, after = param.whole("pre_nms_topn", 6000), param.whole("post_nms_topn", 300)
    overlap, least = param.number("nms_thresh", 0.7), param.number("min_size", 16)
    if len(c.inputs) != 3 or min(ratios) <= 0 or min(scales) <= 0 or before < 1 or after < 1:
        raise c.layer.fault("does not describe regions")
    g, ints = c.graph, c.graph.ints
    kinds = _anchors(size, ratios, scales)
    channels, rows, columns = c.shape()[1:]
    count = rows * columns * len(kinds)
    if c.shape()[0] != 1 or channels != 2 * len(kinds) or count > LIMIT or len(c.layer.tops) > 2:
        raise c.layer.fault(f"{channels} channels for {len(kinds)} kinds of anchors, {rows} by {columns} places")
    c.pin_size()
    y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
    shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    anchors = (shifts + kinds).reshape(-1, 4).astype(np.float32)
    sides = anchors[:, 2:] - anchors[:, :2] + 1
    scores = g.add("Slice", c.x, ints(len(kinds)), ints(channels), ints(1))
    scores = g.add("Reshape", g.add("Transpose", scores, perm=[0, 2, 3, 1]), ints(-1))
    moves = g.add("Reshape", g.add("Transpose", c.inputs[1], perm=[0, 2, 3, 1]), ints(-1, 4))
    place, grown = (g.add("Slice", moves, ints(a), ints(a + 2), ints(1)) for a in (0, 2))
    centre = g.add("Mul", place, c.constant(sides, "sides"))
    centre = g.add("Add", centre, c.constant(anchors[:, :2] + 0.5 * sides, "centres"))
    half = g.add("Mul", g.add("Exp", grown), c.constant(0.5 * sides, "halves"))
    told = g.add("Reshape", c.inputs[2], ints(-1))
    edge = g.add("Sub", g.add("Gather", told, ints(1, 0)), c.constant(1.0, "one"))  # the last column and row
    zero = c.constant(0.0, "zero")
    low, high = (g.add("Max", g.add("Min", g.add(op, centre, half), edge), zero) for op in ("Sub", "Add"))
    boxes = g.add("Concat", low, high, axis=1)
    extent = g.add("Add", g.add("Sub", high, low), c.constant(1.0, "one"))
    limit = g.add("Mul", g.add("Gather", told, ints(2)), c.constant(least, "least"))
    fits = g.add("GreaterOrEqual", g.add("ReduceMin", extent, ints(1), keepdims=0), limit)
    none = c.constant(-3e38, "none")
    best, places = g.add("TopK", g.add("Where", fits, scores, none), ints(min(before, count)), outputs=2, axis=0)
    boxes = g.add("Gather", boxes, places)
    # A pixel is as wide as 1: the overlap is that of boxes that end behind their last pixel.
    whole = g.add("Add", boxes, c.constant([0, 0, 1, 1], "ends"))
    found = g.add("NonMaxSuppression", g.add("Unsqueeze", whole, ints(0)), g.add("Unsqueeze", best, ints(0, 1)),
                  ints(after), c.constant([overlap], "overlap"), c.constant([-1e38], "real"))  # fmt: skip
    chosen = g.add("Reshape", g.add("Slice", found, ints(2), ints(3), ints(1)), ints(-1))
    g.tell(chosen, (after,), np.int64)
    corners = g.add("Gather", boxes, chosen)
    picture = g.add("Mul", g.add("Slice", corners, ints(0), ints(1), ints(1)), zero)
    regions = c.add("Concat", picture, corners, axis=1)
    if len(c.layer.tops) < 2:
        return str(regions)
    return [str(regions), str(g.add("Unsqueeze", g.add("Gather", best, chosen), ints(1)))]


@layer("PSROIPooling", bottoms=2, settles=True)
def psroi_pooling(c: Context) -> str:
    """The mean of each part of a region, of the channels that are there for this part: sums from running totals."""
    param = c.layer.param("psroi_pooling_param")
    group, kinds = param.whole("group_size"), param.whole("output_dim")
    scale = param.number("spatial_scale", 1.0)
    channels = c.shape()[1]
    if not 0 < group < 100 or channels != kinds * group * group or len(c.inputs) != 2:
        raise c.layer.fault(f"{channels} channels for {kinds} kinds in {group} by {group} parts")
    g, ints = c.graph, c.graph.ints
    size = g.add("Shape", c.x, start=2, end=4)
    maps = g.add("Reshape", c.x, g.add("Concat", ints(-1, kinds, group, group), size, axis=0))
    maps = g.add("Pad", maps, ints(0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0))
    for axis in (4, 5):
        maps = g.add("CumSum", maps, g.constant(np.array(axis, np.int64)))
    maps = g.add("Transpose", maps, perm=[0, 2, 3, 4, 5, 1])
    index, corners = g.add("Split", c.inputs[1], ints(1, 4), outputs=2, axis=1)
    half, one = c.constant(0.5, "half"), c.constant(1.0, "one")
    corners = g.add("Floor", g.add("Add", corners, half))
    parts = c.constant(np.arange(group), "parts")
    limits = g.add("Cast", size, to=1)
    edges = []
    for axis in (1, 0):  # rows, columns
        first, last = (g.add("Slice", corners, ints(a), ints(a + 1), ints(1)) for a in (axis, axis + 2))
        factor = c.constant(scale, "scale")
        start = g.add("Mul", first, factor)
        length = g.add("Sub", g.add("Mul", g.add("Add", last, one), factor), start)
        step = g.add("Div", g.add("Max", length, c.constant(0.1, "least")), c.constant(group, "group"))
        limit = g.add("Slice", limits, ints(1 - axis), ints(2 - axis))
        ends = []
        for op, place in (("Floor", parts), ("Ceil", g.add("Add", parts, one))):
            end = g.add(op, g.add("Add", g.add("Mul", place, step), start))
            ends.append(g.add("Min", g.add("Max", end, c.constant(0.0, "zero")), limit))
        spread = ints(2 if axis == 1 else 1)
        edges.append([g.add("Unsqueeze", e, spread) for e in ends])  # (regions, parts, 1) or (regions, 1, parts)
    shape = g.add("Concat", g.add("Shape", index, start=0, end=1), ints(group, group), axis=0)
    down, along = np.meshgrid(np.arange(group), np.arange(group), indexing="ij")
    fixed = [g.add("Unsqueeze", index, ints(2)), c.constant(down, "down"), c.constant(along, "along")]

    def total(row: str, column: str) -> str:
        columns_ = [g.add("Expand", v, shape) for v in (*fixed, row, column)]
        places = g.add("Concat", *[g.add("Unsqueeze", v, ints(3)) for v in columns_], axis=3)
        return str(g.add("GatherND", maps, g.add("Cast", places, to=7)))

    (top, bottom), (left, right) = edges
    most = g.add("Add", total(bottom, right), total(top, left))
    most = g.add("Sub", most, g.add("Add", total(top, right), total(bottom, left)))
    area = g.add("Mul", g.add("Sub", bottom, top), g.add("Sub", right, left))
    area = g.add("Unsqueeze", area, ints(3))
    empty = g.add("LessOrEqual", area, c.constant(0.0, "zero"))
    mean = g.add("Div", most, g.add("Where", empty, one, area))
    mean = g.add("Where", empty, c.constant(0.0, "zero"), mean)
    return str(c.add("Transpose", mean, perm=[0, 3, 1, 2]))
