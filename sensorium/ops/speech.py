"""How far one spoken sound is from another: mel-cepstral distortion, with the times brought together.

Kubichek, Mel-cepstral distance measure for objective speech quality assessment, 1993.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensorium.ops.mel import Mel, energies

Doubles = npt.NDArray[np.float64]

RATE = 16000
BANDS = 40
COEFFICIENTS = 13
FLOOR = 1e-10


def cepstra(samples: np.ndarray) -> Doubles:
    """(frames, 13) mel-cepstral coefficients of a sound at 16 kHz, every 10 ms, without the loudness (the 0th)."""
    how = Mel(RATE, BANDS, 400, 160, 512, high=8000.0, rounded=False, framed=True)
    logs = np.log(np.maximum(FLOOR, energies(np.asarray(samples, np.float64), how)))
    places = (np.arange(BANDS) + 0.5) * np.pi / BANDS
    cosines = np.cos(np.arange(1, COEFFICIENTS + 1)[:, None] * places[None]) * np.sqrt(2 / BANDS)
    return np.asarray((cosines @ logs).T)


def warped_cost(first: Doubles, second: Doubles) -> tuple[float, int]:
    """Sum of the distances along the cheapest way through two sequences, and the number of its steps."""
    distance = np.sqrt(np.maximum(0, _squares(first)[:, None] + _squares(second)[None] - 2 * first @ second.T))
    height, width = distance.shape
    total = np.full((height + 1, width + 1), np.inf)
    steps = np.zeros((height + 1, width + 1), np.int64)
    total[0, 0] = 0
    for diagonal in range(2, height + width + 1):  # all places of a diagonal know those before them
        i = np.arange(max(1, diagonal - width), min(height, diagonal - 1) + 1)
        j = diagonal - i
        before = np.stack([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]])
        best = before.argmin(axis=0)
        total[i, j] = distance[i - 1, j - 1] + before.min(axis=0)
        counts = np.stack([steps[i - 1, j - 1], steps[i - 1, j], steps[i, j - 1]])
        steps[i, j] = counts[best, np.arange(len(i))] + 1
    return float(total[height, width]), int(steps[height, width])


def _squares(rows: Doubles) -> Doubles:
    return np.asarray((rows**2).sum(axis=1))


def distortion(first: np.ndarray, second: np.ndarray) -> tuple[float, int]:
    """Mel-cepstral distortion of two sounds at 16 kHz: (its sum in decibels over the frames, the number of frames)."""
    cost, steps = warped_cost(cepstra(first), cepstra(second))
    return 10 / np.log(10) * np.sqrt(2) * cost, steps
