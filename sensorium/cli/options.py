"""The options of a task's answer as flags: `--threshold 0.3`, `--num-beams 4`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sensorium.errors import SensoriumError

PREFIX = "option_"
KINDS = {"int": int, "float": float, "str": str}


def switch(value: str) -> bool:
    """`true` or `false`."""
    if value.lower() in ("true", "yes", "1"):
        return True
    if value.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"'{value}' is neither true nor false")


def add_task_options(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the options of the task that the model named in the arguments does."""
    from sensorium import tasks
    from sensorium.model import open_model

    asked = next((after for word, after in pairwise(words) if word == "--task"), None)
    for word in words:
        if word.startswith("-") or word == asked:
            continue
        try:
            kind = tasks.find(asked or open_model(word).task_name)
        except SensoriumError:
            return  # the verb itself says what is wrong
        group = parser.add_argument_group(f"options of {kind.name}")
        for option in tasks.options(kind):
            kind_name = option.annotation.split("|")[0].strip()
            convert: Any = switch if kind_name == "bool" else KINDS.get(kind_name, str)
            group.add_argument(
                "--" + option.name.replace("_", "-"),
                dest=PREFIX + option.name,
                type=convert,
                default=argparse.SUPPRESS,
                nargs="?" if kind_name == "bool" else None,
                const=True if kind_name == "bool" else None,
                metavar=kind_name.upper(),
                help=f"{option.help} (default {option.default})".strip().replace("%", "%%"),
            )
        return


def task_options(given: argparse.Namespace) -> dict[str, Any]:
    """The options of the task that were given."""
    return {k.removeprefix(PREFIX): v for k, v in vars(given).items() if k.startswith(PREFIX)}
