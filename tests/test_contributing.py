"""The eighth task, as CONTRIBUTING.md shows it, works as it stands: no existing file changes."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sensorium
from sensorium import tasks
from tests import tiny

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")


@pytest.fixture
def eighth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    found = re.findall(r"`sensorium/([a-z/]+)/(\w+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(found) == 2
    for folder, name, code in found:
        place = tmp_path / folder.replace("/", ".")
        place.mkdir()
        (place / name).write_text(code, "utf-8")
        package = importlib.import_module(f"sensorium.{folder.replace('/', '.')}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
    importlib.invalidate_caches()
    yield "image-regression"
    for module in [m for m in sys.modules if m.endswith("image_regression")]:
        del sys.modules[module]


def test_the_eighth_task(eighth: str, tmp_path: Path) -> None:
    assert eighth in tasks.names()
    data = tiny.image_folder(tmp_path / "data", count=120)
    for folder in list(data.iterdir()):  # "digit 2" becomes the number 2
        folder.rename(data / folder.name.split()[-1])
    record = sensorium.train(eighth, data, out=tmp_path / "run", epochs=12, quiet=True)
    result = record["result"]
    assert result["metrics"]["mae"]["value"] < result["baseline"]["mae"]
    assert sensorium.verify(tmp_path / "run", data)["verdict"] == "pass"
    picture = next((data / "2").iterdir())
    assert 0 < sensorium.load(tmp_path / "run").predict(picture, digits=1).value < 4
