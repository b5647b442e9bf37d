"""BLEU and chrF, with the numbers of sacrebleu, from statistics that are added up over sentences.

Papineni et al., BLEU, 2002; Popović, chrF, 2015; Post, A Call for Clarity in Reporting BLEU Scores, 2018.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable

import numpy as np

ORDER = 4
"""Longest n-gram of words that BLEU counts."""

CHARACTER_ORDER = 6
"""Longest n-gram of characters that chrF counts."""

_13A = [
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
]


def _tokenize_13a(line: str) -> list[str]:
    """The tokenization of mteval-v13a, which WMT uses."""
    line = line.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        line = line.replace(entity, character)
    line = f" {line} "
    for pattern, replacement in _13A:
        line = pattern.sub(replacement, line)
    return line.split()


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "none": str.split,
    "13a": _tokenize_13a,
    "char": lambda line: " ".join(line).split(),
}
"""By the names that sacrebleu gives them: tokens that are there already, European languages, characters."""


def bleu_stats(hypothesis: str, reference: str, tokenizer: str = "13a") -> np.ndarray:
    """What BLEU needs of one sentence: (10,) int64: two lengths, matches of 1- to 4-grams, their totals."""
    tokenize = TOKENIZERS[tokenizer]
    words, wanted = tokenize(hypothesis.rstrip()), tokenize(reference.rstrip())
    stats = [len(words), len(wanted)] + [0] * (2 * ORDER)
    for n in range(1, ORDER + 1):
        have = Counter(zip(*(words[i:] for i in range(n))))
        want = Counter(zip(*(wanted[i:] for i in range(n))))
        stats[1 + n] = sum(min(count, want[gram]) for gram, count in have.items() if gram in want)
        stats[1 + ORDER + n] = max(len(words) - n + 1, 0)
    return np.array(stats, np.int64)


def bleu(stats: np.ndarray, *, effective_order: bool = False) -> float:
    """BLEU, 0..100, of added-up statistics, with exponential smoothing where there are no matches.

    Args:
        stats: sum of `bleu_stats` over the sentences.
        effective_order: leave out the orders for which the text is too short: for single sentences.
    """
    words, wanted = int(stats[0]), int(stats[1])
    correct, total = stats[2 : 2 + ORDER].tolist(), stats[2 + ORDER :].tolist()
    if not any(correct):
        return 0.0
    logs = 0.0
    order = ORDER
    smoothing = 1.0
    for n in range(ORDER):
        if total[n] == 0:
            if not effective_order:
                return 0.0
            order = n
            break
        if correct[n] == 0:
            smoothing *= 2
        logs += math.log(100.0 * (correct[n] or 1 / smoothing) / total[n])
    brevity = 1.0 if words >= wanted else math.exp(1 - wanted / words)
    return brevity * math.exp(logs / order)


def chrf_stats(hypothesis: str, reference: str) -> np.ndarray:
    """What chrF needs of one sentence: (18,) int64: for 1- to 6-grams the totals of both and the matches."""
    text, wanted = "".join(hypothesis.split()), "".join(reference.split())
    stats: list[int] = []
    for n in range(1, CHARACTER_ORDER + 1):
        have = Counter(text[i : i + n] for i in range(len(text) - n + 1))
        want = Counter(wanted[i : i + n] for i in range(len(wanted) - n + 1))
        matches = sum(min(count, want[gram]) for gram, count in have.items() if gram in want)
        stats += [have.total() if want else 0, want.total(), matches]
    return np.array(stats, np.int64)


def chrf(stats: np.ndarray) -> float:
    """chrF2, 0..100, of added-up statistics: sum of `chrf_stats` over the sentences."""
    have, want, matches = stats.reshape(CHARACTER_ORDER, 3).T.astype(float)
    counted = (have > 0) & (want > 0)
    if not counted.any():
        return 0.0
    precision = (matches[counted] / have[counted]).mean()
    recall = (matches[counted] / want[counted]).mean()
    return float(100 * 5 * precision * recall / (4 * precision + recall)) if precision + recall else 0.0
