"""CNTK v1 (BrainScript) files: nodes with their settings one behind the other, then who reads whom.

Nothing in the file says how long a node is: every kind has its own fields, and they grew from version to version. What
is known of a node is read; what later versions put behind it is passed over up to the next node.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.cntk import network as cn
from sensorium.formats.cntk.network import Axis, Function, Network, Variable

MAGIC = b"B\0C\0N\0\0\0"
NODES, LIST = 1_000_000, 1 << 16  # most nodes, and most entries of one list
GAP = 4096  # bytes that may be passed over behind a node
HWC, CHW = 0, 1

# Kinds that v2 calls otherwise, and nothing else about them differs.
RENAMED = {
    "RectifiedLinear": "ReLU",
    "Cosine": "Cos",
    "If": "Select",
    "SumElements": "SumAll",
    "SquareError": "SquaredError",
    "ErrorPrediction": "ClassificationError",
    "CrossEntropy": "CrossEntropyWithSoftmax",
    "ReconcileMBLayout": "ReconcileDynamicAxis",
    "Delay": "PastValue",
    "Scale": "ElementTimes",
    "DiagTimes": "ElementTimes",
    "RowElementTimes": "ElementTimes",
    "LookupTable": "Times",
    "NDCG1Eval": "NDCG",
}
# CNTK's nodes take their inputs in another order than the functions of v2: where each of those comes from.
ORDER = {"Clip": (2, 0, 1), "GatherPacked": (1, 0), "OptimizedRNNStack": (1, 0), "ScatterPacked": (2, 1, 0)}
SEQUENTIAL = ("PastValue", "FutureValue", "OptimizedRNNStack", "Where", "PackedIndex", "GatherPacked")


class Stream:
    """The bytes of a file, read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.at = 0

    def take(self, size: int) -> memoryview:
        if size < 0 or size > len(self.data) - self.at:
            raise InputError(f"truncated or corrupt: {size} bytes wanted, {len(self.data) - self.at} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def flag(self) -> bool:
        return bool(self.number("B"))

    def text(self) -> str:
        """UTF-16 up to a zero."""
        end = self.at
        limit = min(len(self.data), self.at + (LIST << 1))
        while end + 1 < limit and (self.data[end] or self.data[end + 1]):
            end += 2
        if end + 1 >= limit:
            raise InputError("truncated or corrupt: a name does not end")
        found = bytes(self.data[self.at : end]).decode("utf-16-le", "replace")
        self.at = end + 2
        return found

    def ahead(self, text: str) -> bool:
        """Whether this text comes next; it is then passed."""
        mark = text.encode("utf-16-le") + b"\0\0"
        if bytes(self.data[self.at : self.at + len(mark)]) != mark:
            return False
        self.at += len(mark)
        return True

    def marker(self, text: str) -> None:
        if not self.ahead(text):
            raise InputError(f"truncated or corrupt: no '{text}' where it should be")

    def shape(self) -> tuple[int, ...]:
        rank = self.number("I")
        if rank > cn.RANK:
            raise InputError(f"corrupt: a shape of {rank} axes")
        return tuple(self.number("I") for _ in range(rank))

    def count(self, code: str = "Q") -> int:
        found = self.number(code)
        if not 0 <= found <= LIST:
            raise InputError(f"corrupt: a list of {found}")
        return int(found)

    def flags(self) -> list[bool]:
        return [self.flag() for _ in range(self.count())]

    def matrix(self, double: bool) -> tuple[np.ndarray, int, int]:
        """A stored matrix, flat as it lies, and its rows and columns."""
        kind = chr(self.number("B"))
        if kind != "d":
            raise InputError("a sparse matrix is stored, which is not read")
        self.marker("BMAT")
        size = self.number("Q")
        self.text()
        self.number("i")
        rows, columns = self.number("Q"), self.number("Q")
        if size not in (4, 8) or rows > 1 << 31 or columns > 1 << 31:
            raise InputError(f"corrupt: a matrix of {rows} by {columns} elements of {size} bytes")
        flat = np.frombuffer(self.take(rows * columns * size), "<f4" if size == 4 else "<f8")
        self.marker("EMAT")
        return flat, rows, columns

    def pass_over(self) -> None:
        """To the next node, or the end of the nodes: what a later version put behind this one."""
        marks = [m.encode("utf-16-le") + b"\0\0" for m in ("float", "double", "half", "ENodeList")]
        window = bytes(self.data[self.at : self.at + GAP])
        places = [p for p in (window.find(m) for m in marks) if p >= 0]
        if not places:
            raise InputError("truncated or corrupt: no other node follows")
        self.at += min(places)


class Reader:
    """The nodes of one file."""

    def __init__(self, data: bytes) -> None:
        self.stream = Stream(data)
        self.network = Network("1")
        self.names: dict[str, tuple[str, str]] = {}  # of a node: identifier, name
        self.outputs: dict[str, str] = {}  # of a node: its value
        self.kernels: dict[str, tuple[int, ...]] = {}
        self.axes: dict[str, str] = {}

    def read(self) -> Network:
        s = self.stream
        s.marker("BCN")
        self.version = 1
        if s.ahead("BVersion"):
            self.version = s.number("Q")
            s.marker("EVersion")
        if self.version > 1000:
            raise InputError(f"corrupt: version {self.version}")
        self.network.version = f"1.{self.version}"
        count = s.number("Q")
        if count > NODES:
            raise InputError(f"corrupt: {count} nodes")
        s.marker("BNodeList")
        for _ in range(count):
            self._node()
        s.marker("ENodeList")
        self._relations(count)
        self._roots()
        return self.network

    def _node(self) -> None:
        s = self.stream
        precision = s.text() if self.version >= 7 else "float"
        if precision not in ("float", "double", "half", ""):
            raise InputError(f"corrupt: elements of the kind '{precision[:40]}'")
        kind, name = s.text(), s.text()
        uid, label = plain_name(name)
        if name in self.names:
            raise InputError(f"corrupt: two nodes named '{label or uid}'")
        self.names[name] = (uid, label)
        double = precision == "double"
        try:
            if kind in ("InputValue", "SparseInputValue"):
                self._input(name, uid, label, kind, double)
            elif kind in ("LearnableParameter", "Mean", "InvStdDev"):
                self._parameter(name, uid, label, kind, double)
            elif kind != "DynamicAxis":
                self._function(name, uid, label, kind, double)
        except InputError as error:
            raise InputError(f"layer '{label or uid}' ({kind}): {error}") from None
        if self.version >= 7:
            s.pass_over()

    def _input(self, name: str, uid: str, label: str, kind: str, double: bool) -> None:
        s = self.stream
        rows = s.number("Q")
        s.number("Q")
        shape = s.shape()
        axis = ""
        if self.version >= 8 and s.number("I"):
            axis = s.text()
        if rows and int(np.prod(shape, dtype=np.float64)) != rows:
            shape = (rows,)
        self.axes[uid] = axis
        self.network.variables[uid] = Variable(
            uid, label, cn.INPUT, shape, 1, cn.DOUBLE if double else cn.FLOAT, None, kind != "InputValue"
        )
        self.outputs[name] = uid

    def _parameter(self, name: str, uid: str, label: str, kind: str, double: bool) -> None:
        s = self.stream
        shape: tuple[int, ...] | None = None
        if kind != "LearnableParameter":
            if not s.flag():
                raise InputError("its statistics were never computed")
        elif self.version >= 3:
            s.number("f")
            shape = s.shape()
        else:
            s.flag()
            rows, columns = s.number("Q"), s.number("Q")
            shape = (rows, columns) if rows else s.shape() + ((columns,) if columns > 1 else ())
        flat, rows, columns = s.matrix(double)
        shape = ((rows,) if columns == 1 else (rows, columns)) if shape is None else shape
        needed = 1
        for size in shape:
            needed *= size
        if needed != flat.size:
            raise InputError(f"its shape {list(shape)} needs {needed} values, the file has {flat.size}")
        self.network.variables[uid] = Variable(uid, label, cn.PARAMETER, shape, value=_stored(flat, shape))
        self.outputs[name] = uid

    def _function(self, name: str, uid: str, label: str, kind: str, double: bool) -> None:
        op = RENAMED.get(kind, kind)
        attributes: dict[str, Any] = {}
        reader = FIELDS.get(kind) or FIELDS.get(op)
        if reader is not None:
            attributes = reader(self.stream, self.version, double)
        elif self.version < 7 and op not in PLAIN:
            raise InputError("this kind of node is not known")
        op = attributes.pop("op", op)
        self.network.functions[uid] = Function(uid, label, op, [], attributes)
        self.outputs[name] = f"{uid}_Output_0"

    def _relations(self, count: int) -> None:
        s = self.stream
        s.marker("BRelation")
        for _ in range(count):
            name = s.text()
            if name not in self.names:
                raise InputError(f"corrupt: there is no node '{name[:80]}'")
            sources = [s.text() for _ in range(s.count())]
            uid = self.names[name][0]
            function = self.network.functions.get(uid)
            if function is None:
                continue
            for source in sources:
                if source not in self.outputs:
                    raise InputError(f"layer '{function.label}': its input '{source[:80]}' is nowhere in the file")
            inputs = [self.outputs[source] for source in sources]
            order = ORDER.get(function.op)
            if order is not None and len(inputs) == len(order):
                inputs = [inputs[i] for i in order]
            function.inputs = inputs
        s.marker("ERelation")
        for function in list(self.network.functions.values()):
            self._adapt(function)
        sequential = any(f.op in SEQUENTIAL for f in self.network.functions.values())
        for uid, axis in self.axes.items():
            if sequential and axis != "__noSequenceAxis":
                self.network.variables[uid].dynamic = 2

    def _adapt(self, function: Function) -> None:
        """What v2 writes in another way."""
        if function.op == "Convolution" and function.inputs:
            self._kernel(function)
        if function.op == "BatchNormalization" and self.version < 13 and len(function.inputs) >= 5:
            variable = self.network.variables.get(function.inputs[4])
            if variable is not None and variable.value is not None:
                epsilon = float(function.attributes["epsilon"])
                function.inputs[4] = self._variant(variable, "variance", _variance(variable.value, epsilon))
        if function.op == "PerDimMeanVarNormalization" and len(function.inputs) == 3:
            value, mean, scale = function.inputs
            middle = Function(f"{function.uid}.centred", "", "Minus", [value, mean])
            self.network.functions[middle.uid] = middle
            function.op, function.inputs = "ElementTimes", [f"{middle.uid}_Output_0", scale]

    def _kernel(self, function: Function) -> None:
        """Kernels of old models are matrices [out x (w h in)] that hold [w x h x in x out]."""
        variable = self.network.variables.get(function.inputs[0])
        window: tuple[int, ...] = function.attributes.get("kernelShape") or ()
        if variable is None or variable.value is None or len(variable.shape) != 2 or len(window) < 2:
            return
        outs, inner = variable.shape[0], variable.shape[1]
        spatial = window[:-1] if len(window) > 2 else window
        area = int(np.prod(spatial, dtype=np.float64))
        if not area or inner % area:
            raise InputError(
                f"layer '{function.label}': a kernel matrix {list(variable.shape)} for a window {list(window)}"
            )
        shape = (*spatial, inner // area, outs)
        read = variable.value
        function.inputs[0] = self._variant(variable, "kernel", lambda label: read(label).reshape(shape[::-1]), shape)

    def _variant(
        self, variable: Variable, what: str, value: Callable[[str], np.ndarray], shape: tuple[int, ...] | None = None
    ) -> str:
        uid = f"{variable.uid}.{what}"
        shape = variable.shape if shape is None else shape
        self.network.variables[uid] = Variable(uid, variable.name, cn.PARAMETER, shape, value=value)
        return uid

    def _roots(self) -> None:
        """The outputs that the file names; or else what nothing reads."""
        s = self.stream
        s.marker("BRootNodes")
        groups: dict[str, list[str]] = {}
        for group in ("Feature", "Label", "Criterion", "Criteria", "NodesReqMultiSeqHandling", "Eval", "Output"):
            begin = f"B{group}Nodes" if not group.startswith("Nodes") else f"B{group}"
            if s.ahead(begin):
                groups[group] = [s.text() for _ in range(s.count())]
            ends = [f"E{group}Nodes", f"E{group}", "ECriteriaNodes", "ECriterionNodes"]
            any(s.ahead(end) for end in ends)
        functions = {f"{uid}_Output_0" for uid in self.network.functions}
        named = [self.outputs.get(name, "") for name in groups.get("Output", [])]
        read = {source for f in self.network.functions.values() for source in f.inputs}
        found = [uid for uid in named if uid in functions] or sorted(functions - read)
        if not found:
            raise InputError("it names no output")
        self.network.roots = found


def plain_name(name: str) -> tuple[str, str]:
    """Identifier and name of a node; the v2 library writes both into one."""
    if name.startswith("__v2libuid__") and "__v2libname__" in name:
        uid, _, label = name[len("__v2libuid__") :].partition("__v2libname__")
        return uid, label
    return name, name


def _stored(flat: np.ndarray, shape: tuple[int, ...]) -> Callable[[str], np.ndarray]:
    return lambda label: flat.reshape(shape[::-1]).astype(np.float32)


def _variance(inverse: Callable[[str], np.ndarray], epsilon: float) -> Callable[[str], np.ndarray]:
    """Before version 13 the inverse of the deviation was stored."""
    return lambda label: (1 / np.square(inverse(label).astype(np.float64)) - epsilon).astype(np.float32)


# The fields of each kind of node.

Fields = Callable[[Stream, int, bool], dict[str, Any]]


def _times(s: Stream, version: int, double: bool) -> dict[str, Any]:
    rank = s.number("Q") if version >= 3 else 1
    return {"outputRank": rank, "inferInputRankToMap": s.number("i") if version >= 12 else -1}


def _lookup(s: Stream, version: int, double: bool) -> dict[str, Any]:
    return {"outputRank": 1, "inferInputRankToMap": -1}


def _windows(s: Stream, version: int) -> dict[str, Any]:
    found: dict[str, Any] = {"kernelShape": s.shape(), "mapCount": s.shape(), "strides": s.shape()}
    found |= {"sharing": s.flags(), "autoPadding": s.flags(), "lowerPad": s.shape(), "upperPad": s.shape()}
    found["kind"] = s.number("i")
    found["layout_kind"] = s.number("i")
    s.number("Q")
    found["transpose"] = s.flag() if version >= 9 else False
    found["outputShape"] = s.shape() if version >= 20 else (0,)
    found["ceilOutDim"] = s.flag() if version >= 21 else False
    found["includePad"] = s.flag() if version >= 23 else False
    return found


def _chw(kind: int) -> None:
    if kind != CHW:
        raise InputError("pictures with the channel as fastest axis (legacy HWC layout) are not converted")


def _convolution(s: Stream, version: int, double: bool) -> dict[str, Any]:
    if version < 5:
        sizes = [s.number("Q") for _ in range(4)]
        s.number("I")
        _chw(s.number("I"))
        padded = s.flag()
        s.number("Q")
        return {
            "kernelShape": (sizes[0], sizes[1], 1),
            "strides": (sizes[2], sizes[3], 1),
            "autoPadding": [padded, padded, False],
        }
    found = _windows(s, version)
    plane = s.flag()
    found["dilation"] = s.shape() if version >= 18 else (1,)
    _chw(found["layout_kind"])
    if plane:  # two axes, whatever is written of the channels
        found["autoPadding"] = [*(found["autoPadding"] * 2)[:2], False]
        found["sharing"] = [True]
    return found


def _pooling(s: Stream, version: int, double: bool) -> dict[str, Any]:
    found = _windows(s, version)
    _chw(found["layout_kind"])
    return found | {"poolingWindowShape": found["kernelShape"], "poolingType": found["kind"] - 1}


def _unpooling(s: Stream, version: int, double: bool) -> dict[str, Any]:
    found = _windows(s, version)
    return found | {"unpoolingWindowShape": found["kernelShape"], "poolingType": 0, "op": "Unpooling"}


def _old_pooling(average: int) -> Fields:
    def read(s: Stream, version: int, double: bool) -> dict[str, Any]:
        width, kind = s.number("I"), s.number("I")
        height, across, down = s.number("Q"), s.number("Q"), s.number("Q")
        _chw(kind)
        return {
            "op": "Pooling",
            "poolingType": average,
            "poolingWindowShape": (width, height),
            "strides": (across, down),
        }

    return read


def _batch_norm(s: Stream, version: int, double: bool) -> dict[str, Any]:
    if version < 6:
        raise InputError(f"batch normalisation of version {version} is not read")
    spatial = s.flag()
    s.take(8 + 8 + 4)
    s.take(1 if version == 19 else 8)
    return {"spatial": spatial, "epsilon": float(s.number("d"))}


def _delay(s: Stream, version: int, double: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"offset": s.number("i")}
    if version > 3:
        shape = s.shape()
        if shape and all(shape):
            found["layout"] = shape
    else:
        rows, _ = s.number("Q"), s.number("Q")
        found["layout"] = (rows,)
    if version >= 2:
        found["initial"] = float(s.number("d" if double else "f"))
    return found


def _slice(s: Stream, version: int, double: bool) -> dict[str, Any]:
    axes, starts, stops, steps = [], [], [], []
    for _ in range(s.count("i") if version >= 22 else 1):
        start, length = s.number("q"), s.number("q")
        axes.append(Axis((s.number("i") if version >= 3 else 1) - 1))
        starts.append(start)
        stops.append(start + length)
        steps.append(s.number("i") if version >= 27 else 1)
    return {"axisVec": axes, "beginIndexVec": starts, "endIndexVec": stops, "sliceStridesVec": steps}


def _row_slice(s: Stream, version: int, double: bool) -> dict[str, Any]:
    start, rows = s.number("Q"), s.number("Q")
    return {"op": "Slice", "axis": Axis(0), "beginIndex": start, "endIndex": start + rows}


def _row_stack(s: Stream, version: int, double: bool) -> dict[str, Any]:
    return {"op": "Splice", "axis": Axis((s.number("i") if version >= 3 else 1) - 1)}


def _reshape(s: Stream, version: int, double: bool) -> dict[str, Any]:
    begin, end = s.number("i"), s.number("i")
    found: dict[str, Any] = {"newShape": s.shape()}
    if begin > 0:
        found["beginAxis"] = Axis(begin - 1)
    if end > 0:
        found["endAxis"] = Axis(end - 1)
    return found


def _transpose(s: Stream, version: int, double: bool) -> dict[str, Any]:
    one, two = (s.number("i"), s.number("i")) if version >= 3 else (1, 2)
    if one < 1 or two < 1:
        raise InputError("an order of axes given as a list is not read from v1 files")
    return {"op": "TransposeAxes", "axis1": Axis(one - 1), "axis2": Axis(two - 1)}


def _reduce(s: Stream, version: int, double: bool) -> dict[str, Any]:
    start = s.at
    axis = s.number("i")
    kind = s.text()
    if not kind.isalpha():  # later versions list several axes
        s.at = start
        axes = [s.number("i") for _ in range(s.count())]
        kind = s.text()
    else:
        axes = [axis]
    if not kind.isalpha():
        raise InputError("its axes are not read")
    special = {0: cn.ALL_STATIC, -1: cn.ALL}
    found = [Axis(axis - 1) if axis > 0 else Axis(special.get(axis, cn.DYNAMIC)) for axis in axes]
    keep = s.flag() if version >= 24 else all(axis >= 0 for axis in axes)
    return {"op": "ReduceElements", "axisVec": found, "reductionOpName": kind, "reductionKeepDimensions": keep}


def _column_sum(s: Stream, version: int, double: bool) -> dict[str, Any]:
    return {"op": "ReduceElements", "axis": Axis(0), "reductionOpName": "Sum"}


def _where(s: Stream, version: int, double: bool) -> dict[str, Any]:
    return {"newDynamicAxes": [0] if s.text() == "__noSequenceAxis" else [0, 1]}


def _rnn(s: Stream, version: int, double: bool) -> dict[str, Any]:
    ways, layers, hidden = s.flag(), s.number("Q"), s.number("Q")
    return {"bidirectional": ways, "numLayers": layers, "hiddenSize": hidden, "recurrentOp": s.text()}


FIELDS: dict[str, Fields] = {
    "Times": _times,
    "TransposeTimes": _times,
    "LookupTable": _lookup,
    "Convolution": _convolution,
    "Pooling": _pooling,
    "MaxUnpooling": _unpooling,
    "MaxPooling": _old_pooling(0),
    "AveragePooling": _old_pooling(1),
    "BatchNormalization": _batch_norm,
    "PastValue": _delay,
    "FutureValue": _delay,
    "Slice": _slice,
    "RowSlice": _row_slice,
    "RowStack": _row_stack,
    "Reshape": _reshape,
    "TransposeDimensions": _transpose,
    "ReduceElements": _reduce,
    "SumColumnElements": _column_sum,
    "Where": _where,
    "OptimizedRNNStack": _rnn,
}
# Kinds without fields, for versions that give no other sign of where a node ends.
PLAIN_NAMES = """
Negate Sigmoid Tanh ReLU Exp Log Sqrt Floor Abs Reciprocal Softmax LogSoftmax Hardmax Plus Minus ElementTimes Cos
Sin SumAll SquaredError CrossEntropyWithSoftmax ClassificationError CosDistance Select Pass Dropout
PerDimMeanVarNormalization Logistic Clip
"""
PLAIN = frozenset(PLAIN_NAMES.split())


def read_v1(data: bytes) -> Network:
    """Parse a v1 model.

    Raises:
        InputError: it is damaged, or has a node whose fields are not known.
    """
    return Reader(data).read()
