"""What ends a sequence, besides a token that says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

Stop = Callable[[np.ndarray], np.ndarray]
"""Tokens so far (rows, time) int64 to whether each row is over: (rows,) bool."""


def max_time(seconds: float) -> Stop:
    """No further step once so many seconds have passed."""
    end = time.monotonic() + seconds

    def stop(ids: np.ndarray) -> np.ndarray:
        return np.full(len(ids), time.monotonic() > end)

    return stop


def stop_strings(strings: Sequence[str], table: Sequence[bytes]) -> Stop:
    """A text that ends anywhere in the last token.

    Args:
        strings: the texts.
        table: what each token writes, by id.
    """
    wanted = [s.encode() for s in strings if s]
    longest = max(map(len, wanted), default=0)

    def over(row: np.ndarray) -> bool:
        last = table[row[-1]] if row[-1] < len(table) else b""
        text = last
        for token in row[-2::-1]:
            if len(text) - len(last) >= longest:
                break
            text = (table[token] if token < len(table) else b"") + text
        before = len(text) - len(last)
        return any(text.find(w, max(0, before - len(w) + 1)) >= 0 for w in wanted)

    def stop(ids: np.ndarray) -> np.ndarray:
        return np.array([over(row) for row in ids], bool)

    return stop
