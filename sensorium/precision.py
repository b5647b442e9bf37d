"""The same model in fewer bits: fp16, int8 and int4, verified against the original."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import files, inference, verification
from sensorium.data import Dataset, Example, open_data
from sensorium.errors import InputError, Refused, SensoriumError, need
from sensorium.evaluation import examples_of, unknown_labels
from sensorium.media import made_up
from sensorium.model import difference, load_probe, open_model, save_probe, seal
from sensorium.nets import SUFFIXES, FolderNets, Settings
from sensorium.nets.bound import BoundNet
from sensorium.nets.ort import OrtNet
from sensorium.quantization import to_fp16, to_int4, to_int8
from sensorium.runs import of_model
from sensorium.tasks import Nets, source_of, to_json

FORMATS = ("int8", "fp16", "int4")
CALIBRATION = 64  # examples that show the range of values
MADE_UP = 6  # sources to compare answers on, where there are none


def export(
    path: str | Path,
    *,
    to: str,
    data: str | Path | None = None,
    split: str | None = None,
    calibrate: Sequence[Any] = (),
    out: str | Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """See `sensorium.export`."""
    if to not in FORMATS:
        raise InputError(f"--to {to}: there is no such format; there are: {', '.join(FORMATS)}")
    need("onnx", "formats")
    model = open_model(path)
    task = model.task()
    nets = model.nets(Settings(precision="fp32"))
    measured: list[Example] = []
    calibration: list[Example] = []
    name = ""
    if data is not None:
        dataset = open_data(data, task=task.name)
        name, measured, learn = examples_of(task, dataset, split or ("val" if _has_val(dataset, path) else None), path)
        unknown_labels(task, measured)
        calibration = learn[:CALIBRATION]
    opened = [task.open(source) for source in calibrate[:CALIBRATION]]
    feeds: list[dict[str, np.ndarray]] = []
    if not hasattr(task, "predict"):
        shown = opened or [task.open(source_of(task, e.fields)) for e in calibration]
        feeds = [inference.collate([task.prepare(one)], {}) for one in shown]
    if not out and not os.access(model.path.absolute().parent, os.W_OK):
        raise InputError(f"{model.path}: cannot be written beside: name a new folder with --out")
    with files.publishing(Path(out) if out else model.path) as new:
        shutil.copytree(model.path, new, dirs_exist_ok=True)
        entries = []
        for stem, source in nets.paths.items():
            target = new / "onnx" / f"{stem}{SUFFIXES[to]}.onnx"
            whole = nets[stem]
            ready = [{k: v for k, v in f.items() if k in whole.inputs} for f in feeds]
            if isinstance(whole, BoundNet):
                ready = [whole.feeds(f) for f in ready]
            try:
                if to == "fp16":
                    to_fp16(source, target)
                elif to == "int4":
                    if not to_int4(source, target):
                        continue
                else:
                    to_int8(source, target, ready)
                smaller = nets.bound(OrtNet(target))
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
                entry["noise"] = noise(expected, found)
                entry["tolerance"] = verification.TOLERANCES[to]
                save_probe(new, target.name, given, found)
            entries.append(entry)
        if not entries:
            raise Refused(f"{model.path}: no product with a matrix of weights, nothing to write in {to}")
        if measured:
            before = inference.evaluate(task, nets, measured, split=name, resamples=0)
            after = inference.evaluate(task, FolderNets(new, Settings(precision=to)), measured, split=name, resamples=0)
            result = verification.compare_evaluations(to, task, before, after)
            result["data"] = {"split": name, "examples": len(measured)}
            for entry in entries:
                entry |= result
        else:
            result = without_data(task, nets, FolderNets(new, Settings(precision=to)), entries, to, opened)
            for entry in entries:
                entry |= result
        document = dict(model.verification)
        kept = [e for e in document.get("files", []) if e.get("precision") != to]
        document["files"] = kept + entries
        verification.write(new, document)
        seal(new, task.name, model.manifest.get("origin", {}))
        report = {"model": str(out or model.path), "to": to, "files": to_json(entries)}
        report["verdict"] = entries[0]["verdict"]
        if report["verdict"] == "fail" and not force:
            if not measured:
                raise Refused(f"{model.path}: {entries[0]['message']}; --force keeps it all the same")
            b, a = entries[0]["metrics_before"][task.metric], entries[0]["metrics_after"][task.metric]
            raise Refused(f"{to} loses too much: {task.metric} {b:.4g} became {a:.4g}; --force keeps it all the same")
    return report


def _has_val(dataset: Dataset, path: str | Path) -> bool:
    """Whether the data, or the run that the model lies in, has a validation split."""
    return "val" in dataset.splits() or of_model(path) is not None


def noise(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """Root-mean-square difference of outputs relative to their own root mean square; the largest of all outputs."""
    worst = 0.0
    for name, reference in expected.items():
        a, b = reference.astype(np.float64), found[name].astype(np.float64)
        if a.shape != b.shape:
            return float("inf")
        here = np.isfinite(a) & (np.abs(a) < 1e9)  # without the places of what is never chosen
        if here.any():
            scale = max(float(np.sqrt((a[here] ** 2).mean())), 1e-6)
            worst = max(worst, float(np.sqrt(((a - b)[here] ** 2).mean())) / scale)
    return worst


def without_data(
    task: Any, before: Nets, after: Nets, entries: Sequence[Mapping[str, Any]], to: str, given: Sequence[Any]
) -> dict[str, Any]:
    """What can be said of a smaller model without true answers: how noisy its outputs are, and whether its answers to
    the opened sources that were given, or to made-up ones, are the same.
    """
    said: dict[str, Any] = {"data": {"split": "given" if given else "made up", "examples": 0}}
    alike = getattr(task, "alike", verification.same)
    with contextlib.suppress(SensoriumError, ValueError, TypeError, KeyError, IndexError):  # not to be made up
        sources = given or [task.open(source) for source in made_up.sources(task, MADE_UP, False)]
        pairs = [(inference.run(task, before, [s])[0], inference.run(task, after, [s])[0]) for s in sources]
        said["agreement"] = sum(bool(alike(a, b, verification.TOLERANCES[to])) for a, b in pairs) / len(pairs)
        said["data"]["examples"] = len(pairs)
    heard = [float(entry["noise"]) for entry in entries if "noise" in entry]
    allowed = verification.NOISE_ALLOWED[to]
    if not heard:
        message = "the folder keeps no inputs to compare outputs on, and no data were given"
        return said | {"verdict": "unverified", "message": message}
    if not max(heard) <= allowed:
        message = f"{to} changes the outputs by {max(heard):.2g} of their magnitude (allowed: {allowed:g})"
        return said | {"verdict": "fail", "message": message}
    kind = "the given" if given else "made-up"
    message = f"made without true answers: answers were compared on {kind} sources, no metric was measured"
    return said | {"verdict": "pass", "message": message}
