"""A converted network of a known task answers, is evaluated and served like any other."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
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


def words(tmp_path: Path, *inputs: bytes, length: int = -1) -> Path:
    """Reviews: each word votes for one of two labels, padding (0) for none; `inputs` are added to the mean."""
    votes = np.array([[0, 0], [0, 0], [3, 0], [0, 3], [0, 1]], np.float32)
    nodes = [
        node("ids", "Placeholder", dtype=Kind(3), shape=Shape((-1, length))),
        const("votes", votes),
        const("axis", 0),
        node("each", "GatherV2", "votes", "ids", "axis"),
        const("axes", [1]),
        node("sum", "Sum", "each", "axes"),
        *inputs,
        node("scores", "Softmax", "sum"),
    ]
    (tmp_path / "net.pb").write_bytes(graph(*nodes))
    (tmp_path / "labels.txt").write_text("good\nbad\n")
    (tmp_path / "words.txt").write_text("\n[UNK]\ngreat\nawful\ndull\n")
    return tmp_path / "net.pb"


def test_a_text_classifier_with_a_vocabulary(tmp_path: Path) -> None:
    made = cli("convert", words(tmp_path), "--out", tmp_path / "m", "--task", "text-classification", "--labels",
               tmp_path / "labels.txt", "--tokenizer", tmp_path / "words.txt")  # fmt: skip
    assert made.returncode == 0, made.stderr
    answered = cli("predict", tmp_path / "m", "Great, great but DULL!", "--top-k", "2", "--json")
    assert answered.returncode == 0, answered.stderr
    found = {entry["label"]: entry["score"] for entry in json.loads(answered.stdout)["result"]}
    assert found == pytest.approx({"good": 1 / (1 + np.exp(-5)), "bad": 1 / (1 + np.exp(5))}, rel=1e-5)
    (tmp_path / "data.csv").write_text("text,label\ngreat,good\nawful and more,bad\nso great,good\n,good\n")
    evaluated = cli("evaluate", tmp_path / "m", tmp_path / "data.csv", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["metrics"]["accuracy"]["value"] == 1
    assert "never compared with its original" in cli("verify", tmp_path / "m").stdout


@pytest.mark.parametrize(("side", "seen"), [("left", "awful awful"), ("right", "great great great")])
def test_a_text_of_a_fixed_length(tmp_path: Path, side: str, seen: str) -> None:
    """What is longer is cut at the side that is told, what is shorter is filled up there."""
    sensorium.convert(words(tmp_path, length=3), out=tmp_path / "m", task="text-classification", padding=side,
                      labels=tmp_path / "labels.txt", tokenizer=tmp_path / "words.txt")  # fmt: skip
    model = sensorium.load(tmp_path / "m")
    long, short = (model.predict(text) for text in ("great great great great awful awful", "dull"))
    assert long[0].label == ("good" if side == "right" else "bad")
    assert (short[0].label, short[0].score) == ("bad", pytest.approx(1 / (1 + np.exp(-1))))


def test_what_a_text_classifier_lacks_is_said_at_once(tmp_path: Path) -> None:
    made = cli("convert", words(tmp_path), "--out", tmp_path / "m", "--task", "text-classification")
    assert made.returncode == 2
    assert made.stderr.count("\n") == 1
    assert "--labels" in made.stderr
    assert "--tokenizer" in made.stderr


def tone(tmp_path: Path, length: int, *, batch: bool = True) -> Path:
    """Loud or quiet, by the mean magnitude of the samples."""
    shape = Shape((-1, length)) if batch else Shape((length,))
    nodes = [
        node("waves", "Placeholder", dtype=Kind(1), shape=shape),
        node("size", "Abs", "waves"),
        const("axes", [1] if batch else [0]),
        node("mean", "Mean", "size", "axes", keep_dims=True),
        const("turn", np.array([[40.0, -40.0]] if batch else [40.0, -40.0], np.float32)),
        const("base", np.array([-10.0, 10.0], np.float32)),
        node("both", "Mul", "mean", "turn"),
        node("logits", "AddV2", "both", "base"),
    ]
    if not batch:
        nodes += [const("first", 0), node("rows", "ExpandDims", "logits", "first")]
    (tmp_path / "net.pb").write_bytes(graph(*nodes))
    (tmp_path / "labels.txt").write_text("loud\nquiet\n")
    return tmp_path / "net.pb"


@pytest.mark.parametrize("batch", [True, False])
def test_a_sound_classifier_of_samples(tmp_path: Path, batch: bool) -> None:
    sensorium.convert(tone(tmp_path, 800, batch=batch), out=tmp_path / "m", task="audio-classification", rate=8000,
                      labels=tmp_path / "labels.txt")  # fmt: skip
    model = sensorium.load(tmp_path / "m")
    # As loud, of another rate and length; the last is filled up with silence to a quarter of its loudness.
    sounds = [(np.full(n, level, np.float32), rate)
              for n, level, rate in ((1600, 0.5, 16000), (9000, 0.1, 8000), (200, 0.8, 8000))]  # fmt: skip
    found = [{a.label: a.score for a in answer} for answer in map(model.predict, sounds)]
    for scores, mean in zip(found, (0.5, 0.1, 0.2)):
        assert scores["loud"] == pytest.approx(1 / (1 + np.exp(20 - 80 * mean)), abs=2e-2)


def test_a_sound_classifier_of_features(tmp_path: Path) -> None:
    """Log-mel frames as a grey picture, channels last: the loudest band decides."""
    nodes = [
        node("mel", "Placeholder", dtype=Kind(1), shape=Shape((-1, 12, 16, 1))),
        const("axes", [1, 3]),
        node("bands", "Mean", "mel", "axes"),
        const("w", np.repeat(np.eye(2, dtype=np.float32), 8, 0)),
        node("halves", "MatMul", "bands", "w"),
        node("p", "Softmax", "halves"),
    ]
    (tmp_path / "net.pb").write_bytes(graph(*nodes))
    (tmp_path / "labels.json").write_text('["low", "high"]')
    settings = {"feature_extractor_type": "MelSpectrogram", "sampling_rate": 8000, "n_fft": 256, "hop_length": 128}
    settings |= {"n_mels": 16, "fmin": 50, "mel_scale": "htk", "norm": None, "logarithm": "ln", "floor": 1e-4}
    (tmp_path / "features.json").write_text(json.dumps(settings))
    told = {"task": "audio-classification", "labels": tmp_path / "labels.json"}
    with pytest.raises(InputError, match=r"--rate HZ; how the features .* takes are made: --features FILE"):
        sensorium.convert(tmp_path / "net.pb", out=tmp_path / "m", **told)
    for key, value, message in (("n_mels", "many", "cannot be made so"), ("n_mels", 20, "does not take"),
                                ("sampling_rate", 7, "not possible"), ("logarithm", "ld", "none of")):  # fmt: skip
        (tmp_path / "wrong.json").write_text(json.dumps(settings | {key: value}))
        with pytest.raises(InputError, match=message):
            sensorium.convert(tmp_path / "net.pb", out=tmp_path / "m", features=tmp_path / "wrong.json", **told)
    sensorium.convert(tmp_path / "net.pb", out=tmp_path / "m", features=tmp_path / "features.json", **told)
    bound = json.loads((tmp_path / "m" / "bindings.json").read_text())["inputs"]["input_features"]
    assert (bound["axes"], bound["length"], bound["fill"]) == ("NTF1", 12, pytest.approx(np.log(1e-4)))
    time = np.arange(4000) / 8000
    model = sensorium.load(tmp_path / "m")
    found = [model.predict((np.sin(2 * np.pi * f * time[:n]).astype(np.float32), 8000))
                           for f, n in ((200, 4000), (3000, 900))]  # fmt: skip
    assert [answer[0].label for answer in found] == ["low", "high"]


def test_an_onnx_file_with_a_mask_of_a_fixed_length(tmp_path: Path) -> None:
    """The share of a word among what the mask shows; the first of the outputs has the scores."""
    helper, kinds = onnx.helper, onnx.TensorProto
    inputs = [helper.make_tensor_value_info(n, kinds.INT64, ["n", 6]) for n in ("input_word_ids", "input_mask")]
    lengths = helper.make_tensor_value_info("seq_len", kinds.INT32, ["n"])
    table = onnx.numpy_helper.from_array(np.array([[0, 0], [0, 0], [2, 0], [0, 2]], np.float32), "table")
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    last = onnx.numpy_helper.from_array(np.array([-1]), "last")
    steps = [
        helper.make_node("Gather", ["table", "input_word_ids"], ["each"]),
        helper.make_node("Cast", ["input_mask"], ["shown"], to=kinds.FLOAT),
        helper.make_node("Unsqueeze", ["shown", "last"], ["wide"]),
        helper.make_node("Mul", ["each", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axes"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["seq_len"], ["count"], to=kinds.FLOAT),
        helper.make_node("Unsqueeze", ["count", "last"], ["counts"]),
        helper.make_node("Div", ["sum", "counts"], ["mean"]),
        helper.make_node("Sigmoid", ["mean"], ["chances"]),
    ]
    output = helper.make_tensor_value_info("chances", kinds.FLOAT, ["n", 2])
    made = helper.make_graph(steps, "g", [*inputs, lengths], [output], [table, axes, last])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "net.onnx")
    (tmp_path / "labels.txt").write_text("two\nthree\n")
    (tmp_path / "v.txt").write_text("[PAD]\n[UNK]\ntwo\nthree\n")
    sensorium.convert(tmp_path / "net.onnx", out=tmp_path / "m", task="text-classification",
                      labels=tmp_path / "labels.txt", tokenizer=tmp_path / "v.txt")  # fmt: skip
    model = sensorium.load(tmp_path / "m")
    answers = model.predict_batch(["two two three other", "three", ""], top_k=2)
    found = [{a.label: a.score for a in answer} for answer in answers]
    assert found[0] == pytest.approx({"two": 1 / (1 + np.exp(-1)), "three": 1 / (1 + np.exp(-0.5))})
    assert found[1]["three"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert model.task.multi  # logistic functions: each label for itself
