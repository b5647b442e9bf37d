from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops import depth_metrics


def test_errors_by_hand() -> None:
    truth = np.array([[1.0, 2.0], [4.0, 0.0]])
    predicted = np.array([[1.2, 1.0], [4.0, 9.0]])
    found = depth_metrics.errors(predicted, truth)
    assert found["abs_rel"] == pytest.approx((0.2 + 0.5 + 0) / 3)
    assert found["delta1"] == pytest.approx(2 / 3)
    assert found["rmse"] == pytest.approx(np.sqrt((0.04 + 1) / 3))


def test_nothing_is_known() -> None:
    assert all(np.isnan(v) for v in depth_metrics.errors(np.ones((2, 2)), np.zeros((2, 2))).values())


def test_nearness_without_a_unit_is_fitted() -> None:
    truth = np.linspace(1, 10, 30).reshape(5, 6)
    near = 7 / truth - 3
    np.testing.assert_allclose(depth_metrics.from_relative(near, truth), truth)
    flat = depth_metrics.from_relative(np.ones((5, 6)), truth)
    assert np.isfinite(flat).all()
