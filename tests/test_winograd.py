"""Wide 3 x 3 convolutions that are written out as a network is opened: the same answers, and only where it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sensorium.nets import mapped, winograd
from sensorium.nets.ort import OrtNet

WIDE = winograd.LEAST


def written(
    path: Path,
    size: tuple[int, int],
    *,
    channels: tuple[int, int] = (WIDE, WIDE),
    bias: bool = True,
    mark: str | None = None,
    outside: bool = False,
) -> Path:
    """A convolution of maps of this size, with a mark that says so, and what is positive of it."""
    rng = np.random.default_rng(0)
    reads, gives = channels
    weights = [numpy_helper.from_array(rng.standard_normal((gives, reads, 3, 3), np.float32) / 30, "w")]
    if bias:
        weights.append(numpy_helper.from_array(rng.standard_normal(gives, np.float32), "b"))
    convolution = helper.make_node("Conv", ["x", *(w.name for w in weights)], ["y"], pads=[1, 1, 1, 1])
    convolution.metadata_props.add(key="other", value="3x3")
    convolution.metadata_props.add(key=winograd.MARK, value=mark or f"{size[0]}x{size[1]}")
    graph = helper.make_graph(
        [convolution, helper.make_node("Relu", ["y"], ["z"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", reads, *size])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", gives, *size])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save_model(model, path, save_as_external_data=outside, location="data.bin", size_threshold=0)
    return path


def answers(path: Path, count: int, **given: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of random maps: as the file has it, and as it is opened."""
    plain, net = OrtNet(path, 1, once=True), OrtNet(path, **given)
    shape = [count, *plain.inputs["x"][0][1:]]
    x = np.random.default_rng(1).standard_normal(shape, np.float32)
    return plain({"x": x})["z"], net({"x": x})["z"]


@pytest.mark.parametrize(("size", "count"), [((20, 20), 1), ((23, 18), 1), ((21, 26), 3), ((40, 40), 2)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("large", [False, True])
def test_answers_are_the_same(
    size: tuple[int, int], count: int, bias: bool, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(mapped, "LARGE", 1000)
    path = written(tmp_path / "model.onnx", size, bias=bias, channels=(WIDE, WIDE + 16))
    expected, found = answers(path, count)
    assert found.shape == expected.shape == (count, WIDE + 16, *size)
    np.testing.assert_allclose(found, expected, atol=2e-5 * float(np.abs(expected).max()))
    assert not np.array_equal(found, expected)  # it was computed in another way


def test_no_wide_convolution_is_left(tmp_path: Path) -> None:
    path = written(tmp_path / "model.onnx", (24, 24))
    made = winograd.rewritten(path.read_bytes())
    assert made is not None
    model = onnx.load_from_string(made)
    onnx.checker.check_model(model, full_check=True)
    weights = {w.name: list(w.dims) for w in model.graph.initializer}
    assert [weights[n.input[1]] for n in model.graph.node if n.op_type == "Conv"] == [[36, 1, 6, 6]]


def test_data_in_another_file(tmp_path: Path) -> None:
    expected, found = answers(written(tmp_path / "model.onnx", (24, 24), outside=True), 1)
    np.testing.assert_allclose(found, expected, atol=2e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("mark", ["24", "24x", "-4x24", "24x24x24", "999999x9", "9x9", "many"])
def test_marks_that_are_wrong(mark: str, tmp_path: Path) -> None:
    """Whatever a file says, its network runs; one whose sizes do not fit it is opened as it is."""
    expected, found = answers(written(tmp_path / "model.onnx", (24, 24), mark=mark), 2)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_what_is_not_written_out(tmp_path: Path) -> None:
    narrow = written(tmp_path / "narrow.onnx", (24, 24), channels=(WIDE, WIDE - 1))
    small = written(tmp_path / "small.onnx", (4, 4))
    wide = written(tmp_path / "wide.onnx", (24, 24))
    for path, given in ((narrow, {}), (small, {}), (wide, {"once": True})):
        expected, found = answers(path, 1, **given)
        np.testing.assert_array_equal(found, expected)
    assert winograd.rewritten(b"") is None
    with pytest.raises((ValueError, IndexError)):
        winograd.rewritten(wide.read_bytes()[:-2000])
