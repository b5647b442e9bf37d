from __future__ import annotations

import json

import pytest

from sensorium.data import open_data
from sensorium.data.convert import convert
from sensorium.data.show import contact_sheet, summary, table
from sensorium.errors import InputError
from tests.data.conftest import voc_xml


@pytest.fixture
def voc(tmp_path, picture, write):
    for i in range(4):
        picture(f"voc/JPEGImages/{i}.jpg")
        write(f"voc/Annotations/{i}.xml", voc_xml(f"{i}.jpg", ("cell & co", 1.25, 2, 11, 12.5), ("blob", 3, 4, 15, 26)))
        if i < 3:
            write(f"voc/ImageSets/Main/{('train', 'val', 'test')[i]}.txt", f"{i}\n")
    write("voc/Annotations/3.xml", voc_xml("3.jpg"))
    return tmp_path / "voc"


def truth(data):
    return sorted(
        (
            e.id.split("/")[-1],
            e.split or "",
            [(o["label"], [pytest.approx(v) for v in o["box"]]) for o in e.fields["objects"]],
        )
        for e in data.examples
    )


@pytest.mark.parametrize("path", [("coco", "voc"), ("yolo", "voc"), ("coco", "yolo", "coco"), ("yolo", "coco", "yolo")])
def test_boxes_go_round(tmp_path, voc, path):
    data = open_data(voc)
    before = truth(data)
    for i, to in enumerate(path):
        assert convert(data, to, tmp_path / f"{i}") == []
        data = open_data(tmp_path / f"{i}")
        assert data.format == to
        assert truth(data) == before


def test_what_coco_has_and_others_not_is_said(tmp_path, picture, write):
    picture("a.png")
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}
    rows = [{**box, "id": 1, "area": 33, "iscrowd": 1}, {**box, "id": 2, "area": 81}]
    document = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": rows,
        "categories": [{"id": 1, "name": "x"}],
    }
    write("labels.json", json.dumps(document))
    assert convert(open_data(tmp_path), "voc", tmp_path / "out") == ["crowd marks (1)", "areas of outlines (1)"]


TEXTS = [
    ("plain", "a"),
    ('with "marks", commas\tand tabs', "b"),
    ("two\nlines", "a"),
    ("smörgås 日本", "b/c"),
    ('"all"', "a"),
]


@pytest.mark.parametrize(
    "path", [("csv", "tsv", "jsonl", "csv"), ("tsv", "class-folders", "jsonl"), ("class-folders", "tsv")]
)
def test_texts_go_round(tmp_path, write, path):
    for split in ("train", "test"):
        lines = (json.dumps({"text": f"{text} {split}", "label": label}) for text, label in TEXTS)
        write(f"in/{split}.jsonl", "\n".join(lines))
    data = open_data(tmp_path / "in")
    for i, to in enumerate(path):
        assert convert(data, to, tmp_path / f"{i}") == []
        data = open_data(tmp_path / f"{i}")
    assert sorted((e.fields["text"], e.fields["label"], e.split) for e in data.examples) == sorted(
        (f"{text} {split}", label, split) for text, label in TEXTS for split in ("train", "test")
    )


def test_parallel_text_goes_round(tmp_path, write):
    for split in ("train", "test"):
        write(f"in/{split}.en", f'say "so" {split}\n"quoted"\nplain\n')
        write(f"in/{split}.ja", f"そう {split}\n引用\n平易\n")
    data = open_data(tmp_path / "in")
    before = [(e.fields, e.split) for e in data.examples]
    for to in ("tsv", "jsonl", "csv", "moses"):
        assert convert(data, to, tmp_path / to) == []
        data = open_data(tmp_path / to)
        assert sorted(map(str, [(e.fields, e.split) for e in data.examples])) == sorted(map(str, before))
    assert (tmp_path / "moses/train.en").read_bytes() == (tmp_path / "in/train.en").read_bytes()


def test_sounds_go_round(tmp_path, sound, write):
    lines = []
    for name in ("x/1", "y/1", "z"):
        sound(f"in/{name}.wav")
        lines.append({"audio_filepath": f"{name}.wav", "text": f"text of {name}", "speaker": name[0]})
    write("in/train.jsonl", "\n".join(map(json.dumps, lines)))
    data = open_data(tmp_path / "in")
    assert convert(data, "ljspeech", tmp_path / "lj") == ["groups (speakers) (3)"]
    data = open_data(tmp_path / "lj")
    assert (data.format, data.splits()) == ("ljspeech", {"train": 3})
    assert convert(data, "manifest", tmp_path / "back") == []
    row = json.loads((tmp_path / "back/train.jsonl").read_text().splitlines()[0])
    assert row == {
        "audio_filepath": "wavs/train_1.wav".replace("train_1", row["audio_filepath"][5:-4]),
        "duration": 0.1,
        "text": "text of x/1",
    }


def test_tracks_become_boxes(tmp_path, picture, write):
    for i in (1, 2):
        picture(f"in/train/A/img1/{i:06d}.jpg")
    write("in/train/A/gt/gt.txt", "1,1,2,3,10,5,1,1,1\n2,2,0,0,4,4,0,1,1\n")
    lost = convert(open_data(tmp_path / "in"), "coco", tmp_path / "out")
    assert lost == ["the order of the frames (their names keep it) and the identities of the tracks"]
    data = open_data(tmp_path / "out")
    assert data.splits() == {"train": 2}
    assert [[o["iscrowd"] for o in e.fields["objects"]] for e in data.examples] == [[False], [True]]


def test_refusals(tmp_path, voc, write):
    data = open_data(voc)
    with pytest.raises(InputError, match="exists"):
        convert(data, "coco", voc)
    with pytest.raises(InputError, match="cannot be written as 'xls'"):
        convert(data, "xls", tmp_path / "out")
    with pytest.raises(InputError, match="no translation"):
        convert(data, "moses", tmp_path / "out")
    write("t/t.csv", "text,label\nx,../../up\ny,b\n")
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        convert(open_data(tmp_path / "t"), "class-folders", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_show(tmp_path, voc, sound, write):
    found = summary(open_data(voc))
    assert json.loads(json.dumps(found)) == found
    assert found["splits"] == {"train": 1, "val": 1, "test": 1, "no split": 1}
    assert found["classes"]["blob"] == {"train": 1, "val": 1, "test": 1}
    assert found["sizes"]["width"] == {"least": 40, "median": 40, "most": 40}
    assert "cell & co" in table(found)
    assert contact_sheet(open_data(voc)).size[0] > 100
    for i in range(3):
        sound(f"a/x_{i}.wav")
        sound(f"a/y_{i}.wav")
    found = summary(open_data(tmp_path / "a"))
    assert found["rates"] == {"8000": 6}
    assert "8000 Hz" in table(found)
    assert contact_sheet(open_data(tmp_path / "a")).size[0] > 100
    write("t/t.csv", "en,de\nyes,ja\nno,nein\n")
    found = summary(open_data(tmp_path / "t"))
    assert found["lengths"]["characters of de"]["most"] == 4
    assert contact_sheet(open_data(tmp_path / "t")).size[0] > 100
