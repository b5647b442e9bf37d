"""Caffe: every syntax, the layers' arithmetic against numpy, and what must be refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import sensorium
from sensorium import formats
from sensorium.cli import main
from sensorium.errors import InputError, Refused
from sensorium.formats import Options
from tests.formats.mutations import survive
from tests.formats.wire import blob, caffemodel, field

RANDOM = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def layer(
    kind: str, params: str = "", bottoms: Sequence[str] = ("data",), tops: Sequence[str] = ("y",), name: str = "l"
) -> str:
    ends = "".join(f' bottom: "{b}"' for b in bottoms) + "".join(f' top: "{t}"' for t in tops)
    return f'layer {{ name: "{name}" type: "{kind}"{ends} {params} }}\n'


def given(shape: Sequence[int], name: str = "data") -> str:
    dims = " ".join(f"dim: {n}" for n in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def convert(folder: Path, text: str, weights: bytes, **options: Any) -> Callable[..., list[np.ndarray]]:
    (folder / "net.prototxt").write_text(text)
    (folder / "net.caffemodel").write_bytes(weights)
    graph = formats.read([folder / "net.prototxt", folder / "net.caffemodel"], Options(**options))
    model = graph.model()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda **feeds: list(session.run(None, feeds))


EMPTY = caffemodel({"other": [np.ones(1)]})
X = array(2, 4, 5, 6)


def pooled(x: np.ndarray, k: int, s: int, p: int, average: bool) -> np.ndarray:
    """As pooling_layer.cpp computes it."""
    sizes = []
    for size in x.shape[2:]:
        n = -((size + 2 * p - k) // -s) + 1
        sizes.append(n - 1 if p and (n - 1) * s >= size + p else n)
    y = np.zeros((*x.shape[:2], *sizes), np.float32)
    for i, j in np.ndindex(*sizes):
        top, left = i * s - p, j * s - p
        bottom, right = min(top + k, x.shape[2] + p), min(left + k, x.shape[3] + p)
        window = x[:, :, max(top, 0) : min(bottom, x.shape[2]), max(left, 0) : min(right, x.shape[3])]
        y[:, :, i, j] = window.sum((2, 3)) / ((bottom - top) * (right - left)) if average else window.max((2, 3))
    return y


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(("k", "s", "p"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 2, 1), (4, 3, 1), (5, 5, 2), (3, 1, 1)])
def test_pooling_rounds_up_at_every_size(k: int, s: int, p: int, average: bool, tmp_path: Path) -> None:
    params = f"pooling_param {{ pool: {'AVE' if average else 'MAX'} kernel_size: {k} stride: {s} pad: {p} }}"
    run = convert(tmp_path, given((1, 2, 9, 9)) + layer("Pooling", params), EMPTY)
    for height in range(6, 16):
        x = array(2, 2, height, height + 3)
        np.testing.assert_allclose(run(data=x)[0], pooled(x, k, s, p, average), atol=1e-6)


def mean(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(x.mean(axes, keepdims=True))


SIDES = ((0, 0), (1, 1), (0, 0), (0, 0))
SIMPLE: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "ReLU": ("relu_param { negative_slope: 0.2 }", lambda x: np.where(x > 0, x, 0.2 * x)),
    "Sigmoid": ("", lambda x: 1 / (1 + np.exp(-x))),
    "TanH": ("", np.tanh),
    "AbsVal": ("", np.abs),
    "BNLL": ("", lambda x: np.log1p(np.exp(x))),
    "ELU": ("elu_param { alpha: 0.5 }", lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    "Exp": ("exp_param { base: 3 scale: 0.5 shift: 0.1 }", lambda x: 3 ** (0.1 + 0.5 * x)),
    "Log": ("log_param { base: 2 scale: 0.1 shift: 3 }", lambda x: np.log2(3 + 0.1 * x)),
    "Power": ("power_param { power: 3 scale: 0.5 shift: 1 }", lambda x: (1 + 0.5 * x) ** 3),
    "Threshold": ("threshold_param { threshold: 0.1 }", lambda x: (x > 0.1).astype(np.float32)),
    "Clip": ("clip_param { min: -0.5 max: 0.7 }", lambda x: x.clip(-0.5, 0.7)),
    "Swish": ("swish_param { beta: 2 }", lambda x: x / (1 + np.exp(-2 * x))),
    "MVN": ("mvn_param { across_channels: true }",
            lambda x: (x - mean(x, (1, 2, 3))) / (x.std((1, 2, 3), keepdims=True) + 1e-9)),
    "Flatten": ("flatten_param { axis: 1 end_axis: 2 }", lambda x: x.reshape(2, 20, 6)),
    "Reshape": ("reshape_param { axis: 1 num_axes: 1 shape { dim: 2 dim: -1 } }", lambda x: x.reshape(2, 2, 2, 5, 6)),
    "Permute": ("permute_param { order: 0 order: 2 }", lambda x: x.transpose(0, 2, 1, 3)),
    "Tile": ("tile_param { axis: 2 tiles: 3 }", lambda x: np.tile(x, (1, 1, 3, 1))),
    "Softmax": ("softmax_param { axis: 2 }", lambda x: np.exp(x) / np.exp(x).sum(2, keepdims=True)),
    "Reduction": ("reduction_param { operation: ASUM axis: 1 coeff: 0.5 }", lambda x: 0.5 * np.abs(x).sum((1, 2, 3))),
    "ArgMax": ("argmax_param { axis: 1 }", lambda x: x.argmax(1)[:, None].astype(np.float32)),
    "ShuffleChannel": ("shuffle_channel_param { group: 2 }", lambda x: x[:, [0, 2, 1, 3]]),
    "Dropout": ("", lambda x: x),
    "Im2col": ("convolution_param { kernel_h: 2 kernel_w: 3 stride: 2 pad: 1 }",
               lambda x: np.lib.stride_tricks.sliding_window_view(
                   np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (2, 3), (2, 3)
               )[:, :, ::2, ::2].transpose(0, 1, 4, 5, 2, 3).reshape(2, 24, 3, 3)),
    "Upsample": ("upsample_param { scale: 2 }", lambda x: x.repeat(2, 2).repeat(2, 3)),
    "LRN": ("lrn_param { local_size: 3 alpha: 0.3 beta: 0.5 k: 2 }",
            lambda x: x / np.sqrt(2 + 0.1 * (x**2 + np.pad(x**2, SIDES)[:, :4] + np.pad(x**2, SIDES)[:, 2:]))),
}  # fmt: skip


@pytest.mark.parametrize("kind", SIMPLE)
def test_layers_without_weights(kind: str, tmp_path: Path) -> None:
    params, expected = SIMPLE[kind]
    run = convert(tmp_path, given((1, 4, 5, 6)) + layer(kind, params), EMPTY)
    np.testing.assert_allclose(run(data=X)[0], expected(X.astype(np.float64)), atol=2e-6)


def column(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, 1, 1)


W = {"a": array(4), "b": array(4), "square": array(3, 120), "v": np.abs(array(4)) + 0.1}
WEIGHTED: dict[str, tuple[str, list[np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "PReLU": ("", [W["a"]], lambda x: np.where(x > 0, x, column(W["a"]) * x)),
    "Scale": ("scale_param { bias_term: true }", [W["a"], W["b"]], lambda x: x * column(W["a"]) + column(W["b"])),
    "Bias": ("", [W["b"]], lambda x: x + column(W["b"])),
    "BatchNorm": ("batch_norm_param { eps: 0.01 }", [W["a"] * 3, W["v"] * 3, np.float32([3])],
                  lambda x: (x - column(W["a"])) / np.sqrt(column(W["v"]) + 0.01)),
    "InnerProduct": ("inner_product_param { num_output: 3 bias_term: false }", [W["square"]],
                     lambda x: x.reshape(2, -1) @ W["square"].T),
    "BN": ("bn_param { eps: 0.01 momentum: 0.9 slope_filler { type: \"constant\" } }", [W["a"], W["b"], W["b"], W["v"]],
           lambda x: (x - column(W["b"])) / np.sqrt(column(W["v"]) + 0.01) * column(W["a"]) + column(W["b"])),
    "Normalize": ("norm_param { across_spatial: false channel_shared: false }", [W["a"]],
                  lambda x: column(W["a"]) * x / np.sqrt((x**2).sum(1, keepdims=True) + 1e-10)),
}  # fmt: skip


def test_layers_of_forks_and_the_rarer_ones(tmp_path: Path) -> None:
    params = "pooling_param { kernel_size: 2 stride: 2 ceil_mode: false }"
    text = given((1, 4, 5, 6)) + given((3,), "places")
    text += layer("Pooling", params, tops=["floor"], name="p")
    text += layer("BN", "bn_param { bn_mode: INFERENCE }", tops=["segnet"], name="bn")
    text += layer("Dropout", "dropout_param { dropout_ratio: 0.3 scale_train: false }", tops=["kept"], name="d")
    text += layer("Parameter", "parameter_param { shape { dim: 2 dim: 2 } }", [], ["own"], "w")
    text += layer("BatchReindex", "", ["data", "places"], ["picked"], "r")
    text += layer("Filter", "", ["picked", "places"], ["passed"], "f")
    weights = caffemodel({"bn": [W["a"], W["b"]], "w": [W["v"].reshape(2, 2)]}, "BN")
    floor, segnet, kept, own, passed = convert(tmp_path, text, weights)(data=X, places=np.float32([1, 0, 1]))
    np.testing.assert_allclose(floor, X[:, :, :4].reshape(2, 4, 2, 2, 3, 2).max((3, 5)))
    np.testing.assert_allclose(segnet, X * column(W["a"]) + column(W["b"]), atol=1e-6)
    np.testing.assert_allclose(kept, 0.7 * X, atol=1e-6)
    np.testing.assert_array_equal(own, W["v"].reshape(2, 2))
    np.testing.assert_array_equal(passed, X[[1, 0, 1]][[0, 2]])


def test_values_go_back_to_where_pooling_found_them(tmp_path: Path) -> None:
    text = given((1, 4, 5, 6))
    text += layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", tops=["p", "mask"], name="p")
    text += layer("Upsample", "upsample_param { scale: 2 pad_out_h: true }", ["p", "mask"], name="u")
    found = convert(tmp_path, text, EMPTY, outputs=("y", "mask"))
    for x in (X, array(1, 4, 7, 4)):
        y, mask = found(data=x)
        expected = np.zeros_like(x)
        for n, c, i, j in np.ndindex(x.shape[0], 4, (x.shape[2] + 1) // 2, x.shape[3] // 2):
            window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            a, b = np.unravel_index(window.argmax(), window.shape)
            expected[n, c, 2 * i + a, 2 * j + b] = window.max()
            assert mask[n, c, i, j] == (2 * i + a) * x.shape[3] + 2 * j + b
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_layers_with_weights(kind: str, tmp_path: Path) -> None:
    params, arrays, expected = WEIGHTED[kind]
    run = convert(tmp_path, given((1, 4, 5, 6)) + layer(kind, params), caffemodel({"l": arrays}, kind))
    np.testing.assert_allclose(run(data=X)[0], expected(X.astype(np.float64)), atol=5e-5)


def test_a_batch_norm_of_factor_zero_has_no_statistics(tmp_path: Path) -> None:
    weights = caffemodel({"l": [W["a"], W["v"], np.float32([0])]}, "BatchNorm")
    run = convert(tmp_path, given((1, 4, 5, 6)) + layer("BatchNorm"), weights)
    np.testing.assert_allclose(run(data=X)[0], X / np.sqrt(1e-5), rtol=1e-4)


def correlated(x: np.ndarray, w: np.ndarray, pad: int = 0) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, w))


KERNEL, SHIFT = array(3, 4, 3, 3), array(3)
SYNTAX = {
    2: given((1, 4, 5, 6))
    + layer("Convolution", "convolution_param { num_output: 3 kernel_size: 3 pad: 1 }", name="c")
    + layer("ReLU", "", ["y"], ["y"], name="r"),
    1: 'input: "data" input_dim: 1 input_dim: 4 input_dim: 5 input_dim: 6\n'
    'layers { name: "c" type: CONVOLUTION bottom: "data" top: "y" blobs_lr: 1\n'
    " convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }\n"
    'layers { name: "r" type: RELU bottom: "y" top: "y" }',
    0: 'input: "data" input_dim: 1 input_dim: 4 input_dim: 5 input_dim: 6\n'
    'layers { layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p" }\n'
    'layers { layer { name: "c" type: "conv" num_output: 3 kernelsize: 3 } bottom: "p" top: "y" }\n'
    'layers { layer { name: "r" type: "relu" } bottom: "y" top: "y" }',
}


@pytest.mark.parametrize("version", SYNTAX)
def test_three_syntaxes_one_network(version: int, tmp_path: Path) -> None:
    run = convert(tmp_path, SYNTAX[version], caffemodel({"c": [KERNEL, SHIFT]}, version=version))
    expected = np.maximum(correlated(X, KERNEL, 1) + column(SHIFT), 0)
    np.testing.assert_allclose(run(data=X)[0], expected, atol=2e-5)
    report = formats.inspect([tmp_path / "net.prototxt", tmp_path / "net.caffemodel"])
    assert report["version"] == f"prototxt V{version}, caffemodel V{version}"
    assert report["layers"]["Convolution"] == 1
    assert report["parameters"] == KERNEL.size + 3
    assert report["convertible"]


def test_deconvolution_with_groups_is_the_transpose(tmp_path: Path) -> None:
    weight = array(4, 1, 2, 2)
    params = "convolution_param { num_output: 2 kernel_size: 2 stride: 2 group: 2 bias_term: false }"
    run = convert(tmp_path, given((1, 4, 5, 6)) + layer("Deconvolution", params), caffemodel({"l": [weight]}))
    expected = np.zeros((2, 2, 10, 12), np.float32)
    for o, (i, j) in ((o, ij) for o in range(2) for ij in np.ndindex(2, 2)):
        part = sum(X[:, c] * weight[c, 0, i, j] for c in (2 * o, 2 * o + 1))
        expected[:, o, i::2, j::2] = part
    np.testing.assert_allclose(run(data=X)[0], expected, atol=1e-5)


def test_a_depthwise_convolution_may_tell_its_groups(tmp_path: Path) -> None:
    weight = array(4, 1, 2, 2)
    params = "convolution_param { num_output: 4 kernel_size: 2 group: 4 bias_term: false engine: CAFFE }"
    run = convert(tmp_path, given((1, 4, 5, 6)) + layer("DepthwiseConvolution", params), caffemodel({"l": [weight]}))
    windows = np.lib.stride_tricks.sliding_window_view(X, (2, 2), (2, 3))
    np.testing.assert_allclose(run(data=X)[0], np.einsum("nchwij,cij->nchw", windows, weight[:, 0]), atol=1e-5)


def test_several_bottoms(tmp_path: Path) -> None:
    a, b = array(2, 4, 3, 3), array(2, 4, 3, 3)
    text = given((1, 4, 3, 3), "a") + given((1, 4, 3, 3), "b")
    text += layer("Eltwise", "eltwise_param { operation: SUM coeff: 2 coeff: -1 }", ["a", "b"], ["sum"], "e")
    text += layer("Concat", "concat_param { axis: 1 }", ["a", "b"], ["both"], "c")
    text += layer("Slice", "slice_param { axis: 1 slice_point: 3 }", ["both"], ["x", "y"], "s")
    text += layer("Eltwise", "eltwise_param { operation: PROD }", ["a", "b"], ["product"], "p")
    run = convert(tmp_path, text, EMPTY)
    for found, expected in zip(run(a=a, b=b), (2 * a - b, a[:, :3], np.concatenate([a[:, 3:], b], 1), a * b)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_crop_follows_the_size_of_the_other(tmp_path: Path) -> None:
    text = given((1, 2, 8, 8), "a") + given((1, 3, 5, 5), "b")
    text += layer("Crop", "crop_param { axis: 2 offset: 1 offset: 2 }", ["a", "b"])
    a, b = array(1, 2, 9, 9), array(1, 3, 4, 6)
    np.testing.assert_array_equal(convert(tmp_path, text, EMPTY)(a=a, b=b)[0], a[:, :, 1:5, 2:8])


def lstm(x: np.ndarray, go: np.ndarray, w: np.ndarray, b: np.ndarray, r: np.ndarray) -> np.ndarray:
    h = c = np.zeros((x.shape[1], r.shape[1]))
    found = []
    for now, keep in zip(x, go[:, :, None]):
        i, f, o, g = np.split(now @ w.T + b + (h * keep) @ r.T, 4, 1)
        s = [1 / (1 + np.exp(-v)) for v in (i, f, o)]
        c = s[1] * c * keep + s[0] * np.tanh(g)
        h = s[2] * np.tanh(c)
        found.append(h)
    return np.stack(found)


def test_lstm_restarts_where_it_is_told(tmp_path: Path) -> None:
    w, b, r = array(12, 2), array(12), array(12, 3)
    text = given((5, 1, 2)) + given((5, 1), "cont")
    text += layer("LSTM", "recurrent_param { num_output: 3 }", ["data", "cont"])
    run = convert(tmp_path, text, caffemodel({"l": [w, b, r]}, "LSTM"))
    x, go = array(7, 2, 2), np.float32([[0, 0], [1, 1], [1, 0], [1, 1], [0, 1], [1, 1], [1, 1]])
    np.testing.assert_allclose(run(data=x, cont=go)[0], lstm(x, go, w, b, r), atol=1e-5)


TRAINING = """
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } transform_param { crop_size: 9 } }
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 5 scale: 0.5 mean_value: 10 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "t" type: "ReLU" bottom: "c" top: "c" include { phase: TRAIN } }
layer { name: "drop" type: "Dropout" bottom: "c" top: "c" exclude { phase: TRAIN } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "c" bottom: "label" top: "accuracy" }
"""


def test_a_training_file_is_cut_to_what_answers(tmp_path: Path) -> None:
    weights = caffemodel({"c": [KERNEL, SHIFT]})
    run = convert(tmp_path, TRAINING, weights)
    x = array(2, 4, 5, 5)
    np.testing.assert_allclose(run(data=x)[0], correlated(x, KERNEL) + column(SHIFT), atol=1e-5)
    graph = formats.read([tmp_path / "net.prototxt", tmp_path / "net.caffemodel"])
    assert graph.preprocessing == {"scale": 0.5, "mean": [5.0]}
    assert list(graph.outputs) == ["c"]
    assert any("loss" in note for note in graph.notes)


def ssd(keep: int = 10, top: int = 20, share: bool = True) -> tuple[str, bytes]:
    places = 4 if share else 12
    text = given((1, 4, 6, 6))
    text += layer(
        "Convolution", f"convolution_param {{ num_output: {2 * places} kernel_size: 1 }}", ["data"], ["loc"], "loc"
    )
    text += layer("Convolution", "convolution_param { num_output: 6 kernel_size: 1 }", ["data"], ["conf"], "conf")
    for name in ("loc", "conf"):
        text += layer(
            "Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", [name], [f"{name}_p"], f"{name}_p"
        )
        text += layer("Flatten", "", [f"{name}_p"], [f"{name}_f"], f"{name}_f")
    text += layer("PriorBox", "prior_box_param { min_size: 2 max_size: 3 variance: 0.1 variance: 0.1 variance: 0.2 "
                  "variance: 0.2 step: 1 }", ["data", "data"], ["prior"], "prior")  # fmt: skip
    text += layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", ["conf_f"], ["conf_r"], "conf_r")
    text += layer("Softmax", "softmax_param { axis: 2 }", ["conf_r"], ["conf_s"], "conf_s")
    text += layer("Flatten", "", ["conf_s"], ["conf_o"], "conf_o")
    text += layer("DetectionOutput", f"detection_output_param {{ num_classes: 3 share_location: {str(share).lower()} "
                  f"nms_param {{ nms_threshold: 0.4 top_k: {top} }} code_type: CENTER_SIZE keep_top_k: {keep} "
                  "confidence_threshold: 0.3 }", ["loc_f", "conf_o", "prior"], ["found"], "found")  # fmt: skip
    random = np.random.default_rng(3)
    weights = {"loc": [random.standard_normal((2 * places, 4, 1, 1)), random.standard_normal(2 * places)],
               "conf": [random.standard_normal((6, 4, 1, 1)), random.standard_normal(6)]}  # fmt: skip
    return text, caffemodel(weights)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(w, 0) * max(h, 0)
    return float(inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside))


@pytest.mark.parametrize(("keep", "top", "share"), [(10, 20, True), (200, 400, True), (5, 3, True), (10, 20, False)])
def test_boxes_are_decoded_and_thinned_out_as_in_ssd(keep: int, top: int, share: bool, tmp_path: Path) -> None:
    text, weights = ssd(keep, top, share)
    x = array(3, 4, 6, 6)
    (found,) = convert(tmp_path, text, weights)(data=x)
    (location,) = convert(tmp_path, text, weights, outputs=("loc_f",))(data=x)
    (scores,) = convert(tmp_path, text, weights, outputs=("conf_s",))(data=x)
    rows = []
    for picture in range(3):
        prior = [((i % 6) + 0.5, (i // 6) + 0.5, s) for i in range(36) for s in (2, np.sqrt(6))]
        chosen = []
        for label in (1, 2):
            part = location[picture].reshape(72, -1, 4)[:, 0 if share else label]
            boxes = []
            for (x0, y0, s), (dx, dy, dw, dh) in zip(prior, part.astype(np.float64)):
                cx, cy = (x0 + 0.1 * dx * s) / 6, (y0 + 0.1 * dy * s) / 6
                w, h = np.exp(0.2 * dw) * s / 6, np.exp(0.2 * dh) * s / 6
                boxes.append(np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]))
            order = [
                i for i in np.argsort(-scores[picture, :, label], kind="stable") if scores[picture, i, label] > 0.3
            ]
            kept: list[int] = []
            for i in order[:top]:
                if all(overlap(boxes[i], boxes[k]) <= 0.4 for k in kept):
                    kept.append(i)
            chosen += [(float(scores[picture, i, label]), label, boxes[i]) for i in kept]
        chosen = sorted(chosen, key=lambda c: -c[0])[:keep]
        rows += [[picture, label, score, *box] for score, label, box in sorted(chosen, key=lambda c: (c[1], -c[0]))]
    assert found.shape == (1, 1, len(rows), 7)
    np.testing.assert_allclose(found[0, 0], rows, atol=1e-5)


def test_nothing_found_is_one_row_for_each_picture(tmp_path: Path) -> None:
    text, weights = ssd()
    run = convert(tmp_path, text.replace("confidence_threshold: 0.3", "confidence_threshold: 1.5"), weights)
    expected = [[i, -1, -1, -1, -1, -1, -1] for i in range(2)]
    np.testing.assert_array_equal(run(data=array(2, 4, 6, 6))[0][0, 0], expected)


LIE = blob(W["a"]) + field(7, field(1, b"\x09"))
REFUSED = {
    "unsupported layer type 'Magic'": (layer("Magic"), EMPTY),
    "no weights for layer 'l'": (layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 }"), EMPTY),
    "made by no layer": (layer("ReLU", "", ["ghost"]), EMPTY),
    "should have the shape": (
        layer("Convolution", "convolution_param { num_output: 3 kernel_size: 3 }"),
        caffemodel({"l": [array(3, 5, 3, 3), SHIFT]}),
    ),
    "is that the network's input size": (
        layer("InnerProduct", "inner_product_param { num_output: 3 }"),
        caffemodel({"l": [array(3, 100), SHIFT]}),
    ),
    "unsupported pooling 'STOCHASTIC'": (layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), EMPTY),
    "kernel [0, 0]": (layer("Pooling", "pooling_param { pool: MAX }"), EMPTY),
    "cannot be divided evenly": (layer("Slice", "", ["data"], ["a", "b", "c"]), EMPTY),
    "ceil_mode_too": (layer("Pooling", "pooling_param { kernel_size: 2 ceil_mode_too: false }"), EMPTY),
    "other_param": (layer("ReLU", "other_param { slope: 2 }"), EMPTY),
    "2 bottoms are more": (layer("Interp", "interp_param { height: 4 width: 4 }", ["data", "data"]), EMPTY),
    "coefficients of the operation": (
        layer("Eltwise", "eltwise_param { operation: PROD coeff: 1 coeff: 2 }", ["data", "data"]), EMPTY),
    "runs Python code (m.Own)": (layer("Python", 'python_param { module: "m" layer: "Own" }'), EMPTY),
    "statistics are not in the file": (layer("BN", "bn_param { }"), caffemodel({"l": [W["a"], W["b"]]})),
    "coefficients for": (layer("Eltwise", "eltwise_param { coeff: 1 }", ["data", "data"]), EMPTY),
    "axis 7": (layer("Concat", "concat_param { axis: 7 }", ["data", "data"]), EMPTY),
    "not an integer": (layer("Tile", "tile_param { tiles: 1.5 }"), EMPTY),
    "needs 3 blobs": (layer("BatchNorm"), caffemodel({"l": [W["a"], W["v"]]})),
    "no layers in it": (layer("ReLU"), field(1, "only a name") + bytes([0x1A, 0])),
    "holds 4 values": (layer("ReLU"), field(100, field(1, "l") + field(2, "x") + field(7, LIE))),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_is_refused(reason: str, tmp_path: Path) -> None:
    text, weights = REFUSED[reason]
    with pytest.raises(InputError) as caught:
        convert(tmp_path, given((1, 4, 5, 6)) + text, weights)
    assert reason in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_damaged_networks_end_in_one_line(tmp_path: Path) -> None:
    text, weights = ssd()

    def attempt(prototxt: bytes, model: bytes) -> None:
        (tmp_path / "net.prototxt").write_bytes(prototxt)
        (tmp_path / "net.caffemodel").write_bytes(model)
        formats.read([tmp_path / "net.prototxt", tmp_path / "net.caffemodel"]).model()

    assert survive(text.encode(), 60, lambda data: attempt(data, weights))[1] > 10
    assert survive(weights, 60, lambda data: attempt(text.encode(), data))[1] > 10


# The verb


def test_a_checked_folder_and_a_failed_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.prototxt").write_text(SYNTAX[2])
    (tmp_path / "net.caffemodel").write_bytes(caffemodel({"c": [KERNEL, SHIFT]}))
    sources = [str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")]
    y = np.maximum(correlated(X, KERNEL, 1) + column(SHIFT), 0)
    big = array(1, 4, 8, 9)
    other = np.maximum(correlated(big, KERNEL, 1) + column(SHIFT), 0)
    np.savez(tmp_path / "golden.npz", in_data=X, out_y=y, in_data__s1=big, out_y__s1=other)
    np.savez(tmp_path / "wrong.npz", in_data=X, out_y=y + 0.01)
    report = sensorium.convert(*sources, out=tmp_path / "good", check=tmp_path / "golden.npz")
    assert report["verdict"] == "pass"
    assert report["largest_difference"] < 1e-5
    assert report["inputs"]["data"]["shape"] == ["batch", 4, "height", "width"]
    assert sensorium.inspect(tmp_path / "good" / "onnx" / "model.onnx")["outputs"] == ["y"]
    with pytest.raises(Refused, match="differs by"):
        sensorium.convert(*sources, out=tmp_path / "bad", check=tmp_path / "wrong.npz")
    assert main(["convert", *sources, "--out", str(tmp_path / "bad"), "--check", str(tmp_path / "wrong.npz")]) == 1
    assert not (tmp_path / "bad").exists()
    capsys.readouterr()
    assert main(["convert", *sources, "--out", str(tmp_path / "unproven")]) == 0
    assert "unverified" in capsys.readouterr().out
    assert sensorium.verify(tmp_path / "good")["verdict"] == "pass"
    assert sensorium.verify(tmp_path / "unproven")["verdict"] == "unverified"
    assert main(["verify", str(tmp_path / "unproven")]) == 1
    assert sorted(p.name for p in (tmp_path / "unproven").iterdir()) == [
        "config.json", "onnx", "probes", "sensorium.json", "verification.json",
    ]  # fmt: skip
    forced = sensorium.convert(*sources, out=tmp_path / "bad", check=tmp_path / "wrong.npz", force=True)
    assert forced["verdict"] == "fail"


# Detectors in two steps


def test_regions_where_nothing_is_moved_are_the_best_anchors(tmp_path: Path) -> None:
    settings = (
        "feat_stride: 8 base_size: 8 min_size: 1 ratio: 1 scale: 1 pre_nms_topn: 5 post_nms_topn: 3 nms_thresh: 0.5"
    )
    text = given((1, 2, 3, 4)) + given((1, 4, 3, 4), "moves") + given((1, 3), "im_info")
    text += layer("Proposal", f"proposal_param {{ {settings} }}", ("data", "moves", "im_info"), ("rois", "probs"))
    x = array(1, 2, 3, 4)
    zero, size = np.zeros((1, 4, 3, 4), np.float32), np.float32([[20, 32, 1]])
    rois, probs = convert(tmp_path, text, EMPTY)(data=x, moves=zero, im_info=size)
    order = np.argsort(-x[0, 1].reshape(-1))[:3]
    y, left = order // 4 * 8.0, order % 4 * 8.0
    # The centre of an anchor of 8 pixels, 0 to 7, plus and minus 4; within the picture of 20 by 32.
    wanted = np.stack([0 * y, left, y, np.minimum(left + 8, 31), np.minimum(y + 8, 19)], 1)
    np.testing.assert_allclose(rois, wanted, atol=1e-4)
    np.testing.assert_allclose(probs[:, 0], x[0, 1].reshape(-1)[order])


def test_the_layer_of_py_faster_rcnn_proposes_regions(tmp_path: Path) -> None:
    text = given((1, 18, 3, 4)) + given((1, 36, 3, 4), "moves") + given((1, 3), "im_info")
    names = ("data", "moves", "im_info")
    own = 'python_param { module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "\'feat_stride\': 8" }'
    text += layer("Python", own, names, ("rois",), "a")
    text += layer("Proposal", "proposal_param { feat_stride: 8 }", names, ("same",), "b")
    size = np.float32([[300, 400, 1]])
    one, other = convert(tmp_path, text, EMPTY)(data=array(1, 18, 3, 4), moves=0.1 * array(1, 36, 3, 4), im_info=size)
    assert len(one) > 3
    np.testing.assert_array_equal(one, other)


def test_parts_of_regions_have_channels_of_their_own(tmp_path: Path) -> None:
    x = array(1, 8, 6, 6)
    rois = np.float32([[0, 1, 2, 4, 5], [0, 0, 0, 5, 5]])
    text = given(x.shape) + given((2, 5), "rois")
    text += layer(
        "PSROIPooling", "psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 1 }", ("data", "rois")
    )
    (found,) = convert(tmp_path, text, EMPTY)(data=x, rois=rois)
    for roi, kind, i, j in np.ndindex(2, 2, 2, 2):
        _, left, top, right, bottom = rois[roi].astype(int)
        size = (bottom + 1 - top) // 2, (right + 1 - left) // 2
        rows, columns = top + i * size[0], left + j * size[1]
        part = x[0, (kind * 2 + i) * 2 + j, rows : rows + size[0], columns : columns + size[1]]
        np.testing.assert_allclose(found[roi, kind, i, j], part.mean(), atol=1e-5)


def test_of_several_prototxts_the_one_to_deploy_is_taken(tmp_path: Path) -> None:
    text = given((1, 2)) + layer("TanH")
    (tmp_path / "deploy.prototxt").write_text(text)
    (tmp_path / "train_val.prototxt").write_text(text.replace("TanH", "Sigmoid"))
    (tmp_path / "solver.prototxt").write_text('net: "train_val.prototxt"\nbase_lr: 0.1\n')
    (tmp_path / "m.caffemodel").write_bytes(EMPTY)
    assert formats.read([tmp_path]).kinds["Tanh"] == 1
    (tmp_path / "deploy.prototxt").unlink()
    (tmp_path / "other.prototxt").write_text(text)
    with pytest.raises(InputError, match="give one"):
        formats.read([tmp_path])
