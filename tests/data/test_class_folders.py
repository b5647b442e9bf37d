from __future__ import annotations

from sensorium.data import open_data


def test_folder_per_class(tmp_path, picture):
    for name in ("dog/2.png", "cat/1.png", "cat/0.png", "bird/a/x.png"):
        picture(name)
    data = open_data(tmp_path)
    assert data.format == "class-folders"
    assert data.fields == ("image", "label")
    assert [(e.id, e.fields["label"]) for e in data.examples] == [
        ("bird/a/x.png", "bird/a"),
        ("cat/0.png", "cat"),
        ("cat/1.png", "cat"),
        ("dog/2.png", "dog"),
    ]
    assert data.examples[0].fields["image"] == str(tmp_path / "bird/a/x.png")
    assert data.classes == ("bird/a", "cat", "dog")


def test_splits_of_the_folders(tmp_path, picture):
    for split in ("train", "dev", "test"):
        for label in ("cat", "dog"):
            picture(f"{split}/{label}/1.png")
    data = open_data(tmp_path)
    assert data.splits() == {"train": 2, "val": 2, "test": 2}
    assert {e.fields["label"] for e in data.subset("val")} == {"cat", "dog"}


def test_sounds_and_texts(tmp_path, sound, write):
    sound("s/yes/ab12_nohash_0.wav")
    sound("s/no/ab12_nohash_1.wav")
    data = open_data(tmp_path / "s", task=None)
    assert data.fields == ("audio", "label")
    assert {e.group for e in data.examples} == {"ab12"}
    write("t/good/1.txt", "fine\n")
    write("t/bad/1.txt", "poor")
    data = open_data(tmp_path / "t")
    assert [e.fields["text"] for e in data.examples] == ["poor", "fine"]


def test_files_outside_a_class_are_reported(tmp_path, picture):
    for name in ("a/1.png", "b/1.png", "loose.png"):
        picture(name)
    data = open_data(tmp_path)
    assert [e.id for e in data.examples] == ["a/1.png", "b/1.png"]
    assert [f.where for f in data.findings] == ["loose.png"]
