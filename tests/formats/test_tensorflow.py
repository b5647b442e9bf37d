"""TensorFlow graphs, made byte by byte, against a few lines of numpy."""

from __future__ import annotations

import colorsys
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sensorium import formats
from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.source import Options
from sensorium.formats.tensorflow.checkpoint import Checkpoint, crc32c, masked, snappy
from tests.formats.mutations import survive
from tests.formats.wire import field, varint

TYPES = {np.dtype(np.float32): 1, np.dtype(np.int32): 3, np.dtype(np.int64): 9, np.dtype(np.bool_): 10}
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2, 3)).astype(np.float32)
W = RANDOM.normal(size=(3, 4)).astype(np.float32)


# Bytes


def shape(sizes: Sequence[int] | None) -> bytes:
    return field(3, 1) if sizes is None else b"".join(field(2, field(1, n)) for n in sizes)


def tensor(array: Any) -> bytes:
    array = np.asarray(array)
    if array.dtype.kind in "US":
        return field(1, 7) + field(2, shape(array.shape)) + b"".join(field(8, str(t)) for t in array.reshape(-1))
    return field(1, TYPES[array.dtype]) + field(2, shape(array.shape)) + field(4, array.tobytes())


class Kind(int):
    """A type, as an attribute."""


class Shape(list[int]):
    """A shape, as an attribute."""


class Fn(str):
    """A function, as an attribute."""


def attribute(value: Any) -> bytes:
    if isinstance(value, Kind):
        return field(6, int(value))
    if isinstance(value, Shape):
        return field(7, shape(value))
    if isinstance(value, Fn):
        return field(10, field(1, str(value)))
    if isinstance(value, bool):
        return field(5, int(value))
    if isinstance(value, int):
        return field(3, value)
    if isinstance(value, float):
        return field(4, value)
    if isinstance(value, str):
        return field(2, value)
    if isinstance(value, list):
        return field(1, b"".join(field(3, v) for v in value))
    return field(8, tensor(value))


def node(name: str, op: str, *inputs: str, **attributes: Any) -> bytes:
    found = field(1, name) + field(2, op) + b"".join(field(3, i) for i in inputs)
    for key, value in attributes.items():
        found += field(5, field(1, key) + field(2, attribute(value)))
    return found


def const(name: str, value: Any) -> bytes:
    array = np.asarray(value, None if np.asarray(value).dtype.kind != "f" else np.float32)
    return node(name, "Const", value=array.astype(np.int32) if array.dtype == np.int64 else array)


def x(*sizes: int, name: str = "x", dtype: int = 1) -> bytes:
    return node(name, "Placeholder", dtype=Kind(dtype), shape=Shape(sizes))


def graph(*nodes: bytes, functions: Sequence[bytes] = ()) -> bytes:
    library = field(2, b"".join(field(1, f) for f in functions)) if functions else b""
    return b"".join(field(1, n) for n in nodes) + library + field(4, field(1, 1000))


def function(name: str, arguments: Sequence[str], results: dict[str, str], *nodes: bytes) -> bytes:
    signature = field(1, name) + b"".join(field(2, field(1, a)) for a in arguments)
    signature += b"".join(field(3, field(1, r)) for r in results)
    ret = b"".join(field(4, field(1, k) + field(2, v)) for k, v in results.items())
    return field(1, signature) + b"".join(field(3, n) for n in nodes) + ret


def read(folder: Path, data: bytes, **options: Any) -> Graph:
    (folder / "graph.pb").write_bytes(data)
    return formats.read([folder / "graph.pb"], Options(**options))


def run(network: Graph, *arrays: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(network.model().SerializeToString())
    found: list[np.ndarray] = session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays)))
    return found


# Graphs


def test_a_frozen_graph(tmp_path: Path) -> None:
    data = graph(x(-1, 3), const("w", W), node("y", "MatMul", "x", "w"), node("out", "Relu", "y"))
    network = read(tmp_path, data)
    assert list(network.outputs) == ["out:0"]
    assert network.inputs[0].free == {0: "batch"}
    np.testing.assert_allclose(run(network, X)[0], np.maximum(X @ W, 0), rtol=1e-6)
    assert list(read(tmp_path, data, outputs=["y:0"]).outputs) == ["y:0"]


def test_shapes_that_the_file_does_not_say(tmp_path: Path) -> None:
    data = graph(node("x", "Placeholder", dtype=Kind(1)), const("w", W), node("y", "MatMul", "x", "w"))
    with pytest.raises(InputError, match="--shape x:0="):
        read(tmp_path, data)
    network = read(tmp_path, data, shapes={"x:0": (1, 3)})
    np.testing.assert_allclose(run(network, X)[0], X @ W, rtol=1e-6)


def test_what_follows_from_a_free_size_stays_free(tmp_path: Path) -> None:
    """A slice whose end is half of the length, which another example would have otherwise."""
    data = graph(
        x(-1, -1),
        node("s", "Shape", "x"),
        const("one", [1]),
        const("two", [2]),
        node("n", "StridedSlice", "s", "one", "two", "one"),
        const("half", 2),
        node("m", "FloorDiv", "n", "half"),
        const("zero", [0, 0]),
        const("all", [0]),
        const("axis", 0),
        node("end", "ConcatV2", "all", "m", "axis"),
        const("steps", [1, 1]),
        node("y", "StridedSlice", "x", "zero", "end", "steps", begin_mask=3, end_mask=1),
    )
    network = read(tmp_path, data)
    for length in (6, 10):
        given = RANDOM.normal(size=(3, length)).astype(np.float32)
        np.testing.assert_array_equal(run(network, given)[0], given[:, : length // 2])


def test_a_size_that_has_to_be_written_down_is_pinned(tmp_path: Path) -> None:
    data = graph(
        x(-1, -1, 4),
        node("s", "Shape", "x"),
        const("one", [1]),
        const("two", [2]),
        node("n", "StridedSlice", "s", "one", "two", "one"),
        const("axis", 1),
        node("y", "SplitV", "x", "n", "axis"),
    )
    network = read(tmp_path, data)
    assert "one size" in network.notes[0]
    assert network.free_axes(network.inputs[0]) == {0: "batch"}


def test_functions_branches_and_loops(tmp_path: Path) -> None:
    """h = tanh(h) three times, and then, depending on its sum, twice or less one; each turn is collected."""
    body = function(
        "body",
        ["i", "h", "list"],
        {"a": "next:z:0", "b": "t:y:0", "c": "set:output_handle:0"},
        const("one", 1),
        node("next", "AddV2", "i", "one:output:0"),
        node("t", "Tanh", "h"),
        node("set", "TensorListSetItem", "list", "i", "t:y:0"),
    )
    condition = function(
        "cond", ["i", "h", "list"], {"r": "less:z:0"}, const("n", 3), node("less", "Less", "i", "n:output:0")
    )
    twice = function("twice", ["h"], {"r": "y:z:0"}, const("two", 2.0), node("y", "Mul", "h", "two:output:0"))
    less = function("less", ["h"], {"r": "y:z:0"}, const("one", 1.0), node("y", "Sub", "h", "one:output:0"))
    data = graph(
        x(-1, 3),
        const("zero", 0),
        const("count", 3),
        const("sizes", [-1, 3]),
        node("list", "TensorListReserve", "sizes", "count"),
        node("loop", "While", "zero", "x", "list", cond=Fn("cond"), body=Fn("body")),
        node("all", "TensorListStack", "loop:2", "sizes"),
        const("axes", [0, 1]),
        node("sum", "Sum", "x", "axes"),
        const("none", 0.0),
        node("more", "Greater", "sum", "none"),
        node("out", "If", "more", "loop:1", then_branch=Fn("twice"), else_branch=Fn("less")),
        functions=[body, condition, twice, less],
    )
    network = read(tmp_path, data, outputs=["out:0", "all:0"])
    for given in (np.abs(X), -np.abs(X[:1])):
        turns = [np.tanh(given)]
        turns += [np.tanh(turns[0])]
        turns += [np.tanh(turns[1])]
        out, every = run(network, given)
        np.testing.assert_allclose(every, np.stack(turns), rtol=1e-5)
        np.testing.assert_allclose(out, turns[-1] * 2 if given.sum() > 0 else turns[-1] - 1, rtol=1e-5)


def test_old_branches(tmp_path: Path) -> None:
    def switched(*condition: bytes) -> bytes:
        return graph(
            x(-1, 3),
            *condition,
            node("s", "Switch", "x", "c"),
            node("no", "Neg", "s"),
            node("yes", "Abs", "s:1"),
            node("y", "Merge", "no", "yes"),
        )

    network = read(tmp_path, switched(const("c", np.array(False))), outputs=["y:0"])
    np.testing.assert_array_equal(run(network, X)[0], -X)
    network = read(tmp_path, switched(node("c", "Placeholder", dtype=Kind(10), shape=Shape())), outputs=["y:0"])
    np.testing.assert_array_equal(run(network, X, np.array(True))[0], np.abs(X))


def test_old_loops(tmp_path: Path) -> None:
    """As `tf.while_loop` of TensorFlow 1 writes them: h = tanh(h) for each of the rows, which are kept in a list."""
    data = graph(
        x(-1, 3),
        const("zero", 0),
        const("one", 1),
        node("s", "Shape", "x"),
        const("first", [0]),
        const("second", [1]),
        node("rows", "StridedSlice", "s", "first", "second", "second", shrink_axis_mask=1),
        const("from", 0),
        node("places", "Range", "from", "rows", "one"),
        node("given", "TensorArrayV3", "rows"),
        node("filled", "TensorArrayScatterV3", "given", "places", "x", "given:1"),
        node("made", "TensorArrayV3", "rows"),
        node("e0", "Enter", "zero", frame_name="loop"),
        node("e1", "Enter", "made:1", frame_name="loop"),
        node("limit", "Enter", "rows", frame_name="loop", is_constant=True),
        node("list", "Enter", "filled", frame_name="loop", is_constant=True),
        node("m0", "Merge", "e0", "n0"),
        node("m1", "Merge", "e1", "n1"),
        node("less", "Less", "m0", "limit"),
        node("going", "LoopCond", "less"),
        node("s0", "Switch", "m0", "going"),
        node("s1", "Switch", "m1", "going"),
        node("i", "Identity", "s0:1"),
        node("next", "Add", "i", "one"),
        node("row", "TensorArrayReadV3", "given", "i", "list"),
        node("tanh", "Tanh", "row"),
        node("put", "TensorArrayWriteV3", "made", "i", "tanh", "s1:1"),
        node("n0", "NextIteration", "next"),
        node("n1", "NextIteration", "put"),
        node("exit", "Exit", "s1"),
        node("out", "TensorArrayGatherV3", "made", "places", "exit"),
    )
    network = read(tmp_path, data, outputs=["out:0"])
    for count in (1, 2, 5):
        rows = RANDOM.normal(size=(count, 3)).astype(np.float32)
        np.testing.assert_allclose(run(network, rows)[0], np.tanh(rows), rtol=1e-5)


def test_what_grows_in_a_loop(tmp_path: Path) -> None:
    body = function(
        "body",
        ["i", "h"],
        {"a": "next:z:0", "b": "more:output:0"},
        const("one", 1),
        const("axis", 1),
        node("next", "AddV2", "i", "one:output:0"),
        node("more", "ConcatV2", "h", "h", "axis:output:0"),
    )
    condition = function("cond", ["i", "h"], {"r": "l:z:0"}, const("n", 2), node("l", "Less", "i", "n:output:0"))
    data = graph(
        x(-1, 3),
        const("zero", 0),
        node("y", "While", "zero", "x", cond=Fn("cond"), body=Fn("body")),
        functions=[body, condition],
    )
    network = read(tmp_path, data, outputs=["y:1"])
    np.testing.assert_array_equal(run(network, X)[0], np.tile(X, (1, 4)))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("y", "Teleport", "x")], "'y' .Teleport.*not known"),
        ([node("y", "Relu", "ghost")], "ghost"),
        ([node("y", "WriteFile", "x", "x")], "touches files"),
        ([node("t", "HashTableV2"), node("y", "LookupTableFindV2", "t", "x", "x")], "'t' .HashTableV2.*texts"),
        ([node("a", "Relu", "b"), node("b", "Relu", "a"), node("y", "Relu", "a")], "loop"),
        ([node("y", "RandomStandardNormal", "x")], "random"),
        ([const("t", "text"), node("y", "Relu", "t")], "texts"),
        ([node("y", "PartitionedCall", "x", f=Fn("gone"))], "gone"),
        ([node("y", "TensorListReserve", "x", "x")], "no array"),
    ],
)
def test_graphs_that_are_refused(nodes: list[bytes], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read(tmp_path, graph(x(-1, 3), *nodes), outputs=["y:0"])


def test_a_constant_that_lies_of_its_shape(tmp_path: Path) -> None:
    lie = field(1, 1) + field(2, shape([1 << 20, 1 << 20])) + field(4, W.tobytes())
    wrong = field(1, "w") + field(2, "Const") + field(5, field(1, "value") + field(2, field(8, lie)))
    with pytest.raises(InputError, match="shape"):
        read(tmp_path, graph(x(-1, 3), wrong, node("y", "MatMul", "x", "w")))


def test_damaged_graphs_end_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"

    def work(changed: bytes) -> None:
        path.write_bytes(changed or b"\0")
        formats.read([path]).model()

    data = graph(x(-1, 3), const("w", W), node("y", "MatMul", "x", "w"), node("out", "Relu", "y"))
    assert survive(data, 200, work)[1] > 40


# Checkpoints


def block(entries: dict[bytes, bytes]) -> bytes:
    found, before = b"", b""
    for key, value in sorted(entries.items()):
        shared = next((i for i, (a, b) in enumerate(zip(before, key)) if a != b), min(len(before), len(key)))
        found += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    found += struct.pack("<II", 0, 1)
    return found + b"\0" + struct.pack("<I", masked(crc32c(found + b"\0")))


def checkpoint(prefix: Path, arrays: dict[str, np.ndarray]) -> None:
    data, entries = b"", {b"": field(1, 1)}
    for name, array in sorted(arrays.items()):
        raw = array.tobytes()
        place = field(4, len(data)) + field(5, len(raw))
        crc = varint(6 << 3 | 5) + struct.pack("<I", masked(crc32c(raw)))
        entries[name.encode()] = field(1, TYPES[array.dtype]) + field(2, shape(array.shape)) + place + crc
        data += raw
    first = block(entries)
    index = block({b"z": varint(0) + varint(len(first) - 5)})
    empty = block({})
    handles = varint(len(first) + len(index)) + varint(len(empty) - 5) + varint(len(first)) + varint(len(index) - 5)
    footer = handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(prefix.name + ".index").write_bytes(first + index + empty + footer)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


def test_checksums_and_snappy() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the standard
    long = RANDOM.bytes(300_001)
    value = 0xFFFFFFFF
    for byte in long:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    assert crc32c(long) == value ^ 0xFFFFFFFF
    assert snappy(memoryview(b"\x0c\x04ab" + b"\x15\x02" + b"\x00-")) == b"ab" + b"ababababa" + b"-"


def test_a_checkpoint(tmp_path: Path) -> None:
    checkpoint(tmp_path / "model", {"w": W, "long": np.arange(70000, dtype=np.float32)})
    stored = Checkpoint(tmp_path / "model.index")
    np.testing.assert_array_equal(stored.array("w"), W)
    np.testing.assert_array_equal(stored.array("long"), np.arange(70000))
    data = tmp_path / "model.data-00000-of-00001"
    changed = bytearray(data.read_bytes())
    changed[-1] ^= 1
    data.write_bytes(changed)
    with pytest.raises(InputError, match="checksum of 'w'"):
        stored.array("w")


@pytest.mark.parametrize("copied", [False, True])
def test_a_saved_model(copied: bool, tmp_path: Path) -> None:
    """Variables are found by the function that restores them, or their copies, whatever they are called."""
    saved = "copy" if copied else "v"
    copies = [
        node("copy", "VarHandleOp", shared_name="Variable_7"),
        node("copy/Initializer", "ReadVariableOp", "v"),
        node("copy/Assign", "AssignVariableOp", "copy", "copy/Initializer"),
    ]
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    checkpoint(folder / "variables" / "variables", {"layer/kernel": W, "other": W + 1})
    serve = function(
        "serve",
        ["x", "resource"],
        {"out": "y:product:0"},
        node("w", "ReadVariableOp", "resource"),
        node("y", "MatMul", "x", "w:value:0"),
    )
    restore = function(
        "restore",
        ["prefix", "variable"],
        {"out": "prefix"},
        const("names", np.array(["other", "layer/kernel"])),
        node("r", "RestoreV2", "prefix", "names:output:0", "names:output:0"),
        node("value", "Identity", "r:tensors:1"),
        node("assign", "AssignVariableOp", "variable", "value:output:0"),
    )
    nodes = graph(
        x(-1, 3, name="serving_default_x"),
        node("v", "VarHandleOp", shared_name="unrelated"),
        node("call", "StatefulPartitionedCall", "serving_default_x", "v", f=Fn("serve")),
        const("prefix", np.array("")),
        node("load", "StatefulPartitionedCall", "prefix", saved, f=Fn("restore")),
        *(copies if copied else []),
        functions=[serve, restore],
    )

    def info(key: str, name: str) -> bytes:
        return field(1, key) + field(2, field(1, name) + field(2, 1))

    signature = field(1, info("x", "serving_default_x:0")) + field(2, info("scores", "call:0"))
    meta = field(1, field(4, "serve") + field(5, "2.21")) + field(2, nodes)
    meta += field(5, field(1, "serving_default") + field(2, signature))
    (folder / "saved_model.pb").write_bytes(field(1, 1) + field(2, meta))
    network = formats.read([folder])
    assert [i.name for i in network.inputs] == ["x"]
    assert list(network.outputs) == ["scores"]
    np.testing.assert_allclose(run(network, X)[0], X @ W, rtol=1e-6)
    report = formats.inspect([folder])
    assert report["version"] == "SavedModel"
    assert report["inputs"] == {"x": ["batch", 3]}
    (folder / "variables" / "variables.index").unlink()
    with pytest.raises(InputError, match="variables are missing"):
        formats.read([folder])


def test_a_graph_of_training(tmp_path: Path) -> None:
    checkpoint(tmp_path / "model", {"w": W})
    nodes = [
        x(-1, 3),
        node("w", "VariableV2"),
        node("y", "MatMul", "x", "w"),
        node("prob", "Sigmoid", "y"),
        node("loss", "L2Loss", "prob"),
        node("gradients/g", "Neg", "loss"),
    ]
    meta = field(1, field(5, "1.15")) + field(2, graph(*nodes))
    (tmp_path / "model.meta").write_bytes(meta)
    network = formats.read([tmp_path / "model.meta"])
    assert list(network.outputs) == ["prob:0"]
    np.testing.assert_allclose(run(network, X)[0], 1 / (1 + np.exp(-X @ W)), rtol=1e-5)
    (tmp_path / "model.meta").write_bytes(meta.replace(b"prob", b"that"))
    with pytest.raises(InputError, match="name them with --outputs, of loss"):
        formats.read([tmp_path / "model.meta"])
    with pytest.raises(InputError, match="without its graph"):
        formats.read([tmp_path / "model.index"])


def test_an_input_that_is_a_single_number(tmp_path: Path) -> None:
    data = graph(x(-1, 3), node("k", "Placeholder", dtype=Kind(1)), node("y", "Mul", "x", "k"))
    with pytest.raises(InputError, match="k:0= for a single number"):
        read(tmp_path, data)
    network = read(tmp_path, data, shapes={"k": ()})
    np.testing.assert_array_equal(run(network, X, np.array(2, np.float32))[0], 2 * X)


def test_convolutions_keep_their_channels_first(tmp_path: Path) -> None:
    """Between two convolutions nothing is turned, whatever works element by element there."""
    kernel = RANDOM.normal(size=(1, 1, 3, 3)).astype(np.float32)
    strides = [1, 1, 1, 1]
    data = graph(
        x(-1, 5, 5, 3),
        const("w", kernel),
        const("b", [1.0, 2.0, 3.0]),
        node("one", "Conv2D", "x", "w", strides=strides, padding="SAME"),
        node("biased", "BiasAdd", "one", "b"),
        node("relu", "Relu6", "biased"),
        node("two", "Conv2D", "relu", "w", strides=strides, padding="SAME"),
        node("sum", "AddV2", "two", "relu"),
    )
    network = read(tmp_path, data)
    given = RANDOM.normal(size=(2, 5, 5, 3)).astype(np.float32)
    middle = np.clip(given @ kernel[0, 0] + [1, 2, 3], 0, 6)
    np.testing.assert_allclose(run(network, given)[0], middle @ kernel[0, 0] + middle, rtol=1e-4, atol=1e-5)
    assert network.kinds["Transpose"] == 2


# Spectra, colours, and what follows from constants


def test_a_spectrum_of_sound(tmp_path: Path) -> None:
    data = graph(x(-1, 6), const("n", [8]), node("c", "RFFT", "x", "n"), node("twice", "Mul", "c", "two"),
                 const("two", 2.0), node("y", "ComplexAbs", "twice"), node("i", "Imag", "c"))  # fmt: skip
    given = RANDOM.normal(size=(3, 6)).astype(np.float32)
    found = run(read(tmp_path, data, outputs=["y:0", "i:0"]), given)
    wanted = np.fft.rfft(given, 8)
    np.testing.assert_allclose(found[0], 2 * np.abs(wanted), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], wanted.imag, rtol=1e-4, atol=1e-5)


def test_the_spectrogram_of_speech_commands(tmp_path: Path) -> None:
    data = graph(x(40, 1), node("y", "AudioSpectrogram", "x", window_size=12, stride=10, magnitude_squared=True))
    given = RANDOM.normal(size=(40, 1)).astype(np.float32)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(12) / 12)
    wanted = [np.abs(np.fft.rfft(given[i : i + 12, 0] * window, 16)) ** 2 for i in (0, 10, 20)]
    np.testing.assert_allclose(run(read(tmp_path, data), given)[0][0], wanted, rtol=1e-3, atol=1e-4)


def test_colours_there_and_back(tmp_path: Path) -> None:
    data = graph(x(-1, 3), node("h", "RGBToHSV", "x"), node("y", "HSVToRGB", "h"))
    given = RANDOM.random((50, 3)).astype(np.float32)
    given[0] = 0.25
    hsv, rgb = run(read(tmp_path, data, outputs=["h:0", "y:0"]), given)
    np.testing.assert_allclose(hsv, [colorsys.rgb_to_hsv(*row) for row in given.tolist()], atol=1e-5)
    np.testing.assert_allclose(rgb, given, atol=1e-5)


@pytest.mark.parametrize(("op", "more", "wanted"), [
    ("SegmentMean", [np.array([1, 1], np.int32)], lambda x: np.stack([0 * x[0], x.mean(0)])),
    ("LowerBound", [X], lambda x: np.stack([np.searchsorted(r, v) for r, v in zip(x, X)])),
    ("MatrixDiagPartV3", [np.array([1], np.int32), np.float32(0)], lambda x: np.diagonal(x, 1)),
    ("Cross", [np.ones((2, 3), np.float32)], lambda x: np.cross(x, np.ones((2, 3)))),
])  # fmt: skip
def test_rarer_operators(op: str, more: list[Any], wanted: Any, tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(len(more))]
    data = graph(x(2, 3), *(const(n, m) for n, m in zip(names, more)), node("y", op, "x", *names))
    given = np.sort(X, 1)
    np.testing.assert_allclose(run(read(tmp_path, data), given)[0], wanted(given), rtol=1e-5)


def test_comparisons_are_followed_for_constants_only() -> None:
    made = Graph()
    size = made.add("Shape", made.input("x", (1, 64), free={1: "length"}))
    assert made.known(made.add("Equal", size, made.ints(1, 64))) is None
    numbers = made.ints(1, 64)
    assert made.known(made.add("Equal", made.add("Neg", numbers), made.ints(-1, 5))).tolist() == [True, False]  # type: ignore[union-attr]


def square(seed: int = 0) -> np.ndarray:
    """(2, 4, 4) matrices whose rows have to change places while they are solved."""
    found = np.random.default_rng(seed).normal(size=(2, 4, 4)).astype(np.float32)
    found[0, 0, 0] = 0
    return found


def definite() -> np.ndarray:
    return square() @ square().transpose(0, 2, 1) + np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(("op", "given", "settings", "wanted"), [
    ("MatrixInverse", square(), {}, np.linalg.inv),
    ("MatrixInverse", square(), {"adjoint": True}, lambda a: np.linalg.inv(a).transpose(0, 2, 1)),
    ("Cholesky", definite(), {}, np.linalg.cholesky),
])  # fmt: skip
def test_matrices(op: str, given: np.ndarray, settings: dict[str, Any], wanted: Any, tmp_path: Path) -> None:
    data = graph(x(-1, 4, 4), node("y", op, "x", **settings))
    np.testing.assert_allclose(run(read(tmp_path, data), given)[0], wanted(given), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("op", "settings", "matrix"), [
    ("MatrixSolve", {}, lambda a: a),
    ("MatrixSolve", {"adjoint": True}, lambda a: a.transpose(0, 2, 1)),
    ("MatrixTriangularSolve", {"lower": True}, np.tril),
    ("MatrixTriangularSolve", {"lower": False, "adjoint": True}, lambda a: np.triu(a).transpose(0, 2, 1)),
])  # fmt: skip
def test_equations(op: str, settings: dict[str, Any], matrix: Any, tmp_path: Path) -> None:
    a = square() + 2 * np.eye(4, dtype=np.float32) * ("Triangular" in op)
    b = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    data = graph(x(-1, 4, 4), x(-1, 4, 3, name="b"), node("y", op, "x", "b", **settings))
    np.testing.assert_allclose(run(read(tmp_path, data), a, b)[0], np.linalg.solve(matrix(a), b), rtol=1e-3, atol=1e-4)


def test_a_matrix_of_any_size_is_not_solved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"node 'y' .MatrixInverse.*any number of rows"):
        read(tmp_path, graph(x(-1, -1, -1), node("y", "MatrixInverse", "x")))


@pytest.mark.parametrize("op", ["Lgamma", "Digamma", "Erfinv"])
def test_special_functions(op: str, tmp_path: Path) -> None:
    special = pytest.importorskip("scipy.special")
    work = {"Lgamma": special.gammaln, "Digamma": special.digamma, "Erfinv": special.erfinv}[op]
    given = np.array([0.1, 0.5, 0.99, 0.001] if op == "Erfinv" else [0.1, 0.5, 1.0, 2.5, 17.0, 300.0, -0.3, -2.6])
    given = given.astype(np.float32)
    found = run(read(tmp_path, graph(x(-1), node("y", op, "x"))), given)[0]
    np.testing.assert_allclose(found, work(given.astype(np.float64)), rtol=3e-6, atol=3e-6)


def logistic(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("peephole", [True, False])
def test_a_block_of_lstm(newer: bool, peephole: bool, tmp_path: Path) -> None:
    """Five steps of which four count, gates in both orders, with a clipped memory."""
    random = np.random.default_rng(3)
    given = random.normal(size=(5, 2, 3)).astype(np.float32)
    w, b = random.normal(size=(7, 16)).astype(np.float32), random.normal(size=16).astype(np.float32)
    peeps = [random.normal(size=4).astype(np.float32) for _ in range(3)]
    zero = np.zeros((2, 4), np.float32)
    constants = {"n": np.array(4, np.int64), "c": zero, "h": zero, "w": w, "b": b} | dict(
        zip(("pi", "pf", "po"), peeps)
    )
    settings: dict[str, Any] = {"use_peephole": peephole, "cell_clip": 0.7} | ({} if newer else {"forget_bias": 0.5})
    nodes = [x(5, -1, 3), *(const(name, value) for name, value in constants.items())]
    names = ("n", "x", "c", "h", "w", "pi", "pf", "po", "b")
    nodes.append(node("y", "BlockLSTMV2" if newer else "BlockLSTM", *names, **settings))
    found = run(read(tmp_path, graph(*nodes), outputs=("y:1", "y:6")), given)
    memory, h, wanted = zero, zero, []
    for step in given[:4]:
        i, second, third, o = np.split(np.concatenate([step, h], 1) @ w + b, 4, 1)
        c, f = (third, second) if newer else (second, third + 0.5)
        i, f = (logistic(g + memory * p * peephole) for g, p in ((i, peeps[0]), (f, peeps[1])))
        memory = np.clip(np.tanh(c) * i + memory * f, -0.7, 0.7)
        h = np.tanh(memory) * logistic(o + memory * peeps[2] * peephole)
        wanted.append((memory, h))
    for array, side in zip(found, zip(*wanted)):
        np.testing.assert_allclose(array, [*side, zero], rtol=1e-4, atol=1e-5)


def test_a_gru_cell(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    given, h = random.normal(size=(2, 3)).astype(np.float32), random.normal(size=(2, 4)).astype(np.float32)
    arrays = [random.normal(size=s).astype(np.float32) for s in ((7, 8), (7, 4), (8,), (4,))]
    names = ["w_ru", "w_c", "b_ru", "b_c"]
    nodes = [x(-1, 3), x(-1, 4, name="h"), *(const(n, a) for n, a in zip(names, arrays))]
    data = graph(*nodes, node("y", "GRUBlockCell", "x", "h", *names))
    r, u = np.split(logistic(np.concatenate([given, h], 1) @ arrays[0] + arrays[2]), 2, 1)
    c = np.tanh(np.concatenate([given, r * h], 1) @ arrays[1] + arrays[3])
    found = run(read(tmp_path, data, outputs=("y:3",)), given, h)[0]
    np.testing.assert_allclose(found, u * h + (1 - u) * c, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_layers_of_cudnn(kind: str, tmp_path: Path) -> None:
    """Two layers in both directions, their parameters flat: all matrices, then all biases."""
    random = np.random.default_rng(5)
    given, gates = random.normal(size=(5, 2, 3)).astype(np.float32), 4 if kind == "lstm" else 3
    cells = [[random.normal(size=(gates, 4, n)).astype(np.float32) * 0.5 for n in (wide, 4)] for wide in (3, 3, 8, 8)]
    biases = [random.normal(size=(2, gates, 4)).astype(np.float32) * 0.5 for _ in range(4)]
    flat = np.concatenate([a.reshape(-1) for a in [m for cell in cells for m in cell] + biases])
    zero = np.zeros((4, 2, 4), np.float32)
    nodes = [x(5, -1, 3), const("h", zero), const("c", zero), const("p", flat)]
    data = graph(*nodes, node("y", "CudnnRNN", "x", "h", "c", "p", rnn_mode=kind, direction="bidirectional"))
    found = run(read(tmp_path, data, outputs=("y:0",)), given)[0]

    def cell(steps: np.ndarray, number: int) -> np.ndarray:
        (w, r), (bw, br) = cells[number], biases[number]
        h = memory = zero[0]
        made = []
        for step in steps:
            a, b = np.einsum("bi,ghi->gbh", step, w) + bw[:, None], np.einsum("bi,ghi->gbh", h, r) + br[:, None]
            if kind == "lstm":  # i, f, c, o
                i, f, c, o = a + b
                memory = logistic(f) * memory + logistic(i) * np.tanh(c)
                h = logistic(o) * np.tanh(memory)
            else:  # r, z, h
                reset, keep = logistic(a[0] + b[0]), logistic(a[1] + b[1])
                h = (1 - keep) * np.tanh(a[2] + reset * b[2]) + keep * h
            made.append(h)
        return np.stack(made)

    wanted = given
    for layer in (0, 1):
        wanted = np.concatenate([cell(wanted, 2 * layer), cell(wanted[::-1], 2 * layer + 1)[::-1]], 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


TEXT = r"""
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "shape" value { shape { dim { size: -1 } dim { size: 2 } } } } }
node { name: "w" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 2 } }
    tensor_content: "\000\000\200?\000\000\000\300" } } } }
node { name: "b" op: "Const" attr { key: "value" value { tensor { dtype: DT_FLOAT
  tensor_shape { dim { size: 2 } } float_val: -1.5e+1 float_val: 3 } } } }
node { name: "y" op: "Mul" input: "x" input: "w" attr { key: "T" value { type: DT_FLOAT } } }
node { name: "z" op: "AddV2" input: "y" input: "b" }
library { }
versions { producer: 1395 }
"""


def test_a_graph_kept_as_text(tmp_path: Path) -> None:
    """Constants as escaped bytes, and number by number."""
    (tmp_path / "graph.pbtxt").write_text(TEXT)
    found = run(formats.read([tmp_path / "graph.pbtxt"]), X[:, :2])[0]
    np.testing.assert_allclose(found, X[:, :2] * [1, -2] + [-15, 3], rtol=1e-6)
    saved = (
        'saved_model_schema_version: 1\nmeta_graphs { meta_info_def { tags: "serve" tensorflow_version: "2.1" }\n'
        f'graph_def {{ {TEXT} }} signature_def {{ key: "serving_default" value {{\n'
        'inputs { key: "data" value { name: "x:0" dtype: DT_FLOAT '
        "tensor_shape { dim { size: -1 } dim { size: 2 } } } }\n"
        'outputs { key: "sum" value { name: "z:0" dtype: DT_FLOAT } } method_name: "predict" } } }\n'
    )
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pbtxt").write_text(saved)
    network = formats.read([tmp_path / "saved"])
    assert (network.inputs[0].name, list(network.outputs)) == ("data", ["sum"])
    np.testing.assert_allclose(run(network, X[:, :2])[0], found)
    for damaged in (TEXT.replace("DT_FLOAT } }", "DT_FLOTA } }"), TEXT.replace("3 }", "nothing }"), TEXT[:-200]):
        (tmp_path / "graph.pbtxt").write_text(damaged)
        with pytest.raises(InputError):
            formats.read([tmp_path / "graph.pbtxt"])


def test_greedy_decoding_without_blanks_and_repetitions(tmp_path: Path) -> None:
    """Two texts of other lengths; the last of three tokens is the blank."""
    tokens = [[0, 0, 2, 0, 1, 1], [2, 1, 2, 2, 0, 0]]
    given = np.full((6, 2, 3), -1, np.float32)
    for batch, row in enumerate(tokens):
        given[np.arange(6), batch, row] = np.arange(6) + 1
    nodes = [x(6, 2, 3), const("n", np.array([6, 4])), node("y", "CTCGreedyDecoder", "x", "n", merge_repeated=True)]
    found = run(read(tmp_path, graph(*nodes), outputs=("y:0", "y:1", "y:2", "y:3")), given)
    assert found[0].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]
    assert found[1].tolist() == [0, 0, 1, 1]
    assert found[2].tolist() == [2, 3]
    assert found[3].tolist() == [[-21], [-10]]


def test_counts_of_as_many_numbers_as_there_are(tmp_path: Path) -> None:
    """The number of counts follows from the numbers; and each may have a weight."""
    nodes = [x(-1, dtype=3), const("axes", [0]), const("one", 1), const("none", np.zeros(0, np.float32)),
             const("w", np.array([0.5, 2, 4], np.float32)), node("most", "Max", "x", "axes"),
             node("size", "AddV2", "most", "one"), node("y", "DenseBincount", "x", "size", "none", Tidx=Kind(3)),
             node("z", "DenseBincount", "x", "size", "w", Tidx=Kind(3))]  # fmt: skip
    found = run(read(tmp_path, graph(*nodes), outputs=("y:0", "z:0")), np.array([3, 1, 3], np.int32))
    np.testing.assert_allclose(found[0], [0, 1, 0, 2])
    np.testing.assert_allclose(found[1], [0, 2, 0, 4.5])


def test_a_stored_array_is_turned_while_converting(tmp_path: Path) -> None:
    kernel = np.random.default_rng(6).normal(size=(2, 3, 1)).astype(np.float32)
    nodes = [x(-1, 4, 5, 1), const("k", kernel), const("axes", [0, 1]), node("turned", "ReverseV2", "k", "axes"),
             node("y", "Dilation2D", "x", "turned", strides=[1] * 4, rates=[1] * 4, padding="VALID")]  # fmt: skip
    given = np.random.default_rng(7).normal(size=(1, 4, 5, 1)).astype(np.float32)
    found = run(read(tmp_path, graph(*nodes)), given)[0]
    turned = kernel[::-1, ::-1, 0]
    wanted = [[(given[0, i : i + 2, j : j + 3, 0] + turned).max() for j in range(3)] for i in range(3)]
    np.testing.assert_allclose(found[0, :, :, 0], wanted, rtol=1e-5)


@pytest.mark.parametrize("fixed", [True, False])
def test_one_of_several_branches_of_a_lowered_case(fixed: bool, tmp_path: Path) -> None:
    given = const("n", 1) if fixed else node("n", "Placeholder", dtype=Kind(3), shape=Shape())
    nodes = [x(2, 3), given, const("two", 2.0), const("c", X * 0 + 7)]
    nodes += [node(name, "_SwitchN", of, "n", num_outs=3) for name, of in (("s", "x"), ("pivot", "n"))]
    nodes += [node("third", "Identity", "pivot:2"), node("a", "Neg", "s"), node("b", "Mul", "s:1", "two")]
    nodes += [node("d", "Identity", "c", "^third"), node("y", "Merge", "a", "b", "d")]
    network = read(tmp_path, graph(*nodes), outputs=("y:0",))
    for number, wanted in enumerate((-X, 2 * X, X * 0 + 7, X * 0 + 7)):
        if fixed and number != 1:
            continue
        feeds = [X] if fixed else [X, np.array(number, np.int32)]
        np.testing.assert_allclose(run(network, *feeds)[0], wanted)
