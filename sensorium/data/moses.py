"""Parallel text as Moses reads it: `train.en` and `train.ja`, line by line the same sentences."""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from pathlib import PurePosixPath

from sensorium.data.examples import SPLITS, Dataset, Example, Lazy
from sensorium.data.languages import is_language
from sensorium.data.source import MAX_TEXT, WESTERN, Source, decode, encoding_of, split_in
from sensorium.errors import InputError

EAGER_BYTES = 64 << 20


def _pairs(source: Source) -> dict[str, list[str]]:
    """Files by what stands before the language: `{"train": ["train.en", "train.ja"]}`."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in source.files:
        stem, dot, ending = name.rpartition(".")
        if dot and is_language(ending) and PurePosixPath(stem).name:
            groups[stem].append(name)
    if source.file is not None:
        groups = {s: names for s, names in groups.items() if source.file in names}
    return {stem: names for stem, names in groups.items() if len(names) >= 2}


def match(source: Source) -> float:
    pairs = _pairs(source)
    if not pairs:
        return 0.0
    heads = [source.head(name, 4096) for name in next(iter(pairs.values()))]
    return 0.9 if all(heads) else 0.3


def _order(stem: str, languages: list[str]) -> list[str]:
    """Source and target: as a `de-en` in the name says, else by the alphabet."""
    for named in re.findall(r"(?<![a-zA-Z])([a-z]{2,3})[-_]([a-z]{2,3})(?![a-zA-Z])", stem):
        if set(named) <= set(languages):
            return list(named)
    return sorted(languages)[:2]


def read(source: Source) -> Dataset:
    pairs = _pairs(source)
    if not pairs:
        raise InputError(f"'{source.root}' has no files such as train.en and train.de")
    languages = sorted({n.rpartition(".")[2] for names in pairs.values() for n in names})
    chosen = _order(next(iter(pairs)), languages)
    if len(languages) > 2:
        source.note(f"languages {', '.join(languages)}: only {chosen[0]} to {chosen[1]} is read")
    examples: list[Example] = []
    parts: list[tuple[str, list[str], list[str], list[array[int]]]] = []
    size = 0
    for stem, names in sorted(pairs.items()):
        both = [f"{stem}.{language}" for language in chosen]
        if not set(both) <= set(names):
            source.note(f"{', '.join(names)}: not in both languages: left out")
            continue
        encodings, offsets = [], []
        for name in both:
            data = source.binary(name, 4 * MAX_TEXT)
            encoding = encoding_of(data, name)
            if encoding in WESTERN:
                source.report_encoding(name, data, encoding)
            if encoding.startswith("utf-16"):
                raise InputError(f"{name}: UTF-16: save parallel text as UTF-8")
            encodings.append(encoding)
            offsets.append(_lines(data))
            source.used.append(name)
            size += len(data)
        counts = [len(o) - 1 for o in offsets]
        if counts[0] != counts[1]:
            raise InputError(
                f"{both[0]} has {counts[0]} lines and {both[1]} {counts[1]}: they must have the same number"
            )
        parts.append((stem, both, encodings, offsets))
    if not parts:
        raise InputError(f"'{source.root}': no text in both {chosen[0]} and {chosen[1]}")

    def lines(part: int, start: int, stop: int) -> list[Example]:
        stem, both, encodings, offsets = parts[part]
        texts = []
        for name, encoding, at in zip(both, encodings, offsets, strict=True):
            with open(source.root / name, "rb") as file:
                file.seek(at[start])
                data = file.read(at[stop] - at[start])
            texts.append([decode(line, encoding).strip() for line in data.split(b"\n")[: stop - start]])
        split = split_in(PurePosixPath(stem).name) or split_in(PurePosixPath(stem).parent.name)
        return [
            Example(
                f"{both[0]}:{i}",
                {"translation": dict(zip(chosen, pair, strict=True))},
                f"{both[0]}:{i}",
                split,
            )
            for i, pair in enumerate(zip(*texts, strict=True), start + 1)
        ]

    starts = [0]
    codes = bytearray()
    for i, (_, _, _, offsets) in enumerate(parts):
        count = len(offsets[0]) - 1
        starts.append(starts[-1] + count)
        if size <= EAGER_BYTES:
            examples.extend(lines(i, 0, count))
        elif count:
            split = lines(i, 0, 1)[0].split
            codes.extend([SPLITS.index(split) + 1 if split else 0] * count)

    def some(start: int, stop: int) -> list[Example]:
        found = []
        for i in range(len(parts)):
            low, high = max(start, starts[i]), min(stop, starts[i + 1])
            if low < high:
                found.extend(lines(i, low - starts[i], high - starts[i]))
        return found

    kept = examples if size <= EAGER_BYTES else Lazy(some, starts[-1], codes)
    return source.dataset("moses", ("translation",), kept)


def _lines(data: bytes) -> array[int]:
    """Where each line begins, and where the last one ends."""
    starts = array("Q", [0])
    at = data.find(b"\n")
    while at >= 0:
        starts.append(at + 1)
        at = data.find(b"\n", at + 1)
    if starts[-1] != len(data):
        starts.append(len(data))
    return starts
