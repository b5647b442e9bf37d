"""Made-up pictures, sounds and texts, and the inputs that a network takes for them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sensorium import inference
from sensorium.media.audio import Audio

Batch = dict[str, torch.Tensor]

TEXTS = (
    "The quick brown fox jumps over the lazy dog, again.",
    "Two words more.",
    "Nothing is said here that has not been said before, in other words and at another time.",
)
# Inputs that are all ones where the examples of a batch have one size, as ours have.
NEVER = ("pixel_mask",)
# Arguments of a forward pass that are no inputs.
SWITCHES = ("labels", "return_dict", "output_attentions", "output_hidden_states", "use_cache", "past_key_values")


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
        kind: a field of the data: `image`, `audio`, `frames`, or else text.
    """
    if kind == "image":
        return [picture(*((150, 200) if other else (180, 130)), seed) for seed in range(count)]
    if kind in ("video", "frames"):
        size = (100, 90) if other else (90, 80)
        return [[picture(*size, 10 * seed + frame) for frame in range(20)] for seed in range(count)]
    if kind == "audio":
        return [sound(1.7 if other else 1.1, rate, seed) for seed in range(count)]
    return [TEXTS[(seed + 2 * other) % len(TEXTS)] for seed in range(count)]


def sources(task: Any, count: int, other: bool) -> list[Any]:
    """Made-up sources for a task, by the parts that it names."""
    parts = getattr(task, "parts", None) or (task.source,)
    rate = int((getattr(task, "preprocessor", None) or {}).get("sampling_rate") or 16000)
    columns = {part: made_up(part, count, other, rate) for part in parts}
    if len(parts) == 1:
        return columns[parts[0]]
    return [{part: columns[part][i] for part in parts} for i in range(count)]


def inputs(folder: Path, config: Mapping[str, Any], model: Any, task: Any) -> tuple[Batch, Batch]:
    """Two batches, of two and of three examples and of other sizes where sizes vary, as the model takes them.

    They are prepared by the task, or else by the checkpoint's own processor, or else by what config.json says.
    """
    ways = (
        lambda other: by_task(task, other),
        lambda other: by_processor(folder, other),
        lambda other: by_config(model, other),
    )
    takes = arguments(model)
    for way in ways:
        try:
            pair = [
                {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in way(other).items() if k in takes}
                for other in (False, True)
            ]
        except Exception:  # of a task that is not made for this, or a processor that cannot be loaded
            continue
        if pair[0] and runs(model, pair[0]):
            return pair[0], pair[1]
    return by_config_tensors(model, False), by_config_tensors(model, True)


def runs(model: Any, batch: Batch) -> bool:
    try:
        with torch.no_grad():
            model(**batch)
    except Exception:  # whatever a model raises that lacks an input
        return False
    return True


def arguments(model: Any) -> set[str]:
    """Names of the inputs that a model's forward pass takes."""
    return {name for name in inspect.signature(model.forward).parameters if name not in (*SWITCHES, *NEVER)}


def by_task(task: Any, other: bool) -> dict[str, np.ndarray]:
    prepared = [task.prepare(task.open(source)) for source in sources(task, 3 if other else 2, other)]
    return inference.collate(prepared, task.padding)


def by_processor(folder: Path, other: bool) -> dict[str, np.ndarray]:
    """What the checkpoint's own processor prepares of pictures, sounds or texts."""
    import transformers

    count = 3 if other else 2
    for kind, argument, auto in (
        ("image", "images", transformers.AutoImageProcessor),
        ("audio", "raw_speech", transformers.AutoFeatureExtractor),
        ("text", "text", transformers.AutoTokenizer),
    ):
        try:
            processor = auto.from_pretrained(folder, local_files_only=True)
        except Exception:  # it has none of this kind
            continue
        rate = getattr(processor, "sampling_rate", 16000)
        made: Sequence[Any] = made_up(kind, count, other, rate)
        given: dict[str, Any] = {}
        if kind == "audio":
            made, given = [one.samples for one in made], {"sampling_rate": rate}
        elif kind == "text" and processor.pad_token is not None:
            given = {"padding": True}
        found = processor(**{argument: list(made)}, return_tensors="np", **given)
        return {name: np.asarray(array) for name, array in found.items()}
    raise LookupError("no processor")


def by_config(model: Any, other: bool) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in by_config_tensors(model, other).items()}


def by_config_tensors(model: Any, other: bool) -> Batch:
    """Numbers of the shapes that a configuration says."""
    config = model.config.get_text_config() if model.main_input_name == "input_ids" else model.config
    rng = torch.Generator().manual_seed(int(other))
    rows = 3 if other else 2
    name = model.main_input_name
    if name == "pixel_values":
        size = getattr(config, "image_size", None) or 224
        height, width = (size, size) if isinstance(size, int) else tuple(size)[:2]
        return {name: torch.randn(rows, getattr(config, "num_channels", 3), height, width, generator=rng)}
    if name == "input_values":
        return {name: torch.randn(rows, 24000 if other else 16000, generator=rng)}
    if name == "input_features":
        return {name: torch.randn(rows, getattr(config, "num_mel_bins", 80), 3000, generator=rng)}
    length = 11 if other else 7
    ids = torch.randint(3, max(4, int(config.vocab_size)), (rows, length), generator=rng)
    return {name: ids, "attention_mask": torch.ones_like(ids)}


def free_axes(first: Batch, second: Batch) -> dict[str, dict[int, str]]:
    """The axes that vary: the first, and those in which two batches of other sizes differ."""
    usual = {"input_ids": {1: "sequence_length"}, "attention_mask": {1: "sequence_length"},
             "token_type_ids": {1: "sequence_length"}, "bbox": {1: "sequence_length"},
             "pixel_values": {2: "height", 3: "width"}, "input_values": {1: "samples"},
             "input_features": {1: "frames", 2: "frames"}}  # fmt: skip
    found = {}
    for name, tensor in first.items():
        own = usual.get(name, {}) if not (name == "attention_mask" and "input_ids" not in first) else {}
        axes = {0: "batch_size"}
        for axis in range(1, tensor.ndim):
            if tensor.shape[axis] != second[name].shape[axis]:
                axes[axis] = own.get(axis, f"{name}.{axis}")
        found[name] = axes
    return found
