"""Graphs of other frameworks that would touch files, and parsers under damage, lies and depth."""

from __future__ import annotations

import contextlib
import json
import resource
import struct
import time
from pathlib import Path

import pytest

import sensorium
from sensorium import formats
from sensorium.errors import InputError, SensoriumError
from tests.formats.mutations import survive
from tests.formats.test_recognise import SAMPLES
from tests.formats.wire import field
from tests.security.watch import outside, watching


def node(name: str, op: str, *inputs: str) -> bytes:
    return field(1, field(1, name) + field(2, op) + b"".join(field(3, i) for i in inputs))


@pytest.mark.parametrize(
    "op", ["ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "DatasetFromGraph", "SaveV2", "RestoreV2"]
)
def test_a_graph_that_reads_or_writes_files(op: str, tmp_path: Path) -> None:
    """A frozen graph and a saved model with operators that touch the disk: read as protobuf and never executed; the
    operator is listed and has no conversion."""
    graph = node("x", "Placeholder") + node("path", "Const") + node("w", op, "path", "x") + node("y", "Relu", "w")
    (tmp_path / "frozen.pb").write_bytes(graph)
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(field(1, 1) + field(2, field(1, field(4, "serve")) + field(2, graph)))
    for path in (tmp_path / "frozen.pb", folder):
        with watching() as events:
            report = sensorium.inspect(path)
            with pytest.raises(SensoriumError) as refusal:
                sensorium.convert(path, out=tmp_path / "out", outputs=["y"])
        assert "\n" not in str(refusal.value)
        assert report["layers"][op] == 1
        if op not in ("SaveV2", "RestoreV2"):
            assert any(op in line for line in report["could_run_code"])
        assert not outside(events, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tflite", "caffe", "caffe ", "mxnet", "mxnet ", "cntk", "cntk ", "gguf"])
def test_parsers_survive_damage(name: str, tmp_path: Path) -> None:
    """Two hundred seeded changes of each format: an answer or a line, quickly, and without growing."""
    path = tmp_path / "model"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def work(changed: bytes) -> None:
        path.write_bytes(changed or b"\0")
        if formats.recognise([path]) is not None:
            formats.inspect([path])
            formats.read([path])

    survive(SAMPLES[name] * 1, 200, work, seed=7)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # kB


HUGE = {
    "deep.json": b'{"nodes": ' + b"[" * 100_000 + b"]" * 100_000 + b', "heads": []}',
    "deep.prototxt": b'layer {\n name: "a"\n type: "ReLU"\n' + b"p {" * 100_000 + b"}" * 100_000 + b"\n}\n",
    "count.gguf": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
    "string.gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62) + b"k",
    "count.params": bytes.fromhex("1201000000000000") + bytes(8) + struct.pack("<Q", 1 << 60),
    "root.tflite": struct.pack("<I", 0x7FFFFFF0) + b"TFL3" + bytes(60),
    "loop.tflite": struct.pack("<I", 8) + b"TFL3" + struct.pack("<i", -4) + bytes(60),
    "deep.model": field(1, 1) + field(2, b"".join(field(2, b"") for _ in range(1000))),
    "shape.caffemodel": field(1, "n")
    + field(100, field(1, "a") + field(2, "Convolution") + field(7, field(7, field(1, 1 << 62)))),
    "name.safetensors": struct.pack("<Q", 1 << 62) + b'{"a": 1}',
    "shape.npy.json": json.dumps({"class_name": "Sequential", "config": [{"class_name": "Dense"}] * 50_000}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HUGE))
def test_lies_about_depth_offsets_and_counts(name: str, tmp_path: Path) -> None:
    """Counts, sizes and offsets that are not there, and nesting without end."""
    path = tmp_path / name
    path.write_bytes(HUGE[name])
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(InputError):
        formats.read([path])
    with contextlib.suppress(SensoriumError):
        formats.inspect([path])
    assert time.perf_counter() - begin < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10
