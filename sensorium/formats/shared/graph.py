"""The graph that readers build: values by name, ONNX operators, and shapes known while building.

A reader says what it read; the graph keeps names apart, folds what is known of shapes, and becomes an ONNX model.
The shapes are those of one example input, so a reader may look at them to decide, but must not write them into the
graph: axes that are free stay free. Where it cannot be helped, it says so with `pin`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError, need
from sensorium.version import __version__

OPSET = 18
IR_VERSION = 9
RANK = 16
ELEMENTS = 1 << 31  # of one array
VALUES = 1 << 27  # of one array that a node makes of the example
EXAMPLE = 4096  # elements of a small integer array that is worked out while building


@dataclass
class Node:
    """One operator."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    domain: str = ""


@dataclass
class Input:
    """A graph input: its example shape, and the names of its free axes."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    free: dict[int, str]


@dataclass
class Graph:
    """An ONNX graph in the making.

    Attributes:
        name: of the model; `producer` of the format it came from.
        notes: what a user should know: what was left out, what was assumed.
        preprocessing: what the source says of its input: `mean`, `std`, `scale`, `color`, `size`, `layout`.
        metadata: texts that the ONNX file keeps.
    """

    name: str = "model"
    producer: str = ""
    notes: list[str] = field(default_factory=list)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    parent: Graph | None = None

    inputs: list[Input] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    _outputs: list[tuple[str, str]] = field(default_factory=list)  # value, name wanted
    _types: dict[str, Any] = field(default_factory=dict)  # value to TypeProto
    _known: dict[str, np.ndarray] = field(default_factory=dict)  # small integer arrays of the example
    _still: set[str] = field(default_factory=set)  # values that do not depend on the input
    _taken: set[str] = field(default_factory=set)
    _pinned: set[str] = field(default_factory=set)
    _cache: dict[Any, str] = field(default_factory=dict)

    # Values

    def fresh(self, hint: str) -> str:
        """A name that nothing has yet."""
        top = self
        while top.parent is not None:
            top = top.parent
        name, i = hint, 0
        while name in top._taken:
            i += 1
            name = f"{hint}.{i}"
        top._taken.add(name)
        return name

    def input(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any = np.float32,
        free: Mapping[int, str] | None = None,
    ) -> str:
        """A graph input.

        Args:
            name: the original one.
            shape: of an example.
            free: names of the axes that may have any size: `{0: "batch", 2: "height"}`. An axis of the same name has
                the same size everywhere.

        Raises:
            InputError: the shape is not one that an input can have.
        """
        for size in shape:
            if not 0 < size < 1 << 24:
                raise InputError(f"input '{name}': a dimension (dim) of {size} is not possible")
        if len(shape) > RANK or int(np.prod(np.array(shape, np.float64))) > ELEMENTS:
            raise InputError(f"input '{name}': a shape of {list(shape)[:RANK]} is too large")
        if any(i.name == name for i in self.inputs):
            raise InputError(f"there are two inputs named '{name}'")
        self.inputs.append(Input(self.fresh(name), tuple(shape), np.dtype(dtype), dict(free or {})))
        value = self.inputs[-1].name
        self.tell(value, shape, dtype)
        return value

    def constant(self, array: Any, hint: str = "constant", dtype: Any = None) -> str:
        """A stored array. Small ones are stored once."""
        value = np.ascontiguousarray(np.asarray(array, dtype)).reshape(np.shape(array))
        if not value.dtype.isnative:
            value = value.astype(value.dtype.newbyteorder("="))
        key = (value.dtype.str, value.shape, value.tobytes()) if value.size <= 64 else None
        if key in self._cache:
            return self._cache[key]
        name = self.fresh(hint)
        self.constants[name] = value
        if key is not None:
            self._cache[key] = name
        if value.dtype.kind in "iu" and value.size <= EXAMPLE:
            self._known[name] = value
        self.tell(name, value.shape, value.dtype)
        return name

    def ints(self, *values: int) -> str:
        """A constant list of int64."""
        return self.constant(np.array(values, np.int64), "ints")

    def add(self, op: str, *inputs: str, outputs: int = 1, hint: str = "", domain: str = "", **attributes: Any) -> Any:
        """Add an operator.

        Args:
            op: the ONNX operator; its inputs are values, or "" for one left out.
            outputs: how many; one is returned as a value, several as a tuple.
            hint: what to call the outputs.
            attributes: as ONNX names them; None leaves one out; a `Graph` is a subgraph.

        Raises:
            InputError: ONNX's shape inference says that these inputs do not fit the operator.
        """
        given = list(inputs)
        while given and given[-1] == "":
            given.pop()
        names = [self.fresh(hint or op.lower()) for _ in range(outputs)]
        kept = {k: v for k, v in attributes.items() if v is not None}
        node = Node(op, given, names, kept, domain)
        self.nodes.append(node)
        if all(self._is_still(n) for n in given if n) and not any(isinstance(a, Graph) for a in kept.values()):
            self._still.update(names)
        self._infer(node)
        self._work_out(node)
        return names[0] if outputs == 1 else tuple(names)

    def subgraph(self) -> Graph:
        """A graph for an operator's attribute (the body of Scan, Loop, If); it may use this graph's values."""
        return Graph(parent=self)

    def output(self, value: str, name: str) -> None:
        """Make a value an output of this name."""
        if any(n == name for _, n in self._outputs):
            raise InputError(f"there are two outputs named '{name}'")
        if any(i.name == name for i in self.inputs):
            self.notes.append(f"the output '{name}' has the name of an input: it is called '{name}_output'")
            name = self.fresh(f"{name}_output")
            value = self.add("Identity", value)
        self._outputs.append((value, name))

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs: name to value."""
        return {name: value for value, name in self._outputs}

    # Shapes of the example

    def tell(self, value: str, shape: Sequence[int | None], dtype: Any = np.float32) -> None:
        """Say the example's shape of a value, where the graph cannot know it; None for a size that is not known."""
        onnx = need("onnx", "formats")
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._types[value] = onnx.helper.make_tensor_type_proto(kind, list(shape))

    def shape(self, value: str) -> tuple[int, ...]:
        """The shape of a value for the example input.

        Raises:
            InputError: it is not known.
        """
        found = self.find_shape(value)
        if found is None:
            raise InputError(f"the shape of '{value}' cannot be told from the file")
        return found

    def find_shape(self, value: str) -> tuple[int, ...] | None:
        """The shape of a value for the example input, or None where it is not known."""
        kind = self._type(value)
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        dims = kind.tensor_type.shape.dim
        return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None

    def sizes(self, value: str) -> tuple[int | None, ...] | None:
        """The shape of a value for the example input with None for what is not known; None without even the rank."""
        kind = self._type(value)
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.tensor_type.shape.dim)

    def rank(self, value: str) -> int:
        """The number of axes of a value.

        Raises:
            InputError: it is not known.
        """
        kind = self._type(value)
        if kind is None or not kind.tensor_type.HasField("shape"):
            raise InputError(f"the number of axes of '{value}' cannot be told from the file")
        return len(kind.tensor_type.shape.dim)

    def dtype(self, value: str) -> np.dtype[Any]:
        """The type of a value's elements; float32 where it is not known."""
        kind = self._type(value)
        if kind is None or not kind.tensor_type.elem_type:
            return np.dtype(np.float32)
        found: np.dtype[Any] = need("onnx", "formats").helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
        return found

    def known(self, value: str) -> np.ndarray | None:
        """A stored array, or a small integer array that follows from the example's shapes; else None."""
        graph: Graph | None = self
        while graph is not None:
            if value in graph.constants:
                return graph.constants[value]
            if value in graph._known:
                return graph._known[value]
            graph = graph.parent
        return None

    def pin(self, *axes: str) -> None:
        """Say that the graph works only for the example's size of these named axes; all of them where none is named."""
        self._pinned.update(axes or {name for i in self.inputs for name in i.free.values()})

    def _type(self, value: str) -> Any:
        graph: Graph | None = self
        while graph is not None:
            if value in graph._types:
                return graph._types[value]
            graph = graph.parent
        return None

    def _infer(self, node: Node) -> None:
        if node.domain:
            return
        if node.op == "Scan":
            self._infer_scan(node)
            return
        onnx = need("onnx", "formats")
        types = {name: self._type(name) for name in node.inputs if name}
        if any(kind is None for kind in types.values()) or any(isinstance(a, Graph) for a in node.attributes.values()):
            return
        try:
            schema = onnx.defs.get_schema(node.op, OPSET, "")
        except onnx.defs.SchemaError:
            raise InputError(f"there is no operator '{node.op}' in ONNX opset {OPSET}") from None
        data = {}
        for name in types:
            array = self.known(name)
            if array is not None and array.size <= EXAMPLE:
                data[name] = onnx.numpy_helper.from_array(array, name)
        proto = self._node(onnx, node, {})
        try:
            found = onnx.shape_inference.infer_node_outputs(
                schema, proto, types, data, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
            )
        except onnx.shape_inference.InferenceError as error:
            shapes = ", ".join(str(list(self.find_shape(n) or ["?"])) for n in types)
            reason = str(error).split("] ")[-1].split("\n")[0][:160]
            raise InputError(f"{node.outputs[0]}: {node.op} does not fit inputs of shape {shapes}: {reason}") from None
        self._types.update(found)
        for name in node.outputs:
            shape = self.find_shape(name)
            if shape is not None and math.prod(shape) > VALUES:
                raise InputError(f"{name}: {node.op} makes an array of shape {list(shape)[:RANK]}: too large")

    def _infer_scan(self, node: Node) -> None:
        """The last states are as the body's; what is collected has the length of the sequences in front."""
        body, count = node.attributes["body"], node.attributes["num_scan_inputs"]
        states = len(node.inputs) - count
        sequence = self.find_shape(node.inputs[-1])
        for i, (name, (value, _)) in enumerate(zip(node.outputs, body._outputs)):
            shape = body.find_shape(value)
            if shape is not None and sequence is not None:
                self.tell(name, shape if i < states else (sequence[0], *shape), body.dtype(value))

    def _is_still(self, value: str) -> bool:
        """Whether a value is the same for every input."""
        graph: Graph | None = self
        while graph is not None:
            if value in graph.constants or value in graph._still:
                return True
            graph = graph.parent
        return False

    def _work_out(self, node: Node) -> None:
        """Follow small integer arrays (shapes and what is computed from them) while building."""
        if node.op == "Shape":
            shape = self.find_shape(node.inputs[0])
            if shape is not None:
                part = slice(node.attributes.get("start", 0), node.attributes.get("end"))
                self._known[node.outputs[0]] = np.array(shape[part], np.int64)
            return
        still = all(self._is_still(name) for name in node.inputs if name)
        work = FOLDABLE.get(node.op) or (COMPARISONS.get(node.op) if still else None)
        if work is None or len(node.outputs) != 1:
            return
        arrays = [self.known(name) if name else None for name in node.inputs]
        if any(a is None or a.dtype.kind not in "iub" or a.size > EXAMPLE for a in arrays):
            return
        try:
            result = work(node.attributes, *arrays)
        except (ValueError, IndexError, TypeError, ZeroDivisionError, KeyError):
            return
        if result is not None and np.asarray(result).dtype.kind in "iub" and result.size <= EXAMPLE:
            self._known[node.outputs[0]] = np.asarray(result)
            self.tell(node.outputs[0], result.shape, result.dtype)

    # What it says of itself

    @property
    def parameters(self) -> int:
        """Number of stored values of floating type that nodes use."""
        used = {name for node in self.nodes for name in node.inputs}
        own = sum(a.size for n, a in self.constants.items() if n in used and a.dtype.kind == "f")
        return own + sum(g.parameters for node in self.nodes for g in node.attributes.values() if isinstance(g, Graph))

    @property
    def kinds(self) -> Counter[str]:
        return Counter(node.op for node in self.nodes)

    def multiply_adds(self) -> int | None:
        """Multiply-adds of convolutions and matrix products for the example input; None where a shape is unknown."""
        total = 0
        for node in self.nodes:
            if node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
                continue
            shapes = [self.find_shape(n) for n in (*node.inputs[:2], node.outputs[0])]
            if any(s is None for s in shapes):
                return None
            x, w, y = (tuple(s or ()) for s in shapes)
            if node.op == "Conv":
                total += int(np.prod(y, dtype=np.float64)) * int(np.prod(w[1:]))
            elif node.op == "ConvTranspose":
                total += int(np.prod(x, dtype=np.float64)) * int(np.prod(w[1:]))
            else:
                inner = x[0] if node.op == "Gemm" and node.attributes.get("transA") else x[-1]
                total += int(np.prod(y, dtype=np.float64)) * inner
        return total

    def free_axes(self, entry: Input) -> dict[int, str]:
        """The axes of an input that have no fixed size."""
        return {axis: name for axis, name in entry.free.items() if name not in self._pinned}

    # ONNX

    def model(self) -> Any:
        """The ONNX ModelProto, with nodes that lead to no output left out.

        Raises:
            InputError: there is no output.
            MissingError: the package onnx is not installed.
        """
        onnx = need("onnx", "formats")
        if not self._outputs:
            raise InputError("no output was found in this model; name them with --outputs")
        self.finish()
        graph = self._graph(onnx, self._names())
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)]
            + [onnx.helper.make_opsetid(d, 1) for d in sorted({n.domain for n in self.nodes} - {""})],
            ir_version=IR_VERSION,
            producer_name="sensorium",
            producer_version=__version__,
        )
        for key, text in {"source_format": self.producer, **self.metadata}.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        return model

    def finish(self) -> None:
        """Leave out what leads to no output; give the outputs operators of their own."""
        self._finish_outputs()
        self._prune()

    def _finish_outputs(self) -> None:
        """An output that is also an input, a constant, or twice an output gets an operator of its own."""
        seen = {i.name for i in self.inputs} | set(self.constants)
        for i, (value, name) in enumerate(self._outputs):
            if value in seen:
                self._outputs[i] = (value := self.add("Identity", value, hint=name), name)
            seen.add(value)

    def _prune(self) -> None:
        wanted = {value for value, _ in self._outputs}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs):
                kept.append(node)
                wanted.update(node.inputs)
                for inner in node.attributes.values():
                    if isinstance(inner, Graph):
                        wanted.update(inner._outside())
        self.nodes = kept[::-1]
        self.constants = {k: v for k, v in self.constants.items() if k in wanted}

    def _outside(self) -> set[str]:
        """Values that a subgraph uses and does not make."""
        used = {n for node in self.nodes for n in node.inputs} | {v for v, _ in self._outputs}
        for node in self.nodes:
            for inner in node.attributes.values():
                if isinstance(inner, Graph):
                    used |= inner._outside()
        made = {i.name for i in self.inputs} | set(self.constants) | {n for node in self.nodes for n in node.outputs}
        return used - made

    def _names(self) -> dict[str, str]:
        """Values that must be called otherwise, so that the outputs can have their original names."""
        names = {}
        wanted = {name: value for value, name in self._outputs}
        for name, value in wanted.items():
            if name != value and name in self._taken:
                names[name] = self.fresh(f"{name}.inner")
        names.update({value: name for name, value in wanted.items()})
        return names

    def _graph(self, onnx: Any, names: Mapping[str, str]) -> Any:
        def info(name: str, dtype: Any, shape: Sequence[Any] | None) -> Any:
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return onnx.helper.make_tensor_value_info(names.get(name, name), kind, shape)

        inputs = []
        for i in self.inputs:
            free = self.free_axes(i)
            inputs.append(info(i.name, i.dtype, [free.get(k, size) for k, size in enumerate(i.shape)]))
        outputs = []
        for value, _ in self._outputs:
            kind = self._type(value)
            ranked = kind is not None and kind.tensor_type.HasField("shape")
            shape = [None] * len(kind.tensor_type.shape.dim) if ranked else None
            outputs.append(info(value, self.dtype(value), shape))
        nodes = [self._node(onnx, node, names) for node in self.nodes]
        stored = [onnx.numpy_helper.from_array(a, names.get(n, n)) for n, a in self.constants.items()]
        return onnx.helper.make_graph(nodes, self.name or "model", inputs, outputs, stored)

    def _node(self, onnx: Any, node: Node, names: Mapping[str, str]) -> Any:
        proto = onnx.helper.make_node(
            node.op,
            [names.get(n, n) for n in node.inputs],
            [names.get(n, n) for n in node.outputs],
            name=names.get(node.outputs[0], node.outputs[0]),
            domain=node.domain or None,
        )
        for key, value in sorted(node.attributes.items()):
            if isinstance(value, Graph):
                value = value._graph(onnx, names)
            elif isinstance(value, np.ndarray):
                value = onnx.numpy_helper.from_array(value)
            elif isinstance(value, tuple):
                value = list(value)
            proto.attribute.append(onnx.helper.make_attribute(key, value))
        return proto


def _unsqueeze(_: Any, x: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.expand_dims(x, tuple(int(a) for a in axes))


def _slice(_: Any, x: np.ndarray, starts: np.ndarray, ends: np.ndarray, *more: np.ndarray) -> np.ndarray:
    axes = more[0] if more else np.arange(len(starts))
    steps = more[1] if len(more) > 1 else np.ones(len(starts), np.int64)
    index = [slice(None)] * x.ndim
    for a, b, e, s in zip(axes, starts, ends, steps):
        index[int(a)] = slice(int(b), int(e), int(s))
    return x[tuple(index)]


def _divide(_: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if not np.all(b):
        raise ZeroDivisionError
    return np.asarray(np.trunc(a / b).astype(a.dtype))  # ONNX rounds towards zero


# Operators on small integer arrays that are followed while building.
FOLDABLE: dict[str, Any] = {
    "Gather": lambda a, x, i: np.take(x, i, a.get("axis", 0)),
    "Concat": lambda a, *xs: np.concatenate(xs, a["axis"]),
    "Unsqueeze": _unsqueeze,
    "Squeeze": lambda a, x, *axes: np.squeeze(x, tuple(int(i) for i in axes[0]) if axes else None),
    "Slice": _slice,
    "Reshape": lambda a, x, s: x.reshape([x.shape[k] if d == 0 else int(d) for k, d in enumerate(s)]),
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Div": _divide,
    "Min": lambda a, *xs: np.minimum.reduce(xs),
    "Max": lambda a, *xs: np.maximum.reduce(xs),
    "ReduceProd": lambda a, x, *_: np.prod(x, keepdims=bool(a.get("keepdims", 1))),
    "Identity": lambda a, x: x,
    "ConstantOfShape": lambda a, x: (
        np.full(x.astype(int), np.reshape(a["value"], ())) if np.prod(x) <= EXAMPLE else None
    ),
    "Expand": lambda a, x, s: x * np.ones(s.astype(int), x.dtype) if np.prod(s) <= EXAMPLE else None,
    "Cast": lambda a, x: x.astype({6: np.int32, 7: np.int64}[a["to"]]),
    "Range": lambda a, x, y, z: np.arange(x, y, z) if abs((y - x) / z) <= EXAMPLE else None,
    "Neg": lambda a, x: -x,
}
# These only where nothing of it follows from the input: what they say of the example's sizes may be otherwise for sizes
# that nobody tried.
COMPARISONS: dict[str, Any] = {
    "Equal": lambda a, x, y: x == y,
    "Less": lambda a, x, y: x < y,
    "Greater": lambda a, x, y: x > y,
    "GreaterOrEqual": lambda a, x, y: x >= y,
    "LessOrEqual": lambda a, x, y: x <= y,
    "And": lambda a, x, y: x & y,
    "Not": lambda a, x: ~x,
    "Where": lambda a, c, x, y: np.where(c, x, y),
}
