"""GraphDef, FunctionDef and MetaGraphDef: nodes, their attributes and constants.

The fields are those of tensorflow/core/framework/*.proto and tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.protobuf import Message
from sensorium.formats.shared.tensorflow_graph import Call, Function, Node

NAMES = {
    1: "DT_FLOAT", 2: "DT_DOUBLE", 3: "DT_INT32", 4: "DT_UINT8", 5: "DT_INT16", 6: "DT_INT8", 7: "DT_STRING",
    8: "DT_COMPLEX64", 9: "DT_INT64", 10: "DT_BOOL", 11: "DT_QINT8", 12: "DT_QUINT8", 13: "DT_QINT32",
    14: "DT_BFLOAT16", 15: "DT_QINT16", 16: "DT_QUINT16", 17: "DT_UINT16", 18: "DT_COMPLEX128", 19: "DT_HALF",
    20: "DT_RESOURCE", 21: "DT_VARIANT", 22: "DT_UINT32", 23: "DT_UINT64",
}  # fmt: skip
# As they lie in memory; bfloat16 is the upper half of a float32.
STORED: dict[str, str] = {
    "DT_FLOAT": "<f4", "DT_DOUBLE": "<f8", "DT_INT32": "<i4", "DT_UINT8": "|u1", "DT_INT16": "<i2", "DT_INT8": "|i1",
    "DT_INT64": "<i8", "DT_BOOL": "|b1", "DT_BFLOAT16": "<u2", "DT_UINT16": "<u2", "DT_HALF": "<f2",
    "DT_UINT32": "<u4", "DT_UINT64": "<u8", "DT_QINT8": "|i1", "DT_QUINT8": "|u1", "DT_QINT32": "<i4",
    "DT_COMPLEX64": "<c8",
}  # fmt: skip
REPEATED = 1 << 25  # elements of a constant that is given by one number
RANK = 16


def type_name(number: int) -> str:
    """`DT_FLOAT` for 1, and for 101, a reference to one."""
    return NAMES.get(number % 100, f"type {number}")


def from_bytes(data: memoryview | bytes, kind: str) -> np.ndarray:
    """A flat array of the type of this name."""
    array = np.frombuffer(data, STORED[kind])
    if kind == "DT_BFLOAT16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def shape(message: Message) -> list[int] | None:
    """TensorShapeProto; None where not even the number of axes is known."""
    if message.flag(3):
        return None
    found = [d.signed(1) for d in message.messages(2)]
    if len(found) > RANK or any(s < -1 or s > 1 << 40 for s in found):
        raise InputError(f"{message.where}: corrupt: a shape of {str(found)[:60]}")
    return found


def tensor(message: Message) -> np.ndarray | list[str]:
    """TensorProto: an array, or the texts in it.

    Raises:
        InputError: its values do not fit its shape, or are of a type that is no array of numbers.
    """
    kind, sizes = type_name(message.unsigned(1)), shape(message.message(2)) or []
    count = math.prod(sizes)
    if any(s < 0 for s in sizes):
        raise InputError(f"{message.where}: corrupt: a constant of shape {sizes}")
    if kind == "DT_STRING":
        return message.texts(8)
    if kind not in STORED:
        raise InputError(f"{message.where}: constants of {kind} are not converted")
    content = message.raw(4)
    if len(content) or not count:
        size = np.dtype(STORED[kind]).itemsize
        if len(content) != count * size:
            raise InputError(
                f"{message.where}: the shape {sizes} of a constant needs {count * size} bytes, there are {len(content)}"
            )
        return from_bytes(content, kind).reshape(sizes)
    values = _values(message, kind)
    if len(values) > count or (count > max(len(values), 1) and count > REPEATED):
        raise InputError(f"{message.where}: the shape {sizes} of a constant does not fit its {len(values)} values")
    if len(values) < count:  # the last one is repeated
        last = values[-1:] if len(values) else np.zeros(1, values.dtype)
        values = np.concatenate([values, np.repeat(last, count - len(values))])
    return values.reshape(sizes)


def _values(message: Message, kind: str) -> np.ndarray:
    if kind == "DT_FLOAT":
        return message.floats(5)
    if kind == "DT_DOUBLE":
        return message.doubles(6)
    if kind == "DT_COMPLEX64":
        return np.ascontiguousarray(message.floats(9)[: len(message.floats(9)) // 2 * 2], "<f4").view("<c8")
    if kind in ("DT_HALF", "DT_BFLOAT16"):
        bits = np.array([v & 0xFFFF for v in message.unsigned_list(13)], np.uint16)
        return from_bytes(bits.tobytes(), kind)
    number = {"DT_INT64": 10, "DT_BOOL": 11, "DT_UINT32": 16, "DT_UINT64": 17}.get(kind, 7)
    found = message.signed_list(number) if number != 17 else message.unsigned_list(number)
    return np.array(found, np.int64 if number != 17 else np.uint64).astype(np.dtype(STORED[kind]))


def _later(message: Message) -> Callable[[], np.ndarray | list[str]]:
    return lambda: tensor(message)


def attribute(message: Message) -> Any:
    """AttrValue as a plain value; a constant as a function that reads it."""
    for number, values in message.fields.items():
        if number == 2:
            return message.text(2) if values else ""
        if number == 3:
            return message.signed(3)
        if number == 4:
            return message.float32(4)
        if number == 5:
            return message.flag(5)
        if number == 6:
            return type_name(message.unsigned(6))
        if number == 7:
            return shape(message.message(7))
        if number == 8:
            return _later(message.message(8, "value"))
        if number == 10:
            return Call(message.message(10).text(1))
        if number == 1:
            return _list(message.message(1))
    return None


def _list(message: Message) -> list[Any]:
    found: list[Any] = list(message.texts(2)) + message.signed_list(3)
    found += [float(v) for v in message.floats(4)] + [bool(v) for v in message.unsigned_list(5)]
    found += [type_name(v) for v in message.unsigned_list(6)] + [shape(m) for m in message.messages(7)]
    return found + [Call(m.text(1)) for m in message.messages(9)]


class Attributes(dict[str, Any]):
    """The attributes of a node, read when asked for."""

    def __init__(self, message: Message) -> None:
        super().__init__({entry.text(1): entry.message(2) for entry in message.messages(5)})

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key)
        if isinstance(found, Message):
            found = self[key] = attribute(found)
        return default if found is None else found


def node(message: Message) -> Node:
    """NodeDef."""
    return Node(message.text(1), message.text(2), message.texts(3), Attributes(message))


def nodes(message: Message, number: int = 1) -> list[Node]:
    return [node(entry) for entry in message.messages(number, "a node")]


def function(message: Message) -> Function:
    """FunctionDef; a result that is not described is left out, and missed where it is used."""
    signature = message.message(1, "a function")
    given = {entry.text(1): entry.text(2) for entry in message.messages(4)}
    results = [given.get(out.text(1), out.text(1)) for out in signature.messages(3)]
    return Function(
        signature.text(1), [a.text(1) for a in signature.messages(2)], results, nodes(message, 3)
    )  # fmt: skip


def functions(graph: Message) -> dict[str, Function]:
    """The library of a GraphDef, by name."""
    found = [function(entry) for entry in graph.message(2, "library").messages(1)]
    return {f.name: f for f in found}


def results(meta: Message) -> dict[str, list[str]]:
    """Names of the outputs of each kind of operator, as a MetaGraphDef lists them."""
    ops = meta.message(1, "meta information").message(2).messages(1)
    return {op.text(1): [out.text(1) for out in op.messages(3)] for op in ops}
