"""safetensors: named arrays, no graph; layers are told by a file."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import json_text, pytorch
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options

TITLE = "safetensors"
ENDINGS = (".safetensors",)
HEADER_LIMIT = 100 << 20
SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
         "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
NUMPY = {"F64": "<f8", "I64": "<i8", "U64": "<u8", "F32": "<f4", "I32": "<i4", "U32": "<u4", "F16": "<f2",
         "BF16": "<u2", "I16": "<i2", "U16": "<u2", "I8": "i1", "U8": "u1", "BOOL": "?"}  # fmt: skip
HEAVY = True  # reading takes PyTorch and seconds: `inspect` leaves it


def match(file: File) -> float:
    if len(file.head) < 10 or file.head[8:9] != b"{" or file.head[9:10] not in b'"} ':
        return 0.0
    (length,) = struct.unpack("<Q", file.head[:8])
    return 0.95 if length <= file.size else 0.8 if file.suffix == ".safetensors" else 0.0


def inspect(files: Sequence[File]) -> Report:
    """Every tensor's place is checked against the file."""
    report = Report(TITLE)
    report.parameters = 0
    if not any((file.path.parent / "config.json").is_file() for file in files):
        report.missing.append(pytorch.MISSING)
    for file in files:
        kinds: Counter[str] = Counter()
        for dtype, shape, _ in header(file, report.metadata).values():
            kinds[dtype] += 1
            report.parameters += math.prod(shape)
        report.metadata["tensors"] = dict(kinds)
    return report


def header(file: File, metadata: dict[str, Any] | None = None) -> dict[str, tuple[str, list[int], int]]:
    """Type, shape and place of each tensor, all checked against the file.

    Raises:
        InputError: it is not such a file, or damaged.
    """
    found: dict[str, tuple[str, list[int], int]] = {}
    if not match(file):
        raise InputError(f"{file.path}: not a safetensors file")
    (length,) = struct.unpack("<Q", file.head[:8])
    if length > min(HEADER_LIMIT, file.size - 8):
        raise InputError(f"{file.path}: corrupt: a header of {length} bytes in a file of {file.size}")
    with file.path.open("rb") as stream:
        content = json_text.parse(stream.read(8 + length)[8:], f"{file.path}: the header")
    if not isinstance(content, dict):
        raise InputError(f"{file.path}: corrupt: the header should be an object")
    room = file.size - 8 - length
    told = content.pop("__metadata__", None)
    if metadata is not None and isinstance(told, dict):
        metadata.update(told)
    for name, entry in content.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            count = 1
            for size in shape:
                count *= int(size)
            good = 0 <= begin <= end <= room and end - begin == count * SIZES[dtype] and min(shape, default=0) >= 0
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{file.path}: corrupt: tensor '{name[:80]}' is not described as it should be") from None
        if not good:
            raise InputError(
                f"{file.path}: corrupt: tensor '{name[:80]}' of shape {str(shape)[:60]} does not fit its bytes"
            )
        found[name] = dtype, [int(n) for n in shape], 8 + length + begin
    return found


def arrays(file: File) -> dict[str, np.ndarray]:
    """Every tensor by name; bfloat16 becomes float32."""
    found = {}
    for name, (kind, shape, at) in header(file).items():
        if kind not in NUMPY:
            raise InputError(f"{file.path}: tensor '{name[:80]}' is of the type {kind}, which is not read")
        array = np.frombuffer(file.data, NUMPY[kind], math.prod(shape), at)
        if kind == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        found[name] = array.reshape(shape)
    return found


def read(files: Sequence[File], options: Options) -> Graph:
    return pytorch.layers(files[0], {k: v for file in files for k, v in arrays(file).items()}, options)
