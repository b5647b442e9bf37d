"""TFLite's recurrent operators: LSTMs in float and 8 bits, simple ones, filters over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.tflite import schema
from sensorium.formats.tflite.build import Builder
from sensorium.formats.tflite.call import activated, need, option
from sensorium.formats.tflite.rounding import rounded, symmetric
from sensorium.formats.tflite.schema import Operator


def sequence_lstm(b: Builder, o: Operator) -> None:
    if len(o.inputs) not in (20, 24):
        raise InputError(f"has {len(o.inputs)} inputs")
    if option(o, 0, "b") != 4:
        raise InputError("another activation than tanh is not converted")
    g, major = b.graph, option(o, 3, "B")
    x = b.numbers(o.inputs[0])
    x = x if major else g.add("Transpose", x, perm=[1, 0, 2])
    y = recurrent(b, o.inputs, x, option(o, 1, "f"), False, option(o, 4, "B"), major)
    b.put(o.outputs[0], y if major else g.add("Transpose", y, perm=[1, 0, 2]))


def recurrent(b: Builder, given: Sequence[int], x: str, clip: float, reverse: bool, uneven: bool, major: bool) -> str:
    """An LSTM over values (time, batch, features): the input, 17 arrays, and two states.

    Args:
        clip: limit of the cell's state; 0 for none.
        uneven: whether numbers that meet 8-bit weights are rounded in 256 steps from the least to the most.
        major: whether time is the first axis of the source's values.
    """
    if any(i >= 0 for i in [*given[9:12], *given[16:18], *given[20:24]]):
        raise InputError("peepholes, projections and layer normalisation are not converted")
    if any(given[i] < 0 for i in (*range(1, 9), *range(12, 16), 0, 18, 19)):
        raise InputError("coupled gates are not converted")
    arrays = [_lstm_array(b, given, i) for i in (*range(1, 9), *range(12, 16))]
    order = [0, 3, 1, 2]  # input, forget, cell, output to ONNX's input, output, forget, cell
    w, r, bias = (np.concatenate([arrays[k + i] for i in order]) for k in (0, 4, 8))
    if w.ndim != 2 or r.ndim != 2 or bias.ndim != 1:
        raise InputError("weights of other than two axes are not converted")
    g = b.graph
    states = []
    size = g.add("Concat", g.add("Shape", x, start=1, end=2), g.ints(r.shape[1]), axis=0)
    for index in given[18:20]:
        fresh = b.tensor(index).variable or index not in b.raw
        states.append(g.add("Expand", b.number(0), size) if fresh else b.numbers(index))
    weight, value = b.tensor(given[2]), b.tensor(given[0])
    kept, before = b.tensor(given[18]), rounded if uneven else symmetric
    after: Callable[[Graph, str], str] | None = None
    if value.quantised and kept.scale is not None and kept.zero is not None:
        after = partial(_stepped, scale=float(kept.scale[0]), zero=int(kept.zero[0]))
    elif weight.quantised and not value.quantised:
        x = before(g, x, (-1,))
        after = partial(before, axes=(-1,))
    free = {axis for i in g.inputs for axis in g.free_axes(i)} - (set() if major else {0})
    # From zero on, each step adds 1 at the most: so many steps do not reach the limit.
    unlimited = clip <= 0 or (not free and g.shape(x)[0] <= clip and b.tensor(given[19]).variable)
    if after is None and unlimited:
        return _lstm(b, x, w, r, bias, states, reverse)
    return _stepwise_lstm(b, x, w, r, bias, states, clip, reverse, after)


def _lstm_array(b: Builder, given: Sequence[int], place: int) -> np.ndarray:
    """Weights or a bias, as numbers; a bias may have the scale of its products without saying so."""
    found = b.stored(given[place])
    if found is None:
        raise InputError("its weights are not stored")
    tensor, value, weight = (b.tensor(given[i]) for i in (place, 0, place - 11 if place > 11 else place))
    if tensor.kind == schema.INT32 and not tensor.quantised:
        if value.scale is None or weight.scale is None:
            raise InputError("a bias of whole numbers without a scale")
        return np.asarray(found * float(value.scale[0]) * float(weight.scale[0]), np.float32)
    return np.asarray(found, np.float32)


def _stepped(g: Graph, name: str, scale: float, zero: int) -> str:
    """Numbers as 8 bits hold them."""
    low, high, step = (g.constant(np.float32(n)) for n in (-128 - zero, 127 - zero, scale))
    return str(g.add("Mul", g.add("Clip", g.add("Round", g.add("Div", name, step)), low, high), step))


def _lstm(
    b: Builder, x: str, w: np.ndarray, r: np.ndarray, bias: np.ndarray, states: Sequence[str], reverse: bool
) -> str:
    g = b.graph
    y, _, _ = g.add(
        "LSTM",
        x,
        g.constant(w[None], "w"),
        g.constant(r[None], "r"),
        g.constant(np.concatenate([bias, np.zeros_like(bias)])[None], "b"),
        "",
        *(g.add("Unsqueeze", state, g.ints(0)) for state in states),
        outputs=3,
        hidden_size=r.shape[1],
        direction="reverse" if reverse else "forward",
    )
    return str(g.add("Squeeze", y, g.ints(1)))


def _stepwise_lstm(
    b: Builder, x: str, w: np.ndarray, r: np.ndarray, bias: np.ndarray, states: Sequence[str], clip: float,
    reverse: bool, after: Callable[[Graph, str], str] | None,
) -> str:  # fmt: skip
    """With a limit of the cell's state (ONNX's LSTM would limit the gates), or an output that is rounded each step."""
    g = b.graph
    time, batch = g.shape(x)[:2]
    hidden = r.shape[1]
    ready = g.add("Add", g.add("MatMul", x, g.constant(w.T, "w")), g.constant(bias, "b"))
    recurrent, low, high = g.constant(r.T, "r"), b.number(-clip), b.number(clip)
    body = g.subgraph()
    free = {0: "batch"}
    h, c = (body.input(body.fresh(n), (batch, hidden), free=free) for n in ("h", "c"))
    step = body.input(body.fresh("step"), (batch, 4 * hidden), free=free)
    seen = after(body, h) if after is not None else h
    gates = body.add("Add", step, body.add("MatMul", seen, recurrent))
    parts = body.add("Split", gates, body.ints(*[hidden] * 4), outputs=4, axis=1)
    enter, leave, forget = (body.add("Sigmoid", p) for p in parts[:3])
    cell = body.add("Add", body.add("Mul", forget, c), body.add("Mul", enter, body.add("Tanh", parts[3])))
    cell = body.add("Clip", cell, low, high) if clip > 0 else cell
    out = body.add("Mul", leave, body.add("Tanh", cell))
    for name, value in (("h.next", out), ("c.next", cell), ("y", out)):
        body.output(body.add("Identity", value), body.fresh(name))
    _, _, y = g.add("Scan", *states, ready, outputs=3, body=body, num_scan_inputs=1,
                    scan_input_directions=[int(reverse)], scan_output_directions=[int(reverse)])  # fmt: skip
    g.tell(y, (time, batch, hidden))
    return str(y)


def stateful(b: Builder, o: Operator) -> None:
    b.graph.notes.append(f"layer '{o.label}' keeps its state between calls in the source; here it begins with zeros")


def svdf(b: Builder, o: Operator) -> None:
    """A filter of features over time; of the times before there is nothing but zeros."""
    need(o, 3, 5)
    rank_ = option(o, 0)
    weights = [b.stored(i) for i in o.inputs[1:3]]
    if b.tensor(o.inputs[0]).quantised or any(w is None or w.ndim != 2 for w in weights):
        raise InputError("weights that are quantised or computed are not converted")
    feature, time = (np.asarray(w) for w in weights)
    if rank_ < 1 or len(feature) % rank_ or len(feature) != len(time):
        raise InputError(f"weights of {list(feature.shape)} and {list(time.shape)} of rank {rank_}")
    stateful(b, o)
    mixed = (feature * time[:, -1:]).reshape(-1, rank_, feature.shape[1]).sum(1)
    g = b.graph
    y = g.add("MatMul", b.numbers(o.inputs[0]), g.constant(mixed.T.astype(np.float32)))
    if len(o.inputs) > 3 and o.inputs[3] >= 0:
        y = g.add("Add", y, b.bias(o.inputs[3]))
    b.put(o.outputs[0], activated(b, y, option(o, 1, "b")))


def _simple(
    b: Builder, o: Operator, x: str, weights: Sequence[int], state: int, kind: int, reverse: bool, dtype: str = "RNN"
) -> str:
    """A simple recurrent layer over values (time, batch, features)."""
    names = {1: "Relu", 4: "Tanh"}
    arrays = [b.stored(i) for i in weights]
    if kind not in names or any(a is None for a in arrays) or any(b.tensor(i).quantised for i in weights[:2]):
        raise InputError(f"with the activation {kind}, or with weights that are quantised or computed")
    w, r, bias = (np.asarray(a, np.float32) for a in arrays)
    g = b.graph
    y, _ = g.add(dtype, x, g.constant(w[None]), g.constant(r[None]),
                 g.constant(np.concatenate([bias, np.zeros_like(bias)])[None]), outputs=2, hidden_size=len(w),
                 activations=[names[kind]], direction="reverse" if reverse else "forward")  # fmt: skip
    if state >= 0 and not b.tensor(state).variable and state in b.raw:
        raise InputError("a state that is given is not converted")
    return str(g.add("Squeeze", y, g.ints(1)))


def rnn(b: Builder, o: Operator) -> None:
    need(o, 5)
    sequence = o.op == "UNIDIRECTIONAL_SEQUENCE_RNN"
    g = b.graph
    x = b.numbers(o.inputs[0])
    major = bool(option(o, 0, "B")) if sequence else True
    if not sequence:
        stateful(b, o)
        x = g.add("Unsqueeze", x, g.ints(0))
    elif not major:
        x = g.add("Transpose", x, perm=[1, 0, 2])
    y = _simple(b, o, x, o.inputs[1:4], o.inputs[4], option(o, 1 if sequence else 0, "b"), False)
    if not sequence:
        y = g.add("Squeeze", y, g.ints(0))
    elif not major:
        y = g.add("Transpose", y, perm=[1, 0, 2])
    b.put(o.outputs[0], y)


def both_ways(b: Builder, o: Operator) -> None:
    """BIDIRECTIONAL_SEQUENCE_RNN and _LSTM."""
    lstm = o.op.endswith("LSTM")
    if len(o.inputs) not in ((39, 48) if lstm else (9, 12)):
        raise InputError(f"has {len(o.inputs)} inputs")
    merged = option(o, 3 if lstm else 2, "B")
    major = option(o, 4, "B", 1) if lstm else option(o, 0, "B")
    if any(i >= 0 for i in o.inputs[39 if lstm else 9 :]):
        raise InputError("a second input is not converted")
    g = b.graph
    x = b.numbers(o.inputs[0])
    x = x if major else g.add("Transpose", x, perm=[1, 0, 2])
    if lstm:
        if option(o, 0, "b") != 4:
            raise InputError("another activation than tanh is not converted")
        clip = option(o, 1, "f")
        uneven = option(o, 5, "B")
        made = []
        for a, s, reverse in ((1, 35, False), (18, 37, True)):
            given = [o.inputs[0], *o.inputs[a : a + 17], *o.inputs[s : s + 2]]
            made.append(recurrent(b, given, x, clip, reverse, uneven, major))
    else:
        kind = option(o, 1, "b")
        made = [_simple(b, o, x, o.inputs[a : a + 3], o.inputs[a + 3], kind, a > 1) for a in (1, 5)]
    if merged:
        made = [g.add("Concat", *made, axis=2)]
    for index, y in zip(o.outputs, made):
        b.put(index, y if major else g.add("Transpose", y, perm=[1, 0, 2]))


def basic_lstm(b: Builder, o: Operator) -> None:
    """One step; the gates' weights in one matrix: input, new, forget, output. Also as a sequence of one step."""
    g = b.graph
    if option(o, 3, "b") == 0:
        if option(o, 0, "b") != 4:
            raise InputError("another activation than tanh is not converted")
        stateful(b, o)
        x = g.add("Unsqueeze", b.numbers(o.inputs[0]), g.ints(0))
        y = recurrent(b, o.inputs, x, option(o, 1, "f"), False, False, True)
        b.put(o.outputs[-1], g.add("Squeeze", y, g.ints(0)))
        return
    need(o, 5)
    if len(o.outputs) < 2 or any(b.tensor(i).quantised for i in o.inputs):
        raise InputError("quantised numbers are not converted")
    x, before, weight, bias, memory = (b.numbers(i) for i in o.inputs)
    total = g.add("Gemm", g.add("Concat", x, before, axis=1), weight, bias, transB=1)
    parts = g.add("Split", total, outputs=4, axis=1, num_outputs=4)
    enter, forget, leave = (g.add("Sigmoid", parts[i]) for i in (0, 2, 3))
    cell = g.add("Add", g.add("Mul", enter, g.add("Tanh", parts[1])), g.add("Mul", forget, memory))
    b.put(o.outputs[0], g.add("Mul", leave, g.add("Tanh", cell)))
    b.put(o.outputs[1], cell)
