"""What TFLite's operators are converted with: their options, inputs and activations; what only moves numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.tflite.build import FIRST, Builder
from sensorium.formats.tflite.schema import Operator

LIMIT = 1 << 20


Handler = Callable[[Builder, Operator], None]


def option(o: Operator, number: int, code: str = "i", default: Any = 0) -> Any:
    return o.options.number(number, code, default) if o.options is not None else default


def axis_of(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise InputError(f"axis {axis} of {rank}")
    return axis % rank


def rank_of(b: Builder, index: int) -> int:
    return len(b.tensor(index).shape)


def need(o: Operator, least: int, most: int | None = None) -> None:
    if not least <= len(o.inputs) <= (least if most is None else most) or any(i < 0 for i in o.inputs[:least]):
        raise InputError(f"has {len(o.inputs)} inputs")


def activated(b: Builder, name: str, kind: int) -> str:
    """A fused activation."""
    g = b.graph
    if kind == 0:
        return name
    if kind == 1:
        return str(g.add("Relu", name))
    if kind == 2:
        return str(g.add("Clip", name, b.number(-1), b.number(1)))
    if kind == 3:
        return str(g.add("Clip", name, b.number(0), b.number(6)))
    if kind == 4:
        return str(g.add("Tanh", name))
    raise InputError(f"the activation {kind} is not converted")


def turned_only(b: Builder, *indices: int) -> bool:
    """Whether values are at hand with the channel as second axis only: element-wise operators leave them so."""
    turned = [i for i in indices if i in b.turned and i not in b.raw]
    rest = [i for i in indices if i not in turned]
    return bool(turned) and all(i in b.turned or (b.tensor(i).stored is not None and rank_of(b, i) <= 4) for i in rest)


def operand(b: Builder, index: int, first: bool) -> str:
    """A number-valued input of an element-wise operator; a stored one is turned to fit."""
    if not first or index in b.turned:
        return b.numbers(index, first)
    array = b.stored(index)
    if array is None:
        return b.numbers(index, first)
    full = array.reshape((1,) * (4 - array.ndim) + array.shape) if array.ndim else array
    return b.graph.constant(full.transpose(FIRST) if array.ndim else full, b.tensor(index).name)


def unary(make: Callable[[Builder, Operator, str], str]) -> Handler:
    def handle(b: Builder, o: Operator) -> None:
        need(o, 1)
        first = turned_only(b, o.inputs[0])
        b.put(o.outputs[0], make(b, o, b.numbers(o.inputs[0], first)), first)

    return handle


def plain(kind: str, **attributes: Any) -> Handler:
    return unary(lambda b, o, x: str(b.graph.add(kind, x, **attributes)))


def moved(b: Builder, o: Operator, make: Callable[[str], str], source: int | None = None) -> None:
    """What only moves numbers is done on what is stored, where both sides store it in the same way."""
    index = o.inputs[0] if source is None else source
    if b.same(index, o.outputs[0]):
        b.keep(o.outputs[0], make(b.value(index)))
    else:
        b.put(o.outputs[0], make(b.numbers(index)))
