from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics

from sensorium.errors import InputError
from sensorium.ops import classification as c


def reference(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


@pytest.mark.parametrize("n", [1, 2, 7, 200])
@pytest.mark.parametrize("labels", [1, 2, 5])
def test_single_label_equals_scikit_learn(n, labels):
    rng = np.random.default_rng(n * labels)
    for _ in range(20):
        truth, predicted = rng.integers(0, labels, n), rng.integers(-1, labels + 1, n)
        assert c.accuracy(truth, predicted) == pytest.approx(metrics.accuracy_score(truth, predicted))
        expected = reference(metrics.f1_score, truth, predicted, average="macro", zero_division=0)
        assert c.macro_f1(truth, predicted) == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 3, 60])
def test_multi_label_equals_scikit_learn(n):
    rng = np.random.default_rng(n)
    for share in (0.0, 0.1, 0.5, 1.0):
        truth = rng.random((n, 4)) < share
        scores = np.round(rng.random((n, 4)), 1)  # many ties
        predicted = scores >= 0.5
        got = c.multi_scores([(np.flatnonzero(t), s) for t, s in zip(truth, scores)])
        assert got["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
        assert got["macro_f1"] == pytest.approx(
            reference(metrics.f1_score, truth, predicted, average="macro", zero_division=0)
        )
        assert got["mean_average_precision"] == pytest.approx(
            np.mean([reference(metrics.average_precision_score, truth[:, k], scores[:, k]) for k in range(4)])
        )


def test_no_examples_is_nan():
    assert np.isnan(list(c.single_scores([]).values())).all()
    assert np.isnan(list(c.multi_scores([]).values())).all()


def test_a_label_the_model_does_not_have_is_a_class_of_its_own():
    pairs = [(0, 0), (1, 1), (c.unknown("new"), 1), (c.unknown("newer"), 0)]
    expected = metrics.f1_score(["a", "b", "new", "newer"], ["a", "b", "b", "a"], average="macro", zero_division=0)
    assert c.single_scores(pairs)["macro_f1"] == pytest.approx(expected)
    rows = [(np.array([0, c.unknown("new")]), np.array([0.9, 0.1])), (np.array([1]), np.array([0.2, 0.8]))]
    assert c.multi_scores(rows)["macro_f1"] == pytest.approx(2 / 3)


def test_probabilities_do_not_overflow():
    assert c.softmax(np.array([1e4, 0.0, -1e4])).tolist() == [1.0, 0.0, 0.0]
    assert c.sigmoid(np.array([1e4, 0.0, -1e4])).tolist() == [1.0, 0.5, 0.0]


def test_ranked_keeps_the_order_of_equals():
    assert [x.label for x in c.ranked(np.array([0.2, 0.5, 0.2, 0.1]), list("abcd"))] == ["b", "a", "c", "d"]
    assert c.ranked(np.array([0.2, 0.8]), ["a", "b"], 1) == [c.Label("b", 0.8)]


def test_shares():
    assert c.shares([["b"], ["a", "b"], "c", []]) == [c.Label("b", 0.5), c.Label("a", 0.25), c.Label("c", 0.25)]


def test_a_count_of_answers_is_at_least_one():
    assert len(c.ranked(np.array([0.1, 0.9]), ["a", "b"], 1)) == 1
    for wrong in (0, -3):
        with pytest.raises(InputError, match=f"top_k is at least 1, not {wrong}"):
            c.ranked(np.array([0.1, 0.9]), ["a", "b"], wrong)
