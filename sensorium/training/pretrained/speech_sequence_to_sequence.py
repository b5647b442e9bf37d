"""An encoder that hears and a decoder that writes: Whisper, Moonshine, Speech2Text, SpeechEncoderDecoder, SpeechT5.

`encoder_model.onnx` gives its states; `decoder_model_merged.onnx` reads tokens, those states, and the keys and values
of the steps before (`past_key_values.N.decoder.*`, `.encoder.*`), and gives scores and what to feed with the next
(`present.*`). Where generation_config.json names heads that follow the sound, it also gives `cross_attentions.N`.
"""

from __future__ import annotations

import inspect
from itertools import zip_longest
from typing import Any

import torch
from torch import nn

from sensorium.errors import Refused
from sensorium.training.networks.encoder_decoder import first_or_past
from sensorium.training.plan import Part
from sensorium.training.pretrained import samples
from sensorium.training.pretrained.checkpoint import Checkpoint, quiet

TASK = "automatic-speech-recognition"
NAMES = ("ForSpeechToText", "SpeechEncoderDecoderModel", "ForConditionalGeneration")
KINDS = ("key", "value")
LISTENING = ("encoder_attn", "crossattention")
"""Names of the attention to the states."""


def match(config: dict[str, Any], task: str | None) -> float:
    name = str((config.get("architectures") or [""])[0])
    return 1.0 if task == TASK and name.endswith(NAMES) else 0.0


class Encoder(nn.Module):
    """From samples or features to states."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.get_encoder()
        self.project = getattr(model, "enc_to_dec_proj", None)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        states = self.encoder(**inputs)[0]
        return states if self.project is None else self.project(states)


class Decoder(nn.Module):
    """One step of writing.

    Args:
        attention: whether to give where each token looked among the states, too.
    """

    def __init__(self, model: Any, attention: bool = False) -> None:
        super().__init__()
        self.decoder, self.head = decoder_of(model)
        takes = inspect.signature(self.decoder.forward).parameters
        self.ids = "input_ids" if "input_ids" in takes else "input_values"
        self.attention = attention
        self.seen: list[torch.Tensor] = []
        self.listening = [
            module for name, module in self.decoder.named_modules() if name.rsplit(".", 1)[-1] in LISTENING
        ]
        if attention:
            for module in self.listening:
                module.register_forward_hook(lambda _module, _inputs, found: self.seen.append(found[1]))

    @property
    def keeps(self) -> bool:
        """Whether the keys and values of the states are made once; otherwise they are made in each step."""
        return bool(self.listening) and all(hasattr(projections(module)[0], "weight") for module in self.listening)

    def run(self, ids: torch.Tensor, states: torch.Tensor, cache: Any) -> torch.Tensor:
        given = {self.ids: ids, "encoder_hidden_states": states, "past_key_values": cache}
        return self.decoder(**given, use_cache=True)[0]

    def cross(self, states: torch.Tensor, widths: list[int]) -> list[torch.Tensor]:
        """Keys and values of the states, layer by layer."""
        layers = (linear for module in self.listening for linear in projections(module))
        return [linear(states).unflatten(-1, (-1, width)).transpose(1, 2) for linear, width in zip(layers, widths)]

    def forward(
        self,
        input_ids: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        use_cache_branch: torch.Tensor | None = None,
        **past: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        own = [past[name] for name in past if ".decoder." in name]
        kept = [past[name] for name in past if ".encoder." in name]
        cross: Any = []
        if use_cache_branch is not None:
            widths = [tensor.shape[-1] for tensor in kept]
            cross = first_or_past(
                lambda states: self.cross(states, widths), encoder_hidden_states, use_cache_branch, kept
            )
        self.seen.clear()
        cache = empty_cache(pairs(own), pairs(cross))
        logits = self.head(self.run(input_ids, encoder_hidden_states, cache))
        present = [(layer.keys, layer.values) for layer in cache.self_attention_cache.layers]
        after = [
            tensor
            for own_pair, pair in zip_longest(present, pairs(cross), fillvalue=())
            for tensor in (*own_pair, *pair)
        ]
        seen = tuple(self.seen)
        self.seen.clear()
        return logits, *after, *seen


def pairs(tensors: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(tensors[::2], tensors[1::2]))


def projections(module: Any) -> tuple[Any, Any]:
    """What makes the keys and the values of a layer's attention to the states."""
    inner = getattr(module, "self", module)
    names = next((n for n in (("k_proj", "v_proj"), ("key", "value")) if hasattr(inner, n[0])), None)
    return (getattr(inner, names[0]), getattr(inner, names[1])) if names else (None, None)


def empty_cache(own: Any = None, cross: Any = None) -> Any:
    """What a decoder remembers, of itself and of the states."""
    from transformers import DynamicCache, EncoderDecoderCache

    cache = EncoderDecoderCache(DynamicCache(own) if own else DynamicCache(), DynamicCache())
    if cross:
        cache.cross_attention_cache = DynamicCache(cross)
        cache.is_updated = dict.fromkeys(range(len(cross)), True)
    return cache


def decoder_of(model: Any) -> tuple[Any, Any]:
    """The decoder without and the layer with its scores of tokens."""
    inner = getattr(model, "decoder", None)
    if type(model).__name__ == "SpeechEncoderDecoderModel":
        decoder = inner.base_model
        decoder = getattr(decoder, "decoder", decoder)
        return decoder, inner.cls if hasattr(inner, "cls") else inner.get_output_embeddings()
    if hasattr(model, "text_decoder_postnet"):  # SpeechT5
        return model.speecht5.decoder, model.text_decoder_postnet
    return model.get_decoder(), model.get_output_embeddings()


def write_characters(checkpoint: Checkpoint) -> None:
    """tokenizer.json of SpeechT5, where there is none yet: a SentencePiece model whose pieces are single characters."""
    if (checkpoint.out / "tokenizer.json").exists():
        return
    import tokenizers
    import transformers
    from transformers.convert_slow_tokenizer import SpmConverter

    class Characters(SpmConverter):
        def tokenizer(self, proto: Any) -> Any:
            return tokenizers.Tokenizer(tokenizers.models.Unigram(self.vocab(proto), proto.trainer_spec.unk_id))

        def post_processor(self) -> Any:
            end = self.original_tokenizer
            return tokenizers.processors.TemplateProcessing(
                single=f"$A {end.eos_token}", special_tokens=[(end.eos_token, end.eos_token_id)]
            )

    with quiet():
        tokenizer = transformers.SpeechT5Tokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
        text = Characters(tokenizer).converted().to_str()
    (checkpoint.out / "tokenizer.json").write_text(text, "utf-8")


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    if checkpoint.name.startswith("SpeechT5"):
        write_characters(checkpoint)
    if not (checkpoint.out / "generation_config.json").exists():
        model.generation_config.save_pretrained(checkpoint.out)
    first, second = (heard(checkpoint, other) for other in (False, True))
    encoder = Encoder(model).eval()
    with torch.no_grad():
        states = [encoder(**batch) for batch in (first, second)]
    decoder = Decoder(model, bool(getattr(model.generation_config, "alignment_heads", None))).eval()
    layers = sizes(decoder, states[0])
    kept = ("decoder", "encoder") if decoder.keeps else ("decoder",)
    if not decoder.keeps:
        checkpoint.notes.append("the keys and values of the encoder's states are made anew in each step")
    outputs = ["logits"]
    dynamic: dict[str, dict[int, str]] = {
        "input_ids": {0: "batch_size", 1: "decoder_sequence_length"},
        "encoder_hidden_states": {0: "batch_size"},
    }
    if decoder.keeps:
        dynamic["use_cache_branch"] = {}
    if states[0].shape[1] != states[1].shape[1]:
        dynamic["encoder_hidden_states"][1] = "encoder_sequence_length"
    for i in range(len(layers)):
        for place in kept:
            for kind in KINDS:
                axis = "past_decoder_sequence_length" if place == "decoder" else "encoder_sequence_length_out"
                dynamic[f"past_key_values.{i}.{place}.{kind}"] = {0: "batch_size", 2: axis}
                outputs.append(f"present.{i}.{place}.{kind}")
    if decoder.attention:
        outputs += [f"cross_attentions.{i}" for i in range(len(layers))]
    vocabulary = decoder.decoder.get_input_embeddings().weight.shape[0]
    later = steps(states[0], layers, vocabulary, 3, 4, list(dynamic))
    begin = steps(states[1], layers, vocabulary, 4, 0, list(dynamic))
    free = samples.free_axes(first, second)
    return {
        "encoder_model": Part(encoder, first, ["last_hidden_state"], free, other=second),
        "decoder_model_merged": Part(decoder, later, outputs, dynamic, other=begin),
    }


def heard(checkpoint: Checkpoint, other: bool) -> samples.Batch:
    """A batch for the encoder: its main input alone, as sounds of equal length need no mask."""
    name = checkpoint.model.main_input_name
    try:
        found = samples.by_task(checkpoint.task, other)
    except Exception:  # a task that these files do not complete
        return samples.by_config_tensors(checkpoint.model, other)
    if name not in found:
        name = next((n for n in ("input_features", "input_values") if n in found), "")
    if not name:
        raise Refused(f"{checkpoint.name}: its preprocessor makes no input that an encoder of sound takes")
    return {name: torch.from_numpy(found[name])}


def sizes(decoder: Decoder, states: torch.Tensor) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Heads and width of the keys and values of each layer: (of what it wrote), (of the states)."""
    cache = empty_cache()
    with torch.no_grad():
        decoder.run(torch.zeros(len(states), 2, dtype=torch.int64), states, cache)
    decoder.seen.clear()
    kept = zip(cache.self_attention_cache.layers, cache.cross_attention_cache.layers)
    return [tuple((k.shape[1], k.shape[3]) for k in (own.keys, cross.keys)) for own, cross in kept]  # type: ignore[misc]


def steps(
    states: torch.Tensor, layers: Any, vocabulary: int, time: int, past: int, names: list[str]
) -> dict[str, torch.Tensor]:
    """Inputs of one step: of the first where nothing is past."""
    random = torch.Generator().manual_seed(past)
    rows = len(states)
    batch = {
        "input_ids": torch.randint(0, vocabulary, (rows, time), generator=random),
        "encoder_hidden_states": states,
        "use_cache_branch": torch.tensor([past > 0]),
    }
    for i, pair in enumerate(layers):
        for place, (heads, width) in zip(("decoder", "encoder"), pair):
            length = past if place == "decoder" or not past else states.shape[1]
            for kind in KINDS:
                shape = (rows, heads, length, width)
                batch[f"past_key_values.{i}.{place}.{kind}"] = torch.randn(shape, generator=random)
    return {name: batch[name] for name in names}
