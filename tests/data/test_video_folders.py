from __future__ import annotations

from sensorium.data import open_data


def test_folders_of_frames(tmp_path, picture):
    for split in ("train", "val"):
        for label in ("up", "down"):
            for frame in (1, 2, 10):
                picture(f"{split}/{label}/clip/f{frame}.png")
    data = open_data(tmp_path, task="video-classification")
    assert data.format == "video-folders"
    assert data.splits() == {"train": 2, "val": 2}
    first = data.examples[0]
    assert (first.id, first.fields["label"]) == ("train/down/clip", "down")
    assert [p[-7:] for p in first.fields["frames"]] == ["/f1.png", "/f2.png", "f10.png"]
    assert open_data(tmp_path).format == "class-folders"


def test_files(tmp_path, write):
    write("a/x.mp4", "...")
    write("b/y.mp4", "...")
    data = open_data(tmp_path)
    assert [e.fields for e in data.examples] == [
        {"frames": [str(tmp_path / "a/x.mp4")], "label": "a"},
        {"frames": [str(tmp_path / "b/y.mp4")], "label": "b"},
    ]
