"""A graph that is ONNX already: a file of that format, or what another program wrote in a child process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.errors import InputError, need
from sensorium.formats.shared.graph import Graph, Input, Node

Arrays = dict[str, np.ndarray]
USUAL = 16  # size of a free axis that nothing tells


@dataclass
class Finished(Graph):
    """An ONNX model as a `Graph`.

    Attributes:
        proto: the ModelProto.
        reference: inputs and outputs of the original, run where the graph was made.
        referee: the program that gave them.
    """

    proto: Any = None
    reference: list[tuple[Arrays, Arrays]] = field(default_factory=list)
    referee: str = ""

    def model(self) -> Any:
        return self.proto

    @property
    def parameters(self) -> int:
        kinds = {1, 10, 11, 16}  # float, float16, double, bfloat16
        return sum(int(np.prod(t.dims)) for t in self.proto.graph.initializer if t.data_type in kinds)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(node.op_type for node in self.proto.graph.node)

    def multiply_adds(self) -> int | None:
        return None


def finished(path: Path, producer: str, external: bool = True) -> Finished:
    """An ONNX file as a graph.

    Args:
        path: the file; its external data are read from beside it.
        producer: the format that it came from.

    Raises:
        InputError: it is not an ONNX file.
        MissingError: the package onnx is not installed.
    """
    onnx = need("onnx", "formats")
    try:
        proto = onnx.load(str(path), load_external_data=external)
    except Exception as error:  # protobuf raises its own kinds
        raise InputError(f"{path}: not an ONNX file: {' '.join(str(error).split())[:120]}") from None
    graph = Finished(proto.graph.name or path.stem, producer, proto=proto)
    stored = {t.name for t in proto.graph.initializer}
    for entry in proto.graph.input:
        if entry.name in stored:
            continue
        kind = entry.type.tensor_type
        if not entry.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise InputError(f"{path}: the input '{entry.name[:80]}' is not a tensor of a known number of axes")
        shape, free = [], {}
        for axis, dim in enumerate(kind.shape.dim):
            fixed = dim.HasField("dim_value") and dim.dim_value > 0
            if not fixed:
                free[axis] = dim.dim_param or ("batch" if axis == 0 else f"axis{axis}")
            shape.append(dim.dim_value if fixed else 1 if axis == 0 else USUAL)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        graph.inputs.append(Input(entry.name, tuple(shape), np.dtype(dtype), free))
    for entry in proto.graph.output:
        graph._outputs.append((entry.name, entry.name))
        graph._types[entry.name] = entry.type
    # What it ends with is asked, of a network that is to serve a task.
    graph.nodes = [Node(n.op_type, list(n.input), list(n.output), {}, n.domain) for n in proto.graph.node]
    for tensor in proto.graph.initializer:
        if np.prod(tensor.dims) == 1 and not tensor.external_data:
            graph.constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
    return graph


def references(path: Path) -> list[tuple[Arrays, Arrays]]:
    """Inputs and outputs that a child kept: arrays `0.in.NAME`, `0.out.NAME`, `1.in.NAME`, ..."""
    sets: dict[str, tuple[Arrays, Arrays]] = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            number, side, name = key.split(".", 2)
            sets.setdefault(number, ({}, {}))[side == "out"][name] = stored[key]
    return [sets[number] for number in sorted(sets)]
