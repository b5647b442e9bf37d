"""A picture, perhaps with a question, to an encoder's states, and a decoder that writes from them.

Becomes `encoder_model.onnx` (to `last_hidden_state`) and `decoder_model_merged.onnx`, whose cache holds its own keys
and values; those of the states are computed anew in each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.training.plan import Part
from sensorium.training.pretrained import samples
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.samples import free_axes

# Decoders whose cache transformers.js names as that of a decoder without encoder.
PLAIN = ("gpt2", "gpt_neo", "gptj", "opt", "bloom")


def match(config: dict[str, Any], task: str | None) -> float:
    return 0.9 if str((config.get("architectures") or [""])[0]) in ENCODERS else 0.0


class Called(nn.Module):
    """A function with the weights of the module that it calls."""

    def __init__(self, module: nn.Module, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.call(self.module, **inputs)


class Decoder(nn.Module):
    """A decoder with cross-attention, its own keys and values as tensors `past_key_values.*`."""

    def __init__(self, decoder: Any, head: nn.Module | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.head = head

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """Logits (rows, tokens, vocabulary), and keys and values of each layer with those of the tokens."""
        from transformers import DynamicCache, EncoderDecoderCache

        tensors = [tensor for name, tensor in inputs.items() if name.startswith("past_key_values")]
        own = DynamicCache(list(zip(tensors[::2], tensors[1::2]))) if tensors else DynamicCache()
        found = self.decoder(
            **{name: tensor for name, tensor in inputs.items() if not name.startswith("past_key_values")},
            past_key_values=EncoderDecoderCache(own, DynamicCache()),
            use_cache=True,
            return_dict=True,
        )
        layers = found.past_key_values.self_attention_cache.layers
        logits = found.logits if self.head is None else self.head(found.last_hidden_state)
        return logits, *(tensor for layer in layers for tensor in (layer.keys, layer.values))


def _vision_encoder_decoder(model: Any, pixel_values: Tensor) -> Tensor:
    states = model.encoder(pixel_values=pixel_values, return_dict=True).last_hidden_state
    return model.enc_to_dec_proj(states) if hasattr(model, "enc_to_dec_proj") else states


def _blip(model: Any, pixel_values: Tensor) -> Tensor:
    return model.vision_model(pixel_values=pixel_values, return_dict=True).last_hidden_state


def _blip_question(model: Any, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    seen = _blip(model, pixel_values)
    return model.text_encoder(
        input_ids=input_ids,
        attention_mask=attention_mask,
        encoder_hidden_states=seen,
        encoder_attention_mask=torch.ones(seen.shape[:-1], dtype=torch.long),
        return_dict=True,
    ).last_hidden_state


def _git(model: Any, pixel_values: Tensor) -> Tensor:
    return model.git.image_encoder(pixel_values).last_hidden_state


def _pix2struct(model: Any, flattened_patches: Tensor) -> Tensor:
    mask = torch.ones_like(flattened_patches[..., 0])
    return model.encoder(flattened_patches=flattened_patches, attention_mask=mask, return_dict=True).last_hidden_state


class _Given(nn.Module):
    """In the place of a picture's encoder: what is given is its answer."""

    def forward(self, pixel_values: Tensor, **others: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=pixel_values[:, 0])


class GitDecoder(nn.Module):
    """GIT reads a picture's states before the words, in one sequence, without a cache."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        before = self.model.git.image_encoder
        self.model.git.image_encoder = _Given()
        try:
            found = self.model(input_ids=input_ids, pixel_values=encoder_hidden_states[:, None], use_cache=False)
        finally:
            self.model.git.image_encoder = before
        return found.logits[:, encoder_hidden_states.shape[1] :]


# How each architecture makes the states that its decoder attends to.
ENCODERS: dict[str, Callable[..., Tensor]] = {
    "VisionEncoderDecoderModel": _vision_encoder_decoder,
    "BlipForConditionalGeneration": _blip,
    "BlipForQuestionAnswering": _blip_question,
    "GitForCausalLM": _git,
    "Pix2StructForConditionalGeneration": _pix2struct,
}
INPUTS = ("pixel_values", "flattened_patches", "input_ids", "attention_mask")


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    encode = ENCODERS[checkpoint.name]
    names = [name for name in INPUTS if name in encode.__code__.co_varnames[: encode.__code__.co_argcount]]
    first, second = samples.inputs(checkpoint.folder, checkpoint.config, model, checkpoint.task, names)
    encoder = Part(Called(model, encode), first, ["last_hidden_state"], free_axes(first, second), other=second)
    with torch.no_grad():
        states = [encode(model, **batch) for batch in (first, second)]
    if checkpoint.name == "GitForCausalLM":
        return {"encoder_model": encoder, "decoder_model_merged": git_decoder(model, states)}
    decoder = model.decoder if hasattr(model, "decoder") else model.text_decoder
    return {"encoder_model": encoder, "decoder_model_merged": decoder_part(decoder, states)}


def git_decoder(model: Any, states: list[Tensor]) -> Part:
    first, second = (
        {"input_ids": torch.randint(3, 90, (len(s), length)), "encoder_hidden_states": s}
        for s, length in zip(states, (4, 7))
    )
    return Part(GitDecoder(model).eval(), first, ["logits"], free_axes(first, second), other=second)


def decoder_part(decoder: Any, states: list[Tensor], head: nn.Module | None = None, embed: Any = None) -> Part:
    """A decoder with cross-attention and a cache, from samples of the states that it attends to.

    Args:
        head: from its states to logits, where it does not give them itself.
        embed: from tokens to vectors, for a decoder that is to take these, and a mask of the states.
    """
    module = Decoder(decoder, head).eval()
    generator = torch.Generator().manual_seed(0)

    def given(seen: Tensor, length: int) -> dict[str, Tensor]:
        ids = torch.randint(3, 90, (len(seen), length), generator=generator)
        if embed is None:
            return {"input_ids": ids, "encoder_hidden_states": seen}
        mask = torch.ones(seen.shape[:2], dtype=torch.long)
        return {"inputs_embeds": embed(ids), "encoder_hidden_states": seen, "encoder_attention_mask": mask}

    with torch.no_grad():
        _, *tensors = module(**given(states[0][:1], 3))
    infix = "" if decoder.config.model_type in PLAIN else "decoder."
    keys = [f"{i}.{infix}{kind}" for i in range(len(tensors) // 2) for kind in ("key", "value")]
    batches = []
    for seen, length, before in ((states[0], 2, 3), (states[1], 4, 0)):
        with torch.no_grad():
            batch = given(seen, length)
        for name, tensor in zip(keys, tensors):
            shape = (len(seen), tensor.shape[1], before, tensor.shape[3])
            batch[f"past_key_values.{name}"] = torch.randn(shape, generator=generator)
        batches.append(batch)
    axes = free_axes(*batches)
    for name, own in axes.items():
        if name.startswith("past_key_values"):
            own[2] = "past_sequence_length"
    for name in {"encoder_hidden_states", "encoder_attention_mask"} & set(axes):
        axes[name][1] = "encoder_sequence_length"
    for name in {"input_ids", "inputs_embeds"} & set(axes):
        axes[name][1] = "sequence_length"
    return Part(module, batches[0], ["logits", *(f"present.{name}" for name in keys)], axes, other=batches[1])
