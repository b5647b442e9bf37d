"""ncnn: a .param text and a .bin of weights."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.errors import InputError
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "ncnn"


def match(file: File) -> float:
    return 0.95 if file.head.lstrip()[:8].rstrip() == b"7767517" else 0.0


def inspect(files: Sequence[File]) -> Report:
    file = next(f for f in files if match(f))
    lines = file.text.splitlines()
    report = Report(TITLE, lines[0].strip(), reason="ncnn's layers are not converted back to ONNX")
    for number, line in enumerate(lines[2:], 3):
        words = line.split()
        if not words:
            continue
        if len(words) < 4 or not words[2].isdigit() or not words[3].isdigit():
            raise InputError(f"{file.path}, line {number}: not a layer of an ncnn .param file")
        report.layers[words[0]] += 1
        if words[0] == "Input":
            report.inputs[words[-1] if "=" not in words[-1] else words[1]] = None
    return report
