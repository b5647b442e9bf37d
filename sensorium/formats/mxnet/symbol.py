"""symbol.json: the graph, in the spellings of MXNet 0.8 to 2.0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.shared import json_text
from sensorium.formats.shared.source import File

NODES = 200_000

# What ends a training graph: of these only the first input counts, the label is left out.
LOSSES = frozenset(
    {"SoftmaxOutput", "Softmax", "LinearRegressionOutput", "MAERegressionOutput", "LogisticRegressionOutput",
     "SVMOutput"}
)  # fmt: skip


@dataclass
class Node:
    """One operator, or a variable (`op` is "null")."""

    op: str
    name: str
    attributes: dict[str, str]
    inputs: list[tuple[int, int]]  # node and which of its outputs


@dataclass
class Symbol:
    where: str
    nodes: list[Node] = field(default_factory=list)
    heads: list[tuple[int, int]] = field(default_factory=list)
    version: str | None = None

    def order(self, heads: list[tuple[int, int]]) -> list[int]:
        """The nodes that lead to some outputs, each after its inputs.

        Raises:
            InputError: they go round in a circle.
        """
        done: dict[int, bool] = {}  # False while its inputs are being looked at
        found: list[int] = []
        stack: list[tuple[int, Iterator[int]]] = []

        def enter(index: int) -> None:
            done[index] = False
            stack.append((index, iter([i for i, _ in self.used(self.nodes[index])])))

        for head, _ in heads:
            if head not in done:
                enter(head)
            while stack:
                index, inputs = stack[-1]
                following = next(inputs, None)
                if following is None:
                    done[index] = True
                    found.append(index)
                    stack.pop()
                elif following not in done:
                    enter(following)
                elif not done[following]:
                    raise InputError(
                        f"{self.where}: node '{self.nodes[following].name}' is part of a cycle: it needs its own output"
                    )
        return found

    @staticmethod
    def used(node: Node) -> list[tuple[int, int]]:
        return node.inputs[:1] if node.op in LOSSES else node.inputs


def _pair(value: Any, count: int) -> tuple[int, int] | None:
    if isinstance(value, list) and 1 <= len(value) <= 3 and all(type(v) is int for v in value):
        node, output = value[0], value[1] if len(value) > 1 else 0
        if 0 <= node < count and 0 <= output < 10_000:
            return node, output
    return None


def load(file: File) -> Symbol:
    """Read a symbol file.

    Raises:
        InputError: it is not one, or its nodes do not fit together.
    """
    content = json_text.load(file)
    where = str(file.path)
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list):
        raise InputError(f"{where}: not an MXNet symbol: this JSON has no list of 'nodes'")
    if not 0 < len(content["nodes"]) <= NODES:
        raise InputError(f"{where}: a symbol of {len(content['nodes'])} nodes cannot be read")
    symbol = Symbol(where, version=_version(content))
    count = len(content["nodes"])
    for number, entry in enumerate(content["nodes"]):
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("op"), str)
            or not isinstance(entry.get("name"), str)
        ):
            raise InputError(f"{where}: node {number} has no 'op' and 'name'")
        inputs = [_pair(value, count) for value in _list(entry.get("inputs"))]
        if None in inputs:
            raise InputError(f"{where}: node '{entry['name'][:80]}': an input that is not a node of this graph")
        kept = [pair for pair in inputs if pair is not None]
        symbol.nodes.append(Node(entry["op"], entry["name"], _attributes(entry, where), kept))
    heads = [_pair(value, count) for value in _list(content.get("heads"))]
    if None in heads:
        raise InputError(f"{where}: 'heads' names a node that is not there")
    symbol.heads = [pair for pair in heads if pair is not None] or [(count - 1, 0)]
    return symbol


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _attributes(entry: dict[str, Any], where: str) -> dict[str, str]:
    """Parameters of a node: `attrs` since 1.0, `attr` before, `param` (and `attr` for what users noted) before 0.9."""
    for key in ("param", "attrs", "attr"):
        found = entry.get(key)
        if found is None or (key == "param" and not found and entry["op"] == "null"):
            continue
        if not isinstance(found, dict):
            raise InputError(f"{where}: node '{entry['name'][:80]}': '{key}' should be an object")
        return {str(k): v if isinstance(v, str) else str(v) for k, v in found.items()}
    return {}


def _version(content: dict[str, Any]) -> str | None:
    attributes = content.get("attrs")
    found = attributes.get("mxnet_version") if isinstance(attributes, dict) else None
    if isinstance(found, list) and found and type(found[-1]) is int and 0 < found[-1] < 10_000_000:
        return f"{found[-1] // 10000}.{found[-1] // 100 % 100}.{found[-1] % 100}"
    return None
