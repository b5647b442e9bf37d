"""Average precision of retrieval equals scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops import likeness


def test_equal_to_scikit_learn() -> None:
    average_precision = pytest.importorskip("sklearn.metrics").average_precision_score
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(40, 6)), [f"kind {i}" for i in rng.integers(0, 4, 39)] + ["alone"]
    found = likeness.found(vectors, labels)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for i in range(39):
        others = [j for j in range(40) if j != i]
        right = np.array([labels[j] == labels[i] for j in others])
        scores = rows[others] @ rows[i]
        assert found[i, -1] == pytest.approx(average_precision(right, scores))
        order = right[np.argsort(-scores)]
        assert list(found[i, :3]) == [order[:k].any() for k in (1, 5, 10)]
    assert np.isnan(found[39]).all()
