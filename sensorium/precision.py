"""The same model in fewer bits: int8 and fp16, verified against the original."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import files, inference, verification
from sensorium.data import Dataset, Example, open_data
from sensorium.errors import InputError, Refused, SensoriumError, need
from sensorium.evaluation import examples_of
from sensorium.model import Model, difference, load_probe, open_model, save_probe, seal
from sensorium.nets import SUFFIXES, FolderNets
from sensorium.nets.ort import OrtNet
from sensorium.runs import of_model
from sensorium.tasks import source_of, to_json

FORMATS = ("int8", "fp16")
CALIBRATION = 64  # examples that show the range of values


class Examples:
    """Calibration data for ONNX Runtime's quantisation: prepared examples, one at a time."""

    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _untied(network: Any) -> Any:
    """The network with a weight of their own for Gemm nodes that share theirs, as an output layer does with the
    embeddings: the quantiser turns a Gemm's weight round in its place, whoever else reads it.
    """
    graph = network.graph
    weights = {weight.name: weight for weight in graph.initializer}
    used = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        if node.op_type == "Gemm" and node.input[1] in weights and used[node.input[1]] > 1:
            own = graph.initializer.add()
            own.CopyFrom(weights[node.input[1]])
            node.input[1] = own.name = f"{own.name}.{node.name}"
    return network


def to_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic in 16 bits, inputs and outputs as they were."""
    onnx = need("onnx", "formats")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smaller = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    onnx.save(smaller, str(target))


def to_int8(source: Path, target: Path, calibration: list[dict[str, np.ndarray]]) -> None:
    """Weights in 8 bits: networks of convolutions with calibrated activations, others with dynamic ones."""
    onnx = need("onnx", "formats")
    from onnxruntime import quantization as q

    logging.getLogger().setLevel(logging.ERROR)
    kinds = {node.op_type for node in onnx.load(str(source)).graph.node}
    if "Conv" in kinds and calibration:
        prepared = target.with_suffix(".prepared.onnx")
        try:
            q.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            q.quantize_static(
                str(prepared),
                str(target),
                Examples(calibration),
                quant_format=q.QuantFormat.QDQ,
                per_channel=True,
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            )
        finally:
            prepared.unlink(missing_ok=True)
    else:
        q.quantize_dynamic(
            _untied(onnx.load(str(source))),
            str(target),
            per_channel=True,
            weight_type=q.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        )


def export(
    path: str | Path,
    *,
    to: str,
    data: str | Path | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """See `sensorium.export`."""
    if to not in FORMATS:
        raise InputError(f"--to {to}: there is no such format; there are: {', '.join(FORMATS)}")
    need("onnx", "formats")
    model = open_model(path)
    task = model.task()
    nets = model.nets("fp32")
    measured: list[Example] = []
    calibration: list[Example] = []
    name = ""
    if data is not None:
        dataset = open_data(Path(data), task=task.name)
        name, measured, learn = examples_of(task, dataset, split or ("val" if _has_val(dataset, path) else None), path)
        calibration = learn[:CALIBRATION]
    elif to == "int8" and not model.manifest:
        raise InputError("--to int8: give --data, so that the range of values and the loss can be measured")
    feeds: list[dict[str, np.ndarray]] = []
    if not hasattr(task, "predict"):
        feeds = [inference.collate([task.prepare(task.open(source_of(task, e.fields)))], {}) for e in calibration]
    with files.publishing(Path(out) if out else model.path) as new:
        shutil.copytree(model.path, new, dirs_exist_ok=True)
        entries = []
        for stem, source in nets.paths.items():
            target = new / "onnx" / f"{stem}{SUFFIXES[to]}.onnx"
            wanted = nets[stem].inputs
            ready = [{k: v for k, v in f.items() if k in wanted} for f in feeds] or _probe_feeds(model, source)
            try:
                to_fp16(source, target) if to == "fp16" else to_int8(source, target, ready)
                smaller = OrtNet(target)
            except SensoriumError:
                raise
            except Exception as error:  # the converters raise whatever they meet
                reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
                raise Refused(f"{source.name} cannot be written in {to}: {reason}") from error
            entry: dict[str, Any] = {"file": f"onnx/{target.name}", "precision": to, "verdict": "pass"}
            entry["bytes"] = {"before": source.stat().st_size, "after": target.stat().st_size}
            if (probe := load_probe(model.path, source.name)) is not None:
                given, expected = probe
                found = smaller(given)
                entry["difference_from_fp32"] = difference(task, expected, found)
                entry["tolerance"] = verification.TOLERANCES[to]
                save_probe(new, target.name, given, found)
            entries.append(entry)
        if measured:
            before = inference.evaluate(task, nets, measured, split=name, resamples=0)
            after = inference.evaluate(task, FolderNets(new, to), measured, split=name, resamples=0)
            result = verification.compare_evaluations(to, task.metric, task.lower_is_better, before, after)
            result["data"] = {"split": name, "examples": len(measured)}
            for entry in entries:
                entry |= result
        else:
            for entry in entries:
                entry |= {"verdict": "unverified", "message": "made without data: what it loses was not measured"}
        document = dict(model.verification)
        kept = [e for e in document.get("files", []) if e.get("precision") != to]
        document["files"] = kept + entries
        verification.write(new, document)
        seal(new, task.name, model.manifest.get("origin", {}))
        report = {"model": str(out or model.path), "to": to, "files": to_json(entries)}
        report["verdict"] = entries[0]["verdict"]
        if report["verdict"] == "fail" and not force:
            b, a = entries[0]["metrics_before"][task.metric], entries[0]["metrics_after"][task.metric]
            raise Refused(f"{to} loses too much: {task.metric} {b:.4g} became {a:.4g}; --force keeps it all the same")
    return report


def _has_val(dataset: Dataset, path: str | Path) -> bool:
    """Whether the data, or the run that the model lies in, has a validation split."""
    return "val" in dataset.splits() or of_model(path) is not None


def _probe_feeds(model: Model, source: Path) -> list[dict[str, np.ndarray]]:
    """The made-up inputs that the folder keeps for a network: better than nothing to calibrate with."""
    probe = load_probe(model.path, source.name)
    return [probe[0]] if probe is not None else []
