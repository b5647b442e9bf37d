"""What Caffe's layers are converted with: one layer, its inputs and blobs; and the table of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.formats.caffe.net import Layer
from sensorium.formats.shared.graph import Graph

LAST = np.iinfo(np.int64).max
MANY = 1 << 16  # bottoms
Handler = Callable[["Context"], Any]
Count = int | Callable[[Layer], int]


@dataclass(frozen=True)
class Kind:
    """How layers of one type are converted.

    Attributes:
        convert: gives the value of its top, or those of its tops.
        blobs: the least number of trained blobs.
        bottoms: the most that it takes.
        settles: whether its outputs have one size, whatever the picture's.
    """

    convert: Handler
    blobs: Count = 0
    bottoms: int = 1
    settles: bool = False


LAYERS: dict[str, Kind] = {}


def layer(*types: str, blobs: Count = 0, bottoms: int = 1, settles: bool = False) -> Callable[[Handler], Handler]:
    """Enter a function into the table of layers, by the types that it converts."""

    def enter(function: Handler) -> Handler:
        LAYERS.update(dict.fromkeys(types, Kind(function, blobs, bottoms, settles)))
        return function

    return enter


@dataclass
class Context:
    """One layer being converted.

    Attributes:
        inputs: values of its bottoms.
        fixed: whether none of them changes its size with the picture.
    """

    graph: Graph
    layer: Layer
    inputs: Sequence[str]
    fixed: bool

    @property
    def x(self) -> str:
        if not self.inputs:
            raise self.layer.fault("has no bottom")
        return self.inputs[0]

    @property
    def hint(self) -> str:
        return self.layer.tops[0] if self.layer.tops else self.layer.name

    def add(self, op: str, *inputs: str, **attributes: Any) -> Any:
        return self.graph.add(op, *inputs, hint=self.hint, **attributes)

    def constant(self, array: Any, name: str = "value") -> str:
        return self.graph.constant(np.asarray(array, np.float32), f"{self.layer.name}.{name}")

    def shape(self, i: int = 0) -> tuple[int, ...]:
        return self.graph.shape(self.inputs[i])

    def rank(self, i: int = 0) -> int:
        return self.graph.rank(self.inputs[i])

    def axis(self, given: int, i: int = 0, extra: int = 0) -> int:
        """An axis counted from the front."""
        rank = self.rank(i)
        axis = given + rank if given < 0 else given
        if not 0 <= axis < rank + extra:
            raise self.layer.fault(f"axis {given} of an input with {rank} axes")
        return axis

    def blob(self, i: int, shape: Sequence[int], what: str) -> np.ndarray:
        """A trained array of this shape; old files write leading ones."""
        found = self.layer.blobs[i]
        if tuple(n for n in found.shape if n != 1) != tuple(n for n in shape if n != 1):
            raise self.layer.fault(
                f"its {what} should have the shape {'x'.join(map(str, shape))}, the caffemodel's blob {i} has "
                f"{'x'.join(map(str, found.shape))}"
            )
        return np.asarray(found.reshape(shape), np.float32)

    def pin_size(self) -> None:
        """Say that the size of the picture is built in."""
        if names := [n for i in self.graph.inputs for a, n in i.free.items() if len(i.shape) == 4 and a > 1]:
            self.graph.pin(*names)

    def affine(self, x: str, scale: np.ndarray | float | None, shift: np.ndarray | float | None, axis: int) -> str:
        """x * scale + shift, the arrays laid along the axes from `axis` on."""
        for op, given in (("Mul", scale), ("Add", shift)):
            if given is not None:
                array = np.asarray(given, np.float32)
                after = self.graph.rank(x) - axis - array.ndim
                if after < 0:
                    raise self.layer.fault(f"parameters of {array.ndim} axes do not fit behind axis {axis}")
                x = self.add(op, x, self.constant(array.reshape(array.shape + (1,) * after), op.lower()))
        return x
