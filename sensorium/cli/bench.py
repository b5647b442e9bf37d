"""How quick a model is here: latency, throughput, memory, and the share of what this machine can do.

sensorium bench runs/photos cat.jpg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sensorium.cli import text
from sensorium.cli.options import (
    add_parts,
    add_settings,
    add_task_options,
    given_parts,
    positive,
    settings_of,
    task_options,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model or run folder")
    parser.add_argument("source", metavar="SOURCE", nargs="*", help="what to answer (default: something made up)")
    parser.add_argument("--task", metavar="TASK", help="another task that the model can do")
    parser.add_argument("--seconds", type=positive, default=1.0, metavar="S", help="for each measurement (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    add_settings(parser)


def prepare(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    add_parts(parser, words)
    add_task_options(parser, words)


def run(given: argparse.Namespace) -> int:
    from sensorium import performance, sources
    from sensorium.predictor import Predictor
    from sensorium.tasks import parts, to_json

    predictor = Predictor(given.model, settings_of(given), task=given.task)
    named = [source for _, source in sources.expand(parts(predictor.task), given.source, given_parts(given))]
    report = performance.bench(predictor, named, given.seconds, **task_options(given))
    if given.json:
        print(text.document(to_json(report)))
        return 0
    rows = [[b["batch_size"], b["median_ms"], b["p95_ms"], b["per_second"]] for b in report["batches"]]
    print(text.table(rows, ("batch", "median ms", "95 % ms", "per second")))
    chosen = ", ".join(f"{name} {value}" for name, value in report["settings"].items() if value is not None)
    print(f"\nsettings: {chosen or 'the defaults'}")
    print(f"the networks take {100 * report['engine_share']:.0f} % of the time; memory {report['memory_mb']:.0f} MB")
    if report["share_of_peak"] is not None:
        print(
            f"{report['multiply_adds'] / 1e6:.1f} million multiply-adds, {100 * report['share_of_peak']:.0f} % of the "
            f"{report['peak_gflops']:.0f} GFLOP/s of a float32 matrix product here; "
            f"memory moves {report['bandwidth_gb_s']:.0f} GB/s"
        )
    return 0
