"""Settings, tuning, measuring and streaming of a model folder."""

from __future__ import annotations

import importlib.util
import json
import pickle
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sensorium
from sensorium import performance
from sensorium.cli import main
from sensorium.errors import InputError, MissingError, SensoriumError
from sensorium.nets import Settings, settings
from sensorium.nets.ort import session_options
from tests.cases import Trained

Models = Callable[[str], Trained]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_tuning_is_recorded_and_counts_until_forgotten(models: Models, capsys: pytest.CaptureFixture[str]) -> None:
    run = models("image-classification").run
    sources = [str(s) for s in models("image-classification").examples(2)]
    report = sensorium.tune(run, sources, seconds=0.05)
    assert report["chosen"]["engine"] in settings.ENGINES
    assert report["chosen"]["precision"] == "fp32"  # two sources show nothing about a lower one
    for row in report["candidates"]:
        assert ("seconds" in row) != ("left_out" in row)
        assert row["precision"] == "fp32" or "left_out" in row
    assert asdict(sensorium.load(run).settings) == report["chosen"]
    asked = sensorium.load(run, engine="onnxruntime").settings
    assert asked.threads is None
    assert main(["tune", str(run), "--forget"]) == 0
    assert sensorium.load(run).settings == Settings()
    assert "forgotten" in capsys.readouterr().out


def test_a_damaged_record_is_no_record(models: Models) -> None:
    run = models("image-classification").run
    place = settings.record(run / "model", Settings(threads=1), [])
    assert sensorium.load(run).settings.threads == 1
    place.write_text("{")
    assert sensorium.load(run).settings == Settings()


def test_verification_does_not_depend_on_tuning(models: Models) -> None:
    trained = models("image-classification")
    settings.record(trained.run / "model", Settings("onnxruntime", "int8"), [])  # there is no such file
    assert sensorium.verify(trained.run, trained.data)["verdict"] == "pass"


def test_wrong_settings_are_named() -> None:
    for wrong in ({"engine": "theano"}, {"precision": "int3"}, {"threads": 0}, {"device": "abacus"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Settings(**wrong)


def test_a_device_that_is_not_here_is_named(models: Models) -> None:
    with pytest.raises(MissingError, match="coreml"):
        sensorium.load(models("image-classification").run, device="coreml").warm_up()


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="pip install 'sensorium[openvino]'")
def test_openvino_gives_the_same_answers(models: Models) -> None:
    for name in ("image-classification", "object-detection", "translation"):
        trained = models(name)
        for source in trained.examples(2):
            a = sensorium.load(trained.run).predict(source, **trained.case.options)
            b = sensorium.load(trained.run, engine="openvino").predict(source, **trained.case.options)
            from sensorium.verification import same

            assert same(a, b), name
    with pytest.raises(InputError, match="openvino"):
        sensorium.load(models("image-classification").run, precision="bf16").warm_up()
    # Words are hashed in 64 bits, which OpenVINO does not have.
    with pytest.raises(InputError, match="OpenVINO gives other outputs"):
        sensorium.load(models("text-classification").run, engine="openvino").predict("some words")


def test_bench_counts_the_work(models: Models, capsys: pytest.CaptureFixture[str]) -> None:
    run = models("text-classification").run
    assert main(["bench", str(run), "some words", "--seconds", "0.02", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [b["batch_size"] for b in report["batches"]] == [1, 4, 16]
    assert 0 < report["engine_share"] <= 1
    pictures = sensorium.bench(models("image-classification").run, seconds=0.02)
    assert pictures["multiply_adds"] > 10**6


@pytest.mark.parametrize(
    ("kind", "given", "made", "work"),
    [
        ("MatMul", [[2, 5, 3], [3, 4]], [[2, 5, 4]], 120),
        ("Gemm", [[5, 3], [4, 3], [4]], [[5, 4]], 60),
        ("Conv", [[1, 6, 8, 8], [4, 3, 3, 3]], [[1, 4, 8, 8]], 4 * 64 * 27),
        ("ConvTranspose", [[1, 6, 8, 8], [6, 4, 2, 2]], [[1, 4, 16, 16]], 6 * 64 * 16),
        ("LSTM", [[7, 2, 3], [1, 16, 3], [1, 16, 4]], [[7, 1, 2, 4]], 14 * (48 + 64)),
        ("MultiHeadAttention", [[2, 5, 24], [2, 7, 24], [2, 7, 24]], [[2, 5, 24]], 2 * 5 * 2 * 7 * 24),
        ("Relu", [[4]], [[4]], 0),
    ],
)
def test_work_of_a_node(kind: str, given: list[list[int]], made: list[list[int]], work: int) -> None:
    assert performance._work(kind, given, made) == work


def test_streams_read_ahead_no_further_than_two_batches(models: Models) -> None:
    predictor = sensorium.load(models("image-classification").run)
    taken, lock = [0], threading.Lock()

    def endless() -> object:
        while True:
            with lock:
                taken[0] += 1
            yield np.zeros((20, 20, 3), np.uint8) if taken[0] % 3 else b"no picture"

    stream = predictor.stream(endless(), batch_size=4)  # type: ignore[arg-type]
    answers = [next(stream)[1] for _ in range(24)]
    assert taken[0] <= 24 + 8
    assert [isinstance(a, SensoriumError) for a in answers] == [i % 3 == 2 for i in range(24)]
    stream.close()


def test_each_core_answers_its_own_sources(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = models("image-classification")
    opened: list[Any] = []

    def options(*given: Any) -> Any:
        opened.append(given)
        return session_options(*given)

    monkeypatch.setattr("sensorium.nets.ort.session_options", options)
    sources = [*trained.examples(20), b"no picture", *trained.examples(7)]
    predictor = sensorium.load(trained.run, threads=3)
    found = list(predictor.stream(sources, top_k=1))
    assert [source for source, _ in found] == sources
    assert isinstance(found[20][1], InputError)
    assert not predictor.nets._open  # its networks are others, of a thread each, and none is loaded twice
    shared, workers = predictor.nets.apart(8)
    assert len(opened) == 1
    assert (workers, shared.settings.threads) == (3, 1)
    assert predictor.nets.apart(8)[0] is shared
    for answer, source in zip([answer for _, answer in found], sources[:20]):
        alone = predictor.predict(source, top_k=1)
        assert answer[0].label == alone[0].label
        assert answer[0].score == pytest.approx(alone[0].score, abs=1e-6)
    for given in ({"threads": 1}, {"engine": "openvino"}):
        same = sensorium.load(trained.run, **given).nets
        assert same.apart(8) == (same, 1)
    monkeypatch.setattr("sensorium.nets.LARGE", 1000)
    assert predictor.nets.apart(8) == (predictor.nets, 1)


def test_a_model_that_changed_since_it_was_packed_is_refused(models: Models, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(models("text-classification").run / "model", copy)
    packed = pickle.dumps(sensorium.load(copy))
    manifest = json.loads((copy / "sensorium.json").read_text())
    (copy / "sensorium.json").write_text(json.dumps({**manifest, "sensorium": "another"}))
    with pytest.raises(InputError, match="not the model that was sent"):
        pickle.loads(packed)


@pytest.mark.slow
@pytest.mark.parametrize("count", [20_000])
def test_memory_stays_flat_over_many_pictures(models: Models, tmp_path: Path, count: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    names = []
    for i in range(50):  # of other sizes each
        names.append(str(tmp_path / f"{i}.jpg"))
        Image.fromarray(rng.integers(0, 256, (200 + i, 300, 3), np.uint8)).save(names[-1])
    predictor = sensorium.load(models("image-classification").run)
    held = []
    for number, _ in enumerate(predictor.stream(names[i % 50] for i in range(count))):
        if number in (2_000, count - 1):
            held.append(performance.memory())
    assert held[1] - held[0] < 20e6


def test_a_user_without_a_home(
    models: Models, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    trained = models("text-classification")
    assert main(["predict", str(trained.run), "some words"]) == 0
    assert main(["tune", str(trained.run), "some words", "--seconds", "0.1", "--json"]) == 0
    said = capsys.readouterr()
    assert '"recorded": null' in said.out
    assert "XDG_CACHE_HOME" in said.err
