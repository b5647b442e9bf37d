"""CNTK: the arithmetic of v2 and v1 files against numpy, loops, blocks and criteria, and what must be refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sensorium import formats
from sensorium.errors import InputError
from sensorium.formats import Options
from sensorium.formats.cntk.network import OPS, Axis
from tests.formats.mutations import survive
from tests.formats.wire import field, varint

RANDOM = np.random.default_rng(0)
NUMBERS = {name: number for number, name in OPS.items()}
BATCH = [("axis", "defaultBatchAxis")]
SEQUENCE = [("axis", "defaultDynamicAxis"), *BATCH]
X = "Input0"


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def shape_bytes(shape: Sequence[int]) -> bytes:
    return field(1, b"".join(varint(n) for n in shape))


def value(v: Any) -> bytes:
    """A DictionaryValue."""
    if isinstance(v, bool):
        return field(1, 1) + field(2, 1) + field(3, int(v))
    if isinstance(v, int):
        return field(1, 1) + field(2, 3) + field(5, v)
    if isinstance(v, float):
        return field(1, 1) + field(2, 5) + varint(7 << 3 | 1) + struct.pack("<d", v)
    if isinstance(v, str):
        return field(1, 1) + field(2, 6) + field(8, v)
    if isinstance(v, (np.ndarray, np.float32)):
        v = np.asarray(v)
        inner = field(1, 1) + field(3, shape_bytes(v.shape[::-1])) + field(4, field(1, v.astype("<f4").tobytes()))
        return field(1, 1) + field(2, 11) + field(13, inner)
    if isinstance(v, Axis):
        return field(1, 1) + field(2, 8) + field(10, field(1, v.index) + field(2, v.name))
    if isinstance(v, tuple) and v and v[0] == "axis":
        return field(1, 1) + field(2, 8) + field(10, field(1, 2**31 - 1) + field(2, v[1]))
    if isinstance(v, tuple):
        return field(1, 1) + field(2, 7) + field(9, shape_bytes(v))
    if isinstance(v, list):
        return field(1, 1) + field(2, 9) + field(11, b"".join(field(1, value(i)) for i in v))
    return field(1, 1) + field(2, 10) + field(12, dictionary(v))


def dictionary(entries: dict[str, Any]) -> bytes:
    return field(1, 1) + b"".join(field(2, field(1, k) + field(2, value(v))) for k, v in entries.items())


def variable(uid: str, kind: int, shape: tuple[int, ...], axes: Any = (), name: str = "", stored: Any = None) -> Any:
    found = {"type": "Variable", "uid": uid, "kind": kind, "shape": shape, "dynamic_axis": list(axes), "data_type": 1}
    found |= {"name": name} if name else {}
    return found | ({"value": stored} if stored is not None else {})


def source(*shape: int, name: str = "x", uid: str = X, sequence: bool = False) -> Any:
    """An input, its shape as arrays have it."""
    return variable(uid, 0, shape[::-1], SEQUENCE if sequence else BATCH, name)


def parameter(uid: str, stored: Any) -> Any:
    return variable(uid, 2, np.shape(stored)[::-1], (), uid, np.asarray(stored, np.float32))


def function(op: str, uid: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> Any:
    found = {"type": "PrimitiveFunction", "uid": uid, "op": NUMBERS[op], "inputs": list(inputs)}
    return found | ({"name": name} if name else {}) | {"attributes": attributes}


def model(variables: Sequence[Any], functions: Sequence[Any], root: str) -> bytes:
    composite = {"inputs": list(variables), "primitive_functions": list(functions)}
    return dictionary({"type": "CompositeFunction", "root": root, "uid": "C", "name": "net"} | composite)


def convert(folder: Path, data: bytes, name: str = "m.model", **options: Any) -> Callable[..., list[np.ndarray]]:
    (folder / name).write_bytes(data)
    graph = formats.read([folder / name], Options(**options))
    session = onnxruntime.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])

    def run(**feeds: np.ndarray) -> list[np.ndarray]:
        return list(session.run(None, feeds))

    return run


def one(folder: Path, op: str, x: np.ndarray, *others: np.ndarray, first: bool = False, **attributes: Any) -> Any:
    """One operation on a batch and stored arrays; `first` puts these before it."""
    names = [f"P{i}" for i in range(len(others))]
    given = [*names, X] if first else [X, *names]
    variables = [source(*x.shape[1:]), *(parameter(n, o) for n, o in zip(names, others))]
    data = model(variables, [function(op, "F", given, **attributes)], "F")
    return convert(folder, data)(x=x)[0]


def windows(size: int, k: int, s: int) -> list[int]:
    """Where automatically padded windows start (ConvolveGeometry)."""
    count = (size - 1) // s + 1
    return [(size - (count - 1) * s - 1) // 2 - (k - 1) // 2 + i * s for i in range(count)]


@pytest.mark.parametrize(
    ("k", "s", "size"), [(3, 1, 6), (3, 2, 7), (3, 2, 8), (4, 1, 6), (4, 2, 7), (1, 3, 9), (2, 3, 9)]
)
def test_automatic_padding_centres_the_windows(tmp_path: Path, k: int, s: int, size: int) -> None:
    x, w = array(2, 3, size, size), array(4, 3, k, k)
    settings = {"strides": (s, s, 3), "autoPadding": [True, True, False], "sharing": [True], "lowerPad": (0,)}
    found = one(tmp_path, "Convolution", x, w, first=True, upperPad=(0,), transpose=False, **settings)
    wide = np.pad(x, ((0, 0), (0, 0), (9, 9), (9, 9)))
    starts = windows(size, k, s)
    expected = np.array([[np.einsum("ncij,ocij->no", wide[:, :, r + 9 : r + 9 + k, c + 9 : c + 9 + k], w)
                          for c in starts] for r in starts])  # fmt: skip
    np.testing.assert_allclose(found, expected.transpose(2, 3, 0, 1), atol=1e-4)


def test_transposed_convolution_turns_a_convolution_round(tmp_path: Path) -> None:
    x, w = array(1, 2, 4, 5), array(2, 3, 3, 3)
    settings = {"strides": (2, 2, 2), "lowerPad": (0,), "upperPad": (0,), "transpose": True}
    found = one(tmp_path, "Convolution", x, w, first=True, autoPadding=[False], **settings)
    expected = np.zeros((1, 3, 9, 11), np.float32)
    for r, c in np.ndindex(4, 5):
        expected[:, :, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3] += np.einsum("nc,cokl->nokl", x[:, :, r, c], w)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    told = one(
        tmp_path, "Convolution", x, w, first=True, autoPadding=[True, True, False], outputShape=(10, 8, 3), **settings
    )
    np.testing.assert_allclose(told, expected[:, :, 1:9, 1:11], atol=1e-5)


def test_pooling_rounds_up_and_counts_what_is_there(tmp_path: Path) -> None:
    x = array(2, 3, 6, 6)
    settings = {"strides": (2, 2), "autoPadding": [False], "lowerPad": (0,), "upperPad": (0,)}
    found = one(tmp_path, "Pooling", x, poolingWindowShape=(3, 3), poolingType=0, ceilOutDim=True, **settings)
    expected = [[x[:, :, r : r + 3, c : c + 3].max((2, 3)) for c in (0, 2, 4)] for r in (0, 2, 4)]
    np.testing.assert_allclose(found, np.array(expected).transpose(2, 3, 0, 1))
    settings |= {"autoPadding": [True, True, False]}
    found = one(tmp_path, "Pooling", x, poolingWindowShape=(3, 3), poolingType=1, includePad=False, **settings)
    expected = [[x[:, :, max(0, r) : r + 3, max(0, c) : c + 3].mean((2, 3)) for c in (-1, 1, 3)] for r in (-1, 1, 3)]
    np.testing.assert_allclose(found, np.array(expected).transpose(2, 3, 0, 1), atol=1e-6)


def test_shapes_count_their_axes_from_the_fastest(tmp_path: Path) -> None:
    x = array(2, 3, 4, 5)
    assert one(tmp_path, "Slice", x, axis=Axis(0), beginIndex=1, endIndex=4).tolist() == x[..., 1:4].tolist()
    assert one(tmp_path, "TransposeAxes", x, axis1=Axis(0), axis2=Axis(2)).tolist() == x.transpose(0, 3, 2, 1).tolist()
    order = one(tmp_path, "TransposeAxes", x, axisVec=[Axis(1), Axis(2), Axis(0)])  # out[i] is in[order[i]]
    assert order.shape == (2, 5, 3, 4)
    assert order.tolist() == x.transpose(0, 3, 1, 2).tolist()
    flat = one(tmp_path, "Reshape", x, newShape=(2**64 - 1, 2), beginAxis=Axis(0), endAxis=Axis(2))
    assert flat.tolist() == x.reshape(2, 3, 2, 10).tolist()
    both = one(tmp_path, "Splice", x, np.ones((1, 5), np.float32), axis=Axis(1))
    assert both.tolist() == np.concatenate([x, np.ones((2, 3, 1, 5))], 2).tolist()
    total = one(tmp_path, "ReduceElements", x, axis=Axis(1), reductionOpName="Sum", reductionKeepDimensions=False)
    np.testing.assert_allclose(total, x.sum(2), atol=1e-5)


def test_products_contract_the_axes_that_are_shared(tmp_path: Path) -> None:
    x, w = array(2, 3, 4), array(3, 4, 6)  # weights [6 x 4 x 3]
    np.testing.assert_allclose(
        one(tmp_path, "Times", x, w, first=True, outputRank=1, inferInputRankToMap=-1),
        np.einsum("nab,abo->no", x, w),
        atol=1e-5,
    )
    w = array(5, 4)
    found = one(tmp_path, "TransposeTimes", x, w, first=True, outputRank=1)  # left [4 x 5] turned round
    np.testing.assert_allclose(found, x @ w.T, atol=1e-5)


def test_the_edges_of_functions(tmp_path: Path) -> None:
    x = np.array([[0, -1, 4]], np.float32)
    assert one(tmp_path, "Reciprocal", x).tolist() == [[0, -1, 0.25]]
    assert one(tmp_path, "Sqrt", x).tolist() == [[0, 0, 2]]
    np.testing.assert_allclose(one(tmp_path, "Log", x), [[-85.1, -85.1, np.log(4)]], rtol=1e-6)


def test_batch_normalisation(tmp_path: Path) -> None:
    x = array(2, 3, 4, 4)
    parts = [array(3), array(3), array(3), np.abs(array(3))]
    found = one(tmp_path, "BatchNormalization", x, *parts, np.float32(1), spatial=True, epsilon=1e-3)
    scale, bias, mean, variance = (p[:, None, None] for p in parts)
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(variance + 1e-3) * scale + bias, atol=1e-5)


def blocks() -> bytes:
    """A dense block, and criteria of it: one primitive, one a block."""
    w = array(4, 3)
    variables = [
        source(4),
        source(3, name="labels", uid="Input1"),
        parameter("W", w),
        variable("Placeholder1", 4, (4,), BATCH),
        variable("Placeholder2", 4, (3,), BATCH),
    ]
    dense = function("Block", "B", ["W", X], name="z")
    dense |= {"block_function_op_name": "Dense", "block_function_composite": {"root": "T", "uid": "C1"}}
    dense |= {"block_function_composite_arguments_map_keys": ["Placeholder1"]}
    dense |= {"block_function_composite_arguments_map_values": [X]}
    loss = function("Block", "L", ["Input1", "B_Output_0"], name="loss")
    loss |= {"block_function_op_name": "CrossEntropyWithSoftmax"}
    loss |= {"block_function_composite": {"root": "R", "uid": "C2"}}
    loss |= {"block_function_composite_arguments_map_keys": ["Placeholder2"]}
    loss |= {"block_function_composite_arguments_map_values": ["B_Output_0"]}
    functions = [
        function("Times", "T", ["W", "Placeholder1"], outputRank=1, inferInputRankToMap=-1),
        function("ReduceElements", "R", ["Placeholder2"], axis=Axis(0), reductionOpName="LogSum"),
        function("ClassificationError", "E", ["Input1", "B_Output_0"], name="errors"),
        function("Combine", "All", ["L_Output_0", "B_Output_0", "E_Output_0"]),
        dense,
        loss,
    ]
    return model(variables, functions, "All")


def test_blocks_are_flattened_and_criteria_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.model").write_bytes(blocks())
    graph = formats.read([tmp_path / "m.model"])
    assert list(graph.outputs) == ["z"]
    assert [i.name for i in graph.inputs] == ["x"]
    assert "loss" in graph.notes[0]
    assert "errors" in graph.notes[0]
    report = formats.inspect([tmp_path / "m.model"])
    assert report["version"] == "2"
    assert report["inputs"]["x"] == ["batch", 4]
    assert report["layers"]["Dense"] == 1
    assert report["parameters"] == 12


def loop(delay: str, offset: int = 1) -> tuple[bytes, np.ndarray, np.ndarray]:
    """h = tanh(W x + R h of the step before), and its last step; the file names the shape inside the loop only."""
    w, r = array(3, 4), array(4, 4)
    gather = [
        function("ReconcileDynamicAxis", "Zeros", ["zero", "H_Output_0"]),
        function("FutureValue", "Flag", ["Zeros_Output_0", "one"], offset=1),
        function("Where", "Steps", ["Flag_Output_0"], newDynamicAxes=BATCH),
        function("PackedIndex", "Index", ["H_Output_0", "Steps_Output_0"]),
        function("GatherPacked", "Last", ["H_Output_0", "Index_Output_0"], name="last"),
    ]
    functions = [
        function("Times", "Wx", ["W", X], outputRank=1, inferInputRankToMap=-1),
        function("Times", "Rh", ["R", "D_Output_0"], outputRank=1, inferInputRankToMap=-1),
        function("Plus", "Sum", ["Wx_Output_0", "Rh_Output_0"]),
        function("Tanh", "H", ["Sum_Output_0"], name="h"),
        function(delay, "D", ["H_Output_0", "half"], offset=offset),
        *gather,
        function("Combine", "All", ["H_Output_0", "Last_Output_0"]),
    ]
    constants = [variable(n, 3, (), (), "", np.float32(v)) for n, v in (("half", 0.5), ("zero", 0), ("one", 1))]
    inside = variable("Sum_Output_0", 4, (4,), SEQUENCE)
    variables = [source(3, sequence=True), parameter("W", w), parameter("R", r), inside, *constants]
    return model(variables, functions, "All"), w, r


@pytest.mark.parametrize(("delay", "offset"), [("PastValue", 1), ("PastValue", 2), ("FutureValue", 1)])
def test_loops_run_over_the_sequence(tmp_path: Path, delay: str, offset: int) -> None:
    data, w, r = loop(delay, offset)
    x = array(2, 7, 3)
    expected = np.zeros((2, 7, 4), np.float32)
    steps = range(7) if delay == "PastValue" else range(6, -1, -1)
    sign = -1 if delay == "PastValue" else 1
    for t in steps:
        before = t + sign * offset
        state = expected[:, before] if 0 <= before < 7 else np.full((2, 4), 0.5, np.float32)
        expected[:, t] = np.tanh(x[:, t] @ w + state @ r)
    h, last = convert(tmp_path, data)(x=x)
    np.testing.assert_allclose(h, expected, atol=1e-5)
    np.testing.assert_allclose(last, expected[:, -1], atol=1e-5)


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))


def layer(x: np.ndarray, kind: str, w: np.ndarray, r: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """cuDNN's recurrences, one direction."""
    h, s = np.zeros((len(x), r.shape[-1])), np.zeros((len(x), r.shape[-1]))
    found = []
    for t in range(x.shape[1]):
        a, u = [x[:, t] @ w[g].T + b[g] for g in range(len(w))], [h @ r[g].T + c[g] for g in range(len(w))]
        if kind == "lstm":
            i, f, o = (sigmoid(a[g] + u[g]) for g in (0, 1, 3))
            s = f * s + i * np.tanh(a[2] + u[2])
            h = o * np.tanh(s)
        elif kind == "gru":
            reset, update = sigmoid(a[0] + u[0]), sigmoid(a[1] + u[1])
            h = (1 - update) * np.tanh(a[2] + reset * u[2]) + update * h
        else:
            h = np.tanh(a[0] + u[0])
        found.append(h)
    return np.stack(found, 1)


@pytest.mark.parametrize(("kind", "gates"), [("lstm", 4), ("gru", 3), ("rnnTanh", 1)])
def test_packed_recurrences(tmp_path: Path, kind: str, gates: int) -> None:
    n, h, x = 3, 4, array(2, 5, 3)
    sizes = [n, 2 * h]
    weights = [[(array(gates, h, m), array(gates, h, h)) for _ in range(2)] for m in sizes]
    biases = [[(array(gates, h), array(gates, h)) for _ in range(2)] for _ in sizes]
    flat = np.concatenate([p.reshape(-1) for part in (weights, biases) for way in part for two in way for p in two])
    settings = {"bidirectional": True, "numLayers": 2, "hiddenSize": h, "recurrentOp": kind}
    functions = [function("OptimizedRNNStack", "F", [X, "W"], **settings)]
    found = convert(tmp_path, model([source(n, sequence=True), parameter("W", flat)], functions, "F"))(x=x)[0]
    expected = x
    for w, b in zip(weights, biases):
        ahead = layer(expected, kind, *w[0], *b[0])
        back = layer(expected[:, ::-1], kind, *w[1], *b[1])[:, ::-1]
        expected = np.concatenate([ahead, back], 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def refused(folder: Path, data: bytes, *words: str) -> None:
    (folder / "m.model").write_bytes(data)
    with pytest.raises(InputError) as caught:
        formats.read([folder / "m.model"])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    relu = function("ReLU", "F", [X], name="act")
    refused(tmp_path, model([source(3)], [relu | {"op": 9999}], "F"), "9999", "act")
    refused(
        tmp_path, model([source(3)], [function("StraightThrough", "F", [X], name="act")], "F"), "act", "StraightThrough"
    )
    refused(tmp_path, model([source(3)], [function("ReLU", "F", ["Nobody"])], "F"), "Nobody")
    refused(tmp_path, model([source(3)], [function("ReLU", "F", ["F_Output_0"])], "F"), "cycle")
    lie = variable("W", 2, (4, 9), (), "W", np.ones((3, 4), np.float32))
    lie["value"] = np.ones((3, 4), np.float32)
    data = model([source(4), lie], [function("Plus", "F", [X, "W"])], "F")
    wrong = data.replace(shape_bytes((4, 3)), shape_bytes((4, 7)))
    refused(tmp_path, wrong, "'W'", "shape")
    refused(tmp_path, data[: len(data) * 55 // 100], "truncated")
    refused(tmp_path, bytes(255 - b for b in data[:8]) + data[8:], "not a CNTK")
    refused(tmp_path, b"", "empty")


def wide(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


def old_shape(*shape: int) -> bytes:
    return struct.pack(f"<I{len(shape)}I", len(shape), *shape)


def old_model() -> tuple[bytes, np.ndarray, np.ndarray]:
    """A v1 file: a product, a bias, ReLU, a criterion."""
    w, b = array(4, 3), array(3)

    def stored(name: str, a: np.ndarray) -> bytes:
        shape = a.shape[::-1]
        head = wide("float") + wide("LearnableParameter") + wide(name) + struct.pack("<f", 1) + old_shape(*shape)
        size = struct.pack("<iQQ", 0, shape[0], a.size // shape[0])
        matrix = b"d" + wide("BMAT") + struct.pack("<Q", 4) + wide("unnamed") + size + a.tobytes() + wide("EMAT")
        return head + matrix

    def plain(kind: str, name: str, content: bytes = b"") -> bytes:
        return wide("float") + wide(kind) + wide(name) + content

    def given(name: str, n: int) -> bytes:
        return plain(
            "InputValue", name, struct.pack("<QQ", 0, 0) + old_shape(n) + struct.pack("<I", 1) + wide("") + bytes(4)
        )

    nodes = [
        given("features", 4),
        given("labels", 3),
        stored("W", w),
        stored("b", b),
        plain("Times", "T", struct.pack("<Qi", 1, -1)),
        plain("Plus", "P"),
        plain("RectifiedLinear", "z"),
        plain("CrossEntropyWithSoftmax", "ce"),
    ]
    links = {"T": ["W", "features"], "P": ["T", "b"], "z": ["P"], "ce": ["labels", "z"]}
    links |= {name: [] for name in ("features", "labels", "W", "b")}
    data = wide("BCN") + wide("BVersion") + struct.pack("<Q", 23) + wide("EVersion") + struct.pack("<Q", len(nodes))
    data += wide("BNodeList") + b"".join(nodes) + wide("ENodeList") + wide("BRelation")
    for name, inputs in links.items():
        data += wide(name) + struct.pack("<Q", len(inputs)) + b"".join(wide(i) for i in inputs)
    data += wide("ERelation") + wide("BRootNodes")
    for group, names in (
        ("Feature", ["features"]),
        ("Label", ["labels"]),
        ("Criterion", ["ce"]),
        ("Eval", []),
        ("Output", []),
    ):
        listed = struct.pack("<Q", len(names)) + b"".join(wide(n) for n in names)
        data += wide(f"B{group}Nodes") + listed + wide(f"E{group}Nodes")
    return data + wide("ERootNodes") + wide("ECN"), w, b


def test_old_files(tmp_path: Path) -> None:
    data, w, b = old_model()
    x = array(5, 4)
    found = convert(tmp_path, data, "m.dnn")(features=x)[0]
    np.testing.assert_allclose(found, np.maximum(x @ w + b, 0), atol=1e-6)
    report = formats.inspect([tmp_path / "m.dnn"])
    assert report["version"] == "1.23"
    refused(tmp_path, data[: len(data) // 2], "truncated")
    refused(tmp_path, data.replace(wide("RectifiedLinear"), wide("RectifiedLineal")), "RectifiedLineal")


@pytest.mark.parametrize("data", [blocks(), loop("PastValue")[0], old_model()[0]], ids=["blocks", "loop", "old"])
def test_damage_ends_in_one_line(tmp_path: Path, data: bytes) -> None:
    place = tmp_path / "m.model"

    def work(changed: bytes) -> None:
        place.write_bytes(changed)
        formats.inspect([place])
        formats.read([place]).model()

    _, gone = survive(data, 120, work)
    assert gone
