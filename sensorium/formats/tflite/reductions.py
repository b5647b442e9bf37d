"""TFLite's reductions, the largest, and running sums."""

from __future__ import annotations

import numpy as np

from sensorium.formats.tflite.build import FIRST, Builder
from sensorium.formats.tflite.call import Handler, axis_of, need, option, rank_of, turned_only
from sensorium.formats.tflite.schema import Operator


def reduce(kind: str) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2)
        rank = rank_of(b, o.inputs[0])
        axes = sorted({axis_of(a, rank) for a in b.known(o.inputs[1])})
        first = rank == 4 and turned_only(b, o.inputs[0]) and (axes == [1, 2] or bool(option(o, 0, "B")))
        x = b.numbers(o.inputs[0], first)
        where = b.graph.ints(*(FIRST.index(a) if first else a for a in axes))
        keep = int(bool(option(o, 0, "B")))
        result = b.graph.add(kind, x, where, keepdims=keep) if axes else x
        b.put(o.outputs[0], result, first and bool(keep))

    return handle


def any_of(b: Builder, o: Operator) -> None:
    need(o, 2)
    kind = "ReduceMax" if o.op == "REDUCE_ANY" else "ReduceMin"
    x = b.graph.add("Cast", b.value(o.inputs[0]), to=6)
    axes = b.graph.ints(*b.known(o.inputs[1]))
    result = b.graph.add(kind, x, axes, keepdims=int(bool(option(o, 0, "B"))))
    b.keep(o.outputs[0], b.graph.add("Cast", result, to=9))


def arg(kind: str) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 2)
        axis = axis_of(b.known(o.inputs[1])[0], rank_of(b, o.inputs[0]))
        b.keep(o.outputs[0], b.graph.add(kind, b.numbers(o.inputs[0]), axis=axis, keepdims=0))

    return handle


def top_k(b: Builder, o: Operator) -> None:
    need(o, 2)
    count = b.graph.ints(*b.known(o.inputs[1])[:1])
    values, places = b.graph.add("TopK", b.numbers(o.inputs[0]), count, outputs=2, axis=-1)
    b.put(o.outputs[0], values)
    if len(o.outputs) > 1:
        b.keep(o.outputs[1], places)


def cumulate(b: Builder, o: Operator) -> None:
    need(o, 2)
    axis = b.graph.constant(np.int64(b.known(o.inputs[1])[0]))
    x = b.numbers(o.inputs[0])
    flags = [int(bool(option(o, n, "B"))) for n in (0, 1)]
    b.put(o.outputs[0], b.graph.add("CumSum", x, axis, exclusive=flags[0], reverse=flags[1]))
