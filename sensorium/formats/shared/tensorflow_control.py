"""What TensorFlow's graphs do besides computing arrays: functions, variables, branches, loops and lists of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.tensorflow_graph import (
    SIDES,
    Call,
    Dead,
    Function,
    Net,
    Node,
    Scope,
    Value,
    Variable,
    at_once,
    operator,
)

Sizes = tuple[int | None, ...]
SAME = ("Identity", "StopGradient", "Snapshot", "PreventGradient", "CheckNumerics", "PlaceholderWithDefault",
        "EnsureShape", "DisableCopyOnRead", "IdentityN", "Enter", "RefEnter", "LoopCond")  # fmt: skip
ENTERS = ("Enter", "RefEnter")
SEVERAL_SIDES = ("_SwitchN", "SwitchN")


@operator(*SAME, loose=True)
def _same(net: Net, node: Node, inputs: list[Value]) -> list[Value]:
    return inputs


@operator("PartitionedCall", "StatefulPartitionedCall", loose=True)
def _call(net: Net, node: Node, inputs: list[Value]) -> list[Value]:
    return net.call(node, _function(net, node, "f").name, inputs)


def _function(net: Net, node: Node, key: str) -> Function:
    named = node.get(key)
    if not isinstance(named, Call) or named.name not in net.source.functions:
        shown = f"'{named.name[:80]}'" if isinstance(named, Call) else f"'{key}'"
        raise node.fault(f"calls the function {shown}, which the file does not hold")
    return net.source.functions[named.name]


# Variables


@operator("VarHandleOp", "VariableV2", "Variable", loose=True)
def _variable(net: Net, node: Node, inputs: list[Value]) -> Value:
    variable = net.source.variables.get(node.name)
    if variable is None or not net.in_main:
        raise node.fault("a variable within a function is not converted")
    return variable if node.op == "VarHandleOp" else net.read(node, variable)


@operator("ReadVariableOp", loose=True)
def _read(net: Net, node: Node, inputs: list[Value]) -> str:
    return net.read(node, _is_variable(node, inputs[0]))


@operator("ResourceGather", loose=True)
def _gather(net: Net, node: Node, inputs: list[Value]) -> str:
    if node.get("batch_dims"):
        raise node.fault("batch_dims are not converted")
    return net.op("Gather", net.read(node, _is_variable(node, inputs[0])), inputs[1], axis=0)


@operator("ResourceGatherNd", loose=True)
def _gather_nd(net: Net, node: Node, inputs: list[Value]) -> str:
    return net.op("GatherND", net.read(node, _is_variable(node, inputs[0])), inputs[1])


@operator("VariableShape", loose=True)
def _shape(net: Net, node: Node, inputs: list[Value]) -> str:
    return net.op("Shape", net.read(node, _is_variable(node, inputs[0])))


def _is_variable(node: Node, value: Value) -> Variable:
    if not isinstance(value, Variable):
        raise node.fault("reads what is not a variable of this file")
    return value


# Lists of arrays


@dataclass
class Arrays:
    """A list of arrays of one shape.

    Attributes:
        stacked: all of them, on a new first axis; or
        items: those that were set one by one.
        count: how many there are, a value; None for as many as are set.
    """

    stacked: str | None = None
    items: dict[int, str] = field(default_factory=dict)
    count: str | None = None


@dataclass
class Slot:
    """A list that a loop fills: within its body. `item` is what this turn put into it, at `index`."""

    list: Arrays
    item: str | None = None
    index: str | None = None


@operator("TensorListReserve", "EmptyTensorList", "TensorArrayV3", loose=True)
def _reserve(net: Net, node: Node, inputs: list[Value]) -> Any:
    if node.op == "TensorArrayV3":
        found = Arrays(count=inputs[0])
        return [found, found]
    return Arrays(count=inputs[1] if node.op == "TensorListReserve" else None)


@operator("TensorListFromTensor", loose=True)
def _from_tensor(net: Net, node: Node, inputs: list[Value]) -> Arrays:
    return Arrays(inputs[0])


@operator("TensorListStack", loose=True)
def _stack(net: Net, node: Node, inputs: list[Value]) -> str:
    return stack(net, node, inputs[0])


def stack(net: Net, node: Node, given: Value) -> str:
    """All arrays of a list as one."""
    if not isinstance(given, Arrays):
        raise node.fault("a list that a loop is still filling; this is not converted")
    if given.stacked is None:
        count = 0 if given.count is None else int(net.known(node, given.count, "length")[()])
        count = max(count, 1 + max(given.items, default=-1))  # it grows when a later place is set
        if not given.items or sorted(given.items) != list(range(count)):
            raise node.fault(f"a list of {count} with {len(given.items)} arrays in it; this is not converted")
        rows = [net.op("Unsqueeze", given.items[i], net.ints([0])) for i in range(count)]
        given.stacked = net.op("Concat", *rows, axis=0)
    return given.stacked


@operator("TensorListGetItem", loose=True)
def _get(net: Net, node: Node, inputs: list[Value]) -> str:
    given, index = inputs[0], inputs[1]
    if isinstance(given, Slot) and given.item is not None and given.index == index:
        return given.item
    place = net.fixed(index)
    if isinstance(given, Arrays) and place is not None and int(place) in given.items:
        return given.items[int(place)]
    return net.op("Gather", stack(net, node, given), index, axis=0)


@operator("TensorListSetItem", loose=True)
def _set(net: Net, node: Node, inputs: list[Value]) -> Value:
    given, index, item = inputs[:3]
    if isinstance(given, Slot):
        if given.item is not None:
            raise node.fault("a second array for one list in one turn of a loop; this is not converted")
        return Slot(given.list, item, index)
    if given.stacked is None:
        return Arrays(None, {**given.items, int(net.known(node, index, "index")[()]): item}, given.count)
    places = net.op("Reshape", index, net.ints([1, 1]))
    return Arrays(net.op("ScatterND", given.stacked, places, net.op("Unsqueeze", item, net.ints([0]))))


@operator("TensorListPushBack", loose=True)
def _push(net: Net, node: Node, inputs: list[Value]) -> Value:
    given, item = inputs[:2]
    if isinstance(given, Slot):
        if given.item is not None or given.list.items or given.list.count is not None or given.list.stacked:
            raise node.fault("adds to a list that is not empty before a loop; this is not converted")
        return Slot(given.list, item)
    if given.stacked is not None:
        return Arrays(net.op("Concat", given.stacked, net.op("Unsqueeze", item, net.ints([0])), axis=0))
    return Arrays(None, {**given.items, len(given.items): item})


@operator("TensorListLength", loose=True)
def _length(net: Net, node: Node, inputs: list[Value]) -> str:
    given = inputs[0].list if isinstance(inputs[0], Slot) else inputs[0]
    if given.stacked is not None:
        return net.op("Squeeze", net.op("Shape", given.stacked, start=0, end=1), net.ints([0]))
    return given.count or net.graph.constant(np.array(len(given.items), np.int64), "length")


@operator("TensorListElementShape", loose=True)
def _element(net: Net, node: Node, inputs: list[Value]) -> str:
    return net.op("Shape", stack(net, node, inputs[0]), start=1)


@operator("TensorListGather", loose=True)
def _pick(net: Net, node: Node, inputs: list[Value]) -> str:
    return net.op("Gather", stack(net, node, inputs[0]), inputs[1], axis=0)


@operator("TensorListConcatV2", loose=True)
def _concat(net: Net, node: Node, inputs: list[Value]) -> list[str]:
    stacked = stack(net, node, inputs[0])
    size = net.op("Shape", stacked, start=1, end=2)
    joined = net.op("Reshape", stacked, net.op("Concat", net.ints([-1]), net.op("Shape", stacked, start=2), axis=0))
    return [joined, net.op("Expand", size, net.op("Shape", stacked, start=0, end=1))]


# Branches


@operator("Switch", "RefSwitch", loose=True)
def _switch(net: Net, node: Node, inputs: list[Value]) -> list[Value]:
    which = net.fixed(inputs[1])
    if which is None:  # both sides are worked out; Merge chooses
        return [inputs[0], inputs[0]]
    return [Dead(), inputs[0]] if bool(which) else [inputs[0], Dead()]


@operator(*SEVERAL_SIDES, loose=True)
def _switch_several(net: Net, node: Node, inputs: list[Value]) -> list[Value]:
    which, count = net.fixed(inputs[1]), min(int(node.get("num_outs", 0)), SIDES)
    if which is None:  # all sides are worked out; Merge chooses
        return [inputs[0]] * count
    taken = int(which) if 0 <= int(which) < count else count - 1  # as Case: the last where the number is that of none
    return [inputs[0] if side == taken else Dead() for side in range(count)]


@operator("Merge", "RefMerge", loose=True)
def _merge(net: Net, node: Node, inputs: list[Value]) -> list[Value]:
    live = [(i, v) for i, v in enumerate(inputs) if not isinstance(v, Dead)]
    if not live:
        return [Dead(), Dead()]
    if len(live) == 1:
        number = net.graph.constant(np.array(live[0][0], np.int64), "side")
        return [live[0][1], number]
    given = [i for i in node.inputs if not i.startswith("^")]
    sides = [net.scope.switch(i) for i in given] if net.scope else []
    origins = [net.scope.nodes[side[0]] for side in sides if side is not None] if net.scope else []
    if net.scope and origins and all(o.op in SEVERAL_SIDES for o in origins) and len(origins) == len(inputs):
        return _choose(net, node, net.scope, origins, [side[1] for side in sides if side is not None], inputs)
    if len(sides) != 2 or None in sides:
        raise node.fault("joins what no branch divided; this is not converted")
    (first, which), (second, other) = (side for side in sides if side is not None)
    if which == other or net.scope is None or not all(isinstance(v, str) for v in inputs):
        raise node.fault("joins branches of different conditions; this is not converted")
    (condition,) = net.scope.values([net.scope.nodes[second if other else first].inputs[1]])
    true, false = (inputs[0], inputs[1]) if which else (inputs[1], inputs[0])
    return [net.op("Where", condition, true, false), net.op("Cast", condition, to=7)]


def _choose(
    net: Net, node: Node, scope: Scope, origins: list[Node], sides: list[int], inputs: list[Value]
) -> list[Value]:
    """One of several branches, by its number; the last where it is that of none."""
    whole = sorted(sides) == list(range(len(inputs))) == list(range(int(origins[0].get("num_outs", 0))))
    if not whole or len({o.inputs[1] for o in origins}) > 1:
        raise node.fault("joins branches of different conditions; this is not converted")
    (number,) = scope.values([origins[0].inputs[1]])
    by_side = {side: (place, value) for place, (side, value) in enumerate(zip(sides, inputs))}
    taken = net.fixed(number)
    place, found = by_side[len(inputs) - 1 if taken is None or int(taken) not in by_side else int(taken)]
    if taken is not None:
        return [found, net.graph.constant(np.array(place, np.int64), "side")]
    if not all(isinstance(v, str) for v in inputs):
        raise node.fault("joins what is no array; this is not converted")
    index = net.graph.constant(np.array(place, np.int64), "side")
    for side in range(len(inputs) - 1):
        place, value = by_side[side]
        here = net.op("Equal", number, net.graph.constant(np.array(side, np.int64), "number"))
        found = net.op("Where", here, value, found)
        index = net.op("Where", here, net.graph.constant(np.array(place, np.int64), "side"), index)
    return [found, index]


@operator("If", "StatelessIf", loose=True)
def _if(net: Net, node: Node, inputs: list[Value]) -> list[Value]:
    branches = [_function(net, node, "then_branch"), _function(net, node, "else_branch")]
    chosen = net.fixed(inputs[0])
    if chosen is not None:
        return net.call(node, branches[0 if np.all(chosen) and chosen.size else 1].name, inputs[1:])
    condition = inputs[0] if net.graph.dtype(inputs[0]) == np.bool_ else net.op("Cast", inputs[0], to=9)
    return _either(net, node, condition, *[lambda b=b: net.call(node, b.name, inputs[1:]) for b in branches])


@operator("Case", "StatelessCase", loose=True)
def _case(net: Net, node: Node, inputs: list[Value]) -> list[Value]:
    """One of several functions: the last where the number is that of none."""
    names = [branch.name for branch in node.get("branches") or []]
    chosen = net.fixed(inputs[0])
    if chosen is not None:
        number = int(chosen.reshape(-1)[0])
        return net.call(node, names[number if 0 <= number < len(names) else -1], inputs[1:])

    def rest(number: int) -> list[Value]:
        if number == len(names) - 1:
            return net.call(node, names[number], inputs[1:])
        here = net.op("Equal", inputs[0], net.graph.constant(np.array(number, np.int64), "number"))
        return _either(
            net, node, here, lambda: net.call(node, names[number], inputs[1:]), lambda: rest(number + 1)
        )  # fmt: skip

    return rest(0)


def _either(
    net: Net, node: Node, condition: str, true: Callable[[], list[Value]], false: Callable[[], list[Value]]
) -> list[Value]:
    """What one of two pieces of work gives, each in a graph of its own."""
    outer, built, results = net.graph, [], []
    for work in (true, false):
        net.graph = outer.subgraph()
        results.append(work())
        built.append(net.graph)
        net.graph = outer
    found: list[Value] = []
    arrays = []
    for i, (a, b) in enumerate(zip(*results)):
        if isinstance(a, str) and isinstance(b, str):
            _emit(built[0], a)
            _emit(built[1], b)
            arrays.append(i)
        elif a is not b:
            raise node.fault("gives what is no array, in one of two ways; this is not converted")
        found.append(a)
    if arrays:
        names = outer.add("If", condition, outputs=len(arrays), then_branch=built[0], else_branch=built[1])
        for i, name in zip(arrays, [names] if len(arrays) == 1 else names):
            _tell_either(outer, name, [g.sizes(r[i]) for g, r in zip(built, results)], built[0], results[0][i])
            found[i] = name
    return found


def _tell_either(graph: Graph, value: str, shapes: list[Sizes | None], source: Graph, like: str) -> None:
    first, second = shapes
    if first is not None and second is not None and len(first) == len(second):
        graph.tell(value, [a if a == b else None for a, b in zip(first, second)], source.dtype(like))


def _emit(graph: Graph, value: str) -> None:
    """Make a value an output of a subgraph; one that it does not make, or that is one already, is copied."""
    made = {name for node in graph.nodes for name in node.outputs}
    if value not in made or any(value == name for name in graph.outputs.values()):
        shape, dtype = graph.sizes(value), graph.dtype(value)
        value = graph.add("Identity", value)
        if shape is not None:
            graph.tell(value, shape, dtype)
    graph.output(value, value)


# Loops


@operator("While", "StatelessWhile", loose=True)
def _while(net: Net, node: Node, inputs: list[Value]) -> list[Value]:
    condition, body = _function(net, node, "cond"), _function(net, node, "body")
    return _repeat(
        net,
        node,
        inputs,
        body,
        lambda values: net.call(node, condition.name, values)[0],
        lambda values: net.call(node, body.name, values),
    )


Work = Callable[[list[Value]], Any]


def _repeat(
    net: Net,
    node: Node,
    inputs: list[Value],
    body: Function,
    goes_on: Work,
    turn: Work,
    grows: Mapping[int, Sizes] | None = None,
) -> list[Value]:
    """A Loop: what a turn does not change is used from outside; lists that are filled in order are collected.

    Args:
        inputs: what the first turn is given.
        body: to see what a turn does to what it is given.
        goes_on: works out whether there is another turn; `turn` what it gives.
        grows: sizes of what does not keep its size.
    """
    if not len(inputs) == len(body.arguments) == len(body.results):
        raise node.fault("its body does not give what it takes")
    kept = [_origin(body, r) == body.arguments[i] for i, r in enumerate(body.results)]
    counters = {i: _counts(net, body, inputs, i) for i in range(len(inputs)) if not kept[i]}
    outer = net.graph
    first = goes_on(inputs)
    inner = outer.subgraph()
    inner.input(inner.fresh("turn"), (), np.int64)
    inner.input(inner.fresh("going"), (), np.bool_)
    given: list[Value] = []
    for i, value in enumerate(inputs):
        if kept[i]:
            given.append(value)
        elif isinstance(value, Arrays):
            given.append(Slot(value) if value.stacked is None else value)
        elif isinstance(value, str):
            given.append(_carried(inner, outer, value, (grows or {}).get(i)))
        else:
            raise node.fault("changes what is no array; this is not converted")
    carried = {i: v for i, v in enumerate(given) if not kept[i] and isinstance(v, str)}
    net.graph = inner
    results = turn(given)
    after = goes_on(results)
    net.graph = outer
    if any(not isinstance(results[i], str) for i in carried):
        raise node.fault("makes something else of an array; this is not converted")
    sizes = {i: (inner.sizes(given[i]), inner.sizes(results[i])) for i in carried}
    moved = {i: tuple(x if x == y else None for x, y in zip(a, b)) for i, (a, b) in sizes.items()
             if a is not None and b is not None and a != b and len(a) == len(b)}  # fmt: skip
    if moved and grows is None:  # once more, and nothing may follow from the size that it begins with
        return _repeat(net, node, inputs, body, goes_on, turn, moved)
    _emit(inner, after)
    for i in carried:
        _emit(inner, results[i])
    lists = [i for i in range(len(inputs)) if not kept[i] and i not in carried]
    for i in lists:
        slot = results[i]
        if not isinstance(slot, Slot) or slot.item is None:
            raise node.fault("changes a list in another way than by filling it; this is not converted")
        steady = slot.index is None or net.fixed(slot.index) is not None
        before = slot.list.items
        in_order = [c for c, start in counters.items() if given[c] == slot.index and start is not None]
        if not steady and not any(sorted(before) == list(range(counters[c] or 0)) for c in in_order):
            raise node.fault("fills a list in another order than one by one; this is not converted")
        _emit(inner, slot.item)
    starts = [inputs[i] for i in carried]
    made = outer.add("Loop", "", first, *starts, outputs=len(carried) + len(lists), body=inner)
    names = [made] if isinstance(made, str) else list(made)
    found = list(inputs)
    for i, name in zip(carried, names):
        _tell_either(outer, name, [outer.sizes(inputs[i]), inner.sizes(results[i])], inner, results[i])
        found[i] = name
    for i, name in zip(lists, names[len(carried) :]):
        slot = results[i]
        place = net.fixed(slot.index) if slot.index is not None else None
        if place is not None:  # the same place in each turn: what the last one put there stays
            item = outer.add("Gather", name, outer.constant(np.array(-1, np.int64), "last"), axis=0)
            found[i] = Arrays(None, {**slot.list.items, int(place): item}, slot.list.count)
            if (made_of := inner.sizes(slot.item)) is not None:
                outer.tell(item, made_of, inner.dtype(slot.item))
            continue
        if slot.list.items:
            first_ones = [outer.add("Unsqueeze", slot.list.items[k], net.ints([0])) for k in sorted(slot.list.items)]
            name = outer.add("Concat", *first_ones, name, axis=0)
        shape, count = inner.sizes(slot.item), outer.known(slot.list.count) if slot.list.count else None
        if shape is not None:
            outer.tell(name, (int(count) if count is not None else None, *shape), inner.dtype(slot.item))
        found[i] = Arrays(name, count=slot.list.count)
    return found


@at_once("Exit", "RefExit")
def _old_loop(scope: Scope, wanted: Node) -> None:
    """A loop of Enter, Merge, Switch, NextIteration and Exit, all of it at once: its exits are done then."""
    net, nodes = scope.net, scope.nodes
    consumers: dict[str, list[Node]] = {}
    for other in nodes.values():
        for reference in other.inputs:
            consumers.setdefault(scope.place(reference)[0], []).append(other)

    def before(other: Node, index: int = 0) -> Node:
        found = nodes.get(scope.place(other.inputs[index])[0]) if index < len(other.inputs) else None
        if found is None:
            raise wanted.fault("is part of no loop that can be read")
        return found

    frame = _frame(nodes, scope, before(before(wanted)))
    merges = [n for n in nodes.values() if n.op in ("Merge", "RefMerge") and _frame(nodes, scope, n) == frame]
    if frame is None or not merges:
        raise wanted.fault("is part of no loop that can be read")
    variables = []
    for merge in merges:
        ends = [before(merge, i) for i in range(len(merge.inputs))]
        enter = next((e for e in ends if e.op in ENTERS), None)
        following = next((e for e in ends if e.op in ("NextIteration", "RefNextIteration")), None)
        switch = next((c for c in consumers.get(merge.name, []) if c.op in ("Switch", "RefSwitch")), None)
        if enter is None or following is None or switch is None:
            raise wanted.fault("is part of a loop that is not described as it should be")
        variables.append((enter, merge, switch, following))
    enters = [n for n in nodes.values() if n.op in ENTERS and n.get("frame_name") == frame]
    fixed = {n.name: v for n, v in zip(enters, scope.values([n.inputs[0] for n in enters]))}
    started = [fixed[enter.name] for enter, *_ in variables]
    test = before(before(variables[0][2], 1))

    def inside(values: list[Value]) -> Scope:
        inner = Scope(net, [], f"{scope.path}{wanted.name}/", main=scope.main)
        inner.nodes = nodes
        inner.done = {**scope.done, **{name: [value] for name, value in fixed.items()}}
        for (_, merge, switch, _), value in zip(variables, values):
            inner.done[merge.name] = [value]
            inner.done[switch.name] = [Dead(), value]
        return inner

    body = Function(
        str(frame),
        [switch.name for _, _, switch, _ in variables],
        [following.inputs[0] for *_, following in variables],
        list(nodes.values()),
    )
    found = _repeat(
        net,
        wanted,
        started,
        body,
        lambda values: inside(values).values([test.name])[0],
        lambda values: inside(values).values(body.results),
    )
    for (_, _, switch, _), value in zip(variables, found):
        for consumer in consumers.get(switch.name, []):
            if consumer.op in ("Exit", "RefExit"):
                scope.done[consumer.name] = [value]


def _frame(nodes: Mapping[str, Node], scope: Scope, merge: Node) -> Any:
    for reference in merge.inputs:
        node = nodes.get(scope.place(reference)[0])
        if node is not None and node.op in ENTERS:
            return node.get("frame_name")
    return None


# Lists of arrays in old loops: what is in them goes along with their "flow".


@operator("TensorArrayWriteV3", loose=True)
def _write(net: Net, node: Node, inputs: list[Value]) -> Value:
    return _set(net, node, [inputs[3], inputs[1], inputs[2]])


@operator("TensorArrayReadV3", loose=True)
def _read_one(net: Net, node: Node, inputs: list[Value]) -> str:
    return str(_get(net, node, [inputs[2], inputs[1]]))


@operator("TensorArrayScatterV3", loose=True)
def _unstack(net: Net, node: Node, inputs: list[Value]) -> Arrays:
    if not _in_order(net, node):
        raise node.fault("fills a list in another order than one by one; this is not converted")
    return Arrays(inputs[2])


@operator("TensorArrayGatherV3", loose=True)
def _gather_all(net: Net, node: Node, inputs: list[Value]) -> str:
    whole = stack(net, node, inputs[2])
    return whole if _in_order(net, node) else net.op("Gather", whole, inputs[1], axis=0)


@operator("TensorArraySizeV3", loose=True)
def _size(net: Net, node: Node, inputs: list[Value]) -> str:
    return str(_length(net, node, [inputs[1]]))


@operator("TensorArrayConcatV3", loose=True)
def _concat_old(net: Net, node: Node, inputs: list[Value]) -> list[str]:
    return list(_concat(net, node, [inputs[1]]))


def _in_order(net: Net, node: Node) -> bool:
    """Whether places are counted from 0 on."""
    if net.scope is None:
        return False
    origin = net.scope.nodes.get(net.scope.place(node.inputs[1])[0])
    if origin is not None and origin.op == "Range":
        start, step = (net.fixed(v) for v in net.scope.values([origin.inputs[0], origin.inputs[2]]))
        return start is not None and step is not None and int(start) == 0 and int(step) == 1
    (value,) = net.scope.values([node.inputs[1]])
    places = net.fixed(value)
    return places is not None and np.array_equal(places, np.arange(places.size))


def _carried(inner: Graph, outer: Graph, value: str, known: Sizes | None = None) -> str:
    """An input of the body: of any size, with that of the start as example, or with what is known of it."""
    sizes, name = outer.sizes(value), inner.fresh("state")
    if sizes is None:
        raise InputError(f"the number of axes of '{value}' cannot be told from the file")
    free = {axis: f"{name}_{axis}" for axis in range(len(sizes))}
    entry = inner.input(name, [s or 1 for s in sizes], outer.dtype(value), free)
    inner.tell(entry, known or sizes, outer.dtype(value))
    return entry


def _origin(function: Function, reference: str) -> str:
    """What a reference means in the end: the name of an argument or of a node that is more than a copy."""
    nodes = {node.name: node for node in function.nodes}
    for _ in range(64):
        name = reference.split(":")[0]
        node = nodes.get(name)
        if node is None or node.op not in SAME or len([i for i in node.inputs if i[0] != "^"]) != 1:
            return name
        reference = node.inputs[0]
    return reference


def _counts(net: Net, body: Function, inputs: Sequence[Value], number: int) -> int | None:
    """Where a value starts that is one more after each turn; None where it is not."""
    start = net.fixed(inputs[number]) if isinstance(inputs[number], str) else None
    if start is None or start.shape != () or start.dtype.kind not in "iu":
        return None
    nodes = {n.name: n for n in body.nodes}
    step = nodes.get(_origin(body, body.results[number]))
    if step is None or step.op not in ("Add", "AddV2") or len(step.inputs) < 2:
        return None
    names = [_origin(body, i) for i in step.inputs[:2]]
    others = [n for n in names if n != body.arguments[number]]
    if len(others) != 1:
        return None
    if others[0] in nodes and nodes[others[0]].op == "Const":
        value = nodes[others[0]].get("value")
        if body.name not in net.source.functions:  # the graph's own nodes: of TensorFlow.js, values are kept elsewhere
            value = net.source.constants.get(others[0], value)
        array = value() if callable(value) else value
    elif others[0] in body.arguments:  # a constant that is handed in
        given = inputs[body.arguments.index(others[0])]
        array = net.graph.known(given) if isinstance(given, str) else None
    else:
        return None
    one = isinstance(array, np.ndarray) and array.size == 1 and int(array.reshape(-1)[0]) == 1
    return int(start) if one else None
