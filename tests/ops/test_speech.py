from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops import speech


def sound(seconds: float, pitch: float) -> np.ndarray:
    t = np.arange(round(seconds * speech.RATE)) / speech.RATE
    return sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 8)) * 0.1


def test_distortion():
    cost, frames = speech.distortion(sound(0.5, 120), sound(0.5, 120))
    assert cost == pytest.approx(0, abs=1e-3)
    assert frames >= 50
    near, far = (np.divide(*speech.distortion(sound(0.5, 120), sound(0.6, pitch))) for pitch in (121, 300))
    assert near < far


def test_the_cheapest_way():
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (3, 8), (12, 9)):
        a, b = rng.normal(size=(n, 4)), rng.normal(size=(m, 4))
        total = np.full((n + 1, m + 1), np.inf)
        total[0, 0] = 0
        for i in range(1, n + 1):
            for j in range(1, m + 1):
                least = min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
                total[i, j] = np.linalg.norm(a[i - 1] - b[j - 1]) + least
        cost, steps = speech.warped_cost(a, b)
        assert cost == pytest.approx(total[n, m])
        assert max(n, m) <= steps <= n + m - 1


def test_cepstra_are_a_cosine_transform():
    from scipy.fft import dct

    from sensorium.ops.mel import Mel, energies

    samples = sound(0.3, 200)
    how = Mel(speech.RATE, speech.BANDS, 400, 160, 512, high=8000.0, rounded=False, framed=True)
    logs = np.log(np.maximum(speech.FLOOR, energies(samples, how)))
    expected = dct(logs, type=2, axis=0, norm="ortho")[1 : 1 + speech.COEFFICIENTS].T
    np.testing.assert_allclose(speech.cepstra(samples), expected, atol=1e-9)
