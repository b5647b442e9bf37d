"""Training of trackers: the detector in them learns from the frames of the sequences, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data import Example
from sensorium.tasks.object_tracking import Task
from sensorium.training import detection
from sensorium.training.plan import Plan

OUTPUTS = detection.OUTPUTS
build, loss, sample = detection.build, detection.loss, detection.sample


def plan(
    examples: Sequence[Example],
    base: Path | None,
    *,
    image_size: int | None = None,
    width: int = 24,
    epochs: int | None = None,
    batch_size: int = 16,
    learning_rate: float | None = None,
    mosaic: float = 0.5,
    zoom: tuple[float, float] = (0.6, 1.5),
    flip: float = 0.5,
    flip_vertical: float = 0.0,
    colour: float = 1.0,
) -> Plan:
    """How to train on these sequences; an epoch has as many pictures as they have frames.

    Args:
        image_size: the longer side of the network's input in pixels; by default as small as the objects allow.
        width: channels of our own network; its time grows with the square.
        epochs: by default so many that about 25 000 pictures are seen.
        mosaic: share of the pictures that are put together from four.
        zoom: least and largest zoom of the others.
        flip, flip_vertical: share of the pictures that are turned left to right, and upside down.
        colour: how much light and colours change.
    """
    given = {**locals(), "examples": [frame(e, i) for e in examples for i in range(len(e.fields["frames"]))]}
    return detection.plan(Task, **given)


def frame(sequence: Example, number: int) -> Example:
    """One frame of a sequence, as an example for detection."""
    objects = [{"label": o["label"], "box": o["box"]} for o in sequence.fields["tracks"][number] if not o["ignore"]]
    fields: dict[str, Any] = {"image": sequence.fields["frames"][number], "objects": objects}
    return Example(f"{sequence.id}#{number}", fields, sequence.where, sequence.split, sequence.group)


def batches(plan: Plan, examples: Sequence[Example], rng: np.random.Generator) -> list[list[int]]:
    """Sequences, each as often as it has frames; `batch` draws the frames."""
    order = rng.permutation(np.repeat(np.arange(len(examples)), [len(e.fields["frames"]) for e in examples]))
    parts = np.array_split(order, max(1, round(len(order) / plan.batch_size)))
    return [part.tolist() for part in parts]


def batch(plan: Plan, examples: Sequence[Example], rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    """A frame of each of these sequences: any, or without `rng` the middle one."""
    lengths = [len(e.fields["frames"]) for e in examples]
    numbers = [n // 2 for n in lengths] if rng is None else rng.integers(lengths)
    return detection.batch(plan, [frame(e, int(i)) for e, i in zip(examples, numbers)], rng)
