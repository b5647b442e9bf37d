"""OpenVINO IR: an XML graph and a .bin of weights."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "OpenVINO IR"
LAYER = re.compile(r"<layer\s[^>]{0,2000}?\btype=\"([^\"<>]{1,100})\"")


def match(file: File) -> float:
    return 0.95 if re.search(rb"<net\s[^>]{0,500}\bversion=", file.head[:2000]) else 0.0


def inspect(files: Sequence[File]) -> Report:
    """Read as text: an XML parser would follow entities."""
    text = next(file for file in files if match(file)).text
    report = Report(TITLE, reason="run as it is by OpenVINO; its operators are not converted back to ONNX")
    found = re.search(r"<net\s[^>]{0,500}?\bversion=\"([^\"]{1,20})\"", text)
    report.version = found[1] if found else None
    report.layers.update(LAYER.findall(text))
    for kind in ("Parameter", "Input"):
        names = re.findall(
            rf"<layer\s(?=[^>]{{0,2000}}\btype=\"{kind}\")[^>]{{0,2000}}?\bname=\"([^\"]{{1,200}})\"", text
        )
        report.inputs |= dict.fromkeys(names)
    return report
