"""LJSpeech, LabelMe, Snips, and folders of pictures."""

from __future__ import annotations

import json

from sensorium.data import formats, open_data


def test_ljspeech(tmp_path, sound, write):
    for name in ("a", "b", "c", "d"):
        sound(f"wavs/{name}.wav")
    write("metadata.csv", 'a|No. 1, "so"|number one, "so"\nb|plain\nc||\nx|gone|gone\n')
    data = open_data(tmp_path)
    assert data.format == "ljspeech"
    assert [(e.id, e.fields["text"]) for e in data.examples] == [
        ("wavs/a.wav", 'number one, "so"'),
        ("wavs/b.wav", "plain"),
    ]
    assert {(f.kind, f.severity, f.where) for f in data.findings} == {
        ("sound-without-text", "warning", "metadata.csv:3"),
        ("missing-file", "error", "metadata.csv:4"),
        ("sound-without-text", "warning", "wavs/d.wav"),
    }


def test_labelme(tmp_path, picture, write):
    picture("data/a.png")
    picture("data/b.png")
    shapes = [
        {"label": "pit", "points": [[1, 2], [11, 2], [6, 12]], "shape_type": "polygon"},
        {"label": "pit", "points": [[20, 15], [23, 19]], "shape_type": "circle"},
        {"label": "pit", "points": [[1, 1]], "shape_type": "point"},
        {"label": "", "points": [[1, 1], [4, 4]]},
        {"label": "bad", "points": "x"},
    ]
    write(
        "label/a.json",
        json.dumps({"shapes": shapes, "imagePath": "..\\data\\a.png", "imageWidth": 40, "imageHeight": 30}),
    )
    data = open_data(tmp_path)
    assert data.format == "labelme"
    assert [o["box"] for o in data.examples[0].fields["objects"]] == [[1, 2, 11, 12], [15, 10, 25, 20]]
    assert [f.kind for f in data.findings] == ["box-without-area", "no-label", "box-invalid", "picture-without-label"]


def test_snips(tmp_path, write):
    for split in ("train", "validate"):
        rows = [{"data": [{"text": "rain in "}, {"text": "Ålesund", "entity": "city"}]}, {"data": "?"}]
        write(f"GetWeather/{split}_GetWeather.json", json.dumps({"GetWeather": rows}, ensure_ascii=False), "latin-1")
    data = open_data(tmp_path)
    assert data.format == "snips"
    assert data.splits() == {"train": 1, "val": 1}
    assert data.examples[0].fields == {"text": "rain in Ålesund", "label": "GetWeather"}
    assert sorted({f.kind for f in data.findings}) == ["encoding", "row"]


def test_pictures_without_labels(tmp_path, picture):
    picture("a.png")
    picture("b.jpg")
    data = open_data(tmp_path)
    assert (data.format, data.fields, len(data.examples)) == ("image-folder", ("image",), 2)
    assert len(open_data(tmp_path / "a.png").examples) == 1


def test_every_format_describes_itself():
    assert all(doc and len(doc) < 150 for doc in formats().values())
    assert {"coco", "voc", "yolo", "mot", "table", "moses", "class-folders", "audio-folder", "ljspeech"} <= set(
        formats()
    )
