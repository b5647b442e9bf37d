from __future__ import annotations

import math

import numpy as np
import pytest

from sensorium.ops import bootstrap


def mean(values):
    return {"mean": float(np.mean(values)) if len(values) else math.nan}


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400).tolist()
    got = bootstrap.interval(values, mean, resamples=2000)["mean"]
    error = np.std(values) / np.sqrt(len(values))
    assert got["value"] == np.mean(values)
    assert got["low"] == pytest.approx(np.mean(values) - 1.96 * error, abs=0.2 * error)
    assert got["high"] == pytest.approx(np.mean(values) + 1.96 * error, abs=0.2 * error)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        got = bootstrap.interval(generator.random(60).tolist(), mean, resamples=200, seed=trial, level=0.9)["mean"]
        covered += got["low"] <= 0.5 <= got["high"]
    assert 0.83 <= covered / 200 <= 0.96


def test_the_seed_decides():
    values = [0.0, 1.0, 2.0, 5.0, 9.0]
    assert bootstrap.interval(values, mean) == bootstrap.interval(values, mean)
    assert bootstrap.interval(values, mean, seed=1) != bootstrap.interval(values, mean, seed=2)


def test_undefined_resamples_do_not_count():
    def positives(values):
        found = [v for v in values if v > 0]
        return {"mean": float(np.mean(found)) if found else math.nan, "never": math.nan}

    got = bootstrap.interval([-1.0, -1.0, 3.0], positives, resamples=300)
    assert got["mean"] == {"value": 3.0, "low": 3.0, "high": 3.0}
    assert all(math.isnan(v) for v in got["never"].values())


@pytest.mark.parametrize("values", [[], [1.0]])
def test_too_few_examples_give_no_interval(values):
    got = bootstrap.interval(values, mean)["mean"]
    assert math.isnan(got["low"])
    assert math.isnan(got["high"])


def test_pairs_are_narrower_than_two_samples():
    generator = np.random.default_rng(2)
    hard = generator.normal(size=200)
    a, b = hard.tolist(), (hard + 0.1 + 0.01 * generator.normal(size=200)).tolist()
    got = bootstrap.paired(a, b, mean)["mean"]
    assert got["difference"] == pytest.approx(0.1, abs=0.01)
    assert got["high"] - got["low"] < 0.01
    assert bootstrap.paired(a, a, mean)["mean"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    with pytest.raises(ValueError, match="pairs"):
        bootstrap.paired(a, b[1:], mean)


def test_the_number_of_resamples_depends_on_the_number_of_examples_only():
    assert [bootstrap.resamples_for(n) for n in (0, 10, 400, 10_000)] == [1000, 1000, 500, 200]
