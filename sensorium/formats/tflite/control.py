"""TFLite's loops, branches, calls and variables."""

from __future__ import annotations

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.tflite.build import Builder, inside
from sensorium.formats.tflite.call import need, option
from sensorium.formats.tflite.schema import Operator


def loop(b: Builder, o: Operator) -> None:
    """WHILE: ONNX's Loop; the condition is evaluated before the first round and at the end of each.

    What the body hands on as it came is no state of the loop: the body sees it from outside.
    """
    condition, body_number = option(o, 0), option(o, 1)
    g = b.graph
    values = [b.value(i) for i in o.inputs]
    if len(o.outputs) != len(values):
        raise InputError(f"corrupt: takes {len(values)} values and gives {len(o.outputs)}")
    start = b.inner(condition, g, values)
    handed = b.handed_on(body_number)
    body = g.subgraph()
    body.input(body.fresh("round"), (), np.int64)
    body.input(body.fresh("go"), (), np.bool_)
    seen = []
    for place, (index, value) in enumerate(zip(o.inputs, values)):
        if place in handed:
            seen.append(value)
            continue
        tensor = b.tensor(index)
        shape = g.find_shape(value) or tensor.shape
        free = {axis: f"{tensor.name}_{axis}" for axis in range(len(shape))}
        seen.append(body.input(body.fresh("carried"), shape, inside(tensor), free))
    made = b.inner(body_number, body, seen)
    if len(made) != len(values):
        raise InputError(f"corrupt: its body gives {len(made)} values, not {len(values)}")
    again = b.inner(condition, body, made)
    body.output(
        body.add("Squeeze", again[0]) if body.rank(again[0]) else body.add("Identity", again[0]), body.fresh("again")
    )
    states = [place for place in range(len(values)) if place not in handed]
    if not states:
        raise InputError("corrupt: a loop that changes nothing")
    for place in states:
        body.output(body.add("Identity", made[place]), body.fresh("next"))
    go = g.add("Squeeze", start[0]) if g.rank(start[0]) else start[0]
    found = g.add("Loop", "", go, *(values[place] for place in states), outputs=len(states), body=body)
    after = dict(zip(states, found if isinstance(found, tuple) else (found,)))
    for place, index in enumerate(o.outputs):
        tensor = b.tensor(index)
        if place in after:
            g.tell(after[place], tensor.shape, inside(tensor))
        b.keep(index, after.get(place, values[place]))


def branch(b: Builder, o: Operator) -> None:
    """IF: both graphs of the model as ONNX subgraphs."""
    need(o, 1, len(o.inputs))
    g = b.graph
    values = [b.value(i) for i in o.inputs[1:]]
    flag = b.value(o.inputs[0])
    sides = []
    for number in (option(o, 0), option(o, 1)):
        side = g.subgraph()
        made = b.inner(number, side, values)
        if len(made) != len(o.outputs):
            raise InputError(f"corrupt: a branch gives {len(made)} values, not {len(o.outputs)}")
        for value in made:
            side.output(side.add("Identity", value), side.fresh("chosen"))
        sides.append((side, made))
    flag = g.add("Reshape", flag, g.ints()) if g.rank(flag) else flag
    found = g.add("If", flag, outputs=len(o.outputs), then_branch=sides[0][0], else_branch=sides[1][0])
    for i, (index, name) in enumerate(zip(o.outputs, found if isinstance(found, tuple) else (found,))):
        shapes = [side.find_shape(made[i]) for side, made in sides]
        tensor = b.tensor(index)
        g.tell(name, shapes[0] if shapes[0] is not None and shapes[0] == shapes[1] else [None] * len(tensor.shape),
               inside(tensor))  # fmt: skip
        b.keep(index, name)


def called(b: Builder, o: Operator) -> None:
    made = b.inner(option(o, 0, "I"), b.graph, [b.value(i) for i in o.inputs])
    if len(made) != len(o.outputs):
        raise InputError(f"corrupt: the graph gives {len(made)} values, not {len(o.outputs)}")
    for index, name in zip(o.outputs, made):
        b.keep(index, name)


def variable(b: Builder, o: Operator) -> None:
    name = o.options.text(1) if o.options is not None else ""
    b.handles[o.outputs[0]] = name


def _variable_of(b: Builder, index: int) -> str:
    if index not in b.handles:
        raise InputError("a variable that comes from elsewhere is not converted")
    return b.handles[index]


def assigned(b: Builder, o: Operator) -> None:
    need(o, 2)
    if b.graph.parent is not None:
        raise InputError("a variable that is set in a loop or a branch is not converted")
    name = _variable_of(b, o.inputs[0])
    b.variables[name] = b.value(o.inputs[1])
    if not b.setting:
        note = f"the variable '{name}' keeps its value between calls in the source; here each call begins anew"
        if note not in b.graph.notes:
            b.graph.notes.append(note)


def read_variable(b: Builder, o: Operator) -> None:
    need(o, 1)
    name = _variable_of(b, o.inputs[0])
    if name not in b.variables:
        raise InputError(f"the variable '{name}' is read before it is set")
    b.keep(o.outputs[0], b.variables[name])
