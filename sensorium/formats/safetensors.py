"""safetensors: named arrays, no graph."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence

from sensorium.errors import InputError
from sensorium.formats.shared import json_text
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "safetensors"
ENDINGS = (".safetensors",)
HEADER_LIMIT = 100 << 20
SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
         "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip


def match(file: File) -> float:
    if len(file.head) < 10 or file.head[8:9] != b"{" or file.head[9:10] not in b'"} ':
        return 0.0
    (length,) = struct.unpack("<Q", file.head[:8])
    return 0.95 if length <= file.size else 0.8 if file.suffix == ".safetensors" else 0.0


def inspect(files: Sequence[File]) -> Report:
    """Every tensor's place is checked against the file."""
    report = Report(TITLE, reason="the file holds arrays and no graph: which architecture they belong to is not in it")
    report.parameters = 0
    for file in files:
        if not match(file):
            raise InputError(f"{file.path}: not a safetensors file")
        (length,) = struct.unpack("<Q", file.head[:8])
        if length > min(HEADER_LIMIT, file.size - 8):
            raise InputError(f"{file.path}: corrupt: a header of {length} bytes in a file of {file.size}")
        with file.path.open("rb") as stream:
            header = json_text.parse(stream.read(8 + length)[8:], f"{file.path}: the header")
        if not isinstance(header, dict):
            raise InputError(f"{file.path}: corrupt: the header should be an object")
        room = file.size - 8 - length
        report.metadata.update(header.pop("__metadata__", None) or {})
        kinds: Counter[str] = Counter()
        for name, entry in header.items():
            try:
                dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
                count = 1
                for size in shape:
                    count *= int(size)
                good = 0 <= begin <= end <= room and end - begin == count * SIZES[dtype] and min(shape, default=0) >= 0
            except (KeyError, TypeError, ValueError):
                raise InputError(
                    f"{file.path}: corrupt: tensor '{name[:80]}' is not described as it should be"
                ) from None
            if not good:
                raise InputError(
                    f"{file.path}: corrupt: tensor '{name[:80]}' of shape {str(shape)[:60]} does not fit its bytes"
                )
            kinds[dtype] += 1
            report.parameters += count
        report.metadata["tensors"] = dict(kinds)
    return report
