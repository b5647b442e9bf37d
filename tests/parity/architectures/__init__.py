"""Architectures of transformers, tiny and random, converted by us: the same answers as the PyTorch model's own.

Each module of this folder lists some in `ARCHITECTURES`.
"""

from __future__ import annotations

import base64
import importlib
import io
import math
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import sensorium
from sensorium.media import image
from sensorium.tasks import to_json

SCORE = 1e-4
BOX = 1e-3  # of the picture's longer side
PIXELS = 1e-3  # share of a mask's pixels that may differ
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Architecture:
    """One architecture and how to try it.

    Attributes:
        make: writes a tiny random checkpoint with the files of its processor, by transformers itself, seeded.
        expected: what Hugging Face's own processor, model and post-processing answer to the sources, as JSON values.
        sources: at least three: of odd sizes, grey, with alpha, turned by EXIF; not Latin, long, empty; silence ...
        options: of our answer.
        quick: whether it is tried by default.
    """

    model_type: str
    task: str
    make: Callable[[Path], None]
    expected: Callable[[Path, list[Any]], list[Any]]
    sources: Callable[[Path], list[Any]]
    options: dict[str, Any] = field(default_factory=dict)
    quick: bool = False


@dataclass
class Outcome:
    """Attributes:
    largest: largest difference of a number, relative to what is allowed of its kind being 1e-4.
    tensors: largest difference of the networks' outputs from PyTorch's.
    """

    sources: int
    largest: float
    tensors: float


def areas() -> dict[str, list[Architecture]]:
    """All architectures, by the module that lists them."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        listed = getattr(importlib.import_module(f"{__name__}.{module.name}"), "ARCHITECTURES", None)
        if listed:
            found[module.name] = list(listed)
    return found


def check(case: Architecture, folder: Path) -> Outcome:
    """Make, convert, answer, compare.

    Raises:
        AssertionError: an answer differs.
    """
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    case.make(checkpoint)
    report = sensorium.convert(checkpoint, out=folder / "model", task=case.task)
    sources = case.sources(folder)
    wanted = to_json(case.expected(checkpoint, sources))
    predictor = sensorium.load(folder / "model", task=case.task)
    largest = 0.0
    assert len(wanted) == len(sources) >= 3
    for number, (source, theirs) in enumerate(zip(sources, wanted)):
        ours = to_json(predictor.predict(source, **case.options))
        for place, distance in differences(ours, theirs, side(source)):
            assert distance <= SCORE, f"source {number}: {place}\nours:   {short(ours)}\ntheirs: {short(theirs)}"
            largest = max(largest, distance)
    return Outcome(len(sources), largest, report["largest_difference"])


def short(value: Any) -> str:
    return repr(value)[:600]


def side(source: Any) -> float:
    """The longer side of the picture in a source, or 1."""
    source = source.get("image", source) if isinstance(source, dict) else source
    try:
        return float(max(image.load(source).size))
    except Exception:  # it is no picture
        return 1.0


def differences(ours: Any, theirs: Any, scale: float, place: str = "answer") -> Iterator[tuple[str, float]]:
    """Where two answers differ, and by how much, with `SCORE` standing for what is allowed of each kind."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if missing := set(theirs) - set(ours):
            yield f"{place} has no {sorted(missing)}", math.inf
        for name in sorted(set(theirs) & set(ours)):
            inner = f"{place}.{name}"
            if name in CORNERS:
                yield inner, abs(ours[name] - theirs[name]) / scale * SCORE / BOX
            else:
                yield from differences(ours[name], theirs[name], scale, inner)
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(ours) != len(theirs):
            yield f"{place} has {len(ours)} entries, not {len(theirs)}", math.inf
            return
        numbers = _numbers(ours), _numbers(theirs)
        if numbers[0] is not None and numbers[1] is not None:
            if numbers[0].shape != numbers[1].shape:
                yield f"{place} has the shape {numbers[0].shape}, not {numbers[1].shape}", math.inf
            elif numbers[1].size:
                largest = max(1.0, float(np.abs(numbers[1]).max()))
                yield place, float(np.abs(numbers[0] - numbers[1]).max()) / largest
            return
        for number, (a, b) in enumerate(zip(ours, theirs)):
            yield from differences(a, b, scale, f"{place}[{number}]")
    elif isinstance(theirs, str) and theirs.startswith("data:image") and isinstance(ours, str):
        yield place, picture_difference(ours, theirs)
    elif _is_number(theirs) and _is_number(ours):
        yield place, abs(ours - theirs) / max(1.0, abs(theirs))
    elif ours != theirs:
        yield f"{place} is {short(ours)}, not {short(theirs)}", math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numbers(value: list[Any]) -> np.ndarray | None:
    """A list of numbers, or of such lists, as an array."""
    try:
        array = np.array(value)
    except ValueError:  # of differing lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "if" else None


def picture_difference(ours: str, theirs: str) -> float:
    """Share of pixels that differ by more than one step, with `SCORE` standing for what is allowed."""
    a, b = (np.asarray(Image.open(io.BytesIO(base64.b64decode(x.split(",", 1)[1]))), np.int64) for x in (ours, theirs))
    if a.shape != b.shape:
        return math.inf
    return float((np.abs(a - b) > 1).mean()) * SCORE / PIXELS
