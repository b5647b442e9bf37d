from __future__ import annotations

import pytest

from sensorium.data import open_data
from sensorium.errors import InputError
from tests.data.conftest import voc_xml


@pytest.fixture
def voc(tmp_path, picture, write):
    for i in range(3):
        picture(f"JPEGImages/{i}.jpg")
        write(f"Annotations/{i}.xml", voc_xml(f"{i}.jpg", ("cell", 1, 2, 11, 12), ("blob", 3, 4, 5, 6)))
        write(f"ImageSets/Main/{('train', 'val', 'test')[i]}.txt", f"{i}\n")
    return tmp_path


def test_voc(voc):
    data = open_data(voc)
    assert data.format == "voc"
    assert data.splits() == {"train": 1, "val": 1, "test": 1}
    assert data.classes == ("blob", "cell")
    first = data.examples[0]
    assert first.id == "JPEGImages/0.jpg"
    assert first.where == "Annotations/0.xml"
    assert first.fields["objects"][0] == {
        "label": "cell",
        "box": [1.0, 2.0, 11.0, 12.0],
        "iscrowd": False,
        "area": None,
        "difficult": False,
    }


def test_faulty_boxes_are_left_out_and_named(voc, write):
    xml = voc_xml("0.jpg", ("a", 5, 5, 5, 9), ("a", 9, 9, 1, 1), ("a", 50, 50, 60, 60), ("a", 30, 20, 60, 29))
    write("Annotations/0.xml", xml)
    data = open_data(voc)
    assert [(f.kind, f.where) for f in data.findings] == [
        ("box-without-area", "Annotations/0.xml object 1"),
        ("box-inverted", "Annotations/0.xml object 2"),
        ("box-outside", "Annotations/0.xml object 3"),
        ("box-over-border", "Annotations/0.xml object 4"),
    ]
    assert [o["box"] for o in data.examples[0].fields["objects"]] == [[30.0, 20.0, 40.0, 29.0]]


def test_labels_without_pictures_and_pictures_without_labels(voc, picture):
    (voc / "JPEGImages/1.jpg").unlink()
    picture("JPEGImages/9.jpg")
    data = open_data(voc)
    assert [e.id for e in data.examples] == ["JPEGImages/0.jpg", "JPEGImages/2.jpg"]
    assert {(f.kind, f.severity, f.where) for f in data.findings} == {
        ("label-without-picture", "error", "Annotations/1.xml"),
        ("picture-without-label", "warning", "JPEGImages/9.jpg"),
    }


def test_entities_are_refused(voc, write):
    write("Annotations/0.xml", '<!DOCTYPE x [<!ENTITY a "b">]>' + voc_xml("0.jpg"))
    data = open_data(voc)
    assert [(f.kind, f.severity) for f in data.findings if f.where == "Annotations/0.xml"] == [("unreadable", "error")]


def test_one_image_in_two_sets(voc, write):
    write("ImageSets/Main/val.txt", "0\n")
    with pytest.raises(InputError, match=r"val.txt:1: '0' is also in"):
        open_data(voc)
