"""Data sets, before anything is trained: what was understood, what is wrong, how they are divided, in other formats."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sensorium.cli import text

if TYPE_CHECKING:
    from sensorium.data import Dataset

SHOWN = 3  # findings of a kind that are printed


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True, metavar="check|show|split|convert")

    def action(name: str, help: str) -> argparse.ArgumentParser:
        found = verbs.add_parser(name, help=help, description=help, allow_abbrev=False)
        found.add_argument("path", metavar="PATH", help="a folder, or one file of it")
        found.add_argument("--format", help="name of the data format, where the recognition should not decide")
        found.add_argument("--splits", metavar="FILE", help="a splits.json, instead of the splits of the data")
        found.add_argument("--task", help="the task it is wanted for, which decides between readings")
        found.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
        return found

    check = action("check", "find what ruins projects; exit status 1 when training would be unwise")
    check.add_argument("--json", action="store_true", help="one JSON document")
    check.add_argument("--all", action="store_true", help="every finding, not the first of each kind")
    show = action("show", "what was understood: format, splits, classes, sizes, lengths")
    show.add_argument("--json", action="store_true", help="one JSON document")
    show.add_argument("--sheet", metavar="FILE", help="write a contact sheet of examples with their truth (PNG)")
    split = action("split", "divide into train, val and test, and write that down")
    split.add_argument("--out", metavar="FILE", help="the file to write (default: splits.json beside the data)")
    split.add_argument("--seed", type=int, default=0, help="another one gives another division (default 0)")
    split.add_argument("--val", type=float, default=0.15, help="share of validation examples (default 0.15)")
    split.add_argument("--test", type=float, default=0.15, help="share of test examples (default 0.15)")
    split.add_argument("--force", action="store_true", help="replace the file if it exists")
    split.add_argument("--json", action="store_true", help="one JSON document")
    convert = action("convert", "write in another format; what is lost is said")
    convert.add_argument("--to", required=True, metavar="FORMAT", help="coco, voc, yolo, csv, tsv, jsonl ...")
    convert.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    convert.add_argument("--json", action="store_true", help="one JSON document")


def run(given: argparse.Namespace) -> int:
    from sensorium.data import open_data

    splits: str | Literal[False] | None = given.splits
    if splits is None and given.action == "split":
        splits = False  # a new division does not start from the one that it replaces
    dataset = open_data(given.path, format=given.format, splits=splits, task=given.task)
    actions = {"check": _check, "show": _show, "split": _split, "convert": _convert}
    return actions[given.action](given, dataset)


def _check(given: argparse.Namespace, dataset: Dataset) -> int:
    from sensorium.data.check import check, verdict

    findings = check(dataset)
    fine = verdict(findings)
    counts = Counter(f.severity for f in findings)
    if given.json:
        report = {"path": str(dataset.path), "format": dataset.format, "examples": len(dataset.examples)}
        told = [asdict(f) for f in findings]
        print(text.document({**report, "fields": list(dataset.fields), "train": fine, "findings": told}))
        return 0 if fine else 1
    splits = ", ".join(f"{name} {n}" for name, n in dataset.splits().items()) or "no splits"
    print(f"{dataset.path}: {dataset.format}, {len(dataset.examples)} examples ({splits})")
    shown: Counter[str] = Counter()
    kinds = Counter(f.kind for f in findings)
    for finding in findings:
        shown[finding.kind] += 1
        if given.all or shown[finding.kind] <= SHOWN:
            print(f"{finding.severity}: {finding.where}: {finding.message} [{finding.kind}]")
        elif shown[finding.kind] == kinds[finding.kind]:
            print(f"{finding.severity}: ... {kinds[finding.kind] - SHOWN} more [{finding.kind}]; --all lists them")
    answer = "nothing that speaks against training" if fine else "training would be unwise"
    numbers = [f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in ("error", "warning", "note") if counts[s]]
    print(f"{answer}: {', '.join(numbers) or 'no findings'}")
    return 0 if fine else 1


def _show(given: argparse.Namespace, dataset: Dataset) -> int:
    from sensorium.data import show

    found = show.summary(dataset)
    if given.sheet:
        from sensorium.errors import InputError

        picture = show.contact_sheet(dataset)
        try:
            picture.save(given.sheet)
        except (OSError, ValueError) as error:
            raise InputError(f"{given.sheet}: cannot be written: {error}") from None
        print(f"wrote {given.sheet}", file=sys.stderr)
    print(text.document(found) if given.json else show.table(found))
    return 0


def _split(given: argparse.Namespace, dataset: Dataset) -> int:
    from sensorium.data import write_splits

    path, lists = write_splits(dataset, given.out, given.seed, val=given.val, test=given.test, overwrite=given.force)
    counts = {name: len(ids) for name, ids in lists.items()}
    if given.json:
        print(text.document({"path": str(path), "splits": counts}))
    else:
        print(f"{path}: " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    return 0


def _convert(given: argparse.Namespace, dataset: Dataset) -> int:
    from sensorium.data.convert import convert

    lost = convert(dataset, given.to, given.out)
    if given.json:
        print(text.document({"path": str(Path(given.out)), "format": given.to, "lost": lost}))
        return 0
    print(f"{given.out}: {len(dataset.examples)} examples as {given.to}")
    for line in lost or ["nothing"]:
        print(f"lost: {line}")
    return 0
