from __future__ import annotations

import json
import os

import pytest
from PIL import Image

from sensorium.data import open_data
from sensorium.data.check import check, normal, verdict
from tests.data.conftest import voc_xml


def kinds(findings):
    return {
        (f.kind, f.severity, f.where) for f in findings if f.kind not in ("no-splits", "few-examples", "small-split")
    }


@pytest.fixture
def classes(picture):
    """Ten pictures of each of two classes in train, two in test."""
    for label in "ab":
        for i in range(10):
            picture(f"train/{label}/{i}.png")
        for i in range(2):
            picture(f"test/{label}/{label}{i}.png")


def test_nothing_wrong(tmp_path, classes):
    findings = check(open_data(tmp_path))
    assert kinds(findings) == set()
    assert verdict(findings)


def test_pictures_that_do_not_open(tmp_path, classes, write):
    whole = (tmp_path / "train/a/1.png").read_bytes()
    write("train/a/cut.png", whole[: len(whole) // 2])
    write("train/a/text.png", "hello")
    write("train/a/empty.png", b"")
    findings = check(open_data(tmp_path))
    assert kinds(findings) == {("unreadable", "error", f"train/a/{n}.png") for n in ("cut", "text", "empty")}
    assert all("\n" not in f.message for f in findings)
    assert not verdict(findings)


def test_pictures_in_train_and_test(tmp_path, classes, write):
    write("test/a/same.png", (tmp_path / "train/a/1.png").read_bytes())
    with Image.open(tmp_path / "train/b/3.png") as image:
        image.resize((60, 45)).point(lambda v: min(255, v + 6)).save(tmp_path / "test/b/like.jpg", quality=80)
    write("train/b/other.png", (tmp_path / "train/a/5.png").read_bytes())
    found = kinds(check(open_data(tmp_path)))
    assert ("duplicate-across-splits", "warning", "test/a/same.png") in found
    assert ("near-duplicate", "warning", "test/b/like.jpg") in found
    assert ("contradiction", "warning", "train/b/other.png") in found
    assert ("leak", "error", "test") in found  # one of six


def test_classes(tmp_path, picture):
    for i in range(110):
        picture(f"train/a/{i}.png")
    picture("train/b/b.png")
    picture("test/c/c.png")
    found = {(f.kind, f.where) for f in check(open_data(tmp_path))}
    assert {("small-class", "class 'b'"), ("class-not-trained", "class 'c'")} <= found
    assert "imbalance" in {kind for kind, _ in found}


def test_one_class(tmp_path, write):
    write("t.csv", "text,label\n" + "".join(f"text number {chr(97 + i)},spam\n" for i in range(12)))
    assert ("one-class", "error") in {(f.kind, f.severity) for f in check(open_data(tmp_path))}


def test_texts(tmp_path, write):
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
    train = "".join(f"{w} red,{'ab'[i % 2]}\n" for i, w in enumerate(words))
    write("train.csv", f"text,label\n{train}Zero  RED!,b\ncafÃ© noir,a\n,b\n")
    write("test.csv", "text,label\nONE red.,b\nnew green,a\nnew blue,b\n")
    data = open_data(tmp_path)
    assert kinds(check(data)) == {
        ("contradiction", "warning", "train.csv:14"),
        ("mojibake", "warning", "train.csv:15"),
        ("empty-text", "warning", "train.csv:16"),
        ("duplicate-across-splits", "warning", "test.csv:2"),
        ("leak", "error", "test"),
        ("duplicate", "note", "all"),
    }


def test_translations(tmp_path, write):
    lines = [(f"sentence number {chr(97 + i)} is here", f"satz nummer {chr(97 + i)} ist hier") for i in range(20)]
    same = "this line was never translated"
    write("train.en", "".join(a + "\n" for a, _ in lines) + same + "\n\n")
    write("train.de", "".join(b + "\n" for _, b in lines) + same + "\nleer\n")
    write("test.en", lines[3][0].upper() + "\n")
    write("test.de", lines[3][1] + ".\n")
    assert kinds(check(open_data(tmp_path))) == {
        ("untranslated", "warning", "train.de:21"),
        ("empty-text", "warning", "train.de:22"),
        ("duplicate-across-splits", "warning", "test.de:1"),
        ("leak", "error", "test"),
    }


def test_sounds(tmp_path, sound, write):
    lines = []
    for i in range(12):
        sound(f"wavs/{i}.wav", 0.5)
        lines.append({"audio_filepath": f"wavs/{i}.wav", "text": "hello there"})
    sound("wavs/rate.wav", 0.5, rate=16000)
    sound("wavs/none.wav", 0)
    sound("wavs/long.wav", 0.1)
    whole = (tmp_path / "wavs/3.wav").read_bytes()
    write("wavs/cut.wav", whole[:-1000])
    write("wavs/text.wav", "hello")
    write("wavs/quiet.wav", whole[:44] + bytes(len(whole) - 44))
    texts = {"rate": "hello → there", "none": "x", "long": "far too many words for so little time", "cut": "hello"}
    texts |= {"text": "hello", "quiet": "hello"}
    lines += [{"audio_filepath": f"wavs/{k}.wav", "text": v} for k, v in texts.items()]
    write("train.jsonl", "\n".join(map(json.dumps, lines)))
    assert kinds(check(open_data(tmp_path))) == {
        ("rate", "warning", "train.jsonl:13"),
        ("odd-character", "note", "train.jsonl:13"),
        ("empty-sound", "error", "train.jsonl:14"),
        ("text-too-long", "warning", "train.jsonl:15"),
        ("unreadable", "error", "train.jsonl:16"),
        ("unreadable", "error", "train.jsonl:17"),
        ("silence", "warning", "train.jsonl:18"),
    }


def test_boxes(tmp_path, picture, write):
    for i in range(12):
        picture(f"JPEGImages/{i}.jpg")
        box = (1 + i, 2, 21 + i, 12) if i else (5, 5, 5, 5)
        twice = [("a", *box)] * (1 + (i == 3))
        write(f"Annotations/{i}.xml", voc_xml(f"{i}.jpg", *twice, size=(400, 300) if i == 4 else (40, 30)))
    write("Annotations/4.xml", voc_xml("4.jpg", ("a", 100, 100, 200, 200), size=(400, 300)))
    found = kinds(check(open_data(tmp_path)))
    assert found == {
        ("box-without-area", "warning", "Annotations/0.xml object 1"),
        ("duplicate-box", "warning", "Annotations/3.xml"),
        ("size-differs", "warning", "Annotations/4.xml"),
        ("background", "note", str(tmp_path)),
    }


def test_mostly_faulty_boxes_are_an_error(tmp_path, picture, write):
    for i in range(10):
        picture(f"{i}.jpg")
        write(f"{i}.xml", voc_xml(f"{i}.jpg", ("a", 20, 2, 5, 12), ("a", 1, 1, 9, 9)))
    findings = check(open_data(tmp_path))
    assert ("boxes", "error") in {(f.kind, f.severity) for f in findings}


def test_groups_in_both_parts(tmp_path, sound):
    for digit in "01":
        for speaker in ("ann", "bob"):
            for n in range(3):
                sound(f"{digit}_{speaker}_{n}.wav")
    splits = {"train": [f"{d}_{s}_{n}.wav" for d in "01" for s in ("ann", "bob") for n in (0, 1)]}
    splits["test"] = [f"{d}_ann_2.wav" for d in "01"]
    found = {(f.kind, f.severity) for f in check(open_data(tmp_path, splits=splits))}
    assert ("group-divided", "note") in found


def test_of_large_data_a_sample_is_taken_and_said(tmp_path, classes):
    findings = check(open_data(tmp_path), media_limit=7)
    assert ("sampled", "7 of 24 examples were looked into") in {(f.kind, f.message) for f in findings}


def test_many_of_a_kind_are_counted(tmp_path, write):
    write(
        "t.csv",
        "text,label\n" + "".join(f"cafÃ© number {chr(97 + i % 26)}{i // 26},{'ab'[i % 2]}\n" for i in range(60)),
    )
    told = [f for f in check(open_data(tmp_path)) if f.kind == "mojibake"]
    assert len(told) == 21
    assert told[-1].message == "60 in all"


def test_normal():
    assert normal("Ｈello,  WORLD 12!") == "hello world 00"
    assert normal("?!") == "?!"


def test_a_folder_that_cannot_be_entered_is_no_crash(tmp_path, classes):
    os.chmod(tmp_path / "train/a/0.png", 0)
    try:
        check(open_data(tmp_path))
    finally:
        os.chmod(tmp_path / "train/a/0.png", 0o644)
