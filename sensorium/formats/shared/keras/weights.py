"""Where the weights of a Keras layer are: by name in flat lists (Keras 1, 2, TF.js), or in a tree (Keras 3)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.hdf5 import Group

Source = Callable[[], np.ndarray]
# Classes that are exported by another name than their own, which the groups have.
EXPORTED = {"GroupQueryAttention": "GroupedQueryAttention"}


class Layers(ABC):
    """The weights of a model's layers."""

    @abstractmethod
    def layers(self, entries: Sequence[tuple[str, str, frozenset[str]]]) -> Mapping[str, Weights]:
        """Those of layers, each given by name, class, and the names of all layers in it."""


class Weights(Layers):
    """The weights of one layer, which may be a model."""

    @abstractmethod
    def arrays(self) -> list[np.ndarray]:
        """All of them, in Keras's order."""

    def names(self) -> list[str]:
        """Their names, as far as the file says."""
        return []

    @abstractmethod
    def part(self, attribute: str, index: int, count: int) -> Weights:
        """Those of a layer in this layer: its attribute in Keras 3, or its place among `count` equal parts."""

    @abstractmethod
    def cells(self, kinds: Sequence[str], sizes: Sequence[int]) -> list[Weights]:
        """Those of stacked cells of these classes, that have so many arrays each."""


class Flat(Weights):
    """A list of named arrays."""

    def __init__(self, items: Sequence[tuple[str, Source]], where: str) -> None:
        self.items, self.where = list(items), where

    def arrays(self) -> list[np.ndarray]:
        return [read() for _, read in self.items]

    def names(self) -> list[str]:
        return [name for name, _ in self.items]

    def part(self, attribute: str, index: int, count: int) -> Weights:
        if len(self.items) % count:
            raise InputError(f"{self.where}: {len(self.items)} weights cannot be divided into {count} parts")
        size = len(self.items) // count
        return Flat(self.items[index * size : (index + 1) * size], self.where)

    def cells(self, kinds: Sequence[str], sizes: Sequence[int]) -> list[Weights]:
        if sum(sizes) != len(self.items):
            raise InputError(f"{self.where}: {len(self.items)} weights instead of {sum(sizes)} for stacked cells")
        starts = np.cumsum([0, *sizes]).tolist()
        return [Flat(self.items[a:b], self.where) for a, b in pairwise(starts)]

    def layers(self, entries: Sequence[tuple[str, str, frozenset[str]]]) -> Mapping[str, Weights]:
        owner = {inner: name for name, _, below in entries for inner in (*below, name)}
        longest = sorted(owner, key=len, reverse=True)
        found: dict[str, list[tuple[str, Source]]] = {name: [] for name, _, _ in entries}
        for path, read in self.items:
            parts = path.split("/")
            mine = next((owner[p] for p in parts[:-1] if p in owner), None)
            if mine is None:
                mine = next((owner[n] for n in longest if any(p.startswith(f"{n}_") for p in parts)), None)
            if mine is None:
                raise InputError(f"{self.where}: the weights '{path[:120]}' belong to no layer")
            found[mine].append((path, read))
        return {name: Flat(items, self.where) for name, items in found.items()}


class Legacy(Layers):
    """The groups of an .h5 file of Keras 1, 2 or 3: one for each layer, with `weight_names`."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def layers(self, entries: Sequence[tuple[str, str, frozenset[str]]]) -> Mapping[str, Weights]:
        found: dict[str, Weights] = {}
        for name, _, _ in entries:
            group = self.group.find(name)
            items = [] if group is None else [(n, _reader(group, n)) for n in group.texts("weight_names")]
            found[name] = Flat(items, self.group.where)
        stored = {name: group for name, group in self.group.groups.items() if group.texts("weight_names")}
        for name in stored:
            if name not in found and name != "top_level_model_weights":
                raise InputError(f"{self.group.where}: the weights of '{name[:80]}' belong to no layer")
        return found


class Tree(Weights):
    """The tree of a .keras archive or a .weights.h5 file: layers by class and number."""

    def __init__(self, group: Group | None, where: str, path: str = "") -> None:
        self.group, self.where, self.path = group, where, path

    def arrays(self) -> list[np.ndarray]:
        own = self.group.find("vars") if self.group is not None else None
        if own is None:
            return []
        return [own.array(name) for name in sorted(own.names, key=_number)]

    def part(self, attribute: str, index: int, count: int) -> Weights:
        group = self.group
        for name in (attribute, f"_{attribute}"):
            if group is not None and name in group.groups:
                return Tree(group.groups[name], self.where, f"{self.path}/{name}")
        return Tree(None, self.where, f"{self.path}/{attribute}")

    def cells(self, kinds: Sequence[str], sizes: Sequence[int]) -> list[Weights]:
        inside = self.part("cells", 0, 1)
        assert isinstance(inside, Tree)
        return list(inside.layers([(str(i), kind, frozenset()) for i, kind in enumerate(kinds)]).values())

    def layers(self, entries: Sequence[tuple[str, str, frozenset[str]]]) -> Mapping[str, Weights]:
        inside = self.group
        for name in ("layers", "_layer_checkpoint_dependencies"):
            if self.group is not None and name in self.group.groups:
                inside = self.group.groups[name]
        used: dict[str, int] = {}
        found: dict[str, Weights] = {}
        for name, kind, _ in entries:
            key = snake_case(EXPORTED.get(kind, kind))
            count = used[key] = used.get(key, -1) + 1
            key = f"{key}_{count}" if count else key
            found[name] = Tree(inside.groups.get(key) if inside else None, self.where, f"{self.path}/layers/{key}")
        return found


def _reader(group: Group, name: str) -> Source:
    return lambda: group.array(name)


def _number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (1 << 30, name)


def snake_case(name: str) -> str:
    """As Keras 3 names the groups of a class."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
