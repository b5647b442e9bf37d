"""Answering many sources from the command line: parts of them, going on after a crash, bad ones among them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sensorium
from sensorium.cli import main
from sensorium.nets.ort import session_options
from tests.cases import Trained

Models = Callable[[str], Trained]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (24 + i, 30, 3), np.uint8)).save(folder / f"{i:02}.png")
    (folder / "07.png").write_bytes(b"no picture")
    (folder / "23.png").write_bytes(b"")
    return folder


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_bad_ones_do_not_stop_the_good(
    models: Models, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.jsonl"
    status = main(["predict", str(models("image-classification").run), str(pictures), "--out", str(out)])
    assert status == 2
    found = rows(out)
    assert [Path(str(r["source"])).name for r in found] == [f"{i:02}.png" for i in range(40)]
    assert [i for i, r in enumerate(found) if "error" in r] == [7, 23]
    said = capsys.readouterr()
    assert said.out == ""
    assert "07.png" in said.err
    assert "38 answered, 2 could not be" in said.err


def test_parts_are_the_whole(models: Models, pictures: Path, tmp_path: Path) -> None:
    run = str(models("image-classification").run)
    whole: list[object] = []
    for part in (1, 2, 3):
        out = tmp_path / f"{part}.jsonl"
        main(["predict", run, str(pictures), "--out", str(out), "--shard", f"{part}/3"])
        whole += [r["source"] for r in rows(out)]
    assert len(whole) == len(set(whole)) == 40
    for wrong in ("0/3", "4/3", "x", "1/0"):
        assert main(["predict", run, str(pictures), "--shard", wrong]) == 2


def test_it_goes_on_where_it_was_killed(models: Models, pictures: Path, tmp_path: Path) -> None:
    run, out = str(models("image-classification").run), tmp_path / "answers.jsonl"
    command = [sys.executable, "-m", "sensorium", "predict", run, str(pictures), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": "."})
    end = time.monotonic() + 60
    while time.monotonic() < end and not (out.is_file() and out.read_bytes().count(b"\n") > 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with out.open("ab") as lines:
        lines.write(b'{"source": "half a li')
    before = out.read_bytes().count(b"\n")
    assert main(["predict", run, str(pictures), "--out", str(out), "--resume"]) in (0, 2)
    found = rows(out)
    answers = [r["source"] for r in found if "result" in r]
    assert len(answers) == len(set(answers)) == 38
    assert len(found) >= before


def test_a_file_of_something_else_is_not_added_to(models: Models, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("my notes\n")
    run = str(models("image-classification").run)
    assert main(["predict", run, str(pictures), "--out", str(other), "--resume"]) == 2
    assert other.read_text() == "my notes\n"
    assert main(["predict", run, str(pictures), "--resume"]) == 2


def test_dask_maps_a_predictor(models: Models, pictures: Path) -> None:
    """A predictor travels to other processes, as Dask, Ray and Spark send it."""
    bag = pytest.importorskip("dask.bag", reason="pip install dask")
    predictor = sensorium.load(models("image-classification").run)
    names = [str(p) for p in sorted(pictures.glob("*.png")) if p.name not in ("07.png", "23.png")]
    found = bag.from_sequence(names, npartitions=2).map_partitions(predictor.predict_batch)
    answers = found.compute(scheduler="processes", num_workers=2)
    assert [a[0].label for a in answers] == [a[0].label for a in predictor.predict_batch(names)]


def test_networks_that_run_once(models: Models, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer of one run is not prepared for more; several are, and what runs a network for every window."""
    seen: list[bool] = []

    def options(threads: int | None, once: bool) -> Any:
        seen.append(once)
        return session_options(threads, once)

    seeing, hearing = models("image-classification"), models("automatic-speech-recognition")
    clip = str(hearing.examples(1)[0])
    monkeypatch.setattr("sensorium.nets.ort.session_options", options)
    assert main(["predict", str(seeing.run), str(pictures / "01.png")]) == 0
    assert main(["predict", str(seeing.run), str(pictures / "01.png"), str(pictures / "02.png")]) == 0
    assert main(["predict", str(hearing.run), clip]) == 0
    assert seen == [True, False, False]
