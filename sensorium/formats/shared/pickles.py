"""What a pickle would do: its opcodes walked, nothing of it executed."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field

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
