"""ORT: ONNX Runtime's own file format."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "ORT"


def match(file: File) -> float:
    return 1.0 if file.head[4:8] == b"ORTM" else 0.0


def inspect(files: Sequence[File]) -> Report:
    return Report(TITLE, reason="already optimised for one kind of machine: convert the ONNX file it was made from")
