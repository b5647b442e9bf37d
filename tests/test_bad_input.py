"""Bad input to every verb: one clear line, the exit status that says whose fault it is, and nothing half-written."""

from __future__ import annotations

import json
import re
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sensorium
from sensorium.cli import main
from sensorium.data import Example
from sensorium.errors import Fault, InputError
from sensorium.evaluation import unknown_labels
from tests import tiny
from tests.cases import Trained


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder of files that are all wrong in their own way."""
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("this is no picture")
    good = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(good)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    Image.new("L", (1, 1)).save(tmp_path / "one.png")
    (tmp_path / "latin.tsv").write_bytes("text\tlabel\ncaf\xe9 ol\xe9\ta\nna\xefve\tb\n".encode("latin-1") * 20)
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "unlabelled.tsv").write_text("text\nfirst\nsecond\n")
    (tmp_path / "one-class.tsv").write_text("text\tlabel\n" + "".join(f"text number {i}\ta\n" for i in range(40)))
    with wave.open(str(tmp_path / "silent.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"")
    (tmp_path / "broken-coco").mkdir()
    (tmp_path / "broken-coco" / "instances.json").write_text('{"images": [{"id": 1, "file_name": "a.png"')
    (tmp_path / "not-a-model" / "onnx").mkdir(parents=True)
    (tmp_path / "broken-model" / "onnx").mkdir(parents=True)
    (tmp_path / "broken-model" / "onnx" / "model.onnx").write_bytes(b"\x08\x07 no network")
    (tmp_path / "broken-model" / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    tiny.image_folder(tmp_path / "photos", count=30)
    for old in (tmp_path / "photos").iterdir():
        shutil.copytree(old, tmp_path / "others" / old.name.replace("digit", "number"))
    return tmp_path


CALLS = {
    "no verb of that name": ("learn x", 2),
    "a verb misspelt": ("evalute x y", 2),
    "train: no such task": ("train image-classifcation {bad}/photos --out {bad}/out", 2),
    "train: no data": ("train image-classification {bad}/nowhere --out {bad}/out", 2),
    "train: empty folder": ("train image-classification {bad}/empty-folder --out {bad}/out", 2),
    "train: data of another task": ("train object-detection {bad}/photos --out {bad}/out", 2),
    "train: text for pictures": ("train image-classification {bad}/one-class.tsv --out {bad}/out", 2),
    "train: no labels": ("train text-classification {bad}/unlabelled.tsv --out {bad}/out", 2),
    "train: broken annotations": ("train object-detection {bad}/broken-coco --out {bad}/out", 2),
    "train: not text": ("train text-classification {bad}/binary.csv --out {bad}/out", 2),
    "train: no such parameter": ("train image-classification {bad}/photos --out {bad}/out --set colour=red", 2),
    "train: wrong kind of value": ("train image-classification {bad}/photos --out {bad}/out --set batch_size=many", 2),
    "train: bad duration": ("train image-classification {bad}/photos --out {bad}/out --budget soon", 2),
    "train: no such device": ("train image-classification {bad}/photos --out {bad}/out --device tpu", 2),
    "train: no such base": ("train image-classification {bad}/photos --out {bad}/out --base {bad}/nowhere", 2),
    "train: missing argument": ("train image-classification", 2),
    "evaluate: no model": ("evaluate {bad}/nowhere {bad}/photos", 2),
    "evaluate: not a model": ("evaluate {bad}/photos {bad}/photos", 2),
    "evaluate: wrong task's data": ("evaluate {text} {bad}/photos", 2),
    "evaluate: no such split": ("evaluate {text} {data} --split other", 2),
    "evaluate: labels of another model": ("evaluate {image} {bad}/others", 2),
    "evaluate: no such metric": ("evaluate {text} {data} --min beauty=1", 2),
    "evaluate: no number demanded": ("evaluate {text} {data} --min accuracy=high", 2),
    "evaluate: below what is demanded": ("evaluate {text} {data} --min accuracy=1.01", 1),
    "evaluate: no such precision here": ("evaluate {text} {data} --precision fp16", 3),
    "predict: no such file": ("predict {image} {bad}/nowhere.png", 2),
    "predict: empty file": ("predict {image} {bad}/empty.png", 2),
    "predict: not a picture": ("predict {image} {bad}/text.png", 2),
    "predict: cut short": ("predict {image} {bad}/cut.png", 2),
    "predict: empty folder": ("predict {image} {bad}/empty-folder", 2),
    "predict: a sound for a picture": ("predict {image} {bad}/silent.wav", 2),
    "predict: no such option": ("predict {image} {bad}/good.png --beams 3", 2),
    "predict: nowhere to draw": ("predict {image} {bad}/good.png --draw {bad}/text.png/drawn", 2),
    "predict: empty model folder": ("predict {bad}/not-a-model x", 2),
    "predict: no name": ("predict {image} {bad}/good.png {nothing}", 2),
    "predict: too many threads": ("predict {image} {bad}/good.png --threads 9999", 2),
    "predict: nothing to write": ("predict {image} {bad}/nowhere.png --out {bad}/answers.jsonl", 2),
    "predict: a folder for a text": ("predict {text} {bad}/photos", 2),
    "predict: another kind of answer": ("predict {image} {bad}/good.png --task object-detection", 2),
    "predict: another kind of network": ("predict {text} words --task text-generation", 2),
    "predict: broken network": ("predict {bad}/broken-model x y", 2),
    "predict: an option out of its range": ("predict {image} {bad}/photos --top-k 0 --out {bad}/out/a.jsonl", 2),
    "predict: no way to run it": ("predict {image} {bad}/photos --device cuda", 3),
    "verify: no model": ("verify {bad}/nowhere", 2),
    "verify: nothing recorded": ("verify {bad}/broken-model", 1),
    "verify: nothing to measure with": ("verify {text} --precision int8", 2),
    "bench: another task's network": ("bench {image} --task object-detection", 2),
    "bench: no time": ("bench {image} --seconds 0", 2),
    "tune: no time": ("tune {image} --seconds -1", 2),
    "compare: different tasks": ("compare {text} {image} {data}", 2),
    "compare: no model": ("compare {text} {bad}/nowhere {data}", 2),
    "inspect: nothing there": ("inspect {bad}/nowhere", 2),
    "inspect: no path": ("inspect {nothing}", 2),
    "inspect: no file": ("inspect /dev/null", 2),
    "pull: no path": ("pull {nothing}", 2),
    "data check: no path": ("data check {nothing}", 2),
    "export: nowhere to write": ("export {text} --to int8 --out {nothing}", 2),
    "inspect: nothing known": ("inspect {bad}/binary.csv", 2),
    "inspect: broken network": ("inspect {bad}/broken-model/onnx/model.onnx", 2),
    "export: no such format": ("export {text} --to int3", 2),
    "export: no model": ("export {bad}/nowhere --to int8", 2),
    "serve: no model": ("serve {bad}/nowhere", 2),
    "data check: nothing there": ("data check {bad}/nowhere", 2),
    "data check: empty": ("data check {bad}/empty-folder", 2),
    "data split: nowhere to write": ("data split {bad}/photos --out {bad}/good.png/splits.json", 2),
    "data convert: no such format": ("data convert {bad}/photos --to parchment --out {bad}/out", 2),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_line_and_nothing_written(
    name: str, bad: Path, models: Callable[[str], Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    text, status = CALLS[name]
    places = {"bad": str(bad), "text": "", "image": "", "data": "", "nothing": ""}
    if "{text}" in text or "{data}" in text:
        trained = models("text-classification")
        places |= {"text": str(trained.run), "data": str(trained.data)}
    if "{image}" in text:
        places["image"] = str(models("image-classification").run)
    before = sorted(p for p in bad.rglob("*"))
    capsys.readouterr()
    assert main([word.format(**places) for word in text.split()]) == status
    found = capsys.readouterr()
    said = [line for line in found.err.splitlines() if line.startswith("sensorium: ")]
    assert "Traceback" not in found.err
    if name != "verify: nothing recorded":
        assert len(said) == 1, found.err
        assert 20 < len(said[0]) < 600
        assert not re.search(r"0x[0-9a-f]{6,}", said[0])
    left = [p for p in bad.rglob("*") if p not in before and p.name != ".lock"]
    assert not [p for p in left if p.is_file() or p.name != "out"], left


def test_a_single_pixel_is_answered(bad: Path, models: Callable[[str], Trained]) -> None:
    assert main(["predict", str(models("image-classification").run), str(bad / "one.png")]) == 0


def test_bad_ones_among_good_ones(
    bad: Path, models: Callable[[str], Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(models("image-classification").run)
    files = [str(bad / n) for n in ("good.png", "cut.png", "one.png", "empty.png")]
    capsys.readouterr()
    assert main(["predict", run, *files, "--json"]) == 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["source"] for line in lines] == files
    assert ["result" in line for line in lines] == [True, False, True, False]


def test_training_names_the_bad_examples(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bad / "photos" / "digit 0" / "cut.png").write_bytes((bad / "cut.png").read_bytes())
    arguments = ["train", "image-classification", str(bad / "photos"), "--out", str(bad / "out"), "--epochs", "1"]
    assert main(arguments) == 2
    assert "cut.png" in capsys.readouterr().err
    assert main([*arguments, "--skip-bad", "--set", "image_size=32"]) == 0
    assert "left out" in capsys.readouterr().err


def test_a_label_without_its_picture_is_never_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny.coco(tmp_path / "data", count=12)
    (data / "train" / "1.png").unlink()
    arguments = ["train", "object-detection", str(data), "--out", str(tmp_path / "out"), "--epochs", "1"]
    assert main(arguments) == 2
    assert "1.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wrong_name_leaves_earlier_answers(bad: Path, models: Callable[[str], Trained]) -> None:
    out, run = bad / "answers.jsonl", str(models("image-classification").run)
    assert main(["predict", run, str(bad / "good.png"), "--out", str(out)]) == 0
    kept = out.read_text()
    assert main(["predict", run, str(bad / "nowhere.png"), "--out", str(out)]) == 2
    assert out.read_text() == kept


def test_nothing_but_json_where_json_is_asked(
    models: Callable[[str], Trained], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trained = models("text-classification")
    capsys.readouterr()
    assert main(["tune", str(trained.run), "--forget", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forgotten"] is False
    assert main(["evaluate", str(trained.run), str(trained.data), "--min", "beauty=1", "--json"]) == 2
    assert not capsys.readouterr().out
    assert main(["data", "show", str(trained.data), "--sheet", str(tmp_path / "sheet.xyz"), "--json"]) == 2
    assert not capsys.readouterr().out
    page = tmp_path / "run.html"
    assert main(["inspect", str(trained.run), "--html", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "model"
    assert "<svg" in page.read_text("utf-8")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_file_of_settings_that_is_a_list(
    name: str, models: Callable[[str], Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models("text-classification").run / "model", tmp_path / "model")
    (tmp_path / "model" / name).write_text("[1, 2]")
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "model"), "some words"]) == 2
    assert f"{name}: should hold an object" in capsys.readouterr().err


def test_a_tokenizer_that_cannot_be_used_is_told_once(
    models: Callable[[str], Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models("text-classification").run / "model", tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text('{"model": 1}')
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "model"), "some words", "others", "more"]) == 2
    assert capsys.readouterr().err.count("tokenizer.json") == 1


def test_answers_stay_where_an_option_is_wrong_and_folders_are_made(
    bad: Path, models: Callable[[str], Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    out, run = bad / "new" / "folder" / "answers.jsonl", str(models("image-classification").run)
    assert main(["predict", run, str(bad / "good.png"), "--out", str(out)]) == 0
    kept = out.read_text()
    capsys.readouterr()
    assert main(["predict", run, str(bad / "photos"), "--top-k", "0", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("top_k") == 1
    assert out.read_text() == kept


def test_labels_that_the_model_does_not_know_are_named(
    bad: Path, models: Callable[[str], Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(models("image-classification").run)
    shutil.copytree(bad / "others" / "number 1", bad / "photos" / "number 1")
    capsys.readouterr()
    assert main(["evaluate", run, str(bad / "photos"), "--split", "all", "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out)["notes"]
    assert [line for line in found.err.splitlines() if "1 of the 4 labels" in line and "'number 1'" in line]
    assert main(["compare", run, run, str(bad / "photos"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 2


@pytest.mark.parametrize(
    ("field", "truth", "strange"),
    [
        ("label", "b", "'b'"),
        ("labels", ["a", "b"], "'b'"),
        ("objects", [{"label": "a"}, {"label": "b"}], "'b'"),
        ("tracks", [[{"label": "a"}], [{"label": "b"}, {"label": "c", "ignore": True}]], "'b'"),
        ("tags", ["O", "S-a", "B-b"], "'b'"),
        ("tags", ["O", "S-a", "O"], ""),
        ("text", "b", ""),
    ],
)
def test_labels_of_every_kind_of_truth(field: str, truth: object, strange: str) -> None:
    labels = ["O", "B-a", "I-a"] if field == "tags" else ["a"]
    task: Any = SimpleNamespace(truth=field, labels=labels)
    examples = [Example("1", {field: truth}, "1"), Example("2", {field: ["B-a"] if field == "tags" else "a"}, "2")]
    assert "; ".join(unknown_labels(task, examples)).endswith(strange)
    assert bool(unknown_labels(task, examples)) == bool(strange)
    if strange:
        with pytest.raises(InputError, match="none of the labels"):
            unknown_labels(SimpleNamespace(truth=field, labels=["O", "z"]), examples)  # type: ignore[arg-type]


def test_a_fault_of_the_program_is_not_the_users(
    bad: Path, models: Callable[[str], Trained], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object, **named: object) -> None:
        raise KeyError("logit")

    monkeypatch.setattr("sensorium.ops.classification.ranked", broken)
    arguments = ["predict", str(models("image-classification").run), str(bad / "good.png")]
    capsys.readouterr()
    assert main(arguments) == 70
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "KeyError: 'logit'" in said[0]
    with pytest.raises(Fault) as told:
        main([*arguments, "--debug"])
    assert isinstance(told.value.__cause__, KeyError)


def test_an_empty_path_is_not_the_current_folder(bad: Path) -> None:
    for call in (
        lambda: sensorium.inspect(""),
        lambda: sensorium.open_data(""),
        lambda: sensorium.load(""),
        lambda: sensorium.pull(""),
        lambda: sensorium.convert(bad / "good.png", out=""),
        lambda: sensorium.export(bad, to="int8", out=""),
        lambda: sensorium.train("image-classification", bad / "photos", out=""),
    ):
        with pytest.raises(InputError, match="an empty path"):
            call()
