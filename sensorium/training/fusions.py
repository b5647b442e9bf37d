"""What the exporter writes in many operators, as the one that ONNX Runtime computes in one go."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sensorium.nets import winograd


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside it: branches and bodies of loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def order_gelu(graph: onnx.GraphProto) -> None:
    """Order the factors of GELU, `x * (0.5 * (1 + erf(x / sqrt 2)))`, as ONNX Runtime knows it to compute in one go:
    `(x * (1 + erf(x / sqrt 2))) * 0.5`.
    """
    made = {output: node for node in graph.node for output in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    scalars = [w for w in graph.initializer if not w.dims and w.data_type == onnx.TensorProto.FLOAT]
    halves = {w.name for w in scalars if numpy_helper.to_array(w) == 0.5}
    for node in graph.node:
        if node.op_type != "Mul":
            continue
        for x, name in (tuple(node.input), tuple(node.input)[::-1]):
            inner = made.get(name)
            if inner is None or inner.op_type != "Mul" or readers[name] != 1:
                continue
            half = next((i for i in inner.input if i in halves), None)
            rest = [made.get(i) for i in inner.input if i != half]
            if half is None or len(rest) != 1 or rest[0] is None or rest[0].op_type != "Add":
                continue
            if any(i in made and made[i].op_type == "Erf" for i in rest[0].input):
                inner.input[:] = [x, rest[0].output[0]]
                node.input[:] = [name, half]
                break


def merge_convolutions(graph: onnx.GraphProto) -> None:
    """Write two convolutions of one value that are added, a 3 x 3 and a 1 x 1, as the one that gives their sum.

    Networks are trained with such branches and run without them (RepVGG, Ding et al. 2021; RT-DETR, MobileOne).
    Batch normalisation is in the weights already: the exporter's optimiser puts it there.
    """
    made = {output: node for node in graph.node for output in node.output}
    read = Counter(name for inner in graphs(graph) for node in inner.node for name in node.input)
    read.update(output.name for output in graph.output)
    weights = {w.name: w for w in graph.initializer if w.data_location != onnx.TensorProto.EXTERNAL}

    def layout(node: onnx.NodeProto) -> tuple[Any, ...] | None:
        """What has to be alike: strides, groups, types, and what the middle of the kernel lies on."""
        if node.op_type != "Conv" or any(name and name not in weights for name in node.input[1:]):
            return None
        weight, rank = weights[node.input[1]], len(weights[node.input[1]].dims) - 2
        pads = attribute(node, "pads") or [0] * 2 * rank
        sizes = list(weight.dims[2:])
        dilated = set(attribute(node, "dilations") or [1]) != {1}
        if dilated or attribute(node, "auto_pad") not in (None, b"NOTSET") or any(size % 2 == 0 for size in sizes):
            return None
        around = [pad - size // 2 for pad, size in zip(pads, sizes * 2)]
        strides, group = attribute(node, "strides") or [1] * rank, attribute(node, "group") or 1
        return node.input[0], weight.data_type, list(weight.dims[:2]), around, list(strides), group

    for add in [node for node in graph.node if node.op_type == "Add"]:
        both = [made[name] for name in add.input if name in made and read[name] == 1]
        alike = [layout(node) for node in both]
        if len(both) != 2 or alike[0] is None or alike[0] != alike[1]:
            continue
        large, small = sorted(both, key=lambda node: -math.prod(weights[node.input[1]].dims))
        kernel, inner = (numpy_helper.to_array(weights[node.input[1]]) for node in (large, small))
        if any(a < b for a, b in zip(kernel.shape, inner.shape)):
            continue
        around = [((a - b) // 2, (a - b) // 2) for a, b in zip(kernel.shape, inner.shape)]
        inputs = [large.input[0], f"{add.output[0]}_weight"]
        graph.initializer.append(numpy_helper.from_array(kernel + np.pad(inner, around), inputs[1]))
        biases = [numpy_helper.to_array(weights[node.input[2]]) for node in (large, small) if any(node.input[2:])]
        if biases:
            inputs.append(f"{add.output[0]}_bias")
            graph.initializer.append(numpy_helper.from_array(np.sum(biases, 0, dtype=kernel.dtype), inputs[2]))
        add.CopyFrom(helper.make_node("Conv", inputs, add.output, name=add.name))
        add.attribute.extend(large.attribute)
    drop_unread(graph)


def attribute(node: onnx.NodeProto, name: str) -> Any:
    """The value of an operator's attribute; None where it has none."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


HEADS_OUT, KEYS_TURNED = [0, 2, 1, 3], [0, 2, 3, 1]


def fuse_attention(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Write attention without a mask, softmax(Q K^T * scale) V, as `com.microsoft.MultiHeadAttention`.

    ONNX Runtime computes it piece by piece, without the whole table of scores (FlashAttention, Dao et al. 2022), and
    without turning Q, K and V round before: Whisper's encoder, of 1,500 positions, needs three quarters of the time.
    With a mask it would gain nothing.

    Args:
        model: as the exporter left it, with the shapes of its values; changed in place.

    Returns:
        The types of what the new operators give, for readers that know ONNX's own operators only.
    """
    graph = model.graph
    made = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for inner in graphs(graph):
        for node in inner.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
    final = {output.name for output in graph.output}
    weights = {w.name: w for w in graph.initializer if w.data_location != onnx.TensorProto.EXTERNAL}
    scalars = {
        name: float(numpy_helper.to_array(w).reshape(-1)[0])
        for name, w in weights.items()
        if w.data_type == onnx.TensorProto.FLOAT and int(np.prod(w.dims)) == 1
    }
    sizes = value_sizes(graph)

    def only_reader(name: str) -> onnx.NodeProto | None:
        those = readers.get(name, [])
        return those[0] if len(those) == 1 and name not in final else None

    def all_are(wanted: float, name: str) -> bool:
        """Whether a value has nothing but this in it, whatever its shape."""
        node = made.get(name)
        if node is None:
            return name in weights and bool(np.all(numpy_helper.to_array(weights[name]) == wanted))
        if node.op_type in ("Expand", "Reshape", "Unsqueeze"):
            return all_are(wanted, node.input[0])
        return node.op_type == "Where" and all_are(1, node.input[0]) and all_are(wanted, node.input[1])

    def unmasked(name: str) -> str:
        """What a mask that masks nothing was added to: transformers writes one wherever a model could have one."""
        node = made.get(name)
        if node is not None and node.op_type == "Add":
            for one, other in (tuple(node.input), tuple(node.input)[::-1]):
                if all_are(0, other):
                    return one
        return name

    def unscaled(name: str) -> tuple[str, float]:
        """What a value is a multiple of, and how many times."""
        factor = 1.0
        while (node := made.get(name)) is not None and node.op_type in ("Mul", "Div"):
            x, y = node.input
            if y in scalars:
                name, factor = x, factor * scalars[y] if node.op_type == "Mul" else factor / scalars[y]
            elif x in scalars and node.op_type == "Mul":
                name, factor = y, factor * scalars[x]
            else:
                break
        return name, factor

    def turned(name: str, perm: list[int]) -> str | None:
        """What a value is the transpose of."""
        node = made.get(name)
        if node is None or node.op_type != "Transpose":
            return None
        how = attribute(node, "perm")
        if how == perm:
            return node.input[0]
        if perm == KEYS_TURNED and how == [0, 1, 3, 2]:
            return turned(node.input[0], HEADS_OUT)
        return None

    def flat(name: str, at: str, width: int) -> tuple[str, list[onnx.NodeProto]]:
        """(batch, length, heads, size) as (batch, length, width): what it was made of, or made anew."""
        node = made.get(name)
        if node is not None and node.op_type == "Reshape":
            before = sizes.get(node.input[0], [])
            if len(before) == 3 and before == [*sizes[name][:2], width]:
                return node.input[0], []
        shape = f"{at}_shape"
        graph.initializer.append(numpy_helper.from_array(np.array([0, 0, width], np.int64), shape))
        return at, [helper.make_node("Reshape", [name, shape], [at], name=at)]

    found = []
    for softmax in [node for node in graph.node if node.op_type == "Softmax"]:
        if attribute(softmax, "axis") not in (-1, 3):
            continue
        scores, scale = unscaled(unmasked(softmax.input[0]))
        products, mixed = made.get(scores), only_reader(softmax.output[0])
        if products is None or mixed is None or products.op_type != "MatMul" or mixed.op_type != "MatMul":
            continue
        out = only_reader(mixed.output[0])
        if mixed.input[0] != softmax.output[0] or out is None or turned(out.output[0], HEADS_OUT) is None:
            continue
        (query, by), (key, also_by) = unscaled(products.input[0]), unscaled(products.input[1])
        sources = [turned(query, HEADS_OUT), turned(key, KEYS_TURNED), turned(mixed.input[1], HEADS_OUT)]
        shapes = [sizes.get(name or "", []) for name in sources]
        if any(len(s) != 4 or not all(isinstance(n, int) and n > 0 for n in s[2:]) for s in shapes):
            continue
        heads = shapes[0][2]
        if any(s[2] != heads for s in shapes):
            continue
        nodes, inputs = [], []
        for name, shape, part in zip(sources, shapes, ("query", "key", "value")):
            given, more = flat(str(name), f"{mixed.output[0]}_{part}", heads * shape[3])
            inputs.append(given)
            nodes += more
        whole, back = f"{mixed.output[0]}_heads", f"{mixed.output[0]}_back"
        attention = helper.make_node(
            "MultiHeadAttention",
            inputs,
            [whole],
            name=f"{mixed.output[0]}_attention",
            domain="com.microsoft",
            num_heads=heads,
            scale=scale * by * also_by,
        )
        graph.initializer.append(numpy_helper.from_array(np.array([0, 0, heads, shapes[2][3]], np.int64), back))
        nodes += [attention, helper.make_node("Reshape", [whole, back], [out.output[0]], name=f"{whole}_apart")]
        found.append(helper.make_tensor_value_info(whole, onnx.TensorProto.FLOAT, None))
        place = list(graph.node).index(out)
        graph.node.remove(out)
        for node in reversed(nodes):
            graph.node.insert(place, node)
    if found:
        drop_unread(graph)
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return found


ROW_WISE = {"Cast", "Clip", "Erf", "Gelu", "Relu", "Sigmoid", "Tanh"}
"""Operators of one input that compute each number by itself."""


def choose_rows_first(graph: onnx.GraphProto) -> None:
    """Where a few rows are chosen of what was computed row by row for all of them, choose first and compute those.

    Detectors of two stages compute boxes for every place of a picture, and keep those of the few hundred that score
    best (Deformable DETR, Zhu et al. 2021; RT-DETR, Zhao et al. 2024).

    Args:
        graph: as the exporter left it, with the shapes of its values; changed in place.
    """
    made = {output: node for node in graph.node for output in node.output}
    read = Counter(name for inner in graphs(graph) for node in inner.node for name in node.input)
    read.update(output.name for output in graph.output)
    weights = {w.name: w for w in graph.initializer}
    sizes = {**value_sizes(graph), **{name: list(weight.dims) for name, weight in weights.items()}}

    def rows_of(index: str) -> str | None:
        """Numbers of rows (batch, count) that an index (batch, count, width) repeats for each column."""
        node = made.get(index)
        while node is not None and node.op_type in ("Tile", "Expand"):
            node = made.get(node.input[0])
        if node is None or node.op_type != "Unsqueeze" or node.input[1] not in weights:
            return None
        rows, whole = sizes.get(node.input[0], []), sizes.get(index, [])
        if list(numpy_helper.to_array(weights[node.input[1]]).reshape(-1)) not in ([2], [-1]) or len(rows) != 2:
            return None
        return node.input[0] if whole[:2] == rows else None

    def each_row(name: str) -> bool:
        """Whether a weight is the same for each row."""
        return name in weights and math.prod(weights[name].dims) == math.prod(weights[name].dims[-1:])

    def rewrite(gather: onnx.NodeProto, rows: str, count: int | str) -> None:
        nodes: list[onnx.NodeProto] = []

        def fresh(op: str, inputs: list[str], **how: Any) -> str:
            name = f"{gather.output[0]}_chosen_{len(nodes)}"
            nodes.append(helper.make_node(op, inputs, [name], name=name, **how))
            return name

        def constant(values: list[int]) -> str:
            name = f"{gather.output[0]}_constant_{len(graph.initializer)}"
            graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
            return name

        def chosen(name: str) -> str | None:
            """A value with its chosen rows only; None where its shape is not known to be one of rows."""
            node, shape = made.get(name), sizes.get(name, [])
            if len(shape) != 3 or shape[1] != count or not isinstance(shape[2], int):
                return None
            if node is not None and read[name] == 1:
                parts: list[str | None] = []
                same = node.op_type in ROW_WISE or (node.op_type == "LayerNormalization" and len(node.output) == 1)
                product = node.op_type == "MatMul" and len(sizes.get(node.input[1], ())) == 2
                if (same or product) and all(name in weights for name in node.input[1:]):
                    parts = [chosen(node.input[0]), *node.input[1:]] if attribute(node, "axis") in (None, -1, 2) else []
                elif node.op_type in ("Add", "Sub", "Mul", "Div"):
                    parts = [one if each_row(one) else chosen(one) for one in node.input]
                if parts and None not in parts:
                    found = fresh(node.op_type, [str(part) for part in parts])
                    nodes[-1].attribute.extend(node.attribute)
                    return found
            if shape[0] == 1:
                return fresh("Gather", [fresh("Squeeze", [name, constant([0])]), rows], axis=0)
            each = fresh("Unsqueeze", [rows, constant([2])])
            return fresh("GatherElements", [name, fresh("Tile", [each, constant([1, 1, shape[2]])])], axis=1)

        if chosen(gather.input[0]) is None or not any(node.op_type == "MatMul" for node in nodes):
            return
        nodes[-1].output[0] = gather.output[0]
        place = list(graph.node).index(gather)
        graph.node.remove(gather)
        for node in reversed(nodes):
            graph.node.insert(place, node)

    for node in [node for node in graph.node if node.op_type == "GatherElements" and attribute(node, "axis") == 1]:
        rows, shape = rows_of(node.input[1]), sizes.get(node.input[0], [])
        if rows is not None and len(shape) == 3:
            rewrite(node, rows, shape[1])
    drop_unread(graph)


def note_maps(graph: onnx.GraphProto, sizes: Mapping[str, list[int | str]]) -> None:
    """Note the size of the map, if it is known, at each convolution that is quicker by Winograd's algorithm.

    Args:
        sizes: the shapes of the graph's values.
    """
    weights = {w.name: list(w.dims) for w in graph.initializer}
    for node in graph.node:
        map_size = sizes.get(node.output[0], [])[2:] if node.op_type == "Conv" else []
        if len(map_size) != 2 or not all(isinstance(size, int) and size > 0 for size in map_size):
            continue
        ones = all(set(attribute(node, name) or [1]) == {1} for name in ("strides", "dilations"))
        kept = (attribute(node, "pads"), attribute(node, "group") or 1) == ([1, 1, 1, 1], 1)
        if ones and kept and winograd.worthwhile(weights.get(node.input[1], []), *map(int, map_size)):
            node.metadata_props.add(key=winograd.MARK, value="x".join(map(str, map_size)))


def drop_notes(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes of each value: lines of Python, with the names of folders of whoever exports."""
    for graph in graphs(model.graph):
        everything = (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info)
        for one in everything:
            del one.metadata_props[:]
            one.doc_string = ""


def value_sizes(graph: onnx.GraphProto) -> dict[str, list[int | str]]:
    """The shape of each value that has one noted: numbers, and names of what is free."""
    return {
        value.name: [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
    }


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove operators, and then weights, that nothing reads."""
    read = Counter(name for inner in graphs(graph) for node in inner.node for name in node.input)
    read.update(output.name for inner in graphs(graph) for output in inner.output)
    for node in reversed(list(graph.node)):
        if not any(read[name] for name in node.output):
            graph.node.remove(node)
            read.subtract(node.input)
    for weight in [w for w in graph.initializer if not read[w.name]]:
        graph.initializer.remove(weight)
