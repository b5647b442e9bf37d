"""CIDEr and BLEU of captions with several references each, with the numbers of pycocoevalcap.

Vedantam et al., CIDEr: Consensus-based Image Description Evaluation, 2015 (CIDEr-D, as the COCO server computes it);
Papineni et al., BLEU, 2002 (closest reference length).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ORDER = 4
SIGMA = 6.0
"""Spread of the penalty for a length other than the reference's, in bigrams."""

_CONTRACTION = re.compile(r"(?i)\b(can)(not)\b|(?<=\w)(n't|'s|'m|'d|'ll|'re|'ve)(?=\W|$)")
_WORD = re.compile(r"n't|'(?:s|m|d|ll|re|ve)\b|[^\W_]+(?:[-.,'][^\W_]+)*")


def words(caption: str) -> list[str]:
    """Lower-case words without punctuation, contractions split, as the Penn Treebank has them."""
    split = _CONTRACTION.sub(lambda m: f"{m[1]} {m[2]}" if m[1] else f" {m[3]}", caption.replace("’", "'").lower())
    return _WORD.findall(split)


@dataclass(frozen=True, slots=True)
class Stats:
    """What the metrics need of one caption and its references.

    Attributes:
        lengths: (2,) of the caption and of the reference nearest to that.
        matches, totals: (4,) n-grams of the caption, of each order, that are in a reference; all of them.
        seen: numbers of the n-grams in any reference.
        grams, weights, slots: entries (E,) of sums over n-grams, to be weighted by how rare each is. Slot `4 r + n`,
            for r = 0, is the caption's own squared length in order n; for r = 1, 3, ... that of a reference; for
            the r after it, the product of the two.
        penalties: (references,) for their lengths.
    """

    lengths: np.ndarray
    matches: np.ndarray
    totals: np.ndarray
    seen: np.ndarray
    grams: np.ndarray
    weights: np.ndarray
    slots: np.ndarray
    penalties: np.ndarray


def _counts(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for n in range(1, ORDER + 1) for i in range(len(tokens) - n + 1))


def stats(caption: str, references: Sequence[str], numbers: dict[tuple[str, ...], int]) -> Stats:
    """Of one caption.

    Args:
        references: at least one.
        numbers: of n-grams, the same for all captions that are measured together; new ones are added.
    """
    tokens, wanted = words(caption), [words(reference) for reference in references]
    own, others = _counts(tokens), [_counts(reference) for reference in wanted]
    most: Counter[tuple[str, ...]] = Counter()
    for other in others:
        most |= other
    nearest = min((len(reference) for reference in wanted), key=lambda n: (abs(n - len(tokens)), n))
    matches, totals = np.zeros(ORDER, np.int64), np.zeros(ORDER, np.int64)
    for gram, count in own.items():
        matches[len(gram) - 1] += min(count, most[gram])
        totals[len(gram) - 1] += count

    def number(gram: tuple[str, ...]) -> int:
        return numbers.setdefault(gram, len(numbers))

    entries = [(number(gram), count**2, len(gram) - 1) for gram, count in own.items()]
    for place, other in enumerate(others):
        first = ORDER * (1 + 2 * place) - 1
        for gram, count in other.items():
            entries.append((number(gram), count**2, first + len(gram)))
            if gram in own:
                entries.append((number(gram), min(count, own[gram]) * count, first + ORDER + len(gram)))
    grams, weights, slots = (np.array(column) for column in zip(*entries)) if entries else (np.zeros(0, int),) * 3
    bigrams = max(len(tokens) - 1, 0) - np.array([max(len(reference) - 1, 0) for reference in wanted])
    return Stats(
        lengths=np.array([len(tokens), nearest]),
        matches=matches,
        totals=totals,
        seen=np.array([number(gram) for gram in most], np.int64),
        grams=grams,
        weights=weights,
        slots=slots,
        penalties=np.exp(-(bigrams**2) / (2 * SIGMA**2)),
    )


def cider(captions: Sequence[Stats]) -> np.ndarray:
    """CIDEr-D of each caption, 0..10; how rare an n-gram is, is told by the references of all of them."""
    if not captions:
        return np.zeros(0)
    size = 1 + max((int(part.max()) for s in captions for part in (s.grams, s.seen) if part.size), default=0)
    seen = np.bincount(np.concatenate([s.seen for s in captions]), minlength=size)
    rarity = np.log(len(captions)) - np.log(np.maximum(seen, 1))
    return np.array([_cider(s, rarity) for s in captions])


def _cider(s: Stats, rarity: np.ndarray) -> float:
    count = len(s.penalties)
    sums = np.bincount(s.slots, s.weights * rarity[s.grams] ** 2, ORDER * (1 + 2 * count)).reshape(-1, ORDER)
    own, theirs, products = sums[0], sums[1::2], sums[2::2]
    size = np.sqrt(own * theirs)
    likeness = np.divide(products, size, out=np.zeros_like(products), where=size > 0).mean(axis=1)
    return float(10 * (likeness * s.penalties).mean())


def likeness(s: Stats) -> float:
    """How like its references one caption is, 0..1, where all n-grams count alike."""
    return _cider(s, np.ones(1 + int(max((part.max() for part in (s.grams, s.seen) if part.size), default=0)))) / 10


def bleu(captions: Sequence[Stats]) -> float:
    """BLEU-4 of all captions together, 0..1."""
    found, nearest = np.sum([s.lengths for s in captions], axis=0)
    matches = np.sum([s.matches for s in captions], axis=0)
    totals = np.sum([s.totals for s in captions], axis=0)
    value = float(np.prod((matches + 1e-15) / (totals + 1e-9)) ** (1 / ORDER))
    ratio = (found + 1e-15) / (nearest + 1e-9)
    return value * float(np.exp(1 - 1 / ratio)) if ratio < 1 else value
