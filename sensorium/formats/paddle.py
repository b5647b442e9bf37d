"""PaddlePaddle: .pdmodel programs and .pdiparams, or the JSON programs of Paddle 3."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.formats.shared import protobuf
from sensorium.formats.shared.protobuf import Message
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "PaddlePaddle"
ENDINGS = (".pdmodel",)


def match(file: File) -> float:
    if file.is_folder:
        return 0.9 if {"inference.pdiparams"} & file.names or any(n.endswith(".pdmodel") for n in file.names) else 0.0
    if b'"base_code"' in file.head[:200] and b'"pir"' in file.head[:400]:
        return 0.95
    # ProgramDesc: blocks are field 1; BlockDesc: idx 1, parent_idx 2, vars 3, ops 4
    block = protobuf.first_bytes(file.head, 1)
    inner = protobuf.shape_of(block) if block else None
    if inner is None or inner.get(1) != {protobuf.VARINT} or inner.get(2) != {protobuf.VARINT}:
        return 0.0
    return 0.7 if inner.get(3) == {protobuf.BYTES} else 0.0


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE, reason="convert it with Paddle's own paddle2onnx, then give the ONNX file")
    for file in files:
        if file.is_folder or not match(file) or file.head[:1] == b"{":
            continue
        for block in Message(file.data, str(file.path)).messages(1, "block"):
            for op in block.messages(4, "op"):
                report.layers[op.text(3)] += 1
    return report
