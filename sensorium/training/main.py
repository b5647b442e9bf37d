"""From a task and data to a run folder with a verified model folder in it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from sensorium import inference, tasks
from sensorium.data import Dataset, Example, hold_out, open_data
from sensorium.errors import InputError, SensoriumError
from sensorium.files import dump_json, write_atomic
from sensorium.runs import SPLITS, Run
from sensorium.training import pictures
from sensorium.training.export import export
from sensorium.training.loop import Board, World, choose_device, fit
from sensorium.training.nets import TorchNets
from sensorium.training.plan import Plan
from sensorium.version import __version__

PLAN_FIELDS = {f.name: f for f in dataclasses.fields(Plan) if f.name not in ("task", "network", "base", "parameters")}


def recipe_of(task: str) -> ModuleType:
    """The recipe of a task.

    Raises:
        InputError: there is no such task, or it cannot be trained.
    """
    tasks.find(task)
    name = f"sensorium.training.recipes.{task.replace('-', '_')}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise InputError(f"{task} cannot be trained yet; `sensorium tasks` says which can") from None


def make_plan(
    recipe: ModuleType, examples: list[Example], base: Path | None, epochs: int | None, parameters: dict[str, Any]
) -> Plan:
    """The recipe's plan with the parameters given, those of the recipe and those of every plan alike.

    Raises:
        InputError: a parameter that there is not, or a value of the wrong kind.
    """
    signature = inspect.signature(recipe.plan)
    own = {p.name: p.default for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    if epochs is not None:
        parameters = {**parameters, "epochs": epochs}
    unknown = sorted(set(parameters) - set(own) - set(PLAN_FIELDS))
    if unknown:
        has = ", ".join(sorted({*own, *PLAN_FIELDS}))
        raise InputError(f"--set {unknown[0]}: there is no such parameter; there are: {has}")
    plan: Plan = recipe.plan(examples, base, **{k: v for k, v in parameters.items() if k in own})
    for name, value in parameters.items():
        if name in PLAN_FIELDS and name not in own:
            current = getattr(plan, name)
            if current is not None and not isinstance(value, type(current)):
                if not (isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool)):
                    raise InputError(f"--set {name}={value}: should be a {type(current).__name__}, such as {current}")
                value = float(value)
            setattr(plan, name, value)
    if plan.epochs < 1 or plan.batch_size < 1 or plan.accumulate < 1:
        raise InputError("epochs, batch_size and accumulate are at least 1")
    return plan


def choose_splits(data: Dataset, seed: int) -> tuple[dict[str, list[str]], str]:
    """Which examples to learn from and which to hold out, and a line that says how that was decided."""
    known = data.splits()
    if "train" in known:
        chosen = {name: [e.id for e in data.subset(name)] for name in known}
        if "val" in known:
            return chosen, f"the splits of the data ({', '.join(f'{k} {v}' for k, v in known.items())})"
        learned = list(data.subset("train"))
        known_groups = {e.group for e in learned if e.group is not None}
        alike = bool(known_groups & {e.group for e in data.subset("test")}) if "test" in known else False
        if alike:  # validation should be what the test is: of the same speakers, patients, scenes
            learned = [dataclasses.replace(e, group=None) for e in learned]
        held = hold_out(learned, seed, test=0.0)
        how = (
            f"the splits of the data; {len(held['val'])} of its training examples held out for validation, seed {seed}"
        )
        return {**chosen, "train": held["train"], "val": held["val"]}, (
            f"{how}; groups are divided, as the data's own test split divides them" if alike else how
        )
    held = hold_out(list(data.examples), seed)
    counts = ", ".join(f"{name} {len(ids)}" for name, ids in held.items())
    return held, f"held out by a stratified, grouped rule with seed {seed} ({counts})"


def find_bad(task: Any, examples: Sequence[Example]) -> dict[str, str]:
    """Ids of examples that cannot be opened, with the reason."""

    def problem(example: Example) -> tuple[str, str] | None:
        try:
            task.open(tasks.source_of(task, example.fields))
            for name in ("image", "audio"):  # a truth may be a file, too
                if name == task.truth:
                    importlib.import_module(f"sensorium.media.{name}").load(example.fields[name])
        except SensoriumError as error:
            return example.id, str(error)
        return None

    with ThreadPoolExecutor() as pool:
        return dict(found for found in pool.map(problem, examples) if found)


def time_of_export(recipe: ModuleType, plan: Plan, network: nn.Module, val: Sequence[Example]) -> float:
    """Seconds that the export and its two evaluations will take, judged from a few examples."""
    few = list(val[:16])
    started = time.monotonic()
    inference.evaluate(plan.task, TorchNets(recipe.sample(plan, network.eval())), few, resamples=0, keep=False)
    return 10 + 2 * (time.monotonic() - started) * len(val) / len(few)


class Outside(nn.Module):
    """The user's own module, of PyTorch or of Keras: inputs by name, outputs named as the task names them."""

    def __init__(self, module: nn.Module, outputs: list[str]) -> None:
        super().__init__()
        self.module = module
        self.outputs = outputs
        self.keras = any(c.__module__.startswith("keras.") for c in type(module).__mro__)  # takes a dictionary

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.module(inputs, training=self.training) if self.keras else self.module(**inputs)
        if isinstance(found, torch.Tensor):
            found = (found,)
        return dict(found) if isinstance(found, dict) else dict(zip(self.outputs, found))


def train(
    task: str,
    data: str | Path,
    *,
    out: str | Path,
    base: str | Path | None = None,
    network: nn.Module | None = None,
    epochs: int | None = None,
    budget: float | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    splits: str | Path | None = None,
    workers: int = 1,
    skip_bad: bool = False,
    force: bool = False,
    quiet: bool = False,
    parameters: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """See `sensorium.train`."""
    started = time.monotonic()
    world = World()

    def note(message: str) -> None:
        if not quiet and world.leader:
            print(message, file=sys.stderr, flush=True)

    recipe = recipe_of(task)
    choose_device(device)
    run = Run(out)
    if run.exists and not resume:
        raise InputError(f"{out}: holds a run already; go on with it by --resume, or give another --out")
    if resume and not run.exists:
        note(f"{out}: there is no run here yet: a new one begins")
    found = open_data(Path(data), splits=splits, task=task)
    note(f"{found.path}: {found.format}, {len(found.examples)} examples")
    for line in found.notes:
        note(f"  {line}")
    fingerprint = found.fingerprint()

    given: dict[str, Any] = {"epochs": epochs, "budget": budget, "seed": seed, "base": base and str(base)}
    given |= {"parameters": parameters or {}, "splits": splits and str(splits)}
    if resume and run.exists:
        record = run.read()
        if record["task"] != task or record["data"]["fingerprint"] != fingerprint:
            raise InputError(f"{out}: this run is of {record['task']} on other data; it cannot go on with {data}")
        given = record["options"]
        seed, parameters = given["seed"], given["parameters"]
        base, epochs, budget = given["base"], given["epochs"], given["budget"]

    chosen, how = choose_splits(found, seed)
    note(f"splits: {how}")
    by_id = {e.id: e for e in found.examples}
    parts = {name: [by_id[i] for i in ids] for name, ids in chosen.items()}
    kind = tasks.find(task)
    # A task of one label or several learns from whichever the data has.
    fields = getattr(kind, "truths", (kind.truth,))
    truth = next((t for t in fields if any(t in e.fields for e in parts.get("train", []))), kind.truth)
    usable = {name: [e for e in part if truth in e.fields] for name, part in parts.items()}
    if not usable.get("train") or not usable.get("val"):
        raise InputError(
            f"{data}: {len(usable.get('train', []))} training and {len(usable.get('val', []))} validation examples "
            f"with '{truth}'; {task} needs some of both (`sensorium data show {data}`)"
        )

    plan = make_plan(recipe, usable["train"], Path(base) if base else None, epochs, dict(parameters or {}))
    bad = {
        f.where: f"{f.where}: {f.message}" for f in found.findings if f.severity == "error"
    }  # left out by the reader
    bad |= find_bad(plan.task, [*usable["train"], *usable["val"]])
    if bad:
        if not skip_bad:
            listed = "; ".join(list(bad.values())[:10])
            more = f" (and {len(bad) - 10} more)" if len(bad) > 10 else ""
            raise InputError(f"{len(bad)} examples cannot be used; --skip-bad goes on without them: {listed}{more}")
        for name, reason in bad.items():
            note(f"left out {name}: {reason}")
        usable = {name: [e for e in part if e.id not in bad] for name, part in usable.items()}

    torch.manual_seed(seed)
    if network is not None:
        net: nn.Module = Outside(network, getattr(recipe, "OUTPUTS", ["logits"]))
        plan.network = {"class": f"{type(network).__module__}.{type(network).__qualname__}"}
    else:
        net = recipe.build(plan)
    count = sum(p.numel() for p in net.parameters())
    note(f"network: {count / 1e6:.2f} M parameters, {plan.epochs} epochs of {len(usable['train'])} examples at most")
    record = {
        "sensorium": __version__,
        "task": task,
        "data": {"path": str(Path(data).absolute()), "format": found.format, "fingerprint": fingerprint},
        "splits": {"how": how, "counts": {k: len(v) for k, v in usable.items()}},
        "left_out": bad,
        "options": given,
        "plan": {k: v for k, v in vars(plan).items() if k not in ("task", "base")},
        "parameters": count,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "state": "training",
    }
    if world.leader:
        run.lock()
        run.write(record)
        write_atomic(run.path / SPLITS, dump_json(chosen))
    try:
        net = fit(
            recipe,
            plan,
            net,
            usable["train"],
            usable["val"],
            run,
            seed=seed,
            device=device,
            budget=budget and budget - (time.monotonic() - started),
            reserve=time_of_export(recipe, plan, net, usable["val"]) if budget else 0.0,
            workers=workers,
            resume=resume,
            note=note,
        )
        if not world.leader:
            return record
        evaluation, document = export(
            recipe,
            plan,
            net,
            run.path / "model",
            val=usable["val"],
            learn=usable["train"],
            origin={"run": run.path.name, "data": {"name": found.path.name, "fingerprint": fingerprint}},
            data={"fingerprint": fingerprint, "split": "val"},
            force=force,
        )
    except SensoriumError as error:
        if world.leader:
            run.write(record | {"state": "stopped", "message": str(error)})
        raise
    finally:
        run.unlock()
    board = Board(run)
    for path in pictures.draw(recipe, plan, run, usable["train"], evaluation, seed):
        board.picture(path)
    board.close()
    record |= {
        "state": "finished",
        "seconds": round(time.monotonic() - started, 1),
        "result": {"split": "val", "examples": len(usable["val"]), "metrics": evaluation.metrics}
        | {"baseline": evaluation.baseline, "verification": document["verdict"]},
    }
    run.write(tasks.to_json(record))
    return record
