"""Answers to questions: from start and end logits to spans, and SQuAD's metrics, equal to its official scripts."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

EXCLUDED = -10000.0  # logit of a token that can be no part of an answer

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_MARKS = frozenset(string.punctuation)


def probabilities(logits: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Softmax over the allowed tokens, (T,)."""
    shifted = np.where(allowed, np.asarray(logits, np.float64), EXCLUDED)
    values = np.exp(shifted - shifted.max())
    found: np.ndarray = values / values.sum()
    return found


def best_spans(
    start: np.ndarray, end: np.ndarray, allowed: np.ndarray, count: int, longest: int
) -> list[tuple[int, int, float]]:
    """The likeliest spans of tokens, the best first.

    Args:
        start, end: (T,) probabilities that the answer begins and ends at a token.
        allowed: (T,) tokens that may begin and end one.
        count: how many spans; those that are not allowed count too.
        longest: most tokens of one span.

    Returns:
        (first token, last token, probability) of each.
    """
    joint = np.tril(np.triu(np.outer(start, end)), longest - 1).ravel()
    if count < len(joint):
        some = np.argpartition(-joint, count)[:count]
        order = some[np.argsort(-joint[some], kind="stable")]
    else:
        order = np.argsort(-joint, kind="stable")
    pairs = [divmod(int(i), len(end)) for i in order]
    return [(s, e, float(joint[s * len(end) + e])) for s, e in pairs if s <= e and allowed[s] and allowed[e]]


def normalized(answer: str) -> str:
    """Small letters, without punctuation, articles and superfluous spaces."""
    letters = "".join(c for c in answer.lower() if c not in _MARKS)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def exact(found: str, truth: str) -> float:
    """1 where both are the same once normalized, else 0."""
    return float(normalized(found) == normalized(truth))


def f1(found: str, truth: str) -> float:
    """F1 over the words of both; two answers without any word are equal, as SQuAD 2.0 has it."""
    a, b = normalized(found).split(), normalized(truth).split()
    if not a or not b:
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else 0.0


def best(measure: Callable[[str, str], float], found: str, truths: Sequence[str]) -> float:
    """The measure against the nearest of several right answers; without any, the right answer is none."""
    wanted = [t for t in truths if normalized(t)] or [""]
    return max(measure(found, truth) for truth in wanted)
