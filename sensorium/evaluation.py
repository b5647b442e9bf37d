"""Evaluate and compare model folders on data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sensorium import files, inference
from sensorium.data import Dataset, Example, open_data
from sensorium.errors import InputError
from sensorium.inference import Evaluation
from sensorium.nets import Settings
from sensorium.ops import bootstrap, entities
from sensorium.predictor import Predictor
from sensorium.runs import SPLITS, of_model
from sensorium.tasks import Task, to_json

CHANGED = 0.01  # an example went better or worse where its quality (0..1) moved by more than this


def examples_of(
    task: Task, data: Dataset, split: str | None, model: str | Path | None = None
) -> tuple[str, list[Example], list[Example]]:
    """The examples to evaluate on, and those that a baseline may learn from.

    The split is the one asked for; else `test`, else `val`, else everything. Where the data itself has no splits and
    the model lies in the run folder of a training on this data, the run's own splits count.

    Returns:
        Name of the split (`all` for everything), its examples, and the training examples.

    Raises:
        InputError: there is no such split, or it has no example with the task's truth.
    """
    parts: dict[str, list[Example]] = {}
    for example in data.examples:
        if example.split is not None:
            parts.setdefault(example.split, []).append(example)
    run = of_model(model) if model is not None else None
    if (split or "test") not in parts and run is not None and (run.path / SPLITS).is_file():
        recorded = files.read_json(run.path / SPLITS)
        if run.read().get("data", {}).get("fingerprint") == data.fingerprint():
            by_id = {e.id: e for e in data.examples}
            parts = {name: [by_id[i] for i in ids if i in by_id] for name, ids in recorded.items()}
    name = split or next((s for s in ("test", "val") if s in parts), "all")
    if name == "all":
        chosen = list(data.examples)
    elif name in parts:
        chosen = parts[name]
    else:
        has = ", ".join(sorted(parts)) or "none; --split all takes every example"
        raise InputError(f"{data.path}: there is no split '{name}' (there is: {has})")
    usable = [e for e in chosen if task.truth in e.fields]
    if not usable:
        raise InputError(
            f"{data.path}: none of the {len(chosen)} examples of '{name}' has the '{task.truth}' that {task.name} "
            f"is measured against (it has: {', '.join(data.fields)})"
        )
    learn = [e for e in parts.get("train", []) if task.truth in e.fields]
    return name, usable, learn or usable


def labels_of(truth: Any) -> Iterable[str]:
    """The labels in the truth of an example: of itself, of its objects, of the frames of a film."""
    if isinstance(truth, str):
        yield truth
    elif isinstance(truth, Mapping):
        if "label" in truth and not truth.get("ignore"):
            yield str(truth["label"])
    elif isinstance(truth, (list, tuple)):
        for one in truth:
            yield from labels_of(one)


def unknown_labels(task: Task, examples: list[Example], choices: Iterable[str] | None = None) -> list[str]:
    """Remarks on the labels of the data that the model does not know: it can but miss every one of them.

    Args:
        choices: the labels to choose from, of a task that is told them with the call.

    Raises:
        InputError: it knows none of them.
    """
    given = list(choices if choices is not None else getattr(task, "labels", ()))
    if not given or task.truth not in ("label", "labels", "objects", "segments", "tags", "tracks"):
        return []
    name = entities.kind if task.truth == "tags" else str
    known = {name(label) for label in given} - ({"O"} if task.truth == "tags" else set())
    asked = {name(label) for example in examples for label in labels_of(example.fields[task.truth])}
    asked -= {"O"} if task.truth == "tags" else set()
    strange = sorted(asked - known)
    if asked and not asked & known:
        raise InputError(
            f"the model knows none of the labels of these data ({_some(strange)}); it knows {_some(sorted(known))}: "
            "give data, or an id2label in config.json, with the same names"
        )
    return [f"the model does not know {len(strange)} of the {len(asked)} labels of these data, and misses every "
            f"example of them: {_some(strange)}"] if strange else []  # fmt: skip


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    splits: str | Path | None = None,
    settings: Settings | None = None,
    task: str | None = None,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> Evaluation:
    """See `sensorium.evaluate`."""
    predictor = Predictor(model, settings, task=task)
    kind = predictor.task
    dataset = open_data(data, splits=splits, task=kind.name)
    name, examples, learn = examples_of(kind, dataset, split, model)
    notes = unknown_labels(kind, examples, options.get("candidate_labels"))
    found = inference.evaluate(kind, predictor.nets, examples, split=name, learn=learn, progress=progress, **options)
    found.notes = notes
    return found


def compare(
    a: str | Path,
    b: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    splits: str | Path | None = None,
    precisions: tuple[str | None, str | None] = (None, None),
    **options: Any,
) -> dict[str, Any]:
    """See `sensorium.compare`."""
    first, second = (Predictor(m, Settings(engine="onnxruntime", precision=p)) for m, p in zip((a, b), precisions))
    if first.task.name != second.task.name:
        raise InputError(f"{a} is a model for {first.task.name}, {b} for {second.task.name}: nothing to compare")
    dataset = open_data(data, splits=splits, task=first.task.name)
    name, examples, _ = examples_of(first.task, dataset, split, a)
    notes = [f"{p.model.path}: {note}" for p in (first, second) for note in unknown_labels(p.task, examples)]
    found = [inference.evaluate(p.task, p.nets, examples, split=name, resamples=0, **options) for p in (first, second)]
    tallies = [f.tallies for f in found]
    flipped = [
        {
            "id": found[0].ids[i],
            "quality": [tallies[0][i].quality, tallies[1][i].quality],
            "answers": [found[0].predictions[i], found[1].predictions[i]],
        }
        for i in sorted(range(len(examples)), key=lambda i: tallies[1][i].quality - tallies[0][i].quality)
        if abs(tallies[0][i].quality - tallies[1][i].quality) > CHANGED
    ]
    report: dict[str, Any] = to_json(
        {
            "task": first.task.name,
            "split": name,
            "examples": len(examples),
            "models": [str(a), str(b)],
            "metrics": [{k: m["value"] for k, m in f.metrics.items()} for f in found],
            "difference": bootstrap.paired(tallies[0], tallies[1], first.task.score),
            "worse": sum(f["quality"][1] < f["quality"][0] for f in flipped),
            "better": sum(f["quality"][1] > f["quality"][0] for f in flipped),
            "flipped": flipped[:10] + flipped[10:][-10:],
            "notes": notes,
        }
    )
    return report
