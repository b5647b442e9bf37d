"""A TFLite graph as an ONNX graph: values in both orders of axes, quantised values, loops.

Whole numbers that are not quantised are int64 inside. Quantised values are kept as they are stored; arithmetic is done
on what DequantizeLinear makes of them, and QuantizeLinear makes the stored form of its result: ONNX Runtime joins these
into integer kernels. Convolutions want the channel in front; a value is turned when it is first asked for so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.source import Options
from sensorium.formats.tflite import schema
from sensorium.formats.tflite.schema import Model, Operator, Subgraph, Tensor

LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # to channels last, and to channels first
LOOPS = 16  # nested
BIG = 1 << 62


class Builder:
    """Evaluates the operators of one graph of a model.

    Attributes:
        raw: values as they are stored, by tensor; `turned` the same with the channel as second axis.
    """

    def __init__(self, model: Model, number: int, graph: Graph, options: Options, depth: int = 0) -> None:
        if depth > LOOPS or not 0 <= number < len(model.graphs):
            raise InputError(f"corrupt: there is no graph {number}")
        self.model, self.graph, self.options, self.depth = model, graph, options, depth
        self.source: Subgraph = model.graphs[number]
        self.raw: dict[int, str] = {}
        self.turned: dict[int, str] = {}
        self._floats: dict[tuple[int, bool], str] = {}
        self.complex: dict[int, tuple[str, str]] = {}  # real and imaginary parts
        self.handles: dict[int, str] = {}  # names of variables
        self.variables: dict[str, str] = {}  # what they are now
        self.asked: list[list[int]] = []  # settings that follow from the shapes of the example
        self.setting = False  # whether this graph only sets variables, once

    # Tensors

    def tensor(self, index: int) -> Tensor:
        return self.source.tensors[index]

    def stored(self, index: int) -> np.ndarray | None:
        """The content of a tensor that is stored in the file, dequantised."""
        tensor = self.tensor(index)
        if tensor.stored is None or index in self.raw:
            return None
        return dequantised(tensor)

    def value(self, index: int) -> str:
        """A value as it is stored.

        Raises:
            InputError: nothing has made it.
        """
        if index not in self.raw:
            if index in self.turned:
                self.raw[index] = self.graph.add("Transpose", self.turned[index], perm=LAST)
            else:
                self.raw[index] = self._constant(index)
        return self.raw[index]

    def _constant(self, index: int) -> str:
        tensor = self.tensor(index)
        if tensor.stored is None:
            if tensor.variable:
                return self.graph.constant(np.zeros(tensor.shape, inside(tensor)), tensor.name)
            if 0 in tensor.shape:
                return self.graph.constant(np.zeros(tensor.shape, inside(tensor)), tensor.name)
            raise InputError(f"corrupt: nothing makes the tensor '{tensor.name}' with the index {index}")
        return self.graph.constant(tensor.array().astype(inside(tensor)), tensor.name)

    def channels_first(self, index: int) -> str:
        """A value of four axes as it is stored, with the channel as second axis."""
        if index not in self.turned:
            if len(self.tensor(index).shape) != 4:
                raise InputError(f"tensor '{self.tensor(index).name}' has {len(self.tensor(index).shape)} axes, not 4")
            self.turned[index] = self.graph.add("Transpose", self.value(index), perm=FIRST)
        return self.turned[index]

    def numbers(self, index: int, first: bool = False) -> str:
        """A value as a number: dequantised; `first` with the channel as second axis."""
        tensor = self.tensor(index)
        name = self.channels_first(index) if first else self.value(index)
        if not tensor.quantised:
            return name
        if (index, first) not in self._floats:
            axis = tensor.axis
            if first and len(tensor.scale if tensor.scale is not None else ()) > 1:
                axis = FIRST.index(axis)
            self._floats[index, first] = self.dequantise(name, tensor, axis)
        return self._floats[index, first]

    def dequantise(self, name: str, tensor: Tensor, axis: int) -> str:
        scale, zero = tensor.scale, tensor.zero
        if scale is None or zero is None:
            return name
        single = len(scale) == 1
        s = self.graph.constant(scale[0] if single else scale, "scale", np.float32)
        if tensor.kind == schema.INT16:  # ONNX has no such type to quantise to before opset 21
            return str(self.graph.add("Mul", self.graph.add("Cast", name, to=1), s))
        if tensor.kind == schema.INT32:
            return str(self.graph.add("DequantizeLinear", name, s, axis=None if single else axis))
        z = self.graph.constant(zero[0] if single else zero, "zero", schema.DTYPES[tensor.kind])
        return str(self.graph.add("DequantizeLinear", name, s, z, axis=None if single else axis))

    def weight(self, index: int, order: Sequence[int]) -> str:
        """A stored array with its axes in another order; quantised ones are dequantised by the graph."""
        tensor = self.tensor(index)
        if tensor.stored is None or index in self.raw:
            return str(self.graph.add("Transpose", self.numbers(index), perm=list(order)))
        array = tensor.array().transpose(order)
        if not tensor.quantised or tensor.kind == schema.INT16:
            return self.graph.constant(dequantised(tensor).transpose(order), tensor.name)
        name = self.graph.constant(np.ascontiguousarray(array), tensor.name)
        return self.dequantise(name, tensor, list(order).index(tensor.axis))

    def bias(self, index: int) -> str:
        """A stored bias, or "" where there is none."""
        if index < 0:
            return ""
        tensor = self.tensor(index)
        if tensor.stored is not None and tensor.kind == schema.INT64:  # beside values of 16 bits
            return self.graph.constant(dequantised(tensor).astype(np.float32), tensor.name)
        if tensor.stored is not None and tensor.kind == schema.INT32 and tensor.quantised:
            name = self.graph.constant(tensor.array(), tensor.name)
            return self.dequantise(name, tensor, tensor.axis)
        return self.numbers(index)

    def put(self, index: int, name: str, first: bool = False) -> None:
        """Say what a number-valued tensor is; it is quantised here where the file has it so."""
        tensor = self.tensor(index)
        if tensor.scale is not None and tensor.zero is not None:
            if len(tensor.scale) > 1:
                raise InputError("an output quantised by channel is not converted")
            s = self.graph.constant(tensor.scale[0], "scale", np.float32)
            if tensor.scale[0] <= 0:
                raise InputError(f"corrupt: a scale of {tensor.scale[0]}")
            if tensor.kind == schema.INT16:
                low, high = (self.graph.constant(np.float32(v)) for v in (-32768, 32767))
                name = self.graph.add("Clip", self.graph.add("Round", self.graph.add("Div", name, s)), low, high)
                name = self.graph.add("Cast", name, to=5)
            elif tensor.kind in (schema.INT8, schema.UINT8):
                z = self.graph.constant(tensor.zero[0], "zero", schema.DTYPES[tensor.kind])
                name = self.graph.add("QuantizeLinear", name, s, z)
            else:
                raise InputError(f"an output of quantised numbers of type {tensor.kind} is not converted")
        self.keep(index, name, first)

    def keep(self, index: int, name: str, first: bool = False) -> None:
        """Say what a tensor is, as it is stored."""
        (self.turned if first else self.raw)[index] = name

    def same(self, one: int, other: int) -> bool:
        """Whether two tensors store numbers in the same way."""
        a, b = self.tensor(one), self.tensor(other)
        if a.kind != b.kind or a.quantised != b.quantised:
            return False
        if a.scale is None or b.scale is None or a.zero is None or b.zero is None:
            return True
        return np.array_equal(a.scale, b.scale) and np.array_equal(a.zero, b.zero) and len(a.scale) == 1

    def known(self, index: int) -> list[int]:
        """Whole numbers that are stored, or follow from shapes that are not free.

        Raises:
            InputError: they depend on the input.
        """
        tensor = self.tensor(index)
        if tensor.stored is not None and index not in self.raw:
            array: Any = tensor.array()
        else:
            array = self.graph.known(self.value(index))
        if array is None:
            raise InputError(f"its setting '{tensor.name}' depends on the input")
        if tensor.stored is None:
            self.asked.append([int(n) for n in np.asarray(array).reshape(-1)])
        return [int(n) for n in np.asarray(array).reshape(-1)]

    def number(self, value: float) -> str:
        return self.graph.constant(np.float32(value), "number")

    # Running

    def inputs(self, more: int = 0) -> None:
        """Declare the inputs of the model; `more` is added to the sizes of free axes."""
        for index in self.source.inputs:
            tensor = self.tensor(index)
            if tensor.kind not in schema.DTYPES:
                raise InputError(f"input '{tensor.name}': elements of type {tensor.kind} are not read")
            shape = self.options.shapes.get(tensor.name, tensor.shape)
            if len(shape) != len(tensor.shape):
                raise InputError(f"input '{tensor.name}': has {len(tensor.shape)} axes, the shape told {len(shape)}")
            free = {axis: "batch" if axis == 0 else f"{tensor.name}_{axis}" for axis in tensor.free}
            shape = tuple(n + more * (axis in free) for axis, n in enumerate(shape))
            dtype = np.dtype(schema.DTYPES[tensor.kind])
            name = self.graph.input(tensor.name, shape, dtype, free)
            wanted = np.dtype(inside(tensor))
            if wanted != dtype:
                name = self.graph.add("Cast", name, to=onnx_type(wanted))
            self.keep(index, name)

    def run(self) -> None:
        from sensorium.formats.tflite.operators import convert

        for operator in self.source.operators:
            try:
                convert(self, operator)
            except InputError as error:
                raise InputError(f"layer '{operator.label[:120]}' ({operator.op}): {error}") from None

    def results(self) -> list[str]:
        return [self.value(index) for index in self.source.outputs]

    def handed_on(self, number: int) -> set[int]:
        """The places of a graph's values that come out of it as they went in."""
        if not 0 <= number < len(self.model.graphs):
            raise InputError(f"corrupt: there is no graph {number}")
        graph = self.model.graphs[number]
        made = {index for operator in graph.operators for index in operator.outputs}
        pairs = enumerate(zip(graph.inputs, graph.outputs))
        return {place for place, (before, after) in pairs if before == after and before not in made}

    def inner(self, number: int, graph: Graph, values: Sequence[str]) -> list[str]:
        """Evaluate another graph of the model on values."""
        other = Builder(self.model, number, graph, self.options, self.depth + 1)
        other.variables, other.setting = self.variables, self.setting or not values
        other.asked = self.asked
        if len(other.source.inputs) != len(values):
            raise InputError(f"corrupt: graph {number} takes {len(other.source.inputs)} values, not {len(values)}")
        for index, value in zip(other.source.inputs, values):
            other.keep(index, value)
        other.run()
        return other.results()


def inside(tensor: Tensor) -> Any:
    """The type that a tensor's elements have in the graph."""
    if tensor.quantised and tensor.kind in (schema.INT8, schema.UINT8, schema.INT16):
        return schema.DTYPES[tensor.kind]
    kind = schema.DTYPES.get(tensor.kind)
    if kind is None:
        raise InputError(f"tensor '{tensor.name}': elements of type {tensor.kind} are not converted")
    if np.dtype(kind).kind == "f":
        return np.float32
    return np.bool_ if kind is np.bool_ else np.int64


def onnx_type(dtype: Any) -> int:
    kinds = {"f4": 1, "u1": 2, "i1": 3, "i2": 5, "i4": 6, "i8": 7, "b1": 9, "u2": 4, "u4": 12, "f2": 10, "f8": 11}
    return kinds[np.dtype(dtype).str[1:]]


def dequantised(tensor: Tensor) -> np.ndarray:
    """The content of a tensor as numbers."""
    array = tensor.array()
    if tensor.scale is None or tensor.zero is None:
        plain: np.ndarray = array.astype(inside(tensor))
        return plain
    shape = [1] * array.ndim
    if len(tensor.scale) > 1:
        shape[tensor.axis] = len(tensor.scale)
    scale, zero = (
        np.broadcast_to(v, (len(v),)).reshape(shape if array.ndim else ()) for v in (tensor.scale, tensor.zero)
    )
    found: np.ndarray = ((array.astype(np.float64) - zero) * scale).astype(np.float32)
    return found


__all__ = ["BIG", "FIRST", "LAST", "Builder", "Operator", "dequantised", "inside", "onnx_type"]
