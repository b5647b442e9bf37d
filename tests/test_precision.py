"""Fewer bits without data: the outputs are compared on made-up inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sensorium
from sensorium.errors import Refused
from sensorium.precision import noise

pytest.importorskip("torch")

from tests.parity.architectures import examples, makers

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["bert", "vit"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    (root / "checkpoint").mkdir()
    getattr(examples, f"make_{request.param}")(root / "checkpoint")
    sensorium.convert(root / "checkpoint", out=root / "model")
    return root / "model"


@pytest.mark.parametrize(("to", "suffix"), [("fp16", "_fp16"), ("int8", "_quantized"), ("int4", "_q4")])
def test_smaller_files_answer_nearly_the_same(folder: Path, to: str, suffix: str, tmp_path: Path) -> None:
    report = sensorium.export(folder, to=to, out=tmp_path / "small", force=True)
    entry = report["files"][0]
    assert entry["file"] == f"onnx/model{suffix}.onnx"
    assert entry["noise"] < {"fp16": 0.01, "int8": 0.1, "int4": 0.8}[to]
    assert entry["data"]["examples"] == 6
    assert entry["agreement"] > (0.9 if to == "fp16" else 0)
    assert sensorium.verify(tmp_path / "small")["verdict"] == "pass"
    sources = makers.texts(tmp_path) if (folder / "tokenizer.json").exists() else makers.pictures(tmp_path)
    sensorium.load(tmp_path / "small", precision=to).predict(sources[0])


def test_a_model_that_is_ruined_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sensorium import verification

    monkeypatch.setitem(verification.NOISE_ALLOWED, "int4", 1e-6)
    with pytest.raises(Refused, match="int4 changes the outputs by"):
        sensorium.export(folder, to="int4", out=tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_noise_is_relative_to_each_output() -> None:
    expected = {"a": np.array([3.0, 4.0]), "b": np.array([100.0, np.inf])}
    found = {"a": np.array([3.0, 4.5]), "b": np.array([100.0, np.inf])}
    assert noise(expected, found) == pytest.approx(0.5 / 5)
