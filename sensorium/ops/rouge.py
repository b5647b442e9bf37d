"""ROUGE: how much of a reference summary an answer has, in words, pairs of words, and order.

Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004. The numbers are those of the package rouge-score
without stemming: words are runs of a-z and 0-9 in small letters; -Lsum takes a summary line by line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

WORDS = re.compile(r"[a-z0-9]+")
NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def words(text: str) -> list[str]:
    """The words that count."""
    return WORDS.findall(text.lower())


def f_measure(hits: float, found: float, wanted: float) -> float:
    """Harmonic mean of precision and recall, 0 where nothing is hit."""
    precision, recall = hits / max(found, 1), hits / max(wanted, 1)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def ngrams(answer: Sequence[str], reference: Sequence[str], size: int) -> float:
    """F-measure of the n-grams that both have."""
    ours, theirs = (
        Counter(tuple(row[i : i + size]) for i in range(len(row) - size + 1)) for row in (answer, reference)
    )
    return f_measure((ours & theirs).total(), ours.total(), theirs.total())


def lengths(a: Sequence[int], b: Sequence[int]) -> np.ndarray:
    """Longest common subsequences of all beginnings: (len(a) + 1, len(b) + 1) int64."""
    table = np.zeros((len(a) + 1, len(b) + 1), np.int64)
    right = np.array(b, np.int64)
    for i, word in enumerate(a):
        # Where both agree the way is diagonal; else the best so far, from above or from the left.
        best = np.maximum(table[i, 1:], (table[i, :-1] + 1) * (right == word))
        table[i + 1, 1:] = np.maximum.accumulate(best) if len(best) else best
    return table


def common(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F-measure of the longest common subsequence."""
    ids = {word: i for i, word in enumerate(dict.fromkeys([*answer, *reference]))}
    table = lengths([ids[w] for w in reference], [ids[w] for w in answer])
    return f_measure(float(table[-1, -1]), len(answer), len(reference))


def union(answer: Sequence[Sequence[str]], reference: Sequence[Sequence[str]]) -> float:
    """F-measure of the words of each reference line that lie on a longest common subsequence with some answer line."""
    if not answer or not reference:
        return 0.0
    ours, theirs = (Counter(word for line in lines for word in line) for lines in (answer, reference))
    total, wanted = ours.total(), theirs.total()
    if not total or not wanted:
        return 0.0
    ids = {word: i for i, word in enumerate(dict.fromkeys([*ours, *theirs]))}
    hits = 0
    for line in reference:
        places: set[int] = set()
        for other in answer:
            places |= set(_places([ids[w] for w in line], [ids[w] for w in other]))
        for word in (line[i] for i in sorted(places)):
            if ours[word] > 0 and theirs[word] > 0:
                hits += 1
                ours[word] -= 1
                theirs[word] -= 1
    return f_measure(hits, total, wanted)


def _places(reference: Sequence[int], answer: Sequence[int]) -> list[int]:
    """Which words of the reference a longest common subsequence has; of several, the one that ends first upwards."""
    table = lengths(reference, answer)
    i, j = len(reference), len(answer)
    found = []
    while i and j:
        if reference[i - 1] == answer[j - 1]:
            found.append(i - 1)
            i, j = i - 1, j - 1
        elif table[i, j - 1] > table[i - 1, j]:
            j -= 1
        else:
            i -= 1
    return found


def scores(answer: str, reference: str) -> dict[str, float]:
    """The F-measures of one answer, 0..1."""
    ours, theirs = words(answer), words(reference)
    lines = [[words(line) for line in text.split("\n") if line] for text in (answer, reference)]
    return {
        "rouge1": ngrams(ours, theirs, 1),
        "rouge2": ngrams(ours, theirs, 2),
        "rougeL": common(ours, theirs) if ours and theirs else 0.0,
        "rougeLsum": union(*lines),
    }
