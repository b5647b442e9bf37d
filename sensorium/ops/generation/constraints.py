"""Answers that keep a form: one of some texts, a regular expression, a JSON schema; with any tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sensorium.errors import CallError, InputError
from sensorium.ops.generation import grammar
from sensorium.ops.generation.grammar import Reader
from sensorium.ops.generation.schema import reader as reader_of_schema

LONGEST = 64
"""Longest token, in bytes, that is used."""


def constraint(
    table: Sequence[bytes],
    eos: Sequence[int],
    *,
    choices: Sequence[str] | None = None,
    regex: str | None = None,
    schema: Any = None,
    drops_space: bool = False,
) -> Constraint | None:
    """The rule of what may be written; None where there is none.

    Args:
        table: what each token writes, by id.
        eos: tokens that end an answer.
        choices: texts, one of which is written.
        regex: what the answer matches as a whole.
        schema: a JSON schema.
        drops_space: the space that the first token begins with is not written.

    Raises:
        InputError: there is more than one, or it is none that can be followed.
    """
    given = [value for value in (choices, regex, schema) if value is not None]
    if not given:
        return None
    if len(given) > 1:
        raise CallError("choices, regex and json_schema exclude each other")
    if choices is not None:
        if not choices or not all(isinstance(one, str) and one for one in choices):
            raise CallError("choices must be texts")
        reader = Reader(grammar.either(*map(grammar.literal, choices)))
    elif regex is not None:
        reader = Reader(grammar.regular(regex))
    else:
        reader = reader_of_schema(schema)
    return Constraint(reader, table, eos, drops_space)


class Constraint:
    """A rule that lets only those tokens follow that a grammar allows, and a stop where nothing more can."""

    def __init__(self, reader: Reader, table: Sequence[bytes], eos: Sequence[int], drops_space: bool = False) -> None:
        self.reader = reader
        self.eos = list(eos)
        self.start: int | None = None
        self._states: dict[bytes, int] = {}
        self._allowed: dict[int, np.ndarray] = {}
        self._drops_space = drops_space
        self.table = table
        lengths = np.array([len(token) for token in table])
        self.used = np.flatnonzero((lengths > 0) & (lengths <= LONGEST))
        self.lengths = lengths[self.used]
        joined = b"".join(table[i].ljust(LONGEST, b"\0") for i in self.used.tolist())
        self.bytes = np.frombuffer(joined, np.uint8).reshape(-1, LONGEST)

    def __call__(self, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        found = np.full_like(scores, -np.inf)
        for row, state in enumerate(self._of(ids)):
            allowed = self.allowed(state, ids.shape[1] == self.start)
            allowed = allowed[allowed < scores.shape[1]]
            if self.reader.ends(state):
                allowed = np.concatenate([allowed, np.array(self.eos, np.int64)])
            if not len(allowed):
                raise InputError("no token of this model can go on in the form that is asked for")
            found[row, allowed] = scores[row, allowed]
        return found

    def stop(self, ids: np.ndarray) -> np.ndarray:
        """Whether each row (rows, time) is complete, and nothing more can follow."""
        return np.array([self.reader.over(state) for state in self._of(ids)], bool)

    def allowed(self, state: int, first: bool = False) -> np.ndarray:
        """Tokens that may follow in a state."""
        key = -state if first and self._drops_space else state
        if key not in self._allowed:
            self._allowed[key] = self._find(state, key < 0)
        return self._allowed[key]

    def _find(self, state: int, first: bool) -> np.ndarray:
        rows = np.arange(len(self.used))
        states = np.full(len(rows), state, np.int32)
        begin = np.zeros(len(rows), np.int64)
        if first:
            begin[self.bytes[:, 0] == ord(" ")] = 1
        good = [self.used[begin == self.lengths]] if first else []
        for at in range(LONGEST):
            place = at + begin[rows]
            going = place < self.lengths[rows]
            rows, states, place = rows[going], states[going], place[going]
            if not len(rows):
                break
            states = self.reader.read(states, self.bytes[rows, place])
            alive = states != Reader.DEAD
            done = alive & (place + 1 == self.lengths[rows])
            good.append(self.used[rows[done]])
            rows, states = rows[alive], states[alive]
        return np.concatenate(good) if good else np.zeros(0, np.int64)

    def _of(self, ids: np.ndarray) -> list[int]:
        """The state of each row, from the one before its last token."""
        if self.start is None:
            self.start = ids.shape[1]
        found: dict[bytes, int] = {}
        states = []
        for row in ids[:, self.start :]:
            key = row.tobytes()
            if key not in found:
                found[key] = self._states[key] if key in self._states else self._advanced(row)
            states.append(found[key])
        self._states.update(found)
        if len(self._states) > 4 * len(ids) + 64:  # only the last step's are looked up
            self._states = found
        return states

    def _advanced(self, row: np.ndarray) -> int:
        """The state after tokens."""
        if not len(row):
            return self.reader.first
        before = row[:-1].tobytes()
        state = self._states[before] if before in self._states else self._advanced(row[:-1])
        token = self.table[row[-1]] if row[-1] < len(self.table) else b""
        if len(row) == 1 and self._drops_space:
            token = token.removeprefix(b" ")
        for byte in token:
            state = int(self.reader.read(np.array([state]), np.array([byte]))[0])
        return state
