"""Every format is recognised by content, under any name; wrong and dangerous files are called what they are."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from sensorium import formats
from sensorium.cli import main
from sensorium.errors import InputError, SensoriumError
from tests.formats.mutations import survive
from tests.formats.wire import caffemodel, field


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, arr_0=np.ones((2, 3), np.float32), arr_1=np.ones(3, np.float32))
    return stream.getvalue()


def network() -> bytes:
    helper = onnx.helper
    x, y = (helper.make_tensor_value_info(n, 1, [1, 2]) for n in "xy")
    weight = onnx.numpy_helper.from_array(np.ones((1, 2), np.float32), "w")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def tensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(24)


NODE = field(1, field(1, "x") + field(2, "Placeholder")) + field(1, field(1, "y") + field(2, "Relu") + field(3, "x"))
PROTOTXT = b'name: "n"\nlayer {\n name: "a"\n type: "ReLU"\n bottom: "data"\n top: "a"\n}\n'
KERAS = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {}}]}}
META = field(1, field(4, "serve") + field(5, "2.15.0")) + field(2, NODE)
GGUF = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<II", 4, 7)
SAMPLES = {
    "caffe": PROTOTXT,
    "caffe ": caffemodel({"conv1": [np.ones((2, 1, 3, 3)), np.ones(2)]}),
    "caffe  ": caffemodel({"conv1": [np.ones((2, 1, 3, 3)), np.ones(2)]}, version=1),
    "cntk": field(1, 1) + field(2, field(1, "version") + field(2, field(1, 1) + field(2, 5))),
    "cntk ": b"B\0C\0N\0\0\0" + bytes(40),
    "darknet": b"[net]\nwidth=8\nheight=8\nchannels=3\n[softmax]\n",
    "gguf": GGUF,
    "keras": json.dumps(KERAS).encode(),
    "keras ": zipped(config_dot_json=json.dumps(KERAS).encode(), metadata_dot_json=b'{"keras_version": "3.8.0"}'),
    "keras  ": b"\x89HDF\r\n\x1a\n" + bytes(100) + b'model_config {"class_name": "Sequential"}',
    "mxnet": b'{"nodes": [{"op": "null", "name": "data", "inputs": []}, {"op": "relu", "name": "r", "inputs": []}]}',
    "mxnet ": bytes.fromhex("1201000000000000") + bytes(24),
    "ncnn": b"7767517\n2 2\nInput data 0 1 data\nReLU r 1 1 data r\n",
    "onnx": network(),
    "openvino": b'<?xml version="1.0"?>\n<net name="n" version="11">\n<layer id="0" name="x" type="Parameter"/></net>',
    "ort": b"\x10\0\0\0ORTM" + bytes(40),
    "safetensors": tensors(),
    "tensorflow": NODE,
    "tensorflow ": field(1, 1) + field(2, META),
    "tfjs": json.dumps({"modelTopology": {"node": []}, "weightsManifest": []}).encode(),
    "tflite": b"\x1c\0\0\0TFL3" + bytes(60),
    "theano": npz(),
    "torch": zipped(model__data_dot_pkl=pickle.dumps({"a": 1}, 2), model__version=b"3"),
    "torch ": b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}, {}, [])),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("ending", [".bin", ".h5", ".pb", ""])
def test_recognised_under_any_name(name: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{ending}"
    path.write_bytes(SAMPLES[name])
    found = formats.recognise([path])
    assert found is not None
    assert found[0] == name.strip()
    with contextlib.suppress(InputError):  # some of these hold no more than what they are recognised by
        report = formats.inspect([path])
        assert report["format"]
        assert report["could_run_code"] == []
        json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"

    def work(data: bytes) -> None:
        path.write_bytes(data)
        formats.inspect([path])

    answered, refused = survive(SAMPLES[name], 120, work)
    assert answered + refused == 120


WRONG = {
    "an HTML page": b"<!DOCTYPE html><html><body>Log in</body></html>",
    "a PNG picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "empty": b"",
    "a PDF document": b"%PDF-1.4 " + bytes(20),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "binary data": bytes(range(256)),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("ending", [".caffemodel", ".onnx", ".pt", ".h5", ".params", ".tflite", ".weights"])
def test_wrong_files_are_named_for_what_they_are(
    name: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"model{ending}"
    path.write_bytes(WRONG[name])
    assert main(["convert", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert name in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.marker}",)


def evil_files(marker: Path) -> dict[str, bytes]:
    evil = Evil(marker)
    array = io.BytesIO()
    np.savez(array, a=np.array([evil], dtype=object), allow_pickle=True)
    return {
        "model.pt": zipped(model__data_dot_pkl=pickle.dumps(evil, 2), model__version=b"3"),
        "model.pth": b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}, evil)),
        "model.bin": zipped(a__data_dot_pkl=pickle.dumps([1, evil], 4)),
        "model.pkl": pickle.dumps({"a": evil}, 4),
        "model.joblib": pickle.dumps(evil, 5),
        "model.onnx": pickle.dumps(evil, 3),
        "params.npz": array.getvalue(),
    }


@pytest.mark.parametrize(
    "name", ["model.pt", "model.pth", "model.bin", "model.pkl", "model.joblib", "model.onnx", "params.npz"]
)
def test_pickles_are_shown_and_refused_whatever_they_are_called(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / name
    path.write_bytes(evil_files(marker)[name])
    if name == "params.npz":
        with pytest.raises(InputError, match="refused"):
            formats.inspect([path])
    else:
        assert any("system" in line for line in formats.inspect([path])["could_run_code"])
    assert main(["convert", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "refused" in capsys.readouterr().err
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_what_would_run_code_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [
        {"class_name": "Lambda", "module": "keras.layers", "config": {}},
        {"class_name": "system", "module": "os", "config": {}},
    ]}}  # fmt: skip
    path.write_bytes(zipped(config_dot_json=json.dumps(config).encode(), metadata_dot_json=b"{}"))
    assert len(formats.inspect([path])["could_run_code"]) == 2
    path = tmp_path / "graph.pb"
    path.write_bytes(NODE + field(1, field(1, "w") + field(2, "WriteFile") + field(3, "y")))
    assert "WriteFile" in formats.inspect([path])["could_run_code"][0]


def test_external_data_outside_is_refused(tmp_path: Path) -> None:
    for place in ("../x", "/etc/passwd", "a/../../x", "..\\x", ".", "a\0b"):
        tensor = field(1, 1) + field(2, 1) + field(8, "w") + field(13, field(1, "location") + field(2, place))
        graph = field(1, field(1, "w") + field(2, "y") + field(4, "Relu")) + field(5, tensor) + field(12, field(1, "y"))
        path = tmp_path / "model.bin"
        path.write_bytes(field(1, 9) + field(7, graph) + field(8, field(2, 18)))
        with pytest.raises(InputError, match="outside"):
            formats.inspect([path])


def test_a_folder_of_a_model_and_one_of_data(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "deploy.prototxt").write_bytes(PROTOTXT)
    (tmp_path / "model" / "net.caffemodel").write_bytes(SAMPLES["caffe "])
    (tmp_path / "model" / "README").write_text("hello")
    found = formats.recognise([tmp_path / "model"])
    assert found is not None
    assert (found[0], len(found[1])) == ("caffe", 2)
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "labels.csv").write_text("text,label\na,b\n")
    assert formats.recognise([tmp_path / "data"]) is None
    with pytest.raises(SensoriumError, match="no such file"):
        formats.inspect([tmp_path / "nowhere"])


def test_every_reader_keeps_the_contract() -> None:
    known = formats.formats()
    assert {"caffe", "darknet", "mxnet", "cntk", "theano", "tensorflow", "keras", "tflite", "tfjs", "torch"} <= set(
        known
    )
    assert all(text.endswith(".") and "\n" not in text for text, _ in known.values())


def test_a_refusal_says_that_the_name_promises_another_format(tmp_path: Path) -> None:
    (tmp_path / "m.model").write_bytes(pickle.dumps([1, 2], 2))
    with pytest.raises(InputError, match=r"pickle.*not a CNTK"):
        formats.read([tmp_path / "m.model"])


def test_values_to_compare_with_are_no_parameters(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", in_x=np.zeros(3), out_y=np.zeros(2), in_x__s1=np.zeros(3))
    assert formats.recognise([tmp_path]) is None
    np.savez(tmp_path / "params.npz", arr_0=np.zeros((3, 2)))
    found = formats.recognise([tmp_path])
    assert found is not None
    assert [file.path.name for file in found[1]] == ["params.npz"]


def test_a_model_in_a_folder_of_its_own_beside_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("how it was made")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\x08\x01\x12\x04\x0a\x02\x12\x00")
    found = formats.recognise([tmp_path])
    assert found is not None
    assert [file.path.name for file in found[1]] == ["saved"]
