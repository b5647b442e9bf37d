"""TensorFlow.js: model.json (layers-model or graph-model) and its weight shards."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import json_text
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.keras.base import Dialect
from sensorium.formats.shared.keras.model import Builder, entries
from sensorium.formats.shared.keras.weights import Flat
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import LIMIT, File, Options
from sensorium.formats.shared.tensorflow_build import build
from sensorium.formats.shared.tensorflow_graph import Node, Source

TITLE = "TensorFlow.js"
WIDTH = {"float32": 4, "int32": 4, "bool": 1, "float16": 2, "uint8": 1, "uint16": 2}


def match(file: File) -> float:
    start = file.head.lstrip()
    if not start.startswith(b"{"):
        return 0.0
    known = (b'"modelTopology"', b'"weightsManifest"', b'"layers-model"', b'"graph-model"')
    return 0.9 if any(word in start for word in known) else 0.0


def inspect(files: Sequence[File]) -> Report:
    file, model = _model(files)
    topology = model["modelTopology"]
    report = Report(TITLE, str(model.get("format") or ("graph-model" if "node" in topology else "layers-model")))
    for group in _groups(file, model):
        for path in group["paths"]:
            if not _place(file, path).is_file():
                report.missing.append(f"the weights file {str(path)[:120]}")
        for weight in group["weights"]:
            report.parameters = (report.parameters or 0) + _count(file, weight)
    for node in topology.get("node") or []:
        report.layers[str(node["op"])] += 1
        if node["op"] == "Placeholder":
            report.inputs[str(node["name"])] = None
    for entry in entries(topology) if "node" not in topology else ():
        config = entry["config"] if isinstance(entry["config"], dict) else {}
        if "trainable" in config or entry["class_name"] == "InputLayer":
            report.layers[str(entry["class_name"])] += 1
        shape = config.get("batch_input_shape")
        if shape is not None and (entry["class_name"] == "InputLayer" or not report.inputs):
            name = str(config.get("name"))
            report.inputs[name if entry["class_name"] == "InputLayer" else f"{name}_input"] = shape
    for key in ("generatedBy", "convertedBy"):
        if model.get(key):
            report.metadata[key] = model[key]
    return report


def read(files: Sequence[File], options: Options) -> Graph:
    file, model = _model(files)
    weights = dict(_weights(file, model))
    topology = model["modelTopology"]
    if isinstance(topology.get("node"), list):
        nodes = [_node(node) for node in topology["node"]]
        signature = model.get("signature") or (model.get("userDefinedMetadata") or {}).get("signature") or {}
        wanted = [str(o["name"]) for o in (signature.get("outputs") or {}).values()]
        found = Source(nodes, weights)
        return build("tfjs_model", TITLE, found, list(options.outputs) or wanted, options)
    description = topology.get("model_config") or topology
    if not isinstance(description, dict) or "class_name" not in description:
        raise InputError(f"{file.path}: its modelTopology does not describe a model")
    flat = Flat([(name, _reader(read)) for name, read in weights.items()], str(file.path))
    graph = Graph("tfjs_model", TITLE)
    Builder(graph, Dialect(2, "tfjs", half_pixel=False), options, tensor_names=True).whole(description, flat)
    return graph


def _reader(value: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: value


def _model(files: Sequence[File]) -> tuple[File, dict[str, Any]]:
    file = next((f for f in files if match(f)), files[0])
    model = json_text.load(file)
    if not isinstance(model, dict) or not isinstance(model.get("modelTopology"), dict):
        raise InputError(f"{file.path}: no modelTopology in it: the graph is not described")
    return file, model


# Weights. Source: the format of tfjs-core's io, `WeightsManifestConfig`.


def _groups(file: File, model: dict[str, Any]) -> list[dict[str, Any]]:
    groups = model.get("weightsManifest") or []
    if not isinstance(groups, list) or not all(
        isinstance(g, dict) and isinstance(g.get("paths"), list) and isinstance(g.get("weights"), list) for g in groups
    ):
        raise InputError(f"{file.path}: its weightsManifest is not a list of paths and weights")
    return groups


def _place(file: File, path: Any) -> Path:
    if not isinstance(path, str) or not path or re.search(r"(^/|^\w+:|\\|\0|(^|/)\.\.(/|$))", path):
        raise InputError(f"{file.path}: the path '{str(path)[:80]}' in its manifest lies outside its folder; refused")
    place = file.path.parent / path
    if not place.resolve().is_relative_to(file.path.parent.resolve()):
        raise InputError(f"{file.path}: the path '{path[:80]}' in its manifest leads outside its folder; refused")
    return place


def _count(file: File, weight: Any) -> int:
    count = 1
    for size in weight["shape"]:
        if not isinstance(size, int) or size < 0:
            raise InputError(f"{file.path}: the weights '{str(weight.get('name'))[:80]}' have a dimension of {size}")
        count *= size
    return count


def _weights(file: File, model: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for group in _groups(file, model):
        parts = []
        for path in group["paths"]:
            place = _place(file, path)
            if not place.is_file():
                raise InputError(f"{file.path}: the weights file '{path[:120]}' is missing")
            if place.stat().st_size > LIMIT:
                raise InputError(f"{place}: larger than {LIMIT >> 30} GB")
            parts.append(place.read_bytes())
        data, at = b"".join(parts), 0
        for weight in group["weights"]:
            name, dtype, count = str(weight["name"]), str(weight["dtype"]), _count(file, weight)
            quantised = weight.get("quantization") or {}
            stored = str(quantised.get("dtype") or dtype)
            if dtype not in ("float32", "int32", "bool", "float16", "uint8") or stored not in WIDTH:
                raise InputError(f"{file.path}: the weights '{name[:80]}' are of the type {dtype[:20]}; not converted")
            size = count * WIDTH[stored]
            if at + size > len(data):
                raise InputError(
                    f"{file.path}: the weights are truncated: '{name[:80]}' ends at {at + size} of {len(data)} bytes"
                )
            array = np.frombuffer(data, np.dtype("|u1" if stored == "bool" else stored).newbyteorder("<"), count, at)
            at += size
            if "scale" in quantised:
                array = array.astype(np.float64) * float(quantised["scale"]) + float(quantised["min"])
                if dtype == "int32":  # as Math.round
                    array = np.floor(array + 0.5)
            kind = {"bool": np.bool_, "int32": np.int32, "uint8": np.uint8}.get(dtype, np.float32)
            yield name, array.astype(kind).reshape(weight["shape"])
        if at != len(data):
            raise InputError(f"{file.path}: {len(data) - at} bytes of weights more than its manifest names")


# Nodes of a graph, in JSON


def _node(node: Any) -> Node:
    attributes = {str(key): _attribute(value) for key, value in (node.get("attr") or {}).items()}
    return Node(str(node["name"]), str(node["op"]), [str(i) for i in node.get("input") or []], attributes)


def _attribute(value: Any) -> Any:
    if not isinstance(value, dict) or not value:
        return None
    ((kind, content),) = list(value.items())[:1]
    if kind == "list":
        inner = {k: v for k, v in content.items() if isinstance(v, list)} if isinstance(content, dict) else {}
        return [_attribute({k: item}) for k, items in inner.items() for item in items]
    if kind == "s":
        return base64.b64decode(content).decode("utf-8", "replace") if isinstance(content, str) else _bytes(content)
    if kind == "i":
        return int(content)
    if kind == "f":
        return float(content)
    if kind == "b":
        return bool(content)
    if kind == "shape":
        if content.get("unknownRank"):
            return None
        return [int(d.get("size", 0)) for d in content.get("dim") or []]
    return content


def _bytes(content: Any) -> str:
    return bytes(content).decode("utf-8", "replace") if isinstance(content, list) else str(content)
