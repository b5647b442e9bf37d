"""The table of tasks, generated from the code."""

from __future__ import annotations

import argparse

from sensorium.cli import text


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(given: argparse.Namespace) -> int:
    from sensorium.tasks import table

    found = table()
    if given.json:
        print(text.document(found))
    else:
        rows = [(t["name"], t["source"], t["truth"], t["metric"], "yes" if t["trainable"] else "") for t in found]
        print(text.table(rows, ("task", "reads", "answers", "metric", "trainable")))
    return 0
