"""Florence-2 and its like: a picture and a question are read together as vectors, and an answer is written.

Becomes `vision_encoder.onnx` (pixels to `image_features`), `embed_tokens.onnx`, `encoder_model.onnx` (vectors to
states) and `decoder_model_merged.onnx`, as transformers.js has them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sensorium.training.plan import Part
from sensorium.training.pretrained import samples
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.samples import free_axes
from sensorium.training.pretrained.seeing_writer import Called, decoder_part


def match(config: dict[str, Any], task: str | None) -> float:
    return 0.9 if "Florence2ForConditionalGeneration" in (config.get("architectures") or []) else 0.0


def _see(model: Any, pixel_values: Tensor) -> Tensor:
    return model.model.get_image_features(pixel_values).pooler_output


def _embed(model: Any, input_ids: Tensor) -> Tensor:
    return model.get_input_embeddings()(input_ids)


def _read(model: Any, inputs_embeds: Tensor, attention_mask: Tensor) -> Tensor:
    reader = model.model.language_model.encoder
    return reader(inputs_embeds=inputs_embeds, attention_mask=attention_mask, return_dict=True).last_hidden_state


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    pixels = samples.inputs(checkpoint.folder, checkpoint.config, model, checkpoint.task, ("pixel_values",))
    generator = torch.Generator().manual_seed(0)
    ids = [{"input_ids": torch.randint(3, 90, size, generator=generator)} for size in ((2, 5), (3, 8))]
    with torch.no_grad():
        seen = [_see(model, **batch) for batch in pixels]
        both = [torch.cat([s, _embed(model, **said)], dim=1) for s, said in zip(seen, ids)]
        read = [{"inputs_embeds": b, "attention_mask": torch.ones(b.shape[:2], dtype=torch.long)} for b in both]
        states = [_read(model, **batch) for batch in read]
    found = {}
    for stem, call, batches, output in (
        ("vision_encoder", _see, pixels, "image_features"),
        ("embed_tokens", _embed, ids, "inputs_embeds"),
        ("encoder_model", _read, read, "last_hidden_state"),
    ):
        axes = free_axes(*batches)
        found[stem] = Part(Called(model, call), batches[0], [output], axes, other=batches[1])
    axes = found["encoder_model"].dynamic
    axes["inputs_embeds"][1] = axes["attention_mask"][1] = "encoder_sequence_length"
    decoder = model.model.language_model.decoder
    found["decoder_model_merged"] = decoder_part(decoder, states, model.lm_head, model.get_input_embeddings())
    return found
