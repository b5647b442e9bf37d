"""Protocol-buffer bytes, made by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np


def varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found) + bytes([value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """One field: an integer as a varint, a float in 32 bits, text and bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(array: np.ndarray, legacy: bool = False) -> bytes:
    """A Caffe BlobProto."""
    data = field(5, np.ascontiguousarray(array, "<f4").tobytes())
    if legacy:
        shape = (1,) * (4 - array.ndim) + array.shape
        return b"".join(field(i + 1, n) for i, n in enumerate(shape)) + data
    return data + field(7, field(1, b"".join(varint(n) for n in array.shape)))


def caffemodel(layers: dict[str, Sequence[np.ndarray]], kind: str = "Convolution", version: int = 2) -> bytes:
    """A trained Caffe network: blobs by the layer's name."""
    found = field(1, "net")
    for name, arrays in layers.items():
        if version == 2:
            found += field(100, field(1, name) + field(2, kind) + b"".join(field(7, blob(a)) for a in arrays))
        elif version == 1:
            found += field(2, field(4, name) + field(5, 4) + b"".join(field(6, blob(a, True)) for a in arrays))
        else:
            inner = field(1, name) + field(2, "conv") + b"".join(field(50, blob(a, True)) for a in arrays)
            found += field(2, field(1, inner))
    return found
