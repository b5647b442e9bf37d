"""The inputs that a network takes for made-up pictures, sounds and texts."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium import inference
from sensorium.errors import Refused
from sensorium.media.made_up import made_up, sources

Batch = dict[str, torch.Tensor]

# Inputs that are all ones where the examples of a batch have one size, as ours have.
NEVER = ("pixel_mask",)
# Arguments of a forward pass that are no inputs.
SWITCHES = ("labels", "return_dict", "output_attentions", "output_hidden_states", "use_cache", "past_key_values")


def inputs(
    folder: Path, config: Mapping[str, Any], model: Any, task: Any, needed: Sequence[str] = ()
) -> tuple[Batch, Batch]:
    """Two batches, of two and of three examples and of other sizes where sizes vary, as the model takes them.

    They are prepared by the task, or else by the checkpoint's own processor, or else by what config.json says.

    Args:
        needed: inputs of one part of the model; without, those that the whole model can be run on.

    Raises:
        Refused: nothing gives such inputs.
    """
    ways = [lambda other: by_processor(folder, other), lambda other: by_config(model, other)]
    if task is not None:
        ways.insert(0, lambda other: by_task(task, other))
    takes = arguments(model)
    problems = []
    for way in ways:
        try:
            first, second = (
                {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in way(other).items() if k in takes}
                for other in (False, True)
            )
            if not set(needed) <= set(first):
                raise LookupError(f"{', '.join(set(needed) - set(first))} is missing")
            if not needed:
                with torch.no_grad():
                    model(**first)
                    model(**second)
        except Exception as error:  # of a task that is not made for this, a processor, or the model
            problems.append(" ".join(str(error).split())[:200] or type(error).__name__)
            continue
        return tuple({name: batch[name] for name in needed or batch} for batch in (first, second))
    reason = problems[0 if task is not None else -1]
    raise Refused(f"{type(model).__name__}: no inputs can be made for it from the folder's files: {reason}")


def arguments(model: Any) -> set[str]:
    """Names of the inputs that a model's forward pass takes."""
    return {name for name in inspect.signature(model.forward).parameters if name not in (*SWITCHES, *NEVER)}


def by_task(task: Any, other: bool) -> dict[str, np.ndarray]:
    prepared = [task.prepare(task.open(source)) for source in sources(task, 3 if other else 2, other)]
    if "input_ids" in prepared[0] and "input_ids" not in task.padding:
        prepared = prepared[:1] * len(prepared)  # texts that only share a batch where they are equally long
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
            given = {"padding": True, "truncation": processor.model_max_length < 1 << 20}
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
        channels = getattr(config, "num_channels", 3)
        if other:  # what a network was trained on is not always all that it takes
            larger = {name: torch.randn(rows, channels, height + 32, width + 64, generator=rng)}
            with contextlib.suppress(Exception), torch.no_grad():  # models raise whatever they like
                model(**larger)
                return larger
        return {name: torch.randn(rows, channels, height, width, generator=rng)}
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
             "flattened_patches": {1: "sequence_length"},
             "pixel_values": {2: "height", 3: "width"}, "input_values": {1: "samples"},
             "input_features": {1: "frames", 2: "frames"}}  # fmt: skip
    found = {}
    for name, tensor in first.items():
        own = usual.get(name, {}) if not (name == "attention_mask" and "input_ids" not in first) else {}
        axes = {0: "batch_size"}
        for axis in range(1, tensor.ndim):
            if tensor.shape[axis] != second[name].shape[axis] or own.get(axis) == "sequence_length":
                axes[axis] = own.get(axis, f"{name}.{axis}")
        found[name] = axes
    return found
