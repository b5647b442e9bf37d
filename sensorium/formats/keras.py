"""Keras: .keras archives, .h5 files of Keras 1 to 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.shared import json_text
from sensorium.formats.shared.archive import open_zip
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "Keras"
CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer"}


def match(file: File) -> float:
    if file.head[:8] == b"\x89HDF\r\n\x1a\n":
        return 0.6 + 0.2 * (file.suffix in (".h5", ".hdf5", ".keras"))
    if file.head[:4] == b"PK\x03\x04":
        try:
            names = open_zip(file).names
        except InputError:
            return 0.5 if file.suffix == ".keras" or b"metadata.json" in file.head else 0.0
        return 0.95 if "config.json" in names and "metadata.json" in names else 0.5 if "metadata.json" in names else 0.0
    start = file.head.lstrip()[:400]
    if start.startswith(b"{") and b'"class_name"' in start and (b'"config"' in start or b'"module"' in start):
        return 0.8
    return 0.0


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE)
    for file in files:
        if file.head[:4] == b"PK\x03\x04":
            archive = open_zip(file)
            if "config.json" not in archive.names:
                raise InputError(f"{file.path}: no config.json in this .keras archive: the layers are not described")
            report.version = str(_object(archive.read("metadata.json", 1 << 20), file).get("keras_version", "3"))
            _layers(_object(archive.read("config.json", 64 << 20), file), report)
        elif file.head[:1] == b"{":
            _layers(_object(file.text, file), report)
        elif b"model_config" in file.data:
            report.version = "HDF5 with its architecture"
            if b'"Lambda"' in file.data:
                report.code.append("a Lambda layer: Python bytecode")
        else:
            report.version = "HDF5"
            report.missing.append("the architecture: no model_config in this HDF5 file (the model's JSON)")
    return report


def _object(text: str | bytes, file: File) -> dict[str, Any]:
    value = json_text.parse(text, str(file.path))
    if not isinstance(value, dict):
        raise InputError(f"{file.path}: should describe a model in a JSON object")
    return value


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    """Every layer of a configuration, nested ones too, without recursion."""
    left = [value]
    while left:
        entry = left.pop()
        if isinstance(entry, list):
            left.extend(entry)
        elif isinstance(entry, dict):
            if "class_name" in entry and "config" in entry:
                yield entry
            left.extend(v for v in entry.values() if isinstance(v, (dict, list)))


def _layers(config: dict[str, Any], report: Report) -> None:
    for entry in _entries(config):
        kind = str(entry["class_name"])
        module = str(entry.get("module") or "keras")
        if entry.get("registered_name") is None and not kind.islower():
            report.layers[kind] += 1
        if kind in CODE or module.split(".")[0] not in ("keras", "builtins", "tensorflow"):
            report.code.append(f"'{module[:60]}.{kind[:60]}' would be imported or executed")
