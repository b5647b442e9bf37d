"""ROUGE is that of the package rouge-score."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops import rouge

scorer = pytest.importorskip("rouge_score.rouge_scorer")

WORDS = ["the", "cat", "sat", "on", "a", "mat", "Dog", "it's", "1.5", "naïve", "\n", ".", "東京"]


@pytest.mark.parametrize("seed", range(60))
def test_random_texts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    answer, reference = (" ".join(rng.choice(WORDS, rng.integers(0, 30))) for _ in range(2))
    theirs = scorer.RougeScorer(list(rouge.NAMES), use_stemmer=False).score(reference, answer)
    ours = rouge.scores(answer, reference)
    for name in rouge.NAMES:
        assert ours[name] == pytest.approx(theirs[name].fmeasure, abs=1e-12)


@pytest.mark.parametrize(("answer", "reference"), [("", ""), ("", "a b"), ("a", ""), ("...", "a"), ("a\nb", "b\na")])
def test_odd_texts(answer: str, reference: str) -> None:
    theirs = scorer.RougeScorer(list(rouge.NAMES), use_stemmer=False).score(reference, answer)
    assert rouge.scores(answer, reference) == {n: pytest.approx(theirs[n].fmeasure) for n in rouge.NAMES}
