"""The pictures of a run folder, which people judge a training by."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.inference import Evaluation
from sensorium.media import charts, drawing
from sensorium.runs import Run
from sensorium.training.plan import Plan

SHOWN = 12
CELL = 480  # longest side of an answer, in pixels: its words must be readable


def seen(batch: dict[str, Any]) -> Image.Image | None:
    """What the network really sees: the pictures or spectra of a batch, stretched to the range of grey values."""
    for name in ("pixel_values", "input_features", "sample"):
        if name not in batch:
            continue
        pictures = []
        for array in np.asarray(batch[name])[:SHOWN]:
            plane = np.moveaxis(array, 0, -1) if array.ndim == 3 else array.T[::-1, :, None]
            low, high = np.percentile(plane, (1, 99))
            plane = np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1)
            plane = np.repeat(plane, 3, axis=-1) if plane.shape[-1] == 1 else plane[..., :3]
            pictures.append(Image.fromarray((plane * 255).astype(np.uint8)))
        return drawing.grid(pictures, columns=4)
    return None


def answers(plan: Plan, found: Evaluation, indices: Sequence[int]) -> Image.Image | None:
    """Answers drawn, each with the truth in it where the task can mark it, else with the truth beside or below it."""
    task = plan.task
    marks = "truth" in inspect.signature(task.draw).parameters
    pairs = not marks and hasattr(task, "truth_result")
    pictures, captions = [], []
    for i in indices:
        try:
            source = task.open(found.sources[i])
            told = {"truth": found.truths[i]} if marks else {}
            pictures.append(task.draw(source, found.predictions[i], **told))
            captions.append(found.ids[i])
            if pairs:
                pictures.append(task.draw(source, task.truth_result(found.truths[i])))
                captions.append("truth")
            elif not marks:
                captions[-1] += f" | truth: {str(found.truths[i])[:60]}"
        except SensoriumError:
            continue
    cell = min(CELL, max((max(p.size) for p in pictures), default=CELL))
    return drawing.grid(pictures, captions, columns=4 if pairs else 3, cell=cell) if pictures else None


def draw(recipe: ModuleType, plan: Plan, run: Run, train: Sequence[Any], found: Evaluation, seed: int) -> list[Path]:
    """Write the run's pictures.

    Returns:
        The files: learning curves, what the network sees, predictions, worst examples, and the task's own charts.
    """
    folder = run.path / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Image.Image | None] = {"curves": charts.curves(list(run.metrics()))}
    rng = np.random.default_rng(seed)
    chosen = [train[i] for i in rng.permutation(len(train))[:SHOWN]]
    made["input"] = seen(recipe.batch(plan, chosen, rng))
    # Some from everywhere: data is often sorted by class.
    spread = np.unique(np.linspace(0, len(found.ids) - 1, SHOWN).round().astype(int)).tolist()
    made["predictions"] = answers(plan, found, spread)
    made["worst"] = answers(plan, found, found.worst(SHOWN))
    if hasattr(plan.task, "charts"):
        made |= plan.task.charts(found.predictions, found.truths)
    paths = []
    for name, picture in made.items():
        if picture is not None:
            paths.append(folder / f"{name}.png")
            picture.save(paths[-1])
    return paths
