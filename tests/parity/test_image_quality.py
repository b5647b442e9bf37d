"""PSNR and SSIM equal scikit-image's."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops import image_quality

metrics = pytest.importorskip("skimage.metrics")


@pytest.mark.parametrize("shape", [(7, 7, 3), (23, 41, 3), (64, 50, 1)])
def test_equal_to_scikit_image(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, shape, np.uint8)
    b = np.clip(a + rng.normal(0, 20, shape), 0, 255).astype(np.uint8)
    for x, y in ((a, b), (b, a), (a, np.zeros_like(a)), (np.full_like(a, 9), np.full_like(a, 9))):
        wanted = metrics.structural_similarity(x, y, channel_axis=-1, data_range=255)
        assert image_quality.ssim(x, y) == pytest.approx(wanted, abs=1e-9)
        if not np.array_equal(x, y):
            assert image_quality.psnr(x, y) == pytest.approx(metrics.peak_signal_noise_ratio(y, x, data_range=255))
    assert image_quality.psnr(a, a) == float("inf")


def test_too_small_for_the_window() -> None:
    assert np.isnan(image_quality.ssim(*np.zeros((2, 6, 9, 3), np.uint8)))
