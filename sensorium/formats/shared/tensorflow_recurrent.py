"""TensorFlow's fused recurrent operators: BlockLSTM and its cells, and those of cuDNN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sensorium.formats.shared.tensorflow_graph import Net, Node, operator
from sensorium.formats.shared.tensorflow_math import whole

LSTM_PARTS = 7  # i, cs, f, o, ci, co, h: what a step gives
# Gates of a cell of cuDNN in its own order, as they stand in that of ONNX.
ORDERS = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}


def _lstm_step(net: Net, node: Node, x: str, memory: str, h: str, given: dict[str, str]) -> list[str]:
    """One step of a cell with peepholes: what `LSTMBlockCell` gives, in its order."""
    newer = node.op == "BlockLSTMV2"
    gates = net.op("Add", net.op("MatMul", net.op("Concat", x, h, axis=1), given["w"]), given["b"])
    # The gates stand in the order i, c, f, o; in the second version i, f, c, o.
    i, second, third, o = _split(net, gates, 4)
    c, f = (third, second) if newer else (second, third)

    def opened(gate: str, peephole: str, state: str) -> str:
        if node.get("use_peephole"):
            gate = net.op("Add", gate, net.op("Mul", state, given[peephole]))
        return net.op("Sigmoid", gate)

    if not newer:
        f = net.op("Add", f, net.number(float(node.get("forget_bias", 1.0))))
    i, f = opened(i, "wci", memory), opened(f, "wcf", memory)
    c = net.op("Tanh", c)
    memory = net.op("Add", net.op("Mul", c, i), net.op("Mul", memory, f))
    clip = float(node.get("cell_clip", 0.0 if newer else 3.0))
    if clip > 0:
        memory = net.op("Clip", memory, net.number(-clip), net.number(clip))
    o = opened(o, "wco", memory)
    shown = net.op("Tanh", memory)
    return [i, memory, f, o, c, shown, net.op("Mul", shown, o)]


def _split(net: Net, value: str, parts: int, axis: int = 1) -> list[str]:
    return list(net.graph.add("Split", value, outputs=parts, axis=axis, num_outputs=parts))


@operator("LSTMBlockCell")
def _lstm_cell(net: Net, node: Node, inputs: list[str]) -> list[str]:
    x, memory, h = inputs[:3]
    return _lstm_step(net, node, x, memory, h, dict(zip(("w", "wci", "wcf", "wco", "b"), inputs[3:])))


@operator("GRUBlockCell")
def _gru_cell(net: Net, node: Node, inputs: list[str]) -> list[str]:
    x, h, w_ru, w_c, b_ru, b_c = inputs
    both = net.op("Add", net.op("MatMul", net.op("Concat", x, h, axis=1), w_ru), b_ru)
    r, u = _split(net, net.op("Sigmoid", both), 2)
    inner = net.op("Concat", x, net.op("Mul", r, h), axis=1)
    c = net.op("Tanh", net.op("Add", net.op("MatMul", inner, w_c), b_c))
    after = net.op("Add", net.op("Mul", u, h), net.op("Mul", net.op("Sub", net.number(1.0), u), c))
    return [r, u, c, after]


@operator("BlockLSTM", "BlockLSTMV2")
def _block(net: Net, node: Node, inputs: list[str]) -> list[str]:
    """(time, batch, ...) of all that a step gives; zeros after `seq_len_max` steps."""
    longest, x, memory, h = inputs[:4]
    given = dict(zip(("w", "wci", "wcf", "wco", "b"), inputs[4:]))
    time, batch, features = net.graph.shape(x)
    units = net.graph.shape(h)[1]

    def step(now: str, states: list[str]) -> tuple[list[str], list[str]]:
        parts = _lstm_step(net, node, now, states[0], states[1], given)
        return [parts[1], parts[6]], parts

    _, found = _scan(net, x, [memory, h], [units, units], (time, batch, features), step, [units] * LSTM_PARTS)
    length = net.op("Reshape", net.op("Shape", x, start=0, end=1), net.ints([]))
    steps = net.op("Range", whole(net, 0), length, whole(net, 1))
    live = net.op("Less", net.op("Reshape", steps, net.ints([-1, 1, 1])), longest)
    return [net.op("Where", live, part, net.number(0.0)) for part in found]


def _scan(
    net: Net,
    x: str,
    states: list[str],
    sizes: list[int],
    shape: tuple[int, int, int],
    step: Callable[[str, list[str]], tuple[list[str], list[str]]],
    widths: list[int],
) -> tuple[list[str], list[str]]:
    """The last states, and what each step gives, over the first axis of x (time, batch, features)."""
    time, batch, features = shape
    outer = net.graph
    body = outer.subgraph()
    names = [body.input(body.fresh(f"state_{i}"), (batch, n), free={0: "batch"}) for i, n in enumerate(sizes)]
    now = body.input(body.fresh("step"), (batch, features), free={0: "batch"})
    net.graph = body
    after, given = step(now, names)
    for value in [*after, *given]:
        kept = net.op("Identity", value)
        body.output(kept, kept)
    net.graph = outer
    found = outer.add("Scan", *states, x, outputs=len(after) + len(given), body=body, num_scan_inputs=1)
    for value, size in zip(found, sizes):
        outer.tell(value, (batch, size))
    for value, size in zip(found[len(sizes) :], widths):
        outer.tell(value, (time, batch, size))
    return list(found[: len(sizes)]), list(found[len(sizes) :])


@operator("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3")
def _cudnn(net: Net, node: Node, inputs: list[str]) -> list[str]:
    """Layers of LSTM, GRU or plain cells, in one or both directions.

    The parameters are one flat array: for each layer and direction the matrices of the input's gates and of the
    state's, each (units, features); then in the same order the two biases of each gate.
    """
    x, states, memories, parameters = inputs[:4]
    kind, both = str(node.get("rnn_mode", "lstm")), node.get("direction") == "bidirectional"
    if kind not in ORDERS or node.get("input_mode", "linear_input") not in ("linear_input", "auto_select"):
        raise node.fault(f"of the kind {kind}, {node.get('input_mode')} is not converted")
    if node.op == "CudnnRNNV3" and node.get("num_proj", 0):
        raise node.fault("with a projection is not converted")
    order, sides = ORDERS[kind], 2 if both else 1
    if not node.get("time_major", True):
        x = net.op("Transpose", x, perm=[1, 0, 2])
        if node.op == "CudnnRNNV3":  # its states turn with it
            states, memories = (net.op("Transpose", s, perm=[1, 0, 2]) for s in (states, memories))
    count, _, units = net.graph.shape(states)
    features, layers = net.graph.shape(x)[2], count // sides
    lengths = net.op("Cast", inputs[4], to=6) if node.op == "CudnnRNNV3" else ""
    at, biases = 0, []
    matrices: list[list[list[str]]] = []  # layer and direction, those of the input and of the state, gate

    def take(rows: int, columns: int) -> str:
        nonlocal at
        found = net.op("Slice", parameters, net.ints([at]), net.ints([at + rows * columns]), net.ints([0]))
        at += rows * columns
        return net.op("Reshape", found, net.ints([rows, columns]))

    for layer in range(layers):
        wide = features if layer == 0 else units * sides
        for _ in range(sides):
            matrices.append([[take(units, n) for _ in order] for n in (wide, units)])
    for _ in range(layers * sides):
        biases.append([[take(1, units) for _ in order] for _ in range(2)])
    if net.graph.sizes(parameters) != (at,):
        raise node.fault(f"needs {at} parameters; it has {list(net.graph.sizes(parameters) or ['?'])}")

    def together(parts: list[list[str]], axis: int) -> str:
        return net.op("Concat", *[part[gate] for part in parts for gate in order], axis=axis)

    ends: list[list[str]] = [[], []]
    for layer in range(layers):
        places = range(layer * sides, (layer + 1) * sides)
        w, r = (
            net.op("Concat", *[net.op("Unsqueeze", together([matrices[p][side]], 0), net.ints([0])) for p in places],
                   axis=0)
            for side in (0, 1)
        )  # fmt: skip
        b = net.op("Concat", *[together(biases[p], 1) for p in places], axis=0)

        def own(value: str, places: range = places) -> str:
            return net.op("Slice", value, net.ints([places[0]]), net.ints([places[-1] + 1]), net.ints([0]))

        given = [x, w, r, b, lengths, own(states), *([own(memories)] if kind == "lstm" else [])]
        settings: dict[str, Any] = {"hidden_size": units, "direction": "bidirectional" if both else "forward"}
        if kind == "gru":
            settings["linear_before_reset"] = 1
        if kind == "rnn_relu":
            settings["activations"] = ["Relu"] * sides
        op = {"lstm": "LSTM", "gru": "GRU"}.get(kind, "RNN")
        y, *after = net.graph.add(op, *given, outputs=3 if kind == "lstm" else 2, **settings)
        x = net.op("Transpose", y, perm=[0, 2, 1, 3])
        x = net.op("Reshape", x, net.ints([0, 0, units * sides]))
        for end, value in zip(ends, after):
            end.append(value)
    h, c = (net.op("Concat", *end, axis=0) if end else memories for end in ends)
    if not node.get("time_major", True):
        x = net.op("Transpose", x, perm=[1, 0, 2])
        if node.op == "CudnnRNNV3":
            h, c = (net.op("Transpose", s, perm=[1, 0, 2]) for s in (h, c))
    reserved = net.graph.constant(np.zeros(0, np.float32), "reserved")
    return [x, h, c, reserved, reserved]
