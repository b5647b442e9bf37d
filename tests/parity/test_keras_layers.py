"""The layers of Keras, converted, against Keras itself (on PyTorch)."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("h5py")
if keras.backend.backend() != "torch":
    pytest.skip("Keras runs on another backend", allow_module_level=True)

import onnxruntime as ort

from sensorium import formats

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore")


def scrambled(model: Any, seed: int = 3) -> Any:
    random = np.random.default_rng(seed)
    for weight in model.weights:
        value = random.normal(0, 0.4, weight.shape)
        weight.assign(np.abs(value) + 0.3 if "variance" in weight.path else value)
    return model


def agree(model: Any, feeds: list[np.ndarray], folder: Path, limit: float = 3e-5) -> None:
    scrambled(model)
    expected = model(feeds if len(feeds) > 1 else feeds[0], training=False)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    expected = [keras.ops.convert_to_numpy(e) for e in expected]
    for ending in (".keras", ".h5"):
        path = folder / f"model{ending}"
        model.save(path)
        graph = formats.read([path])
        session = ort.InferenceSession(graph.model().SerializeToString())
        given = {i.name: f.astype(e.dtype) for i, e, f in zip(session.get_inputs(), graph.inputs, feeds)}
        for wanted, found in zip(expected, session.run(None, given), strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(
                found, wanted, atol=limit * max(1.0, float(np.abs(wanted).max(initial=0))), rtol=0
            )


def sample(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 7, shape).astype(np.int32)


PICTURE, SOUND, VOLUME = (13, 10, 6), (15, 6), (6, 7, 5, 4)
PLAIN = {
    "dense": (SOUND, lambda: L.Dense(5, "gelu")),
    "contrast": (PICTURE, lambda: L.AutoContrast(value_range=(-1, 3))),
    "conv2d_same": (PICTURE, lambda: L.Conv2D(8, (3, 4), 2, "same", activation="relu")),
    "conv2d_dilated": (PICTURE, lambda: L.Conv2D(6, 3, dilation_rate=2, groups=2, use_bias=False)),
    "conv1d_causal": (SOUND, lambda: L.Conv1D(5, 3, padding="causal", dilation_rate=2, activation="swish")),
    "conv3d": (VOLUME, lambda: L.Conv3D(5, (2, 3, 2), (1, 2, 1), "same")),
    "transposed2d": (PICTURE, lambda: L.Conv2DTranspose(5, 3, 2, "same")),
    "transposed2d_valid": (PICTURE, lambda: L.Conv2DTranspose(5, (4, 2), (2, 3))),
    "transposed1d": (SOUND, lambda: L.Conv1DTranspose(5, 4, 2, "same")),
    "transposed3d": (VOLUME, lambda: L.Conv3DTranspose(3, 3, 2, "same")),
    "depthwise2d": (PICTURE, lambda: L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2)),
    "depthwise1d": (SOUND, lambda: L.DepthwiseConv1D(3, padding="same", activation="tanh")),
    "separable2d": (PICTURE, lambda: L.SeparableConv2D(7, 3, padding="same", depth_multiplier=2)),
    "separable1d": (SOUND, lambda: L.SeparableConv1D(7, 3)),
    "max2d": (PICTURE, lambda: L.MaxPooling2D(3, 2, "same")),
    "average2d": (PICTURE, lambda: L.AveragePooling2D((3, 2), (2, 2), "same")),
    "max1d": (SOUND, lambda: L.MaxPooling1D(3)),
    "average3d": (VOLUME, lambda: L.AveragePooling3D(2)),
    "global_average2d": (PICTURE, lambda: L.GlobalAveragePooling2D(keepdims=True)),
    "global_max1d": (SOUND, lambda: L.GlobalMaxPooling1D()),
    "global_max3d": (VOLUME, lambda: L.GlobalMaxPooling3D()),
    "batch": (PICTURE, lambda: L.BatchNormalization()),
    "batch_axis": (PICTURE, lambda: L.BatchNormalization(axis=1, scale=False, epsilon=0.01)),
    "layer": (PICTURE, lambda: L.LayerNormalization()),
    "layer_axes": (PICTURE, lambda: L.LayerNormalization(axis=[1, 3], center=False)),
    "group": (PICTURE, lambda: L.GroupNormalization(3)),
    "group_axis": (PICTURE, lambda: L.GroupNormalization(-1, axis=2)),
    "unit": (PICTURE, lambda: L.UnitNormalization(axis=[1, 2])),
    "rms": (SOUND, lambda: L.RMSNormalization()),
    "rescaling": (PICTURE, lambda: L.Rescaling(1 / 127.5, -1.0)),
    "normalization": (PICTURE, lambda: L.Normalization(mean=[0.1] * 6, variance=[0.5, 1, 2, 3, 4, 5])),
    "normalization_all": (PICTURE, lambda: L.Normalization(axis=None, mean=0.2, variance=2.0, invert=True)),
    "relu": (SOUND, lambda: L.ReLU(1.5, 0.1, 0.2)),
    "leaky": (SOUND, lambda: L.LeakyReLU(0.17)),
    "elu": (SOUND, lambda: L.ELU(0.7)),
    "prelu": (PICTURE, lambda: L.PReLU(shared_axes=[1, 2])),
    "prelu_full": (PICTURE, lambda: L.PReLU()),
    "softmax_axis": (PICTURE, lambda: L.Softmax(axis=1)),
    "softmax_axes": (PICTURE, lambda: L.Softmax(axis=(1, 2))),
    "flatten": (PICTURE, lambda: L.Flatten()),
    "reshape": (PICTURE, lambda: L.Reshape((-1, 12))),
    "permute": (PICTURE, lambda: L.Permute((3, 1, 2))),
    "padding2d": (PICTURE, lambda: L.ZeroPadding2D(((1, 2), (0, 3)))),
    "padding1d": (SOUND, lambda: L.ZeroPadding1D((2, 1))),
    "padding3d": (VOLUME, lambda: L.ZeroPadding3D(2)),
    "cropping2d": (PICTURE, lambda: L.Cropping2D(((1, 2), (0, 3)))),
    "cropping3d": (VOLUME, lambda: L.Cropping3D((1, 2, 1))),
    "nearest": (PICTURE, lambda: L.UpSampling2D((2, 3))),
    "bilinear": (PICTURE, lambda: L.UpSampling2D((2, 3), interpolation="bilinear")),
    "upsampling1d": (SOUND, lambda: L.UpSampling1D(3)),
    "upsampling3d": (VOLUME, lambda: L.UpSampling3D((1, 2, 2))),
    "resizing": (PICTURE, lambda: L.Resizing(20, 17)),
    "center_crop": (PICTURE, lambda: L.CenterCrop(6, 7)),
    "einsum": (SOUND, lambda: L.EinsumDense("abc,cde->abde", output_shape=(None, 3, 4), bias_axes="de")),
    "lstm": (SOUND, lambda: L.LSTM(5)),
    "lstm_backwards": (SOUND, lambda: L.LSTM(5, return_sequences=True, go_backwards=True)),
    "lstm_hard": (SOUND, lambda: L.LSTM(5, "relu", "hard_sigmoid", return_sequences=True)),
    "lstm_gelu": (SOUND, lambda: L.LSTM(5, "gelu", use_bias=False)),
    "gru": (SOUND, lambda: L.GRU(5, return_sequences=True)),
    "gru_before": (SOUND, lambda: L.GRU(5, reset_after=False)),
    "gru_swish": (SOUND, lambda: L.GRU(5, "swish", go_backwards=True, return_sequences=True)),
    "gru_before_swish": (SOUND, lambda: L.GRU(5, "swish", reset_after=False)),
    "simple": (SOUND, lambda: L.SimpleRNN(5, use_bias=False)),
    "simple_mish": (SOUND, lambda: L.SimpleRNN(5, "mish")),
    "rnn_cell": (SOUND, lambda: L.RNN(L.GRUCell(4), return_sequences=True)),
    "rnn_stacked": (SOUND, lambda: L.RNN([L.LSTMCell(4), L.GRUCell(5), L.SimpleRNNCell(3)], return_sequences=True)),
    "both": (SOUND, lambda: L.Bidirectional(L.LSTM(4, return_sequences=True))),
    "both_sum": (SOUND, lambda: L.Bidirectional(L.GRU(4), merge_mode="sum")),
    "both_average": (SOUND, lambda: L.Bidirectional(L.SimpleRNN(4, return_sequences=True), merge_mode="ave")),
    "time_dense": (PICTURE, lambda: L.TimeDistributed(L.Dense(3, "softmax"))),
    "time_conv": (VOLUME, lambda: L.TimeDistributed(L.Conv2D(3, 3, padding="same"))),
    "time_pool": (VOLUME, lambda: L.TimeDistributed(L.GlobalAveragePooling2D())),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_one_layer(name: str, tmp_path: Path) -> None:
    shape, make = PLAIN[name]
    agree(keras.Sequential([keras.Input(shape), make()]), [sample(2, *shape)], tmp_path)


@pytest.mark.parametrize("first", ["conv", "pool", "batch", "flatten", "up", "global", "pad"])
def test_channels_first(first: str, tmp_path: Path) -> None:
    cf: dict[str, Any] = {"data_format": "channels_first"}
    part = {
        "conv": lambda: L.Conv2D(4, 3, 2, "same", activation="softmax", **cf),
        "pool": lambda: L.MaxPooling2D(3, 2, "same", **cf),
        "batch": lambda: L.BatchNormalization(axis=1),
        "flatten": lambda: L.Flatten(**cf),
        "up": lambda: L.UpSampling2D(2, interpolation="bilinear", **cf),
        "global": lambda: L.GlobalMaxPooling2D(**cf),
        "pad": lambda: L.ZeroPadding2D(2, **cf),
    }[first]
    agree(keras.Sequential([keras.Input((3, 11, 8)), part()]), [sample(2, 3, 11, 8)], tmp_path)


ACTIVATIONS = [
    "relu", "relu6", "sigmoid", "hard_sigmoid", "tanh", "softmax", "log_softmax", "softplus", "softsign", "elu",
    "selu", "celu", "exponential", "silu", "gelu", "mish", "leaky_relu", "hard_silu", "hard_tanh", "hard_shrink",
    "soft_shrink", "tanh_shrink", "log_sigmoid", "squareplus", "sparse_plus", "sparse_sigmoid", "linear",
]  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, tmp_path: Path) -> None:
    agree(keras.Sequential([keras.Input((9,)), L.Activation(name)]), [3 * sample(2, 9)], tmp_path)


@pytest.mark.parametrize("inner", ["lstm", "gru", "both", "both_last", "simple", "pool"])
def test_masks(inner: str, tmp_path: Path) -> None:
    part = {
        "lstm": lambda: L.LSTM(5),
        "gru": lambda: L.GRU(5, return_sequences=True),
        "simple": lambda: L.SimpleRNN(5, return_sequences=True, zero_output_for_mask=True),
        "both": lambda: L.Bidirectional(L.LSTM(4, return_sequences=True)),
        "both_last": lambda: L.Bidirectional(L.GRU(4)),
        "pool": lambda: L.GlobalAveragePooling1D(),
    }[inner]
    model = keras.Sequential([keras.Input((12,), dtype="int32"), L.Embedding(7, 6, mask_zero=True), part()])
    agree(model, [tokens(3, 12)], tmp_path)
    x = sample(2, 9, 4)
    x[0, 2] = x[1, 7:] = -1
    agree(keras.Sequential([keras.Input((9, 4)), L.Masking(-1.0), part(), L.Dense(3)]), [x], tmp_path)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_masked_layers_are_one_operator(kind: str, tmp_path: Path) -> None:
    """Steps left out anywhere, all of them, or none; forwards, backwards, from given states."""
    ids, seen = keras.Input((6,), dtype="int32"), keras.Input((6,), dtype="bool")
    states = [keras.Input((5,)) for _ in range(2 if kind == "LSTM" else 1)]
    x = L.Embedding(4, 3, mask_zero=True)(ids)
    make = getattr(L, kind)
    outputs = [
        *make(5, return_sequences=True, return_state=True)(x, initial_state=states),
        make(5, return_sequences=True, go_backwards=True)(x),
        make(5, go_backwards=True)(x),
        make(5, return_sequences=True, zero_output_for_mask=True)(x),
        *make(5, return_sequences=True, return_state=True)(x, initial_state=states, mask=seen),
    ]
    rows = [[1, 2, 3, 1, 2, 3], [0, 0, 0, 0, 0, 0], [0, 1, 0, 2, 3, 0], [1, 0, 0, 0, 0, 2], [1, 2, 0, 0, 0, 0]]
    given = [sample(5, 5, seed=k) for k in range(len(states))]
    ids_given = np.array(rows, np.int32)
    agree(keras.Model([ids, seen, *states], outputs), [ids_given, ids_given != 0, *given], tmp_path)
    assert "Scan" not in formats.read([tmp_path / "model.keras"]).kinds


def test_joined_models(tmp_path: Path) -> None:
    a, b = keras.Input((9, 6), name="a"), keras.Input((9, 6), name="b")
    inner_in = keras.Input((9, 6))
    inner = keras.Model(inner_in, L.BatchNormalization()(L.Conv1D(6, 3, padding="same")(inner_in)), name="inner")
    tower = keras.Sequential([L.Dense(6, "relu"), L.BatchNormalization(), L.Dense(6)], name="tower")
    shared = L.Dense(6, "tanh")
    x, y = tower(inner(a)), tower(inner(shared(b)))
    z = shared(a)
    merged = [
        L.Add()([x, y, z]), L.Subtract()([x, y]), L.Multiply()([x, y]), L.Average()([x, y, z]), L.Maximum()([x, y]),
        L.Minimum()([x, z]), L.Concatenate(axis=1)([x, y]), L.Dot((2, 2), normalize=True)([x, y]),
        L.Attention(use_scale=True)([x, y]), L.AdditiveAttention()([x, y, z]),
        L.Attention(score_mode="concat")([x, y], use_causal_mask=True),
        L.MultiHeadAttention(2, 5)(x, y),
        L.MultiHeadAttention(3, 4, value_dim=6, use_bias=False)(
            x, x, use_causal_mask=True
        ),
        L.Add()([x, L.GlobalMaxPooling1D()(y)]),
    ]  # fmt: skip
    agree(keras.Model([a, b], merged), [sample(2, 9, 6), sample(2, 9, 6, seed=4)], tmp_path)


def test_states_from_outside(tmp_path: Path) -> None:
    a, b = keras.Input((7, 4)), keras.Input((5, 3))
    _, h, c = L.LSTM(6, return_state=True)(a)
    y = L.LSTM(6, return_sequences=True)(b, initial_state=[h, c])
    both = L.Bidirectional(L.GRU(3, return_sequences=True, return_state=True))(y)
    agree(keras.Model([a, b], [y, *both]), [sample(2, 7, 4), sample(2, 5, 3)], tmp_path)


def test_masks_in_attention(tmp_path: Path) -> None:
    ids = keras.Input((8,), dtype="int32")
    mask = keras.Input((8, 8), dtype="bool")
    x = L.Embedding(7, 6, mask_zero=True)(ids)
    y = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 4)(x, x, attention_mask=mask)]))
    model = keras.Model([ids, mask], L.Attention()([y, x]))
    agree(model, [tokens(2, 8), np.tril(np.ones((2, 8, 8), bool))], tmp_path)


def test_free_sizes(tmp_path: Path) -> None:
    picture = keras.Input((None, None, 3))
    x = L.Conv2D(5, 3, 2, "same")(picture)
    x = L.MaxPooling2D(3, 2, "same")(x)
    x = L.Conv2DTranspose(4, 3, 2, "same")(x)
    x = L.AveragePooling2D(2, 2, "same")(L.UpSampling2D()(x))
    model = keras.Model(picture, [x, L.GlobalAveragePooling2D()(x)])
    for size in ((20, 31), (17, 22)):
        agree(model, [sample(2, *size, 3)], tmp_path)


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_categories(mode: str, tmp_path: Path) -> None:
    given = keras.Input((6,), dtype="int32")
    agree(keras.Model(given, L.CategoryEncoding(num_tokens=7, output_mode=mode)(given)), [tokens(3, 6)], tmp_path)
