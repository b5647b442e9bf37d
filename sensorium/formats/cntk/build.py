"""A CNTK network as an ONNX graph: what is evaluated when, sequences, and loops.

A value with static shape [W x H x C] is an array (batch, C, H, W); one that is also a sequence has its steps behind
the batch: (batch, time, ...). All sequences of a batch are of one length here. What does not depend on an input has
neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.cntk import network as cn
from sensorium.formats.cntk.network import Function, Network, Variable, owner
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.source import Options

BATCH, STEPS, FREE_SIZE = 1, 4, 32  # of the example input
DELAYS = ("PastValue", "FutureValue")
Span = tuple[int, int | None]


@dataclass(frozen=True)
class Value:
    """A value of the graph.

    Attributes:
        name: in the graph.
        dynamic: how many of its first axes are dynamic: 0, 1 (batch) or 2 (batch and time).
        span: of a flag per step: the steps, as a Python slice, where it is 1; elsewhere it is 0.
        zero: it is 0 everywhere.
    """

    name: str
    dynamic: int
    span: Span | None = None
    zero: bool = False


class Builder:
    """Evaluates the functions of a network, each once, into a graph."""

    def __init__(self, network: Network, graph: Graph, options: Options) -> None:
        self.network = network
        self.top = graph
        self.graph = graph  # the body of a loop, while that is built
        self.options = options
        self.values: dict[str, Value] = {}
        self.free: set[str] = set()
        self.readers: dict[str, list[str]] = {}  # the functions that read the outputs of a function

    # Values

    def static(self, value: Value) -> tuple[int, ...]:
        """The static shape in the order of arrays: slowest first."""
        return self.graph.shape(value.name)[value.dynamic :]

    def add(self, op: str, *inputs: Value, dynamic: int | None = None, **attributes: Any) -> Value:
        """An operator of one output; it is as dynamic as its most dynamic input."""
        name = self.graph.add(op, *(v.name for v in inputs), **attributes)
        return Value(name, max((v.dynamic for v in inputs), default=0) if dynamic is None else dynamic)

    def number(self, value: float) -> Value:
        return Value(self.graph.constant(np.float32(value), "number"), 0)

    def stored(self, array: Any, hint: str = "constant") -> Value:
        return Value(self.graph.constant(np.asarray(array, np.float32), hint), 0)

    def known(self, value: Value) -> np.ndarray | None:
        """The array of a value that is stored in the file."""
        return self.graph.known(value.name)

    def reshape(self, value: Value, static: Sequence[int], dynamic: int | None = None) -> Value:
        """Give another static shape (slowest axis first); dynamic axes stay as they are."""
        if self.free and tuple(static) != self.static(value):
            self.top.pin(*self.free)
        if tuple(static) == self.static(value):
            return value
        shape = [0] * value.dynamic + list(static)
        name = self.graph.add("Reshape", value.name, self.graph.ints(*shape))
        return Value(name, value.dynamic)

    def unsqueeze(self, value: Value, *axes: int, dynamic: int | None = None) -> Value:
        if not axes:
            return value
        name = self.graph.add("Unsqueeze", value.name, self.graph.ints(*axes))
        return Value(name, value.dynamic if dynamic is None else dynamic)

    def squeeze(self, value: Value, *axes: int, dynamic: int | None = None) -> Value:
        if not axes:
            return value
        name = self.graph.add("Squeeze", value.name, self.graph.ints(*axes))
        return Value(name, value.dynamic if dynamic is None else dynamic)

    def aligned(self, values: Iterable[Value]) -> list[Value]:
        """The same values with as many static axes each, and in step where some are sequences; for broadcasting."""
        given = list(values)
        rank = max(len(self.static(v)) for v in given)
        dynamic = max(v.dynamic for v in given)
        ready = []
        for v in given:
            missing = rank - len(self.static(v))
            if v.dynamic:
                v = self.unsqueeze(v, *range(v.dynamic, v.dynamic + missing))
                if v.dynamic < dynamic:
                    v = self.unsqueeze(v, 1, dynamic=2)
            ready.append(v)
        return ready

    def spread(self, value: Value, like: Value) -> Value:
        """A value with the dynamic axes of another."""
        if value.dynamic >= like.dynamic:
            return value
        static = self.static(value)
        if value.dynamic == 1:
            value = self.unsqueeze(value, 1)
        sizes = self.graph.add("Shape", like.name, start=0, end=like.dynamic)
        if static:
            sizes = self.graph.add("Concat", sizes, self.graph.ints(*static), axis=0)
        return Value(self.graph.add("Expand", value.name, sizes), like.dynamic, value.span, value.zero)

    # Which functions, in which order

    def find(self, uid: str) -> str:
        """The name of the value, behind blocks and placeholders."""
        return self.network.resolve(uid)

    def _needs(self, uid: str) -> list[str]:
        """The functions that a function takes its inputs from."""
        function = self.network.functions[uid]
        sources = self.block_inputs(function) if function.op == "Block" else function.inputs
        found = []
        for source in sources:
            source = self.find(source)
            made_by = owner(source)
            if made_by in self.network.functions:
                found.append(made_by)
            elif source not in self.network.variables:
                raise InputError(f"layer '{function.label}': its input '{source}' is nowhere in the file")
        return found

    def block_inputs(self, function: Function) -> list[str]:
        return function.arguments

    def components(self, roots: Sequence[str]) -> list[list[str]]:
        """The functions that lead to some, in order of evaluation; those of a loop together (Tarjan)."""
        index: dict[str, int] = {}
        low: dict[str, int] = {}
        stack: list[str] = []
        on_stack: set[str] = set()
        found: list[list[str]] = []
        for root in roots:
            if root in index:
                continue
            index[root] = low[root] = len(index)
            stack.append(root)
            on_stack.add(root)
            work = [(root, iter(self._needs(root)))]
            while work:
                node, needs = work[-1]
                for other in needs:
                    self.readers.setdefault(other, []).append(node)
                    if other not in index:
                        index[other] = low[other] = len(index)
                        stack.append(other)
                        on_stack.add(other)
                        work.append((other, iter(self._needs(other))))
                        break
                    if other in on_stack:
                        low[node] = min(low[node], index[other])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[node])
                    if low[node] == index[node]:
                        at = stack.index(node)
                        found.append(stack[at:])
                        on_stack.difference_update(stack[at:])
                        del stack[at:]
        return found

    def run(self, outputs: Sequence[str]) -> list[Value]:
        """Evaluate everything that these values need."""
        values = [self.find(uid) for uid in outputs]
        self._wanted = set(values)
        roots = [owner(v) for v in values if owner(v) in self.network.functions]
        components = self.components(roots)
        self._inputs({uid for component in components for uid in component}, values)
        for component in components:
            if len(component) == 1 and component[0] not in self._needs(component[0]):
                self._single(component[0])
            else:
                self._loop(component)
        return [self.value(v) for v in values]

    def _inputs(self, functions: set[str], values: Sequence[str]) -> None:
        """Declare the inputs that are used, in the order of the file."""
        used = {self.find(s) for uid in functions for s in self.network.functions[uid].inputs} | set(values)
        used |= {self.find(s) for uid in functions for s in self.network.functions[uid].arguments}
        for uid, variable in self.network.variables.items():
            if uid in used and variable.kind == cn.INPUT:
                self.values[uid] = self._input(variable)

    def _input(self, variable: Variable) -> Value:
        if variable.dynamic > 2:
            raise InputError(f"input '{variable.label}': has {variable.dynamic} dynamic axes; at most two are read")
        shape = list(self._sizes(variable))
        free = {0: "batch", 1: "time"} if variable.dynamic == 2 else {0: "batch"} if variable.dynamic else {}
        offset = variable.dynamic
        for axis, size in enumerate(variable.shape[::-1]):
            if size in (cn.FREE, cn.INFERRED):
                free[offset + axis] = name = f"{variable.label}_{axis}"
                self.free.add(name)
        example = [BATCH, STEPS][: variable.dynamic] + shape
        told = self.options.shapes.get(variable.label)
        if told is not None:
            if len(told) != len(example):
                raise InputError(f"input '{variable.label}': has {len(example)} axes, the shape told {len(told)}")
            example = list(told)
        dtype = np.float64 if variable.dtype == cn.DOUBLE else np.float32
        name = self.top.input(variable.label, example, dtype, free)
        value = Value(name, variable.dynamic)
        return self.add("Cast", value, to=1) if dtype is np.float64 else value

    def _sizes(self, variable: Variable) -> Iterable[int]:
        spatial = dict(zip((2, 1), self.options.image_size or ())) if len(variable.shape) == 3 else {}
        for axis, size in enumerate(variable.shape[::-1]):
            if size in (cn.FREE, cn.INFERRED):
                size = {1: spatial.get(2, FREE_SIZE), 2: spatial.get(1, FREE_SIZE)}.get(axis, FREE_SIZE)
            yield size

    def value(self, uid: str) -> Value:
        """A value that is evaluated already, or a stored one."""
        uid = self.find(uid)
        found = self.values.get(uid)
        if found is not None:
            return found
        variable = self.network.variables.get(uid)
        if variable is None:
            raise InputError(f"'{uid}' is nowhere in the file")
        if variable.value is None:
            raise InputError(f"variable '{variable.label}': nothing is given for it")
        array = variable.value(variable.label)
        zero = not array.any()
        name = self.top.constant(array, variable.label)
        self.values[uid] = Value(name, 0, zero=zero)
        return self.values[uid]

    def _single(self, uid: str) -> None:
        from sensorium.formats.cntk import operators

        function = self.network.functions[uid]
        try:
            found = operators.convert(self, function)
        except InputError as error:
            raise InputError(f"layer '{function.label}' ({function.block or function.op}): {error}") from None
        for number, value in enumerate(found):
            self.values[f"{uid}_Output_{number}"] = value

    # Loops

    def _loop(self, component: Sequence[str]) -> None:
        """The functions of a loop become the body of a Scan: what is delayed is its state."""
        functions = [self.network.functions[uid] for uid in component]
        delays = [f for f in functions if f.op in DELAYS]
        label = functions[0].label
        if not delays:
            raise InputError(f"layer '{label}': takes its own output as input (a cycle without a delay)")
        if len({f.op for f in delays}) > 1:
            raise InputError(f"layer '{label}': a loop that runs forwards and backwards at once is not converted")
        inside = set(component)
        order = self._unrolled(functions, inside)
        offsets = {f.uid: delay_offset(f) for f in delays}
        if sum(offsets.values()) > 64:
            raise InputError(f"layer '{label}': a loop that looks {sum(offsets.values())} steps back is not converted")
        outer = self._outer(functions, inside)
        steps = [uid for uid, value in outer.items() if value.dynamic == 2]
        if not steps:
            raise InputError(f"layer '{label}': a loop over no sequence")
        shapes = self._state_shapes(functions, delays, inside, order, outer, steps)

        body = self.graph.subgraph()
        batch = self.graph.shape(outer[steps[0]].name)[0]
        saved = dict(self.values)
        parent = self.graph
        initial: list[str] = []
        states: dict[str, list[str]] = {}
        for f in delays:
            first = self._initial(f, shapes[f.uid], outer[steps[0]])
            shape = (batch, *shapes[f.uid])
            states[f.uid] = [
                body.input(body.fresh(f"{f.label}.{k}"), shape, free={0: "batch"}) for k in range(offsets[f.uid])
            ]
            initial += [first] * offsets[f.uid]
            self.values[f"{f.uid}_Output_0"] = Value(states[f.uid][-1], 1)
        for uid in steps:
            given = outer[uid]
            shape = (batch, *self.static(given))
            self.values[uid] = Value(body.input(body.fresh(f"{uid}.step"), shape, free={0: "batch"}), 1)
        self.graph = body
        try:
            for uid in order:
                self._single(uid)
            for f in delays:
                new = self.value(f.inputs[0])
                new = self.spread(new, Value(states[f.uid][0], 1))
                for k, source in enumerate([new.name, *states[f.uid][:-1]]):
                    body.output(body.add("Identity", source), body.fresh(f"{f.label}.next{k}"))
            results = [uid for uid in self._results(inside)]
            made = []
            for uid in results:
                value = self.spread(self.values[uid], Value(next(iter(states.values()))[0], 1))
                made.append((value, self.static(value)))
                body.output(body.add("Identity", value.name), body.fresh(f"{uid}.step"))
        finally:
            self.graph = parent
            self.values = saved
        backwards = int(delays[0].op == "FutureValue")
        count = len(initial)
        outputs = self.graph.add(
            "Scan",
            *initial,
            *(outer[uid].name for uid in steps),
            outputs=count + len(results),
            body=body,
            num_scan_inputs=len(steps),
            scan_input_axes=[1] * len(steps),
            scan_output_axes=[1] * len(results),
            scan_input_directions=[backwards] * len(steps),
            scan_output_directions=[backwards] * len(results),
        )
        names = outputs if isinstance(outputs, tuple) else (outputs,)
        time = self.graph.shape(outer[steps[0]].name)[:2]
        for uid, name, (_, static) in zip(results, names[count:], made):
            self.graph.tell(name, (*time, *static))
            self.values[uid] = Value(name, 2)

    def _unrolled(self, functions: Sequence[Function], inside: set[str]) -> list[str]:
        """The functions of a loop in order of evaluation in one step: delays have their values from the step before."""
        left = {
            f.uid: {n for n in self._needs(f.uid) if n in inside and self.network.functions[n].op not in DELAYS}
            for f in functions
            if f.op not in DELAYS
        }
        order: list[str] = []
        ready = [uid for uid, needs in left.items() if not needs]
        waiting: dict[str, list[str]] = {}
        for uid, needs in left.items():
            for n in needs:
                waiting.setdefault(n, []).append(uid)
        while ready:
            uid = ready.pop()
            order.append(uid)
            for other in waiting.get(uid, ()):
                left[other].discard(uid)
                if not left[other]:
                    ready.append(other)
        if len(order) != len(left):
            stuck = next(uid for uid in left if uid not in set(order))
            label = self.network.functions[stuck].label
            raise InputError(f"layer '{label}': takes its own output as input (a cycle without a delay)")
        return order

    def _outer(self, functions: Sequence[Function], inside: set[str]) -> dict[str, Value]:
        """What a loop takes from outside: value by name, initial states left out."""
        found: dict[str, Value] = {}
        for f in functions:
            for source in f.inputs[:1] if f.op in DELAYS else f.inputs:
                uid = self.find(source)
                if owner(uid) not in inside:
                    found[uid] = self.value(uid)
        return found

    def _results(self, inside: set[str]) -> list[str]:
        """The values of a loop that something outside of it uses."""
        readers = {reader for uid in inside for reader in self.readers.get(uid, [])} - inside
        used = {self.find(source) for reader in readers for source in self._read(reader)} | self._wanted
        return sorted(uid for uid in used if owner(uid) in inside)

    def _read(self, uid: str) -> list[str]:
        function = self.network.functions[uid]
        return function.inputs + function.arguments

    def _initial(self, delay: Function, shape: Sequence[int], sequence: Value) -> str:
        """The state before the first step: of a whole batch."""
        if len(delay.inputs) < 2:
            value = self.number(float(delay.attributes.get("initial", 0.0)))
        else:
            if owner(self.find(delay.inputs[1])) in self.network.functions and (
                self.find(delay.inputs[1]) not in self.values
            ):
                raise InputError(f"layer '{delay.label}': its initial state comes out of its own loop")
            value = self.value(delay.inputs[1])
        if value.dynamic == 2:
            raise InputError(f"layer '{delay.label}': an initial state that is a sequence is not converted")
        missing = len(shape) - len(self.static(value))
        if value.dynamic:
            value = self.unsqueeze(value, *range(1, 1 + max(missing, 0)))
        batch = self.graph.add("Shape", sequence.name, start=0, end=1)
        sizes = self.graph.add("Concat", batch, self.graph.ints(*shape), axis=0) if shape else batch
        return str(self.graph.add("Expand", value.name, sizes))

    def _state_shapes(
        self,
        functions: Sequence[Function],
        delays: Sequence[Function],
        inside: set[str],
        order: Sequence[str],
        outer: dict[str, Value],
        steps: Sequence[str],
    ) -> dict[str, tuple[int, ...]]:
        """The static shapes of delayed values. The file names a shape somewhere in every loop; the others follow."""
        known: dict[str, tuple[int, ...]] = {}
        for f in functions:
            uid = f"{f.uid}_Output_0"
            variable = self.network.variables.get(uid)
            if variable is not None and all(size >= 0 for size in variable.shape):
                known[uid] = variable.shape[::-1]
            if isinstance(f.attributes.get("layout"), tuple) and f.attributes["layout"]:
                known[uid] = f.attributes["layout"][::-1]
        shapes: dict[str, tuple[int, ...]] = {}
        saved, parent = dict(self.values), self.graph
        scratch = self.graph.subgraph()
        notes = list(self.top.notes)
        batch = parent.shape(outer[steps[0]].name)[0]

        def state(shape: Sequence[int]) -> Value:
            return Value(scratch.input(scratch.fresh("state"), (batch, *shape), free={0: "batch"}), 1)

        try:
            self.graph = scratch
            for uid in steps:
                static = parent.shape(outer[uid].name)[2:]
                self.values[uid] = state(static)
            for uid, shape in known.items():
                self.values[uid] = state(shape)
            pending = [uid for uid in inside if f"{uid}_Output_0" not in known]
            while pending:
                left = []
                for uid in pending:
                    f = self.network.functions[uid]
                    sources = [self.find(s) for s in (f.inputs[:1] if f.op in DELAYS else f.inputs + f.arguments)]
                    if any(owner(s) in inside and s not in self.values for s in sources):
                        left.append(uid)
                    elif f.op in DELAYS:
                        self.values[f"{uid}_Output_0"] = state(self.static(self.value(f.inputs[0])))
                    else:
                        self._single(uid)
                if len(left) == len(pending):
                    label = self.network.functions[left[0]].label
                    raise InputError(f"layer '{label}': the shape of its state cannot be told from the file")
                pending = left
            for f in delays:
                shapes[f.uid] = self.static(self.values[f"{f.uid}_Output_0"])
        finally:
            self.graph, self.values = parent, saved
            self.top.notes[:] = notes
        return shapes


def delay_offset(function: Function) -> int:
    """How many steps a delay looks back (or ahead)."""
    offset = function.attributes.get("offset", 1)
    if not isinstance(offset, int) or not 0 < offset < 1 << 20:
        raise InputError(f"layer '{function.label}': a delay of {offset} steps")
    return offset
