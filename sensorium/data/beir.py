"""Retrieval as BEIR writes it: corpus.jsonl, queries.jsonl, and which belongs to which in qrels/*.tsv."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import Source, split_in
from sensorium.errors import InputError

_FILES = ("corpus.jsonl", "queries.jsonl")


def _judgements(source: Source) -> list[str]:
    return [name for name in source.files if name.startswith("qrels/") and name.endswith(".tsv")]


def match(source: Source) -> float:
    return 0.95 if set(_FILES) <= set(source.files) and _judgements(source) and source.file is None else 0.0


def read(source: Source) -> Dataset:
    judged = _judgements(source)
    if not judged or not set(_FILES) <= set(source.files):
        raise InputError(f"'{source.root}' has not all of corpus.jsonl, queries.jsonl and qrels/*.tsv")
    source.used.extend([*_FILES, *judged])
    questions = {}
    for where, row in source.json_lines("queries.jsonl"):
        if isinstance(row, dict) and "_id" in row and isinstance(row.get("text"), str):
            questions[str(row["_id"])] = row["text"], where
        else:
            source.found("row", "warning", where, "has no '_id' and 'text': left out")
    examples = []
    for name in judged:
        documents: dict[str, dict[str, float]] = defaultdict(dict)
        for number, (where, line) in enumerate(source.lines(name)):
            cells = line.split("\t")
            try:
                documents[cells[0]][cells[-2]] = float(cells[-1])
            except (IndexError, ValueError):
                if number:  # the first may be a header
                    source.found("row", "warning", where, "is no judgement: left out")
        for key, grades in documents.items():
            if key not in questions:
                source.found("missing", "warning", name, f"there is no question '{key}': left out")
                continue
            text, where = questions[key]
            relevant = {"corpus": source.absolute("corpus.jsonl"), "documents": grades}
            split = split_in(PurePosixPath(name).stem)
            examples.append(Example(where, {"text": text, "relevant": relevant}, where, split))
    return source.dataset("beir", ("text", "relevant"), examples)
