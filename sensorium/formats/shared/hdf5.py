"""HDF5 from strangers: groups, attributes and arrays of one file; links that leave it are refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from sensorium.errors import InputError, SensoriumError, need
from sensorium.formats.shared.source import LIMIT, File

OBJECTS = 100_000
DEPTH = 32
RATIO = 1100  # deflate cannot do better than 1032 to 1
FILTERS = {1, 2, 3, 4, 5, 6, 32000}  # deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf: no plugin is loaded
SKIPPED = {"optimizer_weights", "optimizer"}  # of the training


class Group:
    """A group: its attributes, the groups in it, and its arrays (read when asked for)."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.attributes: dict[str, Any] = {}
        self.groups: dict[str, Group] = {}
        self._arrays: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._arrays)

    def find(self, path: str) -> Group | None:
        """The group at a path, or None."""
        group: Group | None = self
        for part in filter(None, path.split("/")):
            group = group.groups.get(part) if group is not None else None
        return group

    def array(self, path: str) -> np.ndarray:
        """The array at a path.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        *parts, name = [p for p in path.split("/") if p] or [""]
        group = self.find("/".join(parts))
        if group is None or name not in group._arrays:
            raise InputError(f"{self.where}: the weights '{path[:120]}' are missing")
        try:
            found: np.ndarray = np.asarray(group._arrays[name][()])
        except Exception as error:  # h5py raises many kinds
            raise InputError(
                f"{self.where}: the weights '{path[:120]}' are truncated or corrupt: {_one(error)}"
            ) from None
        return found

    def walk(self) -> Iterator[Group]:
        """This group and all below."""
        left = [self]
        while left:
            group = left.pop()
            yield group
            left.extend(group.groups.values())

    @property
    def size(self) -> int:
        """Number of values in all arrays below."""
        return sum(int(np.prod(d.shape, dtype=np.float64)) for g in self.walk() for d in g._arrays.values())

    def texts(self, name: str) -> list[str]:
        """A list of names in an attribute; long ones are divided into `name0`, `name1`, ..."""
        if name in self.attributes:
            return _texts(self.attributes[name])
        found: list[str] = []
        part = 0
        while f"{name}{part}" in self.attributes:
            found += _texts(self.attributes[f"{name}{part}"])
            part += 1
        return found


def _texts(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else []


def _one(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):  # what is no text comes as surrogates, which nothing can print
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()] if value.ndim else _plain(value.item())
    return value.item() if isinstance(value, np.generic) else value


def load(source: File | bytes, where: str) -> Group:
    """The tree of an HDF5 file.

    Raises:
        InputError: it is truncated, or holds what would open another file, or claims more than is stored.
        MissingError: the package h5py is not installed.
    """
    h5py = need("h5py", "formats")
    try:
        data = source if isinstance(source, bytes) else source.data
        file = h5py.File(io.BytesIO(data), "r")
        return _Walker(h5py, where, len(data)).root(file)
    except SensoriumError:
        raise
    except Exception as error:  # h5py raises many kinds
        raise InputError(f"{where}: an HDF5 file that is truncated or corrupt: {_one(error)}") from None


class _Walker:
    def __init__(self, h5py: Any, where: str, size: int) -> None:
        self.h5py, self.where, self.size = h5py, where, size
        self.count = 0
        self.seen: set[int] = set()

    def root(self, file: Any) -> Group:
        root = Group(self.where)
        left = [(file, root, 0)]
        while left:
            source, group, depth = left.pop()
            group.attributes = self._attributes(source)
            if depth > DEPTH:
                raise InputError(f"{self.where}: groups are nested too deeply")
            for name in source:
                if depth == 0 and name in SKIPPED:
                    continue
                self.count += 1
                if self.count > OBJECTS:
                    raise InputError(f"{self.where}: more than {OBJECTS} objects in this HDF5 file")
                link = source.get(name, getlink=True)
                if not isinstance(link, self.h5py.HardLink):
                    raise InputError(f"{self.where}: '{name[:80]}' is a link to another place or file; refused")
                entry = source[name]
                if isinstance(entry, self.h5py.Group):
                    address = self.h5py.h5o.get_info(entry.id).addr
                    if address in self.seen:
                        raise InputError(f"{self.where}: the group '{name[:80]}' is linked twice; refused")
                    self.seen.add(address)
                    group.groups[name] = Group(self.where)
                    left.append((entry, group.groups[name], depth + 1))
                elif isinstance(entry, self.h5py.Dataset):
                    self._check(entry, name)
                    group._arrays[name] = entry
        return root

    def _attributes(self, source: Any) -> dict[str, Any]:
        found = {}
        for name in source.attrs:
            entry = source.attrs.get_id(name)
            if int(np.prod(entry.shape or (), dtype=np.float64)) * entry.dtype.itemsize > self.size:
                raise InputError(f"{self.where}: the attribute '{name[:80]}' is larger than its file")
            found[str(name)] = _plain(source.attrs[name])
        return found

    def _check(self, entry: Any, name: str) -> None:
        plan = entry.id.get_create_plist()
        if entry.is_virtual or plan.get_external_count():
            raise InputError(f"{self.where}: the values of '{name[:80]}' lie in another file; refused")
        if any(plan.get_filter(i)[0] not in FILTERS for i in range(plan.get_nfilters())):
            raise InputError(f"{self.where}: '{name[:80]}' is compressed by a filter that is not known")
        if entry.dtype.kind not in "fiub" or entry.shape is None:
            if entry.dtype.kind in "OSUV":
                return  # texts of a vocabulary: never read
            raise InputError(f"{self.where}: '{name[:80]}' does not hold numbers")
        claimed = int(np.prod(entry.shape, dtype=np.float64)) * entry.dtype.itemsize
        stored = min(entry.id.get_storage_size(), self.size)
        if claimed > LIMIT or claimed > (RATIO if plan.get_nfilters() else 1) * stored:
            raise InputError(f"{self.where}: the shape of '{name[:80]}' claims {claimed} bytes, {stored} are stored")
