"""Looking through an ONNX file before an engine opens it: what would read other files, or never end, is refused.

The file is walked as protobuf, without the package onnx. Its large data may lie in another file only if that is a plain
file beside it; functions may not call themselves, nor unfold to more nodes than a network has; graphs in graphs go only
so deep.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sensorium.errors import InputError

DEPTH = 60  # of graphs in graphs
UNFOLDED = 2_000_000  # nodes, when functions are put in place of their calls
SMALL = 1024  # bytes of a node too small to hide much
LARGE = 1 << 24  # bytes of a file in which a word is found more slowly than all its parts are looked at
KEYS = {"location", "offset", "length", "checksum"}

Fields = Iterator[tuple[int, "memoryview | int"]]


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The whole number at a place, and the place after it.

    Raises:
        ValueError, IndexError: there is none.
    """
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def spans(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Each field of a message: its number, its kind on the wire, where it begins, where its value does, where it ends.

    Raises:
        ValueError, IndexError: it is no whole message.
    """
    while at < end:
        begin = at
        key, value = varint(data, at)
        kind = key & 7
        if kind == 0:
            at = varint(data, value)[1]
        else:
            length, value = varint(data, value) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), value)
            if length < 0 or value + length > end:
                raise ValueError("a field that does not fit")
            at = value + length
        yield key >> 3, kind, begin, value, at


def _fields(data: memoryview) -> Fields:
    """Number and value of each field: bytes or a whole number."""
    for number, kind, _, value, end in spans(data, 0, len(data)):
        yield number, data[value:end] if kind else varint(data, value)[0]


def _parts(data: memoryview, number: int) -> Iterator[memoryview]:
    return (value for n, value in _fields(data) if n == number and isinstance(value, memoryview))


def _text(data: memoryview, number: int) -> str:
    return next((bytes(value).decode("utf-8", "replace") for value in _parts(data, number)), "")


class _Walk:
    def __init__(self, path: Path, external: bool) -> None:
        self.path = path
        self.external = external  # whether the word "location" may occur at all
        self.deepest = 0

    def graph(self, data: memoryview, depth: int) -> None:
        """GraphProto: nodes, initializers, sparse initializers."""
        if depth > DEPTH:
            raise InputError(f"{self.path}: graphs in graphs, more than {DEPTH} deep; refused")
        for number, value in _fields(data):
            if not isinstance(value, memoryview):
                continue
            if number == 1:
                self.node(value, depth)
            elif number == 5:
                self.tensor(value)
            elif number == 15:
                self.sparse(value)

    def node(self, data: memoryview, depth: int) -> None:
        if not self.external and len(data) < SMALL:
            return
        for attribute in _parts(data, 5):
            self.attribute(attribute, depth)

    def attribute(self, data: memoryview, depth: int) -> None:
        for number, value in _fields(data):
            if not isinstance(value, memoryview):
                continue
            if number in (5, 10):
                self.tensor(value)
            elif number in (6, 11):
                self.graph(value, depth + 1)
            elif number in (22, 23):
                self.sparse(value)

    def sparse(self, data: memoryview) -> None:
        for number in (1, 2):
            for tensor in _parts(data, number):
                self.tensor(tensor)

    def tensor(self, data: memoryview) -> None:
        if not self.external:
            return
        told: dict[str, str] = {}
        outside = False
        name = ""
        for number, value in _fields(data):
            if number == 14:
                outside = value == 1
            elif number == 8 and isinstance(value, memoryview):
                name = bytes(value[:80]).decode("utf-8", "replace")
            elif number == 13 and isinstance(value, memoryview):
                key = _text(value, 1)
                if key not in KEYS or key in told:
                    raise InputError(f"{self.path}: the data of '{name}' are described by '{key[:40]}'; refused")
                told[key] = _text(value, 2)
        if told or outside:
            self.place(name, told)

    def place(self, name: str, told: dict[str, str]) -> None:
        """Where the data of a tensor lie: a plain file beside the network."""
        location = told.get("location", "")
        plain = location.isprintable() and not any(c in location for c in "/\\:") and location.strip(". ") != ""
        if not plain or location.startswith("."):
            raise InputError(f"{self.path}: the data of '{name}' lie outside its folder ({location[:80]!r}); refused")
        place = self.path.parent / location
        try:
            found = os.lstat(place)
        except OSError:
            raise InputError(f"{self.path}: the file {location[:80]} with the data of '{name}' is missing") from None
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise InputError(f"{place}: is a link, or no plain file; the data of a network may not be one")
        try:
            offset, length = int(told.get("offset") or 0), int(told.get("length") or 0)
        except ValueError:
            offset = -1
        if offset < 0 or length < 0 or offset + length > found.st_size:
            raise InputError(
                f"{self.path}: the data of '{name}' lie behind the end of {location}: truncated or corrupt"
            )


def _functions(model: memoryview, path: Path) -> None:
    """Functions that call each other for ever, or unfold to more nodes than there can be."""
    calls: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for function in _parts(model, 25):
        name = (_text(function, 10), _text(function, 1))
        calls[name] = list(_called(function, 7))
    if not calls:
        return
    active: set[tuple[str, str]] = set()

    @cache
    def size(name: tuple[str, str]) -> int:
        if name in active or len(active) > 500:
            raise InputError(f"{path}: the function '{name[1][:60]}' calls itself, or too deeply; refused")
        active.add(name)
        total = sum(1 + (size(inner) if inner in calls else 0) for inner in calls[name])
        active.discard(name)
        return total

    graphs = list(_parts(model, 7))
    total = sum(size(name) if name in calls else 1 for graph in graphs for name in _called(graph, 1))
    if max(total, *(size(name) for name in calls)) > UNFOLDED:
        raise InputError(f"{path}: its functions unfold to more than {UNFOLDED} nodes; refused")


def _called(data: memoryview, field: int, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Domain and operator of each node, those of inner graphs too."""
    if depth > DEPTH:
        raise ValueError("graphs in graphs")
    for node in _parts(data, field):
        yield _text(node, 7), _text(node, 4)
        for attribute in _parts(node, 5):
            for number, value in _fields(attribute):
                if number in (6, 11) and isinstance(value, memoryview):
                    yield from _called(value, 1, depth + 1)


def vet(path: Path) -> None:
    """Refuse an ONNX file that an engine should not open.

    Raises:
        InputError: it names data outside of its folder, unfolds or nests without end, or is no protobuf at all.
    """
    try:
        with path.open("rb") as file:
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # ends with the last view of it
        _vet(memoryview(held), path, len(held) > LARGE or held.find(b"location") >= 0)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: not a whole ONNX file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _vet(model: memoryview, path: Path, external: bool) -> None:
    walk = _Walk(path, external)
    for number, value in _fields(model):
        if not isinstance(value, memoryview):
            continue
        if number == 7:
            walk.graph(value, 0)
        elif number == 20:  # graphs of training
            for inner in (1, 2):
                for graph in _parts(value, inner):
                    walk.graph(graph, 1)
        elif number == 25:  # a function: its nodes, and defaults of its attributes
            for node in _parts(value, 7):
                walk.node(node, 1)
            for attribute in _parts(value, 11):
                walk.attribute(attribute, 1)
    _functions(model, path)
