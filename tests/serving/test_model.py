"""A real model folder, served by the command, asked by a client that nobody here wrote."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensorium.predictor import Predictor
from sensorium.tasks import to_json
from tests.serving.fakes import picture
from tests.serving.process import Server, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture classifier: a random convolution and the mean over the picture."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(16, 3, 5, 5)).astype(np.float32), "w"),
        numpy_helper.from_array((3 * rng.normal(size=(16, 4))).astype(np.float32), "v"),
    ]
    nodes = [
        helper.make_node("Conv", ["pixel_values", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["logits"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("pixel_values", kind, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 4])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    made = tmp_path_factory.mktemp("models") / "colours"
    (made / "onnx").mkdir(parents=True)
    onnx.save(model, made / "onnx" / "model.onnx")
    config = {
        "architectures": ["ResNetForImageClassification"],
        "id2label": {"0": "red", "1": "green", "2": "blue", "3": "grey"},
    }
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": 32, "width": 32},
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (made / "config.json").write_text(json.dumps(config))
    (made / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return made


@pytest.fixture(scope="module")
def real(folder: Path) -> Iterator[Server]:
    with serving(sys.executable, "-m", "sensorium", "serve", str(folder), "--port", "0") as server:
        yield server


def same(a: Any, b: Any) -> bool:
    return [x["label"] for x in a] == [x["label"] for x in b] and np.allclose(
        [x["score"] for x in a], [x["score"] for x in b], atol=1e-5
    )


def test_batched_answers_are_those_of_predict(folder: Path, real: Server) -> None:
    alone = Predictor(folder)
    pictures = [picture(i, (40 + i, 50)) for i in range(24)]
    wanted = [to_json(alone.predict(p)) for p in pictures]
    asked = [base64.b64encode(p).decode() for p in pictures]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda one: real.predict("colours", one), asked))
    assert all(same(a, b) for a, b in zip(answers, wanted, strict=True))
    assert len({json.dumps(w) for w in wanted}) == 24
    assert all(same(a, b) for a, b in zip(real.predict("colours", asked), wanted, strict=True))
    assert real.metric('sensorium_batch_size_count{model="colours"}') < 48


def test_hugging_face_client(real: Server) -> None:
    hub = pytest.importorskip("huggingface_hub")
    client = hub.InferenceClient(model=f"{real.url}/v1/models/colours:predict")
    answer = client.image_classification(picture(), top_k=2)
    wanted = real.predict("colours", base64.b64encode(picture()).decode(), top_k=2)
    assert same([{"label": a.label, "score": a.score} for a in answer], wanted)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["/nowhere/at/all"], "no such model folder"),
        (["{folder}", "{folder}"], "two models are named"),
        (["{folder}", "--host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["{folder}", "--port", "99999"], "cannot listen on"),
    ],
)
def test_a_bad_call_is_one_line(folder: Path, arguments: list[str], says: str) -> None:
    import subprocess

    command = [sys.executable, "-m", "sensorium", "serve", *(a.format(folder=folder) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("sensorium: ")
    assert says in done.stderr


def test_a_broken_model_is_one_line(folder: Path, tmp_path: Path) -> None:
    import shutil
    import subprocess

    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / "onnx" / "model.onnx").write_bytes(b"no network")
    command = [sys.executable, "-m", "sensorium", "serve", str(tmp_path / "broken"), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "not a whole ONNX file" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
