"""The whole product in seconds: learn, measure, verify, answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sensorium.cli import main
from tests import tiny


def test_from_data_to_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny.topics(tmp_path / "topics.tsv")
    run = tmp_path / "run"
    assert main(["data", "check", str(data)]) == 0
    assert main(["train", "text-classification", str(data), "--out", str(run), "--epochs", "6"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), str(data), "--split", "test", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metrics"]["accuracy"]["value"] > report["baseline"]["accuracy"]
    assert main(["verify", str(run), str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"
    assert main(["predict", str(run), "the class namespace of an instance", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["result"][0]["label"] in ("classes", "strings")
    assert main(["inspect", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "run"
