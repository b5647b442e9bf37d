from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sensorium.ops.zones import crossing, crossings, feet, inside, presence

GATE = ((0, 50), (100, 50))  # from left to right: its right side is below


def test_the_direction_of_a_crossing():
    assert crossing((50, 40), (50, 60), GATE) == 1
    assert crossing((50, 60), (50, 40), GATE) == -1
    assert crossing((50, 40), (50, 60), GATE[::-1]) == -1


@pytest.mark.parametrize(
    ("before", "after"),
    [((50, 10), (60, 40)), ((150, 40), (150, 60)), ((-20, 60), (-1, 40)), ((10, 10), (10, 10)), ((0, 50), (90, 50))],
)
def test_no_crossing(before, after):
    assert crossing(before, after, GATE) == 0


def test_a_stop_on_the_line_counts_once():
    path = [(50, 40), (50, 50), (50, 50), (50, 60)]
    assert [crossing(a, b, GATE) for a, b in pairwise(path)] == [1, 0, 0]


def test_back_and_forth_adds_up_to_nothing():
    generator = np.random.default_rng(0)
    path = generator.uniform(20, 80, (501, 2))
    path[-1] = path[0]
    steps = [crossing(a, b, ((-1000, 50), (1000, 50))) for a, b in pairwise(path)]
    assert sum(steps) == 0
    assert steps.count(1) > 100


def test_counting_over_frames_with_gaps():
    frames = [{1: (50, 40), 2: (20, 90)}, {2: (20, 60)}, {1: (50, 60), 2: (20, 45)}, {}, {1: (50, 70), 3: (1, 99)}]
    assert list(crossings(frames, GATE)) == [[], [], [(1, 1), (2, -1)], [], []]


def test_inside_a_polygon():
    ring = [(0, 0), (10, 0), (10, 10), (6, 10), (6, 4), (4, 4), (4, 10), (0, 10)]  # like a U upside down
    points = np.array([[5, 2], [5, 8], [2, 8], [8, 8], [-1, 5], [11, 5], [5, 20]])
    assert inside(points, ring).tolist() == [True, False, True, True, False, False, False]
    assert inside(points, ring[::-1]).tolist() == inside(points, ring).tolist()


def test_shared_edges_belong_to_one_polygon():
    left, right = [(0, 0), (5, 0), (5, 10), (0, 10)], [(5, 0), (10, 0), (10, 10), (5, 10)]
    points = np.stack(np.meshgrid(np.arange(0, 11.0), np.arange(0, 10.0)), -1).reshape(-1, 2)
    both = inside(points, left).astype(int) + inside(points, right)
    assert both.max() == 1
    assert both[(points[:, 0] < 10) & (points[:, 1] < 10)].min() == 1


def test_presence():
    frames = [{1: (5, 5), 2: (50, 5)}, {}, {2: (6, 6)}]
    assert list(presence(frames, [(0, 0), (10, 0), (10, 10), (0, 10)])) == [[1], [], [2]]


def test_feet():
    assert feet([10, 20, 30, 80]) == (20, 80)
