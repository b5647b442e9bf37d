"""A sound that is too long to keep in memory."""

from __future__ import annotations

import tempfile
import threading
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
        self._reading = threading.Lock()
        self._count = 0

    def append(self, samples: Floats) -> None:
        """Add samples at the end.

        Raises:
            OSError: the disk is full.
        """
        self._file.seek(4 * self._count)
        self._file.write(np.ascontiguousarray(samples, np.float32).tobytes())
        self._count += len(samples)

    @property
    def shape(self) -> tuple[int]:
        return (self._count,)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> Floats:
        start, stop, step = part.indices(self._count)
        with self._reading:  # several threads may ask at once
            self._file.seek(4 * start)
            found = self._file.read(4 * max(0, stop - start))
        return np.frombuffer(found, np.float32)[::step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(dtype or np.float32)
