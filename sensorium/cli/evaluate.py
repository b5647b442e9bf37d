"""The task's standard metrics of a model on data, with 95 % confidence intervals and the worst examples.

sensorium evaluate runs/photos photos/ --split test --min accuracy=0.9
"""

from __future__ import annotations

import argparse

from sensorium.cli import text
from sensorium.cli.options import add_settings, add_task_options, settings_of, task_options
from sensorium.errors import InputError, Refused


def bound(value: str) -> tuple[str, float]:
    """`metric=number`."""
    name, _, given = value.partition("=")
    try:
        return name, float(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{value}' is not metric=number, such as accuracy=0.9") from None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model or run folder")
    parser.add_argument("data", metavar="DATA", help="folder or file of examples")
    parser.add_argument("--split", metavar="S", help="train, val, test or all (default: test, else val, else all)")
    parser.add_argument("--splits", metavar="FILE", help="a splits.json that says which example belongs where")
    parser.add_argument("--task", metavar="TASK", help="another task that the model can do: a detector can also track")
    add_settings(parser)
    parser.add_argument(
        "--min", type=bound, action="append", default=[], metavar="METRIC=VALUE", help="exit 1 below this"
    )
    parser.add_argument(
        "--max", type=bound, action="append", default=[], metavar="METRIC=VALUE", help="exit 1 above this"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


prepare = add_task_options


def run(given: argparse.Namespace) -> int:
    import sys

    from tqdm import tqdm

    from sensorium.evaluation import evaluate

    with tqdm(unit=" examples", disable=not sys.stderr.isatty(), leave=False) as bar:
        found = evaluate(
            given.model,
            given.data,
            split=given.split,
            splits=given.splits,
            settings=settings_of(given),
            task=given.task,
            progress=bar.update,
            **task_options(given),
        )
    for name, _ in (*given.min, *given.max):
        if name not in found.metrics:
            raise InputError(f"there is no metric '{name}'; there are: {', '.join(found.metrics)}")
    report = found.to_json()
    text.remarks(report["notes"])
    if given.json:
        print(text.document(report))
    else:
        print(text.metrics(report["metrics"], report["baseline"]))
        print(f"\n{report['task']} on {report['examples']} examples ({report['split']})")
        print("worst: " + ", ".join(str(w["id"]) for w in report["worst"][:5]))
    for demanded, sign in ((given.min, 1), (given.max, -1)):
        for name, limit in demanded:
            value = found.metrics[name]["value"]
            if not sign * value >= sign * limit:
                raise Refused(f"{name} is {value:.4f}, {'below' if sign > 0 else 'above'} the demanded {limit:g}")
    return 0
