"""LJSpeech: `metadata.csv` of `id|text|normalised text` lines beside `wavs/`. The normalised text is read."""

from __future__ import annotations

from pathlib import PurePosixPath

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import SOUNDS, Source, extension, split_in
from sensorium.errors import InputError


def _lists(source: Source) -> list[str]:
    """Files of `id|text` lines whose ids are sounds below."""
    stems = {PurePosixPath(n).stem for n in source.files if extension(n) in SOUNDS}
    found = []
    for name in source.given:
        if extension(name) in (".csv", ".txt") and stems:
            lines = source.head(name, 8192).decode("utf-8", "replace").lstrip("\ufeff").splitlines()[:20]
            lines = [line for line in lines if line.strip()][: max(1, len(lines) - 1)]
            ids = [PurePosixPath(line.split("|")[0].strip()) for line in lines if "|" in line]
            if ids and len(ids) == len(lines) and sum(i.name in stems or i.stem in stems for i in ids) * 2 >= len(ids):
                found.append(name)
    return found


def match(source: Source) -> float:
    return 0.92 if _lists(source) else 0.0


def read(source: Source) -> Dataset:
    lists = _lists(source)
    if not lists:
        raise InputError(f"'{source.root}' has no metadata.csv of 'id|text' lines that name sounds")
    examples: list[Example] = []
    named: set[str] = set()
    for name in lists:
        source.used.append(name)
        folder = str(PurePosixPath(name).parent)
        for where, line in source.lines(name):
            cells = [cell.strip() for cell in line.split("|")]
            path = _sound(source, cells[0], folder, where)
            if path is None:
                source.found("missing-file", "error", where, f"there is no sound '{cells[0]}': left out")
                continue
            text = (cells[2] if len(cells) > 2 and cells[2] else cells[1]) if len(cells) > 1 else ""
            named.add(path)
            if not text:
                source.found("sound-without-text", "warning", where, "has no text: left out")
                continue
            examples.append(Example(path, {"audio": source.absolute(path), "text": text}, where, split_in(name)))
    for name in source.files:
        if extension(name) in SOUNDS and name not in named:
            source.found("sound-without-text", "warning", name, f"is not in {lists[0]}: left out")
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise InputError(f"{example.where}: '{example.id}' is there twice")
        seen.add(example.id)
    return source.dataset("ljspeech", ("audio", "text"), examples)


def _sound(source: Source, name: str, folder: str, where: str) -> str | None:
    bases = [f"{folder}/{d}" for d in ("wavs", "wav", "audio", "")]
    for ending in ("", ".wav", ".flac", ".mp3", ".ogg"):
        if (found := source.find(name + ending, *bases, where=where)) and extension(found) in SOUNDS:
            return found
    return None
