"""Made-up pictures, sounds and texts, to try networks with where there are no data."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from sensorium.media.audio import Audio

TEXTS = (
    "The quick brown fox jumps over the lazy dog, again.",
    "Two words more.",
    "Nothing is said here that has not been said before, in other words and at another time.",
)


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Smooth shapes with some noise: neither all grey nor all noise after resizing."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int64)
    noise = rng.integers(-20, 21, (height, width, 3))
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def sound(seconds: float, rate: int, seed: int) -> Audio:
    """Gliding tones with some noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * (f + 40 * t) * t) for f in rng.uniform(100, 1000, 3)) * 0.2
    return Audio((wave + rng.normal(0, 0.02, len(t))).astype(np.float32), rate)


def made_up(kind: str, count: int, other: bool, rate: int = 16000) -> list[Any]:
    """So many sources of one kind; `other` ones are of other sizes.

    Args:
        kind: a field of the data: `image`, `audio`, `frames`, `word_boxes`, `series`, `sentences`, or else text.
    """
    if kind == "image":
        return [picture(*((150, 200) if other else (180, 130)), seed) for seed in range(count)]
    if kind in ("video", "frames"):
        size = (100, 90) if other else (90, 80)
        return [[picture(*size, 10 * seed + frame) for frame in range(20)] for seed in range(count)]
    if kind == "word_boxes":  # words of a page and where they stand, in thousandths of it
        words = TEXTS[1 + other].split()
        return [[(w, (90 * i, 100 + 9 * i, 90 * i + 60, 140 + 9 * i)) for i, w in enumerate(words[:10])]] * count
    if kind == "series":
        return [[10 + 3 * np.sin(0.3 * (i + seed)) + 0.01 * i for i in range(600)] for seed in range(count)]
    if kind == "sentences":
        return [list(TEXTS)] * count
    if kind == "audio":
        return [sound(1.7 if other else 1.1, rate, seed) for seed in range(count)]
    if kind == "question":  # leaves room for what answers it
        return ["Who?"] * count
    return [TEXTS[(seed + 2 * other) % len(TEXTS)] for seed in range(count)]


def sources(task: Any, count: int, other: bool) -> list[Any]:
    """Made-up sources for a task, by the parts that it names."""
    named = getattr(task, "parts", None) or (task.source,)
    parts = tuple(part for part in named if part not in ("boxes", "prompts"))  # which may be left out
    rate = int((getattr(task, "preprocessor", None) or {}).get("sampling_rate") or 16000)
    columns = {part: made_up(part, count, other, rate) for part in parts}
    if "label" in parts:  # of what is to be made: any of those that the model knows
        columns["label"] = [next(iter(getattr(task, "labels", None) or ()), None)] * count
    if isinstance(gap := getattr(task, "mask", None), str) and "text" in parts:
        columns["text"] = [f"{text} {gap}" for text in columns["text"]]
    if len(parts) == 1:
        gap = getattr(task, "mask", None)  # a text whose gap is to be filled
        return [f"{gap} {one}" for one in columns[parts[0]]] if isinstance(gap, str) else columns[parts[0]]
    return [{part: columns[part][i] for part in parts} for i in range(count)]
