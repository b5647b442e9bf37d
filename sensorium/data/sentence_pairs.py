"""Pairs of sentences and how alike they are: a table with `sentence1`, `sentence2` and `score`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import Source, extension, split_in
from sensorium.errors import InputError

_SCORES = ("score", "similarity_score", "similarity", "label")
_KINDS = (".csv", ".tsv", ".jsonl")


def _rows(source: Source, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where and what is each row."""
    if extension(name) == ".jsonl":
        for where, row in source.json_lines(name):
            yield where, row if isinstance(row, dict) else {}
        return
    text = source.text(name)
    tabs = "\t" in text.split("\n", 1)[0]
    reader = csv.DictReader(
        io.StringIO(text), delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    )
    for row in reader:
        yield f"{name}:{reader.line_num}", row


def _files(source: Source) -> list[str]:
    found = []
    for name in source.given:
        if extension(name) in _KINDS:
            head = source.head(name, 1 << 14).decode("utf-8", "replace").split("\n", 1)[0]
            if "sentence1" in head and "sentence2" in head and any(score in head for score in _SCORES):
                found.append(name)
    return found


def match(source: Source) -> float:
    return 0.95 if _files(source) else 0.0


def read(source: Source) -> Dataset:
    names = _files(source)
    if not names:
        raise InputError(f"'{source.root}' has no table with sentence1, sentence2 and score")
    examples = []
    for name in names:
        source.used.append(name)
        split = split_in(PurePosixPath(name).stem)
        for row_id, row in _rows(source, name):
            pair = row.get("sentence1"), row.get("sentence2")
            try:
                score = float(next(row[key] for key in _SCORES if row.get(key) not in (None, "")))
            except (StopIteration, TypeError, ValueError):
                score = None
            if score is None or not all(isinstance(one, str) for one in pair):
                source.found("row", "warning", row_id, "has not two sentences and a score: left out")
                continue
            fields = {"source_sentence": pair[0], "sentences": [pair[1]], "score": score}
            examples.append(Example(row_id, fields, row_id, split))
    return source.dataset("sentence-pairs", ("source_sentence", "sentences", "score"), examples)
