"""The operators of TensorFlow's inference graphs, as ONNX: for GraphDef in any wrapping."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.formats.shared.tensorflow_graph import OPS, Net, Node, operator

END = (1 << 62) - 1
SMALL = 4096  # numbers that are counted out while converting
TYPES = {"DT_FLOAT": 1, "DT_HALF": 1, "DT_BFLOAT16": 1, "DT_DOUBLE": 1, "DT_INT32": 7, "DT_INT64": 7, "DT_UINT8": 7,
         "DT_INT8": 7, "DT_INT16": 7, "DT_BOOL": 9}  # fmt: skip


# One to one

PLAIN = {
    "Relu": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh", "Exp": "Exp", "Log": "Log", "Sqrt": "Sqrt", "Neg": "Neg",
    "Abs": "Abs", "Floor": "Floor", "Ceil": "Ceil", "Round": "Round", "Softplus": "Softplus", "Softsign": "Softsign",
    "Erf": "Erf", "Sin": "Sin", "Cos": "Cos", "Tan": "Tan", "Atan": "Atan", "Reciprocal": "Reciprocal", "Sign": "Sign",
    "Elu": "Elu", "Selu": "Selu", "LogicalNot": "Not", "IsNan": "IsNaN",
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


def first_axis(node: Node) -> bool:
    layout = node.get("data_format", "NHWC")
    if layout not in ("NHWC", "NCHW", "NDHWC", "NCDHW"):
        raise node.fault(f"the data_format '{str(layout)[:20]}' is not known")
    return bool(layout[1] == "C")


def spatial(node: Node, key: str, first: bool, axes: int) -> list[int]:
    values = node.get(key) or [1] * (axes + 2)
    if len(values) != axes + 2 or any(not isinstance(v, int) or not 0 < v < 1 << 20 for v in values):
        raise node.fault(f"{key} of {str(values)[:40]} is not known")
    outer = values[:2] if first else [values[0], values[-1]]
    if outer != [1, 1]:
        raise node.fault(f"{key} over batch or channels is not converted")
    return list(values[2:] if first else values[1:-1])


def pads(net: Net, node: Node, x: str, first: bool, kernel: list[int], strides: list[int]) -> dict[str, Any]:
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
    if net.free or net.graph.find_shape(x) is None:
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
    first, axes = first_axis(node), 3 if node.op == "Conv3D" else 2
    x = inputs[0] if first else net.first(inputs[0])
    strides, dilations = spatial(node, "strides", first, axes), spatial(node, "dilations", first, axes)
    shape = net.graph.shape(inputs[1])
    if len(shape) != axes + 2:
        raise node.fault(f"a kernel of {len(shape)} axes")
    kernel = list(shape[:axes])
    sizes = net.graph.sizes(x)
    channels = (sizes[1] if sizes else None) or shape[axes]  # where it cannot be told, what the kernel wants
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
               **pads(net, node, x, first, reach, strides))  # fmt: skip
    return _fused(net, node, y if first else net.last(y), inputs[2:], first)


@operator("Conv2DBackpropInput")
def _backprop(net: Net, node: Node, inputs: list[str]) -> str:
    """A transposed convolution: what the convolution's padding was is cut from the result."""
    first = first_axis(node)
    x = inputs[2] if first else net.first(inputs[2])
    strides, dilations = spatial(node, "strides", first, 2), spatial(node, "dilations", first, 2)
    sizes = net.graph.known(inputs[0])
    if sizes is None or sizes.size not in (2, 4):
        raise node.fault("its output sizes are not constants; this is not converted")
    inner = [int(v) for v in (sizes if sizes.size == 2 else sizes[2:] if first else sizes[1:-1])]
    kernel = list(net.graph.shape(inputs[1])[:2])
    padding, given = node.get("padding"), net.graph.shape(x)[2:]
    # What the transposed convolution gives more than is wanted: the same for every size of the input, or it must stay.
    cut = np.array([(n - 1) * s + (k - 1) * d + 1 - size for n, s, k, d, size in
                    zip(given, strides, kernel, dilations, inner)])  # fmt: skip
    net.steady(cut)
    if padding == "EXPLICIT":
        begin = pads(net, node, x, first, kernel, strides)["pads"][:2]
    elif padding in ("SAME", "VALID"):
        begin = [max(int(c), 0) // 2 if padding == "SAME" else 0 for c in cut]
    else:
        raise node.fault(f"the padding '{str(padding)[:20]}' is not known")
    end = [max(int(c) - b, 0) for c, b in zip(cut, begin)]
    more = [max(b - int(c), 0) for c, b in zip(cut, begin)]
    w = net.op("Transpose", inputs[1], perm=[3, 2, 0, 1])
    y = net.op("ConvTranspose", x, w, kernel_shape=kernel, strides=strides, dilations=dilations, pads=begin + end,
               output_padding=more)  # fmt: skip
    return y if first else net.last(y)


@operator("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "MaxPoolV2")
def _pool(net: Net, node: Node, inputs: list[str]) -> str:
    if len(inputs) != 1:
        raise node.fault("sizes as inputs are not converted")
    first, axes = first_axis(node), 3 if node.op.endswith("3D") else 2
    x = inputs[0] if first else net.first(inputs[0])
    size, strides = spatial(node, "ksize", first, axes), spatial(node, "strides", first, axes)
    op = "MaxPool" if node.op.startswith("Max") else "AveragePool"
    y = net.op(op, x, kernel_shape=size, strides=strides, **pads(net, node, x, first, size, strides))
    return y if first else net.last(y)


@operator("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(net: Net, node: Node, inputs: list[str]) -> list[str]:
    first = first_axis(node)
    x, scale, offset, mean, variance = inputs[:5]
    if node.get("is_training", True):  # by what it is given, as layer normalisation does
        axes = [i for i in range(net.graph.rank(x)) if i != (1 if first else net.graph.rank(x) - 1)]
        middle = net.op("ReduceMean", x, net.ints(axes), keepdims=1)
        apart = net.op("Sub", x, middle)
        spread = net.op("ReduceMean", net.op("Mul", apart, apart), net.ints(axes), keepdims=1)
        apart = net.op(
            "Div", apart, net.op("Sqrt", net.op("Add", spread, net.number(float(node.get("epsilon", 1e-4)))))
        )
        if first:
            more = net.ints(range(1, net.graph.rank(x) - 1))
            scale, offset = net.op("Unsqueeze", scale, more), net.op("Unsqueeze", offset, more)
        return [net.op("Add", net.op("Mul", apart, scale), offset)]
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
        axes = [i for i in range(net.graph.rank(inputs[0])) if net.size(inputs[0], i) == 1]
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
    shape = net.graph.find_shape(inputs[0])
    if shape is not None and count != shape[axis]:
        raise node.fault(f"{count} parts do not fit its input")
    zero = [net.graph.constant(np.array(i, np.int64), "index") for i in range(count)]
    return [net.op("Gather", inputs[0], z, axis=axis) for z in zero]


@operator("Split", "SplitV")
def _split_op(net: Net, node: Node, inputs: list[str]) -> list[str]:
    if node.op == "Split":
        axis, value = net.list(node, inputs[0], "axes")[0], inputs[1]
        count, size = int(node.get("num_split", 0)), net.size(value, axis)
        if size is None and 1 < count < 1 << 16:
            parts: tuple[str, ...] = net.graph.add("Split", value, outputs=count, axis=axis, num_outputs=count)
            return list(parts)
        if not size or not 0 < count <= size or size % count:
            raise node.fault(f"{size} cannot be divided into {count} parts")
        sizes = [size // count] * count
    else:
        value, axis = inputs[0], net.list(node, inputs[2], "axes")[0]
        sizes = net.list(node, inputs[1], "sizes")
        if sizes.count(-1) == 1:
            net.steady(np.array(net.graph.shape(value)[axis]))
            sizes[sizes.index(-1)] = net.graph.shape(value)[axis] - sum(sizes) - 1
    if len(sizes) == 1:
        return [net.op("Identity", value)]
    found: tuple[str, ...] = net.graph.add("Split", value, net.ints(sizes), outputs=len(sizes), axis=axis)
    return list(found)


@operator("Slice")
def _slice(net: Net, node: Node, inputs: list[str]) -> str:
    begin, size, rank = net.fixed(inputs[1]), net.fixed(inputs[2]), net.graph.rank(inputs[0])
    axes = net.ints(range(rank))
    if size is not None and begin is not None:
        starts = [int(b) for b in begin.reshape(-1)]
        ends = [END if s == -1 else b + int(s) for b, s in zip(starts, size.reshape(-1))]
        return net.op("Slice", inputs[0], net.ints(starts), net.ints(ends), axes)
    end = net.op("Add", inputs[1], inputs[2])
    if size is None or (size.reshape(-1) == -1).any():
        end = net.op("Where", net.op("Equal", inputs[2], net.ints([-1])), net.ints([END]), end)
    return net.op("Slice", inputs[0], inputs[1], end, axes)


@operator("StridedSlice")
def _strided(net: Net, node: Node, inputs: list[str]) -> str:
    value = inputs[0]
    steps = net.list(node, inputs[3], "strides")
    masks = {k: int(node.get(f"{k}_mask", 0)) for k in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    rank, count = net.graph.rank(value), len(steps)
    if bin(masks["ellipsis"]).count("1") > 1 or not all(steps):
        raise node.fault("begin, end and strides do not fit")
    begin, end = _Places(net, inputs[1], count), _Places(net, inputs[2], count)
    bits = [{k: bool(m >> i & 1) for k, m in masks.items()} for i in range(count)]
    taken = sum(not b["ellipsis"] and not (b["new_axis"]) for b in bits)
    starts: list[str | int] = []
    ends: list[str | int] = []
    strides, axes, shrink, new = [], [], [], []
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
            ends.append(begin.next(i))
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
        value = net.op("Slice", value, _listed(net, starts), _listed(net, ends), net.ints(axes), net.ints(strides))
    if shrink:
        value = net.op("Squeeze", value, net.ints(shrink))
    return net.op("Unsqueeze", value, net.ints(new)) if new else value


class _Places:
    """Begins or ends: numbers, or where they are computed, lists of one."""

    def __init__(self, net: Net, value: str, count: int) -> None:
        self.net, self.value = net, value
        self.array = net.fixed(value)
        if self.array is not None and self.array.size != count:
            raise ValueError("begin, end and strides do not fit")

    def __getitem__(self, i: int) -> str | int:
        if self.array is not None:
            return int(self.array.reshape(-1)[i])
        return self.net.op("Slice", self.value, self.net.ints([i]), self.net.ints([i + 1]))

    def next(self, i: int) -> str | int:
        """The one behind: of the last, which is -1, there is none."""
        here, net = self[i], self.net
        if isinstance(here, int):
            return here + 1 if here != -1 else END
        return net.op(
            "Where", net.op("Equal", here, net.ints([-1])), net.ints([END]), net.op("Add", here, net.ints([1]))
        )


def _listed(net: Net, places: list[str | int]) -> str:
    numbers = [p for p in places if isinstance(p, int)]
    if len(numbers) == len(places):
        return net.ints(numbers)
    return net.op("Concat", *[net.ints([p]) if isinstance(p, int) else p for p in places], axis=0)


@operator("Fill")
def _fill(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Expand", inputs[1], inputs[0])


@operator("BroadcastTo")
def _broadcast(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Expand", inputs[0], inputs[1])


@operator("Range")
def _range(net: Net, node: Node, inputs: list[str]) -> str:
    numbers = [net.fixed(i) for i in inputs]
    if all(n is not None and n.dtype.kind == "i" for n in numbers):
        begin, end, step = (int(n[()]) for n in numbers if n is not None)
        if step and 0 <= (end - begin) // step < SMALL:
            return net.ints(range(begin, end, step))
    return net.op("Range", *inputs)


@operator("Tile")
def _tile(net: Net, node: Node, inputs: list[str]) -> str:
    return net.op("Tile", inputs[0], inputs[1])


@operator("Pad", "PadV2", "MirrorPad")
def _pad(net: Net, node: Node, inputs: list[str]) -> str:
    pads = net.fixed(inputs[1])
    if pads is None and node.op != "MirrorPad":
        both = net.op("Reshape", net.op("Transpose", inputs[1], perm=[1, 0]), net.ints([-1]))
        return net.op("Pad", inputs[0], both, *inputs[2:], mode="constant")
    pads = net.known(node, inputs[1], "paddings").reshape(-1, 2)
    if node.op == "MirrorPad" and node.get("mode") == "SYMMETRIC":
        return _mirror(net, inputs[0], pads)
    if node.op == "MirrorPad" and node.get("mode") != "REFLECT":
        raise node.fault(f"the mode '{str(node.get('mode'))[:20]}' is not converted")
    mode = "reflect" if node.op == "MirrorPad" else "constant"
    value = [inputs[2]] if node.op == "PadV2" else []
    if (twin := net.twin(inputs[0])) is not None:
        order = [0, len(pads) - 1, *range(1, len(pads) - 1)]
        ends = net.ints([*pads[order, 0].tolist(), *pads[order, 1].tolist()])
        return net.last(net.op("Pad", twin, ends, *value, mode=mode))
    return net.op("Pad", inputs[0], net.ints([*pads[:, 0].tolist(), *pads[:, 1].tolist()]), *value, mode=mode)


def _mirror(net: Net, x: str, pads: np.ndarray) -> str:
    """With the edge itself repeated."""
    for axis, (a, b) in enumerate(pads.tolist()):
        where, back = net.ints([axis]), net.ints([-1])
        parts = [net.op("Slice", x, net.ints([a - 1]), net.ints([-END]), where, back)] if a else []
        parts += [x]
        parts += [net.op("Slice", x, net.ints([-1]), net.ints([-b - 1]), where, back)] if b else []
        x = net.op("Concat", *parts, axis=axis) if len(parts) > 1 else x
    return x


@operator("GatherV2", "Gather")
def _gather(net: Net, node: Node, inputs: list[str]) -> str:
    axis = net.list(node, inputs[2], "axes")[0] if len(inputs) > 2 else 0
    if shared := int(node.get("batch_dims", 0)):
        rank, places = net.graph.rank(inputs[0]), net.graph.rank(inputs[1])
        axis, shared = axis % rank, shared % places if shared < 0 else shared
        order = [*range(shared), axis, *[i for i in range(shared, rank) if i != axis]]
        y = net.op("GatherND", net.op("Transpose", inputs[0], perm=order),
                   net.op("Unsqueeze", inputs[1], net.ints([-1])), batch_dims=shared)  # fmt: skip
        between = axis - shared  # axes before the one that was picked from: they belong before the picked ones
        new, total = places - shared, places + rank - shared - 1
        moved = [*range(shared), *range(places, places + between), *range(shared, shared + new)]
        return net.op("Transpose", y, perm=[*moved, *range(places + between, total)])
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
    first = first_axis(node)
    x = inputs[0] if first else net.first(inputs[0])
    y = net.op(node.op, x, blocksize=int(node.get("block_size", 0)))
    return y if first else net.last(y)


@operator("SpaceToBatchND")
def _to_batch(net: Net, node: Node, inputs: list[str]) -> str:
    block = net.list(node, inputs[1], "block sizes")
    rank, m = net.graph.rank(inputs[0]), len(block)
    before, after = _columns(net, inputs[2])
    none, more = net.ints([0]), net.ints([0] * (rank - m - 1))
    rest = [more] if rank > m + 1 else []
    x = net.op("Pad", inputs[0], net.op("Concat", none, before, *rest, none, after, *rest, axis=0))
    parts = [net.op("Shape", x, start=0, end=1)]
    for i, size in enumerate(block):
        parts += [net.op("Div", net.op("Shape", x, start=i + 1, end=i + 2), net.ints([size])), net.ints([size])]
    tail = net.op("Shape", x, start=m + 1)
    y = net.op("Reshape", x, net.op("Concat", *parts, tail, axis=0))
    order = [2 * i + 2 for i in range(m)] + [0] + [2 * i + 1 for i in range(m)] + list(range(2 * m + 1, rank + m))
    y = net.op("Transpose", y, perm=order)
    return net.op("Reshape", y, net.op("Concat", net.ints([-1]), *parts[1::2], tail, axis=0))


@operator("BatchToSpaceND")
def _to_space(net: Net, node: Node, inputs: list[str]) -> str:
    block = net.list(node, inputs[1], "block sizes")
    before, after = _columns(net, inputs[2])
    x, m = inputs[0], len(block)
    rank = net.graph.rank(x)
    inner = net.op("Shape", x, start=1, end=m + 1)
    rest = net.op("Shape", x, start=m + 1)
    y = net.op("Reshape", x, net.op("Concat", net.ints([*block, -1]), inner, rest, axis=0))
    order = [m] + [v for i in range(m) for v in (m + 1 + i, i)] + list(range(2 * m + 1, rank + m))
    y = net.op("Transpose", y, perm=order)
    sizes = net.op("Mul", inner, net.ints(block))
    y = net.op("Reshape", y, net.op("Concat", net.ints([-1]), sizes, rest, axis=0))
    return net.op("Slice", y, before, net.op("Sub", sizes, after), net.ints(range(1, m + 1)))


def _columns(net: Net, pairs: str) -> tuple[str, str]:
    """The first and the second numbers of (N, 2)."""
    fixed = net.fixed(pairs)
    if fixed is not None:
        return net.ints(fixed.reshape(-1, 2)[:, 0].tolist()), net.ints(fixed.reshape(-1, 2)[:, 1].tolist())
    columns = [net.op("Gather", pairs, net.graph.constant(np.array(i, np.int64), "column"), axis=1) for i in (0, 1)]
    return columns[0], columns[1]


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
        rounding = "round_prefer_ceil" if corners else "floor"
        if half:
            return _nearest(net, node, inputs)
        y = net.op(
            "Resize", x, "", "", sizes, mode="nearest", coordinate_transformation_mode=how, nearest_mode=rounding
        )
    return net.last(y)


def _nearest(net: Net, node: Node, inputs: list[str]) -> str:
    """The pixel in which the middle of each new one lies."""
    y = inputs[0]
    for axis in (1, 2):
        size = net.op("Slice", inputs[1], net.ints([axis - 1]), net.ints([axis]))
        count = net.op("Squeeze", size, net.ints([0]))
        zero, one = (net.graph.constant(np.array(v, np.int64), "n") for v in (0, 1))
        middle = net.op("Add", net.op("Cast", net.op("Range", zero, count, one), to=1), net.number(0.5))
        given = net.op("Cast", net.op("Shape", y, start=axis, end=axis + 1), to=1)
        scale = net.op("Div", given, net.op("Cast", size, to=1))
        place = net.op("Cast", net.op("Floor", net.op("Mul", middle, scale)), to=7)
        last = net.op("Sub", net.op("Shape", y, start=axis, end=axis + 1), net.ints([1]))
        y = net.op("Gather", y, net.op("Min", place, last), axis=axis)
    return y
