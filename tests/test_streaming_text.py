"""Answers that are written piece by piece: from Python, and on a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sensorium import predictor
from sensorium.cli import predict
from sensorium.errors import InputError
from sensorium.predictor import Predictor


class Speaking:
    """A task that streams."""

    name: ClassVar[str] = "text-generation"
    source: ClassVar[str] = "text"

    def predict(self, nets: Any, sources: Any, *, loud: bool = False) -> list[str]:
        """Say it.

        Options:
            loud: in capitals
        """
        return ["".join(self.stream(nets, one, loud=loud)) for one in sources]

    def stream(self, nets: Any, source: str, loud: bool = False) -> Iterator[str]:
        yield from (word.upper() if loud else word for word in source.split("|"))


@pytest.fixture
def speaking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "onnx").mkdir()
    monkeypatch.setattr(Predictor, "task", property(lambda self: Speaking()))
    monkeypatch.setattr(Predictor, "nets", property(lambda self: {}))
    return tmp_path


def test_pieces(speaking: Path) -> None:
    made = predictor.Predictor(speaking)
    assert list(made.stream_text("a|b")) == ["a", "b"]
    assert list(made.stream_text("a|b", loud=True)) == ["A", "B"]
    with pytest.raises(InputError, match="no option 'quiet'"):
        made.stream_text("a", quiet=True)


def test_a_task_that_does_not_write(speaking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Speaking, "stream")
    with pytest.raises(InputError, match="piece by piece"):
        predictor.Predictor(speaking).stream_text("a")


def test_on_a_terminal(speaking: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    predict.arguments(parser)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert predict.run(parser.parse_args([str(speaking), "one|two"])) == 0
    assert capsys.readouterr().out == "onetwo\n"
