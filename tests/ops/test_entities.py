from __future__ import annotations

import pytest

from sensorium.ops import entities as e


def test_entities_of_each_scheme():
    two = {("PER", 0, 2), ("LOC", 2, 3)}
    assert e.entities(["B-PER", "I-PER", "B-LOC", "O"]) == two
    assert e.entities(["I-PER", "I-PER", "I-LOC", "O"]) == two
    assert e.entities(["I-PER", "E-PER", "E-LOC", "O"]) == two
    assert e.entities(["B-PER", "E-PER", "S-LOC", "O"]) == two
    assert e.entities([]) == set()


def test_a_wrong_prefix_is_forgiven_unless_strict():
    tags = ["I-PER", "I-PER", "O", "B-LOC"]
    assert e.entities(tags) == {("PER", 0, 2), ("LOC", 3, 4)}
    assert e.strict_entities(tags, "IOB2") == {("LOC", 3, 4)}
    assert e.strict_entities(["B-PER", "I-LOC", "I-PER"], "IOB2") == {("PER", 0, 1)}
    assert e.strict_entities(["B-PER", "I-PER", "O"], "BIOES") == set()
    assert e.strict_entities(["B-PER", "E-PER", "S-PER"], "BIOES") == {("PER", 0, 2), ("PER", 2, 3)}
    assert e.strict_entities(["I-PER", "B-PER", "I-PER"], "IOB1") == {("PER", 0, 1), ("PER", 1, 3)}
    assert e.strict_entities(["I-PER", "E-PER", "I-PER"], "IOE2") == {("PER", 0, 2)}
    assert e.strict_entities(["U-PER", "B-PER", "L-PER"], "BILOU") == {("PER", 0, 1), ("PER", 1, 3)}


def test_scheme_of_labels():
    assert e.scheme_of(["O", "B-X", "I-X"]) == "IOB2"
    assert e.scheme_of(["O", "B-X", "I-X", "E-X", "S-X"]) == "BIOES"
    assert e.scheme_of(["O", "U-X", "L-X"]) == "BILOU"
    assert e.scheme_of(["O", "I-X", "E-X"]) == "IOE2"


def test_scores():
    truth, found = {("PER", 0, 2), ("LOC", 3, 4)}, {("PER", 0, 2), ("LOC", 3, 5), ("ORG", 6, 7)}
    got = e.scores(e.counts(truth, found))
    assert got == {"precision": pytest.approx(1 / 3), "recall": 0.5, "f1": pytest.approx(0.4),
                   "macro_f1": pytest.approx(1 / 3)}  # fmt: skip
    assert e.scores(e.counts(set(), set())) == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "macro_f1": 0.0}
