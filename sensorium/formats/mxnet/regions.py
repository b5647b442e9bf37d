"""Boxes of GluonCV's detectors, grids that bend pictures, and MXNet's rarer operators on arrays."""

from __future__ import annotations

import numpy as np

from sensorium.formats.mxnet.boxes import kept_rows, order_of, rows_of
from sensorium.formats.mxnet.call import OPERATORS, Call, operator

END = (1 << 62) - 1
FORMATS = ("corner", "center")


def _columns(call: Call, x: str, start: int, count: int) -> str:
    return str(call.add("Slice", x, call.ints(start), call.ints(start + count), call.ints(-1)))


def _corners(call: Call, boxes: str) -> str:
    """Middle and size to two corners, along the last axis."""
    middle, half = _columns(call, boxes, 0, 2), _columns(call, boxes, 2, 2)
    half = call.add("Mul", half, call.number_like(0.5, half))
    return str(call.add("Concat", call.add("Sub", middle, half), call.add("Add", middle, half), axis=-1))


def _centres(call: Call, boxes: str) -> str:
    low, high = _columns(call, boxes, 0, 2), _columns(call, boxes, 2, 2)
    middle = call.add("Mul", call.add("Add", low, high), call.number_like(0.5, low))
    return str(call.add("Concat", middle, call.add("Sub", high, low), axis=-1))


@operator("_contrib_box_nms", "_contrib_box_non_maximum_suppression", "_npx_box_nms")
def box_nms(call: Call) -> str:
    """Rows (..., boxes, columns): those that stay by falling score in front, the others -1."""
    call.expect(1)
    overlap, least = call.number("overlap_thresh", 0.5), call.number("valid_thresh", 0.0)
    best, start, place = call.whole("topk", -1), call.whole("coord_start", 2), call.whole("score_index", 1)
    kind, background = call.whole("id_index", -1), call.whole("background_id", -1)
    forced = call.flag("force_suppress") or kind < 0
    given = call.text("in_format", "corner", FORMATS)
    wanted = call.text("out_format", "corner", FORMATS)
    shape = call.shape(call.x)
    if len(shape) < 2 or not 0 <= start <= shape[-1] - 4 or not 0 <= place < shape[-1] or kind >= shape[-1]:
        raise call.fault(f"rows of {shape[-1:]} columns")
    x = call.x if len(shape) == 3 else str(call.add("Reshape", call.x, call.ints(-1, *shape[-2:])))
    total = call.dims(x, 1, 2)
    last = call.ints(2)
    score = call.add("Squeeze", _columns(call, x, place, 1), last)
    valid = call.add("Greater", score, call.number_like(least, score))
    if background >= 0 and kind >= 0:
        label = call.add("Squeeze", _columns(call, x, kind, 1), last)
        other = call.add("Not", call.add("Equal", label, call.number_like(background, label)))
        valid = call.add("And", valid, other)
    rows = rows_of(call, x, order_of(call, score, valid, total))
    count = call.add("ReduceSum", call.cast(valid, np.int64), call.ints(1), keepdims=1)
    limit = count if best <= 0 else call.add("Min", count, call.ints(best))
    zero, one = (call.graph.constant(np.array(n, np.int64)) for n in (0, 1))
    numbers = call.add("Range", zero, call.add("Squeeze", total, call.ints(0)), one)
    considered = call.add("Less", numbers, limit)
    boxes = _columns(call, rows, start, 4)
    corners = boxes if given == "corner" else _corners(call, boxes)
    if not forced:  # boxes of different kinds are moved apart
        label = _columns(call, rows, kind, 1)
        most = call.add("ReduceMax", call.add("Abs", corners), call.ints(1, 2), keepdims=1)
        apart = call.add("Mul", call.add("Add", most, call.number_like(1.0, most)), call.number_like(2.0, most))
        corners = call.add("Add", corners, call.add("Mul", label, apart))
    kept = kept_rows(call, corners, considered, total, overlap)
    if given != wanted:
        changed = _corners(call, boxes) if wanted == "corner" else _centres(call, boxes)
        parts = [_columns(call, rows, 0, start)] * bool(start) + [changed]
        parts += [_columns(call, rows, start + 4, END - start - 4)] * (start + 4 < shape[-1])
        rows = call.add("Concat", *parts, axis=2) if len(parts) > 1 else changed
    key = call.add("Where", kept, call.add("Neg", call.cast(numbers, np.float32)), call.number_like(-np.inf, score))
    _, places = call.add("TopK", key, total, axis=1, outputs=2)
    front = rows_of(call, str(rows), str(places))
    stays = call.add("ReduceSum", call.cast(kept, np.int64), call.ints(1), keepdims=1)
    filled = call.add("Unsqueeze", call.add("Less", numbers, stays), last)
    y = call.add("Where", filled, front, call.number_like(-1.0, rows))
    return str(y) if len(shape) == 3 else str(call.add("Reshape", y, call.dims(call.x)))


@operator("_contrib_box_iou")
def box_iou(call: Call) -> str:
    """Every box of the first with every one of the second: the share of their union that both cover."""
    call.expect(2)
    pair = [call.input(0), call.input(1)]
    if call.text("format", "corner", FORMATS) == "center":
        pair = [_corners(call, b) for b in pair]
    n = call.rank(pair[1]) - 1
    spread = call.ints(*range(call.rank(pair[0]) - 1, call.rank(pair[0]) - 1 + n))
    a = [call.add("Unsqueeze", _columns(call, pair[0], i, 2), spread) for i in (0, 2)]
    b = [_columns(call, pair[1], i, 2) for i in (0, 2)]
    low, high = call.add("Max", a[0], b[0]), call.add("Min", a[1], b[1])
    zero, last = call.number_like(0.0, low), call.ints(-1)

    def area(size: str) -> str:
        return str(call.add("ReduceProd", call.add("Max", size, zero), last, keepdims=0))

    both = area(call.add("Sub", high, low))
    areas = [area(call.add("Sub", v[1], v[0])) for v in (a, b)]
    union = call.add("Sub", call.add("Add", *areas), both)
    none = call.add("LessOrEqual", union, zero)
    return str(
        call.add(
            "Where", none, zero, call.add("Div", both, call.add("Where", none, call.number_like(1.0, union), union))
        )
    )


@operator("_contrib_box_decode")
def box_decode(call: Call) -> str:
    """Moves (batch, boxes, 4) of anchors, as corners."""
    call.expect(2)
    scale = [call.number(f"std{i}", 1.0) for i in range(4)]
    clip, form = call.number("clip", -1.0), call.text("format", "center", FORMATS)
    anchors = call.input(1) if form == "center" else _centres(call, call.input(1))
    moves = call.add("Mul", call.x, call.constant(np.array(scale, np.float32)))
    place, size = _columns(call, anchors, 0, 2), _columns(call, anchors, 2, 2)
    middle = call.add("Add", call.add("Mul", _columns(call, moves, 0, 2), size), place)
    grown = _columns(call, moves, 2, 2)
    if clip > 0:
        grown = call.add("Min", grown, call.number_like(clip, grown))
    grown = call.add("Exp", grown)
    half = call.add("Mul", call.add("Mul", grown, size), call.number_like(0.5, size))
    return str(call.add("Concat", call.add("Sub", middle, half), call.add("Add", middle, half), axis=2))


# Grids


def _grid(call: Call, numbers: str, height: int, width: int) -> str:
    """Where each pixel of the result looks, -1 to 1: (batch, 2, height, width) of six numbers each."""
    if min(height, width) < 2 or height * width > 1 << 22:
        raise call.fault(f"a grid of {height} by {width} is not possible")
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    places = np.stack([x, y, np.ones_like(x)]).reshape(3, -1).astype(np.float32)
    moved = call.add("MatMul", call.add("Reshape", numbers, call.ints(-1, 2, 3)), call.constant(places))
    return str(call.add("Reshape", moved, call.ints(-1, 2, height, width)))


@operator("GridGenerator")
def grid_generator(call: Call) -> str:
    call.expect(1)
    if call.text("transform_type", allowed=("affine", "warp")) == "affine":
        size = call.wholes("target_shape", least=0)
        if len(size) != 2:
            raise call.fault(f"target_shape={size}")
        return _grid(call, call.x, size[0], size[1])
    call.used.add("target_shape")
    height, width = call.shape(call.x)[2:]
    call.pin()
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    places = call.add("Add", call.x, call.constant(np.stack([x, y]).astype(np.float32)))
    scale = np.array([2 / max(width - 1, 1), 2 / max(height - 1, 1)], np.float32)[:, None, None]
    return str(call.add("Sub", call.add("Mul", places, call.constant(scale)), call.number_like(1.0, places)))


@operator("SpatialTransformer")
def spatial_transformer(call: Call) -> str:
    call.expect(2)
    call.text("transform_type", "affine", ("affine",))
    call.text("sampler_type", "bilinear", ("bilinear",))
    size = call.wholes("target_shape", least=0) or [0, 0]
    if len(size) != 2 or not all(size):
        size = list(call.shape(call.x)[2:])
        call.pin()
    grid = call.add("Transpose", _grid(call, call.input(1), size[0], size[1]), perm=[0, 2, 3, 1])
    return str(call.add("GridSample", call.x, grid, mode="bilinear", padding_mode="zeros", align_corners=1))


# Arrays


@operator("cumsum", "_np_cumsum", "_npi_cumsum")
def cumsum(call: Call) -> str:
    call.expect(1)
    call.refuse("dtype", "float32")
    x, axis = call.x, call.whole_or_none("axis")
    if axis is None:
        x, axis = call.add("Reshape", x, call.ints(-1)), 0
    return str(call.add("CumSum", x, call.graph.constant(np.array(call.axis(axis, call.rank(x)), np.int64))))


@operator("moments")
def moments(call: Call) -> tuple[str, str]:
    call.expect(1)
    rank = call.rank(call.x)
    axes = call.ints(*([call.axis(a, rank) for a in call.wholes("axes")] or range(rank)))
    keep = int(call.flag("keepdims"))
    apart = call.add("Sub", call.x, call.add("ReduceMean", call.x, axes, keepdims=1))
    spread = call.add("ReduceMean", call.add("Mul", apart, apart), axes, keepdims=keep)
    return str(call.add("ReduceMean", call.x, axes, keepdims=keep)), str(spread)


@operator("diag", "_np_diag")
def diag(call: Call) -> str:
    """The diagonal of a matrix, or a list as one."""
    call.expect(1)
    k, shape = call.whole("k", 0), call.shape(call.x)
    first, second = call.whole("axis1", 0), call.whole("axis2", 1)
    if len(shape) == 1:
        size = shape[0] + abs(k)
        if size > 4096:
            raise call.fault(f"a matrix of {size} by {size}")
        places = np.stack([np.arange(shape[0]) + max(-k, 0), np.arange(shape[0]) + max(k, 0)], 1).astype(np.int64)
        empty = call.constant(np.zeros((size, size), call.graph.dtype(call.x)))
        return str(call.add("ScatterND", empty, call.graph.constant(places), call.x))
    rank = len(shape)
    first, second = call.axis(first, rank), call.axis(second, rank)
    count = min(shape[first] - max(-k, 0), shape[second] - max(k, 0))
    if first == second or count < 1:
        raise call.fault(f"there is no diagonal {k} of {list(shape)}")
    rest = [a for a in range(rank) if a not in (first, second)]
    places = np.stack([np.arange(count) + max(-k, 0), np.arange(count) + max(k, 0)], 1).astype(np.int64)
    turned = call.add("Transpose", call.x, perm=[first, second, *rest])
    line = call.add("GatherND", turned, call.graph.constant(places))
    return str(call.add("Transpose", line, perm=[*range(1, 1 + len(rest)), 0])) if rest else str(line)


@operator("scatter_nd")
def scatter_nd(call: Call) -> str:
    """Values at places (axes, count ...) of an array of zeros."""
    call.expect(2)
    places = call.cast(call.input(1), np.int64)
    rank = call.rank(places)
    places = call.add("Transpose", places, perm=[*range(1, rank), 0])
    empty = call.add("Expand", call.number_like(0.0, call.x), call.ints(*call.wholes("shape", least=1)))
    return str(call.add("ScatterND", empty, places, call.x))


@operator("_linalg_gemm", "linalg_gemm")
def gemm(call: Call) -> str:
    call.expect(3)
    call.refuse("axis", "-2")
    parts = []
    for value, key in ((call.input(0), "transpose_a"), (call.input(1), "transpose_b")):
        rank = call.rank(value)
        turned = call.flag(key)
        parts.append(
            call.add("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2]) if turned else value
        )  # fmt: skip
    y = call.add("Mul", call.add("MatMul", *parts), call.number_like(call.number("alpha", 1.0), call.x))
    return str(call.add("Add", y, call.add("Mul", call.input(2), call.number_like(call.number("beta", 1.0), call.x))))


@operator("_eye", "_npi_eye")
def eye(call: Call) -> str:
    call.refuse("dtype", "float32")
    rows, columns, k = call.whole("N"), call.whole("M", 0), call.whole("k", 0)
    if rows < 1 or rows * max(columns, rows) > 1 << 24:
        raise call.fault(f"{rows} by {columns}")
    return call.constant(np.eye(rows, columns or rows, k, dtype=np.float32))


@operator("_contrib_BatchNormWithReLU")
def normalised_relu(call: Call) -> str:
    return str(call.add("Relu", str(OPERATORS["BatchNorm"](call))))


# Pictures


@operator("_image_to_tensor", "_npx__image_to_tensor")
def to_tensor(call: Call) -> str:
    """Pixels 0 to 255 with channels last to 0 to 1 with channels first."""
    call.expect(1)
    x = call.add("Div", call.cast(call.x, np.float32), call.constant(np.array(255, np.float32)))
    return str(call.add("Transpose", x, perm=[0, 3, 1, 2] if call.rank(call.x) == 4 else [2, 0, 1]))


@operator("_image_normalize", "_npx__image_normalize")
def normalise(call: Call) -> str:
    call.expect(1)
    mean, spread = (np.array(call.numbers(k, (d,)), np.float32) for k, d in (("mean", 0.0), ("std", 1.0)))
    if not spread.all():
        raise call.fault("a standard deviation of 0")
    centred = call.add("Sub", call.x, call.constant(mean[:, None, None]))
    return str(call.add("Div", centred, call.constant(spread[:, None, None])))
