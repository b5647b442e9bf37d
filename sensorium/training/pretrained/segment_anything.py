"""SAM and its like: one network for the picture, and a small one for what is asked of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from sensorium.errors import Refused
from sensorium.media.made_up import made_up
from sensorium.training.plan import Part
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.writing import write_traced

# Labels of points: 1 belongs to the object, 0 does not, 2 and 3 are corners of a box, -1 is nothing, -10 is left out.
CORNERS = (2, 3)
# Families with one map of the picture; those of SAM 2 have one for each of several sizes.
FIRST = ("sam", "sam_hq")


def match(config: dict[str, Any], task: str | None) -> float:
    return 0.9 if task == "mask-generation" else 0.0


class Seen(nn.Module):
    """The picture, as the other part takes it."""

    def __init__(self, model: Any, kind: str) -> None:
        super().__init__()
        self.model = model
        self.kind = kind

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        model = self.model
        if self.kind not in FIRST:
            maps = list(model.get_image_features(pixel_values, return_dict=True).fpn_hidden_states)
            maps[-1] = maps[-1] + model.no_memory_embedding
            sizes = model.backbone_feature_sizes
            return tuple(m.permute(1, 2, 0).reshape(-1, m.shape[2], *size) for m, size in zip(maps, sizes))
        found = model.vision_encoder(pixel_values, return_dict=True)
        places = model.get_image_wide_positional_embeddings().expand(pixel_values.shape[0], -1, -1, -1)
        more = tuple(found.intermediate_embeddings[:1]) if self.kind == "sam_hq" else ()
        return (found.last_hidden_state, places, *more)


class Asked(nn.Module):
    """Masks of objects that points and boxes speak of."""

    def __init__(self, model: Any, kind: str) -> None:
        super().__init__()
        self.model = model
        self.kind = kind

    def words(self, points: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Points as the decoder reads them: (batch, objects, points, width)."""
        encoder = self.model.prompt_encoder
        size = encoder.input_image_size
        places = encoder.shared_embedding(points + 0.5, (size, size))
        kinds = labels[..., None]
        places = torch.where(kinds == -1, encoder.not_a_point_embed.weight, places)
        places = torch.where(kinds == -10, torch.zeros_like(places), places)
        for number in range(4):
            weights = (
                encoder.point_embed.weight[number] if self.kind not in FIRST else encoder.point_embed[number].weight
            )
            places = torch.where(kinds == number, places + weights, places)
        return places

    def forward(self, input_points: torch.Tensor, input_labels: torch.Tensor, **maps: torch.Tensor) -> tuple[Any, ...]:
        encoder, decoder = self.model.prompt_encoder, self.model.mask_decoder
        points = nn.functional.pad(input_points, (0, 0, 0, 1))
        labels = nn.functional.pad(input_labels, (0, 1), value=-1)
        words = self.words(points, labels)
        if self.kind in FIRST:  # what is not a point stands only where there is no box
            corners = (input_labels == CORNERS[0]).sum().clamp(max=1)
            words = words[:, :, : words.shape[2] - corners]
        image = maps["image_embeddings" if self.kind in FIRST else f"image_embeddings.{len(maps) - 1}"]
        width, height = encoder.image_embedding_size
        dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(image.shape[0], -1, width, height)
        given = {"image_embeddings": image, "sparse_prompt_embeddings": words, "dense_prompt_embeddings": dense}
        if self.kind not in FIRST:
            places = self.model.get_image_wide_positional_embeddings().expand(image.shape[0], -1, -1, -1)
            finer = [maps[f"image_embeddings.{i}"] for i in range(len(maps) - 1)]
            found = decoder(**given, image_positional_embeddings=places, high_resolution_features=finer,
                            multimask_output=True)  # fmt: skip
            return found[1], found[0], found[3]
        if self.kind == "sam_hq":
            given |= {"hq_token_only": False, "intermediate_embeddings": [maps["intermediate_embeddings"]]}
        places = maps["image_positional_embeddings"]
        found = decoder(**given, image_positional_embeddings=places, multimask_output=True)
        return found[1], found[0]


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    kind = str(checkpoint.config.get("model_type")).removesuffix("_video")
    task = checkpoint.task
    if task is None:
        raise Refused(f"{checkpoint.name}: its folder lacks the files that mask-generation needs")
    pixels = [task.prepare(task.open(source))["pixel_values"] for source in made_up("image", 2, False)]
    seen = Seen(checkpoint.model, kind)
    picture = torch.stack([torch.from_numpy(p) for p in pixels])
    with torch.no_grad():
        maps = seen(picture)
    if kind in FIRST:
        names = ["image_embeddings", "image_positional_embeddings", "intermediate_embeddings"][: len(maps)]
    else:
        names = [f"image_embeddings.{i}" for i in range(len(maps))]
    side = checkpoint.model.prompt_encoder.input_image_size
    first = {
        "input_points": torch.rand(1, 3, 2, 2) * side,
        "input_labels": torch.tensor([[[1, 0], [1, 1], [0, -10]]]),
        **{name: m[:1] for name, m in zip(names, maps)},
    }
    corners = torch.tensor([[0.1, 0.2], [0.6, 0.9]]) * side
    second = {
        "input_points": torch.cat([torch.rand(1, 2, 1, 2) * side, corners.expand(1, 2, 2, 2)], 2),
        "input_labels": torch.tensor([[[1, 2, 3], [0, 2, 3]]]),
        **{name: m[1:] for name, m in zip(names, maps)},
    }
    free: dict[str, dict[int, str]] = {name: {} for name in names}
    free |= {
        "input_points": {1: "point_batch_size", 2: "nb_points_per_image"},
        "input_labels": {1: "point_batch_size", 2: "nb_points_per_image"},
    }
    outputs = ["iou_scores", "pred_masks", *(["object_score_logits"] if kind not in FIRST else [])]
    found = {
        "vision_encoder": Part(seen, {"pixel_values": picture}, names, {"pixel_values": {0: "batch_size"}}),
        "prompt_encoder_mask_decoder": Part(Asked(checkpoint.model, kind), first, outputs, free, other=second),
    }
    for part in found.values():  # how many tokens there are depends on the labels: recorded, not analysed
        part.write = partial(write_traced, replace(part))
    return found
