"""Networks that speak: VITS in one file; SpeechT5 as an encoder, a decoder of spectra and a vocoder.

Where they draw random numbers, the file computes them from their places: the same text sounds the same each time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from sensorium import files
from sensorium.errors import InputError
from sensorium.training.networks.encoder_decoder import first_or_past
from sensorium.training.plan import Part
from sensorium.training.pretrained.checkpoint import Checkpoint, quiet
from sensorium.training.pretrained.speech_sequence_to_sequence import (
    KINDS,
    empty_cache,
    pairs,
    projections,
    write_characters,
)
from sensorium.training.pretrained.writing import write_traced

PRIME = 2147483647


def match(config: dict[str, Any], task: str | None) -> float:
    return 1.0 if task == "text-to-speech" else 0.0


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    return speecht5(checkpoint) if checkpoint.name.startswith("SpeechT5") else at_once(checkpoint)


def uniform(like: torch.Tensor, stream: int) -> torch.Tensor:
    """Numbers between 0 and 1 that look random, from the places of a tensor alone."""
    place = torch.zeros_like(like, dtype=torch.int64)
    for axis, step in zip(range(like.ndim), (7919, 104729, 1299709)):
        size = like.shape[axis]
        shape = [1] * like.ndim
        shape[axis] = size
        place = place + torch.arange(size, device=like.device).reshape(shape) * step
    for factor in (48271, 69621, 16807):  # products stay below 2**63
        place = (place + 12345 * stream + 1) % PRIME
        place = (place * place + place * factor) % PRIME
    return (place.to(torch.float32) + 0.5) / PRIME


def normal(like: torch.Tensor, stream: int) -> torch.Tensor:
    """Numbers of mean 0 and deviation 1, as `uniform`."""
    return (-2 * uniform(like, stream).log()).sqrt() * (2 * math.pi * uniform(like, stream + 1)).cos()


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Random numbers that are computed from their places."""
    streams = iter(range(1, 1 << 20, 2))

    def randn(*size: Any, **_: Any) -> torch.Tensor:
        shape = size[0] if len(size) == 1 and not isinstance(size[0], (int, torch.SymInt)) else size
        return normal(torch.zeros(*shape), next(streams))

    def bernoulli(like: torch.Tensor, p: float) -> torch.Tensor:
        return (uniform(like, next(streams)) < p).to(like.dtype)

    with (
        mock.patch.object(torch, "randn", randn),
        mock.patch.object(torch, "randn_like", lambda like, **_: normal(like, next(streams))),
        mock.patch.object(torch, "bernoulli", bernoulli),
    ):
        yield


class AtOnce(nn.Module):
    """A model that answers the waveform of a text."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        with settled():
            return self.model(**inputs, return_dict=True).waveform


def ids_of(checkpoint: Checkpoint, other: bool) -> torch.Tensor:
    task = checkpoint.task
    if task is None:
        raise InputError(f"{checkpoint.folder}: its files do not tell how a text becomes tokens")
    said = "nothing is said here that has not been said before" if other else "the quick brown fox"
    try:
        return torch.from_numpy(task.prepare(said)["input_ids"])[None]
    except InputError:  # a vocabulary of another script
        count = int(checkpoint.model.config.vocab_size)
        return torch.arange(11 if other else 7)[None] % count


def write_letters(checkpoint: Checkpoint) -> None:
    """tokenizer.json of VITS, where there is none yet, for runtimes that do not read vocab.json."""
    place, vocabulary = checkpoint.out / "tokenizer.json", checkpoint.out / "vocab.json"
    if place.exists() or not vocabulary.exists():
        return
    known, settings = files.read_json(vocabulary), files.read_json(checkpoint.out / "tokenizer_config.json")
    blank = next((letter for letter, number in known.items() if number == 0), "")
    if settings.get("phonemize", True) or len(blank) != 1:
        return
    inside = "".join("\\" + c if c in "\\]^-[" else c for c in known if len(c) == 1)
    steps: list[dict[str, Any]] = []
    if settings.get("normalize", True):
        steps += [
            {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": f"[^{inside}]"}, "content": ""},
            {"type": "Strip", "strip_left": True, "strip_right": True},
        ]
    if settings.get("add_blank", True):
        steps.append({"type": "Replace", "pattern": {"Regex": "(?=.)|(?<!^)$"}, "content": blank})
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": known, "unk_token": str(settings.get("unk_token") or "<unk>")},
    }
    place.write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    checkpoint.notes[:] = [note for note in checkpoint.notes if "tokenizer.json" not in note]


def at_once(checkpoint: Checkpoint) -> dict[str, Part]:
    write_letters(checkpoint)
    made = [ids_of(checkpoint, other) for other in (False, True)]
    first, second = ({"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in made)
    axes = {0: "batch_size", 1: "sequence_length"}
    module = AtOnce(checkpoint.model).eval()
    part = Part(module, first, ["waveform"], {"input_ids": axes, "attention_mask": axes}, other=second)
    # How long the sound is shows only as it runs: that is recorded, not analysed.
    return {"model": dataclasses.replace(part, write=lambda path: write_traced(part, path))}


class Reader(nn.Module):
    """The encoder of SpeechT5."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.speecht5.encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.encoder(input_values=input_ids, attention_mask=attention_mask, return_dict=True)
        return found.last_hidden_state, attention_mask + 0


class Speaker(nn.Module):
    """One step of the decoder of SpeechT5: `reduction_factor` frames of the spectrum.

    Its dropout, which it has in use, too, depends on the place of a frame; here all frames have the same.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.decoder = model.speecht5.decoder
        self.listening = [m for name, m in self.decoder.named_modules() if name.endswith(".encoder_attn")]

    def cross(self, states: torch.Tensor, width: int) -> list[torch.Tensor]:
        linears = [linear for module in self.listening for linear in projections(module)]
        return [linear(states).unflatten(-1, (-1, width)).transpose(1, 2) for linear in linears]

    def forward(
        self,
        output_sequence: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        speaker_embeddings: torch.Tensor,
        use_cache_branch: torch.Tensor,
        **past: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """The last frame to feed next, whether all is said, the frames, then keys and values."""
        config = self.model.config
        own = [past[name] for name in past if ".decoder." in name]
        kept = [past[name] for name in past if ".encoder." in name]
        width = kept[0].shape[-1]
        cross = first_or_past(lambda states: self.cross(states, width), encoder_hidden_states, use_cache_branch, kept)
        cache = empty_cache(pairs(own), pairs(cross))
        place = self.decoder.prenet.encode_positions
        with settled(), mock.patch.object(place, "forward", lambda x: at_place(place, x, own[0].shape[2])):
            states = self.decoder.prenet(output_sequence, speaker_embeddings)
        found = self.decoder.wrapped_decoder(
            hidden_states=states,
            attention_mask=None,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=None,  # the texts of a batch are of one length
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
        ).last_hidden_state[:, -1]
        postnet = self.model.speech_decoder_postnet
        spectrum = postnet.feat_out(found).unflatten(-1, (config.reduction_factor, config.num_mel_bins))
        present = [(layer.keys, layer.values) for layer in cache.self_attention_cache.layers]
        after = [tensor for both in zip(present, pairs(cross)) for pair in both for tensor in pair]
        return spectrum[:, -1:], torch.sigmoid(postnet.prob_out(found)), spectrum, *after


def at_place(module: Any, states: torch.Tensor, place: int) -> torch.Tensor:
    """The positions of frames that follow so many others."""
    positions = module.pe[:, place : place + states.shape[1]]
    return states + module.alpha * positions


class Vocoder(nn.Module):
    """From the frames of a spectrum to samples."""

    def __init__(self, model: Any, vocoder: Any) -> None:
        super().__init__()
        self.postnet = model.speech_decoder_postnet
        self.vocoder = vocoder

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        return self.vocoder(self.postnet.postnet(spectrogram[None]))


def vocoder_of(folder: Path) -> Any:
    """The vocoder in a folder beside the checkpoint's files.

    Raises:
        InputError: there is none.
    """
    import transformers

    for config in sorted(folder.glob("*/config.json")):
        names = files.read_json(config).get("architectures") or []
        if "SpeechT5HifiGan" in names:
            with quiet():
                return transformers.SpeechT5HifiGan.from_pretrained(config.parent, local_files_only=True).eval()
    raise InputError(f"{folder}: needs a vocoder: put a SpeechT5HifiGan checkpoint into a folder 'vocoder' in it")


def speecht5(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    write_characters(checkpoint)
    vocoder = vocoder_of(checkpoint.folder)
    config, reader = model.config, Reader(model).eval()
    text = {0: "batch_size", 1: "sequence_length"}
    batches = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in
               (ids_of(checkpoint, False), ids_of(checkpoint, True))]  # fmt: skip
    outputs = ["output_sequence_out", "prob", "spectrum"]
    dynamic: dict[str, dict[int, str]] = {
        "output_sequence": {0: "batch_size"},
        "encoder_hidden_states": {0: "batch_size", 1: "encoder_sequence_length"},
        "speaker_embeddings": {0: "batch_size"},
        "use_cache_branch": {},
    }
    for i in range(config.decoder_layers):
        for place, axis in (("decoder", "past_decoder_sequence_length"), ("encoder", "encoder_sequence_length_out")):
            for kind in KINDS:
                dynamic[f"past_key_values.{i}.{place}.{kind}"] = {0: "batch_size", 2: axis}
                outputs.append(f"present.{i}.{place}.{kind}")
    with torch.no_grad():
        states = [reader(**batch)[0] for batch in batches]
    later, begin = (step(config, states[i], past) for i, past in ((0, 5), (1, 0)))
    frames = [
        torch.randn(count, config.num_mel_bins, generator=torch.Generator().manual_seed(count)) for count in (9, 14)
    ]
    return {
        "encoder_model": Part(
            reader, batches[0], ["encoder_outputs", "encoder_attention_mask"],
            {"input_ids": text, "attention_mask": text}, other=batches[1],
        ),
        "decoder_model_merged": Part(Speaker(model).eval(), later, outputs, dynamic, other=begin),
        "decoder_postnet_and_vocoder": Part(
            Vocoder(model, vocoder).eval(), {"spectrogram": frames[0]}, ["waveform"],
            {"spectrogram": {0: "n_spectrums"}}, other={"spectrogram": frames[1]},
        ),
    }  # fmt: skip


def step(config: Any, states: torch.Tensor, past: int) -> dict[str, torch.Tensor]:
    """Inputs of one step, for two rows: of the first where nothing is past."""
    random = torch.Generator().manual_seed(past)
    rows = 2
    states = states.expand(rows, -1, -1).contiguous()
    heads, width = config.decoder_attention_heads, config.hidden_size // config.decoder_attention_heads
    batch = {
        "output_sequence": torch.randn(rows, 1, config.num_mel_bins, generator=random),
        "encoder_hidden_states": states,
        "speaker_embeddings": torch.randn(rows, config.speaker_embedding_dim, generator=random),
        "use_cache_branch": torch.tensor([past > 0]),
    }
    for i in range(config.decoder_layers):
        for length in (past, states.shape[1] if past else 0):
            place = "decoder" if f"past_key_values.{i}.decoder.key" not in batch else "encoder"
            for kind in KINDS:
                made = torch.randn(rows, heads, length, width, generator=random)
                batch[f"past_key_values.{i}.{place}.{kind}"] = made
    return batch
