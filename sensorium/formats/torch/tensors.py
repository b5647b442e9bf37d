"""The tensors of a PyTorch file, by an allow-list reader: PyTorch is not needed, nothing that the file names is called.

Three containers: a zip file (since PyTorch 1.6), a row of pickles and bytes (0.1.10 to 1.5), and a tar file (before).
"""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import pickles
from sensorium.formats.shared.archive import Archive, open_zip
from sensorium.formats.shared.pickles import Array, Name
from sensorium.formats.shared.source import LIMIT, File

LEGACY = bytes.fromhex("80028a0a6cfc9c46f920")  # the magic number of torch.save before 1.6, as a pickle
STORAGES = {
    "Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": "bf16", "Long": "i8", "Int": "i4", "Short": "i2",
    "Char": "i1", "Byte": "u1", "Bool": "b1", "ComplexFloat": "c8", "ComplexDouble": "c16", "Untyped": "u1",
}  # fmt: skip
DTYPES = {
    "torch.float32": "f4", "torch.float64": "f8", "torch.float16": "f2", "torch.bfloat16": "bf16", "torch.int64": "i8",
    "torch.int32": "i4", "torch.int16": "i2", "torch.int8": "i1", "torch.uint8": "u1", "torch.bool": "b1",
    "torch.uint16": "u2", "torch.uint32": "u4", "torch.uint64": "u8", "torch.float": "f4", "torch.long": "i8",
    "torch.complex64": "c8", "torch.complex128": "c16",
}  # fmt: skip
KINDS = {f"torch.{kind}Storage": code for kind, code in STORAGES.items()} | {
    f"torch.storage.{kind}Storage": code for kind, code in STORAGES.items()
}
# What a training checkpoint may hold besides tensors; it becomes nothing, and nothing is done with it.
INERT = frozenset(
    {f"builtins.{n}" for n in ("set", "frozenset", "list", "dict", "tuple", "int", "float", "bool", "str", "complex",
                               "bytearray", "slice", "range", "object")}
    | {f"__builtin__.{n}" for n in ("set", "frozenset", "list", "dict", "tuple", "int", "float", "bool", "str", "long",
                                    "complex", "bytearray", "object")}
    | {"argparse.Namespace", "collections.defaultdict", "collections.Counter", "collections.deque",
       "copyreg._reconstructor", "copy_reg._reconstructor", "datetime.datetime", "datetime.timedelta", "datetime.date",
       "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.Path", "pathlib._local.PosixPath",
       "torch.device", "torch.Size", "torch.Generator", "torch.serialization._get_layout", "torch.strided",
       "torch.contiguous_format", "torch._C._te", "uuid.UUID", "decimal.Decimal", "fractions.Fraction"}
)  # fmt: skip
REBUILD = frozenset(
    f"torch._utils.{name}"
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter",
                 "_rebuild_parameter_with_state", "_rebuild_device_tensor_from_numpy")
) | {"torch._tensor._rebuild_from_type_v2", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter",
     "torch.nn.parameter.Buffer", "torch.FloatTensor", "torch.DoubleTensor", "torch.HalfTensor", "torch.LongTensor",
     "torch.IntTensor", "torch.ShortTensor", "torch.CharTensor", "torch.ByteTensor", "torch.BoolTensor",
     "torch.BFloat16Tensor"}  # fmt: skip
ALLOWED = pickles.ARRAYS | frozenset(KINDS) | frozenset(DTYPES) | INERT | REBUILD
# Where in a checkpoint the weights are; what comes first is preferred.
PLACES = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "state", "weights", "params_ema",
    "params", "generator", "ema_state_dict", "ema", "module", "student", "teacher",
)  # fmt: skip
PREFIXES = ("module.", "_orig_mod.", "model.module.")
RANK = 32


@dataclass(frozen=True)
class Storage:
    """Bytes that tensors are views of."""

    code: str
    key: str
    first: int = 0  # element at which a view of another storage begins


@dataclass(frozen=True)
class Tensor:
    """A tensor as the file describes it; `array` reads its values.

    Attributes:
        code: type of its elements: a NumPy code, or `bf16`.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    code: str

    @property
    def size(self) -> int:
        count = 1
        for n in self.shape:
            count *= n
        return count

    def array(self, data: bytes, where: str) -> np.ndarray:
        """Its values; bfloat16 becomes float32.

        Raises:
            InputError: it does not lie within the storage.
        """
        item = np.dtype("u2" if self.code == "bf16" else "<" + self.code)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides)) if self.size else 0
        if ((last + 1) * item.itemsize > len(data) and self.size) or self.size * item.itemsize > LIMIT:
            raise InputError(
                f"{where}: corrupt or truncated: a tensor of shape {list(self.shape)[:8]} does not fit its storage of "
                f"{len(data)} bytes"
            )
        stored = np.frombuffer(data, item, len(data) // item.itemsize)
        view = np.lib.stride_tricks.as_strided(
            stored[self.offset :], self.shape, [s * item.itemsize for s in self.strides], writeable=False
        )
        found = np.ascontiguousarray(view).reshape(self.shape)
        if self.code == "bf16":
            found = (found.astype(np.uint32) << 16).view(np.float32)
        return found


@dataclass(frozen=True)
class Nothing:
    """A value that is not looked at."""

    name: str


class Reader(pickles.Reader):
    """Tensors in lists and dictionaries."""

    allowed = ALLOWED

    def __init__(self, data: bytes, where: str, named: Callable[[Any], Any] | None = None) -> None:
        super().__init__(data, where)
        self.named_outside = named
        self.codes: dict[str, str] = {}  # of the storages that were named

    def persistent(self, identifier: Any) -> Any:
        if self.named_outside is not None:
            return self.named_outside(identifier)
        if not isinstance(identifier, list) or len(identifier) < 5 or identifier[0] != "storage":
            raise ValueError("a storage that is not described as it should be")
        kind, key, view = identifier[1], identifier[2], identifier[5] if len(identifier) > 5 else None
        if not isinstance(kind, Name) or kind.text not in KINDS or not isinstance(key, (str, int)):
            raise ValueError("a storage of no type")
        first = view[1] if isinstance(view, list) else 0
        self.codes[str(key)] = KINDS[kind.text]
        return Storage(KINDS[kind.text], str(key), first)

    def call(self, called: Any, given: list[Any]) -> Any:
        name = called.text if isinstance(called, Name) else ""
        if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            return tensor(*given[:4])
        if name == "torch._utils._rebuild_tensor_v3":
            storage, offset, shape, strides = given[:4]
            return tensor(storage, offset, shape, strides, DTYPES[given[6].text])
        if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return given[0]
        if name == "torch._utils._rebuild_device_tensor_from_numpy":
            return given[0]
        if name == "torch._tensor._rebuild_from_type_v2":
            return self.call(given[0], given[2])
        if name in INERT and name.endswith("dict"):
            return {}
        if name in INERT or name in REBUILD:
            return Nothing(name)
        return super().call(called, given)

    def fill(self, target: Any, state: Any) -> None:
        if not isinstance(target, (dict, list, Nothing, Tensor)):
            super().fill(target, state)


def tensor(storage: Any, offset: Any, shape: Any, strides: Any, code: str | None = None) -> Tensor:
    """A tensor with everything about it checked but its place in the storage.

    Raises:
        ValueError: it is not one.
    """
    whole = isinstance(storage, Storage) and isinstance(shape, list) and isinstance(strides, list)
    if not whole or len(shape) != len(strides) or len(shape) > RANK:
        raise ValueError("a tensor that is not described as it should be")
    if any(type(n) is not int or not 0 <= n < 1 << 48 for n in (offset, storage.first, *shape, *strides)):
        raise ValueError(f"a tensor of shape {str(shape)[:60]}")
    return Tensor(storage, offset + storage.first, tuple(shape), tuple(strides), code or storage.code)


@dataclass
class Content:
    """What a file holds: the values, and how to read a storage."""

    value: Any
    storage: Callable[[Storage], bytes]
    where: str

    def array(self, found: Any) -> np.ndarray:
        if isinstance(found, Array) and found.value is not None:
            found = found.value
        if isinstance(found, np.ndarray):
            return found
        assert isinstance(found, Tensor)
        return found.array(self.storage(found.storage), self.where)


def zipped(archive: Archive) -> Content:
    """A zip file of torch.save.

    Raises:
        InputError: it is damaged, or names what tensors do not need.
    """
    name = archive.find("data.pkl")
    where = str(archive.file.path)
    if name is None:
        raise InputError(f"{where}: no data.pkl in this zip file; not a file of torch.save")
    order = archive.find("byteorder")
    if order is not None and archive.read(order, 64).strip() == b"big":
        raise InputError(f"{where}: its numbers are big-endian, which is not read")
    root = name.removesuffix("data.pkl")
    value = Reader(archive.read(name, 256 << 20), f"{where}: {name}").run()
    kept: dict[str, bytes] = {}

    def storage(wanted: Storage) -> bytes:
        if wanted.key not in kept:
            kept.clear()  # tensors of one storage follow each other
            kept[wanted.key] = archive.read(f"{root}data/{wanted.key}")
        return kept[wanted.key]

    return Content(value, storage, where)


def legacy(data: bytes, where: str) -> Content:
    """A row of pickles (magic number, protocol, machine, values, keys of storages), then the storages.

    Raises:
        InputError: it is damaged, or names what tensors do not need.
    """
    at, values = 0, []
    codes: dict[str, str] = {}
    for _ in range(5):
        reader = Reader(data[at:], where)
        values.append(reader.run())
        codes |= reader.codes
        at += reader.end
    machine, value, keys = values[2], values[3], values[4]
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise InputError(f"{where}: its numbers are big-endian, which is not read")
    stored: dict[str, bytes] = {}
    for key in keys if isinstance(keys, list) else []:
        count = struct.unpack_from("<q", data, at)[0] if at + 8 <= len(data) else -1
        length = count * width(codes.get(str(key), "u1"))
        if count < 0 or at + 8 + length > len(data):
            raise InputError(f"{where}: truncated: a storage needs more bytes than there are")
        stored[str(key)] = data[at + 8 : at + 8 + length]
        at += 8 + length

    def storage(wanted: Storage) -> bytes:
        if wanted.key not in stored:
            raise InputError(f"{where}: truncated: the storage of a tensor is missing")
        return stored[wanted.key]

    return Content(value, storage, where)


def tarred(file: File) -> Content:
    """A tar file of PyTorch before 0.1.10: members `storages`, `tensors` and `pickle`.

    Raises:
        InputError: it is damaged, or names what tensors do not need.
    """
    where = str(file.path)
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(file.data), mode="r:") as archive:
            for member in archive:
                if member.isreg() and member.name in ("storages", "tensors", "pickle"):
                    stream = archive.extractfile(member)
                    members[member.name] = stream.read() if stream else b""
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise InputError(f"{where}: a tar file that is truncated or corrupt: {str(error)[:100]}") from None
    if len(members) != 3:
        raise InputError(f"{where}: a tar archive, not a model: unpack it, and give the files in it")
    data, at = members["storages"], 0

    def pickled(source: bytes) -> Any:
        nonlocal at
        reader = Reader(source[at:], where)
        value = reader.run()
        at += reader.end
        return value

    stored: dict[str, tuple[str, bytes]] = {}
    for _ in range(_count(pickled(data), data, where)):
        key, _, kind = pickled(data)
        code = KINDS[kind.text]
        (count,) = struct.unpack_from("<q", data, at)
        length = count * width(code)
        if count < 0 or at + 8 + length > len(data):
            raise InputError(f"{where}: truncated: a storage needs more bytes than there are")
        stored[str(key)] = code, data[at + 8 : at + 8 + length]
        at += 8 + length
    views = pickled(data)
    data, at = members["tensors"], 0
    found: dict[str, Tensor] = {}
    for view, root, first, _ in views if isinstance(views, list) else []:
        stored[str(view)] = stored[str(root)][0], stored[str(root)][1][first * width(stored[str(root)][0]) :]
    for _ in range(_count(pickled(data), data, where)):
        key, place, _ = pickled(data)
        rank = struct.unpack_from("<i", data, at)[0]
        if not 0 <= rank <= RANK:
            raise InputError(f"{where}: corrupt: a tensor of {rank} axes")
        sizes = struct.unpack_from(f"<{2 * rank + 1}q", data, at + 8)
        at += 8 + 8 * len(sizes)
        storage = Storage(stored[str(place)][0], str(place))
        found[str(key)] = tensor(storage, sizes[-1], list(sizes[:rank]), list(sizes[rank:-1]))
    value = Reader(members["pickle"], where, lambda key: found[str(key)]).run()
    return Content(value, lambda wanted: stored[wanted.key][1], where)


def _count(value: Any, data: bytes, where: str) -> int:
    if type(value) is not int or not 0 <= value <= len(data):
        raise InputError(f"{where}: corrupt: a count of {str(value)[:40]}")
    return value


def width(code: str) -> int:
    """Bytes of one element."""
    return 2 if code == "bf16" else np.dtype(code).itemsize


def is_tensor(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray)) or (isinstance(value, Array) and value.value is not None)


def walk(value: Any, depth: int = 0) -> list[Any]:
    """Every tensor in lists and dictionaries, once for each place."""
    if is_tensor(value):
        return [value]
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [t for v in inner for t in walk(v, depth + 1)] if depth < 6 else []


def content(file: File) -> Content:
    """What a file of torch.save holds.

    Raises:
        InputError: it is damaged, or names what tensors do not need.
    """
    if file.head[:4] == b"PK\x03\x04":
        return zipped(open_zip(file))
    if file.head.startswith(LEGACY):
        return legacy(file.data, str(file.path))
    if file.head[257:262] == b"ustar" or file.head[:100].split(b"\0")[0] in (b"sys_info", b"storages"):
        return tarred(file)
    if file.head[:1] == b"\x80":
        value = Reader(file.data, str(file.path)).run()

        def storage(wanted: Storage) -> bytes:
            raise InputError(f"{file.path}: a pickle of tensors without their values")

        return Content(value, storage, str(file.path))
    raise InputError(f"{file.path}: not a PyTorch file")


def weights(value: Any) -> tuple[str, dict[str, Any]]:
    """The weights in a checkpoint: where they are (empty for the whole), and tensors by name.

    A dictionary of tensors, or the one that a training checkpoint keeps under a usual name; prefixes that wrappers add
    are taken off.
    """
    found: list[tuple[int, int, str, dict[str, Any]]] = []

    def look(here: Any, path: str, depth: int) -> None:
        if not isinstance(here, dict):
            return
        tensors = {k: v for k, v in here.items() if is_tensor(v)}
        word = path.rsplit(".", 1)[-1]
        if tensors and 2 * len(tensors) >= len(here) and "optim" not in path:
            rank = PLACES.index(word) if word in PLACES else len(PLACES)
            found.append((0 if not path else 1 + rank, -len(tensors), path, tensors))
        if depth < 3:
            for key, inner in here.items():
                look(inner, f"{path}.{key}" if path else key, depth + 1)

    look(value, "", 0)
    if not found:
        return "", {}
    _, _, path, tensors = min(found, key=lambda f: f[:3])
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): v for name, v in tensors.items()}
    return path, tensors


def arrays(file: File) -> dict[str, np.ndarray]:
    """The weights in a file as arrays, by name.

    Raises:
        InputError: there are none in it, it is damaged, or it names what tensors do not need.
    """
    held = content(file)
    try:
        _, tensors = weights(held.value)
        if not tensors:
            raise InputError(f"{file.path}: holds no dictionary of tensors (a state_dict)")
        return {name: held.array(found) for name, found in tensors.items()}
    except (ValueError, struct.error) as error:
        raise InputError(f"{file.path}: corrupt: {' '.join(str(error).split())[:100]}") from None
