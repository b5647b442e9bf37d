"""Drawing tokens by their chances: what is left of the scores, and the draw."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sensorium.errors import CallError
from sensorium.ops.generation.rules import Rule

IMPOSSIBLE = np.float32(-np.inf)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Log of the softmax over the last axis."""
    scores = scores - scores.max(axis=-1, keepdims=True)
    logs: np.ndarray = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return logs


def softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    chances: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return chances


def warpers(config: Mapping[str, Any]) -> list[Rule]:
    """What a `generation_config.json` asks for where tokens are drawn, in the order of transformers.

    Raises:
        InputError: a setting is out of its range.
    """
    found: list[Rule] = []
    if (value := _number(config, "temperature", 0, None)) is not None and value != 1:
        if value == 0:
            raise CallError("temperature must be above 0; for the likeliest token, leave do_sample out")
        found.append(temperature(value))
    if value := _number(config, "top_h", 0, 1):
        found.append(top_h(value))
    chosen = config.get("top_k")
    if chosen is None:  # as transformers has it where nothing is said
        chosen = 50
    if chosen:
        if not isinstance(chosen, int) or chosen < 0:
            raise CallError(f"top_k must be a whole number of at least 0, not {chosen!r}")
        found.append(top_k(chosen))
    if (value := _number(config, "top_p", 0, 1)) is not None and value < 1:
        found.append(top_p(value))
    if (value := _number(config, "min_p", 0, 1)) is not None:
        found.append(min_p(value))
    if (value := _number(config, "typical_p", 0, 1)) is not None and value < 1:
        found.append(typical_p(value))
    if value := _number(config, "epsilon_cutoff", 0, 1):
        found.append(epsilon_cutoff(value))
    if value := _number(config, "eta_cutoff", 0, 1):
        found.append(eta_cutoff(value))
    return found


def _number(config: Mapping[str, Any], name: str, low: float, high: float | None) -> float | None:
    value = config.get(name)
    if value is None:
        return None
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not value >= low or (high is not None and value > high):
        raise CallError(f"{name} must be {f'{low} to {high}' if high is not None else f'at least {low}'}: {value!r}")
    return float(value)


def temperature(value: float) -> Rule:
    """Below 1 for likelier tokens, above 1 for more surprising ones."""
    return lambda ids, scores: scores / np.float32(value)


def top_k(count: int) -> Rule:
    """Only so many of the likeliest tokens (and those that are as likely as the last of them)."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        at = max(0, scores.shape[1] - count)
        least = np.partition(scores, at, axis=1)[:, at, None]
        return np.where(scores < least, IMPOSSIBLE, scores)

    return rule


def top_p(share: float) -> Rule:
    """Only the likeliest tokens that together have this chance (Holtzman et al., 2020)."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        order = scores.argsort(axis=1, kind="stable")
        sums = softmax(np.take_along_axis(scores, order, axis=1)).cumsum(axis=1)
        out = sums <= 1 - share
        out[:, -1] = False
        return _without(scores, order, out)

    return rule


def top_h(share: float) -> Rule:
    """The likeliest of the first 100 tokens, up to this share of their entropy."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        order = np.argsort(-scores, axis=1, kind="stable")
        chances = softmax(np.take_along_axis(scores, order[:, :100], axis=1))
        terms = -chances * np.log(np.maximum(chances, np.finfo(np.float32).tiny))
        out = np.ones(scores.shape, bool)
        out[:, :100] = terms.cumsum(axis=1) > terms.sum(axis=1, keepdims=True) * np.float32(share)
        out[:, 0] = False
        return _without(scores, order, out)

    return rule


def min_p(share: float) -> Rule:
    """Only tokens with at least this share of the likeliest one's chance."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        chances = softmax(scores)
        return np.where(chances < np.float32(share) * chances.max(axis=1, keepdims=True), IMPOSSIBLE, scores)

    return rule


def typical_p(mass: float) -> Rule:
    """Only tokens about as surprising as is to be expected, with this chance together (Meister et al., 2022)."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        logs = log_softmax(scores)
        chances = np.exp(logs)
        entropy = -(np.where(chances > 0, logs, 0) * chances).sum(axis=1, keepdims=True)
        distance = np.abs(-logs - entropy)
        order = distance.argsort(axis=1, kind="stable")
        near = np.take_along_axis(distance, order, axis=1)
        sums = softmax(np.take_along_axis(scores, order, axis=1)).cumsum(axis=1)
        last = np.minimum((sums < mass).sum(axis=1), scores.shape[1] - 1)
        out = near > np.take_along_axis(near, last[:, None], axis=1)
        out[:, 0] = False
        return _without(scores, order, out)

    return rule


def epsilon_cutoff(least: float) -> Rule:
    """Only tokens with at least this chance, or else the likeliest (Hewitt et al., 2022)."""
    return lambda ids, scores: _least(scores, np.float32(least))


def eta_cutoff(least: float) -> Rule:
    """As `epsilon_cutoff`, less strict where the next token is open (Hewitt et al., 2022)."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        logs = log_softmax(scores)
        chances = np.exp(logs)
        entropy = -(np.where(chances > 0, logs, 0) * chances).sum(axis=1, keepdims=True)
        return _least(scores, np.minimum(np.float32(least), np.sqrt(np.float32(least)) * np.exp(-entropy)))

    return rule


def _least(scores: np.ndarray, chance: Any) -> np.ndarray:
    out = (softmax(scores) < chance) & (scores < scores.max(axis=1, keepdims=True))
    return np.where(out, IMPOSSIBLE, scores)


def _without(scores: np.ndarray, order: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Scores without those that are `out`, which is sorted by `order`."""
    unsorted = np.empty_like(out)
    np.put_along_axis(unsorted, order, out, axis=1)
    return np.where(unsorted, IMPOSSIBLE, scores)


def draw(scores: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
    """A token for each row of scores (rows, vocabulary), by its chance."""
    sums = softmax(scores.astype(np.float64)).cumsum(axis=1)
    return np.array(
        [
            min(int(np.searchsorted(row, g.random() * row[-1], side="right")), len(row) - 1)
            for row, g in zip(sums, generators)
        ],
        np.int64,
    )


def seed_of(seed: int, text: bytes) -> int:
    """The seed of one example: the same whatever stands beside it."""
    return int.from_bytes(hashlib.sha256(seed.to_bytes(16, "little", signed=True) + text).digest()[:8], "little")
