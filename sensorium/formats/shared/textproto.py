"""Protocol-buffer text format, as in .prototxt files, without its schema.

https://protobuf.dev/reference/protobuf/textformat-spec/. Read without recursion; every value keeps its line.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from sensorium.errors import InputError

DEPTH = 64
TOKENS = 4_000_000

TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v,;]+|\#[^\n]*)|(?P<line>\n)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[{}<>:\[\]/])"""
)


@dataclass
class Scalar:
    """A value as it is written (a quoted one without its quotes), and the line it stands in."""

    text: str
    line: int
    quoted: bool = False


@dataclass
class Block:
    """The fields of a message, in order; `where` is the file, `line` where the message begins.

    `seen` has the names that were asked for, so that what nobody looked at can be found.
    """

    where: str
    line: int
    fields: dict[str, list[Scalar | Block]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        self.seen.add(name)
        return name in self.fields

    def fault(self, message: str, line: int | None = None) -> InputError:
        return InputError(f"{self.where}, line {line or self.line}: {message}")

    def blocks(self, name: str) -> list[Block]:
        """Repeated messages."""
        self.seen.add(name)
        found = []
        for value in self.fields.get(name, []):
            if not isinstance(value, Block):
                raise self.fault(f"'{name}' should be a group in braces", value.line)
            found.append(value)
        return found

    def block(self, name: str) -> Block:
        """One message; an empty one where it is absent."""
        found = self.blocks(name)
        return found[-1] if found else Block(self.where, self.line)

    def scalars(self, name: str) -> list[Scalar]:
        self.seen.add(name)
        found = []
        for value in self.fields.get(name, []):
            if isinstance(value, Block):
                raise self.fault(f"'{name}' should be a value, not a group", value.line)
            found.append(value)
        return found

    def texts(self, name: str) -> list[str]:
        return [s.text for s in self.scalars(name)]

    def text(self, name: str, default: str = "") -> str:
        found = self.texts(name)
        return found[-1] if found else default

    def whole_list(self, name: str) -> list[int]:
        """Repeated integers.

        Raises:
            InputError: one is not an integer of 64 bits.
        """
        found = []
        for value in self.scalars(name):
            try:
                number = int(value.text, 0) if not re.fullmatch(r"[+-]?0\d+", value.text) else int(value.text, 8)
            except ValueError:
                raise self.fault(f"{name}: '{value.text[:40]}' is not an integer", value.line) from None
            if abs(number) >= 1 << 63:
                raise self.fault(f"{name}: {value.text[:40]} is too large", value.line)
            found.append(number)
        return found

    def whole(self, name: str, default: int = 0) -> int:
        found = self.whole_list(name)
        return found[-1] if found else default

    def number_list(self, name: str) -> list[float]:
        """Repeated numbers."""
        found = []
        for value in self.scalars(name):
            try:
                found.append(float(value.text[:-1] if re.fullmatch(r"[\d.+-]+f", value.text) else value.text))
            except ValueError:
                raise self.fault(f"{name}: '{value.text[:40]}' is not a number", value.line) from None
        return found

    def number(self, name: str, default: float = 0.0) -> float:
        found = self.number_list(name)
        return found[-1] if found else default

    def flag(self, name: str, default: bool = False) -> bool:
        found = self.scalars(name)
        if not found:
            return default
        value = found[-1].text.lower()
        if value in ("true", "t", "1"):
            return True
        if value in ("false", "f", "0"):
            return False
        raise self.fault(f"{name}: '{value[:40]}' is neither true nor false", found[-1].line)


def parse(text: str, where: str) -> Block:
    """The message that a text holds.

    Raises:
        InputError: it cannot be parsed: says in which line, and why.
    """
    top = Block(where, 1)
    stack: list[tuple[Block, str]] = [(top, "")]
    line, at, count = 1, 0, 0
    name: str | None = None  # a field's name, waiting for its value
    colon = False
    items = False  # inside [ ]
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise top.fault(f"cannot be parsed: unexpected {text[at]!r}", line)
        at = found.end()
        kind, token = found.lastgroup, found.group()
        if kind == "line":
            line += 1
            continue
        if kind == "space":
            continue
        count += 1
        if count > TOKENS:
            raise top.fault(f"more than {TOKENS} words", line)
        here = stack[-1][0]
        if kind == "mark" and token in "}>":
            if name is not None or items or len(stack) == 1 or stack[-1][1] != token:
                raise top.fault(f"cannot be parsed: unexpected '{token}'", line)
            stack.pop()
        elif name is None:
            if kind != "word":
                raise top.fault(f"cannot be parsed: a field name is expected, not {token[:40]}", line)
            name, colon = token, False
        elif token == ":" and not colon and not items:
            colon = True
        elif kind == "mark" and token in "{<":
            if len(stack) > DEPTH:
                raise top.fault(f"groups are nested deeper than {DEPTH}", line)
            inner = Block(where, line)
            here.fields.setdefault(name, []).append(inner)
            stack.append((inner, "}" if token == "{" else ">"))
            if items:
                raise top.fault("a list of groups in brackets is not read here; repeat the field", line)
            name = None
        elif token == "[" and colon and not items:
            items = True
            here.fields.setdefault(name, [])
        elif token == "]" and items:
            items, name = False, None
        elif kind in ("text", "word") and colon:
            scalar = Scalar(_unquote(token, where, line), line, True) if kind == "text" else Scalar(token, line)
            here.fields.setdefault(name, []).append(scalar)
            if not items:
                name = None
        else:
            raise top.fault(f"cannot be parsed: unexpected {token[:40]!r} after '{name}'", line)
    if len(stack) > 1:
        raise top.fault(
            f"cannot be parsed: the group begun in line {stack[-1][0].line} does not end (a '}}' is missing)",
            line,
        )
    if name is not None:
        raise top.fault(f"cannot be parsed: the text ends after '{name}'", line)
    return top


def _unquote(token: str, where: str, line: int) -> str:
    if "\\" not in token:
        return token[1:-1]
    try:
        return str(ast.literal_eval(token))
    except (ValueError, SyntaxError):
        raise InputError(f"{where}, line {line}: cannot be parsed: {token[:40]} is not a valid text") from None
