"""The same pairs as scipy's, with and without ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from sensorium.ops.assignment import assign, best_pairs

shapes = st.tuples(st.integers(0, 9), st.integers(0, 9))
tied = arrays(np.float64, shapes, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))


@settings(max_examples=400, deadline=None)
@given(tied)
def test_ties(cost):
    for ours, theirs in zip(assign(cost), linear_sum_assignment(cost)):
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=200, deadline=None)
@given(arrays(np.float64, shapes, elements=st.floats(-1e6, 1e6)))
def test_any_costs(cost):
    ours, theirs = assign(cost), linear_sum_assignment(cost)
    assert len(set(ours[1].tolist())) == len(ours[0]) == min(cost.shape)
    assert cost[ours].sum() == pytest.approx(cost[theirs].sum(), rel=1e-12, abs=1e-6)


@pytest.mark.parametrize("shape", [(60, 60), (40, 90), (90, 40), (1, 50), (50, 1)])
def test_larger(shape):
    generator = np.random.default_rng(0)
    for cost in (generator.random(shape), generator.integers(0, 5, shape)):
        np.testing.assert_array_equal(assign(cost), linear_sum_assignment(cost))


@settings(max_examples=400, deadline=None)
@given(tied)
def test_pairs_with_a_similarity(similarity):
    rows, columns = best_pairs(similarity)
    reference = linear_sum_assignment(-similarity)
    kept = similarity[reference] > 0
    np.testing.assert_array_equal(rows, reference[0][kept])
    np.testing.assert_array_equal(columns, reference[1][kept])


def test_costs_that_are_not_finite():
    with pytest.raises(ValueError, match="finite"):
        assign(np.array([[np.inf]]))
