"""Layers of Keras with a memory: LSTM, GRU and SimpleRNN, cells, both directions, layers over time.

With the usual activations they become the ONNX operators (with a mask, over the steps that it lets through); else a
Scan whose body is the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.formats.shared.keras.base import END, Layer, Net, Value, activate, activation_name, flatten, layer
from sensorium.formats.shared.keras.layers.conv_recurrent import conv_lstm
from sensorium.formats.shared.keras.layers.inputs import one
from sensorium.formats.shared.keras.weights import Weights

Extra = Mapping[str, Any]
KINDS = ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
# Keras 1 keeps each gate by itself: where the gates of Keras 2 are in its list.
OLD_ORDER = {"LSTM": (0, 6, 3, 9), "GRU": (0, 3, 6)}
ONNX = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "hard_sigmoid": "HardSigmoid", "linear": "Affine",
        "elu": "Elu", "softsign": "Softsign", "softplus": "Softplus"}  # fmt: skip
ALPHA = {"HardSigmoid", "Affine", "Elu"}
BETA = {"HardSigmoid", "Affine"}


@dataclass
class Cell:
    """A cell: the sizes of its states, its step, and what it is as an ONNX operator (None: it is not)."""

    sizes: list[int]
    step: Callable[[Net, str, list[str]], tuple[str, list[str]]]
    onnx: Callable[[Net, str, list[str], bool, str], tuple[str, list[str]]] | None


def _matrices(part: Layer, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    units, gates = part.positive("units"), GATES[kind]
    bias = part.flag("use_bias", True)
    stored = part.weights.arrays()
    if kind in OLD_ORDER and len(stored) == 3 * gates:
        order = OLD_ORDER[kind]
        stored = part.arrays(3 * gates)
        arrays = [np.concatenate([stored[i + k] for i in order], -1) for k in range(3)]
    else:
        arrays = part.arrays(3 if bias else 2)
    part.shaped(arrays[0], None, gates * units)
    part.shaped(arrays[1], units, gates * units)
    return arrays[0], arrays[1], arrays[2] if len(arrays) > 2 else None


def make_cell(net: Net, part: Layer) -> Cell:
    """The cell that a layer or a cell layer describes.

    Raises:
        InputError: it is not known.
    """
    kind = part.kind.removesuffix("Cell").removeprefix("CuDNN")
    if part.kind == "StackedRNNCells":
        return _stacked(net, part)
    if kind not in GATES:
        raise part.fault("no such recurrent cell is known")
    units = part.positive("units")
    reset_after = kind == "GRU" and (part.flag("reset_after") or part.kind.startswith("CuDNN"))
    if part.kind.startswith("CuDNN"):
        kernel, recurrent, bias = _cudnn(part, kind)
        part.config = {**part.config, "activation": "tanh", "recurrent_activation": "sigmoid"}
    else:
        kernel, recurrent, bias = _matrices(part, kind)
    if bias is not None:
        part.shaped(bias, *([2] if reset_after else []), GATES[kind] * units)
    names = [activation_name(part, "activation", "tanh")]
    if kind != "SimpleRNN":
        default = "hard_sigmoid" if net.dialect.version < 3 else "sigmoid"
        names.insert(0, activation_name(part, "recurrent_activation", default))

    def act(inner: Net, value: str) -> str:
        return activate(inner, part, value, "activation", "tanh")

    def gate(inner: Net, value: str) -> str:
        return activate(inner, part, value, "recurrent_activation", names[0])

    step = _steps(part, kind, units, kernel, recurrent, bias, reset_after, act, gate)
    ready = all(isinstance(n, str) and n in ONNX for n in names)
    operator = _operator(part, kind, units, kernel, recurrent, bias, reset_after, names) if ready else None
    return Cell([units] * (2 if kind == "LSTM" else 1), step, operator)


def _cudnn(part: Layer, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The kernels of cuDNN's layers are stored turned around, gate by gate."""
    units, gates = part.positive("units"), GATES[kind]
    kernel, recurrent, bias = part.arrays(3)
    part.shaped(kernel, None, gates * units)
    part.shaped(recurrent, units, gates * units)
    part.shaped(bias, 2 * gates * units)
    turned = [np.ascontiguousarray(k).reshape(units, -1).T for k in np.split(kernel, gates, 1)]
    square = [k.T for k in np.split(recurrent, gates, 1)]
    both = bias.reshape(2, -1)
    return np.concatenate(turned, 1), np.concatenate(square, 1), both if kind == "GRU" else both.sum(0)


def _steps(
    part: Layer, kind: str, units: int, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray | None,
    reset_after: bool, act: Callable[[Net, str], str], gate: Callable[[Net, str], str],
) -> Callable[[Net, str, list[str]], tuple[str, list[str]]]:  # fmt: skip
    first = None if bias is None else (bias[0] if bias.ndim == 2 else bias)

    def pieces(net: Net, value: str, count: int) -> list[str]:
        return [net.part(value, 1, i * units, (i + 1) * units) for i in range(count)]

    def simple(net: Net, x: str, states: list[str]) -> tuple[str, list[str]]:
        y = act(net, net.op("Add", net.dense(x, kernel, first), net.dense(states[0], recurrent, None)))
        return y, [y]

    def lstm(net: Net, x: str, states: list[str]) -> tuple[str, list[str]]:
        i, f, c, o = pieces(net, net.op("Add", net.dense(x, kernel, first), net.dense(states[0], recurrent, None)), 4)
        memory = net.op("Add", net.op("Mul", gate(net, f), states[1]), net.op("Mul", gate(net, i), act(net, c)))
        y = net.op("Mul", gate(net, o), act(net, memory))
        return y, [y, memory]

    def gru(net: Net, x: str, states: list[str]) -> tuple[str, list[str]]:
        h = states[0]
        xs = pieces(net, net.dense(x, kernel, first), 3)
        if reset_after:
            hs = pieces(net, net.dense(h, recurrent, None if bias is None else bias[1]), 3)
            r = gate(net, net.op("Add", xs[1], hs[1]))
            new = act(net, net.op("Add", xs[2], net.op("Mul", r, hs[2])))
        else:
            hs = pieces(net, net.dense(h, recurrent[:, : 2 * units], None), 2)
            r = gate(net, net.op("Add", xs[1], hs[1]))
            new = act(net, net.op("Add", xs[2], net.dense(net.op("Mul", r, h), recurrent[:, 2 * units :], None)))
        z = gate(net, net.op("Add", xs[0], hs[0]))
        rest = net.op("Mul", net.op("Sub", net.number(1.0), z), new)
        y = net.op("Add", net.op("Mul", z, h), rest)
        return y, [y]

    return {"SimpleRNN": simple, "LSTM": lstm, "GRU": gru}[kind]


def _operator(
    part: Layer, kind: str, units: int, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray | None,
    reset_after: bool, names: list[str],
) -> Callable[[Net, str, list[str], bool, str], tuple[str, list[str]]]:  # fmt: skip
    order = {"LSTM": [0, 3, 1, 2], "GRU": [0, 1, 2], "SimpleRNN": [0]}[kind]  # ONNX has i, o, f, c

    def rows(matrix: np.ndarray) -> np.ndarray:
        parts = np.split(matrix, GATES[kind], -1)
        return np.concatenate([parts[i] for i in order], -1).T[None]

    functions = [ONNX[n] for n in names]
    if kind == "LSTM":
        functions.append(functions[1])

    def run(net: Net, x: str, states: list[str], reverse: bool, lengths: str) -> tuple[str, list[str]]:
        slope = 1 / 6 if net.dialect.version == 3 else 0.2
        alpha = [slope if f == "HardSigmoid" else 1.0 for f in functions if f in ALPHA]
        beta = [0.5 if f == "HardSigmoid" else 0.0 for f in functions if f in BETA]
        both = np.zeros((1, 2 * GATES[kind] * units), np.float32)
        if bias is not None:
            halves = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
            both = np.concatenate([rows(half[None])[0].T for half in halves], 1)
        initial = [net.op("Unsqueeze", s, net.ints([0])) for s in states]
        found = net.graph.add(
            "RNN" if kind == "SimpleRNN" else kind,
            net.op("Transpose", x, perm=[1, 0, 2]),
            net.array(rows(kernel), f"{part.name}.W"),
            net.array(rows(recurrent), f"{part.name}.R"),
            net.array(both, f"{part.name}.B"),
            lengths,
            *(initial or [""]),
            outputs=3 if kind == "LSTM" else 2,
            hint=part.name,
            hidden_size=units,
            direction="reverse" if reverse else "forward",
            activations=functions,
            activation_alpha=alpha or None,
            activation_beta=beta or None,
            linear_before_reset=1 if reset_after else None,
        )
        y = net.op("Transpose", net.op("Squeeze", found[0], net.ints([1])), perm=[1, 0, 2])
        return y, [net.op("Squeeze", s, net.ints([0])) for s in found[1:]]

    return run


def _stacked(net: Net, part: Layer) -> Cell:
    """Cells one upon the other, run as one."""
    entries = part.get("cells", [])
    if not isinstance(entries, list) or not entries:
        raise part.fault("has no cells")
    part.used.add("reverse_state_order")
    if part.config.get("reverse_state_order"):
        raise part.fault("reverse_state_order is not converted")
    layers = [
        Layer(str(e["class_name"]), f"{part.name}.{i}", dict(e["config"]), part.weights) for i, e in enumerate(entries)
    ]
    counts = [3 if inner.flag("use_bias", True) else 2 for inner in layers]
    cells = []
    for inner, weights in zip(layers, part.weights.cells([inner.kind for inner in layers], counts)):
        inner.weights = weights
        cells.append(make_cell(net, inner))
        inner.finish()

    def step(inner: Net, x: str, states: list[str]) -> tuple[str, list[str]]:
        after: list[str] = []
        at = 0
        for cell in cells:
            x, new = cell.step(inner, x, states[at : at + len(cell.sizes)])
            at += len(cell.sizes)
            after += new
        return x, after

    return Cell([size for cell in cells for size in cell.sizes], step, None)


def _zeros(net: Net, x: str, size: int) -> str:
    shape = net.joined(net.sizes(x, 0, 1), net.ints([size]))
    value = net.op("ConstantOfShape", shape, value=np.zeros(1, np.float32))
    return value


def scan(
    net: Net, cell: Cell, x: str, states: list[str], mask: str | None, reverse: bool, zero: bool, width: int
) -> tuple[str, list[str]]:
    """Run a cell over time, as a Scan. A masked step keeps the states, and repeats the output (or gives zeros)."""
    batch, time, features = net.graph.shape(x)
    start = states or [_zeros(net, x, size) for size in cell.sizes]
    scanned = [net.op("Transpose", x, perm=[1, 0, 2])]
    if mask is not None:
        start = [*start, _zeros(net, x, width)]
        scanned.append(net.op("Unsqueeze", net.op("Transpose", mask, perm=[1, 0]), net.ints([2])))
    body = net.graph.subgraph()
    inner = Net(body, net.dialect)
    names = [
        body.input(f"state_{i}", (batch, size), free={0: "batch"})
        for i, size in enumerate([*cell.sizes, *([width] if mask is not None else [])])
    ]
    now = body.input("step", (batch, features), free={0: "batch"})
    y, after = cell.step(inner, now, names[: len(cell.sizes)])
    if mask is not None:
        seen = body.input("seen", (batch, 1), np.bool_, free={0: "batch"})
        after = [inner.where(seen, new, old) for new, old in zip(after, names)]
        kept = inner.where(seen, y, names[-1])
        y = inner.where(seen, y, inner.number(0.0)) if zero else inner.op("Identity", kept)
        after.append(kept)
    for i, value in enumerate(after):
        body.output(inner.op("Identity", value), f"after_{body.fresh(str(i))}")
    body.output(inner.op("Identity", y), f"after_{body.fresh('y')}")
    direction = [1 if reverse else 0]
    found = net.graph.add(
        "Scan",
        *start,
        *scanned,
        outputs=len(after) + 1,
        body=body,
        num_scan_inputs=len(scanned),
        scan_input_directions=direction * len(scanned),
        scan_output_directions=direction,
    )
    for value, size in zip(found, [*cell.sizes, width]):
        net.graph.tell(value, (batch, size))
    net.graph.tell(found[-1], (time, batch, width))
    return net.op("Transpose", found[-1], perm=[1, 0, 2]), list(found[: len(cell.sizes)])


def packed(
    net: Net, cell: Cell, x: str, states: list[str], mask: str, reverse: bool, zero: bool
) -> tuple[str, list[str]]:  # fmt: skip
    """The same by the ONNX operator: over the steps that are seen, moved to the front; their outputs moved back."""
    assert cell.onnx is not None
    one = net.ints([1])
    seen = net.op("Cast", mask, to=7)  # (batch, time)
    count = net.op("CumSum", seen, net.graph.constant(np.array(1, np.int64), "axis"))
    total = net.op("ReduceSum", seen, one, keepdims=0)
    time = net.sizes(x, 1, 2)
    scalar = net.op("Squeeze", time, net.ints([0]))
    first, step = (net.graph.constant(np.array(n, np.int64), "index") for n in (0, 1))
    place = net.op("Range", first, scalar, step)
    key = net.where(mask, place, net.op("Add", place, time))
    _, order = net.graph.add("TopK", key, time, axis=1, largest=0, outputs=2)
    front = net.op("GatherND", x, net.op("Unsqueeze", order, net.ints([2])), batch_dims=1)
    y, after = cell.onnx(net, front, states, reverse, net.op("Cast", total, to=6))
    # A step that is not seen repeats the output of the one before it in the order of the work: zeros where none is.
    origin = net.op("Sub", count, seen if reverse else one)
    if not reverse:
        origin = net.op("Max", origin, first)
    y = net.op("GatherND", y, net.op("Unsqueeze", origin, net.ints([2])), batch_dims=1)
    none = net.number(0.0)
    begun = mask if zero else None if reverse else net.op("Greater", count, first)
    if begun is not None:
        y = net.where(net.op("Unsqueeze", begun, net.ints([2])), y, none)
    some = net.op("Unsqueeze", net.op("Greater", total, first), one)
    return y, [net.where(some, value, states[i] if states else none) for i, value in enumerate(after)]


def flipped(net: Net, value: str) -> str:
    return net.op("Slice", value, net.ints([-1]), net.ints([-END]), net.ints([1]), net.ints([-1]))


def run_layer(
    net: Net, part: Layer, x: Value, states: list[str], mask: str | None, *, reverse: bool | None = None,
    zero: bool | None = None,
) -> tuple[str, str, list[str]]:  # fmt: skip
    """A recurrent layer: its outputs in the order of time, the last one, its last states."""
    backwards = part.flag("go_backwards") if reverse is None else reverse
    zero = part.flag("zero_output_for_mask") if zero is None else zero
    part.used.update(("go_backwards", "zero_output_for_mask", "return_sequences", "return_state", "time_major"))
    if part.config.get("time_major"):
        raise part.fault("time_major is not converted")
    if part.config.get("stateful"):
        net.graph.notes.append(
            f"layer '{part.name}' keeps its state between calls in the source; here it begins with zeros"
        )
    if part.kind.startswith("ConvLSTM"):
        if mask is not None:
            raise part.fault("with a mask this is not converted")
        return conv_lstm(net, part, _cell_weights(part), x, states, backwards)
    if net.rank(x) != 3:
        raise part.fault(f"takes an input of 3 axes, not {net.rank(x)}")
    value = net.real(x.name)
    if part.kind == "RNN":
        spec = part.get("cell")
        if isinstance(spec, list):
            spec = {"class_name": "StackedRNNCells", "config": {"cells": spec}}
        if not isinstance(spec, dict) or not isinstance(spec.get("config"), dict):
            raise part.fault("has no cell")
        inner = Layer(str(spec.get("class_name")), part.name, dict(spec["config"]), part.weights.part("cell", 0, 1))
    else:
        inner = Layer(part.kind, part.name, part.config, _cell_weights(part), part.used)
    cell = make_cell(net, inner)
    if inner.config is not part.config and part.kind == "RNN":
        inner.finish()
    if states and len(states) != len(cell.sizes):
        raise part.fault(f"{len(states)} initial states instead of {len(cell.sizes)}")
    if cell.onnx is not None:
        if mask is None:
            y, after = cell.onnx(net, value, states, backwards, "")
        else:
            y, after = packed(net, cell, value, states, mask, backwards, zero)
    else:
        width = cell.sizes[-1] if part.kind == "RNN" and len(cell.sizes) > 1 else cell.sizes[0]
        y, after = scan(net, cell, value, states, mask, backwards, zero, width)
    if mask is None and cell.onnx is not None:
        last = after[0]
    else:
        end = 0 if backwards else -1
        last = net.op("Squeeze", net.part(y, 1, end, END if end else 1), net.ints([1]))
    return y, last, after


def _cell_weights(part: Layer) -> Weights:
    inner = part.weights.part("cell", 0, 1)
    return inner if inner.arrays() else part.weights


def _mask(net: Net, x: Value, extra: Extra) -> str | None:
    given = extra.get("mask")
    if isinstance(given, Value):
        return net.op("Cast", given.name, to=9)
    return x.mask


def _applied(net: Net, mask: str | None, states: list[str], extra: Extra) -> str | None:
    """The mask that the layer works with: Keras 3 leaves out one that comes with the input where states are given."""
    dropped = net.dialect.version == 3 and states and not isinstance(extra.get("mask"), Value)
    return None if dropped else mask


def _states(net: Net, inputs: list[Value], extra: Extra) -> list[str]:
    return [net.real(v.name) for v in (*inputs[1:], *flatten(extra.get("initial_state")))]


@layer(*KINDS)
def _recurrent(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Any:
    x, mask = inputs[0], _mask(net, inputs[0], extra)
    sequences, state = part.flag("return_sequences"), part.flag("return_state")
    states = _states(net, inputs, extra)
    y, last, after = run_layer(net, part, x, states, _applied(net, mask, states, extra))
    if sequences and part.flag("go_backwards"):
        y = flipped(net, y)
    result = Value(y, mask) if sequences else Value(last)
    return [result, *(Value(s) for s in after)] if state else result


@layer("Bidirectional")
def _bidirectional(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Any:
    spec = part.get("layer")
    other = part.get("backward_layer", spec)
    if not isinstance(spec, dict) or not isinstance(other, dict):
        raise part.fault("has no layer")
    merge = part.config.get("merge_mode", "concat")
    part.used.add("merge_mode")
    if merge not in ("concat", "sum", "mul", "ave", None):
        raise part.fault(f"the merge_mode '{str(merge)[:40]}' is not known")
    x, mask, states = inputs[0], _mask(net, inputs[0], extra), _states(net, inputs, extra)
    forward = Layer(str(spec["class_name"]), part.name, dict(spec["config"]), part.weights.part("forward_layer", 0, 2))
    backward = Layer(
        str(other["class_name"]), part.name, dict(other["config"]), part.weights.part("backward_layer", 1, 2)
    )
    for inner in (forward, backward):
        if inner.kind not in KINDS:
            raise part.fault(f"of a layer {inner.kind[:40]} is not converted")
    reverse = forward.flag("go_backwards")
    sequences, state = forward.flag("return_sequences"), forward.flag("return_state")
    zero = sequences if net.dialect.version == 3 or net.dialect.backend == "tf.keras" else None
    half, applied = len(states) // 2, _applied(net, mask, states, extra)
    a, a_last, a_after = run_layer(net, forward, x, states[:half], applied, reverse=reverse, zero=zero)
    b, b_last, b_after = run_layer(net, backward, x, states[half:], applied, reverse=not reverse, zero=zero)
    forward.finish()
    backward.finish()
    if sequences:
        pair = [flipped(net, a) if reverse else a, b if not reverse else flipped(net, b)]
    else:
        pair = [a_last, b_last]
    kept = mask if sequences else None
    if merge is None:
        result: list[Value] = [Value(pair[0], kept), Value(pair[1], kept)]
    else:
        op = {"concat": "Concat", "sum": "Add", "mul": "Mul", "ave": "Add"}[merge]
        y = net.op(op, *pair, **({"axis": -1} if merge == "concat" else {}))
        result = [Value(net.op("Mul", y, net.number(0.5)) if merge == "ave" else y, kept)]
    if state:
        result += [Value(s) for s in (*a_after, *b_after)]
    return result if len(result) > 1 else result[0]


@layer("TimeDistributed")
def _time_distributed(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """The layer on every step by itself: time becomes part of the batch."""
    x = one(part, inputs)
    spec = part.get("layer")
    if not isinstance(spec, dict):
        raise part.fault("has no layer")
    if net.rank(x) < 3:
        raise part.fault(f"takes an input of 3 or more axes, not {net.rank(x)}")
    shape = net.sizes(x.name)
    rest = net.sizes(x.name, 2)
    flat = net.op("Reshape", x.name, net.joined(net.ints([-1]), rest))
    y = net.apply(spec, part.weights.part("layer", 0, 1), [Value(flat)], {})
    if not isinstance(y, Value):
        raise part.fault("of a layer with several outputs is not converted")
    first = net.op("Slice", shape, net.ints([0]), net.ints([2]))
    if net.rank(y) == 1:
        return Value(net.op("Reshape", y.name, first), x.mask)
    return Value(net.op("Reshape", y.name, net.joined(first, net.sizes(y.name, 1))), x.mask)
