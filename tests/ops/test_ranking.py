from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sensorium.ops.ranking import highest

SCORES = arrays.arrays(
    np.float32, st.integers(0, 40), elements=st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 0.5, 1.0, np.inf, np.nan])
)


@given(SCORES, st.one_of(st.none(), st.integers(0, 50)))
def test_as_a_whole_sort(scores: np.ndarray, count: int | None) -> None:
    np.testing.assert_array_equal(highest(scores, count), np.argsort(-scores, kind="stable")[:count])
