"""The quickest way to run a model on this machine that still gives its answers: engine, precision, threads, batch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from sensorium import inference, verification
from sensorium.errors import InputError, Refused, SensoriumError
from sensorium.nets import Settings, settings, split_stem
from sensorium.nets.ort import available_cores
from sensorium.performance import BATCHES, opened_sources, timed
from sensorium.predictor import Predictor
from sensorium.tasks import to_json

ROUNDS = 3
AGREE = 0.99  # of the answers must stay as they are
ENOUGH = 20  # sources that a lower precision is judged on


def tune(
    path: str | Path,
    given: Sequence[Any] = (),
    *,
    task: str | None = None,
    seconds: float = 1.0,
    save: bool = True,
    progress: Callable[[str], object] = lambda line: None,
    **chosen: Any,
) -> dict[str, Any]:
    """Measure engines, precisions, threads and batch sizes, and record the quickest for this folder and machine.

    The reference is ONNX Runtime in fp32. Another engine must give its answers; a lower precision must give them to at
    least `AGREE` of the sources, within the tolerance of that precision. Without `ENOUGH` sources, a lower precision
    counts only if the folder itself records that it was verified.

    Args:
        given: sources to measure with and to compare answers on; a made-up one where there are none.
        seconds: to measure each candidate for.
        save: record what was found, for every later `load` on this machine that does not ask for something else.
        chosen: options of the answer.

    Returns:
        `chosen`: the settings; `candidates`: each with its time, its agreement, and why it was left out if it was.

    Raises:
        InputError: the model or a source cannot be opened.
        Refused: not even the reference answers.
    """
    cores = available_cores()
    base = Settings("onnxruntime", "fp32", cores)
    reference = Predictor(path, base, task=task)
    opened, needed = opened_sources(reference, given)
    how = {**needed, **chosen}
    expected = inference.answer_each(reference.task, reference.nets, opened, **how)
    for answer in expected:
        if isinstance(answer, SensoriumError):
            raise Refused(f"{path}: cannot be tuned, as it does not answer: {answer}")
    rows: list[dict[str, Any]] = []

    def measure(some: Sequence[Settings]) -> None:
        """Time these in turns, so that what else the machine does falls on all of them alike."""
        ready: list[tuple[dict[str, Any], Callable[[], object]]] = []
        for candidate in some:
            row: dict[str, Any] = asdict(candidate)
            rows.append(row)
            try:
                one = Predictor(path, candidate, task=task)
                row |= _agreement(one, opened, expected, how, len(given) >= ENOUGH)
            except SensoriumError as error:
                row["left_out"] = str(error)
            if "left_out" not in row:
                batch = [opened[i % len(opened)] for i in range(candidate.batch_size or 1)]
                ready.append((row, partial(inference.run, one.task, one.nets, batch, **how)))
        for _ in range(ROUNDS):
            for row, run in ready:
                found = timed(run, seconds / ROUNDS, least=3).median / row["batch_size"]
                row["seconds"] = min(found, row.get("seconds", found))
        for row in rows[-len(some) :]:
            said = row.get("left_out") or f"{1e3 * row['seconds']:.2f} ms"
            threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
            progress(f"{row['engine']} {row['precision']}, {threads}, batch {row['batch_size']}: {said}")

    def best() -> Settings:
        found = min((r for r in rows if "seconds" in r), key=lambda r: r["seconds"])
        return Settings(**{name: found[name] for name in Settings.__dataclass_fields__})

    measure(candidates(reference, cores))
    if cores > 1:
        measure([replace(best(), threads=1)])
    alone = best()
    measure([replace(alone, batch_size=size) for size in BATCHES[1:]])
    seconds_of: dict[Any, Any] = {
        (r["engine"], r["precision"], r["threads"], r["batch_size"]): r.get("seconds") for r in rows
    }
    start = seconds_of["onnxruntime", "fp32", cores, 1]
    report: dict[str, Any] = to_json(
        {
            # What is streamed may take larger batches; alone, an example has the time of batch 1.
            "chosen": asdict(best()),
            "speedup": start / seconds_of[alone.engine, alone.precision, alone.threads, 1],
            "sources": len(given),
            "candidates": rows,
        }
    )
    if save:
        try:
            report["recorded"] = str(settings.record(reference.model.path, best(), report["candidates"]))
        except (OSError, InputError) as error:  # what took minutes to measure is told all the same
            report["recorded"] = None
            progress(f"not recorded: {error}; name another folder for it by XDG_CACHE_HOME")
    return report


def candidates(reference: Predictor, cores: int) -> list[Settings]:
    """The reference, and every other engine and precision there is for this folder and machine."""
    folder = reference.model.path / "onnx"
    there = {split_stem(p.stem)[1] for p in folder.glob("*.onnx")}
    engines = ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
    found = []
    for engine in engines:
        precisions = [p for p in settings.PRECISIONS if p in there or (p == "bf16" and engine == "openvino")]
        found += [Settings(engine, p, cores, batch_size=1) for p in precisions if p != "fp16"]  # fp16 is slow on CPUs
    return found


def _agreement(
    one: Predictor, opened: Sequence[Any], expected: Sequence[Any], how: dict[str, Any], enough: bool
) -> dict[str, Any]:
    """The share of sources that are answered as before; `left_out` where that is too few, or nothing is known."""
    precision = one.settings.precision or "fp32"
    tolerance = verification.TOLERANCES[precision]
    answers = inference.answer_each(one.task, one.nets, opened, **how)
    for answer in answers:
        if isinstance(answer, SensoriumError):
            return {"left_out": str(answer)}
    alike = getattr(type(one.task), "alike", verification.same)
    share = sum(alike(a, b, tolerance) for a, b in zip(expected, answers)) / len(expected)
    row: dict[str, Any] = {"agreement": share, "tolerance": tolerance}
    if share < (1.0 if precision == "fp32" else AGREE):
        return row | {"left_out": f"only {100 * share:.0f} % of the answers stay as they are"}
    if precision != "fp32" and not enough and not _verified(one, precision):
        return row | {
            "left_out": f"not shown to keep the answers: name at least {ENOUGH} sources to judge {precision} on"
        }
    return row


def _verified(one: Predictor, precision: str) -> bool:
    entries = [e for e in one.model.verification.get("files", []) if e.get("precision") == precision]
    return bool(entries) and all(e.get("verdict") == "pass" and "agreement" in e for e in entries)
