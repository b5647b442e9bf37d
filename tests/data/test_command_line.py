"""`sensorium data check|show|split|convert`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sensorium.cli import main


@pytest.fixture
def folder(tmp_path, write):
    body = "".join(f"{word} {n},{'ab'[n % 2]}\n" for n, word in enumerate(["red", "green", "blue", "grey"] * 6))
    body = "".join(f"{chr(97 + i)}{line}\n" for i, line in enumerate(body.splitlines()))
    write("d/t.csv", "text,label\n" + body)
    return tmp_path / "d"


def test_check(folder, capsys, write):
    assert main(["data", "check", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["examples"], report["train"]) == ("table", 24, True)
    write("d/t.csv", "text,label\nx,a\ny,a\nz,a\n")
    assert main(["data", "check", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "error: " in out
    assert "training would be unwise" in out


def test_show(folder, tmp_path, capsys):
    assert main(["data", "show", str(folder), "--sheet", str(tmp_path / "s.png")]) == 0
    assert "table, 24 examples with text, label" in capsys.readouterr().out
    assert (tmp_path / "s.png").stat().st_size > 1000
    assert main(["data", "show", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {"a": {"no split": 12}, "b": {"no split": 12}}


def test_split(folder, tmp_path, capsys):
    assert main(["data", "split", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 16, "val": 4, "test": 4}
    assert main(["data", "split", str(folder)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["data", "show", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 16, "val": 4, "test": 4}
    out = str(tmp_path / "x.json")
    assert main(["data", "split", str(folder), "--out", out, "--seed", "1"]) == 0
    assert main(["data", "show", str(folder), "--splits", out]) == 0
    first, other = json.loads((folder / "splits.json").read_text()), json.loads(Path(out).read_text())
    assert other != first
    assert main(["data", "split", str(folder), "--force", "--seed", "1"]) == 0
    assert json.loads((folder / "splits.json").read_text()) == other


def test_convert(folder, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["data", "convert", str(folder), "--to", "jsonl", "--out", out]) == 0
    assert "lost: nothing" in capsys.readouterr().out
    assert main(["data", "convert", str(folder), "--to", "coco", "--out", out + "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_faults(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "is empty" in capsys.readouterr().err
    assert main(["data"]) == 2
    assert main(["data", "show", str(tmp_path / "nothing")]) == 2
