"""Theano and Lasagne: layers against numpy, pickles that are walked and never loaded, and what must be refused."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sensorium import formats
from sensorium.errors import InputError
from sensorium.formats import Options
from tests.formats.mutations import survive

RANDOM = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def convert(
    folder: Path, layers: Sequence[dict[str, Any]], arrays: Sequence[np.ndarray], outputs: Any = None
) -> Callable[..., list[np.ndarray]]:
    (folder / "net.json").write_text(json.dumps({"layers": layers} | ({"outputs": outputs} if outputs else {})))
    np.savez(folder / "net.npz", *arrays)
    model = formats.read([folder / "net.npz"], Options(architecture=folder / "net.json")).model()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda **feeds: list(session.run(None, feeds))


def correlated(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, w))


def given(*shape: int | None) -> dict[str, Any]:
    return {"type": "Input", "name": "data", "shape": list(shape)}


@pytest.mark.parametrize("flip", [None, True, False])
def test_network(tmp_path: Path, flip: bool | None) -> None:
    """A true convolution unless it says otherwise, pooling, dense layer; the readable form, in order."""
    w, b, d, e = array(4, 2, 3, 3), array(4), array(4 * 3 * 3, 5), array(5)
    more = {} if flip is None else {"flip_filters": flip}
    layers = [
        given(None, 2, 8, 8),
        {"type": "Conv2D", "num_filters": 4, "filter_size": 3, **more},
        {"type": "Dropout"},
        {"type": "MaxPool2D", "pool_size": 2},
        {"type": "Dense", "name": "prob", "num_units": 5, "nonlinearity": "softmax"},
    ]
    x = array(3, 2, 8, 8)
    y = np.maximum(correlated(x, w if flip is False else w[:, :, ::-1, ::-1]) + b[:, None, None], 0)
    y = y.reshape(3, 4, 3, 2, 3, 2).max((3, 5)).reshape(3, -1) @ d + e
    y = np.exp(y - y.max(1, keepdims=True))
    found = convert(tmp_path, layers, [w, b, d, e])(data=x)[0]
    np.testing.assert_allclose(found, y / y.sum(1, keepdims=True), atol=1e-5)


def test_batch_norm_takes_bias_and_nonlinearity(tmp_path: Path) -> None:
    w, beta, gamma, mean, inverse = array(3, 2, 1, 1), array(3), array(3), array(3), np.abs(array(3))
    layers = [
        {"type": "InputLayer", "name": "data", "kwargs": {"shape": [None, 2, None, None]}},
        {"type": "Conv2DLayer", "name": "c", "incoming": ["data"], "kwargs": {"num_filters": 3, "filter_size": [1, 1]}},
        {"type": "batch_norm", "name": "bn", "incoming": ["c"]},
        {"type": "GlobalPoolLayer", "name": "gap", "incoming": ["bn"]},
    ]
    x = array(2, 2, 5, 4)
    y = np.einsum("nchw,oc->nohw", x, w[:, :, 0, 0])
    y = (y - mean[:, None, None]) * (gamma * inverse)[:, None, None] + beta[:, None, None]
    found = convert(tmp_path, layers, [w, beta, gamma, mean, inverse], ["gap", "bn"])(data=x)
    np.testing.assert_allclose(found[1], np.maximum(y, 0), atol=1e-5)
    np.testing.assert_allclose(found[0], np.maximum(y, 0).mean((2, 3)), atol=1e-5)


def test_transposed_convolution(tmp_path: Path) -> None:
    """As the gradient of a convolution: an impulse shows the kernel, turned round by default."""
    w = array(1, 1, 3, 3)
    x = np.zeros((1, 1, 3, 3), np.float32)
    x[0, 0, 1, 1] = 1
    layer = {"type": "TransposedConv2D", "num_filters": 1, "filter_size": 3, "b": None, "nonlinearity": None}
    found = convert(tmp_path, [given(None, 1, 3, 3), layer], [w])(data=x)[0]
    np.testing.assert_allclose(found[0, 0, 1:4, 1:4], w[0, 0, ::-1, ::-1], atol=1e-6)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


@pytest.mark.parametrize("backwards", [False, True])
def test_lstm(tmp_path: Path, backwards: bool) -> None:
    width, units = 3, 4
    gates = [[array(width, units), array(units, units), array(units)] for _ in range(4)]
    holes, cell, hidden = [array(units) for _ in range(3)], array(1, units), array(1, units)
    arrays = [a for gate in gates for a in gate] + [*holes, cell, hidden]
    x = array(2, 5, width)
    c, h, steps = cell.repeat(2, 0), hidden.repeat(2, 0), []
    for t in range(5)[::-1] if backwards else range(5):
        i, f, n, o = (x[:, t] @ a + h @ b + s for a, b, s in gates)
        c = sigmoid(f + c * holes[1]) * c + sigmoid(i + c * holes[0]) * np.tanh(n)
        h = sigmoid(o + c * holes[2]) * np.tanh(c)
        steps.append(h)
    wanted = np.stack(steps[::-1] if backwards else steps, 1)
    layers = [given(None, None, width), {"type": "LSTM", "num_units": units, "backwards": backwards}]
    np.testing.assert_allclose(convert(tmp_path, layers, arrays)(data=x)[0], wanted, atol=1e-5)


X = array(2, 4, 5, 7)
SIMPLE: dict[str, tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    "average": ({"type": "Pool2D", "pool_size": [1, 1], "stride": 2, "mode": "average_exc_pad"},
                lambda x: x[:, :, ::2, ::2]),
    "up": ({"type": "MaxPool2D", "pool_size": 2, "ignore_border": False},
           lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-9)
                     .reshape(2, 4, 3, 2, 4, 2).max((3, 5))),
    "pad": ({"type": "Pad", "width": [1, 0, [0, 2]], "batch_ndim": 1, "val": 2},
            lambda x: np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 2)), constant_values=2)),
    "slice": ({"type": "Slice", "indices": [1, None], "axis": -1}, lambda x: x[..., 1:]),
    "shuffle": ({"type": "Dimshuffle", "pattern": [1, "x", 0, 3, 2]}, lambda x: x.transpose(1, 0, 3, 2)[:, None]),
    "reshape": ({"type": "Reshape", "shape": [[0], [2], -1]}, lambda x: x.reshape(2, 5, -1)),
    "flatten": ({"type": "Flatten", "outdim": 3}, lambda x: x.reshape(2, 4, -1)),
    "maxout": ({"type": "FeaturePool", "pool_size": 2}, lambda x: x.reshape(2, 2, 2, 5, 7).max(2)),
    "upscale": ({"type": "Upscale2D", "scale_factor": 2}, lambda x: x.repeat(2, 2).repeat(2, 3)),
    "pyramid": ({"type": "SpatialPyramidPooling", "pool_dims": [2, 1]},  # windows of 3 x 4 every 2 x 3
                lambda x: np.stack([x[:, :, i : i + 3, j : j + 4].max((2, 3)) for i in (0, 2) for j in (0, 3)]
                                   + [x.max((2, 3))], 2)),
    "leaky": ({"type": "Nonlinearity", "nonlinearity": {"name": "LeakyRectify", "leakiness": 0.2}},
              lambda x: np.where(x > 0, x, 0.2 * x)),
}  # fmt: skip


@pytest.mark.parametrize("name", SIMPLE)
def test_layer(tmp_path: Path, name: str) -> None:
    layer, wanted = SIMPLE[name]
    found = convert(tmp_path, [given(None, 4, 5, 7), {"type": "Bias"}, layer], [np.zeros(4)])(data=X)[0]
    np.testing.assert_allclose(found, wanted(X), atol=1e-6)


def test_values_of_different_sizes_are_cropped(tmp_path: Path) -> None:
    a, b = array(2, 3, 8, 9), array(2, 3, 5, 6)
    first, second = given(None, 3, 8, 9) | {"name": "a"}, given(None, 3, 5, 6) | {"name": "b"}
    cut = {"cropping": ["None", "None", "center", "upper"]}
    for kind, wanted in (("Concat", np.concatenate([a[:, :, 1:6, 3:], b], 1)), ("ElemwiseSum", a[:, :, 1:6, 3:] + b)):
        bias = {"type": "Bias", "name": "c", "incoming": "a"}
        run = convert(tmp_path, [first, second, bias, {"type": kind} | cut | {"incoming": ["c", "b"]}], [np.zeros(3)])
        np.testing.assert_allclose(run(a=a, b=b)[0], wanted, atol=1e-6)


MLP = [given(None, 3), {"type": "Dense", "name": "out", "num_units": 2, "nonlinearity": "tanh"}]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickled_list(tmp_path: Path, protocol: int, order: Any) -> None:
    w, b = np.asarray(array(3, 2), order=order), array(2)
    (tmp_path / "p.pkl").write_bytes(pickle.dumps([w, b], protocol))
    (tmp_path / "a.json").write_text(json.dumps({"layers": MLP}))
    graph = formats.read([tmp_path / "p.pkl"], Options(architecture=tmp_path / "a.json"))
    assert np.array_equal(graph.constants["out.W"], w)
    assert np.array_equal(graph.constants["out.b"], b)
    assert formats.inspect([tmp_path / "p.pkl"])["parameters"] == 8


class Evil:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


def test_pickles_never_run(tmp_path: Path) -> None:
    place = tmp_path / "made"
    (tmp_path / "p.pkl").write_bytes(pickle.dumps([array(3, 2), Evil(place)], 2))
    with pytest.raises(InputError, match=r"refused.*mkdir"):
        formats.read([tmp_path / "p.pkl"], Options())
    assert any("mkdir" in line for line in formats.inspect([tmp_path / "p.pkl"])["could_run_code"])
    np.savez(tmp_path / "o.npz", np.array([Evil(place)], object))
    with pytest.raises(InputError, match="refused"):
        formats.read([tmp_path / "o.npz"], Options())
    assert not place.exists()


@pytest.mark.parametrize(
    ("layers", "arrays", "message"),
    [
        ([MLP[0], {"type": "FooLayer", "name": "f"}], [array(1)], "layer 'f'.*FooLayer"),
        (MLP, [array(3, 2)], "1 arrays, but 2 are expected"),
        (MLP, [array(2, 3), array(2)], "layer 'out'.*shape"),
        ([MLP[0], {**MLP[1], "nonlinearity": "swish"}], [array(3, 2), array(2)], "layer 'out'.*swish"),
        ([MLP[0], {**MLP[1], "surprise": 1}], [array(3, 2), array(2)], "layer 'out'.*surprise"),
        ([MLP[0], {**MLP[1], "incoming": "ghost"}], [array(3, 2), array(2)], "ghost"),
    ],
)
def test_refused(tmp_path: Path, layers: Sequence[dict[str, Any]], arrays: Sequence[np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(tmp_path, layers, arrays)


def test_without_an_architecture(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", array(3, 2))
    with pytest.raises(InputError, match="architecture"):
        formats.read([tmp_path / "net.npz"], Options())


@pytest.mark.parametrize("kind", ["npz", "pkl", "json"])
def test_mutations(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    np.savez(stream, array(3, 2), array(2))
    text = json.dumps({"format": "lasagne-layers/0", "layers": MLP}).encode()
    data = {"npz": stream.getvalue(), "pkl": pickle.dumps([array(3, 2), array(2)], 2), "json": text}
    for name, content in data.items():
        (tmp_path / f"net.{name}").write_bytes(content)
    file = tmp_path / ("net.pkl" if kind == "pkl" else "net.npz")

    def work(changed: bytes) -> None:
        (tmp_path / f"net.{kind}").write_bytes(changed)
        formats.read([file], Options(architecture=tmp_path / "net.json"))

    assert survive(data[kind], 120, work)[1] > 30
