"""Fewer bits without data: the outputs are compared on made-up inputs."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

import sensorium
from sensorium import cli, verification
from sensorium.errors import Refused
from sensorium.inference import Evaluation
from sensorium.nets.ort import OrtNet
from sensorium.precision import noise
from sensorium.quantization import to_fp16, to_int8
from sensorium.tasks import Tally

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from tests.parity.architectures import examples, makers, vision  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["bert", "vit"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    (root / "checkpoint").mkdir()
    getattr(examples, f"make_{request.param}")(root / "checkpoint")
    sensorium.convert(root / "checkpoint", out=root / "model")
    return root / "model"


# Three times what was measured; the random weights of this BERT say nearly nothing in 4 bits, and little in 8.
NOISE = {
    "bert": {"fp16": 0.008, "int8": 0.65, "int4": 1.4},
    "vit": {"fp16": 0.002, "int8": 0.09, "int4": 0.75},
}


@pytest.mark.parametrize(("to", "suffix"), [("fp16", "_fp16"), ("int8", "_quantized"), ("int4", "_q4")])
def test_smaller_files_answer_nearly_the_same(folder: Path, to: str, suffix: str, tmp_path: Path) -> None:
    report = sensorium.export(folder, to=to, out=tmp_path / "small", force=True)
    entry = report["files"][0]
    assert entry["file"] == f"onnx/model{suffix}.onnx"
    assert entry["noise"] < NOISE["bert" if (folder / "tokenizer.json").exists() else "vit"][to]
    assert entry["data"]["examples"] == 6
    assert entry["agreement"] >= {"fp16": 0.9, "int8": 0.3, "int4": 0}[to]
    assert sensorium.verify(tmp_path / "small")["verdict"] == "pass"
    sources = makers.texts(tmp_path) if (folder / "tokenizer.json").exists() else makers.pictures(tmp_path)
    sensorium.load(tmp_path / "small", precision=to).predict(sources[0])
    if to == "fp16" and importlib.util.find_spec("openvino"):
        sensorium.load(tmp_path / "small", precision=to, engine="openvino").predict(sources[0])


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


def test_sources_without_answers_calibrate_convolutions(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    vision.make_features(tmp_path / "checkpoint")
    model, sources = tmp_path / "model", makers.pictures(tmp_path)
    sensorium.convert(tmp_path / "checkpoint", out=model)
    sensorium.export(model, to="int8", force=True)
    assert not operators(model / "onnx" / "model_quantized.onnx")["QuantizeLinear"]
    entry = sensorium.export(model, to="int8", calibrate=sources, force=True)["files"][0]
    assert entry["data"] == {"split": "given", "examples": len(sources)}
    assert entry["noise"] < 0.2
    assert operators(model / "onnx" / "model_quantized.onnx")["QuantizeLinear"]
    assert sensorium.verify(model)["verdict"] == "pass"
    folder = tmp_path / "shown"
    folder.mkdir()
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    assert (
        cli.main(
            ["export", str(model), "--to", "int8", "--force", "--out", str(tmp_path / "b"), "--calibrate", str(folder)]
        )
        == 0
    )
    assert operators(tmp_path / "b" / "onnx" / "model_quantized.onnx")["QuantizeLinear"]
    missing = [
        "export",
        str(model),
        "--to",
        "int8",
        "--out",
        str(tmp_path / "c"),
        "--calibrate",
        str(tmp_path / "no.png"),
    ]
    assert cli.main(missing) == 2
    assert not (tmp_path / "c").exists()


def test_an_activation_is_a_part_of_the_range_of_its_convolution(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(random.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32), "w")
    make = onnx.helper.make_node
    nodes = [make("Conv", ["x", "w"], ["a"], pads=[1] * 4), make("Relu", ["a"], ["b"]), make("Conv", ["b", "w"], ["y"])]
    shape = onnx.helper.make_tensor_value_info
    ends = [[shape(name, onnx.TensorProto.FLOAT, ["N", 8, None, None])] for name in "xy"]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", *ends, [weight]), opset_imports=[onnx.helper.make_opsetid("", 18)]
    )
    model.ir_version = 10
    onnx.save(model, tmp_path / "a.onnx")
    given = {"x": random.normal(size=(1, 8, 9, 9)).astype(np.float32)}
    to_int8(tmp_path / "a.onnx", tmp_path / "b.onnx", [given])
    assert not operators(tmp_path / "b.onnx")["Relu"]
    whole, small = (OrtNet(tmp_path / name)(given)["y"] for name in ("a.onnx", "b.onnx"))
    np.testing.assert_allclose(small, whole, atol=0.05 * np.abs(whole).max())


def test_a_weight_that_a_branch_reads_stays(tmp_path: Path) -> None:
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    table = onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32), "table")
    branches = {
        name: onnx.helper.make_graph([make("Gather", ["table", "i"], [name])], name, [], [value(name, 1, ["n", 64])])
        for name in ("then_branch", "else_branch")
    }
    nodes = [
        make("Gather", ["table", "i"], ["a"]),
        make("If", ["c"], ["b"], **branches),
        make("Add", ["a", "b"], ["y"]),
    ]
    inputs = [value("i", 7, ["n"]), value("c", 9, [])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [value("y", 1, ["n", 64])], [table])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "a.onnx")
    to_int8(tmp_path / "a.onnx", tmp_path / "b.onnx")
    feeds = {"i": np.array([3, 99]), "c": np.array(True)}
    before, after = (
        ort.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for name in ("a.onnx", "b.onnx")
    )
    np.testing.assert_allclose(after, before, atol=0.05)


def test_a_table_that_is_read_twice_is_stored_once_in_8_bits(tmp_path: Path) -> None:
    words = makers.word_pieces(tmp_path / "checkpoint")
    config = transformers.GPT2Config(
        vocab_size=len(words), n_embd=64, n_layer=2, n_head=2, initializer_range=0.3, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "checkpoint")
    model = tmp_path / "model"
    sensorium.convert(tmp_path / "checkpoint", out=model)
    entry = sensorium.export(model, to="int8", force=True)["files"][0]
    assert entry["noise"] < 0.07
    found = onnx.load(str(model / "onnx" / "model_quantized.onnx")).graph
    tables = [w for w in found.initializer if set(w.dims) == {config.vocab_size, config.n_embd}]
    assert [(w.data_type, w.dims[0]) for w in tables] == [(onnx.TensorProto.INT8, config.vocab_size)]
    # The product reads it in 8 bits: nothing turns the whole table back to floats.
    assert not any(n.op_type == "DequantizeLinear" for n in found.node)
    rows = {n.output[0] for n in found.node if n.op_type == "Transpose" and n.input[0] == tables[0].name}
    assert any(n.op_type == "MatMulInteger" and n.input[1] in rows for n in found.node)


def test_a_value_that_two_nodes_read_in_32_bits_is_turned_back_once(tmp_path: Path) -> None:
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make("Sigmoid", ["x"], ["y"]),
        make("Range", ["zero", "stop", "one"], ["r"]),
        make("ReduceMax", ["y"], ["stop"], keepdims=0),
        make("Range", ["zero", "stop", "y0"], ["q"]),
        make("ReduceMin", ["y"], ["y0"], keepdims=0),
        make("Concat", ["r", "q"], ["z"], axis=0),
    ]
    order = [nodes[i] for i in (0, 2, 4, 1, 3, 5)]
    scalars = [onnx.numpy_helper.from_array(np.float32(v), n) for n, v in (("zero", 0), ("one", 1))]
    graph = onnx.helper.make_graph(order, "g", [value("x", 1, ["n"])], [value("z", 1, ["m"])], scalars)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "a.onnx")
    to_fp16(tmp_path / "a.onnx", tmp_path / "b.onnx")
    x = np.array([0.0, 1.0], np.float32)
    before, after = (
        ort.InferenceSession(str(tmp_path / n), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for n in ("a.onnx", "b.onnx")
    )
    np.testing.assert_allclose(after, before, atol=1e-3)


def test_gelu_is_computed_in_one_go(folder: Path, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(folder / "onnx" / "model.onnx"), options, providers=["CPUExecutionProvider"])
    found = operators(tmp_path / "optimised.onnx")
    assert found["Gelu"] + found["BiasGelu"] > 0
    assert not found["Erf"]


def test_a_model_that_is_ruined_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sensorium import verification

    monkeypatch.setitem(verification.NOISE_ALLOWED, "int4", 1e-6)
    with pytest.raises(Refused, match="int4 changes the outputs by"):
        sensorium.export(folder, to="int4", out=tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_noise_is_relative_to_each_output() -> None:
    expected = {"a": np.array([3.0, 4.0]), "b": np.array([100.0, np.inf])}
    found = {"a": np.array([3.0, 4.5]), "b": np.array([100.0, np.inf])}
    assert noise(expected, found) == pytest.approx(0.5 / 5)


@pytest.mark.parametrize(("worse", "verdict"), [(0, "pass"), (1, "pass"), (2, "fail")])
def test_one_example_that_turns_is_not_held_against_fewer_bits(worse: int, verdict: str) -> None:
    def score(tallies: Sequence[Tally]) -> dict[str, float]:
        return {"wer": 1 - sum(t.quality for t in tallies) / len(tallies)}

    def evaluation(wrong: int) -> Evaluation:
        tallies = [Tally(float(i >= wrong), None) for i in range(90)]
        metrics = {name: {"value": value} for name, value in score(tallies).items()}
        return Evaluation("automatic-speech-recognition", "val", metrics, tallies=tallies)

    task: Any = SimpleNamespace(metric="wer", lower_is_better=True, score=score)
    assert verification.compare_evaluations("int8", task, evaluation(1), evaluation(1 + worse))["verdict"] == verdict
