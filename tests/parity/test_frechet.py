"""FID and KID against torch-fidelity where it is installed; FID against two other formulae everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops.frechet import fid, kid

CASES = {
    "plain": (300, 280, 32, 32),
    "fewer examples than features": (20, 30, 64, 64),
    "features of low rank": (100, 100, 48, 5),
    "one feature": (40, 50, 1, 1),
    "two examples": (2, 2, 8, 8),
}


def case(name):
    n, m, d, rank = CASES[name]
    draw = np.random.default_rng(len(name))
    basis = draw.standard_normal((rank, d))
    x = draw.standard_normal((n, rank)) @ basis
    y = draw.standard_normal((m, rank)) @ (basis + 0.3 * draw.standard_normal((rank, d))) + 0.5
    return x, y


@pytest.mark.parametrize("name", CASES)
def test_fid_by_eigenvalues(name):
    """The formula as torch-fidelity and pytorch-fid write it: the roots of the eigenvalues of the product."""
    x, y = case(name)
    s, t = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    root = np.sqrt(np.linalg.eigvals(s @ t).astype(complex)).real.sum()
    d = x.mean(0) - y.mean(0)
    assert fid(x, y) == pytest.approx(d @ d + np.trace(s) + np.trace(t) - 2 * root, rel=1e-6)


def test_fid_by_matrix_root():
    linalg = pytest.importorskip("scipy.linalg")
    x, y = case("plain")
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    d = x.mean(0) - y.mean(0)
    expected = d @ d + np.trace(s + t - 2 * linalg.sqrtm(s @ t).real)
    assert fid(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_torch_fidelity(name):
    torch = pytest.importorskip("torch")
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid")
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = (torch.from_numpy(v) for v in case(name))
    if x.shape[1] > 1:  # theirs fails on one feature
        one, two = metric_fid.fid_features_to_statistics(x), metric_fid.fid_features_to_statistics(y)
        expected = metric_fid.fid_statistics_to_metric(one, two, False)["frechet_inception_distance"]
        assert fid(x.numpy(), y.numpy()) == pytest.approx(expected, rel=1e-6)
    size = min(len(x), len(y), 25)
    expected = metric_kid.kid_features_to_metric(x, y, kid_subset_size=size, verbose=False)
    mean, deviation = kid(x.numpy(), y.numpy(), subset_size=size)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-6)
    assert deviation == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-6, abs=1e-12)
