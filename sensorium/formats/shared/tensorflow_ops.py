"""The operators of TensorFlow's inference graphs, as ONNX: for GraphDef in any wrapping.

Whole numbers are int64 within the graph, as ONNX wants them for shapes; inputs and outputs keep their type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.source import Options

END = (1 << 62) - 1
EXAMPLE = 48  # size of a free axis in the example
TYPES = {"DT_FLOAT": 1, "DT_HALF": 1, "DT_BFLOAT16": 1, "DT_DOUBLE": 1, "DT_INT32": 7, "DT_INT64": 7, "DT_UINT8": 7,
         "DT_INT8": 7, "DT_INT16": 7, "DT_BOOL": 9}  # fmt: skip
INPUTS: dict[str, Any] = {"DT_FLOAT": np.float32, "DT_INT32": np.int32, "DT_INT64": np.int64, "DT_BOOL": np.bool_,
                          "DT_UINT8": np.uint8, "DT_DOUBLE": np.float64}  # fmt: skip
DANGEROUS = {"ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "EagerPyFunc", "PyFuncStateless", "SaveV2", "Save"}


@dataclass
class Node:
    """One node: attributes are plain values; types are names like `DT_FLOAT`."""

    name: str
    op: str
    inputs: list[str]
    attributes: dict[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        value = self.attributes.get(key)
        return default if value is None else value

    def fault(self, text: str) -> InputError:
        return InputError(f"node '{self.name[:80]}' ({self.op[:40]}): {text}")


Handler = Callable[["Net", Node, list[str]], Any]
OPS: dict[str, Handler] = {}


def operator(*kinds: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        OPS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


class Net:
    """The ONNX graph, with what the operators often need."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.free = False

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        value: str = self.graph.add(op, *inputs, **attributes)
        return value

    def ints(self, values: Sequence[int]) -> str:
        return self.graph.constant(np.array(list(values), np.int64), "ints")

    def number(self, value: float) -> str:
        return self.graph.constant(np.array(value, np.float32), "number")

    def known(self, node: Node, value: str, what: str) -> np.ndarray:
        found = self.graph.known(value)
        if found is None:
            raise node.fault(f"its {what} are not constants; this is not converted")
        return found

    def list(self, node: Node, value: str, what: str) -> list[int]:
        return [int(v) for v in self.known(node, value, what).reshape(-1)]

    def first(self, value: str) -> str:
        rank = self.graph.rank(value)
        return self.op("Transpose", value, perm=[0, rank - 1, *range(1, rank - 1)])

    def last(self, value: str) -> str:
        rank = self.graph.rank(value)
        return self.op("Transpose", value, perm=[0, *range(2, rank), 1])

    def shape1(self, value: str) -> str:
        """A shape as a list, if it is a single number."""
        return value if self.graph.rank(value) == 1 else self.op("Reshape", value, self.ints([-1]))


def build(
    graph: Graph, nodes: Sequence[Node], constants: Mapping[str, np.ndarray], outputs: Sequence[str], options: Options
) -> None:
    """Fill a graph from nodes.

    Args:
        graph: an empty one.
        nodes: in any order.
        constants: the values of `Const` nodes that are kept elsewhere.
        outputs: names wanted; empty for those that nothing uses.

    Raises:
        InputError: a node is unknown, missing, or cannot be converted.
    """
    by_name = {node.name: node for node in nodes}
    if len(by_name) < len(nodes):
        raise InputError("two nodes of the graph have the same name")
    for node in nodes:
        if node.op in DANGEROUS:
            raise node.fault("touches files or runs Python when the graph is run; refused")
    used = {_split(i)[0] for node in nodes for i in node.inputs}
    wanted = list(outputs) or [
        n.name for n in nodes if n.name not in used and n.op not in ("NoOp", "Const", "Placeholder")
    ]
    net = Net(graph)
    values: dict[str, list[str]] = {}
    for node in nodes:
        if node.op == "Placeholder":
            values[node.name] = [_placeholder(net, node, options)]
    left = [_split(name)[0] for name in wanted]
    active: set[str] = set()
    while left:
        name = left[-1]
        if name in values:
            left.pop()
            continue
        if name not in by_name:
            raise InputError(f"there is no node '{name[:80]}' in the graph, but it is asked for")
        node = by_name[name]
        given = [_split(i) for i in node.inputs if not i.startswith("^")]
        missing = [n for n, _ in given if n not in values]
        if missing:
            if name in active:
                raise node.fault("takes its own output: a loop; this is not converted")
            active.add(name)
            left.extend(missing)
            continue
        left.pop()
        arguments = []
        for source, index in given:
            if index >= len(values[source]):
                raise node.fault(f"its input '{source[:80]}' has no output number {index}")
            arguments.append(values[source][index])
        values[name] = _convert(net, node, arguments, constants)
    for name in wanted:
        source, index = _split(name)
        if index >= len(values[source]):
            raise InputError(f"the node '{source[:80]}' has no output number {index}")
        value, node = values[source][index], by_name[source]
        dtype = str(
            node.get("output_type" if node.op in ("ArgMax", "ArgMin") else "DstT" if node.op == "Cast" else "T", "")
        )
        if dtype == "DT_INT32" and graph.dtype(value) == np.int64:
            value = net.op("Cast", value, to=6)
        graph.output(value, source if index == 0 else f"{source}:{index}")


def _split(name: str) -> tuple[str, int]:
    name = name.removeprefix("^")
    head, _, tail = name.rpartition(":")
    return (head, int(tail)) if head and tail.isdigit() else (name, 0)


def _placeholder(net: Net, node: Node, options: Options) -> str:
    dtype = INPUTS.get(str(node.get("dtype", "DT_FLOAT")))
    if dtype is None:
        raise node.fault(f"an input of the type {node.get('dtype')} is not converted")
    shape = node.get("shape")
    told = options.shapes.get(node.name)
    if told is not None:
        shape = [s if shape and i < len(shape) and s == shape[i] else -1 for i, s in enumerate(told)]
    if shape is None:
        raise node.fault("the shape of this input is not in the file; name it with --shape")
    names = {4: {1: "height", 2: "width"}, 3: {1: "length"}, 2: {1: "length"}}.get(len(shape), {})
    free, sizes = {}, []
    for axis, size in enumerate(shape):
        if size >= 0:
            sizes.append(size)
            continue
        hint = "batch" if axis == 0 else names.get(axis, f"axis_{axis}")
        free[axis] = hint if axis == 0 or not net.graph.inputs else f"{node.name}_{hint}"
        net.free = net.free or axis > 0
        example = 1 if axis == 0 else EXAMPLE
        if options.image_size and len(shape) == 4 and axis in (1, 2):
            example = options.image_size[axis - 1]
        sizes.append(told[axis] if told is not None else example)
    value = net.graph.input(node.name, sizes, dtype, free)
    kind = np.dtype(dtype)
    return (
        net.op("Cast", value, to=7)
        if kind.kind in "iu" and kind != np.int64
        else net.op("Cast", value, to=1)
        if kind == np.float64
        else value
    )


def _convert(net: Net, node: Node, inputs: list[str], constants: Mapping[str, np.ndarray]) -> list[str]:
    if node.op == "Const":
        value = node.get("value")
        array = constants.get(node.name)
        if array is None and isinstance(value, np.ndarray):
            array = value
        if array is None:
            raise node.fault("its values are missing")
        if array.dtype.kind in "iu":
            array = array.astype(np.int64)
        elif array.dtype.kind == "f":
            array = array.astype(np.float32)
        elif array.dtype.kind != "b":
            raise node.fault("does not hold numbers")
        return [net.graph.constant(array, node.name)]
    if node.op not in OPS:
        raise node.fault("this operator is not known")
    try:
        result = OPS[node.op](net, node, inputs)
    except InputError as error:
        text = str(error)
        raise error if f"'{node.name[:80]}'" in text else node.fault(text) from None
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise node.fault(f"is not described as it should be ({type(error).__name__}: {str(error)[:60]})") from None
    return [result] if isinstance(result, str) else list(result)


# One to one

PLAIN = {
    "Relu": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh", "Exp": "Exp", "Log": "Log", "Sqrt": "Sqrt", "Neg": "Neg",
    "Abs": "Abs", "Floor": "Floor", "Ceil": "Ceil", "Round": "Round", "Softplus": "Softplus", "Softsign": "Softsign",
    "Erf": "Erf", "Sin": "Sin", "Cos": "Cos", "Tan": "Tan", "Atan": "Atan", "Reciprocal": "Reciprocal", "Sign": "Sign",
    "Elu": "Elu", "Selu": "Selu", "LogicalNot": "Not", "IsNan": "IsNaN", "Identity": "Identity",
    "StopGradient": "Identity", "Snapshot": "Identity", "PlaceholderWithDefault": "Identity",
    "PreventGradient": "Identity", "CheckNumerics": "Identity",
    "Add": "Add", "AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "RealDiv": "Div", "Maximum": "Max", "Minimum": "Min",
    "Pow": "Pow", "Greater": "Greater", "GreaterEqual": "GreaterOrEqual", "Less": "Less", "LessEqual": "LessOrEqual",
    "Equal": "Equal", "LogicalAnd": "And", "LogicalOr": "Or", "LogicalXor": "Xor", "Select": "Where",
    "SelectV2": "Where", "BatchMatMul": "MatMul", "AddN": "Sum",
}  # fmt: skip
ARITY = {"Where": 3, "Sum": 0}
TWO = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal",
       "And", "Or", "Xor", "MatMul"}  # fmt: skip


@operator(*PLAIN)
def _plain(net: Net, node: Node, inputs: list[str]) -> str:
    op = PLAIN[node.op]
    count = ARITY.get(op, 2 if op in TWO else 1)
    if count and len(inputs) != count:
        raise node.fault(f"takes {count} inputs, not {len(inputs)}")
    if node.op == "BatchMatMul":
        return str(_batch_matmul(net, node, inputs))
    if node.op == "Select" and net.graph.rank(inputs[0]) == 1 and net.graph.rank(inputs[1]) > 1:
        more = range(1, net.graph.rank(inputs[1]))
        inputs = [net.op("Unsqueeze", inputs[0], net.ints(more)), *inputs[1:]]
    return net.op(op, *inputs)


@operator("NotEqual")
def _not_equal(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Not", net.op("Equal", *inputs))


@operator("Relu6")
def _relu6(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Clip", inputs[0], net.number(0.0), net.number(6.0))


@operator("LeakyRelu")
def _leaky(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("LeakyRelu", inputs[0], alpha=float(node.get("alpha", 0.2)))


@operator("Prelu")
def _prelu(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("PRelu", inputs[0], inputs[1])


@operator("ClipByValue")
def _clip(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Min", net.op("Max", inputs[0], inputs[1]), inputs[2])


@operator("Rsqrt")
def _rsqrt(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Reciprocal", net.op("Sqrt", inputs[0]))


@operator("Square")
def _square(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Mul", inputs[0], inputs[0])


@operator("SquaredDifference")
def _difference(net: Net, node: Node, inputs: list[str]) -> str:
    d = net.op("Sub", inputs[0], inputs[1])
    return net.op("Mul", d, d)


@operator("FloorDiv", "FloorMod", "Div", "Mod")
def _division(net: Net, node: Node, inputs: list[str]) -> str:
    whole = net.graph.dtype(inputs[0]).kind in "iu"
    if node.op == "Div":
        return net.op("Div", *inputs)
    if node.op == "Mod" or (node.op == "FloorMod" and whole):
        return net.op("Mod", *inputs, fmod=0 if whole and node.op == "FloorMod" else 1)
    if whole:
        rest = net.op("Mod", *inputs, fmod=0)
        return net.op("Div", net.op("Sub", inputs[0], rest), inputs[1])
    floor = net.op("Floor", net.op("Div", *inputs))
    return floor if node.op == "FloorDiv" else net.op("Sub", inputs[0], net.op("Mul", floor, inputs[1]))


@operator("Softmax", "LogSoftmax")
def _softmax(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op(node.op, inputs[0], axis=-1)


@operator("ZerosLike", "OnesLike")
def _like(net: Net, node: Node, inputs: list[str]) -> str:
    dtype = net.graph.dtype(inputs[0])
    return net.op("ConstantOfShape", net.op("Shape", inputs[0]), value=np.array([node.op == "OnesLike"]).astype(dtype))


@operator("Cast")
def _cast(net: Net, node: Node, inputs: list[str]) -> str:
    wanted = TYPES.get(str(node.get("DstT")))
    if wanted is None:
        raise node.fault(f"to the type {str(node.get('DstT'))[:20]} is not converted")
    return net.op("Cast", inputs[0], to=wanted)


# Products and convolutions


def _fused(net: Net, node: Node, y: str, more: list[str], first: bool = False) -> str:
    """Bias, folded normalisation and activation after a product."""
    at = 0
    for step in node.get("fused_ops", []):
        if step == "BiasAdd":
            bias, at = more[at], at + 1
            if first and net.graph.rank(y) > 2:
                bias = net.op("Unsqueeze", bias, net.ints(range(1, net.graph.rank(y) - 1)))
            y = net.op("Add", y, bias)
        elif step == "LeakyRelu":
            y = net.op("LeakyRelu", y, alpha=float(node.get("leakyrelu_alpha", 0.2)))
        elif step == "Prelu":
            y, at = net.op("PRelu", y, more[at]), at + 1
        elif step in ("Relu", "Relu6", "Elu", "Sigmoid", "Tanh"):
            y = OPS[step](net, node, [y]) if step == "Relu6" else net.op(step, y)
        else:
            raise node.fault(f"the fused operator '{str(step)[:30]}' is not known")
    if at < len(more):
        raise node.fault(f"{len(more)} inputs to its fused operators, {at} are used")
    return y


def _turned(net: Net, value: str) -> str:
    rank = net.graph.rank(value)
    return net.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


@operator("MatMul", "_FusedMatMul")
def _matmul(net: Net, node: Node, inputs: list[str]) -> str:
    a = _turned(net, inputs[0]) if node.get("transpose_a") else inputs[0]
    b = _turned(net, inputs[1]) if node.get("transpose_b") else inputs[1]
    return _fused(net, node, net.op("MatMul", a, b), inputs[2:])


@operator("BatchMatMulV2", "BatchMatMulV3")
def _batch_matmul(net: Net, node: Node, inputs: list[str]) -> str:
    a = _turned(net, inputs[0]) if node.get("adj_x") else inputs[0]
    b = _turned(net, inputs[1]) if node.get("adj_y") else inputs[1]
    return net.op("MatMul", a, b)


@operator("Einsum")
def _einsum(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Einsum", *inputs, equation=str(node.get("equation")))


@operator("BiasAdd", "BiasAddV1")
def _bias(net: Net, node: Node, inputs: list[str]) -> str:
    bias = inputs[1]
    if node.get("data_format") in ("NCHW", "NCDHW"):
        bias = net.op("Unsqueeze", bias, net.ints(range(1, net.graph.rank(inputs[0]) - 1)))
    return net.op("Add", inputs[0], bias)


def _is_first(node: Node) -> bool:
    layout = node.get("data_format", "NHWC")
    if layout not in ("NHWC", "NCHW", "NDHWC", "NCDHW"):
        raise node.fault(f"the data_format '{str(layout)[:20]}' is not known")
    return bool(layout[1] == "C")


def _spatial(node: Node, key: str, first: bool, axes: int) -> list[int]:
    values = node.get(key) or [1] * (axes + 2)
    if len(values) != axes + 2 or any(not isinstance(v, int) or not 0 < v < 1 << 20 for v in values):
        raise node.fault(f"{key} of {str(values)[:40]} is not known")
    outer = values[:2] if first else [values[0], values[-1]]
    if outer != [1, 1]:
        raise node.fault(f"{key} over batch or channels is not converted")
    return list(values[2:] if first else values[1:-1])


def _pads(net: Net, node: Node, x: str, first: bool, kernel: list[int], strides: list[int]) -> dict[str, Any]:
    """Padding of a channels-first value; kernel sizes as dilated."""
    padding = node.get("padding", "VALID")
    if padding == "VALID":
        return {}
    if padding == "EXPLICIT":
        given = node.get("explicit_paddings") or []
        if len(given) != 2 * (len(kernel) + 2):
            raise node.fault("its explicit paddings are not known")
        pairs = [given[i : i + 2] for i in range(0, len(given), 2)]
        inner = pairs[2:] if first else pairs[1:-1]
        return {"pads": [p[0] for p in inner] + [p[1] for p in inner]}
    if padding != "SAME":
        raise node.fault(f"the padding '{str(padding)[:20]}' is not known")
    if all(s == 1 for s in strides):
        return {"pads": [(k - 1) // 2 for k in kernel] + [k - 1 - (k - 1) // 2 for k in kernel]}
    if net.free:
        return {"auto_pad": "SAME_UPPER"}
    begin, end = [], []
    for size, k, s in zip(net.graph.shape(x)[2:], kernel, strides):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        begin.append(total // 2)
        end.append(total - total // 2)
    return {"pads": begin + end}


@operator("Conv2D", "_FusedConv2D", "FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative",
          "_FusedDepthwiseConv2dNative", "Conv3D")  # fmt: skip
def _conv(net: Net, node: Node, inputs: list[str]) -> str:
    first, axes = _is_first(node), 3 if node.op == "Conv3D" else 2
    x = inputs[0] if first else net.first(inputs[0])
    strides, dilations = _spatial(node, "strides", first, axes), _spatial(node, "dilations", first, axes)
    shape = net.graph.shape(inputs[1])
    if len(shape) != axes + 2:
        raise node.fault(f"a kernel of {len(shape)} axes")
    kernel = list(shape[:axes])
    channels = net.graph.shape(x)[1]
    if "Depthwise" in node.op:
        if shape[2] != channels:
            raise node.fault(f"a kernel for {shape[2]} channels, the input has {channels}")
        w = net.op("Transpose", inputs[1], perm=[2, 3, 0, 1])
        w, group = net.op("Reshape", w, net.ints([shape[2] * shape[3], 1, *kernel])), shape[2]
    else:
        if not shape[axes] or channels % shape[axes]:
            raise node.fault(f"a kernel for {shape[axes]} channels, the input has {channels}")
        w, group = net.op("Transpose", inputs[1], perm=[axes + 1, axes, *range(axes)]), channels // shape[axes]
    stored = net.graph.known(inputs[1])
    if stored is not None:  # turned here, not when it runs
        turned = (
            stored.transpose(2, 3, 0, 1) if "Depthwise" in node.op else stored.transpose(axes + 1, axes, *range(axes))
        )
        w = net.graph.constant(turned.reshape(net.graph.shape(w)), f"{node.name}.kernel")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    y = net.op("Conv", x, w, kernel_shape=kernel, strides=strides, dilations=dilations, group=group,
               **_pads(net, node, x, first, reach, strides))  # fmt: skip
    return _fused(net, node, y if first else net.last(y), inputs[2:], first)


@operator("Conv2DBackpropInput")
def _backprop(net: Net, node: Node, inputs: list[str]) -> str:
    """A transposed convolution: what the convolution's padding was is cut from the result."""
    first = _is_first(node)
    x = inputs[2] if first else net.first(inputs[2])
    strides, dilations = _spatial(node, "strides", first, 2), _spatial(node, "dilations", first, 2)
    sizes = net.list(node, inputs[0], "output sizes")
    inner = sizes[2:] if first else sizes[1:-1]
    kernel = list(net.graph.shape(inputs[1])[:2])
    padding = node.get("padding")
    if padding not in ("SAME", "VALID"):
        raise node.fault(f"the padding '{str(padding)[:20]}' is not converted")
    begin, end, more = [], [], []
    for size, k, s, d, given in zip(inner, kernel, strides, dilations, net.graph.shape(x)[2:]):
        cut = (given - 1) * s + (k - 1) * d + 1 - size
        start = max(cut, 0) // 2 if padding == "SAME" else 0
        begin.append(start)
        end.append(max(cut - start, 0))
        more.append(max(start - cut, 0))
    w = net.op("Transpose", inputs[1], perm=[3, 2, 0, 1])
    y = net.op("ConvTranspose", x, w, kernel_shape=kernel, strides=strides, dilations=dilations, pads=begin + end,
               output_padding=more)  # fmt: skip
    return y if first else net.last(y)


@operator("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "MaxPoolV2")
def _pool(net: Net, node: Node, inputs: list[str]) -> str:
    if len(inputs) != 1:
        raise node.fault("sizes as inputs are not converted")
    first, axes = _is_first(node), 3 if node.op.endswith("3D") else 2
    x = inputs[0] if first else net.first(inputs[0])
    size, strides = _spatial(node, "ksize", first, axes), _spatial(node, "strides", first, axes)
    op = "MaxPool" if node.op.startswith("Max") else "AveragePool"
    y = net.op(op, x, kernel_shape=size, strides=strides, **_pads(net, node, x, first, size, strides))
    return y if first else net.last(y)


@operator("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(net: Net, node: Node, inputs: list[str]) -> list[str]:
    if node.get("is_training", True):
        raise node.fault("normalises as in training; freeze the graph for inference")
    first = _is_first(node)
    x, scale, offset, mean, variance = inputs[:5]
    factor = net.op("Div", scale, net.op("Sqrt", net.op("Add", variance, net.number(float(node.get("epsilon", 1e-4))))))
    shift = net.op("Sub", offset, net.op("Mul", mean, factor))
    if first:
        more = net.ints(range(1, net.graph.rank(x) - 1))
        factor, shift = net.op("Unsqueeze", factor, more), net.op("Unsqueeze", shift, more)
    return [net.op("Add", net.op("Mul", x, factor), shift), mean, variance]


# Over axes

REDUCE = {"Mean": "ReduceMean", "Sum": "ReduceSum", "Max": "ReduceMax", "Min": "ReduceMin", "Prod": "ReduceProd",
          "All": "ReduceMin", "Any": "ReduceMax"}  # fmt: skip


@operator(*REDUCE)
def _reduce(net: Net, node: Node, inputs: list[str]) -> str:
    x, truth = inputs[0], node.op in ("All", "Any")
    axes = net.list(node, inputs[1], "axes")
    if not axes and net.graph.rank(inputs[1]) == 1:
        return net.op("Identity", x)
    x = net.op("Cast", x, to=7) if truth else x
    y = net.op(REDUCE[node.op], x, net.ints(axes), keepdims=int(bool(node.get("keep_dims"))))
    return net.op("Cast", y, to=9) if truth else y


@operator("ArgMax", "ArgMin")
def _arg(net: Net, node: Node, inputs: list[str]) -> str:
    axis = net.list(node, inputs[1], "axes")[0] if len(inputs) > 1 else 0
    return net.op(node.op, inputs[0], axis=axis, keepdims=0)


@operator("TopKV2")
def _top(net: Net, node: Node, inputs: list[str]) -> list[str]:
    found: tuple[str, ...] = net.graph.add("TopK", inputs[0], net.shape1(inputs[1]), outputs=2, axis=-1)
    return list(found)


# Shapes


@operator("Shape")
def _shape(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Shape", inputs[0])


@operator("Size")
def _size(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Size", inputs[0])


@operator("Rank")
def _rank(net: Net, node: Node, inputs: list[str]) -> str:
    return net.graph.constant(np.array(net.graph.rank(inputs[0]), np.int64), "rank")


@operator("Reshape")
def _reshape(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Reshape", inputs[0], inputs[1], allowzero=1 if net.graph.known(inputs[1]) is None else None)


@operator("Squeeze")
def _squeeze(net: Net, node: Node, inputs: list[str]) -> str:
    axes = node.get("squeeze_dims") or node.get("axis") or []
    if not axes:
        axes = [i for i, s in enumerate(net.graph.shape(inputs[0])) if s == 1]
    return net.op("Squeeze", inputs[0], net.ints(axes))


@operator("ExpandDims")
def _expand(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Unsqueeze", inputs[0], net.ints(net.list(node, inputs[1], "axes")))


@operator("Transpose")
def _transpose(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Transpose", inputs[0], perm=net.list(node, inputs[1], "axes"))


@operator("ConcatV2")
def _concat(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Concat", *inputs[:-1], axis=net.list(node, inputs[-1], "axes")[0])


@operator("Concat")
def _concat1(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Concat", *inputs[1:], axis=net.list(node, inputs[0], "axes")[0])


@operator("Pack")
def _pack(net: Net, node: Node, inputs: list[str]) -> str:
    axis = int(node.get("axis", 0))
    return net.op("Concat", *[net.op("Unsqueeze", i, net.ints([axis])) for i in inputs], axis=axis)


@operator("Unpack")
def _unpack(net: Net, node: Node, inputs: list[str]) -> list[str]:
    axis, count = int(node.get("axis", 0)), int(node.get("num", 0))
    if count != net.graph.shape(inputs[0])[axis]:
        raise node.fault(f"{count} parts do not fit its input")
    zero = [net.graph.constant(np.array(i, np.int64), "index") for i in range(count)]
    return [net.op("Gather", inputs[0], z, axis=axis) for z in zero]


@operator("Split", "SplitV")
def _split_op(net: Net, node: Node, inputs: list[str]) -> list[str]:
    if node.op == "Split":
        axis, value = net.list(node, inputs[0], "axes")[0], inputs[1]
        count = int(node.get("num_split", 0))
        size = net.graph.shape(value)[axis]
        if not 0 < count <= size or size % count:
            raise node.fault(f"{size} cannot be divided into {count} parts")
        sizes = [size // count] * count
    else:
        value, axis = inputs[0], net.list(node, inputs[2], "axes")[0]
        sizes = net.list(node, inputs[1], "sizes")
        if sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = net.graph.shape(value)[axis] - sum(sizes) - 1
    if len(sizes) == 1:
        return [net.op("Identity", value)]
    found: tuple[str, ...] = net.graph.add("Split", value, net.ints(sizes), outputs=len(sizes), axis=axis)
    return list(found)


@operator("Slice")
def _slice(net: Net, node: Node, inputs: list[str]) -> str:
    begin, size = inputs[1], net.graph.known(inputs[2])
    rank = net.graph.rank(inputs[0])
    if size is not None and net.graph.known(begin) is not None:
        starts = net.list(node, begin, "begins")
        ends = [END if s == -1 else b + int(s) for b, s in zip(starts, size.reshape(-1))]
        return net.op("Slice", inputs[0], net.ints(starts), net.ints(ends), net.ints(range(rank)))
    if size is not None and (size.reshape(-1) == -1).any():
        raise node.fault("open ends at a begin that is computed are not converted")
    return net.op("Slice", inputs[0], begin, net.op("Add", begin, inputs[2]), net.ints(range(rank)))


@operator("StridedSlice")
def _strided(net: Net, node: Node, inputs: list[str]) -> str:
    value = inputs[0]
    begin, end = net.list(node, inputs[1], "begins"), net.list(node, inputs[2], "ends")
    steps = net.list(node, inputs[3], "strides")
    masks = {k: int(node.get(f"{k}_mask", 0)) for k in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    rank, count = net.graph.rank(value), len(begin)
    if not len(end) == len(steps) == count or bin(masks["ellipsis"]).count("1") > 1 or not all(steps):
        raise node.fault("begin, end and strides do not fit")
    bits = [{k: bool(m >> i & 1) for k, m in masks.items()} for i in range(count)]
    taken = sum(not b["ellipsis"] and not (b["new_axis"]) for b in bits)
    starts, ends, strides, axes, shrink, new = [], [], [], [], [], []
    axis = out = 0
    for i, bit in enumerate(bits):
        if bit["ellipsis"]:
            axis, out = axis + rank - taken, out + rank - taken
            continue
        if bit["new_axis"]:
            new.append(out)
            out += 1
            continue
        if axis >= rank:
            raise node.fault("more axes than its input has")
        if bit["shrink_axis"]:
            starts.append(begin[i])
            ends.append(begin[i] + 1 if begin[i] != -1 else END)
            strides.append(1)
            shrink.append(axis)
        else:
            down = steps[i] < 0
            starts.append((END if down else 0) if bit["begin"] else begin[i])
            ends.append((-END if down else END) if bit["end"] else end[i])
            strides.append(steps[i])
            out += 1
        axes.append(axis)
        axis += 1
    if axes:
        value = net.op("Slice", value, net.ints(starts), net.ints(ends), net.ints(axes), net.ints(strides))
    if shrink:
        value = net.op("Squeeze", value, net.ints(shrink))
    return net.op("Unsqueeze", value, net.ints(new)) if new else value


@operator("Fill")
def _fill(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Expand", inputs[1], inputs[0])


@operator("BroadcastTo")
def _broadcast(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Expand", inputs[0], inputs[1])


@operator("Range")
def _range(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Range", *inputs)


@operator("Tile")
def _tile(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Tile", inputs[0], inputs[1])


@operator("Pad", "PadV2", "MirrorPad")
def _pad(net: Net, node: Node, inputs: list[str]) -> str:
    pads = net.known(node, inputs[1], "paddings").reshape(-1, 2)
    modes = {"REFLECT": "reflect"}
    if node.op == "MirrorPad" and node.get("mode") not in modes:
        raise node.fault(f"the mode '{str(node.get('mode'))[:20]}' is not converted")
    mode = modes[node.get("mode")] if node.op == "MirrorPad" else "constant"
    value = [inputs[2]] if node.op == "PadV2" else []
    return net.op("Pad", inputs[0], net.ints([*pads[:, 0].tolist(), *pads[:, 1].tolist()]), *value, mode=mode)


@operator("GatherV2", "Gather")
def _gather(net: Net, node: Node, inputs: list[str]) -> str:
    if node.get("batch_dims"):
        raise node.fault("batch_dims are not converted")
    axis = net.list(node, inputs[2], "axes")[0] if len(inputs) > 2 else 0
    return net.op("Gather", inputs[0], inputs[1], axis=axis)


@operator("GatherNd")
def _gather_nd(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("GatherND", inputs[0], inputs[1])


@operator("OneHot")
def _one_hot(net: Net, node: Node, inputs: list[str]) -> str:
    values = net.op("Concat", *[net.op("Reshape", inputs[i], net.ints([1])) for i in (3, 2)], axis=0)
    return net.op("OneHot", inputs[0], inputs[1], values, axis=int(node.get("axis", -1)))


@operator("DepthToSpace", "SpaceToDepth")
def _depth(net: Net, node: Node, inputs: list[str]) -> str:
    first = _is_first(node)
    x = inputs[0] if first else net.first(inputs[0])
    y = net.op(node.op, x, blocksize=int(node.get("block_size", 0)))
    return y if first else net.last(y)


@operator("SpaceToBatchND")
def _to_batch(net: Net, node: Node, inputs: list[str]) -> str:
    block = net.list(node, inputs[1], "block sizes")
    pads = net.known(node, inputs[2], "paddings").reshape(-1, 2).tolist()
    rank, m = net.graph.rank(inputs[0]), len(block)
    begin, end = [0] * rank, [0] * rank
    for i, (a, b) in enumerate(pads):
        begin[i + 1], end[i + 1] = a, b
    x = net.op("Pad", inputs[0], net.ints(begin + end))
    parts = [net.op("Shape", x, start=0, end=1)]
    for i, size in enumerate(block):
        parts += [net.op("Div", net.op("Shape", x, start=i + 1, end=i + 2), net.ints([size])), net.ints([size])]
    rest = net.op("Shape", x, start=m + 1)
    y = net.op("Reshape", x, net.op("Concat", *parts, rest, axis=0))
    order = [2 * i + 2 for i in range(m)] + [0] + [2 * i + 1 for i in range(m)] + list(range(2 * m + 1, rank + m))
    y = net.op("Transpose", y, perm=order)
    return net.op("Reshape", y, net.op("Concat", net.ints([-1]), *parts[1::2], rest, axis=0))


@operator("BatchToSpaceND")
def _to_space(net: Net, node: Node, inputs: list[str]) -> str:
    block = net.list(node, inputs[1], "block sizes")
    crops = net.known(node, inputs[2], "crops").reshape(-1, 2).tolist()
    x, m = inputs[0], len(block)
    rank = net.graph.rank(x)
    inner = net.op("Shape", x, start=1, end=m + 1)
    rest = net.op("Shape", x, start=m + 1)
    y = net.op("Reshape", x, net.op("Concat", net.ints([*block, -1]), inner, rest, axis=0))
    order = [m] + [v for i in range(m) for v in (m + 1 + i, i)] + list(range(2 * m + 1, rank + m))
    y = net.op("Transpose", y, perm=order)
    y = net.op("Reshape", y, net.op("Concat", net.ints([-1]), net.op("Mul", inner, net.ints(block)), rest, axis=0))
    starts, ends = [a for a, _ in crops], [-b if b else END for _, b in crops]
    return net.op("Slice", y, net.ints(starts), net.ints(ends), net.ints(range(1, m + 1)))


# Pictures


@operator("ResizeBilinear", "ResizeNearestNeighbor")
def _resize(net: Net, node: Node, inputs: list[str]) -> str:
    x = net.first(inputs[0])
    corners, half = bool(node.get("align_corners")), bool(node.get("half_pixel_centers"))
    how = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    sizes = net.op("Concat", net.op("Shape", x, start=0, end=2), inputs[1], axis=0)
    if node.op == "ResizeBilinear":
        y = net.op("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode=how)
    else:
        # TensorFlow: floor of the place (its middle, where half_pixel_centers), rounded with align_corners
        how = "tf_half_pixel_for_nn" if half else how
        rounding = "round_prefer_ceil" if corners else "floor"
        if half:
            target, given = net.graph.known(inputs[1]), net.graph.shape(x)[2:]
            if target is None or any(int(t) % g for t, g in zip(target, given)):
                raise node.fault("enlarges by a factor that is not whole; this is not converted")
            how = "asymmetric"
        y = net.op(
            "Resize", x, "", "", sizes, mode="nearest", coordinate_transformation_mode=how, nearest_mode=rounding
        )
    return net.last(y)


@operator("NonMaxSuppressionV3", "NonMaxSuppressionV2")
def _suppression(net: Net, node: Node, inputs: list[str]) -> str:
    boxes, scores = net.op("Unsqueeze", inputs[0], net.ints([0])), net.op("Unsqueeze", inputs[1], net.ints([0, 1]))
    more = [net.op("Reshape", i, net.ints([1])) for i in inputs[2:5]]
    found = net.op("NonMaxSuppression", boxes, scores, *more)
    return net.op("Squeeze", net.op("Slice", found, net.ints([2]), net.ints([3]), net.ints([1])), net.ints([1]))
