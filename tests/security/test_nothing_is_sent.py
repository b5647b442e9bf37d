"""Nothing is reported to anybody: not by us, and not by the engines that we use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_engine_keeps_no_identity_and_sends_nothing(tmp_path: Path) -> None:
    """ONNX Runtime keeps an id of the machine and a queue of events in the cache where its telemetry is on."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "import sensorium.nets.ort"
    subprocess.run([sys.executable, "-c", code], env={**clean, **home}, check=True, timeout=60)
    assert not list(tmp_path.rglob("*"))
