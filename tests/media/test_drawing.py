from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from sensorium.media import charts, drawing, lettering


def picture(width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.full((height, width, 3), 128, np.uint8))


def shows(image: Image.Image, colour: drawing.Colour) -> bool:
    return bool((np.asarray(image) == np.array(colour)).all(axis=2).any())


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (1, 300), (3000, 50), (1200, 900)])
def test_any_size_of_picture(size: tuple[int, int]) -> None:
    image = picture(*size)
    whole = [[0, 0, size[0], size[1]]]
    assert shows(drawing.boxes(image, whole, ["a label 0.9"], [2]), lettering.PALETTE[2])
    assert drawing.caption(image, "some words " * 40).height > 40
    assert shows(drawing.bars(image, [("yes", 0.9), ("no", 0.1)], ["yes"]), lettering.GOOD)
    assert drawing.grid([image] * 5, ["one", "", "three " * 30, "4", "5"], good=[True, False, None]).width > 200


def test_the_picture_given_is_not_changed() -> None:
    image = picture(600, 500)
    before = image.tobytes()
    drawing.boxes(image, [[5, 5, 90, 90], [400, 300, 100, 100]])
    drawing.caption(image, "x")
    drawing.bars(image, [("a", math.nan)])
    assert image.tobytes() == before


def test_boxes_lie_where_they_should() -> None:
    drawn = drawing.boxes(picture(1000, 800), [[100, 200, 300, 400]])
    blue = np.argwhere((np.asarray(drawn) == np.array(lettering.PALETTE[0])).all(axis=2))
    assert blue.min(axis=0).tolist() == [200, 100]
    assert blue.max(axis=0).tolist() == [400, 300]


@pytest.mark.parametrize("n", [1, 2, 10, 40, 300])
def test_confusion_of_any_number_of_classes(n: int) -> None:
    matrix = np.eye(n) * 7
    matrix[0, -1] += 1
    drawn = charts.confusion(matrix, [f"class {i}" for i in range(n)])
    assert shows(drawn, lettering.PALETTE[0])
    assert max(drawn.size) < 1500
    charts.confusion(np.zeros((n, n)), ["<b>&"] * n)


def test_curves_leave_gaps_and_survive_anything() -> None:
    rows = [{"epoch": i, "loss": 1 / (i + 1), "accuracy": math.nan if i == 3 else 0.5, "note": "x"} for i in range(9)]
    assert shows(charts.curves(rows), lettering.PALETTE[0])
    validation = [{"step": 5, "epoch": 1, "validation": {"loss": 0.4, "accuracy": 0.5}}]
    assert charts.curves([*rows, *validation]).width > 1000
    for odd in ([], [{}], rows[:1], [{"loss": math.inf}], [{"step": 1, "loss": 1e-9}, {"step": 1e9, "loss": 1e9}]):
        assert charts.curves(odd).width >= 300
    assert charts.curves([{"loss": -5.0}, {"loss": -5.0}]).height > 100


def test_many_metrics_get_several_panels() -> None:
    few = {f"m{i}": 0.5 for i in range(6)}
    one = charts.curves([{"step": 1, "part": 0.5, "validation": few}])
    two = charts.curves([{"step": 1, "part": 0.5, "validation": {**few, "m6": 0.5}}])
    assert two.height > one.height


def test_ticks_are_round_and_enclose_the_values() -> None:
    for low, high in ((0, 1), (0.13, 0.97), (-3, 1234), (1e-7, 2e-7), (5, 5), (0, 0)):
        ticks = charts._ticks(low, high, 5)
        assert ticks[0] <= low
        assert ticks[-1] >= high
        assert 3 <= len(ticks) <= 9


def test_words_are_wrapped_and_nothing_is_lost() -> None:
    words = "The quick brown fox, extraordinarilylongwordsthatdonotfit and 日本語の文章 end"
    lines = lettering.wrap(words, 14, 120, 99)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
    assert all(lettering.width_of(line, 14) <= 120 for line in lines)
    assert lettering.wrap(words, 14, 120, 2)[-1].endswith("…")
    assert drawing.text([("Source", words), ("Answer", "")]).height > 50


def test_scores_of_a_text() -> None:
    card = drawing.scores_card("some words " * 30, [("yes", 0.8), ("no", 0.2)], truth=["no"])
    assert shows(card, lettering.GOOD)
    assert shows(card, lettering.BAD)
    assert drawing.scores_card("", []).height > 50


def test_colours_differ() -> None:
    assert len({lettering.colour(i) for i in range(24)}) == 24
