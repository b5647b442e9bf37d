"""Words with tags as CoNLL writes them: a word and its tag in each line, an empty line after each sentence."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, SOUNDS, Source, extension, split_in
from sensorium.errors import InputError

_TAG = re.compile(r"O|[BIESLU]-\S+")
_NO_SENTENCE = "-DOCSTART-"


def _columns(line: str) -> list[str]:
    """A word may hold spaces where tabs divide the columns."""
    return line.rstrip("\r\n").split("\t") if "\t" in line else line.split()


def _is_tagged(source: Source, name: str) -> bool:
    if extension(name) in IMAGES | SOUNDS | {".json", ".jsonl", ".xml", ".md"}:
        return False
    lines = source.head(name, 1 << 14).decode("utf-8", "replace").splitlines()[:-1]
    rows = [_columns(line) for line in lines if line.strip() and not line.startswith("#")]
    if len(rows) < 2 or not any(row[-1] != "O" for row in rows):
        return False
    return sum(len(row) > 1 and bool(_TAG.fullmatch(row[-1])) for row in rows) > 0.95 * len(rows)


def match(source: Source) -> float:
    return 0.95 if any(_is_tagged(source, name) for name in source.given) else 0.0


def read(source: Source) -> Dataset:
    names = [name for name in source.given if _is_tagged(source, name)]
    if not names:
        raise InputError(f"'{source.root}' has no file with a word and a tag in each line")
    examples = []
    for name in names:
        source.used.append(name)
        split = split_in(PurePosixPath(name).stem) or split_in(name.replace("/", " "))
        words: list[str] = []
        tags: list[str] = []
        first = 0
        for number, line in enumerate([*source.text(name).split("\n"), ""], 1):
            row = _columns(line)
            if not line.strip() or row[0] == _NO_SENTENCE:
                if words:
                    row_id = f"{name}:{first}"
                    examples.append(Example(row_id, {"tokens": words, "tags": tags}, row_id, split))
                words, tags = [], []
            elif len(row) > 1 and row[0].strip() and _TAG.fullmatch(row[-1]):
                first = first if words else number
                words.append(row[0])
                tags.append(row[-1])
            elif not (line.startswith("#") and not words):
                source.found("row", "warning", f"{name}:{number}", "has no word with a tag: left out")
    kinds = sorted({tag for e in examples for tag in e.fields["tags"]})
    return source.dataset("conll", ("tokens", "tags"), examples, kinds)
