"""Resizing arrays equals PyTorch's and SciPy's, on odd sizes and on single pixels."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops import interpolation

SIZES = [((13, 17), (29, 31)), ((50, 40), (21, 90)), ((1, 1), (5, 4)), ((7, 9), (1, 1)), ((384, 384), (477, 213))]


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize(
    ("mode", "corners"), [("nearest", None), *((m, c) for m in ("bilinear", "bicubic") for c in (False, True))]
)
def test_resizing_equals_pytorch(
    before: tuple[int, int], after: tuple[int, int], mode: str, corners: bool | None
) -> None:
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).normal(size=(2, 3, *before)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(array), after, mode=mode, align_corners=corners).numpy()
    got = interpolation.resize(array, after, mode, bool(corners))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_smooth_resizing_equals_scipy(before: tuple[int, int], after: tuple[int, int]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    array = np.random.default_rng(0).normal(size=before)
    factors = np.divide(before, after)
    smooth = ndimage.gaussian_filter(array, np.maximum(0, (factors - 1) / 2), mode="mirror")
    wanted = ndimage.zoom(smooth, 1 / factors, order=1, mode="mirror", grid_mode=True)
    wanted = np.clip(wanted, array.min(), array.max())
    np.testing.assert_allclose(interpolation.smooth_resize(array, after), wanted, rtol=0, atol=1e-12)
