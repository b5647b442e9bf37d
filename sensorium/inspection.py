"""What is this file or folder?"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import diagram, files, formats
from sensorium.diagram import Box
from sensorium.errors import InputError, SensoriumError, check_path, need
from sensorium.formats import Graph, Options
from sensorium.model import Model, open_model
from sensorium.runs import Run
from sensorium.tasks import described, to_json


def inspect(path: str | Path) -> dict[str, Any]:
    """See `sensorium.inspect`."""
    check_path(path)
    place = Path(path)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder")
    if not place.is_dir() and not place.is_file():
        raise InputError(f"{place}: a device, pipe or socket, and no file: name a file or folder")
    if place.is_dir() and (place / "onnx").is_dir():
        return inspect_model(open_model(place))
    run = Run(place)
    if run.exists:
        return inspect_run(run)
    if (found := formats.recognise([place])) is not None:
        return inspect_foreign(place, found[0])
    if place.suffix == ".onnx":
        return inspect_network(place)
    from sensorium.data import open_data
    from sensorium.data.show import summary

    try:
        return {"kind": "data", "path": str(place), **summary(open_data(place))}
    except InputError as error:
        raise InputError(f"{error} (and it is not a model or run folder)") from None


def inspect_foreign(path: Path, format: str) -> dict[str, Any]:
    """A model file of any framework: what its bytes say; nothing of it is run or unpickled."""
    report = {"kind": "network", "path": str(path), **formats.inspect([path])}
    return report | inspect_network(path) if format == "onnx" and path.suffix == ".onnx" else report


def inspect_network(path: Path) -> dict[str, Any]:
    """One ONNX file: its inputs and outputs."""
    from sensorium.nets import trial

    return {
        "kind": "network",
        "path": str(path),
        "format": "onnx",
        "bytes": path.stat().st_size,
        **trial.look(path),
    }


def inspect_model(model: Model) -> dict[str, Any]:
    """A model folder: its task, networks, metrics, origin, and whether it can be loaded."""
    from sensorium.nets import FolderNets

    # A converted network may have no task yet.
    known = bool(not model.manifest or model.manifest.get("task") or model.config.get("architectures"))
    report: dict[str, Any] = {"kind": "model", "path": str(model.path), "task": model.task_name if known else None}
    report["model_type"] = model.config.get("model_type")
    report["networks"] = [inspect_network(p) | {"path": p.name} for p in sorted((model.path / "onnx").glob("*.onnx"))]
    try:
        FolderNets(model.path)
        if known:
            report |= described(type(model.task()))
        report["sound"] = True
    except SensoriumError as error:
        report |= {"sound": False, "message": str(error)}
    labels = model.config.get("id2label")
    if isinstance(labels, dict):
        report["labels"] = list(labels.values())
    verified = model.verification
    entries = [e for e in verified.get("files", []) if isinstance(e, dict)]
    report["verification"] = verified.get("verdict", "unverified")
    report["metrics"] = next((e.get("metrics_after") for e in entries if e.get("metrics_after")), None)
    report["verified_on"] = verified.get("data")
    report["origin"] = model.manifest.get("origin")
    report["made_by"] = model.manifest.get("sensorium")
    cleaned: dict[str, Any] = to_json(report)
    return cleaned


def inspect_run(run: Run) -> dict[str, Any]:
    """A run folder: what was trained on what, how far it came, and what it reached."""
    record = run.read()
    lines = list(run.metrics())
    steps = [line for line in lines if "loss" in line]
    return {
        "kind": "run",
        "path": str(run.path),
        "task": record.get("task"),
        "state": record.get("state"),
        "message": record.get("message"),
        "data": record.get("data"),
        "splits": record.get("splits"),
        "parameters": record.get("parameters"),
        "steps": steps[-1]["step"] if steps else 0,
        "validations": [line for line in lines if "validation" in line][-5:],
        "result": record.get("result"),
        "model": str(run.path / "model") if (run.path / "model" / "onnx").is_dir() else None,
    }


# The page


def write_page(path: str | Path, out: str | Path) -> dict[str, Any]:
    """Inspect a network or a model folder and write a page with its graph drawn: one file that needs nothing else.

    Raises:
        InputError: it is neither, or it is damaged.
    """
    place = Path(path)
    report = inspect(place)
    if report["kind"] == "run" and report["model"]:
        place = Path(report["model"])
        report = inspect(place)
    if report["kind"] not in ("network", "model"):
        raise InputError(f"{place}: a page shows a network or a model folder; this is neither")
    networks: dict[str, list[Box]] = {}
    shapes: dict[str, str] = {}
    if report["kind"] == "model":
        for file in sorted((place / "onnx").glob("*.onnx")):
            networks[file.name] = _of_file(file, shapes)
    elif report.get("format") in ("onnx", "ONNX") and place.is_file():
        networks[place.name] = _of_file(place, shapes)
    elif report.get("convertible"):
        try:
            networks[place.name] = _of_graph(formats.read([place], Options()), shapes)
        except SensoriumError as error:  # its graph is made elsewhere: by PyTorch, say
            report["notes"] = [*report.get("notes", []), f"not drawn: {error}"]
    content = diagram.page(place.name, report, networks, shapes)
    files.write_atomic(Path(out), content)
    return report


def _of_graph(graph: Graph, shapes: dict[str, str]) -> list[Box]:
    """The operators of a graph that was read, with the sizes of its example where they are fixed."""
    graph.finish()
    boxes = []
    for entry in graph.inputs:
        free = graph.free_axes(entry)
        shapes[entry.name] = _shape([free.get(axis, size) for axis, size in enumerate(entry.shape)])
        boxes.append(Box("input", entry.name, entry.name[:24], [], [entry.name], {"shape": shapes[entry.name],
                         "type": entry.dtype.name}))  # fmt: skip
    for node in graph.nodes:
        stored = {name: graph.constants[name] for name in node.inputs if name in graph.constants}
        settings = {key: value for key, value in node.attributes.items() if not isinstance(value, Graph)}
        for name in node.outputs:
            if (shape := graph.find_shape(name)) is not None:
                shapes[name] = _shape(shape)
        boxes.append(_box(node.op, node.outputs[0], node.inputs, node.outputs, settings, stored, shapes))
    for name, value in graph.outputs.items():
        boxes.append(Box("output", name, name[:24], [value], [], {"shape": shapes.get(value, "")}))
    return boxes


def _of_file(path: Path, shapes: dict[str, str]) -> list[Box]:
    """The operators of an ONNX file; its weights are not read where they lie in a file of their own."""
    onnx = need("onnx", "formats")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises kinds of its own
        raise InputError(f"{path}: not an ONNX file that can be read: {str(error)[:120]}") from None
    if model.ByteSize() < 1 << 28:
        with contextlib.suppress(Exception):  # a network of operators that ONNX does not know has no shapes
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    for entry in (*graph.input, *graph.output, *graph.value_info):
        if entry.type.tensor_type.HasField("shape"):
            dims = entry.type.tensor_type.shape.dim
            shapes[entry.name] = _shape([d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims])
    stored = {t.name: t for t in graph.initializer}
    boxes = [
        Box("input", e.name, e.name[:24], [], [e.name], {"shape": shapes.get(e.name, "")})
        for e in graph.input
        if e.name not in stored
    ]
    for node in graph.node:
        arrays: dict[str, Any] = {}
        for name in node.input:
            if name in stored:
                small = stored[name].data_location == 0 and int(np.prod(stored[name].dims)) <= 16
                arrays[name] = onnx.numpy_helper.to_array(stored[name]) if small else list(stored[name].dims)
        kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS, onnx.AttributeProto.TENSOR)
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.type not in kinds}
        boxes.append(_box(node.op_type, node.name or node.output[0], node.input, node.output, settings, arrays, shapes))
    for entry in graph.output:
        boxes.append(
            Box("output", entry.name, entry.name[:24], [entry.name], [], {"shape": shapes.get(entry.name, "")})
        )
    return boxes


def _box(
    kind: str,
    name: str,
    takes: Any,
    gives: Any,
    settings: dict[str, Any],
    stored: dict[str, Any],
    shapes: dict[str, str],
) -> Box:
    details = {key: _setting(value) for key, value in settings.items()}
    words: list[str] = []
    for value, array in stored.items():
        sizes = list(getattr(array, "shape", array))
        small = isinstance(array, np.ndarray) and array.size <= 16
        details[value[:60]] = f"{_shape(sizes)} {array.tolist()}" if small else _shape(sizes)
        if len(sizes) > 1 or (not words and np.prod(sizes) > 1):
            words.append("×".join(map(str, sizes)))
    for value in gives:
        if value in shapes:
            details[f"gives {value[:50]}"] = shapes[value]
    steps = settings.get("strides")
    if steps and any(s != 1 for s in steps):
        words.append("/" + "×".join(map(str, steps)))
    elif "axis" in settings:
        words.append(f"axis {settings['axis']}")
    return Box(kind, name, " ".join(words)[:28], [t for t in takes if t and t not in stored], list(gives), details)


def _shape(sizes: Any) -> str:
    return "×".join(map(str, sizes)) or "one number"


def _setting(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")[:200]
    if isinstance(value, np.ndarray):
        return f"{_shape(value.shape)} {value.reshape(-1)[:8].tolist()}"
    return str(list(value) if isinstance(value, (list, tuple)) else value)[:200]
