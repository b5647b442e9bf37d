"""Training of detectors: ours, from scratch or from a folder of ours, or a D-FINE, RT-DETR or YOLOS of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sensorium.data import Example
from sensorium.tasks.object_detection import Task
from sensorium.training import detection
from sensorium.training.plan import Plan

OUTPUTS = detection.OUTPUTS
build, batch, loss, sample = detection.build, detection.batch, detection.loss, detection.sample


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
    """How to train on these examples.

    Args:
        image_size: the longer side of the network's input in pixels; by default as small as the objects allow.
        width: channels of our own network; its time grows with the square.
        epochs: by default so many that about 25 000 pictures are seen.
        mosaic: share of the pictures that are put together from four.
        zoom: least and largest zoom of the others.
        flip, flip_vertical: share of the pictures that are turned left to right, and upside down.
        colour: how much light and colours change.
    """
    return detection.plan(Task, **locals())
