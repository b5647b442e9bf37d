"""Detection: anchors, decoding, non-maximum suppression, regions of interest."""

from __future__ import annotations

import numpy as np

from sensorium.formats.mxnet.call import Call, operator


def _count(call: Call, size: str) -> str:
    """0, 1, 2 ... below a size of one element, as float32."""
    none = call.graph.constant(np.zeros(0, np.int64))
    zero, one = (call.graph.constant(np.array(n, np.int64)) for n in (0, 1))
    return call.cast(call.add("Range", zero, call.graph.add("Reshape", size, none), one), np.float32)


@operator("_contrib_MultiBoxPrior", "MultiBoxPrior", "_npx_multibox_prior")
def multibox_prior(call: Call) -> str:
    """Anchors around every place of a map of (batch, channels, height, width): (1, places * kinds, 4) of 0 to 1."""
    sizes, ratios = call.numbers("sizes", (1.0,)), call.numbers("ratios", (1.0,))
    steps, offsets = call.numbers("steps", (-1.0, -1.0)), call.numbers("offsets", (0.5, 0.5))
    clipped = call.flag("clip")
    if not sizes or not ratios or min(ratios) <= 0 or len(steps) != 2 or len(offsets) != 2:
        raise call.fault("sizes, ratios, steps and offsets are not those of anchors")
    if call.rank(call.x) != 4:
        raise call.fault("an input with other than 4 axes")
    roots = np.sqrt(np.array(ratios, np.float32))
    wide = np.array([s * roots[0] for s in sizes] + [sizes[0] * r for r in roots[1:]], np.float32) / 2
    high = np.array([s / roots[0] for s in sizes] + [sizes[0] / r for r in roots[1:]], np.float32) / 2
    lengths = [call.dims(call.x, axis, axis + 1) for axis in (2, 3)]
    rows, columns = (call.cast(length, np.float32) for length in lengths)
    centres = []
    for length, size, step, offset in zip(lengths, (rows, columns), steps, offsets):
        places = call.add("Add", _count(call, length), call.number_like(offset, size))
        centres.append(
            call.add("Mul", places, call.number_like(step, size)) if step > 0 else call.add("Div", places, size)
        )
    half = call.add("Div", call.add("Mul", call.constant(wide), rows), columns)
    shape = call.graph.add("Concat", *lengths, call.ints(len(wide)), axis=0)
    y = call.add("Expand", call.add("Unsqueeze", centres[0], call.ints(1, 2)), shape)
    x = call.add("Expand", call.add("Unsqueeze", centres[1], call.ints(0, 2)), shape)
    tall = call.constant(high)
    edges = [call.add("Sub", x, half), call.add("Sub", y, tall), call.add("Add", x, half), call.add("Add", y, tall)]
    boxes = call.add("Concat", *(call.add("Unsqueeze", e, call.ints(3)) for e in edges), axis=3)
    value = call.add("Reshape", boxes, call.ints(1, -1, 4))
    if clipped:
        value = call.add("Clip", value, call.number_like(0.0, value), call.number_like(1.0, value))
    return str(value)


def _scalar(call: Call, value: int) -> str:
    return call.graph.constant(np.array(value, np.int64))


def rows_of(call: Call, x: str, order: str) -> str:
    """Rows of (batch, rows, columns) in the order of (batch, rows)."""
    places = call.add("Unsqueeze", order, call.ints(2))
    places = call.add("Expand", places, call.dims(x))
    return str(call.add("GatherElements", x, places, axis=1))


def order_of(call: Call, key: str, valid: str, total: str) -> str:
    """Indices of the valid rows by falling key (equal ones in their order), the others behind them."""
    lowest = call.number_like(-np.inf, key)
    _, order = call.add("TopK", call.add("Where", valid, key, lowest), total, axis=1, outputs=2)
    return str(order)


def _kept(call: Call, boxes: str, classes: str, candidate: str, total: str, threshold: float, count: int) -> str:
    """Which of the candidates, rows in falling order, no better one of their class overlaps by the threshold or more.

    ONNX suppresses above the threshold, MXNet from it on, so it is taken the least bit lower.
    """
    limit = float(np.nextafter(np.float32(threshold), np.float32(0)))
    if count == 1:
        return kept_rows(call, boxes, candidate, total, limit)
    own = call.add(
        "Equal",
        call.add("Unsqueeze", classes, call.ints(1)),
        call.constant(np.arange(count, dtype=np.float32)[:, None]),
    )
    return kept_rows(call, boxes, candidate, total, limit, own)


def kept_rows(call: Call, boxes: str, candidate: str, total: str, threshold: float, own: str = "") -> str:
    """Which of the candidates, rows in falling order, no better one overlaps by more than the threshold.

    `own` (batch, classes, rows) says which class a row is of.
    """
    rank = call.graph.add("Sub", call.cast(total, np.float32), _count(call, total))
    rank = call.add("Where", candidate, rank, call.number_like(-1.0, rank))
    scores = call.add("Unsqueeze", rank, call.ints(1))
    if own:
        scores = call.add("Where", own, scores, call.number_like(-1.0, rank))
    limits = [call.constant(np.array([value], np.float32)) for value in (threshold, 0.0)]
    chosen = call.add("NonMaxSuppression", boxes, scores, total, *limits)
    places = call.add("Gather", chosen, call.ints(0, 2), axis=1)
    none = call.add("Expand", call.number_like(0.0, rank), call.dims(rank))
    ones = call.add("Expand", call.number_like(1.0, rank), call.dims(places, 0, 1))
    return call.cast(call.add("ScatterND", none, places, ones), np.bool_)


@operator("_contrib_MultiBoxDetection", "MultiBoxDetection", "_npx_multibox_detection")
def multibox_detection(call: Call) -> str:
    """(batch, anchors, 6): class, score, box; the class is -1 where there is none or it was suppressed."""
    call.expect(3)
    probabilities, offsets, anchors = call.inputs
    clipped, least = call.flag("clip", True), call.number("threshold", 0.01)
    background = call.whole("background_id", 0)
    overlap, forced = call.number("nms_threshold", 0.5), call.flag("force_suppress")
    variances, best = call.numbers("variances", (0.1, 0.1, 0.2, 0.2)), call.whole("nms_topk", -1)
    classes = call.shape(probabilities)[1] - 1
    if background != 0 or len(variances) != 4 or classes < 1:
        raise call.fault(f"background_id={background}, {len(variances)} variances, {classes} classes")
    total = call.dims(probabilities, 2, 3)
    one_class = call.add("Slice", probabilities, call.ints(1), call.ints(1 << 62), call.ints(1))
    score = call.add("ReduceMax", one_class, call.ints(1), keepdims=0)
    label = call.cast(call.add("ArgMax", one_class, axis=1, keepdims=0), np.float32)
    valid = call.add("GreaterOrEqual", score, call.number_like(least, score))

    corners = call.add("Split", anchors, axis=2, num_outputs=4, outputs=4)
    moves = call.add(
        "Split", call.add("Reshape", offsets, call.ints(0, -1, 4)), axis=2, num_outputs=4, outputs=4
    )  # fmt: skip
    low, high = [], []
    for i in (0, 1):
        size = call.add("Sub", corners[i + 2], corners[i])
        centre = call.add("Mul", call.add("Add", corners[i], corners[i + 2]), call.number_like(0.5, size))
        moved = call.add("Mul", call.add("Mul", moves[i], call.number_like(variances[i], size)), size)
        place = call.add("Add", moved, centre)
        grown = call.add("Exp", call.add("Mul", moves[i + 2], call.number_like(variances[i + 2], size)))
        half = call.add("Mul", call.add("Mul", grown, size), call.number_like(0.5, size))
        low.append(call.add("Sub", place, half))
        high.append(call.add("Add", place, half))
    boxes = call.add("Concat", *low, *high, axis=2)
    if clipped:
        boxes = call.add("Clip", boxes, call.number_like(0.0, boxes), call.number_like(1.0, boxes))
    columns = call.ints(2)
    rows = call.add(
        "Concat", call.add("Unsqueeze", label, columns), call.add("Unsqueeze", score, columns), boxes, axis=2
    )  # fmt: skip

    # The valid rows in their order first; what is behind them is -1.
    number_valid = call.add("ReduceSum", call.cast(valid, np.int64), call.ints(1), keepdims=1)
    place = call.add(
        "Range",
        _scalar(call, 0),
        call.graph.add("Reshape", total, call.graph.constant(np.zeros(0, np.int64))),
        _scalar(call, 1),
    )
    ones = call.cast(valid, np.int64)
    axis = _scalar(call, 1)
    behind = call.add("CumSum", call.cast(call.add("Not", valid), np.int64), axis)
    behind = call.add("Add", behind, number_valid)
    to = call.add("Sub", call.add("Where", valid, call.add("CumSum", ones, axis), behind), call.ints(1))
    nothing = call.number_like(-1.0, rows)
    shown = call.add("Where", call.add("Unsqueeze", valid, columns), rows, nothing)
    to = call.add("Expand", call.add("Unsqueeze", to, columns), call.dims(rows))
    unsorted = call.add("ScatterElements", rows, to, shown, axis=1)
    if not 0 < overlap <= 1:
        return str(unsorted)
    ordered = rows_of(call, rows, order_of(call, score, valid, total))
    limit = number_valid if best <= 0 else call.add("Min", number_valid, call.ints(best))
    considered = call.add("Less", place, limit)
    parts = call.add("Split", ordered, call.ints(1, 1, 4), axis=2, outputs=3)
    kinds = call.add("Squeeze", parts[0], columns)
    kept = _kept(call, parts[2], kinds, considered, total, overlap, 1 if forced else classes)
    inside = call.add("Unsqueeze", considered, columns)
    rest = call.add("Slice", unsorted, call.ints(1), call.ints(6), columns)
    label = call.add("Where", call.add("Unsqueeze", kept, columns), parts[0], nothing)
    values = call.add("Where", inside, call.add("Concat", parts[1], parts[2], axis=2), rest)
    return str(call.add("Concat", label, values, axis=2))


@operator("ROIPooling", "_npx_roi_pooling")
def roi_pooling(call: Call) -> str:
    call.expect(2)
    size = call.wholes("pooled_size", least=1)
    if len(size) != 2:
        raise call.fault(f"pooled_size={size}")
    return str(
        call.add("MaxRoiPool", *call.inputs, pooled_shape=size, spatial_scale=call.number("spatial_scale"))
    )  # fmt: skip


@operator("_contrib_ROIAlign")
def roi_align(call: Call) -> str:
    call.expect(2)
    size, samples = call.wholes("pooled_size", least=1), call.whole("sample_ratio", -1)
    call.refuse("position_sensitive")
    aligned = call.flag("aligned")
    if len(size) != 2:
        raise call.fault(f"pooled_size={size}")
    index, boxes = call.add("Split", call.input(1), call.ints(1, 4), axis=1, outputs=2)
    index = call.cast(call.add("Squeeze", index, call.ints(1)), np.int64)
    return str(
        call.add("RoiAlign", call.x, boxes, index, output_height=size[0], output_width=size[1],
            sampling_ratio=max(0, samples), spatial_scale=call.number("spatial_scale"),
            coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel")
    )  # fmt: skip
