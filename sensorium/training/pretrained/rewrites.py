"""Modules of transformers whose Python code decides by values, written so that one graph serves all inputs.

Each rewrite is named like the class it changes; it gets a module of it, whose method it replaces. They hold under what
the export assumes: the pictures of a batch have one size, so that masks of pixels are all ones.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def apply(model: nn.Module) -> bool:
    """Replace what a graph cannot express in all modules of a model; whether there was anything."""
    found = [module for module in model.modules() if type(module).__name__ in REWRITES]
    for module in found:
        REWRITES[type(module).__name__](module)
    return bool(found)


def _vilt_embeddings(module: Any) -> None:
    """ViLT picks patches by a mask, row by row; without a mask it takes all of them."""

    def visual_embed(self: Any, pixel_values: Tensor, pixel_mask: Tensor, max_image_length: int = 200) -> Any:
        x = self.patch_embeddings(pixel_values)
        rows, channels, height, width = x.shape
        side = self.config.image_size // self.config.patch_size
        places = self.position_embeddings[:, 1:, :].transpose(1, 2).reshape(1, channels, side, side)
        places = nn.functional.interpolate(places, size=(height, width), mode="bilinear", align_corners=True)
        x = x.flatten(2).transpose(1, 2) + places.flatten(2).transpose(1, 2)
        first = self.cls_token + self.position_embeddings[:, :1, :]
        x = torch.cat([first.expand(rows, -1, -1), x], dim=1)
        return x, torch.ones(rows, height * width + 1, dtype=torch.long), (None, (height, width))

    module.visual_embed = types.MethodType(visual_embed, module)


def _swin_patches(module: Any) -> None:
    """Swin fills a picture up to whole patches only where it must."""

    def maybe_pad(self: Any, pixel_values: Tensor, height: int, width: int) -> Tensor:
        return nn.functional.pad(pixel_values, (0, -width % self.patch_size[1], 0, -height % self.patch_size[0]))

    module.maybe_pad = types.MethodType(maybe_pad, module)


def _swin_merging(module: Any) -> None:
    """The same for pairs of rows and columns."""

    def maybe_pad(self: Any, input_feature: Tensor, height: int, width: int) -> Tensor:
        return nn.functional.pad(input_feature, (0, 0, 0, width % 2, 0, height % 2))

    module.maybe_pad = types.MethodType(maybe_pad, module)


def _uncached_rotary(module: Any) -> None:
    """Wav2Vec2-Conformer keeps the angles of the length it saw last; here they are computed each time."""

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        angles = torch.arange(hidden_states.shape[1]).type_as(self.inv_freq)[:, None] * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)[:, None, None, :]
        return torch.stack([angles.cos(), angles.sin()]).type_as(hidden_states)

    module.forward = types.MethodType(forward, module)


def _grounded(module: Any) -> None:
    """Grounding DINO's phrases, which end at special tokens, without running maxima, which ONNX does not have."""

    def phrases(input_ids: Tensor, special_tokens: Tensor) -> tuple[Tensor, Tensor]:
        length = input_ids.shape[1]
        special = (input_ids[..., None] == special_tokens).any(-1)
        number = torch.arange(length, device=input_ids.device)
        before = number[None, :] < number[:, None]
        last = torch.where(special[:, None] & before, number, -1).max(-1).values
        following = torch.where(special[:, None] & ~before, number, length).min(-1).values
        inside = (following != 0) & (following != length - 1) & (following != length)
        same = (following[:, :, None] == following[:, None]) & inside[:, None]
        mask = same | (number[None, :] == number[:, None])
        return mask, torch.where(inside, number - last - 1, 0).clamp(min=0)

    home = sys.modules[type(module).__module__]
    home.generate_masks_with_special_tokens_and_transfer_map = phrases  # type: ignore[attr-defined]


SWINS = ("Swin", "Swinv2", "DonutSwin", "MaskFormerSwin")
REWRITES: dict[str, Callable[[Any], None]] = {
    "Wav2Vec2ConformerRotaryPositionalEmbedding": _uncached_rotary,
    "ViltEmbeddings": _vilt_embeddings,
    "GroundingDinoModel": _grounded,
    "MMGroundingDinoModel": _grounded,
    **{f"{swin}PatchEmbeddings": _swin_patches for swin in SWINS},
    **{f"{swin}PatchMerging": _swin_merging for swin in SWINS},
}
