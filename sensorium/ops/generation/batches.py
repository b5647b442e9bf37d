"""Whole batches of prompts and sources, of any lengths, to the tokens that a model writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sensorium.ops.generation.decoder import Decoder
from sensorium.ops.generation.rules import Rule, ids_of
from sensorium.ops.generation.search import generate
from sensorium.ops.generation.settings import Settings
from sensorium.ops.generation.stopping import Stop

Answers = list[list[list[int]]]
"""For each prompt, its answers, each as tokens."""

# What folders without a generation_config.json say about generation in their config.json.
NAMES = (
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "temperature", "top_k", "top_p",
    "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "bad_words_ids", "num_return_sequences", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "pad_token_id", "bos_token_id",
    "eos_token_id", "decoder_start_token_id",
)  # fmt: skip
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")


def config_of(files: Mapping[str, Any]) -> dict[str, Any]:
    """What a model folder says about generation: `generation_config.json`, or what `config.json` has of it."""
    own = files.get("generation_config.json")
    if own is not None:
        return dict(own)
    config = files.get("config.json") or {}
    return {name: config[name] for name in NAMES if config.get(name) is not None}


def all_of(value: Any) -> tuple[int, ...]:
    """A setting that is one token, several, or none."""
    return ids_of(value)


def first_of(value: Any) -> int | None:
    """The first token of such a setting."""
    return next(iter(ids_of(value)), None)


def positions(config: Mapping[str, Any]) -> int | None:
    """The longest sequence that a `config.json` says its model takes, in tokens."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        for name in POSITIONS:
            if isinstance(part.get(name), int) and part[name] > 0:
                return int(part[name])
    return None


def limited(config: Mapping[str, Any], prompt: int, longest: int | None) -> dict[str, Any]:
    """The same settings, where they ask for more than the model's longest sequence with as much as there can be."""
    new, length = config.get("max_new_tokens"), config.get("max_length")
    total = prompt + new if new else length or prompt + 20
    if longest is None or total <= longest or prompt >= longest:
        return dict(config)
    return {**config, "max_new_tokens": None, "max_length": longest}


def pad_left(rows: Sequence[Sequence[int]], value: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (rows, longest) int64 and their mask, filled up at their left."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max())[None, :] >= lengths.max() - lengths[:, None]
    ids = np.full(mask.shape, value, np.int64)
    ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return ids, mask.astype(np.int64)


def pad_right(rows: Sequence[Sequence[int]], value: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (rows, longest) int64 and their mask, filled up at their ends."""
    ids, mask = pad_left([row[::-1] for row in rows], value)
    return ids[:, ::-1].copy(), mask[:, ::-1].copy()


def ready(
    net: Any,
    prompts: Sequence[Sequence[int]],
    config: Mapping[str, Any],
    *,
    longest: int | None = None,
    heads: int = 1,
    constraints: Sequence[Rule] = (),
    stops: Sequence[Stop] = (),
    seeds: Sequence[int] | None = None,
) -> tuple[Decoder, np.ndarray, Settings]:
    """A decoder alone, its prompts of any lengths as one array, and how to search."""
    ids, mask = pad_left(prompts, _filling(config))
    prompt = ids.shape[1]
    settings = Settings.of(
        limited(config, prompt, longest),
        prompt,
        mask=mask,
        encoder_ids=ids,
        constraints=constraints,
        stops=stops,
        seeds=seeds,
    )
    return Decoder(net, {"attention_mask": mask}, len(ids), heads), ids, settings


def continuations(net: Any, prompts: Sequence[Sequence[int]], config: Mapping[str, Any], **given: Any) -> Answers:
    """What a decoder alone writes after each prompt.

    Args:
        prompts: tokens of each; together if the network has a mask, else those of one length.
        config: as `generation_config.json`.
        given: as for `ready`.
    """
    decoder, ids, settings = ready(net, prompts, config, **given)
    count = settings.num_return_sequences
    found = generate(decoder, ids, settings)
    return [found[i : i + count] for i in range(0, len(found), count)]


def transductions(
    encoder: Any,
    decoder: Any,
    sources: Sequence[Sequence[int]],
    config: Mapping[str, Any],
    *,
    start: Sequence[int],
    longest: int | None = None,
    constraints: Sequence[Rule] = (),
    stops: Sequence[Stop] = (),
    seeds: Sequence[int] | None = None,
) -> Answers:
    """What an encoder and a decoder write of each source.

    Args:
        encoder: `input_ids` and `attention_mask` to `last_hidden_state`.
        sources: tokens of each.
        config: as `generation_config.json`.
        start: the tokens that each answer begins with.
    """
    ids, mask = pad_right(sources, _filling(config))
    inputs = {"input_ids": ids, "attention_mask": mask}
    states = encoder({name: array for name, array in inputs.items() if name in encoder.inputs})["last_hidden_state"]
    prompt = np.repeat(np.array([start], np.int64), len(ids), axis=0)
    settings = Settings.of(
        limited(config, len(start), longest),
        len(start),
        encoder_ids=ids,
        constraints=constraints,
        stops=stops,
        seeds=seeds,
    )
    fixed = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
    found = generate(Decoder(decoder, fixed, len(ids)), prompt, settings)
    count = settings.num_return_sequences
    return [found[i : i + count] for i in range(0, len(found), count)]


def _filling(config: Mapping[str, Any]) -> int:
    """The token that fills up shorter rows."""
    found = [first_of(config.get(name)) for name in ("pad_token_id", "eos_token_id")]
    return next((token for token in found if token is not None and token >= 0), 0)
