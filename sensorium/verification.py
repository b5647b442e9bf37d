"""The proof that a model folder carries: is it sound, and does it still give what it gave?"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from sensorium import files
from sensorium.errors import SensoriumError
from sensorium.inference import Evaluation
from sensorium.model import MANIFEST, VERIFICATION, Model, contents, difference, load_probe
from sensorium.nets import Settings, split_stem, trial
from sensorium.tasks import find, to_json

# Largest difference of a network's outputs, relative to their magnitude, by precision: fp32 against PyTorch, the
# others against what they gave when they were made (another processor rounds otherwise).
TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2, "int8": 1e-1, "int4": 1e-1}
# A metric may differ by this much between the trained network and the folder, and between machines.
METRIC_TOLERANCE = 1e-3
# A smaller precision may lose this share of the metric.
LOSS_ALLOWED = {"fp32": 0.0, "fp16": 0.01, "int8": 0.03, "int4": 0.05}
# Of at least so many examples, one may turn without being held against a smaller precision.
FEW = 20
# Without data to measure a metric on: the outputs' root-mean-square difference, relative to their own.
NOISE_ALLOWED = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.15, "int4": 0.4}


def engine() -> str:
    """The engine that runs the networks here, with its version."""
    return f"onnxruntime {onnxruntime.__version__}"


def machine() -> str:
    """The machine, as far as it matters for floating-point results."""
    return f"{platform.system()} {platform.machine()}"


def same(a: Any, b: Any, tolerance: float = 1e-3) -> bool:
    """Whether two answers are the same: equal labels, texts and counts; numbers and pictures within the tolerance.

    The tolerance of a number is relative to its magnitude, or to 1 where that is smaller; of a picture, it is the mean
    difference of its values in 0..1.
    """
    if isinstance(a, Image.Image) and isinstance(b, Image.Image):
        if a.size != b.size or a.mode != b.mode:
            return False
        return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean()) <= 255 * tolerance
    a, b = (_plain(x) for x in (a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], tolerance) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
    return bool(a == b)


def _plain(value: Any) -> Any:
    """A result as a dictionary, so that what is in it (a picture, say) can be compared; the rest as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return value if isinstance(value, (dict, list, str, int, float, type(None), Image.Image)) else to_json(value)


def agreement(a: Evaluation, b: Evaluation, tolerance: float) -> float:
    """Share of examples to which two models give the same answer, by the task's own `alike` where it has one."""
    pairs = list(zip(a.predictions, b.predictions))
    alike: Callable[[Any, Any, float], bool] = getattr(find(a.task), "alike", same)
    return sum(alike(x, y, tolerance) for x, y in pairs) / max(1, len(pairs))


def metrics_of(found: Evaluation) -> dict[str, float | None]:
    """The values of an evaluation's metrics; None where one is not defined."""
    values: dict[str, float | None] = to_json({name: m["value"] for name, m in found.metrics.items()})
    return values


def compare_evaluations(precision: str, task: Any, before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """What `verification.json` says of one export: agreement of answers, metrics before and after, verdict.

    A smaller precision may lose a share of the metric, or what one example alone makes: among ninety clips, one word
    that turns from right to wrong makes a low error rate a third higher, and says nothing.
    """
    old, new = metrics_of(before), metrics_of(after)
    a, b = old.get(task.metric), new.get(task.metric)
    if precision == "fp32" or a is None or b is None:
        good = a is b if a is None or b is None else abs(a - b) <= allowed(precision, a)
    else:
        good = loss(task, a, b) <= allowed(precision, a)
        if not good and len(before.tallies) >= FEW:
            drops = [x.quality - y.quality for x, y in zip(before.tallies, after.tallies)]
            rest = [i for i in range(len(drops)) if i != int(np.argmax(drops))]
            without, now = (task.score([found.tallies[i] for i in rest])[task.metric] for found in (before, after))
            good = loss(task, without, now) <= allowed(precision, without)
    return {
        "agreement": agreement(before, after, TOLERANCES[precision]),
        "metrics_before": old,
        "metrics_after": new,
        "metric_tolerance": METRIC_TOLERANCE if a is None else allowed(precision, a),
        "verdict": "pass" if good else "fail",
    }


def allowed(precision: str, value: float) -> float:
    """How far a metric of this value may move."""
    return max(METRIC_TOLERANCE * max(1.0, abs(value)), LOSS_ALLOWED[precision] * abs(value))


def loss(task: Any, before: float, after: float) -> float:
    """By how much a task's metric became worse."""
    return after - before if task.lower_is_better else before - after


def verify(model: Model, found: Evaluation | None = None, precision: str | None = None) -> dict[str, Any]:
    """Check a model folder against what it says of itself.

    Every file must be the one that `sensorium.json` lists; every network must give, on the inputs kept in the folder,
    the outputs kept beside them; and where `found` was measured on the data that the folder was verified on, its
    metrics must be the recorded ones.

    Args:
        model: the folder.
        found: an evaluation of it, made here and now, on the recorded data.
        precision: the precision that `found` was measured with.

    Returns:
        `verdict` (`pass`, `fail`, or `unverified` for a folder that records nothing), `files`, `metrics`, and the
        reason in `message`.
    """
    listed = model.manifest.get("files")
    recorded = model.verification
    report: dict[str, Any] = {"verdict": "unverified", "model": str(model.path), "files": [], "engine": engine()}
    if not isinstance(listed, dict) or not recorded:
        report["message"] = f"{MANIFEST} or {VERIFICATION} is absent: there is nothing to hold this folder against"
        return report
    actual = contents(model.path)
    entries = {str(entry.get("file")): entry for entry in recorded.get("files", []) if isinstance(entry, Mapping)}
    problems = []
    for name in sorted({*listed, *actual}):
        if name == "README.md":  # people write in it
            continue
        entry: dict[str, Any] = {"file": name, "verdict": "pass"}
        if name not in actual:
            entry |= {"verdict": "fail", "message": "is missing"}
        elif name not in listed:
            entry |= {"verdict": "fail", "message": f"is not listed in {MANIFEST}"}
        elif actual[name] != listed[name]:
            entry |= {"verdict": "fail", "message": "is not the file that was published (its sha256 differs)"}
        elif name.endswith(".onnx"):
            entry |= _check_network(model, name, entries.get(name, {}))
        if entry["verdict"] == "fail":
            problems.append(f"{name} {entry['message']}")
        report["files"].append(entry)
    unverified = recorded.get("verdict") == "unverified"
    if recorded.get("verdict") != "pass" and not unverified and not problems:
        problems.append(f"{VERIFICATION} itself says '{recorded.get('verdict')}'")
    if found is not None:
        report |= _check_metrics(recorded, entries, found, precision)
        if report.get("metrics_verdict") == "fail":
            problems.append("the metrics differ from the recorded ones")
    report["verdict"] = "fail" if problems else "unverified" if unverified else "pass"
    if unverified and not problems:
        report["message"] = "its files are those published, but it was never compared with its original"
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        report["message"] = problems[0] + more
    return report


def _check_network(model: Model, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Run one network on its kept inputs and compare with the kept outputs."""
    stem, precision = split_stem(Path(name).stem)
    tolerance = float(entry.get("tolerance", TOLERANCES[precision]))
    try:
        probe = load_probe(model.path, name)
        if probe is None:
            return {"verdict": "pass", "message": "no inputs were kept to run it on"}
        feeds, expected = probe
        trial.look(model.path / name)  # a file that crashes the engine must not end the check
        nets = model.nets(Settings(precision=precision))
        distance = difference(_task_of(model), expected, nets[stem](feeds))
    except SensoriumError as error:
        return {"verdict": "fail", "message": f"cannot be run: {error}"}
    result: dict[str, Any] = {"largest_difference": to_json(distance), "tolerance": tolerance}
    if distance > tolerance:
        result |= {"verdict": "fail", "message": f"differs from the recorded outputs by {distance:.2g}"}
    return result


def _task_of(model: Model) -> Any:
    """The task of a folder; None where it has none yet, as that of a converted network may: its outputs are compared as
    they are.
    """
    try:
        return model.task()
    except SensoriumError:
        return None


def _check_metrics(
    recorded: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]], found: Evaluation, precision: str | None
) -> dict[str, Any]:
    """Compare metrics measured now with those recorded for the same precision."""
    fitting = [e for name, e in entries.items() if split_stem(Path(name).stem)[1] == (precision or "fp32")]
    then = fitting[0].get("metrics_after") if fitting else None
    now = metrics_of(found)
    if not isinstance(then, Mapping):
        return {"metrics": now, "metrics_verdict": "unverified"}
    differences = {k: abs(now[k] - v) for k, v in then.items() if v is not None and now.get(k) is not None}
    good = all(d <= METRIC_TOLERANCE * max(1.0, abs(float(then[k] or 0))) for k, d in differences.items())
    good = good and {k for k, v in then.items() if v is not None} == set(differences)
    return {"metrics": now, "metrics_recorded": dict(then), "metrics_verdict": "pass" if good else "fail"}


def document(
    task: str, entries: Sequence[Mapping[str, Any]], data: Mapping[str, Any], versions: Mapping[str, str]
) -> dict[str, Any]:
    """The content of `verification.json`."""
    verdict = "fail" if any(e["verdict"] == "fail" for e in entries) else "pass"
    return {
        "task": task,
        "verdict": verdict,
        "files": list(entries),
        "data": dict(data),
        "engine": engine(),
        "machine": machine(),
        "versions": dict(versions),
    }


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `verification.json` into a folder that is being made."""
    (folder / VERIFICATION).write_text(files.dump_json(to_json(content)), "utf-8")
