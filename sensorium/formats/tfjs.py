"""TensorFlow.js: model.json (layers-model or graph-model) and its weight shards."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sensorium.errors import InputError
from sensorium.formats.shared import json_text
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "TensorFlow.js"


def match(file: File) -> float:
    start = file.head.lstrip()
    if not start.startswith(b"{"):
        return 0.0
    known = (b'"modelTopology"', b'"weightsManifest"', b'"layers-model"', b'"graph-model"')
    return 0.9 if any(word in start for word in known) else 0.0


def inspect(files: Sequence[File]) -> Report:
    file = next(f for f in files if match(f))
    model = json_text.load(file)
    if not isinstance(model, dict) or not isinstance(model.get("modelTopology"), dict):
        raise InputError(f"{file.path}: no modelTopology in it: the graph is not described")
    report = Report(TITLE, str(model.get("format") or "layers-model"))
    for group in model.get("weightsManifest") or []:
        for path in group["paths"]:
            if re.search(r"(^/|^\w+:|\\|(^|/)\.\.(/|$))", str(path)):
                raise InputError(
                    f"{file.path}: the path '{str(path)[:80]}' in its manifest lies outside its folder; refused"
                )
            if not (file.path.parent / str(path)).is_file():
                report.missing.append(f"the weights file {str(path)[:120]}")
        for weight in group["weights"]:
            count = 1
            for size in weight["shape"]:
                count *= int(size)
            report.parameters = (report.parameters or 0) + count
    for node in model["modelTopology"].get("node") or []:
        report.layers[str(node["op"])] += 1
        if node["op"] == "Placeholder":
            report.inputs[str(node["name"])] = None
    for key in ("generatedBy", "convertedBy"):
        if model.get(key):
            report.metadata[key] = model[key]
    return report
