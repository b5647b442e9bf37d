from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import ndcg_score

from sensorium.ops import retrieval as r


def test_hand_derived():
    got = r.measures(["b", "a", "c"], {"a": 1, "z": 1}, depths=(1, 2))
    assert got["mrr_at_10"] == 0.5
    assert got["recall_at_1"] == 0.0
    assert got["recall_at_2"] == 0.5
    assert got["ndcg_at_10"] == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert np.isnan(r.measures(["a"], {})["ndcg_at_10"])
    assert r.measures([], {"a": 2})["ndcg_at_10"] == 0.0


def test_ndcg_equals_scikit_learn():
    rng = np.random.default_rng(0)
    for _ in range(50):
        count = int(rng.integers(2, 30))
        grades, scores = rng.integers(0, 4, count), rng.permutation(count).astype(float)
        if not grades.any():
            continue
        ranking = [str(i) for i in np.argsort(-scores)]
        ours = r.measures(ranking, {str(i): float(g) for i, g in enumerate(grades)})
        assert ours["ndcg_at_10"] == pytest.approx(ndcg_score([grades], [scores], k=10))


def test_correlations_equal_scipy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, 30), rng.random(30).round(1)  # many ties
        assert r.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
        assert r.pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert np.isnan(r.spearman([1, 1, 1], [1, 2, 3]))
    assert np.isnan(r.spearman([1], [2]))
