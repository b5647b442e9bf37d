"""The command itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sensorium.cli import main


def test_the_table_of_tasks_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    table = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert table["image-classification"]["required"] == []
    assert table["zero-shot-image-classification"]["required"] == ["candidate_labels"]
    assert table["zero-shot-image-classification"]["options"]["candidate_labels"] is None


def test_a_reader_that_went_away_is_no_success() -> None:
    """`sensorium verify MODEL --json | head -1` must not turn a failed verification into one that passed."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "sensorium", "tasks", "--json"], stdout=pipe, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 141
    assert done.stderr == ""
