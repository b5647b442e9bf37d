from __future__ import annotations

import pytest
from PIL import Image

from sensorium.data import open_data
from sensorium.errors import InputError


@pytest.fixture
def yolo(tmp_path, picture, write):
    for split in ("train", "valid"):
        for i in range(2):
            picture(f"{split}/images/{split}{i}.jpg")
            write(f"{split}/labels/{split}{i}.txt", "1 0.5 0.5 0.5 0.2\n")
    write("data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
    return tmp_path


def test_yolo(yolo):
    data = open_data(yolo)
    assert data.format == "yolo"
    assert data.splits() == {"train": 2, "val": 2}
    assert data.classes == ("cat", "dog")
    assert data.examples[0].id == "train/images/train0.jpg"
    thing = data.examples[0].fields["objects"][0]
    assert thing["label"] == "dog"
    assert thing["box"] == pytest.approx([10, 12, 30, 18])


def test_outlines_faults_and_background(yolo, write, picture):
    write(
        "train/labels/train0.txt",
        "0 0.1 0.2 0.5 0.2 0.5 0.6\n9 0.5 0.5 0.1 0.1\n0 x\n0 120 130 20 30\n1 0.5 0.5 0 0.1\n",
    )
    write("train/labels/train1.txt", "")
    picture("train/images/new.jpg")
    write("train/labels/gone.txt", "0 0.5 0.5 0.1 0.1\n")
    data = open_data(yolo)
    boxes = [[o["box"] for o in e.fields["objects"]] for e in data.subset("train")]
    assert boxes == [[pytest.approx([4, 6, 20, 18])], []]
    assert {(f.kind, f.where.split("/")[-1]) for f in data.findings} == {
        ("label-invalid", "train0.txt:2"),
        ("label-invalid", "train0.txt:3"),
        ("box-invalid", "train0.txt:4"),
        ("box-without-area", "train0.txt:5"),
        ("picture-without-label", "new.jpg"),
        ("label-without-picture", "gone.txt"),
    }


def test_classes_txt_and_lists(tmp_path, picture, write):
    for i in range(2):
        picture(f"images/{i}.png")
        write(f"labels/{i}.txt", "0 0.5 0.5 0.5 0.2\n")
    write("classes.txt", "cell\n")
    assert open_data(tmp_path).classes == ("cell",)
    (tmp_path / "classes.txt").unlink()
    write("train.txt", "./images/0.png\n")
    write("test.txt", "images/1.png\n")
    write("x.yaml", "train: train.txt\ntest: test.txt\nnames: {0: cell}\n")
    assert open_data(tmp_path).splits() == {"train": 1, "test": 1}


def test_the_size_is_that_of_the_turned_picture(tmp_path, write):
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "images/a.jpg", exif=exif)
    write("labels/a.txt", "0 0.5 0.5 1 1\n")
    assert open_data(tmp_path).examples[0].fields["objects"][0]["box"] == [0, 0, 20, 40]


def test_yaml_runs_nothing(yolo, write):
    write("data.yaml", "names: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match=r"data.yaml: not valid YAML"):
        open_data(yolo)
