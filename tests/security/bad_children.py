"""What a child process may do to itself."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from sensorium.errors import InputError, SensoriumError


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    time.sleep(600)


def eat() -> int:
    return len(bytearray(64 << 30))


def fail() -> None:
    raise InputError("no good")


def good(a: Any) -> Any:
    return a


def open_all(folder: str) -> dict[str, int]:
    """Open and run every network of a folder."""
    import numpy as np

    from sensorium.nets.ort import OrtNet

    opened = refused = 0
    for path in sorted(Path(folder).glob("*.onnx")):
        try:
            OrtNet(path, threads=1)({"x": np.ones((1, 4), np.float32)})
            opened += 1
        except SensoriumError:
            refused += 1
    return {"opened": opened, "refused": refused}
