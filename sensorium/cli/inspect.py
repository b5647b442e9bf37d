"""What is this file or folder: a model, a run, a data set, a network? What is in it, and is it sound?"""

from __future__ import annotations

import argparse
from typing import Any

from sensorium.cli import text


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--html", metavar="FILE", help="write a page with the network drawn")


def run(given: argparse.Namespace) -> int:
    import sensorium

    report = sensorium.inspect(given.path, html=given.html)
    print(text.document(report) if given.json else "\n".join(outline(report)))
    return 0 if report.get("sound", True) else 1


def outline(value: dict[str, Any], indent: str = "") -> list[str]:
    """A document as indented lines; what is empty is left out."""
    lines = []
    for key, entry in value.items():
        if entry is None or entry == [] or entry == {}:
            continue
        if isinstance(entry, dict):
            lines += [f"{indent}{key}:", *outline(entry, indent + "  ")]
        elif isinstance(entry, list) and any(isinstance(e, dict) for e in entry):
            lines += [f"{indent}{key}:", *(f"{indent}  {text.line(e)}" for e in entry)]
        else:
            shown = ", ".join(map(str, entry)) if isinstance(entry, list) else text.number(entry)
            lines.append(f"{indent}{key}: {shown}")
    return lines
