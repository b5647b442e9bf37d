"""Types as JSON Schema, and values checked against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from sensorium import tasks
from sensorium.serving import schema
from sensorium.serving.limits import Rejection, public


@dataclass
class Inner:
    x: float
    name: str | None


@dataclass
class Outer:
    parts: list[Inner]
    times: tuple[float, float]
    picture: Image.Image
    table: dict[str, int]
    values: np.ndarray
    anything: Any


def test_types() -> None:
    found = schema.of_type(Outer)
    assert found["required"] == ["parts", "times", "picture", "table", "values", "anything"]
    inner = found["properties"]["parts"]["items"]["properties"]
    assert inner == {"x": {"type": "number"}, "name": {"anyOf": [{"type": "string"}, {"type": "null"}]}}
    assert found["properties"]["times"]["minItems"] == 2
    assert found["properties"]["picture"]["type"] == "string"
    assert found["properties"]["table"] == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert found["properties"]["anything"] == {}


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -5], [1.5, "1", True, None, 2**60]),
        (float, [0, 1.5], ["1", True, None, float("inf"), float("nan"), 2**60]),
        (bool, [True], [1, "true"]),
        (str, ["x"], [1, None]),
        (int | None, [1, None], ["x"]),
        (list[str], [[], ["a"]], ["a", [1]]),
        (tuple[float, float], [[1, 2]], [[1], [1, 2, 3], "ab"]),
        (Literal["a", "b"], ["a"], ["c", 1]),
        (dict[str, float], [{"a": 1}], [{"a": "b"}, []]),
    ],
)
def test_check(hint: Any, good: list[Any], bad: list[Any]) -> None:
    made = schema.of_type(hint)
    for value in good:
        assert schema.check(value, made, "x") == value
    for value in bad:
        with pytest.raises(Rejection) as refused:
            schema.check(value, made, "x")
        assert refused.value.status == 400


def test_values_in_a_query() -> None:
    assert schema.from_text("0.5", {"type": "number"}) == 0.5
    assert schema.from_text("5", {"type": "string"}) == "5"
    assert schema.from_text("null", schema.of_type(str | None)) is None
    assert schema.from_text("true", {"type": "boolean"}) is True
    assert schema.from_text("[1, 2]", schema.of_type(list[int])) == [1, 2]


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_can_be_told(name: str) -> None:
    task = tasks.find(name)
    for option, told in schema.of_options(task).items():
        assert set(told) & {"type", "anyOf", "enum"}, f"{name}: the type of '{option}' is not known to clients"
        assert told.get("description"), f"{name}: '{option}' has no line under 'Options:'"


def test_public_messages() -> None:
    assert public("cannot open /home/me/x.png: damaged\nmore") == "cannot open (path): damaged"
    assert public("identify <_io.BytesIO object at 0x7f3a2b>") == "identify (object)"
    assert public("C:\\Users\\me\\x.png") == "(path)"
    assert public("a picture is 1/2 of that, and/or") == "a picture is 1/2 of that, and/or"
