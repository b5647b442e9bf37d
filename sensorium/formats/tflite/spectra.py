"""TFLite's spectra: a complex value is two values, its real and its imaginary part."""

from __future__ import annotations

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.tflite.build import Builder
from sensorium.formats.tflite.call import Handler, need, rank_of
from sensorium.formats.tflite.schema import Operator


def rfft2(b: Builder, o: Operator) -> None:
    need(o, 2)
    g = b.graph
    rows, columns = b.known(o.inputs[1])
    if not 0 < columns <= 1 << 12 or not 0 < rows <= 1 << 11 or rank_of(b, o.inputs[0]) < 2:
        raise InputError(f"a transform of {rows} by {columns} is not converted")
    x = b.numbers(o.inputs[0])
    height, width = g.shape(x)[-2:]
    axes = g.ints(-2, -1)
    x = g.add("Slice", x, g.ints(0, 0), g.ints(rows, columns), axes)
    short = [max(rows - height, 0), max(columns - width, 0)]
    if any(short):
        rank_ = g.rank(x)
        x = g.add("Pad", x, g.ints(*[0] * (2 * rank_ - 2), *short))
    angle = 2 * np.pi * np.outer(np.arange(columns), np.arange(columns // 2 + 1)) / columns
    real, imaginary = (g.add("MatMul", x, g.constant(w.astype(np.float32))) for w in (np.cos(angle), -np.sin(angle)))
    if rows > 1:
        angle = 2 * np.pi * np.outer(np.arange(rows), np.arange(rows)) / rows
        c, s = (g.constant(w.astype(np.float32)) for w in (np.cos(angle), np.sin(angle)))
        real, imaginary = (
            g.add("Add", g.add("MatMul", c, real), g.add("MatMul", s, imaginary)),
            g.add("Sub", g.add("MatMul", c, imaginary), g.add("MatMul", s, real)),
        )
    b.complex[o.outputs[0]] = (real, imaginary)


def of_complex(b: Builder, o: Operator) -> None:
    need(o, 1)
    if o.inputs[0] not in b.complex:
        raise InputError("a complex value that is no spectrum is not converted")
    g = b.graph
    real, imaginary = b.complex[o.inputs[0]]
    if o.op == "COMPLEX_ABS":
        power = g.add("Add", g.add("Mul", real, real), g.add("Mul", imaginary, imaginary))
        b.put(o.outputs[0], g.add("Sqrt", power))
    else:
        b.put(o.outputs[0], real if o.op == "REAL" else imaginary)


def moved_complex(handler: Handler) -> Handler:
    """What only moves numbers, for both parts of a complex value."""

    def handle(b: Builder, o: Operator) -> None:
        if o.inputs[0] not in b.complex:
            handler(b, o)
            return
        parts = []
        for part in b.complex[o.inputs[0]]:
            b.raw[o.inputs[0]] = part
            handler(b, o)
            parts.append(b.raw.pop(o.outputs[0]))
            del b.raw[o.inputs[0]]
        b.complex[o.outputs[0]] = (parts[0], parts[1])

    return handle
