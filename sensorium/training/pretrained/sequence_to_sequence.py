"""An encoder and a decoder: `encoder_model.onnx`, and `decoder_model_merged.onnx` for the first and all later steps.

The merged decoder has the inputs and outputs that transformers.js knows. The keys and values of the source are computed
in the first step (`use_cache_branch` false), and handed on unchanged in all others.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from sensorium.errors import Refused
from sensorium.training.networks.encoder_decoder import first_or_past
from sensorium.training.plan import Part
from sensorium.training.pretrained import rewrites
from sensorium.training.pretrained.checkpoint import Checkpoint

PLACES = ("decoder", "encoder")
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
    """What becomes `decoder_model_merged.onnx`, once `projections` are found."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.decoder = model.get_decoder()
        self.projections: list[tuple[nn.Module, int]] = []

    def run(self, states: torch.Tensor) -> Any:
        """The cache after one token, over an encoder's states."""
        from transformers import DynamicCache, EncoderDecoderCache

        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids = torch.zeros_like(states[:, :1, 0], dtype=torch.int64)
        with torch.no_grad():
            self.model(decoder_input_ids=ids, encoder_outputs=encoded(states), past_key_values=cache, use_cache=True)
        return cache

    def find_projections(self, states: torch.Tensor) -> list[tuple[nn.Module, int]]:
        """What makes keys and values of the source, layer by layer, with the number of heads.

        They are the modules that are called with the very states of the encoder, whichever of their axes comes first,
        and whose output the cache then holds.

        Raises:
            Refused: the cache holds something else.
        """
        called: dict[nn.Module, torch.Tensor] = {}

        def note(module: nn.Module, given: tuple[Any, ...], found: Any) -> None:
            if not given or not isinstance(found, torch.Tensor) or not isinstance(given[0], torch.Tensor):
                return
            if given[0].data_ptr() == states.data_ptr() and given[0].shape[-1] == states.shape[-1]:
                called[module] = found if given[0].shape == states.shape else found.transpose(0, 1)

        hooks = [module.register_forward_hook(note) for module in self.decoder.modules()]
        try:
            cache = self.run(states)
        finally:
            for hook in hooks:
                hook.remove()
        found = []
        for layer in cache.cross_attention_cache.layers:
            for tensor in (layer.keys, layer.values):
                heads = tensor.shape[1]
                made = [module for module, out in called.items() if torch.equal(split(out, heads), tensor)]
                if not made:
                    raise Refused("the keys and values of the source are not plain projections of it")
                found.append((made[0], heads))
        return found

    def cross(self, states: torch.Tensor) -> list[torch.Tensor]:
        """Keys and values of the source in each layer."""
        return [split(module(states), heads) for module, heads in self.projections]

    def forward(
        self, input_ids: torch.Tensor, encoder_hidden_states: torch.Tensor, use_cache_branch: torch.Tensor,
        **others: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        """Logits (rows, time, vocabulary), then for each layer the keys and values to give to the next step."""
        from transformers import DynamicCache, EncoderDecoderCache

        cross = first_or_past(
            self.cross,
            encoder_hidden_states,
            use_cache_branch,
            [tensor for name, tensor in others.items() if ".encoder." in name],
        )
        for tensor in cross:  # whichever of both it is, which an exporter cannot know
            torch._check(tensor.shape[0] == encoder_hidden_states.shape[0])
            torch._check(tensor.shape[2] == encoder_hidden_states.shape[1])
        own = [tensor for name, tensor in others.items() if ".decoder." in name]
        cache = EncoderDecoderCache(DynamicCache(list(zip(own[::2], own[1::2]))), DynamicCache())
        cache.cross_attention_cache = DynamicCache(list(zip(cross[::2], cross[1::2])))
        cache.is_updated = dict.fromkeys(range(len(cross) // 2), True)
        mask = others.get("encoder_attention_mask")
        found = self.model(
            decoder_input_ids=input_ids,
            encoder_outputs=encoded(encoder_hidden_states),
            past_key_values=cache,
            use_cache=True,
            **({} if mask is None else {"attention_mask": mask}),
        )
        layers = zip(cache.self_attention_cache.layers, zip(cross[::2], cross[1::2]))
        return found.logits, *(tensor for layer, pair in layers for tensor in (layer.keys, layer.values, *pair))


def encoded(states: torch.Tensor) -> Any:
    """An encoder's output, for a model that is to go on from it."""
    from transformers.modeling_outputs import BaseModelOutput

    found = BaseModelOutput(last_hidden_state=states)
    found.router_logits = found.router_probs = None  # asked for where there are experts
    return found


def split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(rows, time, width) to (rows, heads, time, width / heads); nothing for what is no such tensor."""
    if x.ndim != 3 or x.shape[-1] % heads:
        return x
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    if getattr(model.config, "attention_type", "") == "block_sparse":  # of BigBird, drawn at random for each length
        longest = (5 + 2 * model.config.num_random_blocks) * model.config.block_size
        model.get_encoder().set_attention_type("original_full")
        checkpoint.notes.append(f"its attention is not sparse: texts of more than {longest} tokens are read in full")
    rewrites.apply(model)
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
    size = next(m for m in decoder.decoder.modules() if isinstance(m, nn.Embedding)).num_embeddings
    dynamic: dict[str, dict[int, str]] = {
        "input_ids": {0: "batch_size", 1: "decoder_sequence_length"},
        "encoder_attention_mask": {0: "batch_size", 1: "encoder_sequence_length"},
        "encoder_hidden_states": {0: "batch_size", 1: "encoder_sequence_length"},
    }
    batches = []
    for number, (source, (time, past, random)) in enumerate(zip(states, sizes)):
        rows = source.shape[0]
        batch = {"input_ids": torch.randint(3, size, (rows, time), generator=random)}
        if masks is not None:
            batch["encoder_attention_mask"] = masks[number]
        batch |= {"encoder_hidden_states": source, "use_cache_branch": torch.tensor([past > 0])}
        if not number:
            decoder.projections = decoder.find_projections(source)
            layers = decoder.run(source).self_attention_cache.layers
        with torch.no_grad():
            cross = decoder.cross(source)
        for i, layer in enumerate(layers):
            for kind, own, read in zip(("key", "value"), (layer.keys, layer.values), cross[2 * i : 2 * i + 2]):
                shape = (rows, own.shape[1], past, own.shape[3])
                batch[f"past_key_values.{i}.decoder.{kind}"] = torch.randn(shape, generator=random)
                # In the first step there is none yet.
                batch[f"past_key_values.{i}.encoder.{kind}"] = read.clone() if past else read[:, :, :0].clone()
        batches.append(batch)
    names = [f"{i}.{place}.{kind}" for i in range(len(layers)) for place in PLACES for kind in ("key", "value")]
    for name in names:
        dynamic[f"past_key_values.{name}"] = {0: "batch_size", 2: f"past_{name.split('.')[1]}_sequence_length"}
    outputs = ["logits", *(f"present.{name}" for name in names)]
    batches = [{name: batch[name] for name in dynamic | {"use_cache_branch": {}} if name in batch} for batch in batches]
    dynamic = {name: axes for name, axes in dynamic.items() if name in batches[0]}
    if not takes_several(decoder, batches[0]):
        del dynamic["input_ids"][1]
        for batch in batches:
            batch["input_ids"] = batch["input_ids"][:, :1]
    return Part(decoder, batches[0], outputs, dynamic, other=batches[1])


def takes_several(decoder: Decoder, batch: dict[str, torch.Tensor]) -> bool:
    """Whether a decoder takes several new tokens at once, each of which sees none of those after it.

    Args:
        batch: with two new tokens or more.
    """
    ids = batch["input_ids"].clone()
    ids[:, -1] = ids[:, 0]
    try:
        with torch.no_grad():
            found, other = (decoder(**{**batch, "input_ids": each})[0][:, 0] for each in (batch["input_ids"], ids))
    except Exception:  # one that takes one token at a time says so in its own way
        return False
    return torch.allclose(found, other, rtol=1e-4, atol=1e-4)
