from __future__ import annotations

import numpy as np

from sensorium.ops import boxes


def test_forms_there_and_back():
    corners = np.array([[0.0, 0.0, 4.0, 2.0], [1.0, 5.0, 1.0, 6.0]])
    centres = boxes.to_centres(corners)
    np.testing.assert_array_equal(centres, [[2, 1, 4, 2], [1, 5.5, 0, 1]])
    np.testing.assert_array_equal(boxes.to_corners(centres), corners)


def test_iou():
    a = np.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0], [3.0, 3.0, 1.0, 1.0]])
    b = np.array([[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 2.0, 2.0], [9.0, 9.0, 9.0, 9.0]])
    np.testing.assert_allclose(boxes.iou(a, b), [[1 / 3, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert boxes.iou(np.zeros((0, 4)), b).shape == (0, 3)


def test_clip_and_area():
    inside = boxes.clip(np.array([[-3.0, 1.0, 12.0, 30.0]]), 10, 20)
    np.testing.assert_array_equal(inside, [[0, 1, 10, 20]])
    assert boxes.area(inside)[0] == 190
