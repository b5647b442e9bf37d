"""The options of a task's answer as flags: `--threshold 0.3`, `--num-beams 4`."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from sensorium.errors import SensoriumError

PREFIX = "option_"
PART = "part_"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The flags that say how the networks are run."""
    parser.add_argument("--engine", choices=("onnxruntime", "openvino"), help="what runs the networks")
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16", "int8", "int4"), help="of the networks")
    parser.add_argument("--threads", type=int, metavar="N", help="of one run (default: all cores)")
    parser.add_argument("--device", choices=("cpu", "cuda", "coreml", "directml"), help="as the onnxruntime has them")


def settings_of(given: argparse.Namespace) -> Any:
    """The settings that `add_settings` reads."""
    from sensorium.nets import Settings

    return Settings(given.engine, given.precision, given.threads, given.device)


def positive(value: str) -> float:
    """A number above zero."""
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"'{value}' is not a number above 0")
    return found


def switch(value: str) -> bool:
    """`true` or `false`."""
    if value.lower() in ("true", "yes", "1"):
        return True
    if value.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"'{value}' is neither true nor false")


def words(value: str) -> list[str]:
    """Several texts, between commas, or as a JSON list."""
    found = value_of(value) if value.lstrip().startswith("[") else value.split(",")
    return [str(one).strip() for one in found if str(one).strip()]


def value_of(value: str) -> Any:
    """A value in JSON."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"'{value[:80]}' is not JSON") from None


def converter(annotation: str) -> tuple[Any, str]:
    """How an option of this annotation is read, and what `--help` calls its value."""
    kind = annotation.split("|")[0].strip()
    if kind.startswith("Literal"):
        return str, "NAME"
    if kind == "list[str]":
        return words, "A,B,..."
    if "[" in kind or kind in ("Any", "dict", "list"):
        return value_of, "JSON"
    convert: Any = {"bool": switch, "int": int, "float": float}.get(kind, str)
    if kind in ("int", "float") and "None" in annotation:
        return partial(_or_none, convert), kind.upper()
    return convert, kind.upper()


def _or_none(convert: Any, value: str) -> Any:
    """A number, or `none`, as the options' help calls it."""
    if value.lower() == "none":
        return None
    try:
        return convert(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{value}' is neither a number ({convert.__name__}) nor none") from None


def task_of(arguments: Sequence[str]) -> Any:
    """The task that the model named in the arguments does; None where none can be told."""
    from sensorium import tasks
    from sensorium.model import open_model

    asked = next((after for word, after in pairwise(arguments) if word == "--task"), None)
    model = next((word for word in arguments if not word.startswith("-") and word != asked), None)
    if model is None:
        return None
    try:
        return tasks.find(asked or open_model(model).task_name)
    except SensoriumError:
        return None  # the verb itself says what is wrong


def add_task_options(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add the options of the task that the model named in the arguments does."""
    from sensorium import tasks

    kind = task_of(arguments)
    if kind is None:
        return
    group = parser.add_argument_group(f"options of {kind.name}")
    for option in tasks.options(kind):
        convert, shown = converter(option.annotation)
        default = "" if option.default in (inspect.Parameter.empty, None) else f" (default {option.default})"
        group.add_argument(
            "--" + option.name.replace("_", "-"),
            dest=PREFIX + option.name,
            type=convert,
            default=argparse.SUPPRESS,
            nargs="?" if convert is switch else None,
            const=True if convert is switch else None,
            metavar=shown,
            help=f"{option.help}{default}".strip().replace("%", "%%"),
        )


def add_parts(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add the further parts of a source as flags, where the task of the model takes several: a question, a context."""
    from sensorium import tasks

    kind = task_of(arguments)
    further = tasks.parts(kind)[1:] if kind is not None else ()
    if further:
        group = parser.add_argument_group(f"what {kind.name} takes besides SOURCE, the {kind.source}")
        for name in further:
            group.add_argument("--" + name.replace("_", "-"), dest=PART + name, default=argparse.SUPPRESS, metavar="X",
                               help=f"the {name}: itself, a text file, or JSON")  # fmt: skip


def given_parts(given: argparse.Namespace) -> dict[str, str]:
    """The further parts of a source that were given."""
    return {k.removeprefix(PART): v for k, v in vars(given).items() if k.startswith(PART)}


def task_options(given: argparse.Namespace) -> dict[str, Any]:
    """The options of the task that were given."""
    return {k.removeprefix(PREFIX): v for k, v in vars(given).items() if k.startswith(PREFIX)}
