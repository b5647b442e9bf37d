"""OptimizedRNNStack: layers of cuDNN's LSTM, GRU or plain recurrence with their weights in one packed array.

The layout is that of cuDNN 5 (and of CNTK's own converter): for each layer, for each direction, the input weights of
all gates and then the recurrent ones; behind all layers the two biases of each in the same order. The gates of an LSTM
come as input, forget, candidate, output; those of a GRU as reset, update, candidate.
"""

from __future__ import annotations

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.cntk.build import Builder, Value
from sensorium.formats.cntk.network import Function

# ONNX operator, the gates of cuDNN in ONNX's order, activation.
KINDS: dict[str, tuple[str, list[int], str | None]] = {
    "lstm": ("LSTM", [0, 3, 1, 2], None),
    "gru": ("GRU", [1, 0, 2], None),
    "rnnReLU": ("RNN", [0], "Relu"),
    "rnnTanh": ("RNN", [0], "Tanh"),
}


def rnn_stack(b: Builder, f: Function, x: list[Value]) -> Value:
    kind = f.attributes.get("recurrentOp")
    hidden, layers = f.attributes.get("hiddenSize"), f.attributes.get("numLayers")
    if kind not in KINDS:
        raise InputError(f"the recurrence '{kind}' is not one that is known")
    if not isinstance(hidden, int) or not isinstance(layers, int) or not 0 < hidden < 1 << 20 or not 0 < layers < 1000:
        raise InputError(f"{layers} layers of {hidden}")
    value, packed = x[0], b.known(x[1])
    if packed is None or value.dynamic != 2 or len(b.static(value)) != 1:
        raise InputError("its input is no sequence of vectors, or its weights are not stored")
    op, order, activation = KINDS[kind]
    ways = 2 if f.attributes.get("bidirectional") else 1
    flat = packed.reshape(-1)
    size, gates = b.static(value)[0], len(order)
    sizes = [size] + [hidden * ways] * (layers - 1)
    needed = sum(ways * gates * hidden * (n + hidden + 2) for n in sizes)
    if needed != flat.size:
        raise InputError(f"its weights are {flat.size} values, its shape needs {needed}")
    at = 0

    def take(rows: int, columns: int) -> np.ndarray:
        nonlocal at
        part = flat[at : at + rows * columns * gates].reshape(gates, rows, columns)
        at += part.size
        return part[order].reshape(gates * rows, columns)

    weights = [[(take(hidden, n), take(hidden, hidden)) for _ in range(ways)] for n in sizes]
    biases = [[(take(hidden, 1), take(hidden, 1)) for _ in range(ways)] for _ in sizes]
    g = b.graph
    name = g.add("Transpose", value.name, perm=[1, 0, 2])
    for layer in range(layers):
        w = np.stack([pair[0] for pair in weights[layer]])
        r = np.stack([pair[1] for pair in weights[layer]])
        bias = np.stack([np.concatenate(pair).reshape(-1) for pair in biases[layer]])
        outputs = g.add(
            op,
            name,
            g.constant(w, f"{f.label}.{layer}.w"),
            g.constant(r, f"{f.label}.{layer}.r"),
            g.constant(bias, f"{f.label}.{layer}.b"),
            outputs=2,
            hidden_size=hidden,
            direction="bidirectional" if ways == 2 else "forward",
            activations=[activation] * ways if activation else None,
            linear_before_reset=1 if op == "GRU" else None,
        )
        turned = g.add("Transpose", outputs[0], perm=[0, 2, 1, 3])  # time, batch, way, feature
        name = g.add("Reshape", turned, g.ints(0, 0, ways * hidden))
    return Value(g.add("Transpose", name, perm=[1, 0, 2]), 2)
