from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.ops.generation import grammar
from sensorium.ops.generation.constraints import Constraint, constraint
from sensorium.ops.generation.grammar import Reader
from sensorium.ops.generation.schema import between, reader

TABLE = [b"", *(bytes([i]) for i in range(256)), b"ab", b"tru", b'"na', "東京".encode(), b'": ', b", "]
EOS = 0


def takes(reading: Reader, text: str) -> bool:
    """Whether a grammar allows the whole text."""
    state = reading.first
    for byte in text.encode():
        state = int(reading.read(np.array([state]), np.array([byte]))[0])
    return reading.ends(state)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"[a-c]{2,3}", ["ab", "abc"], ["a", "abcd", "xy", ""]),
        (r"(foo|bär)+-\d*", ["foo-", "bärfoo-123"], ["foo", "-", "bar-"]),
        (r".", ["x", "é", "東", "🙂"], ["", "xy", "\n"]),
        (r"[^a]", ["b", "東"], ["a", ""]),
        (r"[α-ω]+", ["αβγ"], ["abc", "Ω"]),
        (r"^a?b*?$", ["", "a", "abbb"], ["aa", "c"]),
        (r"\w+\s\S", ["ab c"], ["ab", "ab  "]),
        (r"(a*)*b", ["b", "aaab"], ["a"]),
        (r"[\d.]+", ["1.5"], ["a"]),
        (r"\x41|\u6771", ["A", "東"], ["B"]),
    ],
)
def test_regular_expressions(pattern: str, good: list[str], bad: list[str]) -> None:
    reading = Reader(grammar.regular(pattern))
    assert all(takes(reading, text) for text in good)
    assert not any(takes(reading, text) for text in bad)
    for text in good + bad:
        assert takes(reading, text) == bool(re.fullmatch(pattern, text, re.ASCII) if text.isascii() else text in good)


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(", "a{5", "[z-a]", r"\b"])
def test_what_cannot_be_followed(pattern: str) -> None:
    if pattern == "a{5":  # a brace that is none
        assert takes(Reader(grammar.regular(pattern)), pattern)
        return
    with pytest.raises(InputError):
        grammar.regular(pattern)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5},
        "age": {"type": "integer", "minimum": -3, "maximum": 120},
        "kind": {"enum": ["a", 1, None, {"x": [1, 2]}]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        "child": {"$ref": "#"},
        "when": {"type": "string", "format": "date"},
        "any": {},
    },
    "required": ["age"],
}


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ({"age": 3}, True),
        ({"age": -3}, True),
        ({"age": 120}, True),
        ({"age": 121}, False),
        ({"age": -4}, False),
        ({}, False),
        ({"name": 'ab\n"', "age": 0}, True),
        ({"name": "", "age": 0}, False),
        ({"name": "abcdef", "age": 0}, False),
        ({"name": "東京🙂éx", "age": 0}, True),
        ({"age": 1, "kind": {"x": [1, 2]}}, True),
        ({"age": 1, "kind": 2}, False),
        ({"age": 1, "tags": []}, False),
        ({"age": 1, "tags": [True, False]}, True),
        ({"age": 1, "tags": [True] * 3}, False),
        ({"age": 1, "child": {"age": 2, "child": {"age": 3}}}, True),
        ({"age": 1, "child": {}}, False),
        ({"age": 1, "when": "2026-11-22"}, True),
        ({"age": 1, "when": "2026-13-22"}, False),
        ({"age": 1, "any": [1.5e3, {"deep": [None, {}]}, "x"]}, True),
        ({"age": 1, "unknown": 1}, False),
    ],
)
def test_schemas(value: Any, good: bool) -> None:
    assert takes(reader(SCHEMA), json.dumps(value, ensure_ascii=False)) == good
    if "kind" not in value:  # a constant has the spaces that it has
        assert takes(reader(SCHEMA), json.dumps(value, ensure_ascii=False, separators=(",", ":"))) == good


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"anyOf": [{"type": "null"}, {"const": "x"}]}, ["null", '"x"'], ["1"]),
        ({"type": ["integer", "null"]}, ["-12", "null", "0"], ["01", "1.0"]),
        ({"type": "number"}, ["-1.5e-3", "0"], [".5", "1."]),
        ({"type": "string", "pattern": "[A-Z]{2}"}, ['"AB"'], ['"ab"']),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"a": 1}'], ['{"a": "b"}']),
        ({"prefixItems": [{"const": 1}, {"const": 2}], "items": False}, ["[1, 2]"], ["[1]", "[1,2,3]"]),
        ({"allOf": [{"type": "object", "properties": {"a": {"const": 1}}}, {"required": ["a"]}]}, ['{"a": 1}'], ["{}"]),
        (True, ["[]", '{"a": [null]}'], ["nul"]),
    ],
)  # fmt: skip
def test_other_schemas(schema: Any, good: list[str], bad: list[str]) -> None:
    reading = reader(schema)
    assert all(takes(reading, text) for text in good)
    assert not any(takes(reading, text) for text in bad)


@pytest.mark.parametrize(
    "schema",
    [{"type": "integer", "multipleOf": 3}, {"type": "date"}, {"$ref": "#/no"}, {"$ref": "http://x"}, {"enum": []}, 3],
)
def test_schemas_that_cannot_be_followed(schema: Any) -> None:
    with pytest.raises(InputError, match="json_schema"):
        takes(reader(schema), "1")


def test_ranges_of_whole_numbers() -> None:
    for low, high in ((0, 0), (-5, 5), (7, 1234), (-120, -8), (99, 101), (0, 1000)):
        reading = Reader(between(low, high))
        for number in range(low - 30, high + 30):
            assert takes(reading, str(number)) == (low <= number <= high), (low, high, number)


def answer(rule: Constraint, seed: int) -> bytes:
    """What random scores write under a rule."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((1, 3), np.int64)
    for _ in range(300):
        scores = rule(ids, rng.normal(size=(1, len(TABLE))).astype(np.float32))
        token = int(scores.argmax())
        if token == EOS or not np.isfinite(scores.max()):
            break
        ids = np.append(ids, [[token]], axis=1)
        if rule.stop(ids)[0]:
            break
    return b"".join(TABLE[i] for i in ids[0, 3:])


@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_keeps_the_form(seed: int) -> None:
    choices = ["true", "trust", "東京"]
    found = answer(constraint(TABLE, [EOS], choices=choices), seed)  # type: ignore[arg-type]
    assert found.decode() in choices
    found = answer(constraint(TABLE, [EOS], regex=r"(ab|c){2}\d"), seed)  # type: ignore[arg-type]
    assert re.fullmatch(rb"(ab|c){2}\d", found)
    schema = {"type": "object", "properties": {"na": {"type": "string", "maxLength": 3}}, "required": ["na"]}
    value = json.loads(answer(constraint(TABLE, [EOS], schema=schema), seed))  # type: ignore[arg-type]
    assert set(value) == {"na"}
    assert len(value["na"]) <= 3


def test_the_space_before_a_first_word() -> None:
    rule = constraint([b"", b" a", b" b", b"a"], [0], choices=["a b"], drops_space=True)
    assert rule is not None
    assert np.isfinite(rule(np.zeros((1, 1), np.int64), np.zeros((1, 4), np.float32))[0]).tolist() == [
        False, True, False, True,
    ]  # fmt: skip
    assert np.isfinite(rule(np.array([[0, 1]]), np.zeros((1, 4), np.float32))[0]).tolist() == [
        False,
        False,
        True,
        False,
    ]


def test_only_one_form() -> None:
    with pytest.raises(InputError, match="exclude each other"):
        constraint(TABLE, [0], choices=["a"], regex="b")
    with pytest.raises(InputError, match="must be texts"):
        constraint(TABLE, [0], choices=[])
    assert constraint(TABLE, [0]) is None
    rule = constraint([b"", b"x"], [0], choices=["y"])
    assert rule is not None
    with pytest.raises(InputError, match="no token"):
        rule(np.zeros((1, 1), np.int64), np.zeros((1, 2), np.float32))
