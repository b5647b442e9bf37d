"""What a pickle would do, and the arrays in it: its opcodes are walked; nothing is imported, nothing called."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError

OPCODES = 2_000_000

# What harmless tensors and arrays are made of; everything else that a pickle names is shown.
HARMLESS = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        "torch.device",
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "_codecs.encode",
    }
    | {f"torch.{kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char",
                                           "Byte", "Bool", "ComplexFloat", "ComplexDouble", "Untyped")}
    | {f"torch.{kind}" for kind in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8",
                                    "uint8", "bool")}
)  # fmt: skip


@dataclass
class Pickle:
    """What was seen in one pickle.

    Attributes:
        protocol: 0 to 5.
        names: every `module.name` that loading would import, in order, once each.
        calls: how many calls loading would make.
        end: position behind its last byte.
    """

    protocol: int = 0
    names: list[str] = field(default_factory=list)
    calls: int = 0
    end: int = 0

    @property
    def suspicious(self) -> list[str]:
        """The names that are not among those that tensors are made of."""
        return [name for name in self.names if name not in HARMLESS]


def walk(data: bytes, where: str) -> Pickle:
    """Read a pickle's opcodes up to its STOP.

    Raises:
        InputError: the bytes are not a whole pickle.
    """
    seen = Pickle()
    names: dict[str, None] = {}
    texts: list[str] = []  # the last texts pushed: what STACK_GLOBAL takes
    memory: dict[int, str] = {}
    fresh = False  # whether the last step pushed a text
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count > OPCODES:
                raise InputError(f"{where}: a pickle of more than {OPCODES} steps")
            kind = opcode.name
            if kind == "PROTO":
                seen.protocol = int(argument or 0)
            elif kind in ("GLOBAL", "INST"):
                names[str(argument).replace(" ", ".", 1)] = None
                seen.calls += kind == "INST"
            elif kind == "STACK_GLOBAL":
                names[".".join(texts[-2:]) if len(texts) > 1 else "a computed name"] = None
            elif kind in ("REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"):
                seen.calls += 1
            elif kind in ("PUT", "BINPUT", "LONG_BINPUT"):
                memory[int(argument or 0)] = texts[-1] if fresh else "?"
            elif kind == "MEMOIZE":
                memory[len(memory)] = texts[-1] if fresh else "?"
            elif kind in ("GET", "BINGET", "LONG_BINGET"):
                texts.append(memory.get(int(argument or 0), "?"))
            elif isinstance(argument, str):
                texts.append(argument)
            fresh = isinstance(argument, str) and kind not in ("GLOBAL", "INST")
            del texts[:-8]
            seen.end = (position or 0) + 1
    except InputError:
        raise
    except Exception as error:  # pickletools raises whatever it meets
        reason = str(error).split("\n", 1)[0][:100]
        raise InputError(f"{where}: a pickle that is truncated or corrupt: {reason}") from None
    seen.names = list(names)
    return seen


# Reading arrays

RECONSTRUCT = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
FROM_BUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
SCALAR = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
ARRAYS = frozenset(
    RECONSTRUCT | FROM_BUFFER | SCALAR | {"numpy.ndarray", "numpy.dtype", "_codecs.encode", "collections.OrderedDict"}
)
MARK = object()
PUSHED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


@dataclass(frozen=True)
class Name:
    """A thing that the pickle names; it is never looked up."""

    text: str


@dataclass
class Array:
    """An array in the making."""

    value: np.ndarray | None = None


@dataclass
class Type:
    """A dtype in the making."""

    code: str
    order: str = "<"

    def dtype(self) -> np.dtype[Any]:
        code = self.code.lstrip("<>=|")
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise ValueError(f"arrays of type {self.code[:20]} are not read")
        return np.dtype((">" if self.order == ">" else "<") + code)


class Reader:
    """A small machine for the opcodes that arrays in lists and dictionaries need.

    Attributes:
        allowed: the names that may occur; `call` says what becomes of a call of each.
        end: position behind the last byte that was read.
    """

    allowed: frozenset[str] = ARRAYS

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.spent = 0  # bytes that were copied
        self.visits = 0  # of values in lists and dictionaries
        self.end = 0

    def run(self) -> Any:
        """What the pickle holds.

        Raises:
            InputError: it is damaged, or holds or calls anything but arrays in lists and dictionaries.
        """
        try:
            for count, (opcode, argument, position) in enumerate(pickletools.genops(self.data)):
                if count > OPCODES:
                    raise InputError(f"{self.where}: a pickle of more than {OPCODES} steps")
                self.end = (position or 0) + 1
                if opcode.name == "STOP":
                    break
                self.step(opcode.name, argument)
            return self.plain(self.stack[-1])
        except InputError:
            raise
        except Exception as error:  # pickletools raises whatever it meets
            reason = " ".join(str(error).split())[:100]
            raise InputError(f"{self.where}: a pickle that is truncated or corrupt: {reason}") from None

    def step(self, kind: str, argument: Any) -> None:
        stack = self.stack
        if kind in ("PROTO", "FRAME"):
            return
        if kind == "MARK":
            stack.append(MARK)
        elif kind in PUSHED:
            stack.append(PUSHED[kind])
        elif kind in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append([] if kind != "EMPTY_DICT" else {})
        elif kind in ("LIST", "TUPLE"):
            stack.append(self.marked())
        elif kind in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(kind[-1])
            stack[-count:] = [list(stack[-count:])]
        elif kind in ("APPEND", "APPENDS"):
            items = [stack.pop()] if kind == "APPEND" else self.marked()
            stack[-1].extend(items)
        elif kind in ("SETITEM", "SETITEMS", "DICT"):
            items = [stack.pop(-2), stack.pop()] if kind == "SETITEM" else self.marked()
            if kind == "DICT":
                stack.append({})
            stack[-1].update({self.key(k): v for k, v in zip(items[::2], items[1::2])})
        elif kind in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memory[int(argument)] = stack[-1]
        elif kind == "MEMOIZE":
            self.memory[len(self.memory)] = stack[-1]
        elif kind in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memory[int(argument)])
        elif kind == "POP":
            stack.pop()
        elif kind == "EMPTY_SET":
            stack.append([])
        elif kind == "ADDITEMS":
            items = self.marked()
            stack[-1].extend(items)
        elif kind == "FROZENSET":
            stack.append(self.marked())
        elif kind == "BINPERSID":
            stack.append(self.persistent(stack.pop()))
        elif kind == "GLOBAL":
            stack.append(self.named(str(argument).replace(" ", ".", 1)))
        elif kind == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(self.named(f"{module}.{name}"))
        elif kind in ("REDUCE", "NEWOBJ"):
            given, called = stack.pop(), stack.pop()
            stack.append(self.call(called, given))
        elif kind == "BUILD":
            state = stack.pop()
            self.fill(stack[-1], state)
        elif isinstance(argument, (str, bytes, bytearray, int, float)) and kind not in ("INST", "PERSID"):
            stack.append(argument)
        else:
            raise InputError(f"{self.where}: refused: the pickle's step {kind} is not one that arrays need")

    def marked(self) -> list[Any]:
        place = max(i for i, value in enumerate(self.stack) if value is MARK)
        found = self.stack[place + 1 :]
        del self.stack[place:]
        return found

    def named(self, text: str) -> Name:
        if text not in self.allowed:
            raise InputError(
                f"{self.where}: refused as unsafe: its pickle would import {text[:120]}; only arrays are read"
            )
        return Name(text)

    def key(self, value: Any) -> str:
        """How a key of a dictionary is written."""
        return str(value) if isinstance(value, (str, int, float)) else "?"

    def persistent(self, identifier: Any) -> Any:
        """What stands outside of the pickle and is named in it."""
        raise InputError(f"{self.where}: refused: the pickle names things outside of it; only arrays are read")

    def call(self, called: Any, given: list[Any]) -> Any:
        name = called.text if isinstance(called, Name) else ""
        if name == "_codecs.encode" and given[1] == "latin1":
            return self.bytes(given[0])
        if name in RECONSTRUCT and given[0] == Name("numpy.ndarray"):
            return Array()
        if name == "numpy.dtype" and isinstance(given[0], str):
            return Type(given[0])
        if name == "collections.OrderedDict":
            return {self.key(k): v for k, v in (given[0] if given else [])}
        if name in FROM_BUFFER:
            return Array(self.array(given[0], given[1], given[2], given[3] == "F"))
        if name in SCALAR:
            return Array(self.array(given[1], given[0], [], False))
        raise InputError(f"{self.where}: refused: its pickle would call {name or 'something unnamed'}")

    def bytes(self, value: Any) -> bytes:
        if isinstance(value, str):
            self.spent += len(value)
            if self.spent > 2 * len(self.data) + 65536:
                raise InputError(f"{self.where}: a pickle built to exhaust its reader; refused")
            return value.encode("latin-1")
        return bytes(value) if isinstance(value, bytearray) else value

    def array(self, data: Any, kind: Any, shape: list[Any], fortran: bool) -> np.ndarray:
        if not isinstance(kind, Type) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
            raise ValueError("an array without a shape and a type")
        size = 1
        for n in shape:
            size *= n
        found = np.frombuffer(self.bytes(data), kind.dtype())
        if found.size != size:
            raise ValueError(f"an array of shape {shape[:8]} with {found.size} values")
        return found.reshape(shape, order="F" if fortran else "C")

    def fill(self, target: Any, state: Any) -> None:
        if isinstance(target, Array):
            _, shape, kind, fortran, data = state
            if isinstance(data, list):
                raise InputError(f"{self.where}: an array of Python objects; refused")
            target.value = self.array(data, kind, shape, bool(fortran))
        elif isinstance(target, Type):
            target.order = str(state[1])
        else:
            raise InputError(f"{self.where}: refused: its pickle sets the state of an object")

    def plain(self, value: Any, depth: int = 0) -> Any:
        self.visits += 1
        if self.visits > OPCODES:
            raise InputError(f"{self.where}: a pickle built to exhaust its reader; refused")
        if isinstance(value, Array) and value.value is not None:
            return value.value
        if depth < 4 and isinstance(value, list):
            return [self.plain(v, depth + 1) for v in value]
        if depth < 4 and isinstance(value, dict):
            return {k: self.plain(v, depth + 1) for k, v in value.items()}
        return value
