"""Overlap of classes and panoptic quality, on pictures small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops.segmentation_metrics import count, score

NO_CROWD = np.zeros(2, bool)


def test_overlap_of_classes() -> None:
    truth = np.array([[0, 0, 1, 1], [0, 0, 1, 255]])
    found = np.array([[0, 1, 1, 1], [0, 0, 1, 1]])
    counts = count(["a", "b"], [found == 0, found == 1], ["a", "b"], [truth == 0, truth == 1], NO_CROWD)
    metrics = score([counts], False)
    assert metrics["miou"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert metrics["mean_accuracy"] == pytest.approx((3 / 4 + 1) / 2)
    assert metrics["accuracy"] == pytest.approx(6 / 7)


def test_a_class_that_is_only_predicted_counts() -> None:
    everywhere = np.ones((2, 2), bool)
    counts = count(["a", "b"], [everywhere, ~everywhere], ["a"], [everywhere], NO_CROWD[:1])
    assert score([counts], False)["miou"] == 1.0
    half = np.array([[True, True], [False, False]])
    counts = count(["a", "b"], [half, ~half], ["a"], [everywhere], NO_CROWD[:1])
    assert score([counts], False)["miou"] == 0.25


def test_panoptic_quality() -> None:
    truth = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0, 0]])
    found = np.array([[1, 1, 1, 0, 0, 2, 0, 0, 3, 3]])
    counts = count(
        ["x", "x", "x"], [found == 1, found == 2, found == 3], ["x", "x"], [truth == 1, truth == 2], NO_CROWD
    )
    metrics = score([counts], True)
    # The first is found by three quarters, the second missed by one that is wrong, the third lies in the void.
    assert metrics["pq"] == pytest.approx(0.75 / (1 + 0.5 + 0.5))
    assert metrics["sq"] == pytest.approx(0.75)
    assert metrics["rq"] == pytest.approx(0.5)


def test_nothing_is_not_a_number() -> None:
    counts = count([], [], [], [], NO_CROWD[:0])
    assert np.isnan(score([counts], True)["miou"])
