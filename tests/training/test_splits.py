"""What training does where the data does not say which examples to hold out."""

from __future__ import annotations

from pathlib import Path

from sensorium.data import Dataset, Example
from sensorium.training.main import choose_splits


def data(tests_of: str) -> Dataset:
    examples = [
        Example(
            f"{speaker}{i}", {"label": str(i % 3)}, "x", "test" if i < 6 and speaker in tests_of else "train", speaker
        )
        for speaker in "abcdef"
        for i in range(30)
    ]
    return Dataset(Path("x"), "made", ("label",), examples)


def speakers(ids: list[str]) -> set[str]:
    return {i[0] for i in ids}


def test_groups_stay_whole() -> None:
    found = Dataset(Path("x"), "made", ("label",), [e for e in data("").examples])
    chosen, _ = choose_splits(found, 0)
    assert not speakers(chosen["train"]) & speakers(chosen["val"])


def test_groups_are_divided_where_the_test_split_divides_them() -> None:
    chosen, how = choose_splits(data("abcdef"), 0)
    assert speakers(chosen["train"]) == speakers(chosen["val"]) == set("abcdef")
    assert "as the data's own test split" in how


def test_a_test_split_of_other_groups_keeps_groups_whole() -> None:
    found = data("")
    found.examples = [
        Example(e.id, e.fields, e.where, "test" if e.group == "f" else "train", e.group) for e in found.examples
    ]
    chosen, how = choose_splits(found, 0)
    assert not speakers(chosen["train"]) & speakers(chosen["val"])
    assert "divided" not in how
