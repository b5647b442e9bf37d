from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sensorium.ops import translation_metrics as metrics

# Few letters, so that n-grams match; what the tokenizers treat apart; other scripts; white space.
LINES = st.text(st.sampled_from("aab b  .,-10&;<>'\"\n\t/()彼は。　é\u200b")) | st.text(max_size=30)
PAIRS = st.lists(st.tuples(LINES, LINES), min_size=1, max_size=6)


@pytest.mark.parametrize("tokenizer", sorted(metrics.TOKENIZERS))
@given(pairs=PAIRS)
@example(pairs=[("", "")])
@example(pairs=[("a", ""), ("", "a")])
@example(pairs=[("&quot;a&amp;lt; 1.5,b-", "<skipped>a -\nb 5-a")])
@example(pairs=[("a b c d e", "a b c d e")])
@settings(deadline=None, max_examples=150)
def test_bleu_equals_sacrebleu(tokenizer: str, pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = map(list, zip(*pairs))
    stats = [metrics.bleu_stats(h, r, tokenizer) for h, r in pairs]
    theirs = sacrebleu.corpus_bleu(hypotheses, [references], tokenize=tokenizer, force=True)
    assert metrics.bleu(np.sum(stats, axis=0)) == pytest.approx(theirs.score, abs=1e-6)
    for (hypothesis, reference), one in zip(pairs, stats):
        single = sacrebleu.sentence_bleu(hypothesis, [reference], tokenize=tokenizer)
        assert metrics.bleu(one, effective_order=True) == pytest.approx(single.score, abs=1e-6)


@given(pairs=PAIRS)
@example(pairs=[("", "")])
@example(pairs=[("a", ""), ("", "a")])
@settings(deadline=None, max_examples=200)
def test_chrf_equals_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = map(list, zip(*pairs))
    stats = np.sum([metrics.chrf_stats(h, r) for h, r in pairs], axis=0)
    theirs = sacrebleu.corpus_chrf(hypotheses, [references])
    assert metrics.chrf(stats) == pytest.approx(theirs.score, abs=1e-6)
