"""Grammars over bytes: what may be written, and what may come next.

A grammar is made of sets of bytes, sequences, alternatives, repetitions and references (so it may nest without end).
It is read byte by byte; what may follow is a set of stacks, numbered, with the 256 bytes that lead on from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from re import _constants as names  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np

from sensorium.errors import CallError

UNICODE = 0x110000
STATES = 200_000
"""States of one grammar that are followed at most."""


@dataclass(frozen=True)
class Set:
    """One byte of these (a bit each)."""

    bits: int


@dataclass(frozen=True)
class Chain:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Either:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    part: Node
    least: int
    most: int | None


@dataclass(frozen=True)
class Reference:
    """A rule by name: it may contain itself."""

    name: str


Node = Set | Chain | Either | Repeat | Reference
NOTHING = Chain(())


def sequence(*parts: Node) -> Node:
    return parts[0] if len(parts) == 1 else Chain(parts)


def either(*parts: Node) -> Node:
    return parts[0] if len(parts) == 1 else Either(parts)


def optional(part: Node) -> Node:
    return Repeat(part, 0, 1)


def literal(text: str) -> Node:
    return sequence(*(Set(1 << byte) for byte in text.encode())) if text else NOTHING


def byte_range(low: int, high: int) -> Set:
    return Set((1 << (high + 1)) - (1 << low))


def characters(ranges: Sequence[tuple[int, int]]) -> Node:
    """One character of these ranges of code points, both ends included, as the bytes of its UTF-8."""
    found: list[Node] = []
    bits = 0
    for low, high in ranges:
        for parts in _utf8(low, high):
            if len(parts) == 1:
                bits |= byte_range(*parts[0]).bits
            else:
                found.append(sequence(*(byte_range(*part) for part in parts)))
    if bits:
        found.append(Set(bits))
    if not found:
        raise CallError("a set of characters is empty")
    return either(*found)


def _utf8(low: int, high: int) -> list[list[tuple[int, int]]]:
    """Sequences of byte ranges that together are the UTF-8 of these code points."""
    found: list[list[tuple[int, int]]] = []
    for start, end in ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, UNICODE - 1)):
        a, b = max(low, start), min(high, end)
        if a <= b:
            found += _bytes(list(chr(a).encode()), list(chr(b).encode()))
    return found


def _bytes(low: list[int], high: list[int]) -> list[list[tuple[int, int]]]:
    """Sequences of byte ranges between two encodings of the same length."""
    if len(low) == 1:
        return [[(low[0], high[0])]]
    least, most = [0x80] * (len(low) - 1), [0xBF] * (len(low) - 1)
    if low[0] == high[0]:
        return [[(low[0], low[0]), *rest] for rest in _bytes(low[1:], high[1:])]
    found = []
    first, last = low[0], high[0]
    if low[1:] != least:
        found += [[(first, first), *rest] for rest in _bytes(low[1:], most)]
        first += 1
    tail = []
    if high[1:] != most:
        tail = [[(last, last), *rest] for rest in _bytes(least, high[1:])]
        last -= 1
    if first <= last:
        found.append([(first, last), *([(0x80, 0xBF)] * (len(low) - 1))])
    return found + tail


# Regular expressions

DIGIT = [(48, 57)]
SPACE = [(9, 13), (32, 32)]
WORD = [(48, 57), (65, 90), (95, 95), (97, 122)]


def regular(pattern: str) -> Node:
    """The grammar of a regular expression, which is matched as a whole; `\\d`, `\\s` and `\\w` are those of ASCII.

    Raises:
        InputError: it is none, or it looks around or back.
    """
    try:
        return _expression(parser.parse(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise CallError(f"not a regular expression that can be followed: {error}") from None


def _expression(items: Any) -> Node:
    return sequence(*(_item(kind, value) for kind, value in items)) if len(items) else NOTHING


def _item(kind: Any, value: Any) -> Node:
    if kind is names.LITERAL:
        return literal(chr(value))
    if kind is names.NOT_LITERAL:
        return characters(_negated([(value, value)]))
    if kind is names.ANY:
        return characters(_negated([(10, 10)]))
    if kind is names.IN:
        return characters(_ranges(value))
    if kind is names.BRANCH:
        return either(*(_expression(branch) for branch in value[1]))
    if kind is names.SUBPATTERN:
        return _expression(value[3])
    if kind in (names.MAX_REPEAT, names.MIN_REPEAT):
        least, most, inner = value
        return Repeat(_expression(inner), int(least), None if most is names.MAXREPEAT else int(most))
    if kind is names.AT and value in (names.AT_BEGINNING, names.AT_BEGINNING_STRING, names.AT_END, names.AT_END_STRING):
        return NOTHING
    raise CallError(f"a regular expression that says what is written has no {str(kind).lower()}")


def _ranges(items: Any) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    negated = False
    for kind, value in items:
        if kind is names.NEGATE:
            negated = True
        elif kind is names.LITERAL:
            found.append((value, value))
        elif kind is names.RANGE:
            found.append(value)
        elif kind is names.CATEGORY:
            found += _category(value)
        else:
            raise CallError(f"a set of characters has no {str(kind).lower()}")
    return _negated(found) if negated else found


def _category(value: Any) -> list[tuple[int, int]]:
    known = {
        names.CATEGORY_DIGIT: DIGIT, names.CATEGORY_SPACE: SPACE, names.CATEGORY_WORD: WORD,
    }  # fmt: skip
    if value in known:
        return known[value]
    opposite = {
        names.CATEGORY_NOT_DIGIT: DIGIT, names.CATEGORY_NOT_SPACE: SPACE, names.CATEGORY_NOT_WORD: WORD,
    }  # fmt: skip
    return _negated(opposite[value])


def _negated(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return [*found, (start, UNICODE - 1)] if start < UNICODE else found


class Reader:
    """What may follow what has been read.

    Args:
        start: the grammar.
        rules: what references stand for, made when they are first met.

    Attributes:
        first: the state in which nothing has been read.
    """

    DEAD = 0

    def __init__(self, start: Node, rules: Callable[[str], Node] | None = None) -> None:
        self._rules = rules
        self._made: dict[str, Node] = {}
        self._stacks: list[tuple[Node, int]] = [(NOTHING, 0)]  # number 0 is the empty stack: the end
        self._numbers: dict[tuple[int, int], int] = {}
        self._nodes: dict[int, Node] = {}  # kept, so that their ids stay theirs
        self._states: list[frozenset[int]] = [frozenset()]
        self._known: dict[frozenset[int], int] = {frozenset(): 0}
        self.next = np.zeros((64, 256), np.int32)
        self._filled = np.zeros(64, bool)
        self._filled[0] = True
        self.first = self._state(self._settle([self._push(start, 0)]))

    def ends(self, state: int) -> bool:
        """Whether what has been read is complete."""
        return 0 in self._states[state]

    def over(self, state: int) -> bool:
        """Whether it is complete, and nothing more can follow."""
        return self._states[state] == frozenset([0])

    def read(self, states: np.ndarray, values: np.ndarray) -> np.ndarray:
        """States (n,) and a byte to each of them, (n,), to the states after them; 0 where it cannot follow."""
        for state in np.unique(states):
            if not self._filled[state]:
                self._fill(int(state))
        found: np.ndarray = self.next[states, values]
        return found

    def _push(self, node: Node, rest: int) -> int:
        key = (id(node), rest)
        if key not in self._numbers:
            self._nodes[id(node)] = node
            self._numbers[key] = len(self._stacks)
            self._stacks.append((node, rest))
        return self._numbers[key]

    def _settle(self, stacks: Sequence[int]) -> frozenset[int]:
        """Stacks whose tops are sets of bytes, or empty ones."""
        found, seen, waiting = set(), set(stacks), list(stacks)
        while waiting:
            stack = waiting.pop()
            if stack == 0:
                found.add(0)
                continue
            node, rest = self._stacks[stack]
            if isinstance(node, Set):
                found.add(stack)
                continue
            for new in self._open(node, rest):
                if new not in seen:
                    seen.add(new)
                    waiting.append(new)
        return frozenset(found)

    def _open(self, node: Node, rest: int) -> list[int]:
        if isinstance(node, Chain):
            for part in reversed(node.parts):
                rest = self._push(part, rest)
            return [rest]
        if isinstance(node, Either):
            return [self._push(part, rest) for part in node.parts]
        if isinstance(node, Repeat):
            if node.most == 0:
                return [rest]
            less = node.most if node.most is None else node.most - 1
            again = node if node.least == 0 and node.most is None else self._shorter(node, less)
            into = self._push(node.part, self._push(again, rest))
            return [into] if node.least else [into, rest]
        assert isinstance(node, Reference)
        if node.name not in self._made:
            assert self._rules is not None
            self._made[node.name] = self._rules(node.name)
        return [self._push(self._made[node.name], rest)]

    def _shorter(self, node: Repeat, most: int | None) -> Node:
        """The rest of a repetition; the same object each time, so that its stacks have one number."""
        name = f"{id(node)}"
        if name not in self._made:
            self._nodes[id(node)] = node
            self._made[name] = Repeat(node.part, max(node.least - 1, 0), most)
        return self._made[name]

    def _state(self, stacks: frozenset[int]) -> int:
        if stacks not in self._known:
            if len(self._states) >= STATES:
                raise CallError("the grammar is too large to follow")
            self._known[stacks] = len(self._states)
            self._states.append(stacks)
            if len(self._states) > len(self.next):
                self.next = np.concatenate([self.next, np.zeros_like(self.next)])
                self._filled = np.concatenate([self._filled, np.zeros_like(self._filled)])
        return self._known[stacks]

    def _fill(self, state: int) -> None:
        """Find where each byte leads from a state."""
        tops = [stack for stack in self._states[state] if stack]
        bits = [self._stacks[stack][0].bits for stack in tops]  # type: ignore[union-attr]
        groups: dict[tuple[int, ...], list[int]] = {}
        for value in range(256):
            taken = tuple(stack for stack, set_ in zip(tops, bits) if set_ >> value & 1)
            if taken:
                groups.setdefault(taken, []).append(value)
        row = np.zeros(256, np.int32)
        for taken, values in groups.items():
            row[values] = self._state(self._settle([self._stacks[stack][1] for stack in taken]))
        self.next[state] = row
        self._filled[state] = True
