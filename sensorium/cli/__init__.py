"""The command line: one file per verb, each with `HELP`, `arguments(parser)` and `run(arguments)`.

Standard output is the answer and nothing else. Exit status: 0 done; 1 it ran, and the answer is no; 2 the input or
the call is wrong; 3 something it needs is missing; 70 a fault of the program itself; 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from sensorium.cli.options import PART, PREFIX
from sensorium.errors import SensoriumError
from sensorium.version import __version__

VERBS = {
    "train": "learn from data: a run folder with a verified model folder in it",
    "evaluate": "the task's standard metrics, with confidence intervals",
    "predict": "answers to pictures, sounds, texts",
    "verify": "is this model folder sound, and does it still give the recorded answers",
    "compare": "which of two models is better, on the same examples",
    "export": "the same model in another precision, verified",
    "convert": "a model of another framework as a model folder, checked",
    "pull": "fetch a model, with its licence and hashes recorded",
    "inspect": "what is this file or folder",
    "tune": "the quickest way to run a model on this machine that keeps its answers",
    "bench": "how quick a model is on this machine",
    "serve": "an HTTP service with a page to try the models",
    "data": "check, show, split and convert data sets",
    "tasks": "the table of tasks",
    "demo": "the main job on real handwritten digits, in a few minutes",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"sensorium: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def overview() -> str:
    """The text of `sensorium --help`."""
    rows = "\n".join(f"  {name:<10} {text}" for name, text in VERBS.items())
    return (
        "usage: sensorium VERB ...\n\n"
        "One tool for seeing, reading and hearing, from your own data to a deployed model.\n\n"
        f"{rows}\n\n`sensorium VERB --help` says more. `--debug` shows where an error came from.\n"
    )


def parser_of(verb: str) -> tuple[Parser, Any]:
    """The parser of a verb, and its module."""
    module = importlib.import_module(f"sensorium.cli.{verb}")
    parser = Parser(
        prog=f"sensorium {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    module.arguments(parser)
    return parser, module


def refuse_empty(parser: Parser, given: argparse.Namespace) -> None:
    """An empty word where a file is named, as of a variable that is not set, does not stand for the current folder.

    A task's own texts and options may be empty.
    """
    for name, value in vars(given).items():
        if name.startswith((PREFIX, PART)) or (isinstance(value, list) and name == "source"):
            continue
        if value == "" or (isinstance(value, list) and "" in value):
            parser.error(f"{name} is empty: give it a value, or leave it out")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(overview(), end="")
            return 0
        if words[0] == "--version":
            print(f"sensorium {__version__}")
            return 0
        if words[0] not in VERBS:
            near = difflib.get_close_matches(words[0], VERBS, 1)
            hint = f"did you mean `{near[0]}`?" if near else "see `sensorium --help`"
            print(f"sensorium: there is no verb '{words[0]}'; {hint}", file=sys.stderr)
            return 2
        parser, module = parser_of(words[0])
        if hasattr(module, "prepare"):  # options that depend on the other arguments
            module.prepare(parser, words[1:])
        given = parser.parse_args(words[1:])
        refuse_empty(parser, given)
        status = module.run(given)
        sys.stdout.flush()
        return int(status or 0)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    except SensoriumError as error:
        if debug:
            raise
        print(f"sensorium: {' '.join(str(error).split())}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # the reader of a pipe went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a program that the signal ends: 0 would say of a failed verification that it passed
    except OSError as error:  # a folder that cannot be written, a disk that is full
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"sensorium: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sensorium: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print("sensorium: not enough memory for this", file=sys.stderr)
        return 3
