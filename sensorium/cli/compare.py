"""Which of two models is better, on the same examples: paired differences with 95 % confidence intervals.

sensorium compare runs/old runs/new photos/ --split test
"""

from __future__ import annotations

import argparse

from sensorium.cli import text


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="model or run folder")
    parser.add_argument("b", metavar="B", help="model or run folder")
    parser.add_argument("data", metavar="DATA", help="folder or file of examples")
    parser.add_argument("--split", metavar="S", help="train, val, test or all")
    parser.add_argument("--splits", metavar="FILE", help="a splits.json that says which example belongs where")
    parser.add_argument("--precision-a", choices=("fp32", "fp16", "int8", "int4"), help="of A")
    parser.add_argument("--precision-b", choices=("fp32", "fp16", "int8", "int4"), help="of B")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(given: argparse.Namespace) -> int:
    import sensorium

    report = sensorium.compare(
        given.a,
        given.b,
        given.data,
        split=given.split,
        splits=given.splits,
        precisions=(given.precision_a, given.precision_b),
    )
    text.remarks(report["notes"])
    if given.json:
        print(text.document(report))
        return 0
    first, second = report["metrics"]
    rows = [
        (name, first[name], second[name], d["difference"], f"{text.number(d['low'])} to {text.number(d['high'])}")
        for name, d in report["difference"].items()
    ]
    print(text.table(rows, ("metric", "A", "B", "B - A", "95 % interval")))
    print(f"\n{report['examples']} examples ({report['split']}): {report['better']} better, {report['worse']} worse")
    changed = report["flipped"]
    for word, some in (("worse", changed[:3]), ("better", changed[::-1][:3])):
        for example in some:
            before, after = example["quality"]
            if (after > before) == (word == "better"):
                print(f"{word}: {example['id']} (quality {text.number(before)} became {text.number(after)})")
    return 0
