"""An HTTP service with a page to try the models, on this machine only unless asked otherwise.

sensorium serve runs/photos runs/spam
sensorium serve owls=models/night-birds --port 9000
"""

from __future__ import annotations

import argparse
import os

from sensorium.cli.options import add_settings, settings_of
from sensorium.errors import need


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="+", help="model or run folder, or NAME=FOLDER")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="0 for any free one (default 8000)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="name by which it may be reached; * for any"
    )
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds until an answer (default 60)")
    parser.add_argument("--queue", type=int, metavar="N", help="examples that may wait per model (default 32)")
    parser.add_argument("--batch", type=int, metavar="N", help="examples computed together at most (default 8)")
    parser.add_argument("--max-body", type=float, metavar="MB", help="of one request (default 32)")
    parser.add_argument(
        "--linger", type=float, default=0.0, metavar="S", help="seconds after SIGTERM in which requests are still taken"
    )
    parser.add_argument(
        "--grace", type=float, default=30.0, metavar="S", help="seconds to finish what was accepted (default 30)"
    )
    add_settings(parser)
    parser.epilog = "A token in the environment variable SENSORIUM_TOKEN is asked of every client."


def run(given: argparse.Namespace) -> int:
    need("starlette", "serve")
    need("uvicorn", "serve")
    need("python_multipart", "serve")
    from sensorium import serving

    limits = {name: getattr(given, name) for name in ("timeout", "queue", "batch") if getattr(given, name) is not None}
    if given.max_body is not None:
        limits["body"] = int(given.max_body * 2**20)
    return serving.run(
        given.model,
        settings=settings_of(given),
        host=given.host,
        port=given.port,
        hosts=given.allow_host,
        token=os.environ.get("SENSORIUM_TOKEN"),
        linger=given.linger,
        grace=given.grace,
        **limits,
    )
