"""Whatever is wrong with the data: one line that says what, and where."""

from __future__ import annotations

import os

import pytest

from sensorium.data import open_data
from sensorium.errors import InputError

CASES = {
    "an empty folder": ({}, "is empty"),
    "unknown files": ({"a.xyz": b"1", "b.xyz": b"2"}, r"no known data format \(files: 2 x .xyz\)"),
    "an empty table": ({"t.csv": b""}, "t.csv: is empty"),
    "a table of zeros": ({"t.csv": b"\0" * 100}, "t.csv: not a text file"),
    "a table in an Asian encoding": (
        {"t.csv": "text,label\n日本語の文,良い\n別の文章,悪い\n".encode("shift-jis") * 9},
        "UTF-8",
    ),
    "only a header": ({"t.csv": b"text,label\n"}, "has a header .text, label. and no rows"),
    "JSON lines that are none": ({"t.jsonl": b"hello\nthere\n"}, "t.jsonl: no rows of JSON objects"),
    "a broken splits file": ({"a/1.txt": b"x", "b/1.txt": b"y", "splits.json": b"{"}, "splits.json: not valid JSON"),
    "a splits list": ({"a/1.txt": b"x", "b/1.txt": b"y", "splits.json": b"[]"}, "splits.json: not an object"),
    "unequal parallel files": ({"x.en": b"a\n", "x.de": b"a\nb\n"}, "same number"),
    "a table that leads outside": ({"a.png": b"", "t.csv": b"image,label\n../x.png,a\n"}, "leads out of"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line(tmp_path, write, name):
    files, message = CASES[name]
    for path, content in files.items():
        write(path, content)
    with pytest.raises(InputError, match=message) as caught:
        open_data(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_no_such_path_and_format(tmp_path, write):
    with pytest.raises(InputError, match="there is no data at"):
        open_data(tmp_path / "nothing")
    with pytest.raises(InputError, match="there is no data at"):
        open_data("a\0b")
    write("a.csv", "text,label\nx,y\nz,w\n")
    with pytest.raises(InputError, match="there is no data format 'excel'"):
        open_data(tmp_path, format="excel")
    with pytest.raises(InputError, match="COCO"):
        open_data(tmp_path, format="coco")


def test_links_to_outside_are_left_out(tmp_path, picture):
    picture("secret/x.png")
    for name in ("data/a/1.png", "data/b/1.png"):
        picture(name)
    os.symlink(tmp_path / "secret/x.png", tmp_path / "data/a/2.png")
    os.symlink(tmp_path / "secret", tmp_path / "data/c")
    os.symlink(tmp_path / "data/b/1.png", tmp_path / "data/b/same.png")
    os.mkfifo(tmp_path / "data/a/pipe.png")
    data = open_data(tmp_path / "data")
    assert [e.id for e in data.examples] == ["a/1.png", "b/1.png", "b/same.png"]
    assert "2 links lead outside" in data.notes[0]
