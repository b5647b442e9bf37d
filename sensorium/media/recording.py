"""A sound that is too long to keep in memory."""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Recording:
    """Samples on disk, read slice by slice as an array is; they vanish with it.

    Attributes:
        shape: (N,).
    """

    dtype = np.dtype(np.float32)
    ndim = 1

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the recording
        weakref.finalize(self, self._file.close)
        self._count = 0

    def append(self, samples: Floats) -> None:
        """Add samples at the end.

        Raises:
            OSError: the disk is full.
        """
        self._file.write(np.ascontiguousarray(samples, np.float32).tobytes())
        self._file.flush()
        self._count += len(samples)

    @property
    def shape(self) -> tuple[int]:
        return (self._count,)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> Floats:
        start, stop, step = part.indices(self._count)
        # Several threads may read at once: none moves the place in the file.
        found = os.pread(self._file.fileno(), 4 * max(0, stop - start), 4 * start)
        return np.frombuffer(found, np.float32)[::step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(dtype or np.float32)
