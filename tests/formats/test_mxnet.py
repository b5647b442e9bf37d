"""MXNet: every spelling and array version, the operators' arithmetic against numpy, and what must be refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
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
TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int64": 6}
Nodes = Sequence[tuple[str, str, dict[str, Any], Sequence[Any]]]


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def stored(value: np.ndarray, version: int) -> bytes:
    """One array, as MXNet's versions 0 to 3 write it."""
    dims, rank = value.shape, value.ndim
    if version == 0:
        start = struct.pack(f"<I{rank}I", rank, *dims)
    elif version == 1:
        start = struct.pack(f"<II{rank}q", 0xF993FAC8, rank, *dims)
    else:
        start = struct.pack(f"<Iii{rank}q", 0xF993FAC9 + version - 2, 0, rank, *dims)
    return start + struct.pack("<iii", 1, 0, TYPES[value.dtype.name]) + value.tobytes()


def params(arrays: Mapping[str, np.ndarray], version: int = 2) -> bytes:
    names = b"".join(struct.pack("<Q", len(n)) + n.encode() for n in arrays)
    start = struct.pack("<QQQ", 0x112, 0, len(arrays))
    return start + b"".join(stored(a, version) for a in arrays.values()) + struct.pack("<Q", len(arrays)) + names


def symbol(nodes: Nodes, key: str = "attrs", heads: Sequence[Sequence[int]] | None = None) -> bytes:
    """Nodes of (op, name, parameters, inputs: numbers of nodes, or [node, output])."""
    entries = []
    for op, name, attributes, inputs in nodes:
        places = [list(i) if isinstance(i, (list, tuple)) else [i, 0] for i in inputs]
        entry: dict[str, Any] = {"op": op, "name": name, "inputs": places}
        if attributes:
            entry[key] = {k: str(v) for k, v in attributes.items()}
        entries.append(entry)
    top = {"nodes": entries, "arg_nodes": [], "heads": heads or [[len(entries) - 1, 0]]}
    return json.dumps(top | {"attrs": {"mxnet_version": ["int", 10901]}}).encode()


def convert(
    folder: Path, text: bytes, arrays: Mapping[str, np.ndarray], version: int = 2, **options: Any
) -> Callable[..., list[np.ndarray]]:
    (folder / "net-symbol.json").write_bytes(text)
    (folder / "net-0000.params").write_bytes(params(arrays, version))
    model = formats.read([folder / "net-symbol.json", folder / "net-0000.params"], Options(**options)).model()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda **feeds: list(session.run(None, feeds))


def one(folder: Path, op: str, attributes: dict[str, Any], x: np.ndarray, **arrays: np.ndarray) -> np.ndarray:
    """What one operator makes of `x` and of stored arrays."""
    names = ["data", *arrays]
    nodes = [("null", n, {}, ()) for n in names] + [(op, "y", attributes, range(len(names)))]
    return convert(folder, symbol(nodes), {f"arg:{k}": v for k, v in arrays.items()}, shapes={"data": x.shape})(data=x)[
        0
    ]


X = array(2, 4, 5, 6)
LENET: Nodes = [
    ("null", "data", {}, ()),
    ("null", "c_weight", {}, ()),
    ("Convolution", "c", {"kernel": "(3, 3)", "num_filter": 4, "no_bias": True}, (0, 1)),
    ("null", "bn_gamma", {}, ()),
    ("null", "bn_beta", {}, ()),
    ("null", "bn_moving_mean", {}, ()),
    ("null", "bn_moving_var", {}, ()),
    ("BatchNorm", "bn", {}, (2, 3, 4, 5, 6)),
    ("Activation", "r", {"act_type": "relu"}, (7,)),
    ("Pooling", "p", {"kernel": "(2,2)", "stride": "(2,2)", "pool_type": "max", "pooling_convention": "full"}, (8,)),
    ("null", "f_weight", {}, ()),
    ("null", "f_bias", {}, ()),
    ("FullyConnected", "f", {"num_hidden": 3}, (9, 10, 11)),
    ("null", "softmax_label", {}, ()),
    ("SoftmaxOutput", "softmax", {}, (12, 13)),
]
PARAMETERS = {
    "arg:c_weight": array(4, 2, 3, 3),
    "arg:bn_gamma": array(4),
    "arg:bn_beta": array(4),
    "aux:bn_moving_mean": array(4),
    "aux:bn_moving_var": np.abs(array(4)) + 1,
    "arg:f_weight": array(3, 4 * 3 * 3),
    "arg:f_bias": array(3),
}


def lenet(x: np.ndarray) -> np.ndarray:
    p = {k.split(":")[1]: v for k, v in PARAMETERS.items()}
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows, p["c_weight"])

    def per(name: str) -> np.ndarray:
        return p[name][:, None, None]

    y = np.maximum((y - per("bn_moving_mean")) / np.sqrt(per("bn_moving_var") + 1e-3) + per("bn_beta"), 0)
    y = np.pad(y, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
    y = y.reshape(len(x), 4, 3, 2, 3, 2).max((3, 5)).reshape(len(x), -1) @ p["f_weight"].T + p["f_bias"]
    e = np.exp(y - y.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("key", ["param", "attr", "attrs"])
def test_network(tmp_path: Path, version: int, key: str) -> None:
    """The stored gamma is ignored, the label is left out, and the size of the picture follows from the weights."""
    run = convert(tmp_path, symbol(LENET, key), PARAMETERS, version)
    x = array(3, 2, 7, 7)
    np.testing.assert_allclose(run(data=x)[0], lenet(x), atol=1e-5)


def test_old_files_do_not_name_the_statistics(tmp_path: Path) -> None:
    nodes = [(op, name, a, [i - 2 if i > 6 else i for i in inputs]) for op, name, a, inputs in LENET]
    nodes = nodes[:5] + nodes[7:]
    nodes[5] = ("BatchNorm", "bn", {}, (2, 3, 4))
    text = symbol(nodes, "param").replace(b'"attrs": {"mxnet_version": ["int", 10901]}', b'"more": 0')
    x = array(1, 2, 7, 7)
    np.testing.assert_allclose(convert(tmp_path, text, PARAMETERS, 0)(data=x)[0], lenet(x), atol=1e-5)


def test_names_and_free_axes(tmp_path: Path) -> None:
    (tmp_path / "a-symbol.json").write_bytes(symbol(LENET))
    (tmp_path / "a-0001.params").write_bytes(params(PARAMETERS))
    graph = formats.read([tmp_path], Options())
    assert graph.free_axes(graph.inputs[0])[0] == "batch"
    assert list(graph.outputs) == ["softmax_output"]
    assert list(formats.read([tmp_path], Options(outputs=("p_output",))).outputs) == ["p_output"]
    report = formats.inspect([tmp_path])
    assert report["convertible"]
    assert report["version"] == "1.9.1"
    assert report["layers"]["Convolution"] == 1


@pytest.mark.parametrize("kind", ["avg", "max", "sum"])
@pytest.mark.parametrize("convention", ["valid", "full"])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 2, 1), (2, 2, 0), (3, 2, 0), (2, 1, 1)])
def test_pooling(tmp_path: Path, kind: str, convention: str, counted: bool, kernel: int, stride: int, pad: int) -> None:
    attributes = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "pad": (pad,) * 2, "pool_type": kind}
    attributes |= {"pooling_convention": convention, "count_include_pad": counted}
    rounded = [(n + 2 * pad - kernel) / stride for n in X.shape[2:]]
    sizes = [int(np.ceil(r) if convention == "full" else r) + 1 for r in rounded]
    wanted = np.zeros((*X.shape[:2], *sizes), np.float32)
    for i, j in np.ndindex(*sizes):
        begin = [i * stride - pad, j * stride - pad]
        end = [min(b + kernel, n + pad) for b, n in zip(begin, X.shape[2:])]
        part = X[:, :, max(0, begin[0]) : max(0, end[0]), max(0, begin[1]) : max(0, end[1])]
        area = (end[0] - begin[0]) * (end[1] - begin[1]) if counted else part.shape[2] * part.shape[3]
        if kind == "max":
            wanted[:, :, i, j] = part.max((2, 3))
        else:
            wanted[:, :, i, j] = part.sum((2, 3)) / (area if kind == "avg" else 1)
    np.testing.assert_allclose(one(tmp_path, "Pooling", attributes, X), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("codes", "shape"),
    [
        ("(0, -1)", (2, 120)),
        ("(-1, 0)", None),
        ("(-2,)", (2, 4, 5, 6)),
        ("(0, -3, 0)", (2, 20, 6)),
        ("(-4, 1, 2, -2)", (1, 2, 4, 5, 6)),
        ("(0, -4, -1, 2, 0, 0)", (2, 2, 2, 5, 6)),
        ("(0, 0, -3)", (2, 4, 30)),
        ("(-3, -3)", (8, 30)),
        ("(2, 3, -1, 0, -9)", None),
    ],
)
def test_reshape(tmp_path: Path, codes: str, shape: tuple[int, ...] | None) -> None:
    if shape is None:
        if codes == "(-1, 0)":  # 0 is the second axis
            shape = (60, 4)
        else:
            with pytest.raises(InputError, match="-9"):
                one(tmp_path, "Reshape", {"shape": codes}, X)
            return
    np.testing.assert_array_equal(one(tmp_path, "Reshape", {"shape": codes}, X), X.reshape(shape))


SIMPLE: dict[str, tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    "rminus": ("_rminus_scalar", {"scalar": 2}, lambda x: 2 - x),
    "rdiv": ("_RDivScalar", {"scalar": 2}, lambda x: 2 / x),
    "greater": ("_greater_scalar", {"scalar": 0.1}, lambda x: (x > 0.1).astype(np.float32)),
    "mod": ("_mod_scalar", {"scalar": 0.7}, lambda x: np.mod(x, np.float32(0.7))),
    "leaky": ("LeakyReLU", {}, lambda x: np.where(x > 0, x, x * 0.25)),
    "rrelu": ("LeakyReLU", {"act_type": "rrelu"}, lambda x: np.where(x > 0, x, x * np.float32(0.2295))),
    "exclude": ("sum", {"axis": 1, "exclude": True}, lambda x: x.sum((0, 2, 3))),
    "everything": ("mean", {}, lambda x: x.mean(keepdims=True).reshape(1)),
    "keep": ("max", {"axis": "(-1,)", "keepdims": "1"}, lambda x: x.max(-1, keepdims=True)),
    "norm": ("norm", {"axis": 1, "ord": 2}, lambda x: np.sqrt((x * x).sum(1))),
    "argmax": ("argmax", {"axis": 1}, lambda x: x.argmax(1).astype(np.float32)),
    "slice": ("slice", {"begin": "(None, 1)", "end": "(None, 4)", "step": "(-1, 2)"}, lambda x: x[::-1, 1:4:2]),
    "slice_axis": ("slice_axis", {"axis": -1, "begin": -3, "end": "None"}, lambda x: x[..., -3:]),
    "transpose": ("transpose", {}, lambda x: x.T),
    "swap": ("SwapAxis", {"dim1": 1, "dim2": 3}, lambda x: x.swapaxes(1, 3)),
    "expand": ("expand_dims", {"axis": -2}, lambda x: x[..., None, :]),
    "repeat": ("repeat", {"repeats": 2, "axis": 1}, lambda x: x.repeat(2, 1)),
    "tile": ("tile", {"reps": "(2, 1)"}, lambda x: np.tile(x, (2, 1))),
    "reverse": ("reverse", {"axis": "(2,)"}, lambda x: x[:, :, ::-1]),
    "sort": ("sort", {"axis": 2, "is_ascend": False}, lambda x: -np.sort(-x, 2)),
    "argsort": ("argsort", {}, lambda x: x.argsort(-1).astype(np.float32)),
    "pad": ("Pad", {"mode": "reflect", "pad_width": "(0,0,0,0,1,2,0,1)"},
            lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 1)), "reflect")),
    "upsampling": ("UpSampling", {"scale": 2, "sample_type": "nearest", "num_args": 1},
                   lambda x: x.repeat(2, 2).repeat(2, 3)),
    "l2": ("L2Normalization", {"mode": "spatial"}, lambda x: x / np.sqrt((x * x).sum((2, 3), keepdims=True) + 1e-10)),
    "clip": ("clip", {"a_min": "-0.5", "a_max": "0.5"}, lambda x: x.clip(-0.5, 0.5)),
    "smooth": ("smooth_l1", {"scalar": 1.0}, lambda x: np.where(np.abs(x) < 1, 0.5 * x * x, np.abs(x) - 0.5)),
    "temperature": ("softmax", {"axis": 1, "temperature": 2},
                    lambda x: np.exp(x / 2) / np.exp(x / 2).sum(1, keepdims=True)),
    "numpy reshape": ("_npx_reshape", {"newshape": "(-2, -5, -1)"}, lambda x: x.reshape(2, 20, 6)),
    "numpy sum": ("_np_sum", {"axis": "None"}, lambda x: x.sum()),
}  # fmt: skip


@pytest.mark.parametrize("name", SIMPLE)
def test_operator(tmp_path: Path, name: str) -> None:
    op, attributes, wanted = SIMPLE[name]
    np.testing.assert_allclose(one(tmp_path, op, attributes, X), wanted(X), rtol=1e-4, atol=1e-5)


def test_several_outputs(tmp_path: Path) -> None:
    nodes = [
        ("null", "data", {}, ()),
        ("SliceChannel", "s", {"num_outputs": 2}, (0,)),
        ("elemwise_sub", "d", {}, ([1, 0], [1, 1])),
    ]
    run = convert(tmp_path, symbol(nodes, heads=[[2, 0], [1, 1]]), {}, shapes={"data": X.shape})
    first, second = run(data=X)
    np.testing.assert_allclose(first, X[:, :2] - X[:, 2:])
    np.testing.assert_array_equal(second, X[:, 2:])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


@pytest.mark.parametrize("mode", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent(tmp_path: Path, mode: str, directions: int) -> None:
    """Two layers, against the cells' equations; the batch differs from that of the example."""
    width, hidden, layers, gates = 3, 4, 2, {"lstm": 4, "gru": 3, "rnn_tanh": 1}[mode]
    weights, biases = [], []
    for layer in range(layers):
        size = width if layer == 0 else hidden * directions
        weights.append([(array(gates, hidden, size), array(gates, hidden, hidden)) for _ in range(directions)])
        biases.append([(array(gates, hidden), array(gates, hidden)) for _ in range(directions)])
    row = [a for group in (weights, biases) for layer in group for pair in layer for a in pair]
    x = array(5, 3, width)
    y = x
    for layer in range(layers):
        sides = []
        for side in range(directions):
            (w, r), (b, c) = weights[layer][side], biases[layer][side]
            h, cell, steps = np.zeros((3, hidden)), np.zeros((3, hidden)), []
            for step in y[:: 1 - 2 * side]:
                a = [step @ w[g].T + b[g] for g in range(gates)]
                d = [h @ r[g].T + c[g] for g in range(gates)]
                if mode == "lstm":
                    i, f, n, o = (a[g] + d[g] for g in range(4))
                    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(n)
                    h = sigmoid(o) * np.tanh(cell)
                elif mode == "gru":
                    z = sigmoid(a[1] + d[1])
                    h = (1 - z) * np.tanh(a[2] + sigmoid(a[0] + d[0]) * d[2]) + z * h
                else:
                    h = np.tanh(a[0] + d[0])
                steps.append(h)
            sides.append(np.stack(steps[:: 1 - 2 * side]))
        y = np.concatenate(sides, -1)
    state = {"shape": f"({layers * directions}, 0, {hidden})"}
    attributes = {"mode": mode, "state_size": hidden, "num_layers": layers, "bidirectional": directions == 2}
    nodes = [("null", "data", {}, ()), ("null", "p", {}, ()), ("_zeros", "h", state, ()), ("_zeros", "c", state, ())]
    inputs = (0, 1, 2, 3) if mode == "lstm" else (0, 1, 2)
    nodes = [*nodes, ("RNN", "rnn", attributes, inputs)]
    run = convert(tmp_path, symbol(nodes), {"p": np.concatenate([a.ravel() for a in row])})
    np.testing.assert_allclose(run(data=x)[0], y, atol=1e-5)


def detections(scores: np.ndarray, boxes: np.ndarray, threshold: float, overlap: float, best: int) -> np.ndarray:
    """As multibox_detection.cc finds them, for offsets of zero."""
    out = np.full((len(boxes), 6), -1, np.float32)
    label, score = scores[1:].argmax(0), scores[1:].max(0)
    valid = [i for i in range(len(boxes)) if score[i] >= threshold]
    for row, i in enumerate(valid):
        out[row] = [label[i], score[i], *boxes[i]]
    order = sorted(valid, key=lambda i: -score[i])[:best]
    out[len(order) : len(valid), 0] = -1
    for row, i in enumerate(order):
        out[row] = [label[i], score[i], *boxes[i]]
    for a in range(len(order)):
        for b in range(a + 1, len(order)):
            p, q = out[a], out[b]
            size = np.maximum(0, np.minimum(p[4:], q[4:]) - np.maximum(p[2:4], q[2:4]))
            both = size.prod()
            union = (p[4:] - p[2:4]).prod() + (q[4:] - q[2:4]).prod() - both
            if p[0] >= 0 and p[0] == q[0] and both / union >= overlap:
                out[b, 0] = -1
    return out


def test_detection(tmp_path: Path) -> None:
    count = 40
    corner = RANDOM.random((count, 2)).astype(np.float32) * 0.6
    boxes = np.concatenate([corner, corner + 0.1 + 0.3 * RANDOM.random((count, 2)).astype(np.float32)], 1)
    scores = RANDOM.random((2, 4, count)).astype(np.float32)
    nodes = [("null", n, {}, ()) for n in ("prob", "loc", "anchors")]
    attributes = {"threshold": 0.4, "nms_threshold": 0.3, "nms_topk": 25}
    nodes = [*nodes, ("_contrib_MultiBoxDetection", "d", attributes, (0, 1, 2))]
    shapes = {"prob": (1, 4, count), "loc": (1, 4 * count)}
    run = convert(tmp_path, symbol(nodes), {"anchors": boxes[None]}, shapes=shapes)
    found = run(prob=scores, loc=np.zeros((2, 4 * count), np.float32))[0]
    for i in range(2):
        np.testing.assert_allclose(found[i], detections(scores[i], boxes, 0.4, 0.3, 25), atol=1e-5)


def test_anchors(tmp_path: Path) -> None:
    found = one(tmp_path, "_contrib_MultiBoxPrior", {"sizes": "(0.4, 0.2)", "ratios": "(1, 4)"}, X[:, :, :2, :4])[0]
    assert found.shape == (2 * 4 * 3, 4)
    np.testing.assert_allclose(found[0], [0.125 - 0.1, 0.25 - 0.2, 0.125 + 0.1, 0.25 + 0.2], atol=1e-6)
    np.testing.assert_allclose(found[2], [0.125 - 0.2, 0.25 - 0.1, 0.125 + 0.2, 0.25 + 0.1], atol=1e-6)


def changed(place: int, **parameters: Any) -> Nodes:
    nodes = list(LENET)
    op, name, attributes, inputs = nodes[place]
    nodes[place] = (parameters.pop("op", op), name, attributes | parameters, parameters.pop("inputs", inputs))
    return nodes


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (changed(8, op="_contrib_Teleport"), "layer 'r'.*_contrib_Teleport"),
        (changed(8, act_type="swirl"), "layer 'r'.*swirl"),
        (changed(9, pooling_convention="round"), "layer 'p'.*round"),
        (changed(9, surprise=1), "layer 'p'.*surprise"),
        (changed(2, num_filter=5), "layer 'c'"),
        (changed(2, stride="(1, 1, 1)"), "layer 'c'.*stride"),
        (changed(12, num_hidden=7), "layer 'f'"),
        (changed(7, output_mean_var=True), "layer 'bn'.*output_mean_var"),
        ([*LENET[:8], ("Activation", "loop", {"act_type": "relu"}, (8,))], "cycle"),
    ],
)
def test_refused(tmp_path: Path, nodes: Nodes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(tmp_path, symbol(nodes), PARAMETERS)


def test_missing_and_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no parameter 'f_bias'"):
        convert(tmp_path, symbol(LENET), {k: v for k, v in PARAMETERS.items() if "f_bias" not in k})
    (tmp_path / "net-0000.params").unlink()
    with pytest.raises(InputError, match="params file with the weights is missing"):
        formats.read([tmp_path], Options())
    alone = tmp_path / "x.params"
    alone.write_bytes(params(PARAMETERS))
    with pytest.raises(InputError, match=r"symbol\.json"):
        formats.read([alone], Options())
    for data, message in (
        (params(PARAMETERS)[:400], "truncated"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60), "count of 1152921504606846976"),
        (b"\xed" * 40, "magic"),
    ):
        alone.write_bytes(data)
        with pytest.raises(InputError, match=message):
            formats.read([tmp_path / "net-symbol.json", alone], Options())


def test_mutations(tmp_path: Path) -> None:
    text, weights = symbol(LENET), params(PARAMETERS)
    first, second = tmp_path / "a-symbol.json", tmp_path / "a.params"

    def work(a: bytes, b: bytes) -> None:
        first.write_bytes(a)
        second.write_bytes(b)
        formats.read([first, second], Options())

    refused = survive(weights, 60, lambda data: work(text, data))[1]
    refused += survive(text, 36, lambda data: work(data, weights), seed=1)[1]
    assert refused > 40


# Boxes and grids


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    both = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both))


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("best", [-1, 6])
def test_overlapping_boxes_are_suppressed(forced: bool, best: int, tmp_path: Path) -> None:
    low = RANDOM.random((1, 12, 2))
    rows = [RANDOM.integers(0, 2, (1, 12, 1)), RANDOM.random((1, 12, 1)), low, low + RANDOM.random((1, 12, 2)) / 2]
    x = np.concatenate(rows, 2).astype(np.float32)
    settings = {"overlap_thresh": 0.3, "valid_thresh": 0.2, "id_index": 0, "force_suppress": forced, "topk": best}
    kept: list[np.ndarray] = []
    for row in [r for r in x[0][np.argsort(-x[0, :, 1])] if r[1] > 0.2][: best if best > 0 else None]:
        if all(overlap(row[2:], k[2:]) <= 0.3 or (not forced and k[0] != row[0]) for k in kept):
            kept.append(row)
    wanted = np.full_like(x[0], -1)
    wanted[: len(kept)] = kept
    np.testing.assert_allclose(one(tmp_path, "_contrib_box_nms", settings, x)[0], wanted, atol=1e-6)


def test_shares_of_boxes(tmp_path: Path) -> None:
    x, other = np.float32([[0, 0, 2, 2], [5, 5, 6, 6]]), np.float32([[1, 1, 3, 3]])
    found = one(tmp_path, "_contrib_box_iou", {"format": "corner"}, x, other=other)
    np.testing.assert_allclose(found, [[1 / 7], [0]], rtol=1e-6)


def test_a_grid_that_changes_nothing(tmp_path: Path) -> None:
    nothing = np.tile(np.float32([1, 0, 0, 0, 1, 0]), (2, 1))
    settings = {"target_shape": "(5, 6)", "transform_type": "affine", "sampler_type": "bilinear"}
    np.testing.assert_allclose(one(tmp_path, "SpatialTransformer", settings, X, loc=nothing), X, atol=1e-5)


@pytest.mark.parametrize(("op", "settings", "wanted"), [
    ("cumsum", {"axis": 1}, X.cumsum(1)),
    ("diag", {"k": -1, "axis1": 2, "axis2": 3}, np.diagonal(X, -1, 2, 3)),
    ("moments", {"axes": "(0, 2)"}, X.mean((0, 2))),
    ("Pooling", {"kernel": "(5, 1)", "pool_type": "lp", "p_value": 3}, np.cbrt((X**3).sum(2, keepdims=True))),
    ("Pooling", {"pool_type": "lp", "p_value": 1, "global_pool": True}, X.sum((2, 3), keepdims=True)),
])  # fmt: skip
def test_rarer_operators(op: str, settings: dict[str, Any], wanted: np.ndarray, tmp_path: Path) -> None:
    np.testing.assert_allclose(one(tmp_path, op, settings, X), wanted, rtol=1e-5, atol=1e-5)


def looked_up(x: np.ndarray, y: float, at: float, clamped: bool) -> np.ndarray:
    """A pixel (channels,) between others: 0 outside, or the last one behind the picture."""
    height, width = x.shape[1:]
    if clamped:
        if not (0 <= y < height and 0 <= at < width):
            return np.zeros(len(x))
        y, at = min(y, height - 1), min(at, width - 1)
    total = np.zeros(len(x))
    for i, j in np.ndindex(2, 2):
        a, b = int(np.floor(y)) + i, int(np.floor(at)) + j
        if 0 <= a < height and 0 <= b < width:
            total += x[:, a, b] * (1 - abs(y - a)) * (1 - abs(at - b))
    return total


@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_convolution(modulated: bool, tmp_path: Path) -> None:
    x, offset, mask = array(1, 4, 5, 6), 2 * array(1, 16, 2, 3), np.abs(array(1, 8, 2, 3))
    weight, bias = array(6, 2, 2, 2), array(6)
    attributes = {"kernel": "(2, 2)", "stride": "(2, 2)", "dilate": "(2, 2)", "pad": "(1, 1)", "num_filter": 6,
                  "num_group": 2, "num_deformable_group": 2}  # fmt: skip
    names = ["data", "offset", *(["mask"] if modulated else []), "weight", "bias"]
    op = f"_contrib_{'Modulated' if modulated else ''}DeformableConvolution"
    nodes = [("null", n, {}, ()) for n in names] + [(op, "y", attributes, range(len(names)))]
    feeds = {"data": x, "offset": offset} | ({"mask": mask} if modulated else {})
    run = convert(tmp_path, symbol(nodes), {"arg:weight": weight, "arg:bias": bias},
                  shapes={k: v.shape for k, v in feeds.items()})  # fmt: skip
    expected = np.zeros((1, 6, 2, 3))
    for i, j in np.ndindex(2, 3):
        seen = np.zeros((4, 2, 2))
        for part, a, b in np.ndindex(2, 2, 2):
            k = part * 4 + a * 2 + b
            y, at = (2 * n - 1 + 2 * m + offset[0, 2 * k + c, i, j] for n, m, c in ((i, a, 0), (j, b, 1)))
            found = looked_up(x[0, 2 * part : 2 * part + 2], y, at, not modulated)
            seen[2 * part : 2 * part + 2, a, b] = found * (mask[0, k, i, j] if modulated else 1)
        for f in range(6):
            expected[0, f, i, j] = (seen[f // 3 * 2 : f // 3 * 2 + 2] * weight[f]).sum() + bias[f]
    np.testing.assert_allclose(run(**feeds)[0], expected, atol=1e-4)


def test_correlation_has_a_channel_for_each_shift(tmp_path: Path) -> None:
    a, b = array(2, 3, 6, 7), array(2, 3, 6, 7)
    nodes: Nodes = [("null", "a", {}, ()), ("null", "b", {}, ()),
                    ("Correlation", "y", {"max_displacement": 2, "stride2": 2, "pad_size": 2}, (0, 1))]  # fmt: skip
    (y,) = convert(tmp_path, symbol(nodes), {"arg:none": array(1)}, shapes={"a": a.shape, "b": b.shape})(a=a, b=b)
    wide = np.pad(b, ((0, 0), (0, 0), (2, 2), (2, 2)))
    shifts = [(i, j) for i in (0, 2, 4) for j in (0, 2, 4)]
    expected = np.stack([(a * wide[:, :, i : i + 6, j : j + 7]).mean(1) for i, j in shifts], 1)
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_softmax_of_rows_of_given_lengths(tmp_path: Path) -> None:
    x, length = array(2, 3, 4), np.float32([[1, 4, 0], [2, 3, 4]])
    nodes: Nodes = [("null", "data", {}, ()), ("null", "length", {}, ()),
                    ("softmax", "y", {"use_length": True, "axis": -1}, (0, 1))]  # fmt: skip
    feeds = {"data": x, "length": length}
    run = convert(tmp_path, symbol(nodes), {"arg:none": array(1)}, shapes={k: v.shape for k, v in feeds.items()})
    inside = np.arange(4) < length[..., None]
    e = np.exp(x) * inside
    np.testing.assert_allclose(run(**feeds)[0], e / np.maximum(e.sum(-1, keepdims=True), 1e-30), atol=1e-6)


def test_what_is_left_whole(tmp_path: Path) -> None:
    np.testing.assert_array_equal(one(tmp_path, "sum", {"axis": "(0, 1, 2, 3)", "exclude": True}, X), X)
    x = array(2, 1, 4)
    assert one(tmp_path, "_split_v2", {"sections": 1, "axis": 1, "squeeze_axis": True}, x).shape == (2, 4)


def test_products_of_more_than_two_axes(tmp_path: Path) -> None:
    for settings, x, b, wanted in (
        ({}, X, array(6, 2, 3), "nchw,wij->nchij"),
        ({"transpose_a": True}, X, array(2, 3), "nchw,ni->chwi"),
        ({"transpose_b": True}, X, array(3, 2, 6), "nchw,ijw->nchij"),
    ):
        np.testing.assert_allclose(one(tmp_path, "dot", settings, x, b=b), np.einsum(wanted, x, b), atol=1e-5)


def test_outputs_that_mxnet_counts(tmp_path: Path) -> None:
    """`sort` and the values of `topk` have a second output that is not shown, so the first has a number."""
    for op, settings, name in (("sort", {}, "y_output0"), ("topk", {"ret_typ": "value"}, "y_output0"),
                               ("topk", {}, "y_output"), ("argsort", {}, "y_output")):  # fmt: skip
        (tmp_path / "net-symbol.json").write_bytes(symbol([("null", "data", {}, ()), (op, "y", settings, (0,))]))
        (tmp_path / "net-0000.params").write_bytes(params({"arg:other": np.ones(1)}))
        files = [tmp_path / "net-symbol.json", tmp_path / "net-0000.params"]
        assert list(formats.read(files, Options(shapes={"data": (2, 3)})).outputs) == [name]


@pytest.mark.parametrize(("mode", "size"), [("to_even_down", (4, 6)), ("to_even_up", (6, 6)), ("to_odd_down", (5, 5)),
                                            ("to_odd_up", (5, 7)), ("odd_scale", (9, 12))])  # fmt: skip
def test_sizes_made_even_or_odd(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    factors = {"scale_height": 2, "scale_width": 2} if mode == "odd_scale" else {}
    found = one(tmp_path, "_contrib_BilinearResize2D", {"mode": mode, **factors}, X)
    assert found.shape == (2, 4, *size)
    np.testing.assert_allclose(found[:, :, [0, 0, -1, -1], [0, -1, 0, -1]], X[:, :, [0, 0, -1, -1], [0, -1, 0, -1]])


def test_even_steps_between_two_numbers(tmp_path: Path) -> None:
    nodes = [("null", "data", {}, ()), ("_linspace", "l", {"start": 0, "stop": 1, "num": 6, "endpoint": "False"}, ()),
             ("broadcast_add", "y", {}, (0, 1))]  # fmt: skip
    run = convert(tmp_path, symbol(nodes), {"arg:other": np.ones(1)}, shapes={"data": X.shape})
    np.testing.assert_allclose(run(data=X)[0], X + np.arange(6, dtype=np.float32) / 6, atol=1e-6)
