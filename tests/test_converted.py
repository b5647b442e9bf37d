"""A converted network of a known task answers, is evaluated and served like any other."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sensorium
from sensorium.errors import InputError
from sensorium.nets.bound import detections, suppress
from tests.formats.test_tensorflow import Kind, Shape, const, graph, node, x
from tests.serving.process import serving

COLOURS = {"red": (200, 20, 30), "green": (10, 180, 40), "blue": (30, 20, 220)}
WEIGHTS = np.array([[9, 0, 0], [0, 9, 1], [0, 0, 9]], np.float32)
FLAGS = ["--scale", "1/255", "--mean", "0.1,0.2,0.3", "--std", "0.5"]


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sensorium", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """The mean colour (channels last) through a matrix and a softmax."""
    nodes = [
        x(-1, 8, 8, 3, name="picture"),
        const("axes", [1, 2]),
        node("mean", "Mean", "picture", "axes"),
        const("w", WEIGHTS),
        node("scores", "MatMul", "mean", "w"),
        node("prob", "Softmax", "scores"),
    ]
    (tmp_path / "net.pb").write_bytes(graph(*nodes))
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    for name, colour in COLOURS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (20, 12), tuple(v + 9 * i for v in colour)).save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path


def test_from_a_frozen_graph_to_answers(classifier: Path) -> None:
    made = cli("convert", classifier / "net.pb", "--out", classifier / "model", "--task", "image-classification",
               "--labels", classifier / "labels.txt", *FLAGS)  # fmt: skip
    assert made.returncode == 0, made.stderr
    picture = classifier / "data" / "green" / "0.png"
    answered = cli("predict", classifier / "model", picture, "--json")
    assert answered.returncode == 0, answered.stderr
    found = {entry["label"]: entry["score"] for entry in json.loads(answered.stdout)["result"]}
    mean = (np.array(COLOURS["green"]) / 255 - [0.1, 0.2, 0.3]) / 0.5
    powers = np.exp(mean @ WEIGHTS)
    np.testing.assert_allclose([found[c] for c in COLOURS], powers / powers.sum(), rtol=1e-5)
    evaluated = cli("evaluate", classifier / "model", classifier / "data", "--json")
    assert json.loads(evaluated.stdout)["metrics"]["accuracy"]["value"] == 1
    assert "never compared with its original" in cli("verify", classifier / "model").stdout
    exported = cli("export", classifier / "model", "--to", "fp16")
    assert exported.returncode == 0, exported.stderr
    again = sensorium.load(classifier / "model", precision="fp16").predict(str(picture))
    assert again[0].label == "green"


def test_it_is_served(classifier: Path) -> None:
    sensorium.convert(classifier / "net.pb", out=classifier / "colours", task="image-classification",
                      labels=classifier / "labels.txt", scale=1 / 255)  # fmt: skip
    picture = (classifier / "data" / "blue" / "1.png").read_bytes()
    with serving(sys.executable, "-m", "sensorium", "serve", str(classifier / "colours"), "--port", "0") as server:
        status, answer, _ = server.ask("/v1/models/colours:predict", {"inputs": base64.b64encode(picture).decode()})
    assert status == 200
    assert "blue" in json.dumps(answer).split("score")[0]


def test_what_is_missing_is_said_at_once(classifier: Path) -> None:
    nodes = [
        node("picture", "Placeholder", dtype=Kind(1), shape=Shape((-1, -1, -1, 3))),
        const("axes", [1, 2]),
        node("mean", "Mean", "picture", "axes"),
        node("other", "Neg", "mean"),
    ]
    (classifier / "open.pb").write_bytes(graph(*nodes))
    made = cli("convert", classifier / "open.pb", "--out", classifier / "m", "--task", "image-classification",
               "--outputs", "mean,other")  # fmt: skip
    assert made.returncode == 2
    assert made.stderr.count("\n") == 1
    for flag in ("--image-size", "--labels", "--outputs"):
        assert flag in made.stderr
    (classifier / "four.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(InputError, match="4 labels, the output 'prob:0' has 3"):
        sensorium.convert(classifier / "net.pb", out=classifier / "m", task="image-classification",
                          labels=classifier / "four.txt")  # fmt: skip
    with pytest.raises(InputError, match="a converted network can serve"):
        sensorium.convert(classifier / "net.pb", out=classifier / "m", task="translation")
    assert not (classifier / "m").exists()


def test_grey_flat_pictures_and_two_labels_of_one_chance(tmp_path: Path) -> None:
    """784 values, a switch for training, and one sigmoid for two labels."""
    weights = np.full((16, 1), 0.3, np.float32)
    nodes = [
        x(-1, 16, name="pixels"),
        node("keep_prob", "Placeholder", dtype=Kind(1), shape=Shape()),
        const("w", weights),
        node("y", "MatMul", "pixels", "w"),
        node("z", "RealDiv", "y", "keep_prob"),
        node("p", "Sigmoid", "z"),
    ]
    (tmp_path / "net.pb").write_bytes(graph(*nodes))
    (tmp_path / "labels.json").write_text('["dark", "bright"]')
    sensorium.convert(tmp_path / "net.pb", out=tmp_path / "m", task="image-classification", image_size=(4, 4),
                      labels=tmp_path / "labels.json", scale=1 / 255, mean=[0.5])  # fmt: skip
    Image.new("RGB", (9, 9), (200, 100, 50)).save(tmp_path / "p.png")
    found = {a.label: a.score for a in sensorium.load(tmp_path / "m").predict(str(tmp_path / "p.png"))}
    grey = (np.array([0.299, 0.587, 0.114]) @ [200, 100, 50]) / 255 - 0.5
    bright = 1 / (1 + np.exp(-0.3 * 16 * grey))
    assert found == pytest.approx({"bright": bright, "dark": 1 - bright}, abs=1e-5)


def test_a_detector_of_lists(tmp_path: Path) -> None:
    """The outputs of TensorFlow's detection API; labels count from 1."""
    boxes = np.array([[[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0, 0, 0, 0]]], np.float32)
    nodes = [x(1, 4, 4, 3, name="image_tensor"), const("axes", [1, 2, 3]), const("zero", 0.0)]
    nodes += [node("sum", "Sum", "image_tensor", "axes", keep_dims=False), node("none", "Mul", "sum", "zero")]
    for name, value in {
        "detection_boxes": boxes,
        "detection_scores": np.array([[0.9, 0.7, 0]], np.float32),
        "detection_classes": np.array([[2, 1, 1]], np.float32),
        "num_detections": np.array([2], np.float32),
    }.items():
        nodes += [const(f"c_{name}", value), node(name, "AddV2", f"c_{name}", "none")]
    (tmp_path / "net.pb").write_bytes(graph(*nodes))
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    sensorium.convert(tmp_path / "net.pb", out=tmp_path / "m", task="object-detection", labels=tmp_path / "labels.txt")
    Image.new("RGB", (100, 50)).save(tmp_path / "p.png")
    first, second = sensorium.load(tmp_path / "m").predict(str(tmp_path / "p.png"))
    assert (first.label, second.label) == ("dog", "cat")
    assert first.score == pytest.approx(0.9)
    assert [first.box.xmin, first.box.ymin, first.box.xmax, first.box.ymax] == pytest.approx([20, 5, 60, 25])
    assert sensorium.verify(tmp_path / "m")["verdict"] == "unverified"


def test_forms_of_detections() -> None:
    rows = np.array([[0, 1, 0.9, 0, 0, 0.5, 0.5], [1, 2, 0.8, 0.5, 0.5, 1, 1]], np.float32)
    found = detections({"form": "ssd", "names": {"found": "f"}, "first": 1, "classes": 2}, {"f": rows[None, None]}, 2)
    np.testing.assert_allclose(found["logits"], [[[0.9, 0]], [[0, 0.8]]])
    np.testing.assert_allclose(found["pred_boxes"], [[[0.25, 0.25, 0.5, 0.5]], [[0.75, 0.75, 0.5, 0.5]]])
    rows = np.array([[[1, 0.9, 0, 0, 1, 1], [-1, 0, 0, 0, 0, 0]]], np.float32)
    found = detections({"form": "multibox", "names": {"found": "f"}, "classes": 2}, {"f": rows}, 1)
    np.testing.assert_allclose(found["logits"], [[[0, 0.9]]])
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.9], [0.5, 0.5, 1, 1]], np.float32)
    kept, scores = suppress(boxes, np.array([[0.9, 0.1], [0.8, 0.3], [0.7, 0]], np.float32), 0.5, 0.05)
    assert kept.tolist() == [0, 2, 1]  # the second stays for the other class only
    np.testing.assert_allclose(scores, [[0.9, 0], [0.7, 0], [0, 0.3]])
