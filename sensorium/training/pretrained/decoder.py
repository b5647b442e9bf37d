"""A decoder alone: `model.onnx` reads tokens, and the keys and values of those before them (`past_key_values.*`).

It gives the scores of what follows each token, and the keys and values to feed with the next (`present.*`). An
architecture that keeps other things of what it has read is written without a cache, and reads all tokens anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sensorium import files
from sensorium.errors import Refused
from sensorium.training.export import write_network
from sensorium.training.plan import Part
from sensorium.training.pretrained import rewrites
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.writing import write_traced

ENDINGS = ("ForCausalLM", "LMHeadModel")
KEEP = "num_logits_to_keep"
"""Input that says how many of the last tokens' scores are wanted, 0 for all, as transformers.js knows it."""
LONG = 300
"""Tokens of the longest text to check a decoder on: chunks are of 256 at most, as a rule."""
PLACES = {0: "batch_size", 1: "sequence_length"}
ANEW = "this architecture keeps no keys and values: each step reads all tokens anew"


def match(config: dict[str, Any], task: str | None) -> float:
    from transformers.models.auto import modeling_auto

    known = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    name = str((config.get("architectures") or [""])[0])
    if config.get("is_encoder_decoder") or not (name.endswith(ENDINGS) or name in known.values()):
        return 0.0
    return 0.9 if task in (None, "text-generation") else 0.0


class Decoder(nn.Module):
    """A causal language model with keys and values as tensors of their own."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        from transformers import DynamicCache

        past = [inputs.pop(name) for name in list(inputs) if name.startswith("past_key_values")]
        if KEEP in inputs:
            read = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"]
            inputs["logits_to_keep"] = last(read.shape[1], inputs.pop(KEEP))
        if not past:
            return (self.model(**inputs, use_cache=False).logits,)
        cache = DynamicCache(list(zip(past[::2], past[1::2])))
        found = self.model(**inputs, past_key_values=cache, use_cache=True)
        return found.logits, *(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))


def last(time: int, count: torch.Tensor) -> torch.Tensor:
    """The last `count` of so many places, or all of them where it is 0."""
    first = torch.where(count == 0, 0, time - count)
    return torch.nonzero(torch.arange(time, device=count.device) >= first)[:, 0]


def show_template(folder: Path) -> None:
    """Write the chat template into tokenizer_config.json as well: transformers.js looks for it there."""
    place, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if place.is_file() and config.is_file():
        told = files.read_json(config)
        if "chat_template" not in told:
            config.write_text(files.dump_json({**told, "chat_template": place.read_text("utf-8")}), "utf-8")


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    show_template(checkpoint.out)
    rewrites.apply(model)
    part = decoder_part(model)
    if not any(name.startswith("past_key_values") for name in part.inputs):
        checkpoint.notes.append(ANEW)
    return {"model": part}


def decoder_part(
    model: Any, embed: Callable[[torch.Tensor], torch.Tensor] | None = None, axes: int = 1, layers: int = 0
) -> Part:
    """A decoder, with a cache where it can be had as keys and values.

    Args:
        embed: from tokens to vectors, for a decoder that is to take these.
        axes: by how many numbers it knows the place of a token.
        layers: of how many it takes vectors to be added, `deepstack_embeds`.
    """
    sizes = cache_sizes(model)
    takes = inspect.signature(model.forward).parameters
    names = [name for name in ("input_ids", "attention_mask", "position_ids") if name in takes]
    if embed is not None and "token_type_ids" in takes:  # of vectors of a picture, which see each other
        names.append("token_type_ids")
    dynamic: dict[str, dict[int, str]] = dict.fromkeys(names, PLACES)
    outputs = ["logits"]
    if sizes is not None:
        for name in {"attention_mask", "token_type_ids"} & set(names):
            dynamic[name] = {0: "batch_size", 1: "total_sequence_length"}
        for i, _ in enumerate(sizes):
            for kind in ("key", "value"):
                dynamic[f"past_key_values.{i}.{kind}"] = {0: "batch_size", 2: "past_sequence_length"}
                outputs.append(f"present.{i}.{kind}")
    if "logits_to_keep" in takes:
        names.append(KEEP)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or LONG
    # One token, and a text longer than the chunks that some cut theirs into: code may decide by the number of tokens.
    shapes = ((2, 3, 4), (3, 5, 0), (1, 1, 4), (1, min(LONG, longest * 3 // 4), 0))
    batches = [sample(names, sizes, vocabulary, *shape) for shape in shapes]
    if axes > 1:
        dynamic["position_ids"] = {1: "batch_size", 2: "sequence_length"}
        for one in batches:
            one["position_ids"] = one["position_ids"].expand(axes, -1, -1).clone()
    if embed is not None:
        dynamic["inputs_embeds"] = dynamic.pop("input_ids")
        with torch.no_grad():
            batches = [{"inputs_embeds": embed(one.pop("input_ids")), **one} for one in batches]
    if layers:
        dynamic["deepstack_embeds"] = {1: "batch_size", 2: "sequence_length"}
        for one in batches:
            one["deepstack_embeds"] = one["inputs_embeds"].repeat(layers, 1, 1, 1) / 2
    first, second, *more = batches
    part = Part(Decoder(model).eval(), first, outputs, dynamic, other=second, more=tuple(more))
    return replace(part, write=partial(write_first, part))


def write_first(part: Part, path: Path) -> None:
    """Write a decoder in the first of several ways that succeeds: with the choice of scores, or else without.

    Raises:
        Refused: none does.
    """
    plain = replace(part, inputs={name: tensor for name, tensor in part.inputs.items() if name != KEEP})
    problem = None
    for way, given in ((write_network, part), (write_network, plain), (write_traced, plain)):
        try:
            way(given, path)
            return
        except Refused as error:
            problem = problem or error
    assert problem is not None
    raise problem


def cache_sizes(model: Any) -> list[tuple[tuple[int, int], tuple[int, int]]] | None:
    """Heads and width of the keys and of the values of each layer; None where it keeps something else."""
    from transformers import DynamicCache

    try:
        with torch.no_grad():
            cache = model(input_ids=torch.tensor([[3, 4, 5]]), use_cache=True).past_key_values
        pairs = [(layer.keys, layer.values) for layer in cache.layers]
    except (AttributeError, TypeError):  # no cache, or one of another kind
        return None
    if any(tensor is None or tensor.ndim != 4 or tensor.shape[2] != 3 for pair in pairs for tensor in pair):
        return None
    kept = [value for layer in cache.layers for name, value in vars(layer).items() if name not in ("keys", "values")]
    if any(isinstance(value, torch.Tensor) and value.ndim for value in kept):  # such as what an index reads
        return None
    try:  # some layers keep more than these
        with torch.no_grad():
            model(input_ids=torch.tensor([[6]]), past_key_values=DynamicCache(pairs), use_cache=True)
    except Exception:  # of whatever the model's code misses
        return None
    return [((k.shape[1], k.shape[3]), (v.shape[1], v.shape[3])) for k, v in pairs]


def sample(names: list[str], sizes: Any, vocabulary: int, rows: int, time: int, past: int) -> dict[str, torch.Tensor]:
    """Inputs to try it with: the first row is filled up at its left."""
    random = torch.Generator().manual_seed(rows)
    before = past if sizes is not None else 0
    mask = torch.ones(rows, before + time, dtype=torch.int64)
    if before + time > 2:
        mask[0, :2] = 0
    places = (mask.cumsum(1) - 1).clamp(min=0)[:, before:]
    ids = torch.randint(3, vocabulary, (rows, time), generator=random)
    found = {"input_ids": ids, "attention_mask": mask, "position_ids": places, KEEP: torch.tensor(0)}
    found["token_type_ids"] = (torch.arange(before + time).expand(rows, -1) // 2 == 1).long()
    batch = {name: found[name] for name in names}
    for i, pair in enumerate(sizes or ()):
        for kind, (heads, width) in zip(("key", "value"), pair):
            batch[f"past_key_values.{i}.{kind}"] = torch.randn(rows, heads, past, width, generator=random)
    return batch
