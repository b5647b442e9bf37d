"""MXNet: symbol.json and .params."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.formats.shared import json_text
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "MXNet"
PARAMS = bytes.fromhex("1201000000000000")


def match(file: File) -> float:
    if file.head.startswith(PARAMS):
        return 1.0
    start = file.head.lstrip()
    if start.startswith(b"{") and b'"nodes"' in start[:400] and b'"op"' in start and b"tvm_op" not in start:
        return 0.8
    return 0.05 if file.suffix == ".params" else 0.0


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE)
    for file in files:
        if file.head.startswith(PARAMS) or not file.looks_like_text:
            continue
        for node in json_text.load(file)["nodes"]:
            if node["op"] != "null":
                report.layers[str(node["op"])] += 1
    return report
