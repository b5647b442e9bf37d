"""Batches: what is computed together, and what comes of it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from sensorium.ops import batches


class Net:
    """Answers with the means of its examples, and remembers how many it was given at once."""

    inputs: ClassVar[dict[str, object]] = {}

    def __init__(self, pieces: bool) -> None:
        self.pieces = pieces
        self.sizes: list[int] = []

    def __call__(self, feeds: batches.Arrays) -> batches.Arrays:
        self.sizes.append(len(feeds["x"]))
        return {"mean": feeds["x"].reshape(len(feeds["x"]), -1).mean(1), "y": feeds["y"]}


@pytest.mark.parametrize(
    ("side", "pieces", "sizes"),
    [(224, True, [2, 2, 1]), (640, True, [1] * 5), (32, True, [5]), (640, False, [5])],
)
def test_large_examples_go_by_the_few(side: int, pieces: bool, sizes: list[int]) -> None:
    random = np.random.default_rng(0)
    feeds = {"x": random.random((5, 3, side, side), np.float32), "y": np.arange(5)}
    net = Net(pieces)
    found = batches.answers(net, feeds)
    assert net.sizes == sizes
    np.testing.assert_array_equal(found["y"], np.arange(5))
    np.testing.assert_allclose(found["mean"], feeds["x"].reshape(5, -1).mean(1), rtol=1e-6)
    items = [{"x": x, "y": y} for x, y in zip(feeds["x"], feeds["y"])]
    assert [int(row["y"]) for _, row in batches.outputs(net, items, {})] == [0, 1, 2, 3, 4]
