"""The RNN operator: all layers and directions of an LSTM, a GRU or a plain network, its parameters in one row."""

from __future__ import annotations

import numpy as np

from sensorium.formats.mxnet.call import Call, Misfit, operator

# Gates in ONNX's order, as places in MXNet's: LSTM input, forget, cell, output; GRU reset, update, new.
GATES = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn_relu": [0], "rnn_tanh": [0]}
OPS = {"lstm": "LSTM", "gru": "GRU", "rnn_relu": "RNN", "rnn_tanh": "RNN"}


def input_size(length: int, mode: str, hidden: int, layers: int, directions: int) -> int:
    """The width of the input that a row of parameters is for; 0 where there is none that fits."""
    if min(hidden, layers, directions) < 1:
        return 0
    gates = len(GATES[mode]) * hidden * directions
    rest = length - layers * gates * (hidden + 2) - (layers - 1) * gates * hidden * directions
    return rest // gates if rest > 0 and rest % gates == 0 else 0


@operator("RNN", "_npx_rnn")
def recurrent(call: Call) -> tuple[str, ...]:
    mode = call.text("mode", None, tuple(GATES))
    hidden, layers = call.whole("state_size"), call.whole("num_layers")
    directions = 2 if call.flag("bidirectional") else 1
    for key in ("projection_size", "lstm_state_clip_min", "lstm_state_clip_max", "lstm_state_clip_nan"):
        call.refuse(key)
    call.used.add("p")  # dropout
    lengths = call.flag("use_sequence_length")
    wanted = call.flag("state_outputs")
    states = 2 if mode == "lstm" else 1
    call.expect(2, 2 + states + lengths)
    row = call.stored(call.input(1), "row of parameters").ravel()
    if call.rank(call.x) != 3:
        raise call.fault(f"an input with {call.rank(call.x)} axes")
    width = input_size(len(row), mode, hidden, layers, directions)
    if width < 1 or layers > 1000:
        raise call.fault(f"{len(row)} parameters do not fit {layers} layers of {hidden}")
    if call.shape(call.x)[2] != width:
        raise Misfit(
            str(call.fault(f"an input of width {call.shape(call.x)[2]}, not {width}")), call.shape(call.x)[2], width
        )
    sequence = call.cast(call.inputs[-1], np.int32) if lengths else ""
    begin = [_state(call, i, layers * directions, hidden) for i in range(states)]
    gates, order = len(GATES[mode]), GATES[mode]
    at, weights, biases = 0, [], []

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return row[at - count : at].reshape(shape)

    for layer in range(layers):
        size = width if layer == 0 else hidden * directions
        weights.append([(take(gates, hidden, size), take(gates, hidden, hidden)) for _ in range(directions)])
    for _ in range(layers):
        biases.append([(take(gates, hidden), take(gates, hidden)) for _ in range(directions)])
    x, last, cells = call.x, [], []
    kind = {"activations": ["Relu"] * directions} if mode == "rnn_relu" else {}
    kind |= {"linear_before_reset": 1} if mode == "gru" else {}  # type: ignore[dict-item]
    for layer in range(layers):
        w = np.stack([a[order].reshape(gates * hidden, -1) for a, _ in weights[layer]])
        r = np.stack([b[order].reshape(gates * hidden, -1) for _, b in weights[layer]])
        b = np.stack([np.concatenate([p[order].ravel(), q[order].ravel()]) for p, q in biases[layer]])
        first = [_part(call, value, layer * directions, directions) for value in begin]
        found = call.add(
            OPS[mode], x, *(call.constant(a) for a in (w, r, b)), sequence, *first, outputs=1 + states,
            hidden_size=hidden, direction="bidirectional" if directions == 2 else "forward", **kind,
        )  # fmt: skip
        # (time, directions, batch, hidden) to (time, batch, directions * hidden)
        x = call.add(
            "Reshape", call.add("Transpose", found[0], perm=[0, 2, 1, 3]), call.ints(0, 0, directions * hidden)
        )
        last.append(found[1])
        cells.append(found[-1])
    if not wanted:
        return (x,)
    outputs = [x, call.add("Concat", *last, axis=0) if layers > 1 else last[0]]
    if states == 2:
        outputs.append(call.add("Concat", *cells, axis=0) if layers > 1 else cells[0])
    return tuple(outputs)


def _state(call: Call, index: int, rows: int, hidden: int) -> str:
    """A first state of (layers * directions, batch, hidden); "" for zeros."""
    if len(call.inputs) < 3 + index:
        return ""
    value = call.input(2 + index)
    stored = call.graph.constants.get(value)
    if stored is not None and not stored.any():
        return ""
    if call.rank(value) != 3 or call.shape(value)[0] != rows or call.shape(value)[2] != hidden:
        raise call.fault(f"a first state of shape {list(call.shape(value))} for {rows} layers of {hidden}")
    if stored is None:
        return value
    shape = call.add("Concat", call.ints(rows), call.dims(call.x, 1, 2), call.ints(hidden), axis=0)
    return str(call.add("Expand", value, shape))


def _part(call: Call, value: str, start: int, count: int) -> str:
    if not value:
        return ""
    return str(call.add("Slice", value, call.ints(start), call.ints(start + count), call.ints(0)))
