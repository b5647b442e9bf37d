from __future__ import annotations

import re
import string
from collections import Counter

import numpy as np
import pytest

from sensorium.ops import answers as a


def official(found, truth):
    """Exact match and F1 as the script of SQuAD 2.0 states them, step by step."""

    def plain(text):
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text).split())

    gold, pred = plain(truth).split(), plain(found).split()
    same = sum((Counter(gold) & Counter(pred)).values())
    if len(gold) == 0 or len(pred) == 0:
        return int(plain(truth) == plain(found)), int(gold == pred)
    if same == 0:
        return int(plain(truth) == plain(found)), 0
    precision, recall = same / len(pred), same / len(gold)
    return int(plain(truth) == plain(found)), 2 * precision * recall / (precision + recall)


def test_the_measures_are_the_official_ones():
    words = ["The", "a", "cat", "cat's", "sat.", "on", "mat!", "", "東京", "an", "12", "…"]
    rng = np.random.default_rng(0)
    for _ in range(500):
        found, truth = (" ".join(rng.choice(words, rng.integers(0, 5))) for _ in range(2))
        assert (a.exact(found, truth), a.f1(found, truth)) == pytest.approx(official(found, truth))


def test_hand_derived():
    assert a.normalized("The  Cat's (an) end.") == "cats end"
    assert a.f1("the black cat", "a cat") == pytest.approx(2 / 3)
    assert a.best(a.exact, "cat", ["dog", "The cat"]) == 1.0
    assert a.best(a.f1, "", []) == 1.0
    assert a.best(a.f1, "cat", []) == 0.0
    assert a.best(a.exact, "", ["the"]) == 1.0  # what has no words left counts as no answer


def test_spans_do_not_run_backwards_or_too_far():
    start, end = np.array([0, 0.1, 0.9, 0]), np.array([0.6, 0, 0.1, 0.3])
    allowed = np.array([False, True, True, True])
    assert a.best_spans(start, end, allowed, 2, 15)[0][:2] == (2, 3)
    assert a.best_spans(start, end, allowed, 16, 1)[0][:2] == (2, 2)
    assert all(s <= e and s for s, e, _ in a.best_spans(start, end, allowed, 16, 15))


def test_excluded_tokens_have_no_share():
    found = a.probabilities(np.array([9.0, 1.0, 1.0]), np.array([False, True, True]))
    assert found.tolist() == [0.0, 0.5, 0.5]
