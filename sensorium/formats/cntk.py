"""CNTK: v2 protobuf models, and v1 (BrainScript) files."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.formats.shared import protobuf
from sensorium.formats.shared.protobuf import BYTES, VARINT
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "CNTK"
V1 = b"B\0C\0N\0\0\0"


def match(file: File) -> float:
    if file.head.startswith(V1):
        return 1.0
    shape = protobuf.shape_of(file.head)
    if shape is None or shape.get(1) != {VARINT} or shape.get(2) != {BYTES} or set(shape) != {1, 2}:
        return 0.0
    entry = protobuf.first_bytes(file.head, 2) or b""  # a map entry: key 1, value 2
    inner = protobuf.shape_of(entry)
    key = protobuf.first_bytes(entry, 1) or b""
    value = protobuf.shape_of(protobuf.first_bytes(entry, 2) or b"")  # DictionaryValue: version 1, type 2
    if inner is None or set(inner) != {1, 2} or not key.isascii() or value is None:
        return 0.0
    if not set(value) <= set(range(1, 14)) or any(value.get(n, {VARINT}) != {VARINT} for n in (1, 2)):
        return 0.0
    return 0.8 + 0.1 * (file.suffix in (".model", ".dnn", ".cntk"))


def inspect(files: Sequence[File]) -> Report:
    return Report(TITLE, "1" if files[0].head.startswith(V1) else "2")
