"""TensorFlow's solvers of linear equations, written out for matrices of a known size; and its gamma functions.

ONNX has no operators for these. The gamma functions are Lanczos's approximation, the inverse of the error function is
Giles's ("Approximating the erfinv function", 2010), as in XLA.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.formats.shared.tensorflow_graph import Net, Node, operator
from sensorium.formats.shared.tensorflow_math import END

LARGEST = 64  # rows of a matrix whose solution is written out
LANCZOS = 7.0
BASE = 0.99999999999980993227684700473478
COEFFICIENTS = (676.520368121885098567009190444019, -1259.13921672240287047156078755283,
                771.3234287776530788486528258894, -176.61502916214059906584551354, 12.507343278686904814458936853,
                -0.13857109526572011689554707, 9.984369578019570859563e-6, 1.50563273514931155834e-7)  # fmt: skip
GILES = (
    (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
     0.246640727, 1.50140941),
    (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
     1.00167406, 2.83297682),
)  # fmt: skip


def _rows(net: Net, node: Node, a: str) -> int:
    """The size of square matrices."""
    shape = net.graph.shape(a)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise node.fault(f"of matrices of shape {list(shape)} is not converted")
    if (size := net.size(a, -1)) is None or not 0 < size <= LARGEST:
        many = shape[-1] if size else "any number of"
        raise node.fault(f"of matrices of {many} rows is not converted (1 to {LARGEST}; --shape NAME=SIZES fixes them)")
    return size


def _part(net: Net, value: str, place: int, axis: int, end: int | None = None) -> str:
    return net.op("Slice", value, net.ints([place]), net.ints([place + 1 if end is None else end]), net.ints([axis]))


def _swapped(net: Net, value: str) -> str:
    rank = net.graph.rank(value)
    return net.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _mask(net: Net, wanted: np.ndarray) -> str:
    return net.graph.constant(wanted.reshape(-1, 1), "rows")


def _solved(net: Net, a: str, b: str, size: int) -> str:
    """Gauss and Jordan's elimination, in each step with the row whose element is the largest."""
    whole, zero = net.op("Concat", a, b, axis=-1), net.number(0.0)
    rows = np.arange(size)
    numbers = net.graph.constant(rows.reshape(-1, 1), "row_numbers")
    for k in range(size):
        column = net.op("Abs", _part(net, whole, k, -1))
        candidates = net.op("Where", _mask(net, rows >= k), column, net.number(-1.0))
        chosen = net.op("Equal", numbers, net.op("ArgMax", candidates, axis=-2, keepdims=1))
        best = net.op("ReduceSum", net.op("Where", chosen, whole, zero), net.ints([-2]), keepdims=1)
        best = net.op("Div", best, _part(net, best, k, -1))
        whole = net.op("Where", chosen, _part(net, whole, k, -2), whole)
        here = _mask(net, rows == k)
        factors = net.op("Where", here, zero, _part(net, whole, k, -1))
        whole = net.op("Sub", net.op("Where", here, best, whole), net.op("Mul", factors, best))
    return _part(net, whole, size, -1, END)


@operator("MatrixInverse", "BatchMatrixInverse")
def _inverse(net: Net, node: Node, inputs: list[str]) -> str:
    a = _swapped(net, inputs[0]) if node.get("adjoint") else inputs[0]
    size = _rows(net, node, a)
    one = net.graph.constant(np.eye(size, dtype=np.float32), "identity")
    return _solved(net, a, net.op("Expand", one, net.op("Shape", a)), size)


@operator("MatrixSolve", "BatchMatrixSolve", "MatrixTriangularSolve", "BatchMatrixTriangularSolve")
def _solve(net: Net, node: Node, inputs: list[str]) -> str:
    a, b = inputs
    size = _rows(net, node, a)
    if net.graph.shape(a)[:-2] != net.graph.shape(b)[:-2]:
        raise node.fault("of one matrix for several sides, or the reverse, is not converted")
    if "Triangular" in node.op:
        a = net.op("Trilu", a, upper=0 if node.get("lower", True) else 1)
    return _solved(net, _swapped(net, a) if node.get("adjoint") else a, b, size)


@operator("Cholesky", "BatchCholesky")
def _cholesky(net: Net, node: Node, inputs: list[str]) -> str:
    """Column by column; what is left of the matrix is that of the remaining columns."""
    left = inputs[0]
    size = _rows(net, node, left)
    columns = []
    for k in range(size):
        column = _part(net, left, k, -1)
        column = net.op("Div", column, net.op("Sqrt", _part(net, column, k, -2)))
        columns.append(net.op("Where", _mask(net, np.arange(size) >= k), column, net.number(0.0)))
        left = net.op("Sub", left, net.op("Mul", columns[-1], _swapped(net, columns[-1])))
    return net.op("Concat", *columns, axis=-1)


@operator("LogMatrixDeterminant")
def _log_determinant(net: Net, node: Node, inputs: list[str]) -> list[str]:
    found = net.op("Det", inputs[0])
    return [net.op("Sign", found), net.op("Log", net.op("Abs", found))]


# The gamma functions


def _lanczos(net: Net, x: str) -> tuple[str, str, str, str, str]:
    """Whether x is mirrored at 1/2, what the sum is taken of (z), the sum, z + 7.5 and its logarithm."""
    mirrored = net.op("Less", x, net.number(0.5))
    z = net.op("Where", mirrored, net.op("Neg", x), net.op("Sub", x, net.number(1.0)))
    terms = [net.op("Div", net.number(c), net.op("Add", z, net.number(i + 1.0))) for i, c in enumerate(COEFFICIENTS)]
    total = net.op("Sum", net.number(BASE), *terms)
    t = net.op("Add", z, net.number(LANCZOS + 0.5))
    return mirrored, z, total, t, net.op("Log", t)


@operator("Lgamma")
def _lgamma(net: Net, node: Node, inputs: list[str]) -> str:
    x = inputs[0]
    mirrored, z, total, t, log = _lanczos(net, x)
    power = net.op("Sub", net.op("Mul", net.op("Add", z, net.number(0.5)), log), t)
    y = net.op("Sum", power, net.number(0.5 * np.log(2 * np.pi)), net.op("Log", total))
    size = net.op("Abs", x)
    wave = net.op("Sin", net.op("Mul", net.op("Sub", size, net.op("Floor", size)), net.number(np.pi)))
    other = net.op("Sub", net.op("Sub", net.number(np.log(np.pi)), net.op("Log", net.op("Abs", wave))), y)
    return net.op("Where", mirrored, other, y)


@operator("Digamma")
def _digamma(net: Net, node: Node, inputs: list[str]) -> str:
    x = inputs[0]
    mirrored, z, total, t, log = _lanczos(net, x)
    slopes = []
    for i, c in enumerate(COEFFICIENTS):
        below = net.op("Add", z, net.number(i + 1.0))
        slopes.append(net.op("Div", net.number(-c), net.op("Mul", below, below)))
    y = net.op("Add", log, net.op("Div", net.op("Sum", *slopes), total))
    y = net.op("Sub", y, net.op("Div", net.number(LANCZOS), t))
    nearest = net.op("Sub", x, net.op("Floor", net.op("Add", x, net.number(0.5))))
    turn = net.op("Div", net.number(np.pi), net.op("Tan", net.op("Mul", nearest, net.number(np.pi))))
    return net.op("Where", mirrored, net.op("Sub", y, turn), y)


@operator("Erfinv")
def _erfinv(net: Net, node: Node, inputs: list[str]) -> str:
    x, one = inputs[0], net.number(1.0)
    w = net.op("Neg", net.op("Log", net.op("Mul", net.op("Sub", one, x), net.op("Add", one, x))))
    near = net.op("Less", w, net.number(5.0))

    def series(value: str, factors: Sequence[float]) -> str:
        found = net.number(factors[0])
        for factor in factors[1:]:
            found = net.op("Add", net.number(factor), net.op("Mul", found, value))
        return net.op("Mul", found, x)

    inner = series(net.op("Sub", w, net.number(2.5)), GILES[0])
    outer = series(net.op("Sub", net.op("Sqrt", w), net.number(3.0)), GILES[1])
    found = net.op("Where", near, inner, outer)
    edge = net.op("Equal", net.op("Abs", x), one)
    return net.op("Where", edge, net.op("Mul", x, net.number(np.inf)), found)
