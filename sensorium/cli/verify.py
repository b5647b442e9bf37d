"""Is this model folder sound, and does it still give the recorded answers and metrics, here, on this machine?

    sensorium verify runs/photos/model photos/

Exit status 0 only on pass.
"""

from __future__ import annotations

import argparse

from sensorium.cli import text


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model or run folder")
    parser.add_argument("data", metavar="DATA", nargs="?", help="the data it was verified on, to measure again")
    parser.add_argument("--split", metavar="S", help="of the data (default: the recorded one)")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8", "int4"), help="to measure")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(given: argparse.Namespace) -> int:
    import sensorium

    report = sensorium.verify(given.model, given.data, split=given.split, precision=given.precision)
    if given.json:
        print(text.document(report))
    else:
        rows = [
            (f["file"], f["verdict"], f.get("largest_difference", ""), f.get("message", "")) for f in report["files"]
        ]
        print(text.table(rows, ("file", "verdict", "difference", "")))
        for name, value in (report.get("metrics") or {}).items():
            then = (report.get("metrics_recorded") or {}).get(name)
            print(f"{name}: {text.number(value)} now, {text.number(then)} recorded")
        print(f"\n{report['verdict']}" + (f": {report['message']}" if "message" in report else ""))
    return 0 if report["verdict"] == "pass" else 1
