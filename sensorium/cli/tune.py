"""The quickest engine, precision, threads and batch size for a model on this machine that keep its answers.

    sensorium tune runs/photos holiday/

What is found is kept in the user's cache, and counts for every later command that does not ask for something else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sensorium.cli import text
from sensorium.cli.options import add_parts, add_task_options, given_parts, positive, task_options


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model or run folder")
    parser.add_argument(
        "source", metavar="SOURCE", nargs="*", help="what to measure with; 20 or more to allow bf16, int8 or int4"
    )
    parser.add_argument("--task", metavar="TASK", help="another task that the model can do")
    parser.add_argument("--seconds", type=positive, default=1.0, metavar="S", help="for each candidate (default 1)")
    parser.add_argument("--forget", action="store_true", help="drop what an earlier tune recorded")
    parser.add_argument("--dry-run", action="store_true", help="measure, and record nothing")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def prepare(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    add_parts(parser, words)
    add_task_options(parser, words)


def run(given: argparse.Namespace) -> int:
    from sensorium import sources
    from sensorium.model import open_model
    from sensorium.nets import settings
    from sensorium.tasks import find, parts
    from sensorium.tuning import tune

    model = open_model(given.model)
    if given.forget:
        known = settings.forget(model.path)
        if given.json:
            print(text.document({"model": str(model.path), "forgotten": known}))
        else:
            print("forgotten" if known else "nothing was recorded")
        return 0
    task = find(given.task or model.task_name)
    named = [source for _, source in sources.expand(parts(task), given.source, given_parts(given))]
    report = tune(
        given.model,
        named,
        task=given.task,
        seconds=given.seconds,
        save=not given.dry_run,
        progress=lambda line: print(line, file=sys.stderr),
        **task_options(given),
    )
    if given.json:
        print(text.document(report))
        return 0
    best = ", ".join(f"{name} {value}" for name, value in report["chosen"].items() if value is not None)
    print(f"{best}: {report['speedup']:.2f} times the speed of onnxruntime in fp32")
    return 0
