"""The nodes of TensorFlow's graphs, and how they are walked: functions inlined, one handler for a kind of node.

Whole numbers are int64 within the graph, as ONNX wants them for shapes; numbers with a point are float32. Inputs and
outputs keep their type.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.source import Options

NESTING = 40  # of functions
SIDES = 64  # outputs that one node may have on a side of a branch that is not taken
# Operators that touch files or run a program's code.
DANGEROUS = frozenset({"ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "EagerPyFunc", "PyFuncStateless", "PrintV2",
                       "Save", "SaveV2", "MergeV2Checkpoints", "DatasetFromGraph"})  # fmt: skip
# Operators on texts, their tables, and packed records and pictures: what comes before a network.
TEXTS = re.compile(
    r"(Mutable)?(Dense)?HashTable|LookupTable|String|Unicode|(Static)?Regex|Decode|Parse|AsString|Substr"
)
# Names of the outputs of operators that have several, in order: functions call them by these.
SEVERAL = {
    "Split": ("output",), "SplitV": ("output",), "Unpack": ("output",), "While": ("output",), "If": ("output",),
    "StatelessWhile": ("output",), "StatelessIf": ("output",), "PartitionedCall": ("output",), "Case": ("output",),
    "StatefulPartitionedCall": ("output",), "IdentityN": ("output",), "StatelessCase": ("output",),
    "FusedBatchNorm": ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"),
    "FusedBatchNormV2": ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"),
    "FusedBatchNormV3": ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"),
    "TopKV2": ("values", "indices"), "TopK": ("values", "indices"), "Unique": ("y", "idx"), "Switch": ("output_false",
    "output_true"), "Merge": ("output", "value_index"), "NonMaxSuppressionV4": ("selected_indices", "valid_outputs"),
    "NonMaxSuppressionV5": ("selected_indices", "selected_scores", "valid_outputs"),
    "CombinedNonMaxSuppression": ("nmsed_boxes", "nmsed_scores", "nmsed_classes", "valid_detections"),
    "TensorListPopBack": ("output_handle", "tensor"), "TensorArrayV3": ("handle", "flow"),
    "SoftmaxCrossEntropyWithLogits": ("loss", "backprop"), "Svd": ("s", "u", "v"), "Qr": ("q", "r"),
    "BlockLSTM": ("i", "cs", "f", "o", "ci", "co", "h"), "BlockLSTMV2": ("i", "cs", "f", "o", "ci", "co", "h"),
    "CTCGreedyDecoder": ("decoded_indices", "decoded_values", "decoded_shape", "log_probability"),
    "LSTMBlockCell": ("i", "cs", "f", "o", "ci", "co", "h"), "GRUBlockCell": ("r", "u", "c", "h"),
    "TensorListConcatV2": ("tensor", "lengths"), "LogMatrixDeterminant": ("sign", "log_abs_determinant"),
    "CudnnRNN": ("output", "output_h", "output_c", "reserve_space"), "_SwitchN": ("outputs",), "SwitchN": ("outputs",),
    "CudnnRNNV2": ("output", "output_h", "output_c", "reserve_space", "host_reserved"),
    "CudnnRNNV3": ("output", "output_h", "output_c", "reserve_space", "host_reserved"),
}  # fmt: skip


@dataclass
class Node:
    """One node: attributes are plain values; types are names like `DT_FLOAT`, functions are `Call`s."""

    name: str
    op: str
    inputs: list[str]
    attributes: dict[str, Any]
    path: str = ""  # where its function is called

    def get(self, key: str, default: Any = None) -> Any:
        value = self.attributes.get(key)
        return default if value is None else value

    @property
    def whole(self) -> str:
        """Its name with the calls that lead to it."""
        return self.path + self.name

    def fault(self, text: str) -> InputError:
        return InputError(f"node '{self.name[:80]}' ({self.op[:40]}): {text}")


@dataclass
class Function:
    """A function of the library: names of its arguments, what it gives (references to its nodes), and its nodes."""

    name: str
    arguments: list[str]
    results: list[str]
    nodes: list[Node]


@dataclass(frozen=True)
class Call:
    """An attribute that names a function."""

    name: str


@dataclass
class Variable:
    """A variable: its array is asked for when it is first read.

    Attributes:
        load: reads it. Raises InputError.
    """

    name: str
    load: Callable[[], np.ndarray]
    value: str | None = None  # the constant that it became


@dataclass
class Texts:
    """A constant of texts: never a value of the network."""

    texts: list[str]


@dataclass
class Dead:
    """What comes out of the side of a branch that is not taken."""


@dataclass
class Complex:
    """An array of complex numbers: its two parts."""

    real: str
    imaginary: str


# Kinds that only move numbers: done to both parts.
MOVING = {"Reshape", "Transpose", "ExpandDims", "Squeeze", "Slice", "StridedSlice", "ConcatV2", "Pack", "Pad", "Tile",
          "GatherV2", "ReverseV2", "Neg", "AddV2", "Add", "Sub", "Sum", "Mean"}  # fmt: skip

Value = Any  # the name of a value of the ONNX graph, or a Variable, Texts, or a list of arrays (tensorflow_control)
Values = list[Any]
Handler = Callable[["Net", Node, list[Any]], Any]
OPS: dict[str, Handler] = {}
# Kinds whose inputs may be something else than arrays.
LOOSE: set[str] = set()


def operator(*kinds: str, loose: bool = False) -> Callable[[Handler], Handler]:
    """Register a handler: net, node and the values of its inputs to the value of its output, or a list of them."""

    def register(handler: Handler) -> Handler:
        OPS.update(dict.fromkeys(kinds, handler))
        if loose:
            LOOSE.update(kinds)
        return handler

    return register


# Kinds that work out more than themselves when they are asked for: with what leads to them not worked out before.
AT_ONCE: dict[str, Callable[[Scope, Node], None]] = {}


def at_once(*kinds: str) -> Callable[[Callable[[Scope, Node], None]], Callable[[Scope, Node], None]]:
    """Register such a function: it puts its results, for the node as well, into `scope.done`."""

    def register(work: Callable[[Scope, Node], None]) -> Callable[[Scope, Node], None]:
        AT_ONCE.update(dict.fromkeys(kinds, work))
        return work

    return register


@dataclass
class Source:
    """What a file says.

    Attributes:
        nodes: of the graph, in any order.
        constants: values of `Const` nodes that are kept elsewhere.
        functions: the library.
        variables: by the name of the node that makes them.
        results: names of the outputs of kinds of operators, as the file tells them.
        inputs, outputs: the signature, its name to the tensor; empty where the file has none.
        types: type of an output by its name, as the signature says.
        numbered: whether tensors are called `x:0`, as they are in TensorFlow itself.
        old: whether a placeholder of no axes means that its shape is not known.
    """

    nodes: Sequence[Node]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    results: Mapping[str, Sequence[str]] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    numbered: bool = False
    old: bool = False


# What works element by element, whatever the order of the axes.
ELEMENTWISE = frozenset({
    "Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Neg", "Abs", "Floor", "Ceil", "Round", "Softplus", "Softsign",
    "Erf", "Reciprocal", "Sign", "Elu", "Selu", "Clip", "LeakyRelu", "Add", "Sub", "Mul", "Div", "Max", "Min", "Pow",
    "Sum", "HardSigmoid", "HardSwish", "PRelu",
})  # fmt: skip


def _sliced(
    x: np.ndarray, starts: list[int], ends: list[int], axes: list[int] | None = None, steps: list[int] | None = None
) -> np.ndarray:
    """What ONNX's Slice gives: past an end there is nothing more."""
    cut = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes or range(x.ndim), steps or [1] * x.ndim):
        size = x.shape[axis]
        if step < 0 and end < -size:  # to the first
            cut[axis] = slice(start, None, step)
        else:
            cut[axis] = slice(start, end, step)
    return x[tuple(cut)]


# What is worked out of stored arrays while converting, so that they are stored as they are used.
FOLD_LIMIT = 1 << 26
FOLDED: dict[str, Callable[..., Any]] = {
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Sqrt": lambda a, x: np.sqrt(x),
    "Reciprocal": lambda a, x: 1 / x,
    "Neg": lambda a, x: -x,
    "Transpose": lambda a, x: x.transpose(a["perm"]),
    "Reshape": lambda a, x, s: x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(s.tolist())]),
    "Squeeze": lambda a, x, axes: np.squeeze(x, tuple(int(i) for i in axes)),
    "Slice": lambda a, x, *places: _sliced(x, *(p.tolist() for p in places)),
    "Unsqueeze": lambda a, x, axes: np.expand_dims(x, tuple(int(i) for i in axes)),
}


class Moves(Exception):
    """Something that has to be written into the graph follows from the size of a free axis."""


class Net:
    """The ONNX graph, with what the operators often need.

    Args:
        graph: an empty one.
        source: what the file says.
        options: what the caller says.
        vary: of `batch` and `sizes`, what has other sizes than the example's.
        before: what was asked of the values in a build with the other sizes: what differs follows from a free axis.
        whole: whether that build came to its end; if not, what was not asked in it is taken to differ.
    """

    def __init__(
        self,
        graph: Graph,
        source: Source,
        options: Options,
        vary: Collection[str] = (),
        before: dict[Any, Any] | None = None,
        whole: bool = True,
    ) -> None:
        self.graph = graph
        self.top = graph
        self.source = source
        self.options = options
        self.vary = vary
        self.free = False
        self.depth = 0
        self.node: Node | None = None
        self.scope: Scope | None = None  # that of the node at hand
        self.asked: dict[Any, Any] = {}
        self._before = before
        self._whole = whole
        self._twins: dict[tuple[int, str], str] = {}
        self._count: Counter[str] = Counter()

    @property
    def in_main(self) -> bool:
        """Whether the node at hand is one of the graph itself, and not of a function."""
        return self.scope is not None and self.scope.main

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator; of stored arrays it is worked out here, and of channels-first values, channels first."""
        if op in FOLDED and (array := self._folded(op, inputs, attributes)) is not None:
            return self.graph.constant(array, op.lower())
        if (turned := self._turned(op, inputs, attributes)) is not None:
            return turned
        value: str = self.graph.add(op, *inputs, **attributes)
        return value

    def _stored(self, value: str) -> np.ndarray | None:
        graph: Graph | None = self.graph
        while graph is not None:
            if value in graph.constants:
                return graph.constants[value]
            graph = graph.parent
        return None

    def _folded(self, op: str, inputs: Sequence[str], attributes: Mapping[str, Any]) -> np.ndarray | None:
        arrays = [self._stored(i) for i in inputs]
        if any(a is None or a.size > FOLD_LIMIT for a in arrays) or any(
            a is not None and a.dtype == bool for a in arrays
        ):
            return None
        result = np.asarray(FOLDED[op](attributes, *arrays))
        own = arrays[0].dtype if arrays[0] is not None else None
        return result.astype(own) if result.size <= FOLD_LIMIT and own is not None else None

    # Channels first. Convolutions want them so; whoever takes their result as it is in TensorFlow gets it turned. But
    # what works element by element may as well work on the other one, and then the turned one is never needed.

    def twin(self, value: str) -> str | None:
        """The same array with its channels first, where there is one."""
        graph: Graph | None = self.graph
        while graph is not None:
            if (id(graph), value) in self._twins:
                return self._twins[id(graph), value]
            graph = graph.parent
        return None

    def _turned(self, op: str, inputs: Sequence[str], attributes: dict[str, Any]) -> str | None:
        twins = [self.twin(i) for i in inputs]
        ranks = {self.graph.rank(i) for i, t in zip(inputs, twins) if t is not None}
        if len(ranks) != 1:
            return None
        (rank,) = ranks
        if op == "Concat" and None not in twins and attributes.get("axis") in (-1, rank - 1):
            return self.last(self.graph.add(op, *[t for t in twins if t is not None], axis=1))
        if op in ("ReduceMean", "ReduceMax") and twins[0] is not None and len(inputs) == 2:
            axes = self._stored(inputs[1])
            inner = list(range(1, rank - 1))
            if axes is not None and sorted(int(a) % rank for a in axes.reshape(-1)) == inner:
                y: str = self.graph.add(op, twins[0], self.ints([a + 1 for a in inner]), **attributes)
                return self.last(y) if attributes.get("keepdims") else y
        if op not in ELEMENTWISE:
            return None
        taken = []
        for value, twin in zip(inputs, twins):
            array = self._stored(value)
            if twin is not None:
                taken.append(twin)
            elif array is not None and array.size == 1 and array.ndim <= 1:
                taken.append(value)
            elif array is not None and array.ndim <= rank and array.size <= FOLD_LIMIT:
                whole = array.reshape((1,) * (rank - array.ndim) + array.shape)
                taken.append(self.graph.constant(whole.transpose(0, rank - 1, *range(1, rank - 1)), "turned"))
            else:
                return None
        return self.last(self.graph.add(op, *taken, **attributes))

    def ints(self, values: Sequence[int]) -> str:
        return self.graph.constant(np.array(list(values), np.int64), "ints")

    def number(self, value: float) -> str:
        return self.graph.constant(np.array(value, np.float32), "number")

    def fixed(self, value: str) -> np.ndarray | None:
        """The array of a value that is the same whatever the sizes of the free axes; else None."""
        found = self.graph.known(value)
        return None if found is None or self._moves(found) else found

    def size(self, value: str, axis: int) -> int | None:
        """The size of an axis, if it is the same whatever the sizes of the free axes."""
        shape = self.graph.find_shape(value)
        return None if shape is None or self._moves(np.array(shape[axis])) else shape[axis]

    def _moves(self, found: np.ndarray) -> bool:
        where = self.node.whole if self.node else ""
        self._count[where] += 1
        key = (where, self._count[where])
        self.asked[key] = found if found.size <= 4096 else found.shape
        if self._before is None or key not in self._before:
            return not self._whole
        return not np.array_equal(self._before[key], self.asked[key])

    def known(self, node: Node, value: str, what: str) -> np.ndarray:
        """The array of a value that has to be written into the graph."""
        found = self.graph.known(value)
        if found is None:
            raise node.fault(f"its {what} are not constants; this is not converted")
        self.steady(found)
        return found

    def steady(self, found: np.ndarray) -> None:
        """Something that has to be written into the graph was worked out from shapes.

        Raises:
            Moves: it follows from the size of a free axis.
        """
        if self._moves(found):
            raise Moves

    def list(self, node: Node, value: str, what: str) -> list[int]:
        return [int(v) for v in self.known(node, value, what).reshape(-1)]

    def first(self, value: str) -> str:
        """Channels from the last to the second axis."""
        twin = self.twin(value)
        if twin is None:
            rank = self.graph.rank(value)
            twin = str(self.graph.add("Transpose", value, perm=[0, rank - 1, *range(1, rank - 1)]))
            self._twins[id(self.graph), value] = twin
        return twin

    def last(self, value: str) -> str:
        """Channels from the second to the last axis."""
        rank = self.graph.rank(value)
        turned: str = self.graph.add("Transpose", value, perm=[0, *range(2, rank), 1])
        self._twins[id(self.graph), turned] = value
        return turned

    def shape1(self, value: str) -> str:
        """A number, or a list of one, as a list."""
        return value if self.graph.rank(value) == 1 else self.op("Reshape", value, self.ints([-1]))

    def read(self, node: Node, variable: Variable) -> str:
        """The value of a variable, stored once in the outermost graph."""
        if variable.value is None:
            variable.value = self.top.constant(plain(node, variable.load()), variable.name)
        return variable.value

    def call(self, node: Node, name: str, arguments: Sequence[Value]) -> Values:
        """What a function gives, worked out in the graph at hand.

        Raises:
            InputError: there is no such function, or it calls itself.
        """
        function = self.source.functions.get(name)
        if function is None:
            raise node.fault(f"calls the function '{name[:80]}', which the file does not hold")
        if len(arguments) != len(function.arguments):
            raise node.fault(f"gives {len(arguments)} arguments to a function of {len(function.arguments)}")
        if self.depth >= NESTING:
            raise node.fault(f"functions call each other more than {NESTING} deep")
        self.depth += 1
        scope = Scope(self, function.nodes, f"{node.whole}/", dict(zip(function.arguments, arguments)))
        found = scope.values(function.results)
        self.depth -= 1
        return found


class Scope:
    """The nodes of one graph or function, converted when they are asked for.

    Args:
        path: where it is called, for names.
        bound: values of its arguments.
        main: whether these are the nodes of the graph itself, and not of a function.
    """

    def __init__(
        self,
        net: Net,
        nodes: Sequence[Node],
        path: str = "",
        bound: Mapping[str, Value] | None = None,
        main: bool = False,
    ):
        self.net = net
        self.main = main
        self.path = path
        self.nodes = {node.name: node for node in nodes}
        if len(self.nodes) < len(nodes):
            raise InputError("two nodes of the graph have the same name")
        self.done: dict[str, list[Value]] = {name: [value] for name, value in (bound or {}).items()}

    def place(self, reference: str) -> tuple[str, int]:
        """Node and number of the output that a reference means: `x`, `x:1`, or `x:output:1` in functions."""
        parts = reference.removeprefix("^").split(":")
        if len(parts) == 1:
            return parts[0], 0
        if len(parts) == 2 and parts[1].isdigit():
            return parts[0], int(parts[1])
        node = self.nodes.get(parts[0])
        if len(parts) != 3 or not parts[2].isdigit() or node is None:
            if len(parts) == 2 and parts[0] in self.done:
                return parts[0], 0
            raise InputError(f"there is no node '{reference[:80]}' in the graph, but it is asked for")
        names = list(self.net.source.results.get(node.op) or SEVERAL.get(node.op, ()))
        at = names.index(parts[1]) if parts[1] in names else 0
        return parts[0], at + int(parts[2])

    def values(self, references: Sequence[str]) -> list[Value]:
        """What some references mean.

        Raises:
            InputError: a node is unknown, missing, in a circle, or cannot be converted.
        """
        places = [self.place(r) for r in references]
        left = [name for name, _ in places]
        active: set[str] = set()
        while left:
            name = left[-1]
            if name in self.done:
                left.pop()
                continue
            if name not in self.nodes:
                raise InputError(f"there is no node '{name[:80]}' in the graph, but it is asked for")
            node = self.nodes[name]
            if node.op in AT_ONCE:
                AT_ONCE[node.op](self, node)
                if name not in self.done:
                    raise node.fault("is not described as it should be")
                continue
            given = [self.place(i) for i in node.inputs if not i.startswith("^")]
            missing = [n for n, _ in given if n not in self.done]
            if missing:
                if name in active:
                    raise node.fault("takes its own output: a loop; this is not converted")
                active.add(name)
                left.extend(missing)
                continue
            left.pop()
            self.done[name] = self.convert(node, [self._get(node, *place) for place in given])
        return [self._get(None, *place) for place in places]

    def switch(self, reference: str) -> tuple[str, int] | None:
        """The innermost `Switch` that a value comes from, and from which side of it."""
        left, seen = [reference], set[str]()
        while left:
            name, side = self.place(left.pop(0))
            node = self.nodes.get(name)
            if node is None or name in seen:
                continue
            if node.op in ("Switch", "RefSwitch", "_SwitchN", "SwitchN"):
                return name, side
            seen.add(name)
            left += node.inputs
        return None

    def _get(self, node: Node | None, name: str, index: int) -> Value:
        values = self.done[name]
        if index < len(values):
            return values[index]
        text = f"'{name[:80]}' has no output number {index}"
        raise node.fault(f"its input {text}") if node else InputError(f"the node {text}")

    def convert(self, node: Node, inputs: list[Value]) -> list[Value]:
        if any(isinstance(i, Dead) for i in inputs) and node.op != "Merge":
            return [Dead()] * SIDES
        node.path = self.path
        if node.op in DANGEROUS:
            raise node.fault("touches files or runs Python when the graph is run; refused")
        if node.op not in OPS:
            words = TEXTS.match(node.op) is not None
            raise node.fault("works on texts or packed data; not converted" if words else "this operator is not known")
        if node.op in MOVING and any(isinstance(i, Complex) for i in inputs):
            return self._of_complex(node, inputs)
        if node.op not in LOOSE and (odd := next((i for i in inputs if not isinstance(i, str)), None)) is not None:
            raise node.fault(f"works on {'texts' if isinstance(odd, Texts) else 'what is no array'}; not converted")
        before = self.net.node, self.net.scope
        self.net.node, self.net.scope = node, self
        try:
            result = OPS[node.op](self.net, node, inputs)
        except InputError as error:
            text = str(error)
            raise error if "node '" in text else node.fault(text) from None
        except (IndexError, ValueError, KeyError, TypeError) as error:
            raise node.fault(f"is not described as it should be ({type(error).__name__}: {str(error)[:60]})") from None
        finally:
            self.net.node, self.net.scope = before
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def _of_complex(self, node: Node, inputs: list[Value]) -> list[Value]:
        """The real and the imaginary part by themselves; what is real among sums adds nothing to the latter."""
        if node.op in ("AddV2", "Add", "Sub") and not all(isinstance(i, Complex) for i in inputs):
            raise node.fault("of a complex and a real number is not converted")
        parts = [
            self.convert(node, [i if isinstance(i, str) else getattr(i, side) for i in inputs])
            for side in ("real", "imaginary")
        ]
        return [Complex(a, b) for a, b in zip(*parts)]


def plain(node: Node, array: np.ndarray) -> np.ndarray:
    """An array in the types that are used within the graph."""
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind != "b":
        raise node.fault("does not hold numbers")
    return array
