"""Caffe's LSTM and RNN layers (length, batch, ...), with the input that restarts a sequence, as ONNX Scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sensorium.formats.caffe.context import Context, layer
from sensorium.formats.shared.graph import Graph


def _prepare(c: Context, gates: int) -> tuple[str, str, int]:
    """The inputs' part of all gates (T, N, gates * H), the restarts (T, N, 1), and the number of outputs."""
    param = c.layer.param("recurrent_param")
    outputs = param.whole("num_output")
    if len(c.inputs) < 2 or not 0 < outputs < 1 << 20:
        raise c.layer.fault("needs a sequence, its continuation, and num_output")
    inner = math.prod(c.shape()[2:])
    if c.rank() < 2 or c.rank(1) != 2:
        raise c.layer.fault("its bottoms should be (length, batch, ...) and (length, batch)")
    x = c.x if c.rank() == 3 else c.graph.add("Reshape", c.x, c.graph.ints(0, 0, inner))
    weight = c.constant(c.blob(0, [gates * outputs, inner], "input weights").T, "input")
    y = c.graph.add("Add", c.graph.add("MatMul", x, weight), c.constant(c.blob(1, [gates * outputs], "bias"), "bias"))
    static = len(c.inputs) - 2 - (_states(c) if param.flag("expose_hidden") else 0)
    if static not in (0, 1):
        raise c.layer.fault(f"{len(c.inputs)} bottoms are not what it takes")
    if static:
        width = math.prod(c.shape(2)[1:])
        flat = c.graph.add("Flatten", c.inputs[2], axis=1)
        more = c.constant(c.blob(2, [gates * outputs, width], "static weights").T, "static")
        y = c.graph.add("Add", y, c.graph.add("MatMul", flat, more))
    return str(y), str(c.graph.add("Unsqueeze", c.inputs[1], c.graph.ints(2))), outputs


def _states(c: Context) -> int:
    return 2 if c.layer.type == "LSTM" else 1


def _rest(c: Context, count: int) -> list[int]:
    """Places of the blobs behind input weights, bias and static weights."""
    first = len(c.layer.blobs) - count
    if first not in (2, 3):
        raise c.layer.fault(f"the caffemodel has {len(c.layer.blobs)} blobs for it")
    return list(range(first, first + count))


def _scan(
    c: Context, x: str, cont: str, outputs: int, step: Callable[[Graph, Sequence[str], str, str], tuple[list[str], str]]
) -> Any:
    """Run a step over the sequence.

    Returns:
        The outputs (T, N, H), and where they are exposed the last states (1, N, H).
    """
    count = _states(c)
    exposed = c.layer.param("recurrent_param").flag("expose_hidden")
    batch = c.shape()[1]
    if exposed:
        states = [c.graph.add("Squeeze", v, c.graph.ints(0)) for v in c.inputs[-count:]]
    else:
        size = c.graph.add("Concat", c.graph.add("Shape", c.x, start=1, end=2), c.graph.ints(outputs), axis=0)
        zero = c.graph.add("Expand", c.constant(0.0, "zero"), size)
        states = [zero] * count
    body = c.graph.subgraph()
    inner = [body.input(body.fresh(f"{c.layer.name}.state"), (batch, outputs), free={}) for _ in range(count)]
    now = body.input(body.fresh(f"{c.layer.name}.x"), (batch, c.graph.shape(x)[2]), free={})
    go = body.input(body.fresh(f"{c.layer.name}.cont"), (batch, 1), free={})
    for entry in body.inputs:
        entry.free[0] = "batch"
    after, y = step(body, inner, now, go)
    for i, value in enumerate([*after, y]):
        body.output(body.add("Identity", value), body.fresh(f"{c.layer.name}.next{i}"))
    found = c.graph.add("Scan", *states, x, cont, outputs=count + 1, hint=c.hint, body=body, num_scan_inputs=2)
    if not exposed:
        return found[-1]
    return [found[-1], *(c.graph.add("Unsqueeze", v, c.graph.ints(0)) for v in found[:-1])]


@layer("LSTM", blobs=3, bottoms=6)
def lstm(c: Context) -> Any:
    """Gates in the order input, forget, output, candidate; both states are kept or dropped by the continuation."""
    x, cont, outputs = _prepare(c, 4)
    (place,) = _rest(c, 1)
    weight = c.constant(c.blob(place, [4 * outputs, outputs], "recurrent weights").T, "recurrent")

    def step(body: Graph, states: Sequence[str], now: str, go: str) -> tuple[list[str], str]:
        hidden, cell = (body.add("Mul", s, go) for s in states)
        gates = body.add("Add", now, body.add("MatMul", hidden, weight))
        i, f, o, g = body.add("Split", gates, outputs=4, axis=1, num_outputs=4)
        keep = body.add("Mul", body.add("Sigmoid", f), cell)
        cell = body.add("Add", keep, body.add("Mul", body.add("Sigmoid", i), body.add("Tanh", g)))
        hidden = body.add("Mul", body.add("Sigmoid", o), body.add("Tanh", cell))
        return [hidden, cell], hidden

    return _scan(c, x, cont, outputs, step)


@layer("RNN", blobs=5, bottoms=6)
def rnn(c: Context) -> Any:
    """h = tanh(W_hh h + W_xh x + b_h); the output is tanh(W_ho h + b_o)."""
    x, cont, outputs = _prepare(c, 1)
    own, out, shift = _rest(c, 3)
    weight = c.constant(c.blob(own, [outputs, outputs], "recurrent weights").T, "recurrent")
    last = c.constant(c.blob(out, [outputs, outputs], "output weights").T, "output")
    added = c.constant(c.blob(shift, [outputs], "output bias"), "output_bias")

    def step(body: Graph, states: Sequence[str], now: str, go: str) -> tuple[list[str], str]:
        hidden = body.add("MatMul", body.add("Mul", states[0], go), weight)
        hidden = body.add("Tanh", body.add("Add", hidden, now))
        return [hidden], body.add("Tanh", body.add("Add", body.add("MatMul", hidden, last), added))

    return _scan(c, x, cont, outputs, step)
