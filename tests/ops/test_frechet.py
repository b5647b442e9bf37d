from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.ops.frechet import fid, kid, mmd, paired_mmd


def sets(n=200, m=150, d=24, seed=0):
    draw = np.random.default_rng(seed)
    mix = draw.standard_normal((d, d))
    return draw.standard_normal((n, d)) @ mix, draw.standard_normal((m, d)) * 1.5 + 0.3


def test_fid_of_known_gaussians():
    """Diagonal covariances commute: the distance is |m - n|² + Σ (s - t)²."""
    x = np.array([[-1.0, 0], [1, 0], [0, -2], [0, 2]])
    y = np.array([[2.0, 5], [4, 5], [3, 5], [3, 5]])
    s, t = x.std(0, ddof=1), y.std(0, ddof=1)
    assert fid(x, y) == pytest.approx(((x.mean(0) - y.mean(0)) ** 2).sum() + ((s - t) ** 2).sum(), rel=1e-12)


def test_same_set_is_zero():
    x, _ = sets()
    assert fid(x, x) == pytest.approx(0, abs=1e-9)
    assert kid(x, x)[0] < 0  # unbiased: the pairs of equals are counted across, not within


def test_symmetric():
    x, y = sets()
    assert fid(x, y) == pytest.approx(fid(y, x), rel=1e-10)
    assert mmd(x, y) == pytest.approx(mmd(y, x), rel=1e-10)


def test_kid_by_its_definition():
    x, y = sets(7, 7, 3)

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    off = [(i, j) for i in range(7) for j in range(7) if i != j]
    expected = (
        np.mean([k(x[i], x[j]) for i, j in off])
        + np.mean([k(y[i], y[j]) for i, j in off])
        - 2 * np.mean([k(a, b) for a in x for b in y])
    )
    assert kid(x, y) == (pytest.approx(expected, rel=1e-10), 0)


def test_kid_subsets_are_seeded():
    x, y = sets()
    assert kid(x, y, subset_size=50) == kid(x, y, subset_size=50)
    assert kid(x, y, subset_size=50) != kid(x, y, subset_size=50, seed=1)
    assert kid(x, y, subset_size=50)[0] == pytest.approx(kid(x, y, subset_size=120)[0], rel=0.05)


def test_resamples_are_centred():
    """The mean over bootstrap resamples is the estimate itself; without the correction it is far above."""
    x, y = sets(80, 80, 4)
    y = x[::-1] + 0.1 * y
    assert paired_mmd(x, y, np.ones(80)) == pytest.approx(mmd(x, y), rel=1e-9)
    draw = np.random.default_rng(0)
    corrected, plain = [], []
    for _ in range(400):
        rows = draw.integers(0, 80, 80)
        distinct, counts = np.unique(rows, return_counts=True)
        corrected.append(paired_mmd(x[distinct], y[distinct], counts))
        plain.append(mmd(x[rows], y[rows]))
    error = np.std(corrected) / 20
    assert abs(np.mean(corrected) - mmd(x, y)) < 4 * error
    assert np.mean(plain) - mmd(x, y) > 10 * error


def test_one_example_drawn_twice():
    assert np.isnan(paired_mmd(np.ones((1, 3)), np.ones((1, 3)), np.array([2])))


@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((5, 3), (5, 4)), ((5,), (5,))])
def test_what_cannot_be_measured(shapes):
    with pytest.raises(InputError):
        fid(np.zeros(shapes[0]), np.zeros(shapes[1]))
