from __future__ import annotations

import pytest

from sensorium.data import open_data
from sensorium.errors import InputError


@pytest.fixture
def mot(tmp_path, picture, write):
    for split, name in (("train", "A-01"), ("test", "A-02")):
        for i in range(1, 4):
            picture(f"{split}/{name}/img1/{i:06d}.jpg")
        write(f"{split}/{name}/seqinfo.ini", f"[Sequence]\nname={name}\nimDir=img1\nframeRate=30\nseqLength=3\n")
        write(f"{split}/{name}/gt/gt.txt", "1,1,2,3,10,5,1,1,1\n2,1,4,3,10,5,1,1,1\n2,2,0,0,4,4,0,1,1\n")
    return tmp_path


def test_mot(mot):
    data = open_data(mot)
    assert (data.format, data.fields) == ("mot", ("frames", "tracks"))
    assert data.splits() == {"train": 1, "test": 1}
    first = data.subset("train")[0]
    assert first.id == "train/A-01"
    assert [f[-10:] for f in first.fields["frames"]] == ["000001.jpg", "000002.jpg", "000003.jpg"]
    assert first.fields["tracks"] == [
        [{"id": 1, "label": "1", "box": [2.0, 3.0, 12.0, 8.0], "ignore": False}],
        [
            {"id": 1, "label": "1", "box": [4.0, 3.0, 14.0, 8.0], "ignore": False},
            {"id": 2, "label": "1", "box": [0.0, 0.0, 4.0, 4.0], "ignore": True},
        ],
        [],
    ]


def test_named_classes_and_the_challenge(mot, write):
    write("train/A-01/gt/labels.txt", "car\nbus\n")
    write("test/A-02/seqinfo.ini", "[Sequence]\nname=MOT17-02\n")
    write("test/A-02/gt/gt.txt", "1,1,2,3,10,5,1,1,1\n1,2,2,3,10,5,1,8,1\n")
    data = open_data(mot)
    assert data.subset("train")[0].fields["tracks"][0][0]["label"] == "car"
    rows = data.subset("test")[0].fields["tracks"][0]
    assert [(r["label"], r["ignore"]) for r in rows] == [("pedestrian", False), ("distractor", True)]


def test_faults(mot, write):
    write("train/A-01/gt/gt.txt", "1,1,2,3,10,5,1,1,1\nx\n9,1,1,1,2,2\n1,2,1,1,0,2\n1,1,1,1,2,2\n1,inf,2,2,2,2\n")
    data = open_data(mot)
    assert [(f.kind, f.where.split(":")[1]) for f in data.findings] == [
        ("label-invalid", "2"),
        ("label-without-picture", "3"),
        ("box-without-area", "4"),
        ("duplicate-track", "5"),
        ("label-invalid", "6"),
    ]


def test_one_sequence_alone(mot):
    data = open_data(mot / "train/A-01")
    assert [e.id for e in data.examples] == ["A-01"]
    assert len(data.examples[0].fields["frames"]) == 3


def test_without_frames(mot):
    for frame in mot.rglob("*.jpg"):
        frame.unlink()
    with pytest.raises(InputError, match="no frames"):
        open_data(mot)
