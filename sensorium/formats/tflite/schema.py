"""TFLite's flat buffer: a bounds-checked reader, and what of schema.fbs (version 3) is needed.

Every offset, length and index is checked before it is followed: nothing in a file can make it read elsewhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError

ENTRIES = 1 << 20  # of one list of tables
RANK = 8

OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM
MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND
SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN
EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2
GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG
SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT
UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE
MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND
SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL PLACEHOLDER CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL
COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE
READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
"""
CODES = dict(enumerate(OPERATORS.split()))

# Types of elements.
FLOAT32, FLOAT16, INT32, UINT8, INT64, STRING, BOOL, INT16, COMPLEX64, INT8, FLOAT64 = range(11)
UINT32, UINT16, INT4 = 15, 16, 17
DTYPES: dict[int, Any] = {
    FLOAT32: np.float32,
    FLOAT16: np.float16,
    INT32: np.int32,
    UINT8: np.uint8,
    INT64: np.int64,
    BOOL: np.bool_,
    INT16: np.int16,
    INT8: np.int8,
    FLOAT64: np.float64,
    UINT32: np.uint32,
    UINT16: np.uint16,
}


class Table:
    """A table of a flat buffer; fields by their number in the schema."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data, self.at = data, at
        back = self._read("i", at)
        self.fields = at - back
        size = self._read("H", self.fields)
        if size < 4 or size % 2 or self.fields + size > len(data):
            raise InputError("corrupt: a table's offset leads outside of the file")
        self.count = (size - 4) // 2

    def _read(self, code: str, at: int) -> Any:
        size = struct.calcsize("<" + code)
        if at < 0 or at + size > len(self.data):
            raise InputError(f"truncated or corrupt: an offset ({at}) outside of the file's {len(self.data)} bytes")
        return struct.unpack_from("<" + code, self.data, at)[0]

    def _place(self, number: int) -> int:
        offset = self._read("H", self.fields + 4 + 2 * number) if number < self.count else 0
        return self.at + offset if offset else 0

    def has(self, number: int) -> bool:
        return bool(self._place(number))

    def number(self, number: int, code: str, default: Any = 0) -> Any:
        place = self._place(number)
        return self._read(code, place) if place else default

    def flag(self, number: int) -> bool:
        return bool(self.number(number, "B"))

    def table(self, number: int) -> Table | None:
        place = self._place(number)
        return Table(self.data, place + self._read("I", place)) if place else None

    def _vector(self, number: int, size: int) -> tuple[int, int]:
        place = self._place(number)
        if not place:
            return 0, 0
        start = place + self._read("I", place)
        count = self._read("I", start)
        if count * size > len(self.data) - start - 4:
            raise InputError(
                f"truncated or corrupt: a list of {count} entries where {len(self.data) - start} bytes are"
            )
        return start + 4, count

    def array(self, number: int, dtype: Any) -> np.ndarray:
        kind = np.dtype(dtype).newbyteorder("<")
        start, count = self._vector(number, kind.itemsize)
        return np.frombuffer(self.data[start : start + count * kind.itemsize], kind)

    def raw(self, number: int) -> memoryview:
        start, count = self._vector(number, 1)
        return self.data[start : start + count]

    def text(self, number: int) -> str:
        return bytes(self.raw(number)[:4096]).decode("utf-8", "replace")

    def tables(self, number: int) -> list[Table]:
        start, count = self._vector(number, 4)
        if count > ENTRIES:
            raise InputError(f"corrupt: a list of {count} tables")
        return [Table(self.data, at + self._read("I", at)) for at in range(start, start + 4 * count, 4)]


@dataclass
class Tensor:
    """One tensor.

    Attributes:
        shape: of the example; `free` the axes that the file leaves open.
        scale, zero: of quantised elements, one each or one for every place along `axis`; None where it is not.
        stored: its content in the file, or None.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    free: tuple[int, ...] = ()
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None
    axis: int = 0
    stored: memoryview | None = None
    variable: bool = False

    @property
    def quantised(self) -> bool:
        return self.scale is not None

    def array(self) -> np.ndarray:
        """Its content as it is stored.

        Raises:
            InputError: the bytes are not those of its shape.
        """
        dtype = DTYPES.get(self.kind)
        if dtype is None or self.stored is None:
            raise InputError(f"tensor '{self.name}': elements of type {self.kind} are not read")
        count = 1
        for size in self.shape:
            count *= size
        if count * np.dtype(dtype).itemsize != len(self.stored):
            raise InputError(
                f"tensor '{self.name}': corrupt: its shape {list(self.shape)} does not fit its {len(self.stored)} bytes"
            )
        return np.frombuffer(self.stored, dtype).reshape(self.shape)


@dataclass
class Operator:
    op: str
    inputs: list[int]
    outputs: list[int]
    options: Table | None
    label: str
    custom: bytes = b""


@dataclass
class Subgraph:
    tensors: list[Tensor]
    inputs: list[int]
    outputs: list[int]
    operators: list[Operator]


@dataclass
class Model:
    version: int
    description: str
    graphs: list[Subgraph] = field(default_factory=list)


def read(data: bytes) -> Model:
    """Parse a model.

    Raises:
        InputError: it is damaged, or has operators that are not known.
    """
    view = memoryview(data)
    if len(view) < 16:
        raise InputError(f"truncated: {len(view)} bytes")
    root = struct.unpack_from("<I", view)[0]
    if root + 8 > len(view):
        raise InputError(f"corrupt: the root's offset ({root}) lies outside of the file's {len(view)} bytes")
    top = Table(view, root)
    model = Model(top.number(0, "I"), top.text(3))
    if model.version != 3:
        raise InputError(f"corrupt, or of an unknown version: {model.version} (only 3 is read)")
    codes = [_code(t) for t in top.tables(1)]
    buffers = top.tables(4)
    for number, graph in enumerate(top.tables(2)):
        model.graphs.append(_graph(graph, codes, buffers, number))
    if not model.graphs:
        raise InputError("corrupt: it has no graph")
    return model


def _code(table: Table) -> tuple[str, int]:
    number = max(table.number(3, "i"), table.number(0, "b"))
    return (table.text(1) if number == 32 else "", number)


def _indices(table: Table, number: int, count: int, what: str, optional: bool = False) -> list[int]:
    found = [int(i) for i in table.array(number, np.int32)]
    for i in found:
        if not (-1 if optional else 0) <= i < count:
            raise InputError(f"{what}: corrupt: there is no tensor with the index {i}, only {count}")
    return found


def _graph(table: Table, codes: list[tuple[str, int]], buffers: list[Table], number: int) -> Subgraph:
    tensors = [_tensor(t, buffers, i) for i, t in enumerate(table.tables(0))]
    count = len(tensors)
    operators = []
    for i, entry in enumerate(table.tables(3)):
        index = entry.number(0, "I")
        if index >= len(codes):
            raise InputError(f"operator {i}: corrupt: there is no operator code {index}")
        custom, code = codes[index]
        outputs = _indices(entry, 2, count, f"operator {i}")
        label = tensors[outputs[0]].name if outputs else f"{i}"
        name = f"CUSTOM:{custom}" if code == 32 else CODES.get(code, "")
        if not name:
            raise InputError(f"layer '{label[:80]}': the builtin operator code {code} is not one that is known")
        inputs = _indices(entry, 1, count, f"operator {i} ({name})", optional=True)
        operators.append(Operator(name, inputs, outputs, entry.table(4), label, bytes(entry.raw(5))))
    return Subgraph(
        tensors,
        _indices(table, 1, count, f"graph {number}"),
        _indices(table, 2, count, f"graph {number}"),
        operators,
    )


def _tensor(table: Table, buffers: list[Table], number: int) -> Tensor:
    name = table.text(3) or f"tensor{number}"
    shape = tuple(int(n) for n in table.array(0, np.int32))
    if len(shape) > RANK or any(n < 0 for n in shape):
        raise InputError(f"tensor '{name[:80]}': corrupt: a shape of {list(shape)[:9]}")
    signature = [int(n) for n in table.array(7, np.int32)]
    free = tuple(i for i, n in enumerate(signature) if n < 0) if len(signature) == len(shape) else ()
    kind = table.number(1, "b")
    buffer = table.number(2, "I")
    stored: memoryview | None = None
    if buffer:
        if buffer >= len(buffers):
            raise InputError(f"tensor '{name[:80]}': corrupt: there is no buffer {buffer}")
        stored = buffers[buffer].raw(0)
        if not len(stored):
            offset, size = buffers[buffer].number(1, "Q"), buffers[buffer].number(2, "Q")
            if offset > 1:  # content behind the flat buffer, in files larger than 2 GB
                if offset + size > len(table.data):
                    raise InputError(f"tensor '{name[:80]}': truncated: its content lies behind the end of the file")
                stored = table.data[offset : offset + size]
    if table.has(6):
        raise InputError(f"tensor '{name[:80]}': sparse tensors are not read")
    if kind == INT4:  # from here on with a byte each
        kind, stored = INT8, _unpacked(stored, shape, name)
    found = Tensor(name, kind, shape, free, stored=stored if stored is not None and len(stored) else None)
    found.variable = table.flag(5)
    quantisation = table.table(4)
    if quantisation is not None and kind in (UINT8, INT8, INT16, INT32, INT64):
        scale, zero = quantisation.array(2, np.float32), quantisation.array(3, np.int64)
        if len(scale):
            _quantised(found, scale, zero, quantisation.number(6, "i"))
    return found


def _unpacked(stored: memoryview | None, shape: tuple[int, ...], name: str) -> memoryview | None:
    """Numbers of four bits, two in a byte, the first in the lower half."""
    if stored is None:
        return None
    count = 1
    for size in shape:
        count *= size
    if len(stored) != (count + 1) // 2:
        raise InputError(f"tensor '{name[:80]}': corrupt: {len(stored)} bytes for {count} numbers of four bits")
    pairs = np.frombuffer(stored, np.uint8)
    halves = np.stack([pairs & 15, pairs >> 4], 1).reshape(-1)[:count]
    return memoryview(((halves ^ 8).astype(np.int8) - 8).tobytes())


def _quantised(tensor: Tensor, scale: np.ndarray, zero: np.ndarray, axis: int) -> None:
    zero = zero if len(zero) else np.zeros(1, np.int64)
    if len(zero) == 1:
        zero = np.repeat(zero, len(scale))
    name = tensor.name[:80]
    if len(zero) != len(scale) or not np.isfinite(scale).all() or (scale < 0).any():
        raise InputError(f"tensor '{name}': corrupt: {len(scale)} scales and {len(zero)} zero points")
    if len(scale) > 1 and not (0 <= axis < len(tensor.shape) and tensor.shape[axis] == len(scale)):
        raise InputError(f"tensor '{name}': corrupt: {len(scale)} scales along axis {axis} of {list(tensor.shape)}")
    limits = {UINT8: (0, 255), INT8: (-128, 127), INT16: (-32768, 32767)}.get(tensor.kind, (-(2**31), 2**31 - 1))
    if (zero < limits[0]).any() or (zero > limits[1]).any():
        raise InputError(f"tensor '{name}': corrupt: a zero point of {int(zero[0])}")
    tensor.scale, tensor.zero, tensor.axis = scale, zero, axis
