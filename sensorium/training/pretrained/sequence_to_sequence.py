"""An encoder and a decoder: `encoder_model.onnx`, and `decoder_model_merged.onnx` for the first and all later steps.

The merged decoder has the inputs and outputs that transformers.js knows. The keys and values of the source are computed
in the first step (`use_cache_branch` false), and handed on unchanged in all others.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from sensorium.training.networks.encoder_decoder import first_or_past
from sensorium.training.plan import Part
from sensorium.training.pretrained.checkpoint import Checkpoint

TASKS = ("translation", "summarization", "text2text-generation")


def match(config: dict[str, Any], task: str | None) -> float:
    return 0.9 if config.get("is_encoder_decoder") and task in TASKS else 0.0


class Encoder(nn.Module):
    """What becomes `encoder_model.onnx`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        return self.encoder(**inputs)[0]


class Decoder(nn.Module):
    """What becomes `decoder_model_merged.onnx`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.decoder = model.get_decoder()

    def cross(self, states: torch.Tensor) -> list[torch.Tensor]:
        """Keys and values of the source in each layer: what a step leaves in the cache of it.

        All else that the step computes is not asked for, and so not written to the file.
        """
        from transformers import DynamicCache, EncoderDecoderCache

        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids = torch.zeros_like(states[:, :1, 0], dtype=torch.int64)
        self.decoder(input_ids=ids, encoder_hidden_states=states, past_key_values=cache, use_cache=True)
        layers = cache.cross_attention_cache.layers
        return [tensor for layer in layers for tensor in (layer.keys, layer.values)]

    def forward(
        self, input_ids: torch.Tensor, encoder_hidden_states: torch.Tensor, use_cache_branch: torch.Tensor,
        **others: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        """Logits (rows, time, vocabulary), then for each layer the keys and values to give to the next step."""
        from transformers import DynamicCache, EncoderDecoderCache
        from transformers.modeling_outputs import BaseModelOutput

        cross = first_or_past(
            self.cross,
            encoder_hidden_states,
            use_cache_branch,
            [tensor for name, tensor in others.items() if ".encoder." in name],
        )
        own = [tensor for name, tensor in others.items() if ".decoder." in name]
        cache = EncoderDecoderCache(DynamicCache(list(zip(own[::2], own[1::2]))), DynamicCache())
        cache.cross_attention_cache = DynamicCache(list(zip(cross[::2], cross[1::2])))
        cache.is_updated = dict.fromkeys(range(len(cross) // 2), True)
        mask = others.get("encoder_attention_mask")
        found = self.model(
            decoder_input_ids=input_ids,
            encoder_outputs=BaseModelOutput(last_hidden_state=encoder_hidden_states),
            past_key_values=cache,
            use_cache=True,
            **({} if mask is None else {"attention_mask": mask}),
        )
        layers = zip(cache.self_attention_cache.layers, zip(cross[::2], cross[1::2]))
        return found.logits, *(tensor for layer, pair in layers for tensor in (layer.keys, layer.values, *pair))


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("batched_mm")
    return networks(model)


def networks(model: Any) -> dict[str, Part]:
    """The two networks of an encoder-decoder of texts."""
    size = model.get_input_embeddings().weight.shape[0]
    batches = []
    for rows, source, time, past in ((2, 5, 2, 3), (3, 7, 1, 0)):
        random = torch.Generator().manual_seed(rows)
        mask = torch.ones(rows, source, dtype=torch.int64)
        mask[1, 3:] = 0
        ids = torch.randint(3, size, (rows, source), generator=random)
        batches.append(({"input_ids": ids, "attention_mask": mask}, time, past, random))
    encoder = Encoder(model)
    takes = inspect.signature(encoder.encoder.forward).parameters
    inputs = [{name: array for name, array in batch[0].items() if name in takes} for batch in batches]
    free = {0: "batch_size", 1: "encoder_sequence_length"}
    first = Part(encoder, inputs[0], ["last_hidden_state"], dict.fromkeys(inputs[0], free), other=inputs[1])
    with torch.no_grad():
        states = [encoder(**batch) for batch in inputs]
    masks = [batch[0]["attention_mask"] for batch in batches]
    sizes = [(time, past, random) for _, time, past, random in batches]
    return {"encoder_model": first, "decoder_model_merged": decoder_part(model, states, masks, sizes)}


def decoder_part(model: Any, states: list[Any], masks: list[Any] | None, sizes: list[Any]) -> Part:
    """The merged decoder, to be tried on two batches.

    Args:
        states: what the encoder gives of each, (rows, source, width).
        masks: of the sources, (rows, source); None for a decoder that takes none.
        sizes: of each, new tokens, tokens before them, and random numbers.
    """
    decoder = Decoder(model)
    size = model.get_decoder().get_input_embeddings().weight.shape[0]
    dynamic: dict[str, dict[int, str]] = {
        "input_ids": {0: "batch_size", 1: "decoder_sequence_length"},
        "encoder_attention_mask": {0: "batch_size", 1: "encoder_sequence_length"},
        "encoder_hidden_states": {0: "batch_size", 1: "encoder_sequence_length"},
    }
    outputs = ["logits"]
    batches = []
    for number, (encoded, (time, past, random)) in enumerate(zip(states, sizes)):
        rows = encoded.shape[0]
        batch = {"input_ids": torch.randint(3, size, (rows, time), generator=random)}
        if masks is not None:
            batch["encoder_attention_mask"] = masks[number]
        batch |= {"encoder_hidden_states": encoded, "use_cache_branch": torch.tensor([past > 0])}
        with torch.no_grad():
            cross, heads = decoder.cross(encoded), own_sizes(decoder, encoded)
        for i, ((keys, values), pair) in enumerate(zip(heads, zip(cross[::2], cross[1::2]))):
            for place in ("decoder", "encoder"):
                for kind, tensor, (count, width) in zip(("key", "value"), pair, (keys, values)):
                    name = f"past_key_values.{i}.{place}.{kind}"
                    if place == "encoder":
                        batch[name] = tensor.clone()
                    else:
                        batch[name] = torch.randn(rows, count, past, width, generator=random)
                    if number == 0:
                        outputs.append(f"present.{i}.{place}.{kind}")
                        dynamic[name] = {0: "batch_size", 2: f"past_{place}_sequence_length"}
        batches.append(batch)
    dynamic = {name: axes for name, axes in dynamic.items() if name in batches[0]}
    return Part(decoder, batches[0], outputs, dynamic, other=batches[1])


def own_sizes(decoder: Decoder, states: torch.Tensor) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Heads and width of the keys and of the values that a decoder keeps of its own tokens, in each layer."""
    from transformers import DynamicCache, EncoderDecoderCache

    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    ids = torch.zeros_like(states[:, :1, 0], dtype=torch.int64)
    decoder.decoder(input_ids=ids, encoder_hidden_states=states, past_key_values=cache, use_cache=True)
    layers = cache.self_attention_cache.layers
    return [((k.shape[1], k.shape[3]), (v.shape[1], v.shape[3])) for k, v in ((x.keys, x.values) for x in layers)]
