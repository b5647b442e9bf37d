"""The most similar of many texts, by the n-grams of characters they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class CharacterIndex:
    """An inverted index of character n-grams, weighted by TF-IDF and compared by cosine.

    Memory: six bytes for each different n-gram of each text.

    Args:
        texts: what is searched.
        size: of the n-grams; a text has a space before and after it.
    """

    def __init__(self, texts: Sequence[str], size: int = 3) -> None:
        self.size, self.count = size, max(len(texts), 1)
        self.number: dict[str, int] = {}
        grams: list[np.ndarray] = []
        counts: list[np.ndarray] = []
        for text in texts:
            ids = np.array([self.number.setdefault(g, len(self.number)) for g in self.split(text)], np.int32)
            unique, times = np.unique(ids, return_counts=True)
            grams.append(unique)
            counts.append(times.astype(np.float16))
        gram = np.concatenate([np.zeros(0, np.int32), *grams])
        row = np.repeat(np.arange(len(texts), dtype=np.int32), [len(g) for g in grams])
        occurrences = np.bincount(gram, minlength=len(self.number))
        self.rarity = np.log((1 + self.count) / (1 + occurrences)) + 1
        weight = np.concatenate([np.zeros(0, np.float16), *counts]) * self.rarity[gram]
        norm = np.sqrt(np.bincount(row, weight**2, minlength=self.count))
        order = np.argsort(gram, kind="stable")
        self.row = row[order]
        self.weight = (weight / np.maximum(norm[row], 1e-9))[order].astype(np.float16)
        self.start = np.concatenate([[0], np.cumsum(occurrences)])

    def split(self, text: str) -> list[str]:
        text = f" {text.lower()} "
        return [text[i : i + self.size] for i in range(max(len(text) - self.size + 1, 1))]

    def similarities(self, text: str) -> np.ndarray:
        """Of each text to this one, up to the length of this one: (texts,) float64."""
        known = [self.number[g] for g in self.split(text) if g in self.number]
        places = [slice(self.start[g], self.start[g + 1]) for g in known]
        rows = np.concatenate([np.zeros(0, np.int32), *(self.row[p] for p in places)])
        weights = [self.weight[p] * self.rarity[g] for g, p in zip(known, places)]
        found: np.ndarray = np.bincount(rows, np.concatenate([np.zeros(0), *weights]), minlength=self.count).astype(
            np.float64
        )
        return found

    def nearest(self, text: str) -> int:
        """Index of the most similar text; the first of equals."""
        return int(self.similarities(text).argmax())
