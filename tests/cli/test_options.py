"""Options of a task's answer as flags."""

from __future__ import annotations

import argparse

import pytest

from sensorium.cli.options import converter


@pytest.mark.parametrize(
    ("annotation", "word", "value"),
    [
        ("int | None", "none", None),
        ("int | None", "3", 3),
        ("float | None", "None", None),
        ("str | None", "none", "none"),
        ("float", "0.5", 0.5),
        ("bool", "no", False),
        ("list[str]", "a, b", ["a", "b"]),
        ("dict[str, Any] | None", '{"a": 1}', {"a": 1}),
    ],
)
def test_words_become_values(annotation: str, word: str, value: object) -> None:
    assert converter(annotation)[0](word) == value


def test_what_is_no_number_is_said() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'x' is neither a number"):
        converter("int | None")[0]("x")
