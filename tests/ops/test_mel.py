"""Energies of mel bands."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.ops import mel


@pytest.mark.parametrize(("rows", "columns", "bands"), [(37, 201, 80), (1, 201, 80), (5, 1025, 512), (0, 201, 80)])
def test_a_product_in_pieces(rows: int, columns: int, bands: int) -> None:
    random = np.random.default_rng(0)
    left, right = random.random((rows, columns)), random.random((columns, bands))
    np.testing.assert_allclose(mel.product(left, right), left @ right, rtol=1e-13)
