"""VQA accuracy and ANLS by hand."""

from __future__ import annotations

import pytest

from sensorium.ops.vqa import anls, normal, vqa_accuracy


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Two", "2"), ("The red car.", "red car"), ("dont know", "don't know"), ("1,000", "1000"), ("3.5", "3.5"),
        ("black/white", "black white"), ("yes!", "yes"), ("none", "0"),
    ],
)  # fmt: skip
def test_answers_are_tidied(said: str, meant: str) -> None:
    assert normal(said) == meant


def test_vqa_accuracy_leaves_each_person_out_in_turn() -> None:
    people = ["yes"] * 3 + ["no"] * 7
    # Seven times three others say yes; three times only two do.
    assert vqa_accuracy("Yes.", people) == pytest.approx((7 * 1 + 3 * 2 / 3) / 10)
    assert vqa_accuracy("no", people) == 1.0
    assert vqa_accuracy("maybe", people) == 0.0
    assert vqa_accuracy("2", ["two"]) == 1.0


def test_anls_by_hand() -> None:
    assert anls("Hello", ["hello"]) == 1.0
    assert anls("helo", ["hello", "other"]) == pytest.approx(1 - 1 / 5)
    assert anls("hxxxx", ["hello"]) == 0.0
    assert anls("", [""]) == 1.0
    assert anls("", ["a"]) == 0.0
