"""What a CNTK file holds, whichever its version: variables, functions and what stands for what; and the v2 reader.

A v2 file is a protobuf dictionary (CNTK.proto): functions by number of their primitive operation, attributes by name,
shapes with the fastest axis first. A stored array in that order is a C-ordered array of the reversed shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.protobuf import Message

INFERRED, FREE = -1, -3  # sizes of an axis that stand for something else
UNKNOWN_SHAPE = -2
INPUT, OUTPUT, PARAMETER, CONSTANT, PLACEHOLDER = range(5)
FLOAT, DOUBLE, FLOAT16, INT8, INT16 = 1, 2, 4, 5, 6
DTYPES = {FLOAT: np.float32, DOUBLE: np.float64, FLOAT16: np.float16, INT8: np.int8, INT16: np.int16}
# Axis numbers that are none (CNTKLibrary.h).
DYNAMIC, ALL_STATIC, UNKNOWN_AXES, END, ALL = (2**31 - 1 - i for i in range(5))
RANK = 12

# Primitive operations by number (PrimitiveOpType.h).
NAMES = """
Negate Sigmoid Tanh ReLU Exp Log Sqrt Floor Abs Reciprocal Softmax Hardmax TransposeAxes Where Slice Dropout Reshape
Pooling SumAll Plus Minus ElementTimes Equal NotEqual Less LessEqual Greater GreaterEqual PackedIndex GatherPacked
ScatterPacked Times TransposeTimes Convolution SquaredError CrossEntropyWithSoftmax ClassificationError PastValue
FutureValue ReduceElements BatchNormalization Clip Select Splice Combine RandomSample RandomSampleInclusionFrequency
ROIPooling Logistic OptimizedRNNStack ReconcileDynamicAxis LogSoftmax LogPlus CosDistance Sin Cos Pass Block
Unpooling LambdaRank NDCG EditDistanceError NoOp LabelsToGraph StopGradient ELU ForwardBackward
CosDistanceWithNegativeSamples OneHot Pow ToSequence ToSequenceLike UnpackSequence Assign Gather StableSigmoid
RandomDistribution Sinh Cosh UnpackBatch ToBatch Asin Acos Pad Crop Atanh Asinh TopK Squeeze ConstantOp
LatticeSequenceWithSoftmax Cast EyeLikeOp CustomProxyOp StraightThrough Tan Atan ConvolutionSequenceShape
"""
OPS = dict(enumerate(NAMES.split()))
CRITERIA = frozenset(
    (
        "SquaredError",
        "CrossEntropyWithSoftmax",
        "ClassificationError",
        "Logistic",
        "LambdaRank",
        "NDCG",
        "EditDistanceError",
        "ForwardBackward",
        "LatticeSequenceWithSoftmax",
        "CosDistanceWithNegativeSamples",
        "BinaryCrossEntropy",
        "WeightedBinaryCrossEntropy",
    )
)

# Blocks that are converted as a whole: what they are made of scatters and gathers steps.
WHOLE = frozenset(["Sequence::BroadcastAs"])


@dataclass(frozen=True)
class Axis:
    """An axis: its number, or one of the numbers that stand for something else; and its name where it is dynamic."""

    index: int
    name: str = ""


@dataclass
class Variable:
    """An input, a parameter, a constant, or a placeholder for the output of a function.

    Attributes:
        shape: fastest axis first; `FREE` and `INFERRED` where the file does not say.
        dynamic: how many dynamic axes: 1 the batch, 2 the sequence and the batch.
        value: reads the stored array, in the reversed shape; takes what to call it in messages.
    """

    uid: str
    name: str
    kind: int
    shape: tuple[int, ...]
    dynamic: int = 0
    dtype: int = FLOAT
    value: Callable[[str], np.ndarray] | None = None
    sparse: bool = False

    @property
    def label(self) -> str:
        return self.name or self.uid


@dataclass
class Function:
    """One primitive operation; a block also has the name of what it was made of."""

    uid: str
    name: str
    op: str
    inputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    block: str = ""
    arguments: list[str] = field(default_factory=list)  # what a block's placeholders stand for

    @property
    def label(self) -> str:
        return f"{self.name or self.uid}"


@dataclass
class Network:
    """A model: `roots` are the values that the file names as its outputs."""

    version: str
    name: str = ""
    variables: dict[str, Variable] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)  # a placeholder, or a block's output: what it stands for
    roots: list[str] = field(default_factory=list)

    def resolve(self, uid: str) -> str:
        """The value that a name stands for.

        Raises:
            InputError: names stand for each other in a circle.
        """
        for _ in range(len(self.aliases) + 1):
            if owner(uid) in self.functions and uid not in self.aliases:
                return uid
            if uid not in self.aliases:
                return uid
            uid = self.aliases[uid]
        raise InputError(f"'{uid}' stands for itself in a cycle")


def owner(uid: str) -> str:
    """The function whose output a value is: `Plus7_Output_0` belongs to `Plus7`."""
    return uid.rpartition("_Output_")[0]


def dims(message: Message) -> tuple[int, ...]:
    shape = tuple(message.signed_list(1))
    if len(shape) > RANK:
        raise InputError(f"{message.where}: a shape of {len(shape)} axes")
    return shape


def array(message: Message, label: str) -> np.ndarray:
    """An NDArrayView."""
    kind, layout, shape = message.unsigned(1), message.unsigned(2), dims(message.message(3))
    if layout:
        raise InputError(f"parameter '{label}': is stored sparse, which is not read")
    if kind == FLOAT:
        flat: np.ndarray = message.message(4).floats(1)
    elif kind == DOUBLE:
        flat = message.message(5).doubles(1)
    elif kind == FLOAT16:
        raw = message.message(6).raw(1)
        if not len(raw):  # older writers kept halves as floats
            flat = message.message(4).floats(1)
        elif len(raw) % 2:
            raise InputError(f"parameter '{label}': {len(raw)} bytes are no array of halves")
        else:
            flat = np.frombuffer(raw, "<f2")
    else:
        raise InputError(f"parameter '{label}': elements of an unknown type ({kind})")
    count = 1
    for size in shape:
        if size < 0:
            raise InputError(f"parameter '{label}': its shape {list(shape)} was never worked out")
        count *= size
    if count != flat.size:
        raise InputError(f"parameter '{label}': its shape {list(shape)} needs {count} values, the file has {flat.size}")
    return flat.reshape(shape[::-1]).astype(np.float32)


def value(message: Message, depth: int = 0) -> Any:
    """A DictionaryValue as Python has it; an array becomes a function that reads it (given a name for messages)."""
    kind = message.unsigned(2)
    if kind == 1:
        return message.flag(3)
    if kind == 2:
        return message.signed(4)
    if kind == 3:
        return message.unsigned(5)
    if kind == 4:
        return message.float32(6)
    if kind == 5:
        return message.float64(7)
    if kind == 6:
        return message.text(8)
    if kind == 7:
        return dims(message.message(9))
    if kind == 8:
        axis = message.message(10)
        return Axis(axis.signed(1), axis.text(2))
    if kind == 9:
        return [value(m, depth + 1) for m in message.message(11).messages(1)]
    if kind == 10:
        return dictionary(message.message(12), depth + 1)
    if kind == 11:
        content = message.message(13)
        return partial(array, content)
    return None


def dictionary(message: Message, depth: int = 0) -> dict[str, Any]:
    """A Dictionary: text to value."""
    if depth > 24:
        raise InputError(f"{message.where}: corrupt: dictionaries are nested too deep")
    return {entry.text(1): value(entry.message(2), depth) for entry in message.messages(2)}


def read_v2(data: bytes, where: str) -> Network:
    """Parse a v2 model.

    Raises:
        InputError: it is damaged.
    """
    top = dictionary(Message(data, where))
    network = Network("2", str(top.get("name") or ""))
    _collect(network, top)
    if not network.functions or not isinstance(top.get("root"), str):
        raise InputError("not a CNTK model: it holds no functions (a checkpoint of a learner, or a single array?)")
    root = network.functions.get(top["root"])
    if root is None:
        raise InputError(f"corrupt: the root '{top['root']}' is none of its functions")
    network.roots = list(root.inputs) if root.op == "Combine" else [f"{root.uid}_Output_0"]
    return network


def _texts(entry: dict[str, Any], key: str) -> list[str]:
    found = entry.get(key, [])
    if not isinstance(found, list) or not all(isinstance(v, str) for v in found):
        raise InputError(f"corrupt: '{key}' of '{entry.get('uid')}' should list names")
    return found


def _collect(network: Network, composite: dict[str, Any], depth: int = 0) -> None:
    """Take in the variables and functions of a composite; a block's composite may hold its own."""
    for entry in composite.get("inputs", []):
        if isinstance(entry, dict):
            variable = _variable(entry)
            known = network.variables.get(variable.uid)
            if known is None or known.kind == PLACEHOLDER:
                network.variables[variable.uid] = variable
    for entry in composite.get("primitive_functions", []):
        if not isinstance(entry, dict) or not isinstance(entry.get("uid"), str):
            raise InputError("corrupt: a function without a name")
        number = entry.get("op")
        label = entry.get("name") or entry["uid"]
        if not isinstance(number, int) or number not in OPS:
            raise InputError(f"layer '{label}': the primitive op {number} is not one that is known")
        attributes = entry.get("attributes")
        function = Function(
            entry["uid"],
            str(entry.get("name") or ""),
            OPS[number],
            _texts(entry, "inputs"),
            attributes if isinstance(attributes, dict) else {},
            str(entry.get("block_function_op_name") or ""),
        )
        network.functions[function.uid] = function
        if function.op == "Block":
            _flatten(network, function, entry, depth)


def _flatten(network: Network, block: Function, entry: dict[str, Any], depth: int) -> None:
    """A block's output stands for its composite's root, its placeholders for what is given to it."""
    inner = entry.get("block_function_composite")
    keys = _texts(entry, "block_function_composite_arguments_map_keys")
    values = _texts(entry, "block_function_composite_arguments_map_values")
    if not isinstance(inner, dict) or not isinstance(inner.get("root"), str) or len(keys) != len(values):
        raise InputError(f"layer '{block.label}': corrupt: a block without its functions")
    block.arguments = values
    if block.block in WHOLE:
        return
    network.aliases.update(zip(keys, values))
    if depth < 16:
        _collect(network, inner, depth + 1)
    network.aliases[f"{block.uid}_Output_0"] = f"{inner['root']}_Output_0"


def _variable(entry: dict[str, Any]) -> Variable:
    uid, kind, shape = entry.get("uid"), entry.get("kind"), entry.get("shape")
    if not isinstance(uid, str) or not isinstance(kind, int) or kind not in range(5):
        raise InputError("corrupt: a variable without a name or kind")
    if not isinstance(shape, tuple):
        raise InputError(f"variable '{entry.get('name') or uid}': has no shape")
    axes = entry.get("dynamic_axis", [])
    name = str(entry.get("name") or "")
    stored, dtype = entry.get("value"), entry.get("data_type", FLOAT)
    return Variable(
        uid,
        name,
        kind,
        shape,
        len(axes) if isinstance(axes, list) else 1,
        dtype if isinstance(dtype, int) else FLOAT,
        stored if callable(stored) else None,
        bool(entry.get("is_sparse")),
    )
