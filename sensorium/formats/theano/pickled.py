"""Arrays out of a pickle, by walking its opcodes: nothing is imported, nothing that it names is called."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import pickles
from sensorium.formats.shared.pickles import ARRAYS as ALLOWED
from sensorium.formats.shared.pickles import Name

__all__ = ["ALLOWED", "arrays"]

GPU = ("CudaNdarray", "gpuarray", "GpuArray", "CudaNdarraySharedVariable")


class Reader(pickles.Reader):
    """Says of arrays of a graphics card what to do."""

    def named(self, text: str) -> Name:
        if any(g in text for g in GPU):
            raise InputError(
                f"{self.where}: refused: its pickle would import {text[:120]} (arrays of a graphics card: save them as "
                ".npz where they were made)"
            )
        return super().named(text)


def arrays(data: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays of a pickled list (or lists in a list, or dictionary), in order, by number or name.

    Raises:
        InputError: it holds something else, would run code, or is damaged.
    """
    found: dict[str, np.ndarray] = {}

    def collect(value: Any, name: str) -> None:
        if isinstance(value, np.ndarray):
            found[name or str(len(found))] = value
        elif isinstance(value, list):
            for item in value:
                collect(item, "" if not name else f"{name}.{len(found)}")
        elif isinstance(value, dict):
            for key, item in value.items():
                collect(item, key if not name else f"{name}.{key}")

    collect(Reader(data, where).run(), "")
    if not found:
        raise InputError(f"{where}: no arrays in this pickle")
    return found
