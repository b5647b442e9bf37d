"""Checkpoints of TensorFlow (the "tensor bundle"): an index, which is a sorted table, and shards of raw arrays.

Sources: tensorflow/core/util/tensor_bundle, tensorflow/core/lib/io/format.cc (a LevelDB table), and the snappy format.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.protobuf import Message, varint
from sensorium.formats.shared.source import LIMIT
from sensorium.formats.tensorflow.graphdef import STORED, from_bytes, shape, type_name

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
BLOCK_LIMIT = 64 << 20  # bytes of one unpacked block of the index
SHARDS = 10_000


@dataclass
class Entry:
    """Where an array lies."""

    dtype: str
    shape: list[int]
    shard: int
    offset: int
    size: int
    crc: int
    sliced: bool


class Checkpoint:
    """The variables of a checkpoint, read when asked for.

    Args:
        index: the file `PREFIX.index`; the shards lie beside it.

    Raises:
        InputError: it is damaged, or a shard is missing.
    """

    def __init__(self, index: Path) -> None:
        self.index = index
        try:
            if index.stat().st_size > LIMIT:
                raise InputError(f"{index}: larger than {LIMIT >> 30} GB")
            data = index.read_bytes()
        except OSError as error:
            raise InputError(f"{index}: cannot be read: {error.strerror}") from None
        self.entries: dict[str, Entry] = {}
        try:
            table = dict(_table(memoryview(data)))
        except ValueError as error:
            raise InputError(f"{index}: truncated or corrupt, not an index of a checkpoint: {error}") from None
        header = Message(table.pop(b"", b""), f"{index}: header")
        self.shards = header.unsigned(1)
        if header.unsigned(2):
            raise InputError(f"{index}: a checkpoint in big-endian order is not converted")
        if not 0 < self.shards <= SHARDS:
            raise InputError(f"{index}: corrupt: {self.shards} shards")
        for key, value in table.items():
            name = key.decode("utf-8", "replace")
            entry = Message(value, f"{index}: '{name[:80]}'")
            self.entries[name] = Entry(
                type_name(entry.unsigned(1)),
                shape(entry.message(2)) or [],
                entry.unsigned(3),
                entry.signed(4),
                entry.signed(5),
                struct.unpack("<I", entry.raw(6))[0] if len(entry.raw(6)) == 4 else 0,
                7 in entry,
            )

    def shard(self, number: int) -> Path:
        return self.index.with_name(f"{self.index.stem}.data-{number:05d}-of-{self.shards:05d}")

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def array(self, name: str) -> np.ndarray:
        """An array, its checksum compared.

        Raises:
            InputError: there is none of this name, its shard is missing or cut, or its bytes are damaged.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise InputError(f"{self.index}: there is no variable '{name[:80]}' in this checkpoint")
        if entry.sliced:
            raise InputError(f"{self.index}: the variable '{name[:80]}' is stored in slices; this is not converted")
        if entry.dtype not in STORED:
            raise InputError(f"{self.index}: the variable '{name[:80]}' of {entry.dtype} is no array of numbers")
        wanted = math.prod(entry.shape) * np.dtype(STORED[entry.dtype]).itemsize
        if any(s < 0 for s in entry.shape) or wanted != entry.size or entry.offset < 0:
            raise InputError(f"{self.index}: corrupt: '{name[:80]}' of shape {entry.shape} has {entry.size} bytes")
        data = self._bytes(entry, name)
        if len(data) != entry.size:
            raise InputError(f"{self.shard(entry.shard)}: truncated: '{name[:80]}' needs {entry.size} bytes")
        if masked(crc32c(data)) != entry.crc:
            raise InputError(f"{self.shard(entry.shard)}: damaged: the checksum of '{name[:80]}' is not that stored")
        return from_bytes(data, entry.dtype).reshape(entry.shape)

    def _bytes(self, entry: Entry, name: str) -> bytes:
        if entry.shard >= self.shards:
            raise InputError(f"{self.index}: corrupt: '{name[:80]}' lies in shard {entry.shard} of {self.shards}")
        path = self.shard(entry.shard)
        if not path.is_file():
            raise InputError(f"{path}: this part of the checkpoint (variables) is missing")
        if entry.offset + entry.size > path.stat().st_size:
            raise InputError(f"{path}: truncated: '{name[:80]}' ends at byte {entry.offset + entry.size}")
        with path.open("rb") as file:
            file.seek(entry.offset)
            return file.read(entry.size)


def is_index(path: Path) -> bool:
    """Whether a file ends as a sorted table does."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < FOOTER:
                return False
            file.seek(-8, 2)
            return file.read(8) == struct.pack("<Q", MAGIC)
    except OSError:
        return False


# The table


def _table(data: memoryview) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values, in order.

    Raises:
        ValueError: the bytes are not a table.
    """
    if len(data) < FOOTER:
        raise ValueError("too short")
    footer = data[-FOOTER:]
    if struct.unpack("<Q", footer[40:])[0] != MAGIC:
        raise ValueError("its last bytes are not those of a table")
    at = 0
    numbers = []
    for _ in range(4):
        number, at = varint(footer, at, 40)
        numbers.append(number)
    seen = 0
    for _, handle in _block(data, numbers[2], numbers[3]):
        offset, at = varint(memoryview(handle), 0, len(handle))
        size, _ = varint(memoryview(handle), at, len(handle))
        seen += 5 + size
        if seen > len(data):
            raise ValueError("blocks overlap")
        yield from _block(data, offset, size)


def _block(data: memoryview, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if offset + size + 5 > len(data):
        raise ValueError("a block lies outside of it")
    block, kind = data[offset : offset + size], data[offset + size]
    stored = struct.unpack("<I", data[offset + size + 1 : offset + size + 5])[0]
    if masked(crc32c(bytes(data[offset : offset + size + 1]))) != stored:
        raise ValueError("the checksum of a block is not that stored")
    if kind == 1:
        block = memoryview(snappy(block))
    elif kind:
        raise ValueError(f"compression {kind} is not known")
    if len(block) < 4:
        raise ValueError("a block is too short")
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    if end < 0:
        raise ValueError("a block has more restarts than bytes")
    at, key, total = 0, b"", 0
    while at < end:
        shared, at = varint(block, at, end)
        own, at = varint(block, at, end)
        length, at = varint(block, at, end)
        if shared > len(key) or own + length > end - at:
            raise ValueError("an entry is longer than its block")
        key = key[:shared] + bytes(block[at : at + own])
        total += len(key)
        if total > BLOCK_LIMIT:
            raise ValueError("its keys are too long")
        yield key, bytes(block[at + own : at + own + length])
        at += own + length


def snappy(data: memoryview) -> bytes:
    """Unpack. https://github.com/google/snappy/blob/main/format_description.txt

    Raises:
        ValueError: the bytes are damaged.
    """
    size, at = varint(data, 0, len(data))
    if size > BLOCK_LIMIT:
        raise ValueError(f"a block of {size} bytes")
    found = bytearray()
    while at < len(data):
        tag = data[at]
        kind, at = tag & 3, at + 1
        if kind == 0:
            length = (tag >> 2) + 1
            if length > 60:
                more = length - 60
                length = int.from_bytes(data[at : at + more], "little") + 1
                at += more
            if at + length > len(data):
                raise ValueError("it is cut off")
            found += data[at : at + length]
            at += length
        else:
            more = (0, 1, 2, 4)[kind]
            length = (tag >> 2 & 7) + 4 if kind == 1 else (tag >> 2) + 1
            back = int.from_bytes(data[at : at + more], "little") + ((tag >> 5) << 8 if kind == 1 else 0)
            at += more
            if not 0 < back <= len(found):
                raise ValueError("a copy from before its beginning")
            while length > 0:  # it may overlap what it makes
                part = found[len(found) - back : len(found) - back + length]
                found += part
                length -= len(part)
        if len(found) > size:
            raise ValueError("longer than it says")
    if len(found) != size:
        raise ValueError("shorter than it says")
    return bytes(found)


# CRC-32C: many stretches of the data at a time, then put together

POLYNOMIAL = 0x82F63B78
LANES = 12  # most of them, as a power of two


def _byte_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1)
    return table


TABLE = _byte_table()
LIST: list[int] = TABLE.tolist()


def _apply(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A linear map over bits, (32,) uint32: what each bit becomes, of each value."""
    result = np.zeros_like(values)
    for bit in range(32):
        result ^= np.where(values >> np.uint32(bit) & np.uint32(1), matrix[bit], np.uint32(0))
    return result


def _zeros(count: int) -> np.ndarray:
    """The linear map of `count` zero bytes."""
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)
    step = TABLE[result & np.uint32(255)] ^ (result >> np.uint32(8))
    while count:
        if count & 1:
            result = _apply(step, result)
        step = _apply(step, step)
        count >>= 1
    return result


def crc32c(data: bytes) -> int:
    """The checksum of iSCSI, as LevelDB and TensorFlow use it."""
    lanes = 1 << min(LANES, max(0, (len(data) // 64).bit_length() - 1))
    length = len(data) // lanes if lanes > 8 else 0
    value = 0xFFFFFFFF
    if length:
        columns = np.frombuffer(data, np.uint8, lanes * length).reshape(lanes, length).T
        state = np.zeros(lanes, np.uint32)
        state[0] = value
        for column in np.ascontiguousarray(columns):
            state = TABLE[(state ^ column) & np.uint32(255)] ^ (state >> np.uint32(8))
        shift = _zeros(length)
        while len(state) > 1:
            state = _apply(shift, state[::2]) ^ state[1::2]
            shift = _apply(shift, shift)
        value = int(state[0])
    for byte in data[lanes * length :]:
        value = LIST[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """A checksum as it is stored, so that checksums of checksums stay good."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
