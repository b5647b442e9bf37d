"""JSON schemas as grammars: the JSON texts that a schema allows, compact, with at most a space after a comma or colon.

Keywords that say what may stand in a text are followed; one that is not known is an error, not a silent promise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sensorium.errors import CallError
from sensorium.ops.generation.grammar import (
    NOTHING,
    Node,
    Reader,
    Reference,
    Repeat,
    either,
    literal,
    optional,
    regular,
    sequence,
)

# What says nothing of the values.
TOLD = {"title", "description", "default", "examples", "$schema", "$id", "$defs", "definitions", "$comment"}
KNOWN: dict[str, set[str]] = {
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": set(),
    "integer": {"minimum", "maximum"},
    "boolean": set(),
    "null": set(),
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
}
LETTER = r'[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}'
WHOLE = r"-?(?:0|[1-9][0-9]{0,17})"
NUMBER = WHOLE + r"(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,3})?"
DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
FORMATS = {
    "date": DATE,
    "time": TIME,
    "date-time": f"{DATE}T{TIME}",
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "email": r"[a-zA-Z0-9._%+-]{1,64}@[a-zA-Z0-9-]{1,63}(?:\.[a-zA-Z0-9-]{1,63}){1,4}",
    "ipv4": r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])",
}


def reader(schema: Any) -> Reader:
    """What reads the texts that a schema allows.

    Raises:
        InputError: it is no schema, or has keywords that cannot be followed.
    """
    made = Schema(schema)
    return Reader(made.node(schema, "#"), made.rule)


class Schema:
    """A schema with its references."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.parts: dict[str, Any] = {}
        self.character = regular(LETTER)
        self.comma, self.colon = regular(", ?"), regular(": ?")
        self.quote = literal('"')

    def rule(self, name: str) -> Node:
        """The grammar behind a reference."""
        kind, _, place = name.partition(" ")
        if kind == "schema":
            return self.node(self.parts[place], place)
        return either(*(self.of_kind(kind, {}, "#") for kind in KNOWN))

    def later(self, schema: Any, place: str) -> Node:
        """A reference to a part: made when it is needed, so that schemas may contain themselves."""
        self.parts[place] = schema
        return Reference(f"schema {place}")

    def node(self, schema: Any, place: str) -> Node:
        """The grammar of a schema."""
        if schema is True or schema == {}:
            return Reference("any")
        if not isinstance(schema, Mapping):
            raise CallError(f"json_schema: {place} is no schema")
        if "$ref" in schema:
            return self.later(self._target(str(schema["$ref"])), str(schema["$ref"]))
        if "const" in schema:
            return literal(_json(schema["const"]))
        if "enum" in schema:
            return either(*(literal(_json(value)) for value in _list(schema["enum"], place)))
        for name in ("anyOf", "oneOf"):
            if name in schema:
                options = _list(schema[name], place)
                return either(*(self.later(one, f"{place}/{name}/{i}") for i, one in enumerate(options)))
        if "allOf" in schema:
            joined: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
            for part in _list(schema["allOf"], place):
                target = self._target(str(part["$ref"])) if isinstance(part, Mapping) and "$ref" in part else part
                if not isinstance(target, Mapping):
                    raise CallError(f"json_schema: {place}/allOf is no list of schemas")
                for key, value in target.items():
                    both = joined.get(key)
                    if isinstance(both, Mapping) and isinstance(value, Mapping):
                        value = {**both, **value}
                    elif isinstance(both, list) and isinstance(value, list):
                        value = [*both, *value]
                    joined[key] = value
            return self.node(joined, place)
        kinds = schema.get("type")
        if kinds is None:
            kinds = [kind for kind, own in KNOWN.items() if own & set(schema)][:1] or list(KNOWN)
        several = kinds if isinstance(kinds, list) else [kinds]
        return either(*(self.of_kind(str(kind), schema, place) for kind in several))

    def of_kind(self, kind: str, schema: Mapping[str, Any], place: str) -> Node:
        """The grammar of the values of one type."""
        if kind not in KNOWN:
            raise CallError(f"json_schema: {place} has the type '{kind}', which is none of {', '.join(KNOWN)}")
        taken = TOLD | {"type"} | set().union(*KNOWN.values())
        ranged = {"minimum", "maximum"} if kind == "number" else set()
        if unknown := sorted(set(schema) - (taken - ranged)):
            raise CallError(f"json_schema: {place} has '{unknown[0]}', which cannot be followed while writing")
        if kind == "string":
            return self._string(schema)
        if kind == "object":
            return self._object(schema, place)
        if kind == "array":
            return self._array(schema, place)
        if kind == "integer" and {"minimum", "maximum"} & set(schema):
            return between(schema.get("minimum"), schema.get("maximum"))
        return regular({"number": NUMBER, "integer": WHOLE, "boolean": "true|false", "null": "null"}[kind])

    def _string(self, schema: Mapping[str, Any]) -> Node:
        if (pattern := schema.get("pattern")) is not None:
            body = regular(str(pattern))
        elif schema.get("format") in FORMATS:
            body = regular(FORMATS[schema["format"]])
        else:
            body = Repeat(self.character, int(schema.get("minLength", 0)), schema.get("maxLength"))
        return sequence(self.quote, body, self.quote)

    def _object(self, schema: Mapping[str, Any], place: str) -> Node:
        properties = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        further = schema.get("additionalProperties", not properties)
        members: list[tuple[Node, bool]] = []
        for name in [*properties, *sorted(required - set(properties))]:
            value = self.later(properties.get(name, True), f"{place}/properties/{name}")
            members.append((sequence(literal(_json(name)), self.colon, value), name in required))
        rest_first: Node = NOTHING
        rest_later: Node = NOTHING
        if further is not False:
            value = self.later(further, f"{place}/additionalProperties")
            member = sequence(self.quote, Repeat(self.character, 1, None), self.quote, self.colon, value)
            rest_later = Repeat(sequence(self.comma, member), 0, None)
            rest_first = optional(sequence(member, rest_later))
        # From the last to the first: what follows depends on whether anything stands before it.
        for member, needed in reversed(members):
            later = sequence(self.comma, member, rest_later)
            first = sequence(member, rest_later)
            rest_first, rest_later = (
                (first, later) if needed else (either(first, rest_first), either(later, rest_later))
            )
        return sequence(literal("{"), rest_first, literal("}"))

    def _array(self, schema: Mapping[str, Any], place: str) -> Node:
        fixed = [self.later(part, f"{place}/prefixItems/{i}") for i, part in enumerate(schema.get("prefixItems") or ())]
        items = schema.get("items", not fixed)
        least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
        parts: list[Node] = []
        for i, part in enumerate(fixed):
            parts.append(part if i == 0 else sequence(self.comma, part))
        if items is False:
            return sequence(literal("["), *parts, literal("]"))
        item = self.later(items, f"{place}/items")
        least, most = max(least - len(fixed), 0), None if most is None else int(most) - len(fixed)
        if most == 0:
            return sequence(literal("["), *parts, literal("]"))
        if fixed:
            return sequence(literal("["), *parts, Repeat(sequence(self.comma, item), least, most), literal("]"))
        more = Repeat(sequence(self.comma, item), max(least - 1, 0), None if most is None else most - 1)
        body = sequence(item, more)
        return sequence(literal("["), body if least else optional(body), literal("]"))

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise CallError(f"json_schema: the reference '{reference}' leads out of the schema")
        found = self.root
        for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is None:
            raise CallError(f"json_schema: the reference '{reference}' leads nowhere")
        return found


def between(low: int | None, high: int | None) -> Node:
    """Whole numbers in a range, both ends included, with up to 18 digits.

    Raises:
        InputError: there is none.
    """
    limit = 10**18 - 1
    low, high = max(-limit, -limit if low is None else int(low)), min(limit, limit if high is None else int(high))
    if low > high:
        raise CallError(f"json_schema: no whole number is from {low} to {high}")
    parts = []
    if low < 0:
        parts += [f"-(?:{p})" for p in _digits(max(1, -high), -low)]
    if high >= 0:
        parts += _digits(max(0, low), high)
    return regular("|".join(parts))


def _digits(low: int, high: int) -> list[str]:
    """Expressions of the numbers from low to high, neither negative."""
    found = []
    while low <= high:
        # The largest block that begins here, of numbers that differ in their last digits only.
        size = 1
        while low % (size * 10) == 0 and low + size * 10 - 1 <= high and low > 0:
            size *= 10
        head, free = str(low // size), len(str(size)) - 1
        # Blocks beside it whose heads differ in the last digit only.
        last = min(9, int(head[-1]) + (high - low + 1) // size - 1)
        found.append(f"{head[:-1]}[{head[-1]}-{last}]" + f"[0-9]{{{free}}}" * bool(free))
        low = (int(head[:-1] or 0) * 10 + last + 1) * size
    return found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise CallError(f"json_schema: {place} has an empty list of choices")
    return value
