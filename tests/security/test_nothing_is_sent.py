"""Nothing is reported to anybody: not by us, and not by the engines that we use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_engine_keeps_no_identity_and_sends_nothing(tmp_path: Path) -> None:
    """ONNX Runtime keeps an id of the machine and a queue of events in the cache where its telemetry is on."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "import sensorium.nets.ort"
    subprocess.run([sys.executable, "-c", code], env={**clean, **home}, check=True, timeout=60)
    assert not list(tmp_path.rglob("*"))


def test_openvino_is_opened_without_its_reports(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="pip install 'sensorium[openvino]'")
    (tmp_path / "a.onnx").write_bytes(b"not a network")
    code = (
        "import pathlib, sys\n"
        "from sensorium.errors import SensoriumError\n"
        "from sensorium.nets.openvino import OpenVinoNet\n"
        "try:\n"
        f"    OpenVinoNet(pathlib.Path({str(tmp_path / 'a.onnx')!r}))\n"
        "except SensoriumError:\n"
        "    pass\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry.')], 'openvino' in sys.modules)\n"
    )
    clean = {k: v for k, v in os.environ.items() if k != "CI"}
    home = {"HOME": str(tmp_path / "home")}
    found = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **home}, check=True, timeout=60, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[] True"
    assert not list((tmp_path / "home").rglob("*"))
