"""TFLite: files built byte by byte, the arithmetic against numpy, quantisation, loops, and what must be refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sensorium import conversion, formats
from sensorium.errors import InputError
from sensorium.formats.tflite.schema import CODES, DTYPES
from tests.formats.mutations import survive

RANDOM = np.random.default_rng(0)
NUMBERS = {name: number for number, name in CODES.items()}
KINDS = {np.dtype(dtype): kind for kind, dtype in DTYPES.items()}
Fields = dict[int, Any]


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def flat(value: Any) -> bytes:
    """A flat buffer: tables are dicts by field number, (code, number) a scalar, lists and arrays vectors, bytes raw."""
    out = bytearray(b"\0\0\0\0TFL3")

    def align(size: int) -> None:
        out.extend(bytes(-len(out) % size))

    def vector(data: bytes, count: int, size: int) -> int:
        out.extend(bytes(-(len(out) + 4) % max(size, 4)))
        at = len(out)
        out.extend(struct.pack("<I", count) + data)
        return at

    def put(item: Any) -> int:
        if isinstance(item, dict):
            return table(item)
        if isinstance(item, str):
            item = item.encode()
        if isinstance(item, bytes):
            return vector(item, len(item), 16)
        if isinstance(item, np.ndarray):
            return vector(item.tobytes(), item.size, item.itemsize)
        at = vector(bytes(4 * len(item)), len(item), 4)
        for i, inner in enumerate(item):
            place = at + 4 + 4 * i
            struct.pack_into("<I", out, place, put(inner) - place)
        return at

    def table(fields: Fields) -> int:
        last = max(fields, default=-1)
        align(8)
        start = len(out)
        out.extend(struct.pack("<HH", 4 + 2 * (last + 1), 0) + bytes(2 * (last + 1)))
        align(8)
        at = len(out)
        out.extend(struct.pack("<i", at - start))
        waiting = []
        for number, item in fields.items():
            if isinstance(item, tuple):
                align(struct.calcsize("<" + item[0]))
                place = len(out)
                out.extend(struct.pack("<" + item[0], item[1]))
            else:
                align(4)
                place = len(out)
                out.extend(bytes(4))
                waiting.append((place, item))
            struct.pack_into("<H", out, start + 4 + 2 * number, place - at)
        for place, item in waiting:
            struct.pack_into("<I", out, place, put(item) - place)
        return at

    struct.pack_into("<I", out, 0, table(value))
    return bytes(out)


class Net:
    """A graph in the making: tensors by name."""

    def __init__(self) -> None:
        self.tensors: list[Fields] = []
        self.buffers: list[Fields] = [{}]
        self.operators: list[Fields] = []
        self.codes: list[int] = []
        self.names: dict[str, int] = {}
        self.custom_names: dict[int, str] = {}

    def tensor(
        self, name: str, shape: Sequence[int], dtype: Any = np.float32, data: np.ndarray | None = None,
        scale: Sequence[float] = (), zero: Sequence[int] = (), axis: int = 0, free: bool = False,
    ) -> str:  # fmt: skip
        entry: Fields = {0: np.array(shape, np.int32), 1: ("b", KINDS[np.dtype(dtype)]), 3: name}
        if data is not None:
            self.buffers.append({0: np.ascontiguousarray(data).tobytes()})
            entry[2] = ("I", len(self.buffers) - 1)
        if scale:
            zeros = list(zero) or [0] * len(scale)
            entry[4] = {2: np.array(scale, np.float32), 3: np.array(zeros, np.int64), 6: ("i", axis)}
        if free:
            entry[7] = np.array([-1, *shape[1:]], np.int32)
        self.names[name] = len(self.tensors)
        self.tensors.append(entry)
        return name

    def stored(self, name: str, data: np.ndarray, **quantisation: Any) -> str:
        return self.tensor(name, data.shape, data.dtype, data, **quantisation)

    def custom(self, name: str, inputs: Sequence[str], outputs: Sequence[str], options: bytes) -> None:
        self.op(32, inputs, outputs)
        self.custom_names[len(self.codes) - 1] = name
        self.operators[-1][5] = options

    def op(self, kind: str | int, inputs: Sequence[str], outputs: Sequence[str], **options: Any) -> None:
        self.codes.append(NUMBERS[kind] if isinstance(kind, str) else kind)
        entry: Fields = {0: ("I", len(self.codes) - 1)}
        for number, names in ((1, inputs), (2, outputs)):
            entry[number] = np.array([self.names.get(n, -1) for n in names], np.int32)
        if options:
            entry[4] = {int(k[1:]): v for k, v in options.items()}
        self.operators.append(entry)

    def graph(self, inputs: Sequence[str], outputs: Sequence[str]) -> Fields:
        ends = [np.array([self.names[n] for n in names], np.int32) for names in (inputs, outputs)]
        return {0: self.tensors, 1: ends[0], 2: ends[1], 3: self.operators}

    def file(self, inputs: Sequence[str], outputs: Sequence[str], *others: Fields) -> bytes:
        codes: list[Fields] = [{0: ("b", min(c, 127)), 3: ("i", c)} for c in self.codes]
        for number, name in self.custom_names.items():
            codes[number][1] = name
        return flat({0: ("I", 3), 1: codes, 2: [self.graph(inputs, outputs), *others], 4: self.buffers})


def convert(folder: Path, data: bytes) -> Callable[..., list[np.ndarray]]:
    (folder / "m.tflite").write_bytes(data)
    model = formats.read([folder / "m.tflite"]).model()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(**feeds: np.ndarray) -> list[np.ndarray]:
        return list(session.run(None, feeds))

    return run


def convolved(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    """NHWC with SAME padding: what is left over comes behind."""
    k, size = w.shape[1], x.shape[1:3]
    out = [-(-n // stride) for n in size]
    total = [max((o - 1) * stride + k - n, 0) for o, n in zip(out, size)]
    wide = np.pad(x, [(0, 0), *((t // 2, t - t // 2) for t in total), (0, 0)])
    y = np.zeros((len(x), *out, len(w)), np.float32)
    for i, j in np.ndindex(*out):
        y[:, i, j] = np.einsum("nklc,oklc->no", wide[:, i * stride :, j * stride :][:, :k, :k], w)
    return y


def picture(size: Sequence[int] = (1, 7, 8, 3)) -> tuple[bytes, np.ndarray, np.ndarray]:
    net = Net()
    w, b = array(4, 3, 3, 3), array(4)
    net.tensor("x", size, free=True)
    net.stored("w", w)
    net.stored("b", b)
    net.tensor("y", (1, 4, 4, 4), free=True)
    net.op("CONV_2D", ["x", "w", "b"], ["y"], o0=("b", 0), o1=("i", 2), o2=("i", 2), o3=("b", 1))
    net.stored("axes", np.array([1, 2], np.int32))
    net.tensor("m", (1, 4), free=True)
    net.op("MEAN", ["y", "axes"], ["m"], o0=("B", 0))
    return net.file(["x"], ["y", "m"]), w, b


def test_convolution_pads_behind_and_the_batch_is_free(tmp_path: Path) -> None:
    data, w, b = picture()
    x = array(3, 7, 8, 3)
    y, mean = convert(tmp_path, data)(x=x)
    expected = np.maximum(convolved(x, w, 2) + b, 0)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(mean, expected.mean((1, 2)), atol=1e-5)
    report = formats.inspect([tmp_path / "m.tflite"])
    assert report["inputs"] == {"x": ["batch", 7, 8, 3]}
    assert report["layers"] == {"CONV_2D": 1, "MEAN": 1}
    assert report["parameters"] == w.size + b.size


def test_quantised_numbers_are_what_the_scales_say(tmp_path: Path) -> None:
    net = Net()
    w = RANDOM.integers(-127, 128, (5, 8)).astype(np.int8)
    bias = RANDOM.integers(-500, 500, 5).astype(np.int32)
    scales = [0.01, 0.02, 0.005, 0.03, 0.015]
    net.tensor("x", (2, 8), np.int8, scale=[0.05], zero=[3])
    net.stored("w", w, scale=scales)
    net.stored("b", bias, scale=[0.05 * s for s in scales])
    net.tensor("y", (2, 5), np.int8, scale=[0.1], zero=[-10])
    net.op("FULLY_CONNECTED", ["x", "w", "b"], ["y"], o0=("b", 0))
    x = RANDOM.integers(-128, 128, (2, 8)).astype(np.int8)
    found = convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0]
    real = (x.astype(int) - 3) @ w.T.astype(int) + bias
    expected = np.clip(np.round(real * 0.05 * np.array(scales) / 0.1) - 10, -128, 127)
    assert found.dtype == np.int8
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_quantised_outputs_may_be_some_steps_off(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"tolerance": {"max_abs": 0, "converted_max_lsb": 2}}')
    assert conversion.given_tolerance(tmp_path / "golden.npz") == 2
    (tmp_path / "meta.json").write_text('{"tolerance": {"max_abs": 3e-5}}')
    assert conversion.given_tolerance(tmp_path / "golden.npz") == 3e-5
    (tmp_path / "meta.json").write_text('{"tolerance": 1}')
    assert conversion.given_tolerance(tmp_path / "golden.npz") is None


def test_8_bit_weights_meet_numbers_rounded_like_themselves(tmp_path: Path) -> None:
    net = Net()
    w = RANDOM.integers(-127, 128, (3, 6)).astype(np.int8)
    net.tensor("x", (2, 6))
    net.stored("w", w, scale=[0.02])
    net.tensor("y", (2, 3))
    net.op("FULLY_CONNECTED", ["x", "w", "none"], ["y"], o0=("b", 0))
    x = array(2, 6)
    found = convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0]
    step = np.abs(x).max(1, keepdims=True) / 127
    np.testing.assert_allclose(found, (np.round(x / step) * step) @ (w * np.float32(0.02)).T, atol=1e-5)


def test_loops(tmp_path: Path) -> None:
    """While i < 5: i += 1, s = 2 s + x."""
    net = Net()
    for name, dtype, value in (
        ("zero", np.int32, 0),
        ("one", np.int32, 1),
        ("five", np.int32, 5),
        ("two", np.float32, 2),
    ):
        net.stored(name, np.array(value, dtype))
    net.tensor("x", (3,))
    for name in ("i", "j"):
        net.tensor(name, (), np.int32)
    net.tensor("go", (), np.bool_)
    for name in ("s", "t", "u", "xx", "end"):
        net.tensor(name, (3,))
    start = net.operators
    net.operators = cond = []
    net.op("LESS", ["i", "five"], ["go"])
    condition = net.graph(["i", "s", "xx"], ["go"])
    net.operators = body = []
    net.op("ADD", ["i", "one"], ["j"], o0=("b", 0))
    net.op("MUL", ["s", "two"], ["t"], o0=("b", 0))
    net.op("ADD", ["t", "xx"], ["u"], o0=("b", 0))
    inner = net.graph(["i", "s", "xx"], ["j", "u", "xx"])
    net.operators = start
    net.op("WHILE", ["zero", "x", "x"], ["i", "end", "xx"], o0=("i", 1), o1=("i", 2))
    assert cond
    assert body
    x = array(3)
    found = convert(tmp_path, net.file(["x"], ["end"], condition, inner))(x=x)[0]
    np.testing.assert_allclose(found, x * 63, rtol=1e-5)
    loop = next(n for n in formats.read([tmp_path / "m.tflite"]).nodes if n.op == "Loop")
    assert len(loop.outputs) == 2, "what stays as it is goes not round"


def test_lstm_with_a_limit_on_its_state(tmp_path: Path) -> None:
    net = Net()
    n, h = 3, 4
    net.tensor("x", (1, 5, n))
    names = []
    weights = [array(h, n) for _ in range(4)] + [array(h, h) for _ in range(4)]
    biases = [array(h) for _ in range(4)]
    for k, a in enumerate(weights + biases):
        names.append(net.stored(f"w{k}", a))
    for name in ("h", "c"):
        net.tensor(name, (1, h))
        net.tensors[-1][5] = ("B", 1)
    net.tensor("y", (1, 5, h))
    inputs = ["x", *names[:8], "-", "-", "-", *names[8:], "-", "-", "h", "c", "-", "-", "-", "-"]
    net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ["y"], o0=("b", 4), o1=("f", 0.5))
    x = array(1, 5, n) * 3
    found = convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0]
    state, cell = np.zeros((1, h)), np.zeros((1, h))
    for t in range(5):
        i, f, g, o = (x[:, t] @ weights[k].T + state @ weights[k + 4].T + biases[k] for k in range(4))
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        cell = np.clip(f * cell + i * np.tanh(g), -0.5, 0.5)
        state = o * np.tanh(cell)
        np.testing.assert_allclose(found[:, t], state, atol=1e-5)


def lstm_steps(
    x: np.ndarray, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], seen: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """An LSTM (time, batch, ...) whose state is `seen` by the next step so."""
    h = c = np.zeros((x.shape[1], len(biases[0])))
    found = []
    for now in x:
        i, f, g, o = (now @ weights[k].T + seen(h) @ weights[k + 4].T + biases[k] for k in range(4))
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        found.append(h)
    return np.stack(found)


def lstm_net(n: int, h: int, count: int = 1) -> tuple[Net, list[list[np.ndarray]], list[str]]:
    """Weights and biases of LSTMs, and the names of their arrays in the order of TFLite's inputs."""
    net = Net()
    arrays, names = [], []
    for k in range(count):
        arrays.append([array(h, n) for _ in range(4)] + [array(h, h) for _ in range(4)] + [array(h) for _ in range(4)])
        stored = [net.stored(f"w{k}.{i}", a) for i, a in enumerate(arrays[-1])]
        names += [*stored[:8], "-", "-", "-", *stored[8:], "-", "-"]
    return net, arrays, names


def states(net: Net, *sizes: tuple[int, ...], **told: Any) -> list[str]:
    for k, size in enumerate(sizes):
        net.tensor(f"state{k}", size, **told)
        net.tensors[-1][5] = ("B", 1)
    return [f"state{k}" for k in range(len(sizes))]


def test_both_ways_have_time_first_unless_they_say_otherwise(tmp_path: Path) -> None:
    n, h = 2, 3
    net, arrays, names = lstm_net(n, h, 2)
    net.tensor("x", (4, 2, n))
    net.tensor("y", (4, 2, 2 * h))
    inputs = ["x", *names, *states(net, *[(2, h)] * 4), *["-"] * 9]
    net.op("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, ["y"], o0=("b", 4), o3=("B", 1))
    x = array(4, 2, n)
    (y,) = convert(tmp_path, net.file(["x"], ["y"]))(x=x)
    there, back = (lstm_steps(v, a[:8], a[8:], lambda s: s) for v, a in ((x, arrays[0]), (x[::-1], arrays[1])))
    np.testing.assert_allclose(y, np.concatenate([there, back[::-1]], 2), atol=1e-5)


def test_a_limit_that_cannot_be_reached_is_none(tmp_path: Path) -> None:
    net, arrays, names = lstm_net(2, 3)
    net.tensor("x", (2, 7, 2))
    net.tensor("y", (2, 7, 3))
    inputs = ["x", *names, *states(net, (2, 3), (2, 3)), *["-"] * 4]
    net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ["y"], o0=("b", 4), o1=("f", 10))
    x = array(2, 7, 2)
    (y,) = convert(tmp_path, net.file(["x"], ["y"]))(x=x)
    expected = lstm_steps(x.swapaxes(0, 1), arrays[0][:8], arrays[0][8:], lambda s: s)
    np.testing.assert_allclose(y.swapaxes(0, 1), expected, atol=1e-5)
    assert formats.read([tmp_path / "m.tflite"]).kinds["LSTM"] == 1


@pytest.mark.parametrize("whole", [False, True])
def test_lstm_with_8_bit_weights(whole: bool, tmp_path: Path) -> None:
    """Beside numbers that are rounded like them step by step, or in whole numbers throughout."""
    n, h, t = 3, 4, 6
    net = Net()
    weights = [RANDOM.integers(-127, 128, (h, n if k < 4 else h)).astype(np.int8) for k in range(8)]
    biases = [RANDOM.integers(-2000, 2000, h).astype(np.int32) for _ in range(4)]
    for k, w in enumerate(weights):
        net.stored(f"w{k}", w, scale=[0.012])
    for k, v in enumerate(biases):
        net.stored(f"b{k}", v, scale=[0.03 * 0.012]) if whole else net.stored(f"b{k}", v.astype(np.float32) * 4e-4)
    quantised = {"dtype": np.int8, "scale": [0.03], "zero": [5]}
    net.tensor("x", (1, t, n), **(quantised if whole else {}))
    out = {"dtype": np.int8, "scale": [1 / 120], "zero": [-20]}
    net.tensor("y", (1, t, h), **(out if whole else {}))
    names = [f"w{k}" for k in range(8)], [f"b{k}" for k in range(4)]
    both = states(net, (1, h), (1, h))
    if whole:
        net.tensor("kept", (1, h), **out)
        net.tensors[-1][5] = ("B", 1)
        both[0] = "kept"
    net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", ["x", *names[0], "-", "-", "-", *names[1], "-", "-", *both, *["-"] * 4],
           ["y"], o0=("b", 4), o1=("f", 10))  # fmt: skip
    real = [w * np.float32(0.012) for w in weights]
    run = convert(tmp_path, net.file(["x"], ["y"]))
    if whole:
        x = RANDOM.integers(-128, 128, (1, t, n)).astype(np.int8)
        wanted = lstm_steps((x[0, :, None].astype(int) - 5) * 0.03, real, [v * 0.03 * 0.012 for v in biases],
                            lambda s: np.clip(np.round(s * 120), -108, 147) / 120)  # fmt: skip
        assert np.abs(run(x=x)[0][0] - np.clip(np.round(wanted[:, 0] * 120) - 20, -128, 127)).max() <= 1
        return

    def seen(v: np.ndarray) -> np.ndarray:
        step = np.maximum(np.abs(v).max(-1, keepdims=True) / 127, 1e-30)
        return np.asarray(np.round(v / step) * step)

    x = array(1, t, n)
    wanted = lstm_steps(seen(x)[0][:, None], real, [v * 4e-4 for v in biases], seen)
    np.testing.assert_allclose(run(x=x)[0][0], wanted[:, 0], atol=2e-4)


def test_places_below_zero_are_none(tmp_path: Path) -> None:
    net = Net()
    net.tensor("x", (4,), np.int32)
    for name, value in (("depth", np.int32(3)), ("on", np.float32(5)), ("off", np.float32(-1))):
        net.stored(name, np.array(value))
    net.tensor("y", (4, 3))
    net.op("ONE_HOT", ["x", "depth", "on", "off"], ["y"], o0=("i", -1))
    x = np.array([0, -1, 2, 7], np.int32)
    expected = np.where(x[:, None] == np.arange(3), 5, -1)
    np.testing.assert_array_equal(convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0], expected)


def test_log_softmax_behind_a_convolution_is_over_channels(tmp_path: Path) -> None:
    net = Net()
    w = array(4, 1, 1, 3)
    net.tensor("x", (1, 3, 2, 3))
    net.stored("w", w)
    for name in ("c", "y"):
        net.tensor(name, (1, 3, 2, 4))
    net.op("CONV_2D", ["x", "w", "-"], ["c"], o0=("b", 0), o1=("i", 1), o2=("i", 1))
    net.op("LOG_SOFTMAX", ["c"], ["y"])
    x = array(1, 3, 2, 3)
    c = x @ w[:, 0, 0].T
    expected = c - np.log(np.exp(c).sum(-1, keepdims=True))
    np.testing.assert_allclose(convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0], expected, atol=1e-5)


def test_weights_of_four_bits(tmp_path: Path) -> None:
    net = Net()
    w = RANDOM.integers(-8, 8, (3, 5)).astype(np.int8)
    halves = np.append(w.reshape(-1), 0).astype(np.uint8) & 15
    net.stored("w", halves[::2] | halves[1::2] << 4, scale=[0.5])
    net.tensors[-1][0], net.tensors[-1][1] = np.array(w.shape, np.int32), ("b", 17)
    net.tensor("x", (2, 5), np.int8, scale=[0.1], zero=[3])
    net.tensor("y", (2, 3), np.int8, scale=[0.8], zero=[1])
    net.op("FULLY_CONNECTED", ["x", "w", "-"], ["y"], o0=("b", 0))
    x = RANDOM.integers(-128, 128, (2, 5)).astype(np.int8)
    expected = np.clip(np.round((x.astype(int) - 3) @ w.T.astype(int) * 0.05 / 0.8) + 1, -128, 127)
    assert np.abs(convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0] - expected).max() <= 1


def test_the_transposed_convolution_of_mediapipe(tmp_path: Path) -> None:
    net = Net()
    w, b = array(4, 2, 2, 3), array(4)
    net.tensor("x", (1, 3, 4, 3))
    net.stored("w", w)
    net.stored("b", b)
    net.tensor("y", (1, 6, 8, 4))
    net.custom("Convolution2DTransposeBias", ["x", "w", "b"], ["y"], struct.pack("<3i", 1, 2, 2))
    x = array(1, 3, 4, 3)
    expected = np.einsum("nhwc,oijc->nhiwjo", x, w).reshape(1, 6, 8, 4) + b
    np.testing.assert_allclose(convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0], expected, atol=1e-5)


def test_moving_numbers(tmp_path: Path) -> None:
    net = Net()
    x = array(2, 4, 6, 3)
    net.tensor("x", x.shape)
    for name, value in (("b", [0, 1, 5, 0]), ("e", [2, 4, 0, 1]), ("s", [1, 2, -2, 1]), ("p", [0, 2, 1, 3])):
        net.stored(name, np.array(value, np.int32))
    net.tensor("cut", (2, 2, 3))
    net.op("STRIDED_SLICE", ["x", "b", "e", "s"], ["cut"], o0=("i", 0), o1=("i", 4), o4=("i", 8))
    net.tensor("turned", (2, 6, 4, 3))
    net.op("TRANSPOSE", ["x", "p"], ["turned"])
    net.tensor("deep", (2, 2, 3, 12))
    net.op("SPACE_TO_DEPTH", ["x"], ["deep"], o0=("i", 2))
    net.tensor("back", x.shape)
    net.op("DEPTH_TO_SPACE", ["deep"], ["back"], o0=("i", 2))
    cut, turned, back = convert(tmp_path, net.file(["x"], ["cut", "turned", "back"]))(x=x)
    assert cut.tolist() == x[0:2, 1:4:2, 5::-2, 0].tolist()
    assert turned.tolist() == x.transpose(0, 2, 1, 3).tolist()
    assert back.tolist() == x.tolist()


def refused(folder: Path, data: bytes, *words: str) -> None:
    (folder / "m.tflite").write_bytes(data)
    with pytest.raises(InputError) as caught:
        formats.read([folder / "m.tflite"])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def single(kind: str | int, **options: Any) -> Net:
    net = Net()
    net.tensor("x", (1, 4))
    net.tensor("y", (1, 4))
    net.op(kind, ["x"], ["y"], **options)
    return net


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    refused(tmp_path, single(29999).file(["x"], ["y"]), "29999", "'y'")
    refused(tmp_path, single("SKIP_GRAM").file(["x"], ["y"]), "SKIP_GRAM", "'y'")
    net = single("TANH")
    net.operators[0][1] = np.array([4000], np.int32)
    refused(tmp_path, net.file(["x"], ["y"]), "tensor", "index 4000")
    data, _, _ = picture()
    refused(tmp_path, data[: len(data) * 6 // 10], "truncated")
    refused(tmp_path, struct.pack("<I", 1 << 31) + data[4:], "corrupt", "offset")
    refused(tmp_path, data[:4] + b"XXXX" + data[8:], "not a TFLite")
    refused(tmp_path, b"", "empty")


def test_damage_ends_in_one_line(tmp_path: Path) -> None:
    place = tmp_path / "m.tflite"

    def work(changed: bytes) -> None:
        place.write_bytes(changed)
        formats.inspect([place])
        formats.read([place]).model()

    _, gone = survive(picture()[0], 200, work)
    assert gone


def flexible(values: dict[str, float]) -> bytes:
    """A map in the FlexBuffers format: keys in order, numbers in four bytes."""
    out, keys = bytearray(), {}
    for key in sorted(values):
        keys[key] = len(out)
        out += key.encode() + b"\0"
    out += bytes(-len(out) % 4) + struct.pack("<I", len(values))
    first = len(out)
    for key in sorted(values):
        out += struct.pack("<I", len(out) - keys[key])
    out += struct.pack("<III", len(out) - first, 4, len(values))
    start = len(out)
    for key in sorted(values):
        whole = isinstance(values[key], int)
        out += struct.pack("<i" if whole else "<f", values[key])
    out += bytes((1 if isinstance(values[k], int) else 3) << 2 | 2 for k in sorted(values))
    return bytes(out) + bytes([len(out) - start, 9 << 2 | 2, 1])


def detector(**changed: float) -> bytes:
    """Six anchors, a background and two classes."""
    net = Net()
    net.tensor("encoded", (1, 6, 4))
    net.tensor("chances", (1, 6, 3))
    anchors = np.array([[y, x, 0.3, 0.2] for y in (0.25, 0.75) for x in (0.2, 0.5, 0.8)], np.float32)
    net.stored("anchors", anchors)
    for name, shape in (("boxes", (1, 4, 4)), ("classes", (1, 4)), ("scores", (1, 4)), ("count", (1,))):
        net.tensor(name, shape)
    told = {"max_detections": 4, "max_classes_per_detection": 1, "num_classes": 2, "nms_score_threshold": 0.2,
            "nms_iou_threshold": 0.3, "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}  # fmt: skip
    net.custom("TFLite_Detection_PostProcess", ["encoded", "chances", "anchors"],
               ["boxes", "classes", "scores", "count"], flexible(told | changed))  # fmt: skip
    return net.file(["encoded", "chances"], ["boxes", "classes", "scores", "count"])


def test_boxes_of_ssd(tmp_path: Path) -> None:
    run = convert(tmp_path, detector())
    encoded = np.zeros((1, 6, 4), np.float32)
    encoded[0, 1] = [10, 0, 5 * np.log(2), 0]  # 0.3 down, twice as high
    encoded[0, 0] = [0, 12, 0, 0]  # near the second anchor's place, so that they overlap
    chances = np.array([[[0.1, 0.6, 0.3], [0, 0.1, 0.9], [0.9, 0.05, 0.05], [0, 0.3, 0.1], [1, 0, 0], [0, 0.5, 0.7]]])
    boxes, classes, scores, count = run(encoded=encoded, chances=chances.astype(np.float32))
    np.testing.assert_allclose(scores, [[0.9, 0.7, 0.6, 0.3]], rtol=1e-6)
    assert classes.tolist() == [[1, 1, 0, 0]]
    assert count.tolist() == [4]
    np.testing.assert_allclose(boxes[0, 0], [0.25, 0.4, 0.85, 0.6], rtol=1e-5)
    chances[0, :5] = [1, 0, 0]
    boxes, classes, scores, count = run(encoded=encoded, chances=chances.astype(np.float32))
    assert count.tolist() == [1]
    np.testing.assert_allclose(scores, [[0.7, 0, 0, 0]], rtol=1e-6)


def test_boxes_of_ssd_thinned_out_in_each_class(tmp_path: Path) -> None:
    run = convert(tmp_path, detector(use_regular_nms=1, detections_per_class=3))
    encoded = np.zeros((1, 6, 4), np.float32)
    encoded[0, 0] = [0, 12, 0, 0]  # over the second anchor's place
    chances = np.array([[[0, 0.6, 0.3], [0, 0.5, 0.9], [0, 0.1, 0.1], [0, 0.3, 0.1], [0, 0, 0], [0, 0.1, 0.7]]])
    boxes, classes, scores, count = run(encoded=encoded, chances=chances.astype(np.float32))
    np.testing.assert_allclose(scores, [[0.9, 0.7, 0.6, 0.3]], rtol=1e-6)
    assert classes.tolist() == [[1, 1, 0, 0]]
    assert count.tolist() == [4]
    np.testing.assert_allclose(boxes[0, :, 0], [0.1, 0.6, 0.1, 0.6], atol=1e-6)
    chances[0, 2:] = 0
    boxes, classes, scores, count = run(encoded=encoded, chances=chances.astype(np.float32))
    assert count.tolist() == [2]
    np.testing.assert_allclose(scores, [[0.9, 0.6, 0, 0]], rtol=1e-6)
    assert not boxes[0, 2:].any()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"max_classes_per_detection": 2}, "several classes"),
        ({"max_detections": 10**9}, "corrupt"),
        ({"y_scale": 0.0}, "scales"),
    ],
)
def test_boxes_that_are_refused(changed: dict[str, float], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        convert(tmp_path, detector(**changed))


# Rarer operators


def one(kind: str, inputs: dict[str, Any], shape: Sequence[int], dtype: Any = np.float32, **options: Any) -> Net:
    """A network of one operator: arrays are stored, tuples are the shapes of its inputs; its output is `y`."""
    net = Net()
    for name, given in inputs.items():
        if isinstance(given, tuple):
            net.tensor(name, given)
        else:
            net.stored(name, np.asarray(given))
    net.tensor("y", shape, dtype)
    net.op(kind, list(inputs), ["y"], **options)
    return net


def test_a_slice_whose_end_follows_from_a_free_size(tmp_path: Path) -> None:
    net = Net()
    net.tensor("x", (1, 4), free=True)
    net.tensor("size", (2,), np.int32)
    net.op("SHAPE", ["x"], ["size"])
    for name, value in (("b", [0, 0]), ("s", [1, 1]), ("less", [1, 0])):
        net.stored(name, np.array(value, np.int32))
    net.tensor("e", (2,), np.int32)
    net.op("SUB", ["size", "less"], ["e"])
    net.tensor("y", (1, 4))
    net.op("STRIDED_SLICE", ["x", "b", "e", "s"], ["y"], o0=("i", 0), o1=("i", 2))
    run = convert(tmp_path, net.file(["x"], ["y"]))
    for rows in (1, 4):
        x = array(rows, 4)
        assert run(x=x)[0].tolist() == x[: rows - 1].tolist()


def test_slices_with_an_ellipsis_and_new_axes(tmp_path: Path) -> None:
    x = array(2, 3, 4, 5)
    places = {name: np.array(v, np.int32) for name, v in (("b", [0, 0, 1]), ("e", [0, 0, 3]), ("s", [1, 1, 1]))}
    net = one("STRIDED_SLICE", {"x": x.shape, **places}, (1, 2, 3, 4, 2), o2=("i", 2), o3=("i", 1))
    assert convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0].tolist() == x[None, ..., 1:3].tolist()


@pytest.mark.parametrize(("axis", "wanted"), [(1, lambda x, i: x[[[0], [1]], i]), (2, lambda x, i: np.take_along_axis(
    x, i[:, None, :].repeat(3, 1), 2))])  # fmt: skip
def test_places_by_batch(axis: int, wanted: Callable[..., np.ndarray], tmp_path: Path) -> None:
    x, places = array(2, 3, 4), np.array([[2, 0], [1, 1]], np.int32)
    shape = (2, 2, 4) if axis == 1 else (2, 3, 2)
    net = one("GATHER", {"x": x.shape, "i": places}, shape, o0=("i", axis), o1=("i", 1))
    assert convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0].tolist() == wanted(x, places).tolist()


def test_edges_that_come_twice(tmp_path: Path) -> None:
    x = array(2, 4)
    net = one("MIRROR_PAD", {"x": x.shape, "p": np.array([[0, 1], [2, 3]], np.int32)}, (3, 9), o0=("b", 1))
    wanted = np.pad(x, ((0, 1), (2, 3)), "symmetric")
    assert convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0].tolist() == wanted.tolist()


def test_roots_of_mean_squares(tmp_path: Path) -> None:
    x = array(1, 4, 4, 2)
    settings = {"o0": ("b", 1), "o1": ("i", 2), "o2": ("i", 2), "o3": ("i", 2), "o4": ("i", 2)}
    net = one("L2_POOL_2D", {"x": x.shape}, (1, 2, 2, 2), **settings)
    wanted = np.sqrt((x.reshape(1, 2, 2, 2, 2, 2) ** 2).mean((2, 4)))
    np.testing.assert_allclose(convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0], wanted, rtol=1e-5)


def test_a_spectrum(tmp_path: Path) -> None:
    net = Net()
    x = array(3, 1, 6)
    net.tensor("x", x.shape)
    net.stored("n", np.array([1, 8], np.int32))
    net.tensors.append({0: np.array([3, 1, 5], np.int32), 1: ("b", 8), 3: "c"})  # complex64
    net.names["c"] = len(net.tensors) - 1
    net.op("RFFT2D", ["x", "n"], ["c"])
    net.tensor("y", (3, 1, 5))
    net.op("COMPLEX_ABS", ["c"], ["y"])
    found = convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0]
    np.testing.assert_allclose(found, np.abs(np.fft.rfft(x, 8)), rtol=1e-4, atol=1e-5)


def test_a_filter_over_time_begins_with_nothing(tmp_path: Path) -> None:
    x, feature, time, bias = array(1, 3), array(4, 3), array(4, 5), array(2)
    net = one("SVDF", {"x": x.shape, "f": feature, "t": time, "b": bias}, (1, 2), o0=("i", 2), o1=("b", 1))
    wanted = np.maximum(((x @ feature.T) * time[:, -1]).reshape(1, 2, 2).sum(2) + bias, 0)
    np.testing.assert_allclose(convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "inputs", "wanted"), [
    ("ATAN2", {"x": (2, 3), "w": np.full((2, 3), -0.5, np.float32)}, lambda x: np.arctan2(x, np.float32(-0.5))),
    ("REVERSE_SEQUENCE", {"x": (2, 3), "w": np.array([2, 3], np.int32)},
     lambda x: np.stack([x[0][[1, 0, 2]], x[1][::-1]])),
    ("UNSORTED_SEGMENT_SUM", {"x": (2, 3), "i": np.array([1, 1], np.int32), "n": np.array(2, np.int32)},
     lambda x: np.stack([0 * x[0], x.sum(0)])),
])  # fmt: skip
def test_rarer_operators(kind: str, inputs: dict[str, Any], wanted: Callable[..., np.ndarray], tmp_path: Path) -> None:
    x = array(2, 3)
    net = one(kind, inputs, (2, 3), o0=("i", 1), o1=("i", 0))
    np.testing.assert_allclose(convert(tmp_path, net.file(["x"], ["y"]))(x=x)[0], wanted(x), rtol=1e-5)
