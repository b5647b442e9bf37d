"""Darknet: the layers' arithmetic against numpy, decoded boxes, and what must be refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from sensorium import formats
from sensorium.errors import InputError
from tests.formats.mutations import survive

RANDOM = np.random.default_rng(1)
NET = "[net]\nwidth=8\nheight=8\nchannels=4\n"


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def weights(*arrays: np.ndarray, minor: int = 2) -> bytes:
    header = struct.pack("<3i", 0, minor, 0) + struct.pack("<Q" if minor >= 2 else "<I", 0)
    return header + b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays)


def convert(folder: Path, text: str, data: bytes = b"") -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    (folder / "net.cfg").write_text(NET + text)
    (folder / "net.weights").write_bytes(data or weights(np.zeros(1)))
    graph = formats.read([folder / "net.cfg", folder / "net.weights"])
    names = list(graph.outputs)
    session = onnxruntime.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda x: dict(zip(names, session.run(None, {"data": x})))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def column(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, 1, 1)


X = array(2, 4, 8, 8)


def correlated(x: np.ndarray, w: np.ndarray, pad: int = 0, stride: int = 1) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, w))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: x,
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "relu": lambda x: np.maximum(x, 0),
    "logistic": sigmoid,
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "swish": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "loggy": lambda x: 2 * sigmoid(x) - 1,
    "ramp": lambda x: np.maximum(x, 0) + 0.1 * x,
    "relu6": lambda x: x.clip(0, 6),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x**3)),
    "hardtan": lambda x: x.clip(-1, 1),
    "lhtan": lambda x: np.where(x < 0, 0.001 * x, np.where(x > 1, 0.001 * (x - 1) + 1, x)),
    "plse": lambda x: np.where(x < -4, 0.01 * (x + 4), np.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)),
    "hard_mish": lambda x: np.where(x > 0, x, np.where(x > -2, x * x / 2 + x, 0)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("normalised", [False, True])
def test_convolutions(name: str, normalised: bool, tmp_path: Path) -> None:
    bias, scale, mean, kernel = array(3), array(3), array(3), array(3, 4, 3, 3)
    variance = np.abs(array(3)) + 0.1
    text = "[convolutional]\nfilters=3\nsize=3\nstride=2\npad=1\n" + f"activation={name}\n"
    y = correlated(X.astype(np.float64), kernel, 1, 2)
    stored = [bias, kernel]
    if normalised:
        text += "cbn=1\n" if name == "mish" else "batch_normalize=1\n"  # over several batches, while it trained
        stored = [bias, scale, mean, variance, kernel]
        y = (y - column(mean)) / (np.sqrt(column(variance)) + 1e-6) * column(scale)
    run = convert(tmp_path, text, weights(*stored, minor=1 if normalised else 2))
    np.testing.assert_allclose(run(X)["conv_0"], ACTIVATIONS[name](y + column(bias)), atol=2e-4, rtol=1e-4)


def test_groups_and_dilation(tmp_path: Path) -> None:
    kernel = array(2, 2, 3, 3)
    wide = np.zeros((2, 2, 5, 5), np.float32)
    wide[:, :, ::2, ::2] = kernel
    text = "[convolutional]\nfilters=2\nsize=3\npad=1\ngroups=2\ndilation=2\nactivation=linear\n"
    found = convert(tmp_path, text, weights(np.zeros(2), kernel))(X)["conv_0"]
    for i in range(2):
        expected = correlated(X[:, 2 * i : 2 * i + 2], wide[i : i + 1], 2)[:, 0]
        np.testing.assert_allclose(found[:, i], expected, atol=1e-5)


@pytest.mark.parametrize(("size", "stride", "side"), [(2, 2, 8), (2, 2, 7), (2, 1, 8), (3, 2, 8), (5, 1, 9), (3, 2, 9)])
def test_max_pooling_pads_behind_first(size: int, stride: int, side: int, tmp_path: Path) -> None:
    x = array(1, 4, side, side)
    pad = size - 1
    padded = np.pad(x, ((0, 0), (0, 0)) + ((pad // 2, pad - pad // 2),) * 2, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))[:, :, ::stride, ::stride]
    found = convert(tmp_path, f"[maxpool]\nsize={size}\nstride={stride}\n")(x)["maxpool_0"]
    np.testing.assert_array_equal(found, windows.max((4, 5)))


def reorganised(x: np.ndarray, s: int) -> np.ndarray:
    """reorg_cpu of Darknet, as it stands there."""
    n, c, h, w = x.shape
    flat, out = x.reshape(n, -1), np.zeros((n, c * h * w), x.dtype)
    for k, j, i in np.ndindex(c, h, w):
        c2, offset = k % (c // (s * s)), k // (c // (s * s))
        w2, h2 = i * s + offset % s, j * s + offset // s
        out[:, i + w * (j + h * k)] = flat[:, w2 + w * s * (h2 + h * s * c2)]
    return out.reshape(n, c * s * s, h // s, w // s)


def test_shapes_and_routes(tmp_path: Path) -> None:
    text = (
        "[maxpool]\nsize=1\nstride=1\n[route]\nlayers=-1\ngroups=2\ngroup_id=1\n[route]\nlayers=0, -1\n"
        "[upsample]\nstride=2\n[maxpool]\nstride=2\nsize=2\n[shortcut]\nfrom=0\nactivation=relu\n"
    )
    found = convert(tmp_path, text)(X)["shortcut_5"]
    both = np.concatenate([X, X[:, 2:]], 1)
    both[:, :4] += X
    np.testing.assert_allclose(found, np.maximum(both, 0), atol=1e-6)
    larger = array(1, 4, 10, 12)
    run = convert(tmp_path, "[reorg]\nstride=2\n")
    for x in (X, larger):
        np.testing.assert_array_equal(run(x)["reorg_0"], reorganised(x, 2))


def test_a_classifier(tmp_path: Path) -> None:
    weight, bias = array(3, 4), array(3)
    text = "[avgpool]\n[connected]\noutput=3\nactivation=linear\n[softmax]\ngroups=1\n[cost]\ntype=sse\n"
    found = convert(tmp_path, text, weights(bias, weight))(X)
    logits = X.mean((2, 3)) @ weight.T + bias
    np.testing.assert_allclose(found["conn_1"], logits, atol=1e-5)
    np.testing.assert_allclose(found["softmax_2"], np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=1e-6)


def head(x: np.ndarray, anchors: np.ndarray, side: tuple[float, float], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as corners, and scores, of one picture: get_yolo_box and get_region_box."""
    boxes, scores = [], []
    for part, (aw, ah) in zip(x.reshape(len(anchors), -1, *x.shape[1:]).astype(np.float64), anchors):
        for j, i in np.ndindex(*x.shape[1:]):
            tx, ty, tw, th, to, *classes = part[:, j, i]
            if kind == "new":
                px, py, w, h = 2 * tx - 0.5, 2 * ty - 0.5, 4 * tw * tw * aw / side[1], 4 * th * th * ah / side[0]
                score = to * np.array(classes)
            else:
                px, py, w, h = sigmoid(tx), sigmoid(ty), np.exp(tw) * aw / side[1], np.exp(th) * ah / side[0]
                if kind == "scaled":
                    px, py = 1.2 * px - 0.1, 1.2 * py - 0.1
                shares = np.exp(classes) / np.exp(classes).sum() if kind == "region" else sigmoid(np.array(classes))
                score = sigmoid(to) * shares
            cx, cy = (px + i) / x.shape[2], (py + j) / x.shape[1]
            boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            scores.append(score)
    return np.array(boxes), np.array(scores)


@pytest.mark.parametrize("kind", ["plain", "scaled", "new", "region"])
def test_heads_are_decoded(kind: str, tmp_path: Path) -> None:
    kernel, bias = array(14, 4, 1, 1), array(14)
    text = "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
    anchors = np.array([[2.0, 3.0], [4.0, 1.5]])
    if kind == "region":
        text += "[region]\nclasses=2\nnum=2\nsoftmax=1\nanchors=2,3, 4,1.5\n"
    else:
        text += "[yolo]\nclasses=2\nnum=3\nmask=1,2\nanchors=9,9, 2,3, 4,1.5\n"
        text += {"scaled": "scale_x_y=1.2\n", "new": "scale_x_y=2.0\nnew_coords=1\n"}.get(kind, "")
    run = convert(tmp_path, text, weights(bias, kernel))
    for x in (X, array(1, 4, 6, 10)):
        found = run(x)
        assert list(found)[:1] == ["conv_0"]
        raw = found["conv_0"]
        side = raw.shape[2:] if kind == "region" else x.shape[2:]
        for picture in range(len(x)):
            boxes, scores = head(raw[picture], anchors, side, kind)
            np.testing.assert_allclose(found["boxes"][picture], boxes, atol=1e-4, rtol=1e-4)
            np.testing.assert_allclose(found["scores"][picture], scores, atol=1e-5)


SIX = "[convolutional]\nfilters=1\nsize=1\n[route]\nlayers=0,0,0,0,0,0\n"
BAD = {
    "unsupported layer 'frobnicate'": "[frobnicate]\n",
    "there is no layer 77": "[avgpool]\n[route]\nlayers=77\n",
    "there is no layer -4": "[avgpool]\n[route]\nlayers=-5\n",
    "is not a whole number": "[maxpool]\nsize=two\n",
    "stride=0 is not possible": "[maxpool]\nsize=2\nstride=0\n",
    "too short": "[convolutional]\nfilters=60000\nsize=255\n",
    "unsupported activation": "[activation]\nactivation=magic\n",
    "do not fit 4 channels": "[yolo]\nclasses=2\nmask=0\nanchors=1,2\n",
    "goes beyond": SIX + "[yolo]\nclasses=1\nmask=3\nanchors=1,2\n",
    "is no setting": "[maxpool]\nhello\n",
    "no layers": "",
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_what_cannot_be_is_refused(reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"net\.(cfg|weights)") as caught:
        convert(tmp_path, BAD[reason], weights(array(20)))
    assert reason in str(caught.value)


def test_damaged_networks_end_in_one_line(tmp_path: Path) -> None:
    text = "[convolutional]\nfilters=14\nsize=1\nactivation=leaky\n[yolo]\nclasses=2\nmask=0,1\nanchors=2,3, 4,1.5\n"
    good = weights(array(14), array(14, 4, 1, 1))

    def attempt(cfg: bytes, data: bytes) -> None:
        (tmp_path / "net.cfg").write_bytes(cfg)
        (tmp_path / "net.weights").write_bytes(data)
        formats.read([tmp_path / "net.cfg", tmp_path / "net.weights"]).model()

    assert survive((NET + text).encode(), 100, lambda data: attempt(data, good))[1] > 20
    assert survive(good, 60, lambda data: attempt((NET + text).encode(), data))[1] > 5


def test_inspect_says_what_it_computes(tmp_path: Path) -> None:
    convert(tmp_path, "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n", weights(array(2), array(2, 4, 1, 1)))
    report = formats.inspect([tmp_path / "net.cfg", tmp_path / "net.weights"])
    assert report["multiply_adds"] == 2 * 4 * 64
    assert report["inputs"] == {"data": ["batch", 4, "height", "width"]}
    assert report["convertible"]
    (tmp_path / "net.weights").unlink()
    report = formats.inspect([tmp_path])
    assert report["missing"] == ["the weights (.weights)"]


def test_planes_of_two_sizes_are_added_where_they_meet(tmp_path: Path) -> None:
    """shortcut_cpu: every second place of a larger plane is added, or what is added stands at every second place."""
    pool = "[maxpool]\nsize=1\nstride=2\n"
    found = convert(tmp_path, f"[activation]\nactivation=tanh\n{pool}[shortcut]\nfrom=0\nalpha=0.5\nbeta=3\n")(X)
    np.testing.assert_allclose(
        found["shortcut_2"], (0.5 * np.tanh(X) + 3 * np.tanh(X))[:, :, ::2, ::2], atol=1e-5, rtol=1e-5
    )
    few = "[route]\nlayers=0\ngroups=2\ngroup_id=1\n"
    text = f"[activation]\nactivation=linear\n{pool}{few}[shortcut]\nfrom=1\nalpha=0.5\nbeta=3\n"
    expected = X[:, 2:].copy()
    expected[:, :, ::2, ::2] = 0.5 * expected[:, :, ::2, ::2] + 3 * X[:, :2, ::2, ::2]
    np.testing.assert_allclose(convert(tmp_path, text)(X)["shortcut_3"], expected, atol=1e-5)


def squares(x: np.ndarray, size: int) -> np.ndarray:
    """The running total of forward_normalization_layer."""
    total, found = (x[:, : size // 2] ** 2).sum(1), []
    for k in range(x.shape[1]):
        if k:
            last, following = k - (size - 1) // 2 - 1, k + size // 2
            total = total - (x[:, last] ** 2 if last >= 0 else 0)
            total = total + (x[:, following] ** 2 if following < x.shape[1] else 0)
        found.append(total)
    return np.stack(found, 1)


def stairs(x: np.ndarray) -> np.ndarray:
    whole = np.floor(x)
    return np.asarray(np.where(whole % 2 == 0, np.floor(x / 2), x - whole + np.floor(x / 2)))


RARER: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "normalization": ("size=3\nalpha=.1\nbeta=.5\nkappa=2\n", lambda x: x / (2 + 0.1 * squares(x, 3)) ** 0.5),
    "lrn": ("size=2\nalpha=.1\n", lambda x: x / (1 + 0.1 * squares(x, 2)) ** 0.75),
    "l2norm": ("", lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)),
    "logistic": ("", sigmoid),
    "activation": ("activation=stair\n", stairs),
    "upsample": ("stride=-2\nscale=.5\n", lambda x: x.reshape(2, 4, 4, 2, 4, 2).sum((3, 5)) / 2),
    "reorg": ("stride=2\nreverse=1\n",
              lambda x: x.reshape(2, 2, 2, 1, 8, 8).transpose(0, 3, 4, 1, 5, 2).reshape(2, 1, 16, 16)),
}  # fmt: skip


@pytest.mark.parametrize("kind", RARER)
def test_rarer_layers(kind: str, tmp_path: Path) -> None:
    settings, expected = RARER[kind]
    np.testing.assert_allclose(convert(tmp_path, f"[{kind}]\n{settings}")(X)[f"{kind}_0"], expected(X), atol=1e-5)


def test_places_with_kernels_of_their_own(tmp_path: Path) -> None:
    kernel, bias = array(9, 2, 4 * 9), array(2, 3, 3)
    found = convert(tmp_path, "[local]\nfilters=2\nsize=3\nstride=2\nactivation=linear\n", weights(bias, kernel))(X)
    windows = np.lib.stride_tricks.sliding_window_view(X, (3, 3), (2, 3))[:, :, ::2, ::2]
    expected = np.einsum("nchwij,hwocij->nohw", windows, kernel.reshape(3, 3, 2, 4, 3, 3)) + bias
    np.testing.assert_allclose(found["local_0"], expected, atol=1e-4)


def test_the_first_yolo(tmp_path: Path) -> None:
    """get_detection_detections: classes of the cells, objectness, and boxes whose sizes are square roots."""
    bias = array(2 * 2 * (3 + 2 * 5))
    text = "[connected]\noutput=52\nactivation=linear\n[detection]\nclasses=3\ncoords=4\nside=2\nnum=2\nsqrt=1\n"
    found = convert(tmp_path, text, weights(bias, np.zeros((52, 256))))(X)
    np.testing.assert_array_equal(found["detection_1"][1], bias)
    i = 5  # the second box of the third cell: row 1, column 0
    x, y, w, h = bias[12 + 8 + 4 * i :][:4].astype(np.float64)
    centre, half = np.array([x / 2, (y + 1) / 2]), np.array([w * w / 2, h * h / 2])
    np.testing.assert_allclose(found["boxes"][0, i], np.concatenate([centre - half, centre + half]), atol=1e-5)
    np.testing.assert_allclose(found["scores"][0, i], bias[12 + i] * bias[6:9], atol=1e-6)


def test_regions_with_more_coordinates_and_a_background(tmp_path: Path) -> None:
    kernel = np.eye(8, 4, dtype=np.float32)[:, :, None, None]
    bias = array(8)
    text = "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n[region]\nclasses=2\nnum=1\ncoords=5\nsoftmax=1\n"
    for background in (0, 1):
        found = convert(tmp_path, text + f"background={background}\n", weights(bias, kernel))(X)
        raw, parts = found["conv_0"], found["region_1"]
        np.testing.assert_array_equal(parts[:, 2:5], raw[:, 2:5])
        first = 5 if background else 6
        exps = np.exp(raw[:, first:])
        np.testing.assert_allclose(parts[:, first:], exps / exps.sum(1, keepdims=True), atol=1e-6)
        if not background:
            np.testing.assert_allclose(parts[:, 5], sigmoid(raw[:, 5]), atol=1e-6)
