"""Questions about texts as SQuAD writes them: `{"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import Source, extension, split_in
from sensorium.errors import InputError

_HEAD = re.compile(rb'"(paragraphs|qas|context)"\s*:')


def _files(source: Source) -> list[str]:
    names = [name for name in source.given if extension(name) == ".json"]
    return [n for n in names if b'"data"' in (head := source.head(n, 1 << 14)) and _HEAD.search(head)]


def match(source: Source) -> float:
    return 0.95 if _files(source) else 0.0


def read(source: Source) -> Dataset:
    names = _files(source)
    if not names:
        raise InputError(f"'{source.root}' has no JSON file of questions as SQuAD writes them")
    examples: list[Example] = []
    for name in names:
        source.used.append(name)
        split = split_in(PurePosixPath(name).stem)
        for title, context, asked in _questions(source.json(name)):
            row_id = f"{name}:{asked.get('id', len(examples))}"
            given = asked.get("answers", [])
            right = [] if asked.get("is_impossible") else [a for a in given if isinstance(a, dict)]
            texts, starts = [str(a.get("text", "")) for a in right], [a.get("answer_start", -1) for a in right]
            for text, start in zip(texts, starts):
                if not isinstance(start, int) or context[start : start + len(text)] != text:
                    source.found("answer", "warning", row_id, f"'{text[:40]}' does not stand at {start} of the text")
            answers = {"text": texts, "answer_start": starts}
            fields = {"question": str(asked.get("question", "")).strip(), "context": context, "answers": answers}
            if not fields["question"] or not context:
                source.found("row", "warning", row_id, "has no question, or no text to answer it from: left out")
                continue
            examples.append(Example(row_id, fields, row_id, split, title or None))
    return source.dataset("squad", ("question", "context", "answers"), examples)


def _questions(found: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(title, context, question) of each question."""
    for article in _list(found, "data"):
        for paragraph in _list(article, "paragraphs"):
            for asked in _list(paragraph, "qas"):
                if isinstance(asked, dict):
                    yield str(article.get("title", "")), str(paragraph.get("context", "")), asked


def _list(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []
