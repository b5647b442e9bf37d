"""The .params file: a list of arrays and their names (`NDArray::Save` of MXNet, all versions of its arrays)."""

from __future__ import annotations

import struct

import numpy as np

from sensorium.errors import InputError

MAGIC = bytes.fromhex("1201000000000000")
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE = 1 << 25  # elements of an array that is stored sparsely
RANK = 32
TYPES: dict[int, str] = {
    0: "<f4",
    1: "<f8",
    2: "<f2",
    3: "u1",
    4: "<i4",
    5: "i1",
    6: "<i8",
    7: "?",
    8: "<i2",
    12: "bf16",
}


class Stream:
    """Numbers and arrays out of bytes; every read is checked against what there is."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def numbers(self, kind: str, count: int = 1) -> tuple[int, ...]:
        size = struct.calcsize(kind) * count
        if count < 0 or size > self.left:
            raise InputError(f"{self.where}: truncated or corrupt at byte {self.at} of {len(self.data)}")
        found = struct.unpack_from(f"<{count}{kind}", self.data, self.at)
        self.at += size
        return found

    def number(self, kind: str) -> int:
        return self.numbers(kind)[0]

    def array(self, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        stored = "<u2" if kind == "bf16" else kind
        count = 1
        for size in shape:
            count *= size
        if count * np.dtype(stored).itemsize > self.left:
            raise InputError(
                f"{self.where}: truncated or corrupt: an array of shape {list(shape)[:8]} at byte {self.at} needs more "
                f"than the {self.left} bytes that are left"
            )
        found = np.frombuffer(self.data, stored, count, self.at).reshape(shape)
        self.at += found.nbytes
        if kind == "bf16":
            return (found.astype(np.uint32) << 16).view(np.float32)
        return found

    def shape(self, rank: int, kind: str) -> tuple[int, ...]:
        if not 0 <= rank <= RANK:
            raise InputError(f"{self.where}: corrupt: an array of {rank} dimensions at byte {self.at}")
        found = self.numbers(kind, rank)
        if any(size < 0 for size in found):
            raise InputError(f"{self.where}: corrupt: an array with a negative dimension at byte {self.at}")
        return found

    def kind(self) -> str:
        flag = self.number("i")
        if flag not in TYPES:
            raise InputError(f"{self.where}: corrupt: array type {flag} at byte {self.at} is not known")
        return TYPES[flag]


def parse(data: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays of a .params file by name, as it stores them (with `arg:` and `aux:`), views where it can be.

    Raises:
        InputError: it is not such a file, cut short, or its counts are not possible.
    """
    stream = Stream(data, where)
    if data[:8] != MAGIC:
        raise InputError(f"{where}: not an MXNet .params file: its magic number is wrong")
    _, _, count = stream.numbers("Q", 3)
    if count * 4 > stream.left:
        raise InputError(f"{where}: truncated or corrupt: a count of {count} arrays in a file of {len(data)} bytes")
    arrays = [_array(stream) for _ in range(count)]
    named = stream.number("Q")
    if named not in (0, count):
        raise InputError(f"{where}: corrupt: a count of {named} names for {count} arrays")
    names = []
    for _ in range(named):
        length = stream.number("Q")
        if length > stream.left:
            raise InputError(f"{where}: truncated or corrupt: a name of {length} bytes at byte {stream.at}")
        names.append(stream.data[stream.at : stream.at + length].decode("utf-8", "replace"))
        stream.at += length
    if named == 0:
        names = [str(i) for i in range(count)]
    if len(set(names)) != len(names):
        raise InputError(f"{where}: corrupt: two arrays have the same name")
    return {name: array for name, array in zip(names, arrays) if array is not None}


def _array(stream: Stream) -> np.ndarray | None:
    magic = stream.number("I")
    if magic in (V2, V3):
        return _stored(stream, magic)
    shape = stream.shape(stream.number("I"), "q") if magic == V1 else stream.shape(magic, "I")
    if not shape:
        return None  # an array that was never filled
    stream.numbers("i", 2)  # the device it was on
    return stream.array(stream.kind(), shape)


def _stored(stream: Stream, magic: int) -> np.ndarray | None:
    storage = stream.number("i")
    if storage not in (0, 1, 2):
        raise InputError(f"{stream.where}: corrupt: storage type {storage} of an array is not known")
    held = stream.shape(stream.number("i"), "q") if storage else ()
    rank = stream.number("i")
    if rank == -1 and magic == V3:
        return None
    shape = stream.shape(rank, "q")
    if not shape and magic == V2:
        return None
    stream.numbers("i", 2)
    kind = stream.kind()
    indices = [(stream.kind(), stream.shape(stream.number("i"), "q")) for _ in range(storage)]
    if not storage:
        return stream.array(kind, shape)
    values = stream.array(kind, held)
    return _dense(stream, storage, shape, values, [stream.array(*index) for index in indices])


def _dense(
    stream: Stream, storage: int, shape: tuple[int, ...], values: np.ndarray, indices: list[np.ndarray]
) -> np.ndarray:
    """Row-sparse (1: rows, their numbers) and CSR (2: values, row pointers, columns) arrays written out."""
    size = 1
    for length in shape:
        size *= length
    fault = InputError(f"{stream.where}: corrupt: a sparse array of shape {list(shape)[:8]} does not fit its indices")
    if size > DENSE or any(i.dtype.kind not in "iu" or i.ndim != 1 for i in indices):
        raise fault
    full = np.zeros(shape, values.dtype)
    rows = indices[0].astype(np.int64)
    if storage == 1:
        if len(values) != len(rows) or (rows.size and not 0 <= rows.min() <= rows.max() < shape[0]):
            raise fault
        full[rows] = values
        return full
    columns = indices[1].astype(np.int64)
    if len(shape) != 2 or len(rows) != shape[0] + 1 or len(columns) != values.size or np.any(np.diff(rows) < 0):
        raise fault
    if (
        rows[0] != 0
        or rows[-1] != len(columns)
        or (columns.size and not 0 <= columns.min() <= columns.max() < shape[1])
    ):
        raise fault
    full[np.repeat(np.arange(shape[0]), np.diff(rows)), columns] = values.ravel()
    return full
