from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data import Example, hold_out, open_data, read_splits, write_splits
from sensorium.errors import InputError


def examples(labels, groups=None, splits=None):
    return [
        Example(
            f"{i}.png",
            {"label": label},
            "",
            splits[i] if splits else None,
            groups[i] if groups else None,
        )
        for i, label in enumerate(labels)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=3, max_size=300), st.integers(0, 5))
def test_shares_are_kept_in_each_class_and_in_all(labels, seed):
    data = examples(labels)
    lists = hold_out(data, seed)
    names = [n for ids in lists.values() for n in ids]
    assert sorted(names) == sorted(e.id for e in data)
    of = {n: split for split, ids in lists.items() for n in ids}
    for label, n in Counter(labels).items():
        counts = Counter(of[e.id] for e in data if e.fields["label"] == label)
        assert counts["train"] >= 1 or n <= 2
        for split in ("val", "test"):
            assert abs(counts[split] - 0.15 * n) <= 1.0
            assert counts[split] >= 1 or 0.15 * n < 0.5 or n < 4
    for split in ("val", "test"):
        assert len(lists[split]) >= 1
        assert abs(len(lists[split]) - 0.15 * len(labels)) <= 4
    shuffled = data[:]
    random.Random(seed).shuffle(shuffled)
    assert hold_out(shuffled, seed) == lists


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("pqrstuvw")), min_size=12, max_size=150),
    st.integers(0, 3),
)
def test_groups_are_never_divided(pairs, seed):
    data = examples([label for label, _ in pairs], [group for _, group in pairs])
    groups = {g for _, g in pairs}
    if len(groups) < 3:
        return
    lists = hold_out(data, seed)
    of = {n: split for split, ids in lists.items() for n in ids}
    for group in groups:
        assert len({of[e.id] for e in data if e.group == group}) == 1
    assert all(lists.values())
    assert hold_out(data[::-1], seed) == lists


def test_six_speakers():
    data = examples("0123456789" * 60, [f"s{i // 100}" for i in range(600)])
    assert {s: len(ids) for s, ids in hold_out(data, 0).items()} == {"train": 400, "val": 100, "test": 100}


def test_an_existing_test_set_is_untouched():
    data = examples("ab" * 50, splits=["test" if i < 20 else "train" for i in range(100)])
    lists = hold_out(data, 0)
    assert lists["test"] == sorted(e.id for e in data if e.split == "test")
    assert len(lists["val"]) == 12
    complete = examples("ab" * 3, splits=["train", "train", "val", "val", None, None])
    assert hold_out(complete, 0) == {"train": ["0.png", "1.png"], "val": ["2.png", "3.png"], "test": []}


def test_tiny():
    assert sorted(map(len, hold_out(examples("ab"), 0).values())) == [0, 1, 1]
    with pytest.raises(InputError, match="one example"):
        hold_out(examples("a"), 0)
    with pytest.raises(InputError, match="one group"):
        hold_out(examples("abab", ["g"] * 4), 0)


def test_write_and_read(tmp_path, picture):
    for label in "ab":
        for i in range(10):
            picture(f"{label}/{i}.png")
    data = open_data(tmp_path)
    path, lists = write_splits(data, seed=3)
    assert path == tmp_path / "splits.json"
    assert read_splits(path) == lists == json.loads(path.read_text())
    assert list(tmp_path.glob(".*")) == []
    again = open_data(tmp_path)
    assert again.splits() == {s: len(ids) for s, ids in lists.items()} == {"train": 14, "val": 3, "test": 3}
    assert again.fingerprint() == data.fingerprint()
    with pytest.raises(InputError, match="exists"):
        write_splits(data)


def test_unknown_and_missing_names(tmp_path, picture):
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        picture(name)
    with pytest.raises(InputError, match=r"1 of its 2 names are not in the data set: 'b/9.png'"):
        open_data(tmp_path, splits={"train": ["a/1.png", "b/9.png"]})
    with pytest.raises(InputError, match=r"is in train and in test"):
        open_data(tmp_path, splits={"train": ["a/1.png"], "test": ["a/1.png"]})
    with pytest.raises(InputError, match=r"'extra' is no split"):
        open_data(tmp_path, splits={"extra": ["a/1.png"]})
    data = open_data(tmp_path, splits={"training": ["a/1.png"], "validation": ["b/1.png"]})
    assert data.splits() == {"train": 1, "val": 1}
    assert any("1 examples are in no list" in note for note in data.notes)
