"""Protocol-buffer messages without their schema: a bounds-checked reader of the wire format.

https://protobuf.dev/programming-guides/encoding/. A message is split into its fields when first asked for one; what is
inside a field is read only when that is asked for, so neither depth nor size can be made to cost more than the bytes
that are there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from sensorium.errors import InputError

VARINT, FIXED64, BYTES, START, END, FIXED32 = range(6)
FIELDS = 4_000_000  # of one message
DEPTH = 64

Value = int | memoryview  # varints as unsigned 64-bit integers, everything else as its bytes


def varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """An unsigned integer and the position behind it.

    Raises:
        ValueError: it does not end before `end`, or is longer than 64 bits.
    """
    result = shift = 0
    while True:
        if at >= end:
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def walk(data: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Field number, wire type and value of each field, in order.

    Raises:
        ValueError: the bytes are not a message.
    """
    at, end, depth = 0, len(data), 0
    while at < end:
        key, at = varint(data, at, end)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"field number {number}")
        if kind == VARINT:
            value, at = varint(data, at, end)
            if not depth:
                yield number, kind, value
            continue
        if kind in (START, END):  # groups: long deprecated; skipped
            depth += 1 if kind == START else -1
            if not 0 <= depth <= DEPTH:
                raise ValueError("groups do not match")
            continue
        if kind == BYTES:
            length, at = varint(data, at, end)
        elif kind == FIXED64:
            length = 8
        elif kind == FIXED32:
            length = 4
        else:
            raise ValueError(f"wire type {kind}")
        if length > end - at:
            raise ValueError(f"field {number} claims {length} bytes where {end - at} are left")
        if not depth:
            yield number, kind, data[at : at + length]
        at += length
    if depth:
        raise ValueError("a group does not end")


class Message:
    """The fields of one message, by number.

    Args:
        data: its bytes.
        where: the file, and the place in it, for messages to the user.

    Every accessor raises InputError where the bytes are not a message, or a field is not of the kind asked for.
    """

    def __init__(self, data: bytes | memoryview, where: str, depth: int = 0) -> None:
        self.data = memoryview(data)
        self.where = where
        self._depth = depth
        self._fields: dict[int, list[Value]] | None = None

    @property
    def fields(self) -> dict[int, list[Value]]:
        if self._fields is None:
            if self._depth > DEPTH:
                raise InputError(f"{self.where}: corrupt: messages are nested deeper than {DEPTH}")
            found: dict[int, list[Value]] = {}
            count = 0
            try:
                for number, _, value in walk(self.data):
                    count += 1
                    if count > FIELDS:
                        raise ValueError(f"more than {FIELDS} fields")
                    found.setdefault(number, []).append(value)
            except ValueError as error:
                raise InputError(f"{self.where}: truncated or corrupt, it cannot be parsed: {error}") from None
            self._fields = found
        return self._fields

    def __contains__(self, number: int) -> bool:
        return number in self.fields

    def _last(self, number: int) -> Value | None:
        values = self.fields.get(number)
        return values[-1] if values else None

    def _wrong(self, number: int, wanted: str) -> InputError:
        return InputError(f"{self.where}: corrupt: field {number} should hold {wanted}")

    def unsigned(self, number: int, default: int = 0) -> int:
        """An unsigned integer, enum or boolean."""
        value = self._last(number)
        if value is None:
            return default
        if not isinstance(value, int):
            raise self._wrong(number, "a number")
        return value

    def signed(self, number: int, default: int = 0) -> int:
        """A signed integer (int32, int64)."""
        return _signed(self.unsigned(number, default & 0xFFFF_FFFF_FFFF_FFFF))

    def flag(self, number: int, default: bool = False) -> bool:
        return bool(self.unsigned(number, int(default)))

    def _fixed(self, number: int, code: str, size: int, default: float) -> float:
        value = self._last(number)
        if value is None:
            return default
        if isinstance(value, int) or len(value) != size:
            raise self._wrong(number, f"a number of {size} bytes")
        return float(struct.unpack(code, value)[0])

    def float32(self, number: int, default: float = 0.0) -> float:
        return self._fixed(number, "<f", 4, default)

    def float64(self, number: int, default: float = 0.0) -> float:
        return self._fixed(number, "<d", 8, default)

    def raw(self, number: int) -> memoryview:
        """The bytes of a field; empty where it is absent."""
        value = self._last(number)
        if value is None:
            return memoryview(b"")
        if isinstance(value, int):
            raise self._wrong(number, "bytes")
        return value

    def text(self, number: int, default: str = "") -> str:
        return bytes(self.raw(number)).decode("utf-8", "replace") if number in self else default

    def texts(self, number: int) -> list[str]:
        return [bytes(v).decode("utf-8", "replace") for v in self._all_bytes(number, "text")]

    def _all_bytes(self, number: int, wanted: str) -> list[memoryview]:
        found = []
        for value in self.fields.get(number, []):
            if isinstance(value, int):
                raise self._wrong(number, wanted)
            found.append(value)
        return found

    def message(self, number: int, name: str = "") -> Message:
        """The message in a field; an empty one where it is absent."""
        return Message(self.raw(number), self._inside(name), self._depth + 1)

    def messages(self, number: int, name: str = "") -> list[Message]:
        return [Message(v, self._inside(name), self._depth + 1) for v in self._all_bytes(number, "messages")]

    def _inside(self, name: str) -> str:
        return f"{self.where}: {name}" if name else self.where

    def unsigned_list(self, number: int) -> list[int]:
        """Repeated unsigned integers, packed or not."""
        found: list[int] = []
        for value in self.fields.get(number, []):
            if isinstance(value, int):
                found.append(value)
                continue
            at = 0
            try:
                while at < len(value):
                    one, at = varint(value, at, len(value))
                    found.append(one)
            except ValueError as error:
                raise InputError(f"{self.where}: corrupt: field {number}: {error}") from None
        return found

    def signed_list(self, number: int) -> list[int]:
        """Repeated signed integers, packed or not."""
        return [_signed(v) for v in self.unsigned_list(number)]

    def floats(self, number: int) -> np.ndarray:
        """Repeated floats, packed or not: float32."""
        return self._array(number, np.dtype("<f4"))

    def doubles(self, number: int) -> np.ndarray:
        """Repeated doubles, packed or not: float64."""
        return self._array(number, np.dtype("<f8"))

    def _array(self, number: int, dtype: np.dtype[np.floating]) -> np.ndarray:
        parts = self._all_bytes(number, "numbers")
        joined: bytes | memoryview = parts[0] if len(parts) == 1 else b"".join(parts)
        if len(joined) % dtype.itemsize:
            raise self._wrong(number, f"numbers of {dtype.itemsize} bytes, not {len(joined)} bytes in all")
        return np.frombuffer(joined, dtype)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def shape_of(data: bytes, limit: int = 64) -> dict[int, set[int]] | None:
    """Field numbers and their wire types among the first fields of what may be a message; None where it is none.

    The bytes may be cut anywhere, as a file's head is: a last field that claims more than there is counts.
    """
    found: dict[int, set[int]] = {}
    view, at, end = memoryview(data), 0, len(data)
    for _ in range(limit):
        if at >= end:
            break
        try:
            key, at = varint(view, at, end)
            number, kind = key >> 3, key & 7
            if not 0 < number < 1 << 29 or kind not in (VARINT, FIXED64, BYTES, FIXED32):
                return None
            if kind == VARINT:
                _, at = varint(view, at, end)
            elif kind == BYTES:
                length, at = varint(view, at, end)
                at += length
            else:
                at += 8 if kind == FIXED64 else 4
        except ValueError as error:
            if "cut off" not in str(error):
                return None
            break
        found.setdefault(number, set()).add(kind)
    return found or None


def first_bytes(data: bytes, number: int) -> bytes | None:
    """The first field of this number with bytes in it, as far as `data` holds it."""
    view, at, end = memoryview(data), 0, len(data)
    try:
        while at < end:
            key, at = varint(view, at, end)
            kind = key & 7
            if kind == VARINT:
                _, at = varint(view, at, end)
                continue
            length = 8 if kind == FIXED64 else 4
            if kind == BYTES:
                length, at = varint(view, at, end)
            if kind == BYTES and key >> 3 == number:
                return bytes(view[at : at + length])
            at += length
    except ValueError:
        pass
    return None
