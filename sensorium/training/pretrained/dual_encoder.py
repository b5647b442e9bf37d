"""Pictures and texts in one network, each with a batch of its own: CLIP and its like, OWL-ViT, Grounding DINO."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
import transformers
from torch import nn

from sensorium.errors import Refused
from sensorium.media.made_up import made_up
from sensorium.training.plan import Part
from sensorium.training.pretrained import rewrites, samples
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.writing import write_traced

OUTPUTS = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
PHRASES = ("a cat", "two very small brown dogs", "A photo of the sea, at night", "tree")
# Texts of these families are always of one length.
LENGTHS = {"siglip": 64, "siglip2": 64, "owlvit": 16, "owlv2": 16}
OWLS = ("owlvit", "owlv2")


def match(config: dict[str, Any], task: str | None) -> float:
    return 0.9 if task in ("zero-shot-image-classification", "zero-shot-object-detection") else 0.0


class Fits(nn.Module):
    """The model's answers to how well each text fits each picture."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(**inputs, return_dict=True)
        return tuple(found[name] for name in self.names)


class Owl(nn.Module):
    """OWL-ViT, with the same texts for all pictures, read once."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.body = getattr(model, model.base_model_prefix)

    def forward(
        self, input_ids: torch.Tensor, pixel_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        states = self.body.text_model(input_ids=input_ids, attention_mask=attention_mask)
        phrases = self.body.text_projection(states.pooler_output)
        phrases = phrases / torch.linalg.norm(phrases, ord=2, dim=-1, keepdim=True)
        places = self.model.image_embedder(pixel_values=pixel_values)[0]
        features = places.flatten(1, 2)
        count = features.shape[0]
        wanted = (input_ids[:, 0] > 0)[None].expand(count, -1)
        logits, _ = self.model.class_predictor(features, phrases[None].expand(count, -1, -1), wanted)
        return logits, self.model.box_predictor(features, places)


def texts(checkpoint: Checkpoint, phrases: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """What the checkpoint's own tokenizer gives of some phrases."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
    length = LENGTHS.get(str(checkpoint.config.get("model_type")))
    how = {"padding": "max_length", "max_length": length, "truncation": True} if length else {"padding": True}
    takes = samples.arguments(checkpoint.model)
    return {k: v for k, v in tokenizer(list(phrases), return_tensors="pt", **how).items() if k in takes}


def pictures(checkpoint: Checkpoint, other: bool) -> dict[str, torch.Tensor]:
    """What the task prepares of two pictures, or of three of another size."""
    task = checkpoint.task
    if task is None:
        raise Refused(f"{checkpoint.name}: its folder lacks the files that {checkpoint.task_name} needs")
    prepared = [task.prepare(task.open(source)) for source in made_up("image", 3 if other else 2, other)]
    takes = samples.arguments(checkpoint.model)
    arrays = {name: torch.stack([torch.from_numpy(p[name]) for p in prepared]) for name in prepared[0]}
    return {name: array for name, array in arrays.items() if name in takes}


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    kind = str(checkpoint.config.get("model_type"))
    if checkpoint.task_name == "zero-shot-object-detection" and kind not in OWLS:
        return {"model": grounded(checkpoint)}
    first = texts(checkpoint, PHRASES[:3]) | pictures(checkpoint, False)
    second = texts(checkpoint, PHRASES) | pictures(checkpoint, True)
    rewrites.apply(checkpoint.model)
    if kind in OWLS:
        module, names = Owl(checkpoint.model), ["logits", "pred_boxes"]
    else:
        with torch.no_grad():
            found = checkpoint.model(**first, return_dict=True)
        names = [name for name in OUTPUTS if found.get(name) is not None]
        module = Fits(checkpoint.model, names)
    of_text = {0: "text_batch_size"} if kind in LENGTHS else {0: "text_batch_size", 1: "sequence_length"}
    text_names = texts(checkpoint, PHRASES[:2])
    dynamic = {name: dict(of_text) if name in text_names else {0: "image_batch_size"} for name in first}
    return {"model": Part(module, first, names, dynamic, other=second)}


def grounded(checkpoint: Checkpoint) -> Part:
    """A network that looks at a picture and reads a sentence together."""
    rewrites.apply(checkpoint.model)
    # Its mask of phrases is of truth values, which plain attention would add as numbers.
    checkpoint.model.model.text_backbone.set_attn_implementation("sdpa")
    first = texts(checkpoint, ("a cat. two small dogs.",) * 2) | pictures(checkpoint, False)
    second = texts(checkpoint, ("the sea. a very long boat. a tree.",) * 3) | pictures(checkpoint, True)
    names = ["logits", "pred_boxes"]
    part = Part(Fits(checkpoint.model, names), first, names, samples.free_axes(first, second), other=second)
    part.write = partial(write_traced, replace(part))  # analysing it takes many times as long as recording it
    return part
