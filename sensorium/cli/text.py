"""What the verbs print for people: numbers, tables, and JSON for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def number(value: Any) -> str:
    """A number as people read it; `-` for none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
    return str(value)


def table(rows: Sequence[Sequence[Any]], head: Sequence[str]) -> str:
    """Rows in aligned columns under their heads."""
    cells = [[str(h) for h in head], *[[number(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells)


def remarks(notes: Sequence[str]) -> None:
    """What is to be known of an answer, on standard error."""
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)


def document(value: Any) -> str:
    """One JSON document."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def line(value: Any) -> str:
    """One JSON line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def metrics(found: Mapping[str, Mapping[str, Any]], baseline: Mapping[str, Any]) -> str:
    """The table of an evaluation's metrics."""
    rows = [(name, m["value"], _interval(m), baseline.get(name, "")) for name, m in found.items()]
    return table(rows, ("metric", "value", "95 % interval", "naive baseline"))


def _interval(m: Mapping[str, Any]) -> str:
    return "-" if m["low"] is None or m["high"] is None else f"{number(m['low'])} to {number(m['high'])}"


def answer(value: Any) -> str:
    """An answer in one line: text as it is, labels with scores, else compact JSON with pictures left out."""
    if isinstance(value, Mapping):
        for key in ("text", "translation_text", "summary_text", "generated_text"):
            if key in value:
                return str(value[key])
    if isinstance(value, list) and value and all(isinstance(v, Mapping) and "label" in v for v in value):
        return ", ".join(_labelled(v) for v in value)
    if value == []:
        return "nothing found"
    text = line(_without_pictures(value))
    return text if len(text) < 400 else text[:380] + f"... ({len(text)} characters; --json shows all)"


def _labelled(found: Mapping[str, Any]) -> str:
    score = found.get("score")
    text = str(found["label"]) if score is None else f"{found['label']} {score:.3f}"
    if isinstance(box := found.get("box"), Mapping):
        text += " at " + ",".join(f"{v:.0f}" for v in box.values())
    return text


def _without_pictures(value: Any) -> Any:
    """The same, with a word in place of each picture."""
    if isinstance(value, str) and value.startswith("data:image/"):
        return "(a picture: --draw shows it, --json gives it)"
    if isinstance(value, Mapping):
        return {key: _without_pictures(one) for key, one in value.items()}
    return [_without_pictures(one) for one in value] if isinstance(value, list) else value
