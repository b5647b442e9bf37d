"""ONNX files that never end, or crash their engine, cost a child process and a line."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import sensorium
from sensorium import children
from sensorium.errors import InputError, SensoriumError
from sensorium.nets import trial
from sensorium.nets.ort import OrtNet
from sensorium.vetting import vet
from tests.formats.mutations import mutations
from tests.formats.wire import field

OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]


def written(path: Path, nodes: list[onnx.NodeProto], functions: list[onnx.FunctionProto] | None = None) -> Path:
    x, y = (helper.make_tensor_value_info(n, 1, [2]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    path.write_bytes(
        helper.make_model(graph, opset_imports=OPSETS, ir_version=9, functions=functions).SerializeToString()
    )
    return path


def function(name: str, *called: str) -> onnx.FunctionProto:
    values = ["a", *(f"v{i}" for i in range(len(called) - 1)), "b"]
    nodes = [
        helper.make_node(c, [values[i]], [values[i + 1]], domain="own" if c[0] == "F" else "")
        for i, c in enumerate(called)
    ]
    return helper.make_function("own", name, ["a"], ["b"], nodes, OPSETS)


def call(name: str) -> list[onnx.NodeProto]:
    return [helper.make_node(name, ["x"], ["y"], domain="own")]


def test_functions_that_never_end(tmp_path: Path) -> None:
    """A function that calls itself, two that call each other, and thirty that double: refused at once, by every way in,
    while another network is still opened and run."""
    doubling = [function("F0", "Abs", "Abs"), *(function(f"F{i}", f"F{i - 1}", f"F{i - 1}") for i in range(1, 31))]
    cases = {
        "itself": (call("F"), [function("F", "F")]),
        "each other": (call("F1"), [function("F1", "F2"), function("F2", "F1")]),
        "doubling": (call("F30"), doubling),
    }
    good = OrtNet(written(tmp_path / "good.onnx", call("F"), [function("F", "Abs", "Neg")]))
    for name, (nodes, functions) in cases.items():
        path = written(tmp_path / "bad.onnx", nodes, functions)
        begin = time.perf_counter()
        for way in (vet, OrtNet, sensorium.inspect):
            with pytest.raises(InputError, match="refused"):
                way(path)
        assert time.perf_counter() - begin < 5, name
    np.testing.assert_array_equal(good({"x": np.array([1, -2], np.float32)})["y"], [-1, -2])


def nested(depth: int) -> bytes:
    """`If` in `If` in `If` ..., byte by byte: the package onnx does not write it."""

    def graph(inner: bytes, name: str) -> bytes:
        return field(1, inner) + field(2, "g") + field(12, field(1, name) + FLOATS)

    node = field(1, "x") + field(2, "n0") + field(4, "Abs")
    for level in range(1, depth + 1):
        branch = graph(node, f"n{level - 1}")
        other = graph(field(1, "x") + field(2, f"e{level}") + field(4, "Abs"), f"e{level}")
        node = field(1, "c") + field(2, f"n{level}" if level < depth else "y") + field(4, "If")
        for name, value in (("then_branch", branch), ("else_branch", other)):
            node += field(5, field(1, name) + field(6, value) + field(20, 5))
    condition = field(
        1, field(2, "c") + field(4, "Constant") + field(5, field(1, "value") + field(5, TRUE) + field(20, 4))
    )
    whole = (
        condition
        + field(1, node)
        + field(2, "g")
        + field(11, field(1, "x") + FLOATS)
        + field(12, field(1, "y") + FLOATS)
    )
    return field(1, 9) + field(7, whole) + field(8, field(2, 18))


FLOATS = field(2, field(1, field(1, 1) + field(2, field(1, field(1, 2)))))  # float[2]
TRUE = field(2, 9) + field(9, b"\1")


def test_graphs_in_graphs(tmp_path: Path) -> None:
    """Thirty deep are opened by a child; two hundred deep are refused."""
    path = tmp_path / "m.onnx"
    path.write_bytes(nested(30))
    assert trial.look(path)["outputs"] == ["y"]
    path.write_bytes(nested(200))
    with pytest.raises(InputError, match="graphs in graphs"):
        vet(path)


def test_a_child_that_crashes_hangs_or_eats_memory(tmp_path: Path) -> None:
    """The parent gets one line in each case, and goes on."""
    for name, seconds, words in (
        ("crash", 30, "SIGSEGV"),
        ("hang", 1, "given up"),
        ("eat", 30, "memory"),
        ("fail", 30, "no good"),
    ):
        begin = time.perf_counter()
        with pytest.raises(InputError, match=words):
            children.run(f"tests.security.bad_children:{name}", seconds=seconds, memory=1 << 30, what="the file")
        assert time.perf_counter() - begin < 20
    assert children.run("tests.security.bad_children:good", seconds=30, memory=1 << 30, what="x", a=[1, "b"]) == [
        1,
        "b",
    ]


def networks() -> dict[str, bytes]:
    """Ten small networks with one input `x` of any length, 4 wide."""
    random = np.random.default_rng(0)
    node = helper.make_node

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)

    def numbers(name: str, *values: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(np.array(values, np.int64), name)

    def branch(op: str) -> onnx.GraphProto:
        return helper.make_graph([node(op, ["x"], ["r"])], op, [], [helper.make_tensor_value_info("r", 1, None)])

    body = helper.make_graph(
        [node("Identity", ["c"], ["c2"]), node("Add", ["s", "s"], ["s2"])],
        "body",
        [helper.make_tensor_value_info(n, t, []) for n, t in (("i", 7), ("c", 9))]
        + [helper.make_tensor_value_info("s", 1, None)],
        [helper.make_tensor_value_info("c2", 9, []), helper.make_tensor_value_info("s2", 1, None)],
    )
    scale = onnx.numpy_helper.from_array(np.float32(0.1), "scale")
    zero = onnx.numpy_helper.from_array(np.uint8(128), "zero")
    graphs: dict[str, tuple[list[onnx.NodeProto], list[onnx.TensorProto]]] = {
        "product": ([node("MatMul", ["x", "w"], ["h"]), node("Softmax", ["h"], ["y"])], [weight("w", 4, 4)]),
        "norm": ([node("LayerNormalization", ["x", "g", "b"], ["y"])], [weight("g", 4), weight("b", 4)]),
        "gemm": ([node("Gemm", ["x", "w", "b"], ["y"], transB=1)], [weight("w", 3, 4), weight("b", 3)]),
        "convolution": (
            [
                node("Unsqueeze", ["x", "one"], ["h"]),
                node("Conv", ["h", "w"], ["c"], pads=[1, 1]),
                node("MaxPool", ["c"], ["y"], kernel_shape=[2]),
            ],
            [numbers("one", 1), weight("w", 2, 1, 3)],
        ),
        "recurrence": (
            [node("Unsqueeze", ["x", "one"], ["h"]), node("LSTM", ["h", "w", "r"], ["y"], hidden_size=2)],
            [numbers("one", 1), weight("w", 1, 8, 4), weight("r", 1, 8, 2)],
        ),
        "gather": (
            [
                node("Cast", ["x"], ["i"], to=7),
                node("Clip", ["i", "low", "high"], ["j"]),
                node("Gather", ["w", "j"], ["y"]),
            ],
            [
                onnx.numpy_helper.from_array(np.int64(0), "low"),
                onnx.numpy_helper.from_array(np.int64(4), "high"),
                weight("w", 5, 2),
            ],
        ),
        "shapes": (
            [
                node("Shape", ["x"], ["s"]),
                node("Reshape", ["x", "s"], ["h"]),
                node("Transpose", ["h"], ["t"], perm=[1, 0]),
                node("Slice", ["t", "from", "to"], ["p"]),
                node("Concat", ["p", "p"], ["y"], axis=1),
            ],
            [numbers("from", 0), numbers("to", 2)],
        ),
        "quantized": (
            [
                node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
                node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
            ],
            [scale, zero],
        ),
        "branches": (
            [
                node("ReduceSum", ["x"], ["s"], keepdims=0),
                node("Greater", ["s", "scale"], ["c"]),
                node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")),
            ],
            [scale],
        ),
        "loop": (
            [node("Loop", ["n", "", "x"], ["y"], body=body)],
            [onnx.numpy_helper.from_array(np.int64(3), "n")],
        ),
    }
    made = {}
    for name, (nodes, weights) in graphs.items():
        x, y = helper.make_tensor_value_info("x", 1, ["n", 4]), helper.make_tensor_value_info("y", 1, None)
        graph = helper.make_graph(nodes, name, [x], [y], weights)
        made[name] = bytes(helper.make_model(graph, opset_imports=OPSETS[:1], ir_version=9).SerializeToString())
    return made


def test_damaged_networks_do_not_harm_the_parent(tmp_path: Path) -> None:
    """Five hundred seeded changes of ten small networks: looked through here, opened and run in a child; each outcome
    is an answer or a line, and where the engine died of one, the others are opened by further children."""
    intact = networks()
    survivors = 0
    for name, content in intact.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "intact.onnx").write_bytes(content)
        vet(folder / "intact.onnx")
        for number, changed in enumerate(mutations(content, 50)):
            path = folder / f"{number}.onnx"
            path.write_bytes(changed or b"\0")
            try:
                vet(path)
            except SensoriumError:
                path.unlink()
        files = sorted(folder.iterdir())
        survivors += len(files) - 1

        def opened(folder: Path) -> dict[str, int]:
            return dict(
                children.run(
                    "tests.security.bad_children:open_all", seconds=8, memory=8 << 30, what="x", folder=str(folder)
                )
            )

        try:
            done = opened(folder)
            assert done["opened"] >= 1
            assert done["opened"] + done["refused"] == len(files)
        except InputError:
            for file in files:
                alone = tmp_path / "alone" / name / file.stem
                alone.mkdir(parents=True)
                file.rename(alone / file.name)
                if file.stem == "intact":
                    assert opened(alone) == {"opened": 1, "refused": 0}
                else:
                    with contextlib.suppress(InputError):
                        opened(alone)
    assert 20 < survivors < 500
