"""Core ML: Apple's .mlmodel and .mlpackage."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.formats.shared import protobuf
from sensorium.formats.shared.protobuf import Message
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "Core ML"
ENDINGS = (".mlmodel",)


def match(file: File) -> float:
    if file.is_folder:
        return 0.95 if {"Manifest.json", "Data"} <= file.names else 0.0
    shape = protobuf.shape_of(file.head)
    if shape is None or shape.get(1) != {protobuf.VARINT} or shape.get(2) != {protobuf.BYTES} or 3 in shape:
        return 0.0
    description = protobuf.first_bytes(file.head, 2) or b""
    inner = protobuf.shape_of(description)
    feature = protobuf.first_bytes(protobuf.first_bytes(description, 1) or b"", 3)
    looks = inner is not None and set(inner) <= {1, 2, 10, 11, 12, 13, 20, 50, 100, 101} and feature is not None
    return (0.6 if looks else 0.0) + (0.3 if file.suffix == ".mlmodel" else 0.0)


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE, reason="run as it is by Core ML on Apple's systems")
    if files[0].is_folder:
        return report
    model = Message(files[0].data, str(files[0].path))
    report.version = str(model.signed(1))
    description = model.message(2, "description")
    for number, names in ((1, report.inputs), (10, report.outputs)):
        names.update(dict.fromkeys(f.text(1) for f in description.messages(number, "feature")))
    return report
