from __future__ import annotations

import jiwer
import numpy as np
import pytest

from sensorium.ops import edit_distance as e

PAIRS = [
    ("", ""),
    ("", "a b"),
    ("a", ""),
    ("  one  two\tthree ", "one two three"),
    ("the cat sat on the mat", "the cat sat mat on"),
    ("été", "ete"),
    ("a\t\tb", "a b"),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_one_pair_equals_jiwer(pair):
    found = e.rates([e.counts(*pair)])
    assert found == {"wer": jiwer.wer(*pair), "cer": jiwer.cer(*pair)}


def test_many_equal_jiwer():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "bc", "def", "gh"], rng.integers(0, 9))) for _ in range(200)]
    truth, found = texts[:100], texts[100:]
    rates = e.rates([e.counts(*pair) for pair in zip(truth, found)])
    assert rates["wer"] == pytest.approx(jiwer.wer(truth, found))
    assert rates["cer"] == pytest.approx(jiwer.cer(truth, found))


def test_nothing():
    assert np.isnan(e.rates([])["wer"])
