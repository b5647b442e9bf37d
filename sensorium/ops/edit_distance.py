"""Edit distance of sequences, and the error rates of transcripts: equal to jiwer's with its own defaults."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

import numpy as np


def distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """Least number of substitutions, deletions and insertions that turn one sequence into the other."""
    if not reference or not hypothesis:
        return len(reference) or len(hypothesis)
    numbers: dict[Hashable, int] = {}
    a = np.array([numbers.setdefault(x, len(numbers)) for x in reference])
    b = np.array([numbers.setdefault(x, len(numbers)) for x in hypothesis])
    places = np.arange(len(b) + 1)
    row = places.copy()
    for i, item in enumerate(a, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (b != item))
        # An insertion costs one per step to the right: a running minimum after taking the slope away.
        row = np.minimum.accumulate(np.concatenate(([i], best)) - places) + places
    return int(row[-1])


def words(text: str) -> list[str]:
    """The words of a transcript: runs of white space count as one space, and words end at spaces."""
    return [word for word in re.sub(r"\s\s+", " ", text).strip().split(" ") if word]


def characters(text: str) -> list[str]:
    """The characters of a transcript, without white space at its ends."""
    return list(text.strip())


def counts(reference: str, hypothesis: str) -> tuple[int, int, int, int]:
    """Word errors, words of the reference, character errors, characters of the reference."""
    truth, found = words(reference), words(hypothesis)
    letters = characters(reference)
    return distance(truth, found), len(truth), distance(letters, characters(hypothesis)), len(letters)


def rates(rows: Sequence[tuple[int, int, int, int]]) -> dict[str, float]:
    """`wer` and `cer` over all examples together, from `counts`.

    Where no reference has any word, the rate is the number of errors itself, as jiwer has it; NaN for no examples.
    """
    if not len(rows):
        return {"wer": float("nan"), "cer": float("nan")}
    word_errors, word_total, letter_errors, letter_total = np.asarray(rows, np.int64).sum(axis=0).tolist()
    return {"wer": word_errors / (word_total or 1), "cer": letter_errors / (letter_total or 1)}
