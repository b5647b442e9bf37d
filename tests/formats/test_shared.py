"""The parsers that readers share, on good and on hostile bytes; and the graph."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from sensorium.errors import InputError
from sensorium.formats.shared import pickles, textproto
from sensorium.formats.shared.archive import Archive
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.protobuf import Message
from sensorium.formats.shared.source import File
from tests.formats.mutations import survive
from tests.formats.wire import field, varint


def test_a_message_is_read() -> None:
    data = field(1, 150) + field(2, "testing") + field(3, field(1, 7)) + field(4, np.float32([1, 2]).tobytes())
    data += field(5, -3) + field(6, 1.5) + field(7, varint(3) + varint(270)) + field(7, 5)
    message = Message(data, "file")
    assert message.unsigned(1) == 150
    assert message.text(2) == "testing"
    assert message.message(3).signed(1) == 7
    np.testing.assert_array_equal(message.floats(4), [1, 2])
    assert message.signed(5) == -3
    assert message.float32(6) == 1.5
    assert message.signed_list(7) == [3, 270, 5]
    assert message.text(9, "none") == "none"


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05abc",
        b"\x08",
        b"\x08" + b"\xff" * 11,
        b"\x00\x01",
        b"\x0f",
        b"\x0b",
        b"\x0c",
        b"\x0a" + varint(1 << 62),
    ],
)
def test_broken_messages_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="truncated or corrupt"):
        _ = Message(data, "file").fields


def test_nesting_is_bounded() -> None:
    data = b""
    for _ in range(100):
        data = field(1, data)

    def descend() -> None:
        message = Message(data, "file")
        for _ in range(100):
            message = message.message(1)
            _ = message.fields

    with pytest.raises(InputError, match="nested"):
        descend()


def test_prototxt_is_read() -> None:
    block = textproto.parse(
        'name: "a\\"b" # comment\nlayer { x: 1 x: -2 y: 1.5f on: true\n sub < z: [3, 4] > }\nlayer: { k: WORD }', "f"
    )
    assert block.text("name") == 'a"b'
    first, second = block.blocks("layer")
    assert first.whole_list("x") == [1, -2]
    assert first.number("y") == 1.5
    assert first.flag("on")
    assert first.block("sub").whole_list("z") == [3, 4]
    assert second.text("k") == "WORD"
    assert second.line == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("layer {\n name: 'a'\n", "line 3: cannot be parsed: the group begun in line 1 does not end"),
        ("layer { name: }", "unexpected"),
        ("}", "unexpected '}'"),
        ("a: \n", "ends after 'a'"),
        ("a { b: 1 >", "unexpected '>'"),
        ("a { " * 100, "nested deeper"),
        ("a: \x01", "unexpected"),
    ],
)
def test_broken_prototxt_says_where(text: str, reason: str) -> None:
    with pytest.raises(InputError, match="line") as caught:
        textproto.parse(text, "f")
    assert reason in str(caught.value)


def test_a_pickle_is_walked_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "touched"

    class Evil:
        def __reduce__(self) -> object:
            return os.system, (f"touch {marker}",)

    for protocol in range(6):
        seen = pickles.walk(pickle.dumps([OrderedDict(a=1), Evil()], protocol), "file")
        assert [name.split(".")[-1] for name in seen.suspicious] == ["system"], protocol
    assert not marker.exists()
    with pytest.raises(InputError, match="truncated or corrupt"):
        pickles.walk(b"\x80\x04\x95\xff", "file")


def test_archives_are_bounded(tmp_path: Path) -> None:
    def archive(members: dict[str, bytes]) -> Archive:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)
        return Archive(File.of(path))

    assert archive({"a/b": b"x"}).read("a/b") == b"x"
    for name in ("../x", "/etc/x", "a/../../x", "..\\x"):
        with pytest.raises(InputError, match="outside"):
            archive({name: b""})
    with pytest.raises(InputError, match="refused"):
        archive({"bomb": bytes(10_000_000)}).read("bomb", 1 << 20)
    good = io.BytesIO()
    with zipfile.ZipFile(good, "w") as file:
        file.writestr("a", b"hello")

    def work(data: bytes) -> None:
        (tmp_path / "m.zip").write_bytes(data)
        found = Archive(File.of(tmp_path / "m.zip"))
        for name in found.names:
            found.read(name, 1 << 20)

    survive(good.getvalue(), 200, work)


# The graph


def run(graph: Graph, **feeds: np.ndarray) -> list[np.ndarray]:
    model = graph.model()
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def test_a_graph_knows_shapes_and_keeps_free_axes() -> None:
    graph = Graph("net")
    x = graph.input("x", (1, 3, 8, 8), free={0: "batch", 2: "height", 3: "width"})
    y = graph.add("Conv", x, graph.constant(np.ones((4, 3, 3, 3), np.float32)), kernel_shape=[3, 3])
    assert graph.shape(y) == (1, 4, 6, 6)
    size = graph.add("Shape", y, start=2)
    np.testing.assert_array_equal(graph.known(size), [6, 6])
    flat = graph.add("Reshape", y, graph.add("Concat", graph.ints(0, 4, -1), axis=0))
    assert graph.shape(flat) == (1, 4, 36)
    graph.output(flat, "y")
    (found,) = run(graph, x=np.ones((2, 3, 5, 6), np.float32))
    np.testing.assert_array_equal(found, np.full((2, 4, 12), 27))
    assert graph.parameters == 108
    assert graph.multiply_adds() == 4 * 36 * 27


def test_names_of_outputs_are_kept() -> None:
    graph = Graph()
    x = graph.input("data", (1, 2), free={0: "batch"})
    first = graph.add("Relu", x, hint="a")
    second = graph.add("Neg", first, hint="a")  # in place: the blob 'a' again
    graph.output(second, "a")
    graph.output(first, "b")
    graph.output(x, "c")
    model = graph.model()
    assert [o.name for o in model.graph.output] == ["a", "b", "c"]
    a, b, c = run(graph, data=np.array([[-1, 2]], np.float32))
    np.testing.assert_array_equal([a[0], b[0], c[0]], [[0, -2], [0, 2], [-1, 2]])


def test_two_outputs_may_change_names() -> None:
    graph = Graph()
    x = graph.input("data", (1, 2))
    a, b = graph.add("Relu", x, hint="a"), graph.add("Neg", x, hint="b")
    graph.output(a, "b")
    graph.output(b, "a")
    first, second = run(graph, data=np.array([[-1, 2]], np.float32))
    np.testing.assert_array_equal([first[0], second[0]], [[0, 2], [1, -2]])


def test_a_scan_with_a_subgraph() -> None:
    graph = Graph()
    x = graph.input("x", (5, 1, 2), free={0: "length", 1: "batch"})
    factor = graph.constant(np.float32([2, 3]))
    body = graph.subgraph()
    state, now = body.input("state", (1, 2)), body.input("now", (1, 2))
    total = body.add("Add", state, body.add("Mul", now, factor))
    body.output(total, body.fresh("next"))
    body.output(body.add("Identity", total), body.fresh("out"))
    zero = graph.constant(np.zeros((1, 2), np.float32))
    _, y = graph.add("Scan", zero, x, outputs=2, body=body, num_scan_inputs=1)
    graph.output(y, "y")
    feed = np.arange(6, dtype=np.float32).reshape(3, 1, 2)
    (found,) = run(graph, x=feed)
    np.testing.assert_array_equal(found, np.cumsum(feed * [2, 3], 0))


def test_what_does_not_fit_is_said() -> None:
    graph = Graph()
    x = graph.input("x", (1, 3))
    with pytest.raises(InputError, match="MatMul does not fit inputs of shape"):
        graph.add("MatMul", x, graph.constant(np.ones((4, 2), np.float32)))
    with pytest.raises(InputError, match="too large"):
        graph.add("Expand", x, graph.ints(1 << 30, 3))
    with pytest.raises(InputError, match="no operator"):
        graph.add("Frobnicate", x)
    with pytest.raises(InputError, match="no output"):
        graph.model()


def test_checksums_of_every_member_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("code", b"good")
        file.writestr("weights", bytes(range(200)))
    Archive(File.of(path)).check()
    data = bytearray(path.read_bytes())
    data[data.index(bytes(range(50, 60)))] ^= 1
    path.write_bytes(data)
    assert Archive(File.of(path)).read("code") == b"good"
    with pytest.raises(InputError, match="'weights' is truncated or corrupt"):
        Archive(File.of(path)).check()
