"""Keras and TensorFlow.js files that are built here: what is refused, damage, weights in other clothes."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnxruntime as ort
import pytest

from sensorium import formats
from sensorium.errors import InputError
from tests.formats.mutations import survive

KERNEL = np.arange(6, dtype=np.float32).reshape(3, 2) / 7


def dense(name: str = "d", **more: Any) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": name, "units": 2, "activation": "linear", **more}}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    layers[0]["config"]["batch_input_shape"] = [None, 3]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}}


def h5(path: Path, model: Any, kernel: np.ndarray = KERNEL, version: str = "2.9.0") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model)
        file.attrs["keras_version"] = version
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([b"d"])
        one = group.create_group("d")
        one.attrs["weight_names"] = np.array([b"d/kernel:0", b"d/bias:0"])
        one["d/kernel:0"] = kernel
        one["d/bias:0"] = np.array([1, -1], np.float32)
    return path


def run(graph: Any, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(graph.model().SerializeToString())
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


X = np.array([[1, 2, 3], [-1, 0.5, 2]], np.float32)


def test_a_dense_layer(tmp_path: Path) -> None:
    path = h5(tmp_path / "m.h5", sequential(dense()))
    np.testing.assert_allclose(run(formats.read([path]), X), X @ KERNEL + [1, -1], rtol=1e-6)
    report = formats.inspect([path])
    assert report["convertible"]
    assert report["parameters"] == 8
    assert report["layers"] == {"Dense": 1}


def test_theano_turns_kernels_around(tmp_path: Path) -> None:
    kernel = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    conv = {"class_name": "Conv1D", "config": {"name": "d", "filters": 2, "kernel_size": [3], "padding": "same"}}
    conv["config"]["batch_input_shape"] = [None, 5, 2]
    model = {"class_name": "Sequential", "config": [conv]}
    x = np.random.default_rng(0).normal(size=(1, 5, 2)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    for backend, weight in (("tensorflow", kernel), ("theano", kernel[::-1])):
        path = h5(tmp_path / f"{backend}.h5", model, kernel, "2.2.4")
        with h5py.File(path, "a") as file:
            file.attrs["backend"] = backend
        wanted = np.array([1.0, -1]) + [np.einsum("ki,kio->o", padded[0, t : t + 3], weight) for t in range(5)]
        np.testing.assert_allclose(run(formats.read([path]), x)[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"class_name": "Lambda", "config": {"name": "l", "function": ["AAAA", None, None]}}, "'l' .Lambda.*refused"),
        ({"class_name": "TFSMLayer", "config": {"name": "t", "filepath": "/etc"}}, "TFSMLayer.*refused"),
        ({"class_name": "system", "module": "os", "config": {"name": "x"}}, "os.system.*refused"),
        ({"class_name": "Dense", "registered_name": "Mine>Dense", "config": {"name": "x"}}, "custom class.*refused"),
        ({"class_name": "HyperDense", "config": {"name": "x"}}, "'x' .HyperDense.*not known"),
        ({"class_name": "Activation", "config": {"name": "x", "activation": "shiny"}}, "'x'.*'shiny' is not known"),
        (
            {
                "class_name": "Activation",
                "config": {"name": "x", "activation": {"class_name": "function", "config": "evil"}},
            },
            "'evil'.*refused",
        ),
        ({"class_name": "Flatten", "config": {"name": "x", "twist": 3}}, "option 'twist'"),
        (dense("x"), "'x' .Dense.*0 arrays of weights"),
        ({"class_name": "Conv1D", "config": {"name": "x", "filters": 1, "kernel_size": [2]}}, "3 axes"),
    ],
)
def test_what_is_refused(layer: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = h5(tmp_path / "m.h5", sequential(dense(), layer))
    with pytest.raises(InputError, match=words):
        formats.read([path])
    assert formats.inspect([path])["format"] == "Keras"


@pytest.mark.parametrize("kind", ["soft", "external", "virtual", "raw", "bomb"])
def test_hdf5_that_leaves_its_file(kind: str, tmp_path: Path) -> None:
    path = h5(tmp_path / "m.h5", sequential(dense()))
    with h5py.File(path, "a") as file:
        group = file["model_weights/d"]
        if kind == "soft":
            group["other"] = h5py.SoftLink("/model_weights")
        elif kind == "external":
            group["other"] = h5py.ExternalLink("/etc/hostname", "/x")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3,), "f4")
            layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3,))
            group.create_virtual_dataset("other", layout)
        elif kind == "raw":
            group.create_dataset("other", (3,), "f4", external=[("/etc/hostname", 0, 12)])
        else:
            group.create_dataset("other", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")
    opened: list[str] = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
    with pytest.raises(InputError, match=r"refused|claims"):
        formats.read([path])
    assert not any("hostname" in name for name in opened)


def test_damaged_hdf5_ends_in_one_line(tmp_path: Path) -> None:
    data = h5(tmp_path / "m.h5", sequential(dense())).read_bytes()
    target = tmp_path / "x.h5"

    def work(changed: bytes) -> None:
        target.write_bytes(changed or b"\0")
        formats.read([target]).model()

    _, refused = survive(data, 200, work)
    assert refused > 20


def test_damaged_archives_end_in_one_line(tmp_path: Path) -> None:
    inside = io.BytesIO()
    with h5py.File(inside, "w") as file:
        file["layers/dense/vars/0"] = KERNEL
        file["layers/dense/vars/1"] = np.zeros(2, np.float32)
    model = json.dumps(sequential(dense()))
    target = tmp_path / "x.keras"

    def write(config: bytes) -> None:
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("metadata.json", '{"keras_version": "3.8.0"}')
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", inside.getvalue())

    write(model.encode())
    np.testing.assert_allclose(run(formats.read([target]), X), X @ KERNEL, rtol=1e-6)
    whole = target.read_bytes()

    def description(changed: bytes) -> None:
        write(changed)
        formats.read([target]).model()

    def archive(changed: bytes) -> None:
        target.write_bytes(changed or b"\0")
        formats.read([target]).model()

    assert survive(model.encode(), 120, description)[1] > 40
    assert survive(whole, 100, archive)[1] > 40


# TensorFlow.js


def tfjs(folder: Path, topology: Any, weights: dict[str, np.ndarray], **more: Any) -> Path:
    (folder / "w.bin").write_bytes(b"".join(v.tobytes() for v in weights.values()))
    entries = [{"name": k, "shape": list(v.shape), "dtype": "float32", **more.get(k, {})} for k, v in weights.items()]
    document = {"modelTopology": topology, "weightsManifest": [{"paths": ["w.bin"], "weights": entries}]}
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


def test_layers_with_quantised_weights(tmp_path: Path) -> None:
    codes = np.array([[0, 10], [200, 3], [7, 255]], np.uint8)
    half = np.array([0.5, -2], np.float16)
    more = {
        "d/kernel": {"quantization": {"dtype": "uint8", "scale": 0.1, "min": -3.0}},
        "d/bias": {"quantization": {"dtype": "float16", "original_dtype": "float32"}},
    }
    path = tfjs(tmp_path, {"model_config": sequential(dense())}, {"d/kernel": codes, "d/bias": half}, **more)
    np.testing.assert_allclose(run(formats.read([path]), X), X @ (codes * 0.1 - 3) + half, rtol=1e-4)


def node(name: str, op: str, *inputs: str, **attr: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": attr}


def graph_nodes(op: str = "MatMul") -> dict[str, Any]:
    shape = {"shape": {"dim": [{"size": "-1"}, {"size": "3"}]}}
    return {
        "node": [
            node("x", "Placeholder", dtype={"type": "DT_FLOAT"}, shape=shape),
            node("w", "Const", dtype={"type": "DT_FLOAT"}),
            node("y", op, "x", "w"),
            node("out", "Relu", "y"),
        ]
    }


def test_a_graph(tmp_path: Path) -> None:
    path = tfjs(tmp_path, graph_nodes(), {"w": KERNEL})
    graph = formats.read([path])
    assert list(graph.outputs) == ["out"]
    np.testing.assert_allclose(run(graph, X), np.maximum(X @ KERNEL, 0), rtol=1e-6)


def test_whole_numbers_that_were_quantised_are_rounded(tmp_path: Path) -> None:
    nodes = {
        "node": [
            graph_nodes()["node"][0],
            node("k", "Const", dtype={"type": "DT_INT32"}),
            node("axis", "Const", dtype={"type": "DT_INT32"}),
            node("y", "GatherV2", "x", "k", "axis"),
        ]
    }
    more = {
        "k": {"dtype": "int32", "quantization": {"dtype": "uint8", "scale": 2 / 255, "min": 0}},
        "axis": {"dtype": "int32"},
    }
    weights = {"k": np.array([0, 254, 127], np.uint8), "axis": np.array(1, np.int32)}
    found = run(formats.read([tfjs(tmp_path, nodes, weights, **more)]), X)
    np.testing.assert_array_equal(found, X[:, [0, 2, 1]])


@pytest.mark.parametrize(
    ("op", "words"), [("Teleport", "'y' .Teleport.*not known"), ("WriteFile", "refused"), ("FusedBatchNorm", "'y'")]
)
def test_graphs_that_are_refused(op: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        formats.read([tfjs(tmp_path, graph_nodes(op), {"w": KERNEL})])


@pytest.mark.parametrize("kind", ["layers", "graph"])
def test_damaged_descriptions_end_in_one_line(kind: str, tmp_path: Path) -> None:
    topology = {"model_config": sequential(dense())} if kind == "layers" else graph_nodes()
    names = ("d/kernel", "d/bias") if kind == "layers" else ("w",)
    arrays = dict(zip(names, (KERNEL, np.zeros(2, np.float32))))
    path = tfjs(tmp_path, topology, arrays)
    data = path.read_bytes()

    def work(changed: bytes) -> None:
        path.write_bytes(changed or b"\0")
        formats.read([path]).model()

    assert survive(data, 200, work)[1] > 60


def test_what_training_needs_of_a_wrapper_is_left_out(tmp_path: Path) -> None:
    wrapper = {"class_name": "SpectralNormalization", "config": {"name": "d", "layer": dense("inner")}}
    path = h5(tmp_path / "m.h5", sequential(wrapper))
    with h5py.File(path, "a") as file:
        group = file["model_weights/d"]
        group.attrs["weight_names"] = np.array([b"d/kernel:0", b"d/bias:0", b"d/vector_u:0"])
        group["d/vector_u:0"] = np.ones((1, 2), np.float32)
    np.testing.assert_allclose(run(formats.read([path]), X), X @ KERNEL + [1, -1], rtol=1e-6)


def of_one_layer(path: Path, kind: str, shape: list[int], arrays: list[np.ndarray], **config: Any) -> Path:
    """A file of Keras 2 with one layer and its arrays."""
    entry = {"class_name": kind, "config": {"name": "l", "batch_input_shape": [None, *shape], **config}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "s", "layers": [entry]}}
        )
        file.attrs["keras_version"] = "2.9.0"
        group = file.create_group("model_weights/l")
        group.attrs["weight_names"] = np.array([f"l/{i}".encode() for i in range(len(arrays))])
        file["model_weights"].attrs["layer_names"] = np.array([b"l"])
        for i, array in enumerate(arrays):
            group[f"l/{i}"] = array.astype(np.float32)
    return path


@pytest.mark.parametrize("first", [False, True])
def test_a_kernel_for_each_place(first: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kernel, bias = random.standard_normal((6, 2 * 2 * 3, 4)), random.standard_normal((2, 3, 4))
    x = random.standard_normal((2, 3, 6, 3)).astype(np.float32)  # channels last
    path = of_one_layer(tmp_path / "m.h5", "LocallyConnected2D", [3, 3, 6] if first else [3, 6, 3], [kernel, bias],
                        filters=4, kernel_size=[2, 2], strides=[1, 2], activation="linear",
                        data_format="channels_first" if first else "channels_last")  # fmt: skip
    y = np.zeros((2, 2, 3, 4))
    for i, j in np.ndindex(2, 3):
        seen = x[:, i : i + 2, 2 * j : 2 * j + 2]
        y[:, i, j] = (seen.transpose(0, 3, 1, 2) if first else seen).reshape(2, -1) @ kernel[i * 3 + j]
    found = run(formats.read([path]), x.transpose(0, 3, 1, 2) if first else x)
    # Keras takes the bias in its own order for channels first.
    wanted = y.transpose(0, 3, 1, 2) + bias.reshape(4, 2, 3) if first else y + bias
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_activations_of_keras_1(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = 3 * random.standard_normal((2, 5)).astype(np.float32)
    left, below, width, above = random.standard_normal((4, 5))
    right = left + np.abs(width)
    middle = np.where(x > right, right + above * (x - right), np.where(x < left, left + below * (x - left), x))
    path = of_one_layer(tmp_path / "s.h5", "SReLU", [5], [left, below, width, above], t_left_init="zero")
    np.testing.assert_allclose(run(formats.read([path]), x), middle, atol=1e-5)
    path = of_one_layer(tmp_path / "p.h5", "ParametricSoftplus", [5], [left, above], alpha_init=0.2)
    np.testing.assert_allclose(run(formats.read([path]), x), left * np.log1p(np.exp(above * x)), atol=1e-5)


def test_scaling_by_the_deviation_leaves_the_mean(tmp_path: Path) -> None:
    gamma = np.array([1, 2, -0.5], np.float32)
    path = of_one_layer(tmp_path / "m.h5", "LayerNormalization", [3], [gamma], axis=-1, rms_scaling=True, epsilon=0.1)
    wanted = X / np.sqrt(X.var(-1, keepdims=True) + 0.1) * gamma
    np.testing.assert_allclose(run(formats.read([path]), X), wanted, rtol=1e-5)


@pytest.mark.parametrize(("settings", "wanted"), [
    ({"output_mode": "multi_hot"}, [[1, 0, 1], [1, 1, 0]]),  # the mask's number is in no row
    ({"output_mode": "count"}, [[1, 0, 2], [2, 1, 0]]),
    ({"output_mode": "tf_idf", "idf_weights": [0.5, 0.7]}, [[0.6, 0, 1.4], [1.2, 0.5, 0]]),
    ({"output_mode": "int"}, [[0, 3, 1, 3], [1, 0, 2, 1]]),
    ({"output_mode": "int", "num_oov_indices": 2}, [[0, 4, 2, 4], [1, 0, 3, 2]]),
])  # fmt: skip
def test_numbers_looked_up(settings: dict[str, Any], wanted: list[list[float]], tmp_path: Path) -> None:
    numbers = np.array([[0, 9, 7, 9], [4, 0, 5, 3]], np.int64)
    told = {"vocabulary": [5, 9], "mask_token": 0, "num_oov_indices": 1, "dtype": "int64"} | settings
    path = of_one_layer(tmp_path / "m.h5", "IntegerLookup", [4], [], **told)
    graph = formats.read([path])
    np.testing.assert_allclose(run(graph, numbers.astype(graph.inputs[0].dtype)), wanted, rtol=1e-6)


def functional(*layers: tuple[str, dict[str, Any], list[Any]]) -> dict[str, Any]:
    """A functional model of Keras 2 over an input of 3 values: (class, configuration, how it is called) of each."""
    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 3]}, "inbound_nodes": []}
    entries = [first | {"name": "x"}]
    entries += [{"class_name": c, "config": o, "name": o["name"], "inbound_nodes": calls} for c, o, calls in layers]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [[entries[-1]["name"], 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "f", "layers": entries, **ends}}


def without_weights(path: Path, model: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(model), "2.9.0"
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
    return path


LAMBDAS: dict[str, tuple[list[Any], Any]] = {
    "math.multiply": (["x", 0, 0, {"y": 2, "name": None}], lambda x: 2 * x),
    "math.subtract": (["_CONSTANT_VALUE", -1, 1.0, {"y": ["x", 0, 0]}], lambda x: 1 - x),
    "nn.gelu": (["x", 0, 0, {"approximate": True}],
                lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    "math.reduce_mean": (["x", 0, 0, {"axis": -1, "keepdims": True}], lambda x: x.mean(-1, keepdims=True)),
    "concat": ([["x", 0, 0, {"axis": -1}], ["x", 0, 0, {"axis": -1}]], lambda x: np.concatenate([x, x], -1)),
    "compat.v1.gather": (["x", 0, 0, {"indices": [2, 0], "axis": -1, "batch_dims": 0}], lambda x: x[:, [2, 0]]),
    "linalg.matmul": (["x", 0, 0, {"b": ["x", 0, 0], "transpose_b": True}], lambda x: x @ x.T),
    "math.argmax": (["x", 0, 0, {"axis": 1}], lambda x: x.argmax(1)),
    "math.l2_normalize": (["x", 0, 0, {"axis": -1}], lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)),
    "__operators__.getitem": (["x", 0, 0, {"slice_spec": [{"class_name": "__ellipsis__"}, None,
                                                          {"start": 1, "stop": None, "step": None}]}],
                              lambda x: x[:, None, 1:]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAMBDAS)
def test_functions_of_tensorflow_between_layers(name: str, tmp_path: Path) -> None:
    node, wanted = LAMBDAS[name]
    kind = "SlicingOpLambda" if "getitem" in name else "TFOpLambda"
    model = functional((kind, {"name": "op", "function": name}, [node]))
    graph = formats.read([without_weights(tmp_path / "m.h5", model)])
    np.testing.assert_allclose(run(graph, X), wanted(X), rtol=1e-5)
    assert formats.inspect([tmp_path / "m.h5"])["convertible"]


@pytest.mark.parametrize("name", ["io.read_file", "random.normal", "numpy_function", "math.igamma"])
def test_functions_of_tensorflow_that_are_not_known(name: str, tmp_path: Path) -> None:
    model = functional(("TFOpLambda", {"name": "op", "function": name}, [["x", 0, 0, {}]]))
    with pytest.raises(InputError, match="not known"):
        formats.read([without_weights(tmp_path / "m.h5", model)])


def test_a_crop_of_keras_2_is_a_resize_when_it_answers(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.float32).reshape(1, 4, 6, 1)
    path = of_one_layer(tmp_path / "m.h5", "RandomCrop", [4, 6, 1], [], height=2, width=2)
    wanted = x[:, :, 1:5].reshape(1, 2, 2, 2, 2, 1).mean((2, 4))
    np.testing.assert_allclose(run(formats.read([path]), x), wanted, atol=1e-5)
