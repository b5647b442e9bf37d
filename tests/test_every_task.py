"""The contract that every task keeps: from data to a verified folder that answers, with nothing special for any task.

A new task needs an entry in `tests/cases.py`, and nothing else.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sensorium
from sensorium import inference, tasks
from sensorium.errors import InputError
from sensorium.tasks import options, to_json
from sensorium.verification import same
from tests.cases import CASES, Trained


def test_every_task_has_a_case() -> None:
    assert sorted(CASES) == tasks.names()


@pytest.fixture(scope="session", params=sorted(CASES))
def trained(request: pytest.FixtureRequest, models: Callable[[str], Trained]) -> Trained:
    return models(request.param)


@pytest.fixture
def learned(trained: Trained) -> Trained:
    if trained.case.checkpoint is not None:
        pytest.skip("has no recipe: its model is converted")
    return trained


def test_a_task_without_a_recipe_has_a_checkpoint() -> None:
    for row in tasks.table():
        assert row["trainable"] == (CASES[row["name"]].checkpoint is None), row["name"]


def test_training_leaves_a_run(learned: Trained) -> None:
    record = json.loads((learned.run / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["result"]["verification"] == "pass"
    metric = tasks.find(learned.name).metric
    assert metric in record["result"]["metrics"]
    assert metric in record["result"]["baseline"]
    pictures = {p.stem for p in (learned.run / "pictures").iterdir()}
    assert {"curves", "predictions", "worst"} <= pictures
    assert list((learned.run / "tensorboard").iterdir())
    for name, least in learned.case.reaches.items():
        assert record["result"]["metrics"][name]["value"] >= least


def test_network_and_folder_have_the_same_metric(learned: Trained) -> None:
    document = json.loads((learned.run / "model" / "verification.json").read_text())
    for entry in document["files"]:
        metric = tasks.find(learned.name).metric
        before, after = entry["metrics_before"][metric], entry["metrics_after"][metric]
        assert before == after or abs(before - after) <= 1e-3
        assert entry["largest_difference"] <= 1e-3


def test_it_evaluates(trained: Trained) -> None:
    report = sensorium.evaluate(trained.run, trained.data, split=trained.split, **trained.case.options).to_json()
    assert set(report) >= {"task", "split", "examples", "metrics", "baseline"}
    for values in report["metrics"].values():
        assert set(values) == {"value", "low", "high"}
    json.dumps(report, allow_nan=False)


def test_answers_are_json_and_pictures(trained: Trained) -> None:
    predictor = sensorium.load(trained.run)
    source = trained.examples(1)[0]
    answer = predictor.predict(source, **trained.case.options)
    json.dumps(to_json(answer), allow_nan=False)
    assert isinstance(predictor.task.draw(predictor.task.open(source), answer), Image.Image)


def test_answers_do_not_depend_on_the_batch(trained: Trained) -> None:
    predictor = sensorium.load(trained.run)
    sources = trained.examples(4)
    alone = [predictor.predict(s, **trained.case.options) for s in sources]
    if trained.name == "image-generation":  # each picture of a batch has noise of its own
        assert same(alone[0], predictor.predict_batch(sources, **trained.case.options)[0])
        return
    together = predictor.predict_batch(sources, **trained.case.options)
    assert all(same(a, b) for a, b in zip(alone, together))
    streamed = [r for _, r in predictor.stream(iter(sources), batch_size=2, **trained.case.options)]
    assert all(same(a, b) for a, b in zip(alone, streamed))


def test_files_describe_the_task_fully(trained: Trained) -> None:
    task = sensorium.load(trained.run).task
    again = type(task).load(task.files())
    assert json.loads(json.dumps(again.files())) == json.loads(json.dumps(task.files()))
    source = task.open(trained.examples(1)[0])
    if not hasattr(task, "predict"):
        for name, array in task.prepare(source).items():
            assert np.array_equal(array, again.prepare(source)[name])


def test_options_are_documented_and_checked(trained: Trained) -> None:
    task = sensorium.load(trained.run).task
    for option in options(type(task)):
        assert option.help, f"{option.name} has no line in the docstring"
        assert option.annotation != "<class 'inspect._empty'>"
        with pytest.raises(InputError, match=f"'{option.name}' is "):
            inference.check_options(task, {option.name: {1}})
    with pytest.raises(InputError, match="no option 'colour'"):
        sensorium.load(trained.run).predict(trained.examples(1)[0], colour="red")


def test_it_verifies_and_notices_one_changed_byte(trained: Trained, tmp_path: Path) -> None:
    import shutil

    assert sensorium.verify(trained.run)["verdict"] == "pass"
    if trained.case.checkpoint is None:
        assert sensorium.verify(trained.run, trained.data)["verdict"] == "pass"
    for network in sorted((trained.run / "model" / "onnx").glob("*.onnx")):
        copy = tmp_path / network.stem
        shutil.copytree(trained.run / "model", copy)
        content = bytearray(network.read_bytes())
        content[len(content) // 2] ^= 1
        (copy / "onnx" / network.name).write_bytes(content)
        report = sensorium.verify(copy)
        assert report["verdict"] == "fail"
        assert network.name in report["message"]


def test_int8_is_measured(trained: Trained, tmp_path: Path) -> None:
    report = sensorium.export(trained.run, to="int8", data=trained.data, out=tmp_path / "small", force=True)
    metric = tasks.find(trained.name).metric
    for entry in report["files"]:
        assert metric in entry["metrics_after"]
        assert entry["verdict"] in ("pass", "fail")
    sensorium.load(tmp_path / "small", precision="int8").predict(trained.examples(1)[0], **trained.case.options)
    if report["verdict"] == "pass":
        assert sensorium.verify(tmp_path / "small")["verdict"] == "pass"


def test_it_is_ready_to_serve_and_to_be_measured(trained: Trained) -> None:
    """With a made-up example, as nobody's data are at hand then."""
    from sensorium.performance import opened_sources
    from sensorium.serving.app import warm_up

    predictor = sensorium.load(trained.run)
    warm_up(predictor)
    opened, needed = opened_sources(predictor)
    assert len(inference.run(predictor.task, predictor.nets, opened, **{**needed, **trained.case.options})) == 1


def test_predictors_travel_light(trained: Trained) -> None:
    predictor = sensorium.load(trained.run)
    source = trained.examples(1)[0]
    before = predictor.predict(source, **trained.case.options)
    packed = pickle.dumps(predictor)
    assert len(packed) < 10_000
    assert same(before, pickle.loads(packed).predict(source, **trained.case.options))


def test_it_answers_without_pytorch(trained: Trained) -> None:
    """The command line, in a process where importing PyTorch fails."""
    import os

    source = trained.examples(1)[0]
    if len(tasks.parts(tasks.find(trained.name))) > 1:
        source = json.dumps(source)
    elif not isinstance(source, str):
        frames = tasks.find(trained.name).source == "frames"
        listed = os.path.dirname(source[0]) if frames else json.dumps(source)
        source = listed if isinstance(source, list) else next(iter(source.values()))
    code = "import sys; sys.modules['torch'] = None; from sensorium.cli import main; sys.exit(main(sys.argv[1:]))"
    flags = [
        word
        for name, value in trained.case.options.items()
        for word in (f"--{name.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value))
    ]
    command = [sys.executable, "-W", "error", "-c", code, "predict", str(trained.run), source, "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"source", "result"}


def test_comparing_a_model_with_itself_finds_no_difference(trained: Trained) -> None:
    report = sensorium.compare(trained.run, trained.run, trained.data, split=trained.split, **trained.case.options)
    assert report["better"] == report["worse"] == 0
    for values in report["difference"].values():
        assert values["difference"] in (0.0, None)


def test_inference_names_what_is_missing(trained: Trained) -> None:
    task = sensorium.load(trained.run).task
    with pytest.raises(InputError):
        inference.evaluate(task, {}, [])
