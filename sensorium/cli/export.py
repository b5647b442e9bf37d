"""The same model in another precision, verified against the original.

sensorium export runs/photos --to int8 --data photos/
"""

from __future__ import annotations

import argparse

from sensorium.cli import text


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model or run folder")
    parser.add_argument("--to", required=True, metavar="FORMAT", help="int8, fp16 or int4")
    parser.add_argument("--data", metavar="DATA", help="to calibrate with, and to measure the loss on")
    parser.add_argument(
        "--calibrate",
        nargs="+",
        metavar="SOURCE",
        default=[],
        help="files, folders or texts to calibrate with, where there are no answers",
    )
    parser.add_argument("--split", metavar="S", help="of the data to measure on (default: val, else test)")
    parser.add_argument(
        "--out", metavar="DIR", help="a new model folder (default: the file is added to the model's own)"
    )
    parser.add_argument("--force", action="store_true", help="keep it even if it loses too much")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(given: argparse.Namespace) -> int:
    import sensorium
    from sensorium import sources
    from sensorium.model import open_model
    from sensorium.tasks import find, parts

    shown = (
        sources.expand(parts(find(open_model(given.model).task_name)), given.calibrate, {}) if given.calibrate else ()
    )
    report = sensorium.export(
        given.model,
        to=given.to,
        data=given.data,
        split=given.split,
        calibrate=[source for _, source in shown],
        out=given.out,
        force=given.force,
    )
    if given.json:
        print(text.document(report))
        return 0
    for entry in report["files"]:
        before, after = entry["bytes"]["before"], entry["bytes"]["after"]
        print(f"{entry['file']}: {before / 1e6:.2f} MB became {after / 1e6:.2f} MB; {entry['verdict']}")
        for name, value in entry.get("metrics_after", {}).items():
            print(f"  {name}: {text.number(entry['metrics_before'][name])} became {text.number(value)}")
    return 0
