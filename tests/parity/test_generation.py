"""Searches over a network give the tokens that transformers' `generate` gives over the same network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.ops.generation import Decoder, Settings, generate

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCABULARY, ROWS = 30, 5


class Recomputing:
    """A Hugging Face decoder as a net without a cache."""

    outputs = ("logits",)

    def __init__(self, model: Any, names: list[str]) -> None:
        self.model = model
        self.inputs = {name: (["batch"], np.int64) for name in names}

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self.inputs}
        if "encoder_hidden_states" in tensors:
            tensors["encoder_outputs"] = (tensors.pop("encoder_hidden_states"),)
            tensors["attention_mask"] = tensors.pop("encoder_attention_mask")
        with torch.no_grad():
            return {"logits": self.model(**tensors, use_cache=False).logits.numpy()}


class Caching(Recomputing):
    """A decoder alone, with a cache."""

    def __init__(self, model: Any, heads: int, width: int, layers: int) -> None:
        super().__init__(model, ["input_ids", "attention_mask", "position_ids"])
        for i in range(layers):
            for kind in ("key", "value"):
                shape = ["batch", heads, "past", width]
                self.inputs[f"past_key_values.{i}.{kind}"] = (shape, np.float32)  # type: ignore[assignment]

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self.inputs}
        past = [v for k, v in tensors.items() if k.startswith("past")]
        cache = transformers.DynamicCache(list(zip(past[::2], past[1::2])))
        plain = {k: v for k, v in tensors.items() if not k.startswith("past")}
        with torch.no_grad():
            logits = self.model(**plain, past_key_values=cache, use_cache=True).logits.numpy()
        present = {}
        for i, layer in enumerate(cache.layers):
            present |= {f"present.{i}.key": layer.keys.numpy(), f"present.{i}.value": layer.values.numpy()}
        return {"logits": logits, **present}


@pytest.fixture(scope="module")
def marian() -> Any:
    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=VOCABULARY, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=64,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, forced_eos_token_id=None, init_std=0.6,
    )  # fmt: skip
    return transformers.MarianMTModel(config).eval()


def theirs(model: Any, inputs: dict[str, Any], prompt: int, **config: Any) -> list[list[int]]:
    settings = transformers.GenerationConfig(do_sample=False, **config)
    rows = model.generate(**inputs, generation_config=settings)[:, prompt:].tolist()
    eos = config["eos_token_id"]
    eos = eos if isinstance(eos, list) else [eos]
    ends = [next((i + 1 for i, t in enumerate(row) if t in eos), len(row)) for row in rows]
    return [row[:end] for row, end in zip(rows, ends)]


SETTINGS: list[dict[str, Any]] = [
    {},
    {"max_new_tokens": 1},
    {"max_length": 9},
    {"num_beams": 2},
    {"num_beams": 4, "length_penalty": 0.0},
    {"num_beams": 4, "length_penalty": 2.5},
    {"num_beams": 4, "length_penalty": -1.0},
    {"num_beams": 3, "early_stopping": True},
    {"num_beams": 3, "early_stopping": "never", "length_penalty": 1.5},
    {"num_beams": 3, "early_stopping": "never", "length_penalty": -0.5},
    {"num_beams": 5, "no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
    {"no_repeat_ngram_size": 1},
    {"num_beams": 4, "min_length": 8},
    {"min_new_tokens": 5},
    {"num_beams": 3, "forced_bos_token_id": 7, "forced_eos_token_id": 1},
    {"num_beams": 3, "bad_words_ids": [[5], [3, 4], [9, 9, 9], [0]], "repetition_penalty": 1.3},
    {"num_beams": 2, "eos_token_id": [1, 5, 9]},
    {"eos_token_id": [1, 5, 9]},
    {"suppress_tokens": [4, 8, 11], "begin_suppress_tokens": [6, 3, 20, 21, 22]},
    {"num_beams": 4, "num_return_sequences": 3, "repetition_penalty": 1.5},
    {"num_beams": 3, "num_return_sequences": 3, "early_stopping": True, "encoder_no_repeat_ngram_size": 1},
    {"encoder_repetition_penalty": 1.8, "sequence_bias": [[[5], 2.0], [[7, 9], -3.0], [[3, 4, 5], 1.5]]},
    {"num_beams": 2, "exponential_decay_length_penalty": [3, 1.3], "encoder_repetition_penalty": 0.6},
    {"remove_invalid_values": True, "no_repeat_ngram_size": 2},
]  # fmt: skip


@pytest.mark.parametrize("extra", SETTINGS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_encoder_decoder(marian: Any, extra: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, ROWS)
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(2, VOCABULARY, mask.shape) * mask
    config = {
        "eos_token_id": 1,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
        "max_new_tokens": 12,
        **extra,
    }
    if "max_length" in extra:
        del config["max_new_tokens"]
    tensors = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    with torch.no_grad():
        states = marian.get_encoder()(**tensors).last_hidden_state.numpy()
    beams = config.get("num_beams", 1)
    feeds = {
        "encoder_hidden_states": states.repeat(beams, 0),
        "encoder_attention_mask": mask.repeat(beams, 0),
    }
    net = Recomputing(marian, ["decoder_input_ids", "encoder_hidden_states", "encoder_attention_mask"])
    settings = Settings.of(config, 1, encoder_ids=ids)
    ours = generate(Decoder(net, feeds, ROWS * beams), np.zeros((ROWS, 1), np.int64), settings)
    # The source may as well be read once, and its beams follow it from there.
    once = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
    settings = Settings.of(config, 1, encoder_ids=ids)
    assert ours == generate(Decoder(net, once, ROWS), np.zeros((ROWS, 1), np.int64), settings)
    assert ours == theirs(marian, tensors, 1, **config)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"num_beams": 3},
        {"num_beams": 2, "no_repeat_ngram_size": 2},
        {"repetition_penalty": 1.7},
        {"num_beams": 3, "repetition_penalty": 0.6, "min_new_tokens": 6},
        {"encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 2},
    ],
    ids=str,
)
def test_decoder_with_cache_and_prompts_of_several_lengths(extra: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.5,
            bos_token_id=1, eos_token_id=1,
        )
    ).eval()  # fmt: skip
    rng = np.random.default_rng(0)
    mask = np.array([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    prompt = rng.integers(2, VOCABULARY, mask.shape) * mask
    config = {"eos_token_id": 1, "pad_token_id": 0, "max_new_tokens": 10, **extra}
    beams = config.get("num_beams", 1)
    decoder = Decoder(Caching(model, 2, 8, 2), {"attention_mask": mask.repeat(beams, 0)}, len(prompt) * beams)
    ours = generate(decoder, prompt, Settings.of(config, prompt.shape[1], mask=mask, encoder_ids=prompt))
    tensors = {"input_ids": torch.from_numpy(prompt), "attention_mask": torch.from_numpy(mask)}
    assert ours == theirs(model, tensors, prompt.shape[1], **config)


@pytest.mark.parametrize("config", [{"num_beams": -1}, {"max_new_tokens": -4}, {"num_beam_groups": 2}], ids=str)
def test_impossible_settings(config: dict[str, int]) -> None:
    with pytest.raises(InputError):
        Settings.of(config, 1)
