"""One operator while it is translated: its inputs in the new graph and its parameters; and the table of operators."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph

Values = str | tuple[str, ...]
OPERATORS: dict[str, Callable[[Call], Values]] = {}

# Parameters that say how it is computed, not what.
WITHOUT_EFFECT = frozenset({"workspace", "cudnn_tune", "cudnn_off", "num_args", "ctx", "ctx_group", "lr_mult",
    "wd_mult",
    "force_mirroring", "mirror_stage", "profiler_scope", "sparse_grad", "momentum", "grad_scale", "ignore_label",
    "use_ignore", "normalization", "out_grad", "smooth_alpha", "name", "is_int", "backend", "min_calib_range",
    "max_calib_range", "use_global_stats", "key_var_num", "layout_optimized"})  # fmt: skip


class Misfit(InputError):
    """An axis has another length than what follows it needs: the example input is of the wrong size."""

    def __init__(self, message: str, got: int, needed: int) -> None:
        super().__init__(message)
        self.got, self.needed = got, needed


def operator(*names: str) -> Callable[[Callable[[Call], Values]], Callable[[Call], Values]]:
    """Enter a function into the table, by the names that MXNet's versions have for it."""

    def enter(function: Callable[[Call], Values]) -> Callable[[Call], Values]:
        for name in names:
            OPERATORS[name] = function
        return function

    return enter


@dataclass
class Call:
    """An operator to translate.

    Attributes:
        graph: where it goes; op, name: MXNet's.
        inputs: values of the graph; attributes: parameters as they are written.
        extra: variables that old files do not name (moving_mean, moving_var), by the ending of their name.
    """

    graph: Graph
    op: str
    name: str
    inputs: list[str]
    attributes: dict[str, str]
    extra: Callable[[str], str] | None = None
    used: set[str] = field(default_factory=set)

    def fault(self, message: str) -> InputError:
        return InputError(f"layer '{self.name[:100]}' ({self.op[:60]}): {message}")

    def add(self, op: str, *inputs: str, **more: Any) -> Any:
        return self.graph.add(op, *inputs, hint=self.name, **more)

    @property
    def x(self) -> str:
        return self.input(0)

    def input(self, index: int) -> str:
        if not -len(self.inputs) <= index < len(self.inputs):
            raise self.fault(f"input {index} is missing: it has {len(self.inputs)}")
        return self.inputs[index]

    def expect(self, least: int, most: int | None = None) -> None:
        if not least <= len(self.inputs) <= (least if most is None else most):
            raise self.fault(f"{len(self.inputs)} inputs are not what it takes")

    # Parameters

    def text(self, key: str, default: str | None = None, allowed: Sequence[str] = ()) -> str:
        self.used.add(key)
        value = self.attributes.get(key)
        if value is None or (value == "None" and default is not None):
            if default is None:
                raise self.fault(f"'{key}' is missing")
            return default
        if allowed and value not in allowed:
            raise self.fault(f"{key}={value[:60]} is not supported (only {', '.join(a for a in allowed if a)})")
        return value

    def given(self, key: str) -> bool:
        """Whether a parameter has a value; one that is `None` or empty has none."""
        self.used.add(key)
        return self.attributes.get(key, "None") not in ("None", "", "null")

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.text(key, str(default)).strip().lower()
        if value not in ("true", "false", "1", "0"):
            raise self.fault(f"{key}={value[:60]} is neither True nor False")
        return value in ("true", "1")

    def number(self, key: str, default: float | None = None) -> float:
        value = self.text(key, None if default is None else repr(default))
        try:
            return float(value)
        except ValueError:
            raise self.fault(f"{key}={value[:60]} is not a number") from None

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.number(key, default)
        if value != value or abs(value) > 1 << 53 or value != int(value):
            raise self.fault(f"{key}={value} is not a whole number")
        return int(value)

    def whole_or_none(self, key: str) -> int | None:
        return self.whole(key) if self.given(key) else None

    def items(self, key: str) -> list[str]:
        text = self.attributes.get(key, "")
        self.used.add(key)
        found = re.fullmatch(r"\s*[\[(]?([^\[\]()]*)[\])]?\s*", text)
        if found is None:
            raise self.fault(f"{key}={text[:60]} is not a list of numbers")
        return [item.strip().rstrip("L") for item in found[1].split(",") if item.strip()]

    def numbers(self, key: str, default: Sequence[float] = ()) -> list[float]:
        if not self.given(key):
            return list(default)
        try:
            return [float(item) for item in self.items(key)]
        except ValueError:
            raise self.fault(f"{key}={self.attributes[key][:60]} is not a list of numbers") from None

    def wholes(self, key: str, default: Sequence[int] = (), least: int | None = None) -> list[int]:
        found = self.numbers(key, default)
        if any(v != v or abs(v) > 1 << 53 or v != int(v) for v in found):
            raise self.fault(f"{key}={self.attributes[key][:60]} is not a list of whole numbers")
        if least is not None and any(v < least for v in found):
            raise self.fault(f"{key}={self.attributes[key][:60]}: less than {least} is not possible")
        return [int(v) for v in found]

    def wholes_or_none(self, key: str) -> list[int | None]:
        try:
            return [None if item == "None" else int(item) for item in self.items(key)]
        except ValueError:
            raise self.fault(f"{key}={self.attributes[key][:60]} is not a list of whole numbers") from None

    def refuse(self, key: str, *harmless: str) -> None:
        """A parameter that only has an answer for these values."""
        self.used.add(key)
        value = self.attributes.get(key, "None")
        if value not in ("None", "False", "false", "0", "0.0", "()", "") and value not in harmless:
            raise self.fault(f"{key}={value[:60]} is not supported")

    def finish(self) -> None:
        """Raises InputError where a parameter was given that nobody looked at."""
        for key, value in self.attributes.items():
            if key in self.used or key in WITHOUT_EFFECT or key.startswith("__"):
                continue
            if key.endswith(("_lr_mult", "_wd_mult")):
                continue
            raise self.fault(f"the parameter {key[:40]}={value[:40]} is not known")

    # Values

    def rank(self, value: str) -> int:
        try:
            return self.graph.rank(value)
        except InputError as error:
            raise self.fault(str(error)) from None

    def shape(self, value: str) -> tuple[int, ...]:
        try:
            return self.graph.shape(value)
        except InputError as error:
            raise self.fault(str(error)) from None

    def axis(self, value: int, rank: int) -> int:
        if not -rank <= value < rank:
            raise self.fault(f"axis {value} of an array with {rank} axes")
        return value % rank

    def stored(self, value: str, what: str) -> np.ndarray:
        found = self.graph.constants.get(value)
        if found is None:
            raise self.fault(f"its {what} is not a stored parameter")
        return found

    def constant(self, array: Any, like: str | None = None) -> str:
        return self.graph.constant(array, f"{self.name}.constant", self.graph.dtype(like) if like else None)

    def number_like(self, number: float, like: str) -> str:
        """A number of the type of a value; MXNet rounds it towards zero where that is a whole number."""
        kind = self.graph.dtype(like)
        if kind.kind in "iu":
            info = np.iinfo(kind)
            number = int(min(max(number, float(info.min)), float(info.max))) if number == number else 0
        return self.graph.constant(np.array(number, kind), f"{self.name}.scalar")

    def cast(self, value: str, kind: Any) -> str:
        if self.graph.dtype(value) == np.dtype(kind):
            return value
        onnx_type = {"float32": 1, "uint8": 2, "int8": 3, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float64": 11}
        name = np.dtype(kind).name
        if name not in onnx_type:
            raise self.fault(f"the type {name} is not supported")
        return str(self.add("Cast", value, to=onnx_type[name]))

    def ints(self, *values: int) -> str:
        return self.graph.ints(*values)

    def dims(self, value: str, start: int = 0, end: int | None = None) -> str:
        return str(self.graph.add("Shape", value, start=start, end=end))

    def pin(self) -> None:
        """Every axis but the batch keeps the size of the example: it was looked at."""
        axes = {name for i in self.graph.inputs for name in i.free.values() if name != "batch"}
        if axes:
            self.graph.pin(*axes)
