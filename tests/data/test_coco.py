from __future__ import annotations

import json

import pytest

from sensorium.data import open_data
from sensorium.errors import InputError
from sensorium.media import masks
from tests import tiny


def document(name="a.png", **more):
    return {
        "images": [{"id": 7, "file_name": name, "width": 40, "height": 30}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "area": 150.5, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5.5, 5], "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 9, "name": "bird"}],
        **more,
    }


def test_coco(tmp_path, picture, write):
    for split in ("train", "val"):
        picture(f"{split}2017/{split}.png")
        write(f"annotations/instances_{split}2017.json", json.dumps(document(f"{split}.png")))
        write(f"annotations/captions_{split}2017.json", json.dumps(document(f"{split}.png", annotations=[])))
    data = open_data(tmp_path)
    assert data.format == "coco"
    assert data.splits() == {"train": 1, "val": 1}
    assert data.classes == ("cat", "dog", "bird")
    assert data.examples[0].id == "train2017/train.png"
    assert data.examples[0].fields["objects"] == [
        {"label": "dog", "box": [1.0, 2.0, 11.0, 22.0], "iscrowd": False, "area": 150.5, "difficult": False},
        {"label": "cat", "box": [0.0, 0.0, 5.5, 5.0], "iscrowd": True, "area": None, "difficult": False},
    ]


def test_faults_are_named(tmp_path, picture, write):
    picture("a.png")
    picture("stray.png")
    rows = [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 0, 5]},
        {"id": 2, "image_id": 7, "category_id": 77, "bbox": [1, 1, 5, 5]},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [1, 1, 5]},
        {"id": 4, "image_id": 8, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"id": 5, "image_id": 7, "category_id": 1, "bbox": [1, 1, float("nan"), 5]},
    ]
    images = [{"id": 7, "file_name": "a.png"}, {"id": 6, "file_name": "gone.png"}]
    write("labels.json", json.dumps(document(annotations=rows, images=images)))
    data = open_data(tmp_path)
    assert {(f.kind, f.where) for f in data.findings} == {
        ("box-without-area", "labels.json annotation 1"),
        ("label-invalid", "labels.json annotation 2"),
        ("box-invalid", "labels.json annotation 3"),
        ("label-without-picture", "labels.json annotation 3"),
        ("box-invalid", "labels.json annotation 5"),
        ("label-without-picture", "labels.json image 1"),
        ("picture-without-label", "stray.png"),
    }
    assert [e.fields["objects"] for e in data.examples] == [[]]


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "x/../../outside.png", "..\\outside.png"])
def test_names_never_lead_outside(tmp_path, picture, write, name):
    picture("outside.png")
    picture("data/a.png")
    write("data/labels.json", json.dumps(document(name)))
    with pytest.raises(InputError, match=r"out of the data folder|outside the data folder"):
        open_data(tmp_path / "data")


def test_absolute_names_inside_are_fine(tmp_path, picture, write):
    path = picture("images/a.png")
    write("labels.json", json.dumps(document(path)))
    assert open_data(tmp_path).examples[0].id == "images/a.png"


def test_bad_json(tmp_path, picture, write):
    picture("a.png")
    write("a.json", json.dumps(document())[:-1])
    with pytest.raises(InputError, match=r"a.json: not valid JSON: .* line 1 column"):
        open_data(tmp_path, format="coco")
    write("a.json", '{"images": [], "categories": [], "bbox": ' + "[" * 200_000)
    with pytest.raises(InputError, match=r"a.json: JSON nested too deeply"):
        open_data(tmp_path, format="coco")


def test_outlines_and_run_lengths_become_segments(tmp_path, picture, write):
    picture("a.png")
    found = document()
    width, height = found["images"][0].get("width", 40), found["images"][0].get("height", 30)
    square = {"image_id": found["images"][0]["id"], "category_id": found["categories"][0]["id"]}
    found["annotations"] = [
        {**square, "id": 1, "bbox": [2, 2, 6, 6], "segmentation": [[2, 2, 8, 2, 8, 8, 2, 8]], "area": 36.0},
        {**square, "id": 2, "bbox": [0, 0, width, height], "iscrowd": 1,
         "segmentation": {"size": [height, width], "counts": [0, height * width]}},
        {**square, "id": 3, "bbox": [1, 1, 2, 2]},
    ]  # fmt: skip
    write("a.json", json.dumps(found))
    example = open_data(tmp_path, task="image-segmentation").examples[0]
    segments = example.fields["segments"]
    assert [s["iscrowd"] for s in segments] == [False, True]
    assert [int(m.sum()) for m in masks.load([s["mask"] for s in segments])][1] == width * height
    assert "segments" not in open_data(tmp_path).examples[0].fields
    asked = open_data(tmp_path, task="mask-generation").examples[0].fields["prompts"]
    assert asked[0] == {"box": [2.0, 2.0, 8.0, 8.0]}


def test_key_points_become_poses(tmp_path):
    found = open_data(tiny.poses(tmp_path / "data", 3), task="keypoint-detection")
    (pose,) = found.examples[0].fields["poses"]
    assert pose["names"] == ["one end", "middle", "other end"]
    assert len(pose["keypoints"]) == 3
    assert found.examples[0].fields["boxes"] == [pose["box"]]
