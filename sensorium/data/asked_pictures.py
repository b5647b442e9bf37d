"""Pictures with captions, or with questions and answers: JSON lines.

The words of a page and where they stand may be given as `word_boxes`: `[[word, [left, top, right, bottom]], ...]`.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, parse_json, split_in
from sensorium.errors import InputError

LINES = (".jsonl", ".ndjson")


def _kind(row: Any) -> str | None:
    """`captions` or `question`: what a row says about its picture."""
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        return None
    if isinstance(row.get("question"), str) and isinstance(row.get("answers", row.get("answer")), (str, list)):
        return "question"
    return "captions" if isinstance(row.get("captions"), list) else None


def _files(source: Source) -> dict[str, str]:
    """The files of such rows, and what these say."""
    found = {}
    for name in source.given:
        if extension(name) in LINES:
            first = source.head(name).decode("utf-8", "replace").lstrip("\ufeff").strip().split("\n", 1)[0]
            try:
                kind = _kind(parse_json(first, name))
            except InputError:
                continue
            if kind is not None:
                found[name] = kind
    return found


def match(source: Source) -> float:
    return 0.95 if _files(source) else 0.0


def read(source: Source) -> Dataset:
    names = _files(source)
    if not names:
        raise InputError(f"'{source.root}' has no JSON lines of pictures with captions or questions")
    kind = next(iter(names.values()))
    examples: list[Example] = []
    for name in (n for n, k in names.items() if k == kind):
        source.used.append(name)
        split = split_in(PurePosixPath(name).stem)
        for where, row in source.json_lines(name):
            if _kind(row) != kind:
                source.found("row", "warning", where, f"has no image with {kind}: left out")
                continue
            path = source.find(row["image"], str(PurePosixPath(name).parent), where=where)
            if path is None or extension(path) not in IMAGES:
                source.found("picture", "error", where, f"there is no picture '{row['image']}': left out")
                continue
            examples.append(Example(where, {"image": source.absolute(path), **_fields(kind, row)}, where, split))
    fields = ("image", "text") if kind == "captions" else ("image", "question", "word_boxes", "answers")
    present = {key for example in examples for key in example.fields}
    return source.dataset("asked-pictures", tuple(f for f in fields if f in present), examples)


def _fields(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    if kind == "captions":
        return {"text": [str(caption) for caption in row["captions"]]}
    given: Any = row.get("answers", row.get("answer"))
    listed = [given] if isinstance(given, str) else given
    answers = [str(a.get("answer", "")) if isinstance(a, dict) else str(a) for a in listed]
    return {"question": row["question"], "word_boxes": row.get("word_boxes") or [], "answers": answers}
