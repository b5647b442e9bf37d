"""Large networks whose weights stay in their file: the same answers, opened with little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sensorium.nets import mapped
from sensorium.nets.ort import OrtNet

SIZE = 2100  # a square of float32 numbers is larger than what is read at once


def written(path: Path, weights: np.ndarray, outside: bool = False) -> Path:
    """x, times the weights cast to float, summed over rows that a table of whole numbers chooses."""
    rows = np.arange(len(weights), dtype=np.int64)[::-1].copy()
    nodes = [
        helper.make_node("Cast", ["w"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["floats", "rows"], ["turned"]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(rows, "rows")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save_model(model, path, save_as_external_data=outside, location="data.bin")
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64])
def test_answers_are_the_same(dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "LARGE", 1000)
    monkeypatch.setattr(mapped, "TENSOR", 100)
    weights: np.ndarray = np.random.default_rng(0).integers(-100, 100, (40, 30)).astype(dtype)
    path = written(tmp_path / "model.onnx", weights)
    x = np.random.default_rng(1).random((3, 40), dtype=np.float32)
    np.testing.assert_allclose(OrtNet(path)({"x": x})["y"], x @ weights[::-1].astype(np.float32), rtol=1e-4)


def test_weights_are_left_where_they_are(tmp_path: Path) -> None:
    path = written(tmp_path / "model.onnx", np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32))
    found = mapped.without_weights(path)
    assert found is not None
    assert len(found[0]) < 20_000
    model = onnx.load_model_from_string(found[0])
    weights, rows = model.graph.initializer
    place = {entry.key: entry.value for entry in weights.external_data}
    assert place["location"] == "model.onnx"
    assert int(place["length"]) == 4 * SIZE * SIZE
    onnx.external_data_helper.load_external_data_for_model(model, str(tmp_path))
    whole = onnx.load(path)
    assert list(model.graph.node) == list(whole.graph.node)
    assert weights.raw_data == whole.graph.initializer[0].raw_data
    np.testing.assert_array_equal(numpy_helper.to_array(rows)[:3], [SIZE - 1, SIZE - 2, SIZE - 3])


def test_what_is_not_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.ones((40, 30), np.float32)
    assert mapped.without_weights(written(tmp_path / "small.onnx", weights)) is None
    monkeypatch.setattr(mapped, "LARGE", 100)
    assert mapped.without_weights(written(tmp_path / "outside.onnx", weights, outside=True)) is None


def test_a_link_to_a_file(tmp_path: Path) -> None:
    """As the cache of a hub has them."""
    weights = np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "model").mkdir()
    link = tmp_path / "model" / "model.onnx"
    link.symlink_to(written(tmp_path / "blobs" / "a1b2", weights))
    x = np.random.default_rng(1).random((1, SIZE), dtype=np.float32)
    np.testing.assert_allclose(OrtNet(link)({"x": x})["y"], x @ weights[::-1], rtol=1e-3)


def test_a_file_that_is_replaced_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places in one file are not read from another one."""
    weights = np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32)
    path = written(tmp_path / "model.onnx", weights)
    before = mapped.without_weights(path)
    written(tmp_path / "new.onnx", 2 * weights).replace(path)
    monkeypatch.setattr("sensorium.nets.ort.without_weights", lambda _: before)
    x = np.random.default_rng(1).random((1, SIZE), dtype=np.float32)
    np.testing.assert_allclose(OrtNet(path)({"x": x})["y"], 2 * x @ weights[::-1], rtol=1e-3)
