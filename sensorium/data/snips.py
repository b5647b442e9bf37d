"""Snips intents: JSON files `{"GetWeather": [{"data": [{"text": ...}, ...]}, ...]}`. The intent is the label."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import Source, extension, split_in
from sensorium.errors import InputError

_HEAD = re.compile(rb'\s*\{\s*"[^"]+"\s*:\s*\[\s*\{\s*"data"\s*:\s*\[\s*\{')


def _files(source: Source) -> list[str]:
    return [n for n in source.given if extension(n) == ".json" and _HEAD.match(source.head(n, 2048))]


def match(source: Source) -> float:
    return 0.9 if _files(source) else 0.0


def read(source: Source) -> Dataset:
    names = _files(source)
    if not names:
        raise InputError(f"'{source.root}' has no JSON files of intents")
    examples = []
    for name in names:
        source.used.append(name)
        for intent, rows in source.json(name).items():
            for i, row in enumerate(rows if isinstance(rows, list) else (), 1):
                parts = row.get("data") if isinstance(row, dict) else None
                if not isinstance(parts, list) or not all(isinstance(p, dict) for p in parts):
                    source.found("row", "warning", f"{name} row {i}", "has no list 'data' of texts: left out")
                    continue
                text = "".join(str(p.get("text", "")) for p in parts).strip()
                row_id = f"{name}:{i}"
                split = split_in(PurePosixPath(name).stem)
                examples.append(Example(row_id, {"text": text, "label": intent}, row_id, split))
    classes = sorted({e.fields["label"] for e in examples})
    return source.dataset("snips", ("text", "label"), examples, classes)
