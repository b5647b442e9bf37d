"""CLIP and its like: texts and pictures in one network, each with a batch of its own, and how well they fit."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn

from sensorium.errors import Refused
from sensorium.training.plan import Part
from sensorium.training.pretrained import samples
from sensorium.training.pretrained.checkpoint import Checkpoint

OUTPUTS = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
PHRASES = ("a cat", "two very small brown dogs", "A photo of the sea, at night", "tree")
# Texts of these families are always of one length.
LENGTHS = {"siglip": 64, "siglip2": 64}


def match(config: dict[str, Any], task: str | None) -> float:
    return 0.9 if task == "zero-shot-image-classification" else 0.0


class Fits(nn.Module):
    """The model's answers to how well each text fits each picture."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(**inputs, return_dict=True)
        return tuple(found[name] for name in self.names)


def texts(checkpoint: Checkpoint, phrases: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """What the checkpoint's own tokenizer gives of some phrases."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
    length = LENGTHS.get(str(checkpoint.config.get("model_type")))
    how = {"padding": "max_length", "max_length": length, "truncation": True} if length else {"padding": True}
    takes = samples.arguments(checkpoint.model)
    return {k: v for k, v in tokenizer(list(phrases), return_tensors="pt", **how).items() if k in takes}


def pictures(checkpoint: Checkpoint, count: int) -> dict[str, torch.Tensor]:
    """What the task prepares of some pictures."""
    task = checkpoint.task
    if task is None:
        raise Refused(f"{checkpoint.name}: its folder lacks the files that {checkpoint.task_name} needs")
    prepared = [task.prepare(task.open(samples.picture(180, 130, seed))) for seed in range(count)]
    takes = samples.arguments(checkpoint.model)
    arrays = {name: torch.stack([torch.from_numpy(p[name]) for p in prepared]) for name in prepared[0]}
    return {name: array for name, array in arrays.items() if name in takes}


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    first = texts(checkpoint, PHRASES[:3]) | pictures(checkpoint, 2)
    second = texts(checkpoint, PHRASES) | pictures(checkpoint, 3)
    with torch.no_grad():
        found = checkpoint.model(**first, return_dict=True)
    names = [name for name in OUTPUTS if found.get(name) is not None]
    fixed = checkpoint.config.get("model_type") in LENGTHS
    of_text = {0: "text_batch_size"} if fixed else {0: "text_batch_size", 1: "sequence_length"}
    text_names = texts(checkpoint, PHRASES[:2])
    dynamic = {name: dict(of_text) if name in text_names else {0: "image_batch_size"} for name in first}
    return {"model": Part(Fits(checkpoint.model, names), first, names, dynamic, other=second)}
