"""What is this file or folder?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sensorium import formats
from sensorium.errors import InputError, SensoriumError
from sensorium.model import Model, open_model
from sensorium.runs import Run
from sensorium.tasks import options, to_json


def inspect(path: str | Path) -> dict[str, Any]:
    """See `sensorium.inspect`."""
    place = Path(path)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder")
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
    from sensorium.nets.ort import OrtNet

    net = OrtNet(path)
    return {
        "kind": "network",
        "path": str(path),
        "format": "onnx",
        "bytes": path.stat().st_size,
        "inputs": {name: {"shape": shape, "dtype": dtype.__name__} for name, (shape, dtype) in net.inputs.items()},
        "outputs": net.outputs,
    }


def inspect_model(model: Model) -> dict[str, Any]:
    """A model folder: its task, networks, metrics, origin, and whether it can be loaded."""
    from sensorium.nets import FolderNets

    report: dict[str, Any] = {"kind": "model", "path": str(model.path), "task": model.task_name}
    report["model_type"] = model.config.get("model_type")
    report["networks"] = [inspect_network(p) | {"path": p.name} for p in sorted((model.path / "onnx").glob("*.onnx"))]
    try:
        task: Any = model.task()
        FolderNets(model.path)
        report["options"] = {o.name: o.default for o in options(type(task))}
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
