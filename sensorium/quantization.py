"""An ONNX file in fewer bits: fp16, int8 and int4."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import need

INSIDE_LIMIT = 1_900_000_000  # bytes of one protobuf message: larger weights stand beside it
BLOCK = 32  # weights that share a scale in int4
PRODUCTS = ["MatMul", "Gemm"]
SMALL = 4096  # values: a smaller table of embeddings is not worth its scales


class Examples:
    """Calibration data for ONNX Runtime's quantisation: prepared examples, one at a time."""

    def __init__(self, feeds: Sequence[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def to_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic in 16 bits, inputs and outputs as they were."""
    onnx = need("onnx", "formats")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smaller = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    made: set[str] = set()
    for node in list(smaller.graph.node):  # the converter turns a value back once for each of its readers
        if made & set(node.output):
            smaller.graph.node.remove(node)
        made |= {name for name in node.output if name}
    _save(onnx, smaller, target)


def to_int8(source: Path, target: Path, calibration: Sequence[dict[str, np.ndarray]] = ()) -> None:
    """Weights in 8 bits, with a scale for each filter, column or row.

    Convolutions compute in 8 bits where examples show the range of what they read, else with the weights turned back.
    Matrix products always compute in 8 bits, by the range that each input turns out to have.

    Args:
        calibration: prepared examples with a batch axis.
    """
    onnx = need("onnx", "formats")
    from onnxruntime import quantization as q

    logging.getLogger().setLevel(logging.ERROR)
    network = onnx.load(str(source))
    convolutions = any(node.op_type == "Conv" for node in network.graph.node)
    if convolutions and calibration:
        prepared, convolved = target.with_suffix(".prepared.onnx"), target.with_suffix(".convolved.onnx")
        try:
            q.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            q.quantize_static(
                str(prepared),
                str(convolved),
                Examples(calibration),
                quant_format=q.QuantFormat.QDQ,
                per_channel=True,
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                op_types_to_quantize=["Conv", "Relu", "Clip"],  # an activation after it is then a part of its range
            )
            network = onnx.load(str(convolved))
        finally:
            prepared.unlink(missing_ok=True)
            convolved.unlink(missing_ok=True)
        del network.graph.value_info[:]  # quantisation trips over shapes that it noted itself
    tied = own_weights(onnx, network.graph)
    large = network.ByteSize() > INSIDE_LIMIT
    q.quantize_dynamic(
        network,
        str(target),
        per_channel=True,
        weight_type=q.QuantType.QInt8,
        op_types_to_quantize=PRODUCTS,
        use_external_data_format=large,
        # What follows operators that ONNX does not know, such as the exporter's attention.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    smaller = onnx.load(str(target))
    for node in list(smaller.graph.node):
        if node.op_type in ("Conv", "ConvTranspose"):
            _filters_in_8_bits(onnx, smaller.graph, node)
        elif node.op_type == "Gather":
            _rows_in_8_bits(onnx, smaller.graph, node, tied)
    _save(onnx, smaller, target)


def to_int4(source: Path, target: Path) -> bool:
    """Weights of matrix products in 4 bits, in blocks with a scale each; everything else as it was.

    Returns:
        Whether there is such a weight; without one, nothing is written.
    """
    onnx = need("onnx", "formats")
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.ERROR)
    network = onnx.load(str(source))
    own_weights(onnx, network.graph)
    quantizer = MatMulNBitsQuantizer(_as_products(onnx, network), bits=4, block_size=BLOCK, is_symmetric=True)
    quantizer.process()
    smaller = quantizer.model.model
    if not any(node.op_type == "MatMulNBits" for node in smaller.graph.node):
        return False
    _save(onnx, smaller, target)
    return True


def own_weights(onnx: Any, graph: Any) -> dict[str, str]:
    """Give each matrix product a weight of its own that stands as it multiplies, in place of one that it shares.

    An output layer reads the table of embeddings, turned round by a Transpose or by the Gemm itself. The quantisers
    pass over the first (the whole table would be turned back to floats at every run), and turn the second round in its
    place, whoever else reads it.

    Returns:
        Tables, and the name of the weight that is their transpose.
    """
    weights = {weight.name: weight for weight in graph.initializer}
    turned = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Transpose" and node.input[0] in weights and len(weights[node.input[0]].dims) == 2
    }
    used = Counter(name for node in graph.node for name in node.input)
    tied: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in turned:
            table = turned[node.input[1]]
            if table not in tied:
                values = np.ascontiguousarray(onnx.numpy_helper.to_array(weights[table]).T)
                tied[table] = f"{table}.transposed"
                graph.initializer.append(onnx.numpy_helper.from_array(values, tied[table]))
            node.input[1] = tied[table]
        elif node.op_type == "Gemm" and node.input[1] in weights and used[node.input[1]] > 1:
            own = graph.initializer.add()
            own.CopyFrom(weights[node.input[1]])
            node.input[1] = own.name = f"{own.name}.{node.name or node.output[0]}"
    _swept(graph)
    return tied


def _swept(graph: Any) -> None:
    """Leave out the Transpose nodes and the weights that nobody reads any more."""
    kept = _names_read(graph)
    for node in [n for n in graph.node if n.op_type == "Transpose" and n.output[0] not in kept]:
        graph.node.remove(node)
    kept = _names_read(graph)
    for weight in [w for w in graph.initializer if w.name not in kept]:
        graph.initializer.remove(weight)


def _names_read(graph: Any) -> set[str]:
    """The values that a graph answers or that a node reads, also in a branch of the graph."""
    found = {output.name for output in graph.output}
    for node in graph.node:
        found |= set(node.input)
        for attribute in node.attribute:
            for branch in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                found |= _names_read(branch)
    return found


def _filters_in_8_bits(onnx: Any, graph: Any, node: Any) -> None:
    """The weight of a convolution as whole numbers with a scale for each filter; the arithmetic stays as it was."""
    weight = next((w for w in graph.initializer if w.name == node.input[1]), None)
    if weight is None or weight.data_type != onnx.TensorProto.FLOAT:
        return
    axis = 0 if node.op_type == "Conv" else 1
    whole, scale = _whole(onnx.numpy_helper.to_array(weight), axis)
    name = f"{weight.name}.{node.name or node.output[0]}"
    graph.initializer.extend(
        [onnx.numpy_helper.from_array(whole, f"{name}.int8"), onnx.numpy_helper.from_array(scale, f"{name}.scale")]
    )
    back = onnx.helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [f"{name}.float"], axis=axis)
    node.input[1] = f"{name}.float"
    graph.node.insert(0, back)
    if weight.name not in _names_read(graph):
        graph.initializer.remove(weight)


def _rows_in_8_bits(onnx: Any, graph: Any, node: Any, tied: dict[str, str]) -> None:
    """A table of embeddings as whole numbers with a scale for each row; only the rows that are read become floats.

    An output layer that reads the same table takes its weight from here: it is turned round when the file is opened.
    """
    weights = {weight.name: weight for weight in graph.initializer}
    table = weights.get(node.input[0])
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    if table is None or table.data_type != onnx.TensorProto.FLOAT or len(table.dims) != 2 or axis != 0:
        return
    values = onnx.numpy_helper.to_array(table)
    if values.size < SMALL:
        return
    name = table.name
    shared = weights.get(f"{tied.get(name)}_quantized")
    if f"{name}.rows" not in weights:
        if shared is not None and shared.data_type == onnx.TensorProto.INT8:
            whole = np.ascontiguousarray(onnx.numpy_helper.to_array(shared).T)
            scale = onnx.numpy_helper.to_array(weights[f"{tied[name]}_scale"])
            turn = onnx.helper.make_node("Transpose", [f"{name}.rows"], [shared.name], f"{name}.turned", perm=[1, 0])
            graph.initializer.remove(shared)
            graph.node.insert(0, turn)
        else:
            whole, scale = _whole(values, 0)
        scale = np.ascontiguousarray(np.broadcast_to(scale.reshape(-1), len(whole)))[:, None]
        graph.initializer.extend(
            [onnx.numpy_helper.from_array(whole, f"{name}.rows"), onnx.numpy_helper.from_array(scale, f"{name}.scales")]
        )
    out, place = node.output[0], list(graph.node).index(node)
    graph.node.remove(node)
    make = onnx.helper.make_node
    rows = [
        make("Gather", [f"{name}.rows", node.input[1]], [f"{out}.rows"], f"{out}.rows"),
        make("Gather", [f"{name}.scales", node.input[1]], [f"{out}.scales"], f"{out}.scales"),
        make("Cast", [f"{out}.rows"], [f"{out}.whole"], f"{out}.whole", to=onnx.TensorProto.FLOAT),
        make("Mul", [f"{out}.whole", f"{out}.scales"], [out], f"{out}.floats"),
    ]
    for offset, one in enumerate(rows):
        graph.node.insert(place + offset, one)
    if name not in _names_read(graph):
        graph.initializer.remove(table)


def _whole(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Floats as int8 and one float32 scale for each index of an axis."""
    others = tuple(a for a in range(values.ndim) if a != axis)
    scale = np.maximum(np.abs(values).max(axis=others) / 127, np.float32(1e-12)).astype(np.float32)
    shape = [-1 if a == axis else 1 for a in range(values.ndim)]
    return np.rint(values / scale.reshape(shape)).astype(np.int8), scale


def _as_products(onnx: Any, network: Any) -> Any:
    """The network with MatMul and Add in place of Gemm: only the weights of MatMul are written in 4 bits."""
    graph = network.graph
    weights = {weight.name: weight for weight in graph.initializer}
    nodes = []
    for node in graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = node.op_type == "Gemm" and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0
        if not plain or given.get("transA", 0) or node.input[1] not in weights:
            nodes.append(node)
            continue
        right = node.input[1]
        if given.get("transB", 0):
            right = f"{node.output[0]}.weight"
            values = np.ascontiguousarray(onnx.numpy_helper.to_array(weights[node.input[1]]).T)
            graph.initializer.append(onnx.numpy_helper.from_array(values, right))
        biased = len(node.input) > 2 and node.input[2]
        product = f"{node.output[0]}.product" if biased else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], right], [product], name=f"{node.name}.product"))
        if biased:
            nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)
    _swept(graph)
    return network


def _save(onnx: Any, network: Any, target: Path) -> None:
    """Write a network, with weights above 2 GB beside it."""
    (target.parent / f"{target.name}.data").unlink(missing_ok=True)
    large = network.ByteSize() > INSIDE_LIMIT
    location = f"{target.name}_data" if large else None
    onnx.save(network, str(target), save_as_external_data=large, location=location)
