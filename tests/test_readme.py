"""What README.md shows works as it stands; its generated parts are current."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sensorium.cli import main
from tests import tiny

ROOT = Path(__file__).parents[1]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny.image_folder(tmp_path / "photos", count=150, classes=2)
    for old, new in zip(sorted(data.iterdir()), ("daisy", "rose")):
        old.rename(data / new)
    first = next((data / "daisy").iterdir())
    first.rename(data / "daisy" / "0.png")
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("sensorium")]
    assert len(commands) >= 6
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        if words[0] == "train":
            words += ["--epochs", "2"]
        assert main(words) == 0, command
    code = blocks("python")
    assert code
    for block in code:
        exec(compile(block, "README.md", "exec"), {})
    assert "daisy" in capsys.readouterr().out


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build.py"), "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
