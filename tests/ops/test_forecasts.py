from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sensorium.ops import forecasts as f


@pytest.mark.parametrize("q", [0.05, 0.1, 0.3, 0.5, 0.9])
def test_quantiles_equal_scipy(q):
    df = np.array([[2.1, 3.0], [8.0, 200.0]])
    assert f.student_quantile(q, df) == pytest.approx(stats.t.ppf(q, df), abs=2e-5)
    assert f.normal_quantile(q) == pytest.approx(stats.norm.ppf(q))


def test_hand_derived():
    history, truth = np.array([[1.0], [3], [5], [7]]), np.array([[9.0], [11]])
    assert f.mase(history, truth, np.array([[8.0], [10]])) == 0.5
    assert f.mase(history, truth, np.array([[8.0], [10]]), season=2) == 0.25
    assert np.isnan(f.mase(np.ones((4, 1)), truth, truth + 1))
    assert np.isnan(f.mase(history, truth, truth, season=4))
    assert f.smape(np.array([[1.0], [0]]), np.array([[3.0], [0]])) == pytest.approx(50)
    loss, total = f.weighted_loss(truth, {0.5: truth - 1, 0.9: truth - 1})
    assert (loss, total) == (pytest.approx((2 + 3.6) / 2), 20)
