"""Learn from data: a run folder with a verified model folder in it.

sensorium train image-classification photos/ --out runs/photos --budget 10m
sensorium evaluate runs/photos photos/
"""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from sensorium.cli import text
from sensorium.errors import InputError

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration(value: str) -> float:
    """`90`, `90s`, `15m` or `2h` in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip())
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"'{value}' is not a duration such as 90s, 15m or 2h")
    return float(found[1]) * SECONDS[found[2]]


def assignment(value: str) -> tuple[str, Any]:
    """`name=value`, the value as JSON where it is JSON."""
    name, sign, given = value.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"'{value}' is not name=value")
    try:
        return name, json.loads(given)
    except json.JSONDecodeError:
        return name, given


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="as `sensorium tasks` lists them")
    parser.add_argument("data", metavar="DATA", help="folder or file of examples")
    parser.add_argument("--out", required=True, metavar="DIR", help="the run folder to make; the model is DIR/model")
    parser.add_argument("--base", metavar="MODEL", help="a Hugging Face model folder to start from")
    parser.add_argument("--budget", type=duration, metavar="TIME", help="end within 90s, 15m, 2h")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the training data")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--splits", metavar="FILE", help="a splits.json that says what to train on")
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    parser.add_argument("--skip-bad", action="store_true", help="leave out examples that cannot be read")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads that make batches (default 1)")
    parser.add_argument("--force", action="store_true", help="publish the model even if its verification failed")
    parser.add_argument(
        "--set", type=assignment, action="append", default=[], metavar="NAME=VALUE", help="a parameter of the recipe"
    )
    parser.add_argument("--json", action="store_true", help="print what run.json holds")


def run(given: argparse.Namespace) -> int:
    import sensorium

    parameters = dict(given.set)
    own = {"network", "out", "quiet"} & set(parameters)
    if own:
        raise InputError(f"--set {own.pop()}: there is no such parameter")
    record = sensorium.train(
        given.task,
        given.data,
        out=given.out,
        base=given.base,
        epochs=given.epochs,
        budget=given.budget,
        seed=given.seed,
        device=given.device,
        resume=given.resume,
        splits=given.splits,
        workers=given.workers,
        skip_bad=given.skip_bad,
        force=given.force,
        **parameters,
    )
    if given.json:
        print(text.document(record))
    elif "result" in record:
        result = record["result"]
        print(text.metrics(result["metrics"], result["baseline"]))
        print(f"\non {result['examples']} validation examples; verification of the export: {result['verification']}")
        print(f"model: {given.out}/model   pictures: {given.out}/pictures")
    return 0
