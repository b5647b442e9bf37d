"""Answers to pictures, sounds, texts: files, folders, patterns, - for standard input, or the text itself.

sensorium predict runs/photos cat.jpg holiday/ --json
sensorium predict runs/spam "free entry in a weekly draw"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sensorium.cli import text
from sensorium.cli.options import add_parts, add_settings, add_task_options, given_parts, settings_of, task_options
from sensorium.errors import SensoriumError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model or run folder")
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="file, folder, pattern, -, or the text itself")
    parser.add_argument("--json", action="store_true", help='a JSON line for each: {"source", "result"}')
    parser.add_argument("--draw", metavar="DIR", help="write each answer as a picture into this folder")
    parser.add_argument("--task", metavar="TASK", help="another task that the model can do: a detector can also track")
    add_settings(parser)


def prepare(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    add_parts(parser, words)
    add_task_options(parser, words)


def run(given: argparse.Namespace) -> int:
    from sensorium import sources
    from sensorium.predictor import Predictor
    from sensorium.tasks import parts, to_json

    predictor = Predictor(given.model, settings_of(given), task=given.task)
    task = predictor.task
    if given.draw:
        Path(given.draw).mkdir(parents=True, exist_ok=True)
    if hasattr(task, "stream") and not given.json and not given.draw and sys.stdout.isatty() and len(given.source) == 1:
        found = list(sources.expand(parts(task), given.source, given_parts(given)))
        if len(found) == 1:
            for piece in predictor.stream_text(found[0][1], **task_options(given)):
                print(piece, end="", flush=True)
            print()
            return 0
    names: list[str] = []

    def opened() -> object:
        for name, source in sources.expand(parts(task), given.source, given_parts(given)):
            names.append(name)
            yield source

    status = 0
    for number, (source, result) in enumerate(predictor.stream(opened(), **task_options(given))):  # type: ignore[arg-type]
        name = names[number]
        if isinstance(result, SensoriumError):
            status = result.status
            if given.json:
                print(text.line({"source": name, "error": str(result)}))
            else:
                print(f"sensorium: {result}", file=sys.stderr)
            continue
        value = to_json(result)
        if given.json:
            print(text.line({"source": name, "result": value}), flush=True)
        else:
            # One thing asked, one answer; of several (a folder, a pattern, the lines of a file), each with its name.
            print(text.answer(value) if [name] == given.source else f"{name}: {text.answer(value)}", flush=True)
        if given.draw:
            target = Path(given.draw) / f"{number:05d}-{Path(name).stem[:60].replace('/', '_')}.png"
            task.draw(task.open(source), result).save(target)
    return status
