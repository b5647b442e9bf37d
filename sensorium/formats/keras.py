"""Keras: .keras archives, .h5 files of Keras 1 to 3, and JSON descriptions with their weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sensorium.errors import InputError, MissingError
from sensorium.formats.shared import hdf5, json_text
from sensorium.formats.shared.archive import open_zip
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.keras.base import LAYERS, Dialect
from sensorium.formats.shared.keras.model import CODE, MODELS, OURS, Builder, entries, modern
from sensorium.formats.shared.keras.ops import lambdas
from sensorium.formats.shared.keras.ops.call import OPS
from sensorium.formats.shared.keras.weights import Layers, Legacy, Tree
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, nature

TITLE = "Keras"
ENDINGS = (".h5", ".keras", ".hdf5")
HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"


def match(file: File) -> float:
    if file.head[:8] == HDF5:
        return 0.6 + 0.2 * (file.suffix in (".h5", ".hdf5", ".keras"))
    if file.head[:4] == ZIP:
        try:
            names = open_zip(file).names
        except InputError:
            return 0.5 if file.suffix == ".keras" or b"metadata.json" in file.head else 0.0
        return 0.95 if "config.json" in names and "metadata.json" in names else 0.5 if "metadata.json" in names else 0.0
    start = file.head.lstrip()[:400]
    if start.startswith(b"{") and b'"class_name"' in start and (b'"config"' in start or b'"module"' in start):
        return 0.8
    return 0.0


class _Source:
    """What the files of one model say: the description, the version, where the weights are."""

    def __init__(self, files: Sequence[File], weights: bool = True) -> None:
        self.file = files[0]
        self.model: dict[str, Any] | None = None
        self.version, self.backend = "", ""
        self.store: hdf5.Group | None = None
        self.tree = False
        self.has_weights = False
        for file in files:
            where = str(file.path)
            if file.head[:4] == ZIP:
                archive = open_zip(file)
                if "config.json" not in archive.names:
                    raise InputError(f"{where}: no config.json in this .keras archive: the layers are not described")
                self._describe(_object(archive.read("config.json", 64 << 20), where), file)
                about = _object(archive.read("metadata.json", 1 << 20), where)
                self.version = str(about.get("keras_version", "3"))
                inside = archive.find("model.weights.h5")
                self.has_weights = inside is not None
                if weights and inside is not None:
                    self.store, self.tree = hdf5.load(archive.read(inside), f"{where}: {inside}"), True
            elif file.head[:8] == HDF5:
                self.has_weights = True
                if weights:
                    self._hdf5(hdf5.load(file, where), file)
            elif file.head.lstrip()[:1] == b"{":
                self._describe(_object(file.text, where), file)
            elif match(file) > 0 or len(files) == 1:
                raise InputError(f"{where}: not a Keras model: {nature(file)}")

    def _describe(self, value: dict[str, Any], file: File) -> None:
        if self.model is not None:
            raise InputError(f"{file.path}: a second description of a model; give one")
        self.version = self.version or str(value.get("keras_version") or "")
        self.backend = self.backend or str(value.get("backend") or "")
        inner = value.get("model_config")
        self.model = inner if isinstance(inner, dict) and "class_name" not in value else value
        self.file = file

    def _hdf5(self, root: hdf5.Group, file: File) -> None:
        group = root.groups.get("model_weights", root)
        for holder in (root, group):
            self.version = str(holder.attributes.get("keras_version") or self.version)
            self.backend = str(holder.attributes.get("backend") or self.backend)
        config = root.attributes.get("model_config")
        if config is not None:
            self._describe(_object(str(config), str(file.path)), file)
        self.tree = (
            "layers" in group.groups
            and "layer_names" not in group.attributes
            and "layer_names0" not in group.attributes
        )
        self.tree = self.tree or "_layer_checkpoint_dependencies" in group.groups
        self.store = group

    def dialect(self) -> Dialect:
        number = re.match(r"\s*(?:keras v)?(\d+)\.(\d+)", self.version)
        major, minor = (int(number[1]), int(number[2])) if number else (0, 0)
        if not major and self.model is not None:
            texts = {key for entry in entries(self.model) for key in entry}
            words = {key for e in entries(self.model) if isinstance(e["config"], dict) for key in e["config"]}
            old = {"output_dim", "border_mode", "nb_filter"} & words and "kernel_initializer" not in words
            major = 3 if "registered_name" in texts and "module" in texts else 1 if old else 2
        backend = self.backend
        if not backend and self.store is not None and major == 1:
            # TensorFlow's names of variables end in ":0", Theano's do not
            named = [n for g in self.store.walk() for n in g.texts("weight_names")]
            backend = "tensorflow" if any(n.endswith(":0") for n in named) else "theano" if named else ""
        backend = backend or "tensorflow"
        modern_tf = "tf" in self.version or (major, minor) >= (2, 4)
        half = major >= 3 or modern_tf or (major, minor) >= (2, 3)
        if backend == "tensorflow" and major == 2 and modern_tf:
            backend = "tf.keras"
        if major not in (1, 2, 3):
            raise InputError(f"{self.file.path}: Keras {self.version[:20]} is not known")
        layouts = {e["config"].get("dim_ordering") for e in entries(self.model) if isinstance(e["config"], dict)}
        first = major == 1 and "th" in layouts and "tf" not in layouts
        return Dialect(major, backend, half, "channels_first" if first else "channels_last")

    def weights(self) -> Layers:
        if self.store is None:
            raise InputError(f"{self.file.path}: the weights are missing: give the .h5 file, too")
        return Tree(self.store, self.store.where) if self.tree else Legacy(self.store)


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE)
    try:
        source = _Source(files)
    except MissingError:
        source = _Source(files, weights=False)
        report.notes.append("the weights were not looked at: pip install 'sensorium[formats]'")
    report.version = source.version or None
    if source.backend:
        report.metadata["backend"] = source.backend
    if source.store is not None:
        report.parameters = source.store.size
    if source.model is None:
        report.missing.append("the architecture: no model_config in this HDF5 file (the model's JSON)")
        return report
    if not source.has_weights:
        report.missing.append("the weights (.h5)")
    _layers(source.model, report, source.dialect().version)
    return report


def read(files: Sequence[File], options: Options) -> Graph:
    source = _Source(files)
    if source.model is None:
        raise InputError(
            f"{source.file.path}: no model_config in this HDF5 file: it has weights without their architecture "
            "(give the model's JSON, too)"
        )
    dialect = source.dialect()
    graph = Graph(str(source.model.get("name") or "keras_model"), TITLE)
    if source.version:
        graph.metadata["keras_version"] = source.version
    if dialect.version == 1 and dialect.backend == "theano":
        graph.notes.append("a file of Keras 1 on Theano: convolution kernels are turned around")
    Builder(graph, dialect, options).whole(source.model, source.weights())
    return graph


def _object(text: str | bytes, where: str) -> dict[str, Any]:
    value = json_text.parse(text, where)
    if not isinstance(value, dict):
        raise InputError(f"{where}: should describe a model in a JSON object")
    return value


def _layers(model: dict[str, Any], report: Report, version: int) -> None:
    unknown = []
    for entry in entries(model):
        kind = str(entry["class_name"])
        module = str(entry.get("module") or "keras")
        config = entry["config"] if isinstance(entry["config"], dict) else {}
        known = modern(kind, config)[0] in LAYERS or kind in MODELS | CODE | lambdas.KINDS or kind == "InputLayer"
        if module.startswith("keras.src.ops"):
            known = kind in OPS
        is_layer = known or ".layers" in module or "inbound_nodes" in entry or module.split(".")[0] not in OURS
        if kind in MODELS:
            continue
        if is_layer or (module == "keras" and "name" in config and "trainable" in config):
            report.layers[kind] += 1
            if not known and not kind.endswith("Cell") and kind != "StackedRNNCells":
                unknown.append(kind)
        if kind == "InputLayer":
            report.inputs[str(config.get("name"))] = config.get("batch_shape") or config.get("batch_input_shape")
        elif "batch_input_shape" in config and not report.inputs:
            report.inputs[f"{config.get('name')}_input"] = config["batch_input_shape"]
        if kind in CODE:
            report.code.append(f"layer '{str(config.get('name'))[:60]}': {kind}: code from the file")
        elif module.split(".")[0] not in OURS:
            report.code.append(f"'{module[:60]}.{kind[:60]}' would be imported or executed")
    if report.code:
        report.reason = "it has code in it that is never run here"
    elif unknown:
        report.reason = f"layers of unknown classes: {', '.join(sorted(set(unknown)))[:200]}"
