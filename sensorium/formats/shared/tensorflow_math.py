"""TensorFlow's rarer operators on numbers and along axes, as ONNX."""

from __future__ import annotations

import numpy as np

from sensorium.formats.shared.tensorflow_graph import Net, Node, operator

END = (1 << 62) - 1

# Those that are one ONNX operator.
ONE = {
    "Sinh": "Sinh", "Cosh": "Cosh", "Asin": "Asin", "Acos": "Acos", "Asinh": "Asinh", "Acosh": "Acosh",
    "Atanh": "Atanh", "Rint": "Round", "Inv": "Reciprocal", "IsInf": "IsInf", "Det": "Det", "MatrixDeterminant": "Det",
    "HardSwish": "HardSwish",
}  # fmt: skip
BITS = {"BitwiseAnd": "BitwiseAnd", "BitwiseOr": "BitwiseOr", "BitwiseXor": "BitwiseXor"}


@operator(*ONE)
def _one(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op(ONE[node.op], inputs[0])


@operator(*BITS)
def _bits(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op(BITS[node.op], inputs[0], inputs[1])


def _number(net: Net, like: str, value: float) -> str:
    return net.graph.constant(np.array(value, net.graph.dtype(like)), "number")


@operator("Log1p", "Expm1")
def _near_one(net: Net, node: Node, inputs: list[str]) -> str:
    """By series where the sum would lose the digits of a small number."""
    x = inputs[0]
    one, half, third = (_number(net, x, v) for v in (1.0, 0.5, 1 / 3))
    small = net.op("Less", net.op("Abs", x), _number(net, x, 1e-3))
    if node.op == "Log1p":
        whole = net.op("Log", net.op("Add", x, one))
        inner = net.op("Sub", half, net.op("Mul", x, third))
        return net.op("Where", small, net.op("Sub", x, net.op("Mul", net.op("Mul", x, x), inner)), whole)
    whole = net.op("Sub", net.op("Exp", x), one)
    inner = net.op("Add", half, net.op("Mul", x, _number(net, x, 1 / 6)))
    return net.op("Where", small, net.op("Add", x, net.op("Mul", net.op("Mul", x, x), inner)), whole)


@operator("Erfc")
def _erfc(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Sub", _number(net, inputs[0], 1.0), net.op("Erf", inputs[0]))


@operator("Atan2")
def _atan2(net: Net, node: Node, inputs: list[str]) -> str:
    y, x = inputs
    zero, pi = _number(net, x, 0.0), _number(net, x, np.pi)
    upright = net.op("Equal", x, zero)
    ratio = net.op("Div", y, net.op("Where", upright, _number(net, x, 1.0), x))
    turn = net.op("Where", net.op("Less", y, zero), net.op("Neg", pi), pi)
    angle = net.op("Atan", ratio)
    angle = net.op("Where", net.op("Less", x, zero), net.op("Add", angle, turn), angle)
    return net.op("Where", upright, net.op("Mul", net.op("Sign", y), _number(net, x, np.pi / 2)), angle)


@operator("IsFinite")
def _finite(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Not", net.op("Or", net.op("IsNaN", inputs[0]), net.op("IsInf", inputs[0])))


@operator("DivNoNan", "MulNoNan", "Xdivy", "Xlogy", "Xlog1py")
def _careful(net: Net, node: Node, inputs: list[str]) -> str:
    """Zero where the second (division, product) or the first (the others) is zero."""
    a, b = inputs
    guard = a if node.op.startswith("X") else b
    none = net.op("Equal", guard, _number(net, guard, 0.0))
    if node.op == "MulNoNan":
        result = net.op("Mul", a, b)
    elif node.op in ("DivNoNan", "Xdivy"):
        result = net.op("Div", a, b)
    else:
        inner = b if node.op == "Xlogy" else net.op("Add", b, _number(net, b, 1.0))
        result = net.op("Mul", a, net.op("Log", inner))
    return net.op("Where", none, _number(net, a, 0.0), result)


@operator("TruncateDiv", "TruncateMod")
def _truncate(net: Net, node: Node, inputs: list[str]) -> str:
    if node.op == "TruncateMod":
        return net.op("Mod", inputs[0], inputs[1], fmod=1)
    return net.op("Div", inputs[0], inputs[1])


@operator("ApproximateEqual")
def _near(net: Net, node: Node, inputs: list[str]) -> str:
    apart = net.op("Abs", net.op("Sub", inputs[0], inputs[1]))
    return net.op("Less", apart, _number(net, apart, float(node.get("tolerance", 1e-5))))


@operator("L2Loss")
def _l2(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Mul", net.op("ReduceSumSquare", inputs[0], keepdims=0), net.number(0.5))


@operator("EuclideanNorm")
def _norm(net: Net, node: Node, inputs: list[str]) -> str:
    axes = net.list(node, inputs[1], "axes")
    return net.op("ReduceL2", inputs[0], net.ints(axes), keepdims=int(bool(node.get("keep_dims"))))


@operator("Cumsum", "Cumprod")
def _cumulative(net: Net, node: Node, inputs: list[str]) -> str:
    x, axis = inputs[0], net.list(node, inputs[1], "axis")[0]
    exclusive, reverse = int(bool(node.get("exclusive"))), int(bool(node.get("reverse")))
    place = net.graph.constant(np.array(axis, np.int64), "axis")
    if node.op == "Cumsum":
        return net.op("CumSum", x, place, exclusive=exclusive, reverse=reverse)
    # A product of each with all before it: through a triangle of ones where it does not take part.
    size = net.size(x, axis)
    if size is None or size > 512:
        raise node.fault("a running product over an axis of this size is not converted")
    rank = net.graph.rank(x)
    axis %= rank
    keep = np.tril(np.ones((size, size), np.bool_), -1 if exclusive else 0)
    keep = keep.T if reverse else keep
    turned = keep.reshape((size, size) + (1,) * (rank - 1 - axis))
    spread = net.op("Unsqueeze", x, net.ints([axis]))
    spread = net.op("Where", net.graph.constant(turned, "taken"), spread, _number(net, x, 1.0))
    return net.op("ReduceProd", spread, net.ints([axis + 1]), keepdims=0)


# Order along axes


@operator("ReverseV2")
def _reverse(net: Net, node: Node, inputs: list[str]) -> str:
    axes = net.list(node, inputs[1], "axes")
    if not axes:
        return inputs[0]
    count = len(axes)
    return net.op("Slice", inputs[0], net.ints([-1] * count), net.ints([-END] * count), net.ints(axes),
                  net.ints([-1] * count))  # fmt: skip


@operator("ReverseSequence")
def _reverse_sequence(net: Net, node: Node, inputs: list[str]) -> str:
    time, batch = int(node.get("seq_dim", 0)), int(node.get("batch_dim", 0))
    rank = net.graph.rank(inputs[0])
    if {time % rank, batch % rank} != {0, 1}:
        raise node.fault("axes other than the first two are not converted")
    return net.op("ReverseSequence", inputs[0], inputs[1], time_axis=time % rank, batch_axis=batch % rank)


@operator("Roll")
def _roll(net: Net, node: Node, inputs: list[str]) -> str:
    x = inputs[0]
    for shift, axis in zip(net.list(node, inputs[1], "shifts"), net.list(node, inputs[2], "axes")):
        size = net.size(x, axis)
        shift = shift % size if size else shift
        if shift:
            where = [net.ints([-shift]), net.ints([END]), net.ints([axis])]
            rest = [net.ints([0]), net.ints([-shift]), net.ints([axis])]
            x = net.op("Concat", net.op("Slice", x, *where), net.op("Slice", x, *rest), axis=axis)
    return x


@operator("InvertPermutation")
def _invert(net: Net, node: Node, inputs: list[str]) -> str:
    order = net.known(node, inputs[0], "places")
    return net.graph.constant(np.argsort(order).astype(np.int64), "order")


@operator("Where")
def _where(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Transpose", net.op("NonZero", inputs[0]), perm=[1, 0])


@operator("Unique")
def _unique(net: Net, node: Node, inputs: list[str]) -> list[str]:
    found = net.graph.add("Unique", inputs[0], outputs=3, axis=0, sorted=0)
    return [found[0], found[2]]


@operator("TopK")
def _top(net: Net, node: Node, inputs: list[str]) -> list[str]:
    found: tuple[str, ...] = net.graph.add("TopK", inputs[0], net.ints([int(node.get("k", 1))]), outputs=2, axis=-1)
    return list(found)


@operator("InTopKV2", "InTopK")
def _in_top(net: Net, node: Node, inputs: list[str]) -> str:
    scores, targets = inputs[:2]
    own = net.op("GatherElements", scores, net.op("Unsqueeze", targets, net.ints([1])), axis=1)
    better = net.op("Cast", net.op("Greater", scores, own), to=7)
    count = inputs[2] if len(inputs) > 2 else net.graph.constant(np.array(int(node.get("k", 1)), np.int64), "k")
    return net.op("Less", net.op("ReduceSum", better, net.ints([1]), keepdims=0), count)


@operator("Bucketize")
def _bucketize(net: Net, node: Node, inputs: list[str]) -> str:
    edges = net.graph.constant(np.array(node.get("boundaries") or [], np.float32), "edges")
    x = net.op("Cast", inputs[0], to=1) if net.graph.dtype(inputs[0]).kind in "iu" else inputs[0]
    x = net.op("Unsqueeze", x, net.ints([-1]))
    return net.op("ReduceSum", net.op("Cast", net.op("GreaterOrEqual", x, edges), to=7), net.ints([-1]), keepdims=0)


@operator("DenseBincount", "Bincount")
def _bincount(net: Net, node: Node, inputs: list[str]) -> str:
    """Counts of whole numbers, over the last axis; those outside are not counted."""
    size, ends = net.op("Reshape", inputs[1], net.ints([])), [whole(net, 0), whole(net, 1)]
    each = net.op("Equal", net.op("Unsqueeze", inputs[0], net.ints([-1])), net.op("Range", ends[0], size, ends[1]))
    shape = net.graph.find_shape(inputs[2]) if len(inputs) > 2 else (0,)
    if shape is None:
        raise node.fault("weights of unknown number are not converted")
    if 0 not in shape and not node.get("binary_output"):
        weights = net.op("Unsqueeze", inputs[2], net.ints([-1]))
        return net.op("ReduceSum", net.op("Where", each, weights, _number(net, weights, 0)), net.ints([-2]), keepdims=0)
    op = "ReduceMax" if node.get("binary_output") else "ReduceSum"
    found = net.op(op, net.op("Cast", each, to=7), net.ints([-2]), keepdims=0)
    kind = str(node.get("T", "DT_INT32"))
    return net.op("Cast", found, to=1) if kind in ("DT_FLOAT", "DT_DOUBLE") else found


def whole(net: Net, number: int) -> str:
    return net.graph.constant(np.array(number, np.int64), "number")


@operator("CTCGreedyDecoder")
def _greedy(net: Net, node: Node, inputs: list[str]) -> list[str]:
    """The likeliest token of each step of (time, batch, tokens), without blanks (the last token) and repetitions.

    Returns:
        Places (number of the text, number in it) and values of the tokens, the shape they need, and what the chosen
        ones add up to, negative.
    """
    x, lengths = inputs
    steps = net.op("Shape", x, start=0, end=1)
    best = net.op("Transpose", net.op("ArgMax", x, axis=-1, keepdims=0), perm=[1, 0])
    blank = net.op("Sub", net.op("Squeeze", net.op("Shape", x, start=2), net.ints([0])), whole(net, 1))
    if int(node.get("blank_index", -1)) >= 0:
        blank = whole(net, int(node.get("blank_index")))
    time = net.op("Range", whole(net, 0), net.op("Squeeze", steps, net.ints([0])), whole(net, 1))
    live = net.op("Less", net.op("Unsqueeze", time, net.ints([0])), net.op("Unsqueeze", lengths, net.ints([1])))
    kept = net.op("And", live, net.op("Not", net.op("Equal", best, blank)))
    if node.get("merge_repeated"):
        before = net.op("Slice", best, net.ints([0]), net.ints([-1]), net.ints([1]))
        column = net.op("Slice", best, net.ints([0]), net.ints([1]), net.ints([1]))
        none = net.op("Sub", net.op("Mul", column, whole(net, 0)), whole(net, 1))
        before = net.op("Concat", none, before, axis=1)
        kept = net.op("And", kept, net.op("Not", net.op("Equal", best, before)))
    counted = net.op("CumSum", net.op("Cast", kept, to=7), whole(net, 1))
    places = net.op("Transpose", net.op("NonZero", kept), perm=[1, 0])
    number = net.op("Sub", net.op("GatherND", counted, places), whole(net, 1))
    first = net.op("Slice", places, net.ints([0]), net.ints([1]), net.ints([1]))
    found = net.op("Concat", first, net.op("Unsqueeze", number, net.ints([1])), axis=1)
    most = net.op("ReduceMax", net.op("Concat", net.op("Reshape", counted, net.ints([-1])), net.ints([0]), axis=0),
                  net.ints([0]), keepdims=1)  # fmt: skip
    shape = net.op("Concat", net.op("Shape", x, start=1, end=2), most, axis=0)
    highest = net.op("Transpose", net.op("ReduceMax", x, net.ints([-1]), keepdims=0), perm=[1, 0])
    total = net.op("ReduceSum", net.op("Where", live, highest, _number(net, x, 0.0)), net.ints([1]), keepdims=1)
    return [found, net.op("GatherND", best, places), shape, net.op("Neg", total)]


# Matrices


@operator("MatrixBandPart")
def _band(net: Net, node: Node, inputs: list[str]) -> str:
    x, (lower, upper) = inputs[0], (net.list(node, i, "band")[0] for i in inputs[1:3])
    cast = net.graph.dtype(x) == np.bool_
    x = net.op("Cast", x, to=7) if cast else x
    if upper >= 0:
        x = net.op("Trilu", x, net.graph.constant(np.array(upper, np.int64), "band"), upper=0)
    if lower >= 0:
        x = net.op("Trilu", x, net.graph.constant(np.array(-lower, np.int64), "band"), upper=1)
    return net.op("Cast", x, to=9) if cast else x


def _eye(net: Net, size: str) -> str:
    """(N, N) bool, of N as a list of one."""
    zero, one = (net.graph.constant(np.array(v, np.int64), "n") for v in (0, 1))
    numbers = net.op("Range", zero, net.op("Squeeze", size, net.ints([0])), one)
    return net.op("Equal", net.op("Unsqueeze", numbers, net.ints([1])), numbers)


@operator("Diag", "MatrixDiag", "MatrixDiagV2", "MatrixDiagV3")
def _diag(net: Net, node: Node, inputs: list[str]) -> str:
    if len(inputs) > 1:
        sizes = [net.list(node, i, "sizes") for i in inputs[1:4]]
        if sizes != [[0], [-1], [-1]]:
            raise node.fault("other diagonals than the main one are not converted")
    elif node.op == "Diag" and net.graph.rank(inputs[0]) != 1:
        raise node.fault("the diagonal of more than two axes is not converted")
    x = inputs[0]
    eye = _eye(net, net.op("Shape", x, start=-1))
    return net.op("Where", eye, net.op("Unsqueeze", x, net.ints([-1])), _number(net, x, 0))


@operator("DiagPart", "MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3")
def _diag_part(net: Net, node: Node, inputs: list[str]) -> str:
    x = inputs[0]
    places = net.list(node, inputs[1], "diagonals") if len(inputs) > 1 else [0]
    rows, columns, rank = net.size(x, -2), net.size(x, -1), net.graph.rank(x)
    if rows is None or columns is None or len(set(places)) != 1 or (node.op == "DiagPart" and rank != 2):
        raise node.fault("several diagonals, or those of a matrix of any size, are not converted")
    down, along = max(-places[0], 0), max(places[0], 0)
    count = min(rows - down, columns - along)
    if not 0 < count <= 4096:
        raise node.fault(f"there is no diagonal {places[0]} of {rows} by {columns}")
    where = np.stack([np.arange(count) + down, np.arange(count) + along], 1).astype(np.int64)
    turned = net.op("Transpose", x, perm=[rank - 2, rank - 1, *range(rank - 2)])
    line = net.op("GatherND", turned, net.graph.constant(where, "places"))
    return net.op("Transpose", line, perm=[*range(1, rank - 1), 0])


@operator("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def _set_diag(net: Net, node: Node, inputs: list[str]) -> str:
    x, diagonal = inputs[:2]
    if len(inputs) > 2 and net.list(node, inputs[2], "diagonals") != [0]:
        raise node.fault("other diagonals than the main one are not converted")
    rows, columns = net.size(x, -2), net.size(x, -1)
    if rows is None or rows != columns:
        raise node.fault("the diagonal of a matrix that is not square is not converted")
    return net.op("Where", _eye(net, net.op("Shape", x, start=-1)), net.op("Unsqueeze", diagonal, net.ints([-1])), x)


@operator("LinSpace")
def _linspace(net: Net, node: Node, inputs: list[str]) -> str:
    count = net.list(node, inputs[2], "number of places")[0]
    steps = net.graph.constant(np.arange(count, dtype=np.float32) / max(count - 1, 1), "steps")
    return net.op("Add", inputs[0], net.op("Mul", net.op("Sub", inputs[1], inputs[0]), steps))


# Places


@operator("ScatterNd")
def _scatter(net: Net, node: Node, inputs: list[str]) -> str:
    places, updates, shape = inputs
    kind = net.graph.dtype(updates)
    empty = net.op("ConstantOfShape", shape, value=np.zeros(1, kind))
    return net.op("ScatterND", empty, places, updates, reduction=None if kind == np.bool_ else "add")


SCATTER = {"TensorScatterUpdate": None, "TensorScatterAdd": "add", "TensorScatterMax": "max", "TensorScatterMin": "min"}


@operator(*SCATTER)
def _scatter_to(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("ScatterND", *inputs, reduction=SCATTER[node.op])


@operator("TensorScatterSub")
def _scatter_less(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("ScatterND", inputs[0], inputs[1], net.op("Neg", inputs[2]), reduction="add")


@operator("SparseToDense")
def _dense(net: Net, node: Node, inputs: list[str]) -> str:
    places, shape, values, usual = inputs
    empty = net.op("Expand", usual, net.op("Cast", shape, to=7))
    known = net.graph.find_shape(places)
    if known is not None and 0 in known:
        return empty
    rank = net.graph.rank(places)
    if rank < 2:  # places along the one axis
        places = net.op("Reshape", places, net.ints([-1, 1]))
    if net.graph.rank(values) == 0:
        values = net.op("Expand", values, net.op("Shape", places, end=1))
    return net.op("ScatterND", empty, net.op("Cast", places, to=7), values)


# How segments are joined, and what one without any row holds.
SEGMENTS: dict[str, tuple[str, float]] = {
    "Sum": ("add", 0.0), "Mean": ("add", 0.0), "Prod": ("mul", 1.0),
    "Max": ("max", float(np.finfo(np.float32).min)), "Min": ("min", float(np.finfo(np.float32).max)),
}  # fmt: skip


@operator("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd", "SegmentSum",
          "SegmentMean", "SegmentSumV2")  # fmt: skip
def _segments(net: Net, node: Node, inputs: list[str]) -> str:
    x, places = inputs[:2]
    how, start = SEGMENTS[node.op.split("Segment")[1].removesuffix("V2")]
    kind = net.graph.dtype(x)
    if net.graph.rank(places) != 1 or (kind.kind != "f" and start not in (0.0, 1.0)):
        raise node.fault("this kind of segments is not converted")
    if len(inputs) > 2:
        count = net.shape1(inputs[2])
    else:
        count = net.op("Add", net.op("ReduceMax", places, net.ints([0]), keepdims=1), net.ints([1]))

    def joined(value: str) -> str:
        shape = net.op("Concat", count, net.op("Shape", value, start=1), axis=0)
        empty = net.op("Expand", _number(net, value, start), shape)
        return net.op("ScatterND", empty, net.op("Unsqueeze", places, net.ints([1])), value, reduction=how)

    if not node.op.endswith("Mean"):
        return joined(x)
    ones = net.op("Expand", _number(net, x, 1.0), net.op("Shape", x))
    return net.op("Div", joined(x), net.op("Max", joined(ones), _number(net, x, 1.0)))


@operator("SparseTensorDenseMatMul")
def _sparse_product(net: Net, node: Node, inputs: list[str]) -> str:
    places, values, shape, dense = inputs
    empty = net.op("ConstantOfShape", shape, value=np.zeros(1, np.float32))
    a = net.op("ScatterND", empty, places, values, reduction="add")
    a = net.op("Transpose", a, perm=[1, 0]) if node.get("adjoint_a") else a
    b = net.op("Transpose", dense, perm=[1, 0]) if node.get("adjoint_b") else dense
    return net.op("MatMul", a, b)


@operator("LowerBound", "UpperBound")
def _bound(net: Net, node: Node, inputs: list[str]) -> str:
    """How many of a row in order are less (or not more) than each value."""
    rows, values = inputs
    op = "Greater" if node.op == "LowerBound" else "GreaterOrEqual"
    each = net.op(op, net.op("Unsqueeze", values, net.ints([-1])), net.op("Unsqueeze", rows, net.ints([-2])))
    return net.op("ReduceSum", net.op("Cast", each, to=7), net.ints([-1]), keepdims=0)


@operator("UniqueWithCounts")
def _unique_counts(net: Net, node: Node, inputs: list[str]) -> list[str]:
    found = net.graph.add("Unique", inputs[0], outputs=4, axis=0, sorted=0)
    return [found[0], found[2], found[3]]


@operator("DynamicPartition")
def _partition(net: Net, node: Node, inputs: list[str]) -> list[str]:
    x, places = inputs
    count = int(node.get("num_partitions", 0))
    if net.graph.rank(places) != 1 or not 0 < count <= 64:
        raise node.fault("parts of more than one axis are not converted")
    numbers = [net.graph.constant(np.array(i, np.int64), "part") for i in range(count)]
    return [net.op("Compress", x, net.op("Equal", places, n), axis=0) for n in numbers]


@operator("LeftShift", "RightShift")
def _shift(net: Net, node: Node, inputs: list[str]) -> str:
    power = net.op("Pow", net.graph.constant(np.array(2, np.int64), "two"), inputs[1])
    if node.op == "LeftShift":
        return net.op("Mul", inputs[0], power)
    return net.op("Div", net.op("Sub", inputs[0], net.op("Mod", inputs[0], power)), power)


@operator("Invert")
def _inverted(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("BitwiseNot", inputs[0])


@operator("Cross")
def _cross(net: Net, node: Node, inputs: list[str]) -> str:
    turn, back = net.ints([1, 2, 0]), net.ints([2, 0, 1])
    parts = []
    for one, other in ((turn, back), (back, turn)):
        parts.append(net.op("Mul", *[net.op("Gather", i, k, axis=-1) for i, k in zip(inputs, (one, other))]))
    return net.op("Sub", *parts)


@operator("ShapeN")
def _shapes(net: Net, node: Node, inputs: list[str]) -> list[str]:
    return [net.op("Shape", i) for i in inputs]


@operator("SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits")
def _cross_entropy(net: Net, node: Node, inputs: list[str]) -> list[str]:
    logits, labels = inputs
    log = net.op("LogSoftmax", logits, axis=-1)
    if node.op.startswith("Sparse"):
        picked = net.op("GatherElements", log, net.op("Unsqueeze", labels, net.ints([-1])), axis=-1)
        return [net.op("Neg", net.op("Squeeze", picked, net.ints([-1])))]
    return [net.op("Neg", net.op("ReduceSum", net.op("Mul", log, labels), net.ints([-1]), keepdims=0))]


@operator("ParallelDynamicStitch", "DynamicStitch")
def _stitch(net: Net, node: Node, inputs: list[str]) -> str:
    """Rows put at their places: of constants, or of shapes that are put together."""
    half = len(inputs) // 2
    places = [net.known(node, i, "places") for i in inputs[:half]]
    order = np.concatenate([p.reshape(-1) for p in places])
    if sorted(order.tolist()) != list(range(len(order))):
        raise node.fault("places that are not each named once are not converted")
    rows = []
    for place, value in zip(places, inputs[half:]):
        tail = net.op("Shape", value, start=place.ndim)
        rows.append(net.op("Reshape", value, net.op("Concat", net.ints([place.size]), tail, axis=0)))
    return net.op("Gather", net.op("Concat", *rows, axis=0), net.ints(np.argsort(order).tolist()), axis=0)


@operator("BroadcastArgs")
def _broadcast(net: Net, node: Node, inputs: list[str]) -> str:
    sizes = [net.graph.find_shape(i) for i in inputs]
    if None in sizes:
        raise node.fault("shapes of a number of axes that is not known are not converted")
    length = max(s[0] for s in sizes if s)
    padded = [
        net.op("Concat", net.ints([1] * (length - s[0])), i, axis=0) if s[0] < length else i
        for i, s in zip(inputs, sizes)
        if s
    ]
    return net.op("Max", *padded)


# Chance: what an inference graph draws, if not for dropout, is no answer.


@operator("RandomUniform", "StatelessRandomUniformV2")
def _uniform(net: Net, node: Node, inputs: list[str]) -> str:
    """For dropout: a number of nearly one keeps everything, as it is when nothing is to be dropped."""
    if "dropout" not in node.whole.lower():
        raise node.fault("draws random numbers; a network that does is not converted")
    text = "dropout keeps everything: its random numbers are left out"
    if text not in net.top.notes:
        net.top.notes.append(text)
    return net.op("ConstantOfShape", inputs[0], value=np.array([1 - 2.0**-10], np.float32))


@operator("RandomStandardNormal", "TruncatedNormal", "Multinomial", "RandomUniformInt", "StatelessRandomNormalV2",
          "StatelessRandomGetKeyCounter", "RandomShuffle", "StatelessMultinomial")  # fmt: skip
def _random(net: Net, node: Node, inputs: list[str]) -> str:
    raise node.fault("draws random numbers; a network that does is not converted")
