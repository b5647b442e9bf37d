"""Connectionist temporal classification: from one label per frame to text with times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring frames with the same label: [start, end)."""

    label: int
    start: int
    end: int


def runs(labels: np.ndarray, blank: int) -> list[Run]:
    """The runs of equal labels, without those of the blank: what greedy decoding reads.

    Args:
        labels: (T,) the best label of each frame.
    """
    if not len(labels):
        return []
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(labels)]
    return [Run(int(labels[s]), s, e) for s, e in zip(starts, ends) if labels[s] != blank]


def spans(texts: Sequence[str], found: Sequence[Run]) -> list[tuple[str, int, int]]:
    """Words with their first frame and the frame after their last.

    Args:
        texts: what each run says, of the same length as `found`; words are divided by white space.
    """
    result: list[tuple[str, int, int]] = []
    word, start, end = "", 0, 0
    for text, run in zip(texts, found):
        for k, piece in enumerate(text.replace("\t", " ").split(" ")):
            if k and word:
                result.append((word, start, end))
                word = ""
            if piece:
                if not word:
                    start = run.start
                word, end = word + piece, run.end
    if word:
        result.append((word, start, end))
    return result


def needed(labels: Sequence[int]) -> int:
    """Least number of frames that can say these labels: a repeated one needs a blank between."""
    return len(labels) + sum(a == b for a, b in pairwise(labels))
