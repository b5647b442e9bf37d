"""The rules and the warpers of sampling give the scores that transformers' logits processors give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sensorium.ops.generation import sampling
from sensorium.ops.generation.rules import rules

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCABULARY, ROWS, PROMPT = 50, 4, 6

WARPERS: list[dict[str, Any]] = [
    {"temperature": 0.7},
    {"temperature": 2.5, "top_k": 7},
    {"top_k": 1},
    {"top_k": 1000},
    {"top_p": 0.9},
    {"top_p": 0.05},
    {"top_p": 0.0},
    {"min_p": 0.1},
    {"min_p": 0.9, "temperature": 1.5},
    {"typical_p": 0.5},
    {"typical_p": 0.95},
    {"epsilon_cutoff": 0.03},
    {"epsilon_cutoff": 0.9},
    {"eta_cutoff": 0.05},
    {"top_h": 0.4},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.8, "min_p": 0.02, "typical_p": 0.9, "epsilon_cutoff": 0.001},
]
RULES: list[dict[str, Any]] = [
    {"repetition_penalty": 1.5},
    {"repetition_penalty": 0.7},
    {"encoder_repetition_penalty": 2.0},
    {"no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 1},
    {"encoder_no_repeat_ngram_size": 3},
    {"sequence_bias": [[[3], 2.5], [[4, 5], -1.5], [[7], -np.inf]]},
    {"bad_words_ids": [[3], [5, 6], [9, 9, 9]]},
    {"min_length": 20},
    {"min_new_tokens": 9},
    {"exponential_decay_length_penalty": [2, 1.2]},
    {"suppress_tokens": [1, 2, 3], "begin_suppress_tokens": [10, 11]},
    {"forced_eos_token_id": 2},
    {"remove_invalid_values": True},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "bad_words_ids": [[8]], "min_new_tokens": 4},
]


def processors(config: dict[str, Any], ids: Any, mask: Any, encoder_ids: Any, length: int) -> Any:
    """What transformers makes of a generation config."""
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=8, n_layer=1, n_head=1, n_positions=64)
    )
    found = transformers.GenerationConfig(**{"eos_token_id": 2, "pad_token_id": 0, "top_k": 0, **config})
    found.max_length = length
    model._prepare_special_tokens(found, False, "cpu")
    return model._get_logits_processor(
        generation_config=found,
        input_ids_seq_length=PROMPT,
        encoder_input_ids=encoder_ids,
        logits_processor=transformers.LogitsProcessorList(),
        device="cpu",
        model_kwargs={"attention_mask": mask},
    )


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2.5, (ROWS, VOCABULARY)).astype(np.float32)


@pytest.mark.parametrize("config", WARPERS, ids=str)
def test_warpers(config: dict[str, Any], scores: np.ndarray) -> None:
    ids = torch.zeros(ROWS, PROMPT, dtype=torch.int64)
    made = processors({"do_sample": True, **config}, ids, torch.ones_like(ids), ids, 40)
    theirs = made(ids, torch.from_numpy(scores.copy())).numpy()
    ours = scores.copy()
    for warper in sampling.warpers({"top_k": 0, **config}):
        ours = warper(ids.numpy(), ours)
    assert np.array_equal(np.isfinite(ours), np.isfinite(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("config", RULES, ids=str)
@pytest.mark.parametrize("length", [PROMPT, PROMPT + 1, PROMPT + 6, 39])
def test_rules(config: dict[str, Any], length: int, scores: np.ndarray) -> None:
    rng = np.random.default_rng(length)
    ids = rng.integers(3, 12, (ROWS, length))
    mask = np.ones((ROWS, PROMPT), np.int64)
    mask[0, :3] = 0
    ids[:, :PROMPT] *= mask
    prompt = ids[:, :PROMPT]
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in (ids, mask, prompt)]
    theirs = processors(config, *tensors, 40)(tensors[0], torch.from_numpy(scores.copy())).numpy()
    ours = scores.copy()
    for rule in rules({"forced_eos_token_id": None, **config}, PROMPT, 40, (2,), mask, prompt):
        ours = rule(ids, ours)
    assert np.array_equal(np.isneginf(ours), np.isneginf(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_draws_follow_the_chances() -> None:
    scores = np.log(np.array([[0.5, 0.3, 0.0, 0.2]], np.float32) + np.float32(1e-30))
    scores[0, 2] = -np.inf
    generator = np.random.default_rng(0)
    drawn = sampling.draw(np.repeat(scores, 4000, axis=0), [generator] * 4000)
    shares = np.bincount(drawn, minlength=4) / 4000
    np.testing.assert_allclose(shares, [0.5, 0.3, 0, 0.2], atol=0.03)
    assert shares[2] == 0
