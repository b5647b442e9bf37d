"""Percentile bootstrap: how far a metric could be off, given that the examples are a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def resamples_for(examples: int) -> int:
    """How often to resample: 1000 times, fewer (but at least 200) for large data; never by the clock."""
    return int(np.clip(200_000 // max(examples, 1), 200, 1000))


def interval(
    tallies: Sequence[T],
    score: Callable[[Sequence[T]], dict[str, float]],
    *,
    resamples: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Value and confidence interval of each metric.

    Args:
        tallies: one for each example (or for each group of examples that belong together).
        score: the metrics over any selection of tallies.
        resamples: how often to draw; the default depends on the number of tallies.
        level: share of the distribution inside the interval.

    Returns:
        For each metric `value`, `low`, `high`. Low and high are NaN with fewer than two examples; resamples
        in which a metric is undefined (NaN) do not count for it.
    """
    value = score(tallies)
    drawn = [score([tallies[i] for i in chosen]) for chosen in _draws(len(tallies), resamples, seed, value)]
    result = {}
    for name, number in value.items():
        low, high = _percentiles([d.get(name, np.nan) for d in drawn], level)
        result[name] = {"value": float(number), "low": low, "high": high}
    return result


def paired(
    tallies_a: Sequence[T],
    tallies_b: Sequence[T],
    score: Callable[[Sequence[T]], dict[str, float]],
    *,
    resamples: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Difference b - a of each metric on the same examples, with its confidence interval.

    Both are scored on the same resamples: what makes an example hard for both cancels out.

    Returns:
        For each metric that both have `difference`, `low`, `high`.
    """
    if len(tallies_a) != len(tallies_b):
        raise ValueError(f"pairs are needed, not {len(tallies_a)} tallies and {len(tallies_b)}")
    a, b = score(tallies_a), score(tallies_b)
    names = [name for name in a if name in b]
    drawn = [
        (score([tallies_a[i] for i in chosen]), score([tallies_b[i] for i in chosen]))
        for chosen in _draws(len(tallies_a), resamples, seed, names)
    ]
    result = {}
    for name in names:
        low, high = _percentiles([y.get(name, np.nan) - x.get(name, np.nan) for x, y in drawn], level)
        result[name] = {"difference": float(b[name] - a[name]), "low": low, "high": high}
    return result


def _draws(examples: int, resamples: int | None, seed: int, metrics: Any) -> list[list[int]]:
    """Indices of each resample; none where there is nothing to vary."""
    if examples < 2 or not metrics:
        return []
    count = resamples_for(examples) if resamples is None else resamples
    generator = np.random.default_rng(seed)
    return [generator.integers(examples, size=examples).tolist() for _ in range(count)]


def _percentiles(values: list[float], level: float) -> tuple[float, float]:
    """The two ends of the interval, without the NaNs."""
    known = np.array(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
