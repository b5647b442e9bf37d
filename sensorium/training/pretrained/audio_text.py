"""Sounds and texts in one network, each with a batch of its own: CLAP."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import transformers
from torch import nn

from sensorium.errors import Refused
from sensorium.media.made_up import sound
from sensorium.training.plan import Part
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.writing import write_traced

OUTPUTS = ["logits_per_audio", "logits_per_text", "text_embeds", "audio_embeds"]
PHRASES = ("a dog", "two very loud brown dogs", "The sound of the sea, at night", "rain")


def match(config: dict[str, Any], task: str | None) -> float:
    return 1.0 if task == "zero-shot-audio-classification" else 0.0


class Fits(nn.Module):
    """How well each text fits each sound.

    Every sound is taken for a long one, so that all are fused where the network fuses: as transformers does with one
    sound alone.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        longer = torch.ones_like(inputs["input_features"][:, :1, 0, 0], dtype=torch.bool)
        found = self.model(**inputs, is_longer=longer, return_dict=True)
        return tuple(found[name] for name in OUTPUTS)


def inputs(checkpoint: Checkpoint, phrases: tuple[str, ...], count: int) -> dict[str, torch.Tensor]:
    task = checkpoint.task
    if task is None:
        raise Refused(f"{checkpoint.name}: its folder lacks the files that {checkpoint.task_name} needs")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
    rows = tokenizer(list(phrases), return_tensors="pt", padding=True)
    sounds = [task.prepare(sound(1.1 + seed, task.rate, seed))["input_features"] for seed in range(count)]
    takes = ("input_ids", "attention_mask")
    return {name: rows[name] for name in takes} | {"input_features": torch.stack([torch.from_numpy(s) for s in sounds])}


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    first, second = inputs(checkpoint, PHRASES[:3], 2), inputs(checkpoint, PHRASES, 3)
    text = {0: "text_batch_size", 1: "sequence_length"}
    dynamic = {"input_ids": text, "attention_mask": text, "input_features": {0: "audio_batch_size"}}
    part = Part(Fits(checkpoint.model).eval(), first, OUTPUTS, dynamic, other=second)
    if checkpoint.model.config.audio_config.enable_fusion:  # it picks rows as it runs: recorded, not analysed
        part = dataclasses.replace(part, write=lambda path: write_traced(part, path))
    return {"model": part}
