"""Answers to pictures, sounds, texts: files, folders, patterns, - for standard input, or the text itself.

sensorium predict runs/photos cat.jpg holiday/ --json
sensorium predict runs/spam "You have won a prize: text WIN to 80488"
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sensorium.cli import text
from sensorium.cli.options import add_parts, add_settings, add_task_options, given_parts, settings_of, task_options
from sensorium.errors import Fault, InputError, SensoriumError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model or run folder")
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="file, folder, pattern, -, or the text itself")
    parser.add_argument("--json", action="store_true", help='a JSON line for each: {"source", "result"}')
    parser.add_argument("--draw", metavar="DIR", help="write each answer as a picture (or a video) into this folder")
    parser.add_argument("--save", metavar="DIR", help="write each answer that is a sound as a file into this folder")
    parser.add_argument("--task", metavar="TASK", help="another task that the model can do: a detector can also track")
    parser.add_argument("--out", metavar="FILE", help="write the JSON lines into this file")
    parser.add_argument("--resume", action="store_true", help="leave out what --out has answers for, and add to it")
    parser.add_argument("--shard", type=shard, metavar="I/N", help="only the I-th of N equal parts of the sources")
    add_settings(parser)


def prepare(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    add_parts(parser, words)
    add_task_options(parser, words)


def shard(value: str) -> tuple[int, int]:
    """`2/8`: the second of eight parts."""
    part, _, count = value.partition("/")
    if not (part.isdecimal() and count.isdecimal() and 1 <= int(part) <= int(count)):
        raise argparse.ArgumentTypeError(f"'{value}' is not a part such as 2/8")
    return int(part), int(count)


def answered(path: Path) -> set[str]:
    """The sources that a file of answers has already; a line cut short by a crash is taken away.

    Raises:
        InputError: it is not a file of answers.
    """
    if not path.is_file():
        return set()
    found, whole = set(), 0
    with path.open("rb+") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                if "result" in row:
                    found.add(str(row["source"]))
            except (ValueError, TypeError, KeyError):
                raise InputError(f"{path}:{number}: not an answer of an earlier run; name another --out") from None
            whole += len(line)
        lines.truncate(whole)
    return found


def run(given: argparse.Namespace) -> int:
    from sensorium import sources
    from sensorium.predictor import Predictor
    from sensorium.tasks import parts, to_json

    if given.resume and not given.out:
        raise InputError("--resume goes on with the answers in --out FILE: name it")
    predictor = Predictor(given.model, settings_of(given), task=given.task)
    task = predictor.task
    if given.save and not hasattr(task, "save"):
        raise InputError(f"--save: the answers of {task.name} are no files; --json prints them, --draw shows them")
    for folder in filter(None, (given.draw, given.save)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    if hasattr(task, "stream") and sys.stdout.isatty() and not (given.json or given.draw or given.out or given.shard):
        asked = list(sources.expand(parts(task), given.source, given_parts(given)))
        if len(asked) == 1:  # written as it is found
            for piece in predictor.stream_text(asked[0][1], **task_options(given)):
                print(piece, end="", flush=True)
            print()
            return 0
    part, count = given.shard or (1, 1)
    done = answered(Path(given.out)) if given.resume else set()
    names: deque[str] = deque()  # of the sources that are on their way
    found = iter(sources.expand(parts(task), given.source, given_parts(given)))
    begin = list(islice(found, 2))
    # A task with a way of its own may run a network for every frame, window or word.
    predictor.nets.once = len(begin) == 1 and not hasattr(task, "predict")

    def wanted() -> Iterator[Any]:
        for number, (name, source) in enumerate(chain(begin, found)):
            if number % count == part - 1 and name not in done:
                names.append(name)
                yield source

    status = good = bad = 0
    with ExitStack() as open_files:
        coming = predictor.stream(wanted(), **task_options(given))
        first = list(islice(coming, 1))  # a wrong name or option is told before earlier answers make room
        out = None
        if given.out:
            Path(given.out).parent.mkdir(parents=True, exist_ok=True)
            out = open_files.enter_context(open(given.out, "a" if given.resume else "w", encoding="utf-8"))
        for number, (source, result) in enumerate(chain(first, coming)):
            name = names.popleft()
            failed = isinstance(result, SensoriumError)
            row = {"source": name, "error": str(result)} if failed else {"source": name, "result": to_json(result)}
            if out is not None:
                print(text.line(row), file=out, flush=True)
            if failed and given.debug and isinstance(result, Fault):
                raise result
            if failed:
                status, bad = result.status, bad + 1
                if not given.json or out is not None:
                    print(f"sensorium: {result}", file=sys.stderr)
                    continue
            if failed or given.json:
                if out is None:
                    print(text.line(row), flush=True)
            elif out is None and not given.save:
                # One thing asked, one answer; of several (a folder, the lines of a file), each with its name.
                said = text.answer(row["result"])
                print(said if [name] == given.source else f"{name}: {said}", flush=True)
            good += not failed
            stem = f"{number:05d}-{Path(name).stem[:60].replace('/', '_')}"
            if given.draw and not failed:
                if hasattr(task, "film"):
                    task.film(source, result, Path(given.draw) / stem)
                else:
                    task.draw(task.open(source), result).save(Path(given.draw) / f"{stem}.png")
            if given.save and not failed:
                saved = task.save(result, Path(given.save) / stem)
                if not given.json:
                    print(saved, flush=True)
    if out is not None or (bad and good):
        known = f", {len(done)} were there" if done else ""
        print(f"{good} answered{known}, {bad} could not be", file=sys.stderr)
    return status
