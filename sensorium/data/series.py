"""Series of numbers: a table with a column for each (wide), or with item_id, timestamp and target (long)."""

from __future__ import annotations

import csv
import io
from collections import defaultdict

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import Source, extension
from sensorium.errors import InputError

_ITEM = ("item_id", "unique_id", "series_id", "id")
_TARGET = ("target", "value", "y")
_TIME = ("timestamp", "ds", "date", "time", "datetime")


def _number(cell: str | None) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return None


def _rows(text: str) -> list[list[str]]:
    head = text.split("\n", 1)[0]
    separator = max("\t,;", key=head.count)
    try:
        return [row for row in csv.reader(io.StringIO(text), delimiter=separator) if any(cell.strip() for cell in row)]
    except csv.Error:  # no table at all
        return []


def _files(source: Source) -> list[str]:
    return [name for name in source.given if extension(name) in (".csv", ".tsv")]


def _is_long(header: list[str]) -> bool:
    names = [cell.strip().lower() for cell in header]
    return any(n in _ITEM for n in names) and any(n in _TARGET for n in names)


def match(source: Source) -> float:
    names = _files(source)
    if not names:
        return 0.0
    if "series" in source.wants:
        return 0.95
    rows = _rows(source.head(names[0], 1 << 14).decode("utf-8", "replace"))[:-1]
    if len(rows) < 3:
        return 0.0
    long = _is_long(rows[0]) and any(cell.strip().lower() in _TIME for cell in rows[0])
    timed = rows[0][0].strip().lower() in _TIME and all(_number(cell) is not None for cell in rows[1][1:])
    return 0.92 if long or timed else 0.0


def read(source: Source) -> Dataset:
    examples: list[Example] = []
    for name in _files(source):
        source.used.append(name)
        rows = _rows(source.text(name))
        if not rows:
            continue
        headed = any(cell.strip() and _number(cell) is None for cell in rows[0])
        header = [cell.strip() or str(i) for i, cell in enumerate(rows[0])] if headed else []
        body = rows[1:] if headed else rows
        found = _long(header, body) if headed and _is_long(header) else _wide(header, body)
        for title, values in found.items():
            row_id = f"{name}:{title}"
            if len(values) < 2 or all(value is None for value in values):
                source.found("series", "warning", row_id, "has no two numbers: left out")
                continue
            examples.append(Example(row_id, {"series": values}, row_id))
    if not examples:
        raise InputError(f"'{source.root}' has no table of numbers")
    return source.dataset("series", ("series",), examples)


def _long(header: list[str], body: list[list[str]]) -> dict[str, list[float | None]]:
    names = [cell.lower() for cell in header]
    item = next(names.index(n) for n in _ITEM if n in names)
    target = next(names.index(n) for n in _TARGET if n in names)
    time = next((names.index(n) for n in _TIME if n in names), None)
    found: dict[str, list[tuple[str, float | None]]] = defaultdict(list)
    for row in body:
        if len(row) > max(item, target):
            found[row[item]].append((row[time] if time is not None else "", _number(row[target])))
    if time is not None and all("-" in at for rows in found.values() for at, _ in rows):
        for rows in found.values():
            rows.sort(key=lambda row: row[0])  # written with the year first, times sort as text
    return {name: [value for _, value in rows] for name, rows in found.items()}


def _wide(header: list[str], body: list[list[str]]) -> dict[str, list[float | None]]:
    """Every column of numbers but those of times."""
    found = {}
    for i in range(len(body[0]) if body else 0):
        title = header[i] if i < len(header) else str(i)
        values = [_number(row[i]) if i < len(row) else None for row in body]
        if title.lower() not in _TIME and sum(v is not None for v in values) > len(values) / 2:
            found[title] = values
    return found
