"""Functions of keras.ops between the layers, and layers without an ONNX operator of their own, against NumPy."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnxruntime as ort
import pytest

from sensorium import formats
from sensorium.errors import InputError

RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 4, 6)).astype(np.float32)
I = RNG.integers(0, 5, (2, 4, 6)).astype(np.int32)  # noqa: E741


def tensor(name: str, shape: list[Any], dtype: str = "float32", index: int = 0) -> dict[str, Any]:
    config = {"shape": shape, "dtype": dtype, "keras_history": [name, 0, index]}
    return {"class_name": "__keras_tensor__", "config": config}


def archive(
    path: Path, nodes: list[dict[str, Any]], shape: list[Any], dtype: str = "float32",
    weights: dict[str, Any] | None = None, outputs: int = 1,
) -> Path:  # fmt: skip
    """A functional model of one input `x`; its last node is the output."""
    first = {"class_name": "InputLayer", "name": "x", "inbound_nodes": [],
             "config": {"name": "x", "batch_shape": [None, *shape], "dtype": dtype}}  # fmt: skip
    last = nodes[-1]["name"]
    config = {"name": "m", "layers": [first, *nodes], "input_layers": [["x", 0, 0]],
              "output_layers": [[last, 0, i] for i in range(outputs)]}  # fmt: skip
    inside = io.BytesIO()
    with h5py.File(inside, "w") as file:
        file.create_group("layers")
        for name, array in (weights or {}).items():
            file[f"layers/{name}"] = array
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("metadata.json", '{"keras_version": "3.15.0"}')
        target.writestr("config.json", json.dumps({"class_name": "Functional", "config": config}))
        target.writestr("model.weights.h5", inside.getvalue())
    return path


def node(
    kind: str, args: list[Any], name: str = "y", module: str = "keras.src.ops.numpy", **more: Any
) -> dict[str, Any]:
    kwargs = more.pop("kwargs", {})
    return {"class_name": kind, "module": module, "name": name, "config": {"name": name, **more},
            "inbound_nodes": [{"args": args, "kwargs": kwargs}]}  # fmt: skip


def run(path: Path, x: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(formats.read([path]).model().SerializeToString())
    return [np.asarray(y) for y in session.run(None, {"x": x})]


def part(start: Any, stop: Any, step: Any = None) -> dict[str, Any]:
    return {"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": step}}


MATRIX = RNG.normal(size=(6, 2)).astype(np.float32)
STORED = {"class_name": "__numpy__", "config": {"value": MATRIX.tolist(), "dtype": "float32"}}
GONE = {"class_name": "__ellipsis__", "config": {}}
# Class, further arguments of the call, those of the class, and the same in NumPy.
FUNCTIONS: list[tuple[str, list[Any], dict[str, Any], Callable[[np.ndarray], Any]]] = [
    ("Subtract", [1.5], {}, lambda x: x - 1.5),
    ("Mod", [0.7], {}, lambda x: np.mod(x, np.float32(0.7))),
    ("FloorDivide", [0.7], {}, lambda x: np.floor(x / np.float32(0.7))),
    ("NotEqual", [0.0], {}, lambda x: x != 0),
    ("Arctan2", [-0.5], {}, lambda x: np.arctan2(x, np.float32(-0.5))),
    ("Sum", [], {"axis": [1, 2]}, lambda x: x.sum((1, 2))),
    ("Std", [], {"axis": -1, "keepdims": True}, lambda x: x.std(-1, keepdims=True)),
    ("Median", [], {"axis": 1}, lambda x: np.median(x, 1)),
    ("Quantile", [0.3], {"axis": -1, "method": "linear"}, lambda x: np.quantile(x, 0.3, -1)),
    ("Argmax", [], {"axis": 2}, lambda x: x.argmax(2)),
    ("Cumsum", [], {"axis": 1}, lambda x: x.cumsum(1)),
    ("Cumprod", [], {"axis": 2}, lambda x: x.cumprod(2)),
    ("Sort", [], {"axis": 1}, lambda x: np.sort(x, 1)),
    ("Transpose", [], {"axes": [0, 2, 1]}, lambda x: x.transpose(0, 2, 1)),
    ("Moveaxis", [], {"source": 1, "destination": -1}, lambda x: np.moveaxis(x, 1, -1)),
    ("Roll", [], {"shift": -2, "axis": 1}, lambda x: np.roll(x, -2, 1)),
    ("Repeat", [], {"repeats": 3, "axis": 1}, lambda x: x.repeat(3, 1)),
    ("Tile", [], {"repeats": [1, 2, 3]}, lambda x: np.tile(x, (1, 2, 3))),
    ("Pad", [], {"pad_width": [[0, 0], [1, 2], [0, 1]], "mode": "symmetric"},
     lambda x: np.pad(x, ((0, 0), (1, 2), (0, 1)), "symmetric")),
    ("Flip", [], {"axis": 1}, lambda x: x[:, ::-1]),
    ("GetItem", [[part(None, None), part(1, 4, 2), GONE, None]], {}, lambda x: x[:, 1:4:2, ..., None]),
    ("GetItem", [[GONE, -1]], {}, lambda x: x[..., -1]),
    ("GetItem", [[part(None, None), part(None, None, -1)]], {}, lambda x: x[:, ::-1]),
    ("Take", [[0, -1]], {"axis": 1}, lambda x: x[:, [0, -1]]),
    ("Matmul", [STORED], {}, lambda x: x @ MATRIX),
    ("Einsum", [STORED], {"subscripts": "...i,ij->...j"}, lambda x: x @ MATRIX),
    ("Triu", [], {"k": 1}, lambda x: np.triu(x, 1)),
    ("Diagonal", [], {"axis1": 1, "axis2": 2, "offset": 1}, lambda x: np.diagonal(x, 1, 1, 2)),
    ("Diff", [], {"axis": 1, "n": 2}, lambda x: np.diff(x, 2, 1)),
    ("ExpandDims", [], {"axis": [1, -1]}, lambda x: x[:, None, :, :, None]),
    ("Digitize", [[-0.5, 0.0, 0.5]], {}, lambda x: np.digitize(x, [-0.5, 0.0, 0.5])),
    ("Clip", [], {"x_min": -0.5, "x_max": 0.5}, lambda x: x.clip(-0.5, 0.5)),
    ("Norm", [], {"ord": 1, "axis": -1}, lambda x: np.abs(x).sum(-1)),
    ("RFFT", [], {"fft_length": 8}, lambda x: [np.fft.rfft(x, 8).real, np.fft.rfft(x, 8).imag]),
    ("Split", [], {"indices_or_sections": [1, 4], "axis": -1}, lambda x: np.split(x, [1, 4], -1)),
    ("TopK", [], {"k": 2}, lambda x: [-np.sort(-x, -1)[..., :2], np.argsort(-x, -1)[..., :2]]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "args", "config", "wanted"), FUNCTIONS, ids=lambda v: v if isinstance(v, str) else "")
def test_functions(
    kind: str, args: list[Any], config: dict[str, Any], wanted: Callable[[Any], Any], tmp_path: Path
) -> None:
    expected = wanted(X)
    expected = expected if isinstance(expected, list) else [expected]
    entry = node(kind, [tensor("x", [None, 4, 6]), *args], **config)
    found = run(archive(tmp_path / "m.keras", [entry], [4, 6], outputs=len(expected)), X)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_functions_are_inspected(tmp_path: Path) -> None:
    report = formats.inspect([archive(tmp_path / "m.keras", [node("Abs", [tensor("x", [None, 4, 6])])], [4, 6])])
    assert report["convertible"]
    report = formats.inspect([archive(tmp_path / "m.keras", [node("Beam", [tensor("x", [None, 4, 6])])], [4, 6])])
    assert "unknown classes: Beam" in report["why_not"]


@pytest.mark.parametrize(("kind", "number", "wanted"), [
    ("Add", 1.5, (I + 1.5).astype(np.float32)), ("Multiply", 2, I * 2), ("TrueDivide", 2, (I / 2).astype(np.float32)),
    ("FloorDivide", -2, I // -2), ("Mod", -3, I % -3), ("Greater", 2, I > 2), ("LeftShift", 2, I << 2),
])  # fmt: skip
def test_types_meet_as_in_keras(kind: str, number: float, wanted: np.ndarray, tmp_path: Path) -> None:
    entry = node(kind, [tensor("x", [None, 4, 6], "int32"), number])
    (found,) = run(archive(tmp_path / "m.keras", [entry], [4, 6], "int32"), I)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("kind", "args", "config", "words"), [
    ("Teleport", [], {}, "'y' .Teleport.*not known"),
    ("Sum", [], {"axis": 7}, "no axis 7"),
    ("Sum", [], {"twist": 1}, "way that is not known"),
    ("Unstack", [], {"axis": 0}, "axis 0, which is free"),
    ("GetItem", [[tensor("x", [None, 4, 6])]], {}, "computed"),
])  # fmt: skip
def test_functions_that_are_refused(
    kind: str, args: list[Any], config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    entry = node(kind, [tensor("x", [None, 4, 6]), *args], **config)
    with pytest.raises(InputError, match=words):
        formats.read([archive(tmp_path / "m.keras", [entry], [4, 6])])


def layer(kind: str, config: dict[str, Any], shape: list[Any], **kwargs: Any) -> dict[str, Any]:
    return node(kind, [tensor("x", [None, *shape])], module="keras.layers", kwargs=kwargs, **config)


def test_a_mask_that_functions_compute(tmp_path: Path) -> None:
    """Keras 3.15 writes the mask of Masking as functions of their own."""
    x = X.copy()
    x[0, 2:] = 0
    whole = [None, 4, 6]
    nodes = [
        node("NotEqual", [tensor("x", whole), 0.0], "differs"),
        node("Any", [tensor("differs", whole, "bool")], "mask", axis=-1, keepdims=False),
        node("Masking", [tensor("x", whole)], "masking", "keras.layers", mask_value=0.0),
        node("GlobalAveragePooling1D", [tensor("masking", whole)], "y", "keras.layers",
             kwargs={"mask": tensor("mask", [None, 4], "bool")}),
    ]  # fmt: skip
    (found,) = run(archive(tmp_path / "m.keras", nodes, [4, 6]), x)
    np.testing.assert_allclose(found, [x[0, :2].mean(0), x[1].mean(0)], rtol=1e-5, atol=1e-6)


def test_adaptive_pooling(tmp_path: Path) -> None:
    x = RNG.normal(size=(1, 7, 2)).astype(np.float32)
    (found,) = run(
        archive(tmp_path / "m.keras", [layer("AdaptiveAveragePooling1D", {"output_size": 3}, [7, 2])], [7, 2]), x
    )
    wanted = [x[0, math.floor(i * 7 / 3) : math.ceil((i + 1) * 7 / 3)].mean(0) for i in range(3)]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5)


def test_a_crop_of_pictures_of_any_size(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "m.keras", [layer("CenterCrop", {"height": 2, "width": 3}, [None, None, 1])], [None, None, 1]
    )
    for size in ((5, 4), (6, 9)):
        x = RNG.normal(size=(1, *size, 1)).astype(np.float32)
        top, left = (size[0] - 2) // 2, (size[1] - 3) // 2
        np.testing.assert_array_equal(run(path, x)[0], x[:, top : top + 2, left : left + 3])


def test_lanczos_keeps_what_is_even_and_mirrors(tmp_path: Path) -> None:
    config = {"height": 5, "width": 9, "interpolation": "lanczos3", "antialias": True}
    path = archive(tmp_path / "m.keras", [layer("Resizing", config, [8, 6, 1])], [8, 6, 1])
    np.testing.assert_allclose(run(path, np.full((1, 8, 6, 1), 2, np.float32))[0], 2, rtol=1e-5)
    x = RNG.normal(size=(1, 8, 6, 1)).astype(np.float32)
    np.testing.assert_allclose(run(path, x[:, ::-1])[0], run(path, x)[0][:, ::-1], atol=1e-5)


def test_grouped_queries_of_one_head_each_are_attention(tmp_path: Path) -> None:
    weights = {
        f"{group}/_{name}_dense/vars/0": RNG.normal(size=shape).astype(np.float32)
        for group in ("grouped_query_attention", "multi_head_attention")
        for name, shape in (("query", (6, 2, 3)), ("key", (6, 2, 3)), ("value", (6, 2, 3)), ("output", (2, 3, 6)))
    }
    for name in ("query", "key", "value", "output"):
        weights[f"multi_head_attention/_{name}_dense/vars/0"] = weights[f"grouped_query_attention/_{name}_dense/vars/0"]
    x = tensor("x", [None, 4, 6])
    results = []
    for kind, config in (
        ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 2, "num_key_value_heads": 2}),
        ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}),
    ):
        entry = node(kind, [x, x], module="keras.layers", use_bias=False, kwargs={"use_causal_mask": True}, **config)
        results.append(run(archive(tmp_path / f"{kind}.keras", [entry], [4, 6], weights=weights), X)[0])
    np.testing.assert_allclose(*results, atol=1e-6)


def test_convolutions_with_a_memory(tmp_path: Path) -> None:
    """A kernel of one pixel: an LSTM in each pixel by itself."""
    x = RNG.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    kernel, recurrent, bias = (RNG.normal(size=s).astype(np.float32) for s in ((1, 1, 1, 8), (1, 1, 2, 8), (8,)))
    weights = dict(zip((f"conv_lstm2d/cell/vars/{i}" for i in range(3)), (kernel, recurrent, bias)))
    config = {"filters": 2, "kernel_size": [1, 1], "padding": "same", "return_sequences": True}
    (found,) = run(
        archive(tmp_path / "m.keras", [layer("ConvLSTM2D", config, [3, 2, 2, 1])], [3, 2, 2, 1], weights=weights), x
    )

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    h, c = np.zeros((2, 2, 2, 2)), np.zeros((2, 2, 2, 2))
    for t in range(3):
        i, f, m, o = np.split(x[:, t] @ kernel[0, 0] + h @ recurrent[0, 0] + bias, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(m)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(found[:, t], h, rtol=1e-4, atol=1e-5)


def test_texts_that_are_none_can_be_printed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        model = json.dumps({"class_name": "Sequential", "config": [{"class_name": "A\x01B", "config": {"name": "d"}}]})
        data = model.encode().replace(b"\\u0001", b"\x86")
        file.attrs.create("model_config", data, dtype=h5py.string_dtype("utf-8", len(data)))
        file.create_group("model_weights")
    with pytest.raises(InputError) as raised:
        formats.read([tmp_path / "m.h5"])
    str(raised.value).encode("utf-8")


@pytest.mark.parametrize(("kind", "config"), [
    ("Diff", {"n": 1 << 30}),
    ("Repeat", {"repeats": [1 << 40] * 4, "axis": 1}),
    ("STFT", {"sequence_length": 2, "sequence_stride": 1, "fft_length": 1 << 20}),
    ("RFFT", {"fft_length": 1 << 30}),
    ("Tile", {"repeats": [1 << 20, 1 << 20, 1]}),
    ("OneHot", {"num_classes": 1 << 40}),
    ("Split", {"indices_or_sections": 0, "axis": 1}),
])  # fmt: skip
def test_numbers_that_no_network_has(kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    entry = node(kind, [tensor("x", [None, 4, 6])], **config)
    with pytest.raises(InputError):
        formats.read([archive(tmp_path / "m.keras", [entry], [4, 6])])
