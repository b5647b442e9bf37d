"""A decoder that reads a picture among the words of its prompt, such as LLaVA, PaliGemma and SmolVLM.

Becomes `vision_encoder.onnx` (a picture to `image_features`, the vectors that take the places of its tokens),
`embed_tokens.onnx` and `decoder_model_merged.onnx` (vectors to the scores of what follows, with a cache), as
transformers.js has them.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import vision_utils
from transformers.modeling_outputs import CausalLMOutputWithPast

from sensorium.errors import Refused
from sensorium.media import processors
from sensorium.media.made_up import picture
from sensorium.media.viewer import ARCHITECTURES
from sensorium.training.plan import Part
from sensorium.training.pretrained import rewrites
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.decoder import ANEW, decoder_part, show_template
from sensorium.training.pretrained.samples import free_axes
from sensorium.training.pretrained.seeing_writer import Called


def match(config: dict[str, Any], task: str | None) -> float:
    fits = str((config.get("architectures") or [""])[0]) in ARCHITECTURES
    return 0.95 if fits and task in (None, "image-to-text", "visual-question-answering") else 0.0


def _see(model: Any, pixel_values: Tensor) -> Tensor:
    """Vectors of pictures, or of the tiles of one: (tiles, places, width)."""
    features = model.get_image_features(pixel_values=pixel_values, return_dict=True).pooler_output
    return features if isinstance(features, Tensor) else torch.cat(list(features))


def _see_queries(model: Any, pixel_values: Tensor) -> Tensor:
    """The same for BLIP-2, whose queries look at the picture."""
    seen = model.vision_model(pixel_values=pixel_values, return_dict=True).last_hidden_state
    asked = model.query_tokens.expand(seen.shape[0], -1, -1)
    mask = torch.ones(seen.shape[:-1], dtype=torch.long, device=seen.device)
    found = model.qformer(query_embeds=asked, encoder_hidden_states=seen, encoder_attention_mask=mask, return_dict=True)
    return model.language_projection(found.last_hidden_state)


def _see_tiles(model: Any, pixel_values: Tensor) -> Tensor:
    """The same for Idefics 3: it looks for tiles that are all zeros, of which one picture has none."""
    inner = model.model
    patch = inner.config.vision_config.patch_size
    mask = torch.ones_like(pixel_values[:, 0, ::patch, ::patch], dtype=torch.bool)
    seen = inner.vision_model(pixel_values=pixel_values, patch_attention_mask=mask, return_dict=True)
    return inner.connector(seen.last_hidden_state)


def _see_any(model: Any, pixel_values: Tensor) -> tuple[Tensor, ...]:
    """The same for LLaVA-NeXT, tile by tile, and the vector that ends a row of them: they are packed later."""
    inner, config = model.model, model.config
    states = inner.vision_tower(pixel_values, output_hidden_states=True, return_dict=True).hidden_states
    layers = config.vision_feature_layer
    seen = states[layers] if isinstance(layers, int) else torch.cat([states[layer] for layer in layers], dim=-1)
    seen = seen[:, 1:] if config.vision_feature_select_strategy == "default" else seen
    found = inner.multi_modal_projector(seen)
    newline = getattr(inner, "image_newline", None)
    # A network's output is computed from its inputs.
    return (found,) if newline is None else (found, newline + 0 * found[0, 0])


def _see_rows(model: Any, pixel_values: Tensor) -> Tensor:
    """The same for Pixtral, which sees one picture of any shape; Mistral 3 makes one of several neighbours."""
    inner, layers = model.model, model.config.vision_feature_layer
    height, width = pixel_values.shape[2:]
    told = {"image_sizes": [(height, width)], "output_hidden_states": True, "return_dict": True}
    states = inner.vision_tower(pixel_values, **told).hidden_states
    seen = states[layers] if isinstance(layers, int) else torch.cat([states[layer] for layer in layers], dim=-1)
    project = inner.multi_modal_projector
    if not hasattr(project, "patch_merger"):
        found: Tensor = project(seen)
        return found
    side, patch = project.patch_merger.spatial_merge_size, inner.vision_tower.patch_size
    grid = project.norm(seen)[0].view(height // patch // side, side, width // patch // side, side, -1)
    merged = project.patch_merger.merging_layer(grid.permute(0, 2, 4, 1, 3).flatten(2).flatten(0, 1))
    return project.linear_2(project.act(project.linear_1(merged)))


class _Segment:
    """The ends of one segment of this many patches, where lists of lengths are made of those of several.

    Args:
        mask: which patches see each other, (patches, patches); None for all.
    """

    def __init__(self, length: Any, mask: Tensor | None = None) -> None:
        self.length = length
        self.mask = mask

    def __getitem__(self, part: slice) -> _Segment:
        return self

    def __sub__(self, other: _Segment) -> _Segment:
        return self

    def tolist(self) -> list[Any]:
        return [self.length]


def _see_patches(model: Any, pixel_values: Tensor, image_grid_thw: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """Vectors of one picture of any shape, from its patches block by block, as Qwen2-VL has them: (places, width).

    Qwen3-VL has more of them, for its first layers: (layers, places, width).
    """
    visual = model.model.visual
    merge = visual.spatial_merge_size
    length = pixel_values.shape[0]
    number = torch.arange(length, device=pixel_values.device)
    block, inside = number // merge**2, number % merge**2
    across = image_grid_thw[0, 2] // merge
    rows, columns = block // across * merge + inside // merge, block % across * merge + inside % merge
    given: dict[str, Any] = {"position_ids": torch.stack([rows, columns], dim=-1), "cu_seqlens": _Segment(length)}
    if hasattr(visual, "window_size"):
        side = visual.window_size // merge // visual.patch_size
        down, right = rows[:: merge**2] // merge, columns[:: merge**2] // merge
        window = down // side * ((across + side - 1) // side) + right // side
        order = torch.argsort(window * side**2 + down % side * side + right % side)
        windows = window[order].repeat_interleave(merge**2)
        given |= {"window_index": order, "cu_window_seqlens": _Segment(length, windows[:, None] == windows)}
        for layer in visual.blocks:
            _windowed(layer.attn)
    if hasattr(visual, "num_grid_per_side"):  # learned places, resized to the picture's grid
        side, mode, corners = visual.num_grid_per_side, visual.interpolation_mode, visual.interpolation_align_corners
        (down, heights), (right, widths) = (
            vision_utils._interpolation_axis_taps_weights(place, size, side, mode, corners)
            for place, size in ((rows, image_grid_thw[0, 1]), (columns, image_grid_thw[0, 2]))
        )
        given["interp_indices"] = (down[:, :, None] * side + right[:, None]).flatten(1)
        given["interp_weights"] = (heights[:, :, None] * widths[:, None]).flatten(1)
    found = visual(pixel_values, grid_thw=image_grid_thw, return_dict=True, **given)
    if "deepstack_features" in found:
        return found.pooler_output, torch.stack(list(found.deepstack_features))
    return found.pooler_output


def _windowed(attention: Any) -> None:
    """Qwen2.5-VL attends window by window, a list of as many as there are; here as one masked attention."""
    if hasattr(attention, "listed"):
        return
    attention.listed = attention.forward
    turn = sys.modules[type(attention).__module__].apply_rotary_pos_emb_vision

    def forward(hidden_states: Tensor, cu_seqlens: Any, position_embeddings: Any = None, **others: Any) -> Tensor:
        if not isinstance(cu_seqlens, _Segment):
            found: Tensor = attention.listed(
                hidden_states, cu_seqlens=cu_seqlens, position_embeddings=position_embeddings, **others
            )
            return found
        length = hidden_states.shape[0]
        q, k, v = attention.qkv(hidden_states).reshape(length, 3, attention.num_heads, -1).permute(1, 0, 2, 3).unbind(0)
        q, k = turn(q, k, *position_embeddings)
        scores = q.transpose(0, 1) @ k.permute(1, 2, 0) * attention.scaling
        if cu_seqlens.mask is not None:
            scores = scores.masked_fill(~cu_seqlens.mask, torch.finfo(scores.dtype).min)
        return attention.proj((scores.softmax(-1) @ v.transpose(0, 1)).transpose(0, 1).reshape(length, -1))

    attention.forward = forward


def _whole(model: Any) -> None:
    """PaliGemma reads its prompt as a whole, each token sees each; what is written sees all before it anyway."""
    forward = model.forward

    def seen(
        input_ids: Any = None, inputs_embeds: Any = None, attention_mask: Any = None, position_ids: Any = None,
        past_key_values: Any = None, use_cache: Any = None, logits_to_keep: Any = 0,
    ) -> Any:  # fmt: skip
        if attention_mask is not None and inputs_embeds is not None:
            hidden = torch.where(attention_mask != 0, 0.0, torch.finfo(inputs_embeds.dtype).min)
            attention_mask = hidden[:, None, None].expand(-1, 1, inputs_embeds.shape[1], -1)
        return forward(
            input_ids=input_ids, inputs_embeds=inputs_embeds, attention_mask=attention_mask,
            position_ids=position_ids, past_key_values=past_key_values, use_cache=use_cache,
            logits_to_keep=logits_to_keep,
        )  # fmt: skip

    model.forward = seen


def _layered(model: Any) -> None:
    """Qwen3-VL adds vectors of the picture in its first layers: here as zeros where there are none."""
    language = model.model.language_model

    def added(
        input_ids: Any = None, inputs_embeds: Any = None, attention_mask: Any = None, position_ids: Any = None,
        past_key_values: Any = None, use_cache: Any = None, logits_to_keep: Any = 0, deepstack_embeds: Any = None,
    ) -> Any:  # fmt: skip
        found = language(
            input_ids=input_ids, inputs_embeds=inputs_embeds, attention_mask=attention_mask,
            position_ids=position_ids, past_key_values=past_key_values, use_cache=use_cache,
            deepstack_visual_embeds=None if deepstack_embeds is None else list(deepstack_embeds.unbind(0)),
        )  # fmt: skip
        states = found.last_hidden_state
        if isinstance(logits_to_keep, Tensor):
            states = states[:, logits_to_keep]
        return CausalLMOutputWithPast(logits=model.lm_head(states), past_key_values=found.past_key_values)

    language._deepstack_process = lambda states, places, more: states + more
    model.forward = added


SEES = {
    "blip-2": _see_queries,
    **dict.fromkeys(("llava_next", "llava_onevision"), _see_any),
    **dict.fromkeys(("idefics3", "smolvlm"), _see_tiles),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), _see_patches),
}


def _embed(model: Any, input_ids: Tensor) -> Tensor:
    return model.get_input_embeddings()(input_ids)


def _prepared(task: Any, names: tuple[str, ...], size: tuple[int, int]) -> dict[str, Tensor]:
    """What the network takes of one picture."""
    arrays = processors.arrays(task.preprocessor, picture(*size, seed=0))
    if arrays["pixel_values"].ndim == 3:
        arrays["pixel_values"] = arrays["pixel_values"][None]
    return {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in names}


def required(model: Any) -> list[str]:
    """Inputs without which a model cannot be run."""
    takes = inspect.signature(model.forward).parameters.items()
    return [name for name, told in takes if told.default is inspect.Parameter.empty]


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    show_template(checkpoint.out)
    rewrites.apply(model)
    kind = str(checkpoint.config.get("model_type"))
    see = _see_rows if processors.lattice(checkpoint.config) else SEES.get(kind, _see)
    if kind == "paligemma":
        _whole(model)
    layers = 0
    if hasattr(getattr(getattr(model, "model", None), "language_model", None), "_deepstack_process"):
        layers = len(model.config.vision_config.deepstack_visual_indexes)
        _layered(model)
    if checkpoint.task is None:
        raise Refused(f"{checkpoint.name}: {' '.join(checkpoint.notes)}")
    names = see.__code__.co_varnames[1 : see.__code__.co_argcount]
    pixels = [_prepared(checkpoint.task, names, size) for size in ((180, 130), (90, 200))]
    free = free_axes(*pixels)
    if len(pixels[0]["pixel_values"]) == len(pixels[1]["pixel_values"]) == 1:  # no tiles: several pictures at once
        with torch.no_grad():
            listed = see is _see_rows or (
                see is _see and not isinstance(model.get_image_features(**pixels[0]).pooler_output, Tensor)
            )
        if listed:  # which holds for as many pictures as there were: one after the other
            del free["pixel_values"][0]
        else:
            pixels[1] = {name: torch.cat([tensor] * 3) for name, tensor in pixels[1].items()}
    generator = torch.Generator().manual_seed(0)
    ids = [{"input_ids": torch.randint(3, 90, size, generator=generator)} for size in ((2, 5), (3, 8))]
    found = {}
    features = ["image_features", *(["deepstack_features"] if layers else [])]
    if see is _see_any and getattr(model.model, "image_newline", None) is not None:
        features.append("image_newline")
    for stem, call, batches, outputs, axes in (
        ("vision_encoder", see, pixels, features, free),
        ("embed_tokens", _embed, ids, ["inputs_embeds"], free_axes(*ids)),
    ):
        found[stem] = Part(Called(model, call), batches[0], outputs, axes, other=batches[1])
    writes = model.language_model if "pixel_values" in required(model) else model
    if writes.config.is_encoder_decoder:
        raise Refused(f"{checkpoint.name}: its language model has an encoder of its own; only decoders are written")
    numbered = see is _see_patches  # by frame, row and column
    decoder = decoder_part(writes, model.get_input_embeddings(), 3 if numbered else 1, layers)
    if not any(name.startswith("past_key_values") for name in decoder.inputs):
        checkpoint.notes.append(ANEW)
    return {**found, "decoder_model_merged": decoder}
