"""TFLite / LiteRT: flat buffers of TensorFlow's mobile runtime."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "TFLite"
ENDINGS = (".tflite",)


def match(file: File) -> float:
    return 1.0 if file.head[4:8] == b"TFL3" else 0.0


def inspect(files: Sequence[File]) -> Report:
    return Report(TITLE)
