from __future__ import annotations

import numpy as np

from sensorium.ops.ctc import Run, needed, runs, spans


def test_runs_merge_neighbours_and_leave_out_the_blank():
    assert runs(np.array([0, 1, 1, 0, 1, 2, 2]), 0) == [Run(1, 1, 3), Run(1, 4, 5), Run(2, 5, 7)]
    assert runs(np.array([0, 0]), 0) == []
    assert runs(np.array([], int), 0) == []


def test_spans_divide_at_white_space():
    found = [Run(i, i, i + 1) for i in range(7)]
    assert spans([" ", "a", "b", " ", " ", "c", ""], found) == [("ab", 1, 3), ("c", 5, 6)]
    assert spans([" the", "re", " is", "", "", "", ""], found) == [("there", 0, 2), ("is", 2, 3)]
    assert spans([], []) == []


def test_needed():
    assert needed([1, 2, 2, 2]) == 6
    assert needed([]) == 0
