"""Pictures with captions, or with questions and answers."""

from __future__ import annotations

from pathlib import Path

import pytest

import sensorium
from sensorium.errors import InputError
from tests import tiny


def test_captions(tmp_path: Path) -> None:
    found = sensorium.open_data(tiny.captions(tmp_path, 3), task="image-to-text")
    assert (found.format, found.fields) == ("asked-pictures", ("image", "text"))
    assert found.examples[0].fields["text"] == ["a zero", "the digit zero"]
    assert Path(found.examples[0].fields["image"]).is_file()


def test_questions(tmp_path: Path) -> None:
    found = sensorium.open_data(tiny.asked_pictures(tmp_path, 2), task="visual-question-answering")
    first = found.examples[0].fields
    assert first["question"] == "which digit is this?"
    assert first["answers"] == ["zero", "zero"]
    assert first["word_boxes"][2] == ["zero", [310, 0, 700, 90]]


def test_rows_that_say_nothing_are_named(tmp_path: Path) -> None:
    root = tiny.captions(tmp_path, 2)
    with (root / "captions.jsonl").open("a") as file:
        file.write('{"image": "pictures/1.png"}\n{"image": "nowhere.png", "captions": ["x"]}\n')
    found = sensorium.open_data(root)
    assert len(found.examples) == 2
    assert [f.where for f in found.findings] == ["captions.jsonl:3", "captions.jsonl:4"]
    (root / "captions.jsonl").write_text('{"image": "../../etc/passwd", "captions": ["x"]}\n')
    with pytest.raises(InputError, match="out of the data folder"):
        sensorium.open_data(root)
