"""What a user names on the command line, as things to answer: files, folders, patterns, standard input, text."""

from __future__ import annotations

import glob
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.errors import InputError
from sensorium.tasks import parts

ENDINGS = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    "audio": (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".m4a"),
}
TEXT_FILES = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".log")
TEXTS = frozenset(
    {
        "text",
        "label",
        "labels",
        "translation",
        "question",
        "context",
        "query",
        "passages",
        "prompt",
        "messages",
        "role",
        "content",
        "words",
        "sentences",
        "tokens",
        "word_boxes",
        "source_sentence",
    }
)
"""Fields of the data whose strings are the content itself."""


def expand(
    fields: Sequence[str], names: Iterable[str], further: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Any]]:
    """The sources that names on the command line stand for.

    Args:
        fields: what the task reads (`tasks.parts`): `image`, `audio`, `frames`, or else text; of several, the first is
            what the names stand for.
        names: files, folders, patterns such as `*.jpg`, `-` for standard input, or for text tasks the text itself. A
            file given to a text task is read line by line. For `frames`, a folder or a video is one source. For a task
            that takes several fields, a JSON object, or a file of such objects (.jsonl), has them all.
        further: the other fields, the same for all sources: the text itself, a text file, or JSON.

    Yields:
        (name to show, source for `Task.open`)

    Raises:
        InputError: a name stands for nothing.
    """
    if len(fields) == 1:
        for name in names:
            yield from _named(fields[0], name)
        return
    others = {field: _value(value) for field, value in (further or {}).items()}
    for name in names:
        if name.endswith(".jsonl") or name.lstrip().startswith("{"):
            rows = _named("text", name) if name.endswith(".jsonl") else [(name, name)]
            for shown, row in rows:
                if row.strip():
                    yield shown, {**others, **_object(row, shown)}
            continue
        if fields[0] not in ENDINGS and Path(name).suffix.lower() in TEXT_FILES and _is_file(name):
            yield name, {fields[0]: _value(name), **others}  # one text of several lines
            continue
        for shown, source in _named(fields[0], name):
            yield shown, {fields[0]: source, **others}


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{where[:80]}: not a JSON object") from None
    if not isinstance(found, dict):
        raise InputError(f"{where[:80]}: not a JSON object")
    return found


def _value(given: str) -> Any:
    """What a flag gives: the content of a text file, a JSON list or object, or the text itself."""
    if Path(given[:4096]).suffix.lower() in (*TEXT_FILES, ".json") and _is_file(given):
        try:
            given = Path(given).read_text("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{given}: not UTF-8 text") from None
    if given.lstrip().startswith(("[", "{")):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given


def _named(kind: str, name: str) -> Iterator[tuple[str, Any]]:
    """The sources of one kind that one name stands for."""
    if kind in ENDINGS:
        yield from _files(kind, name)
    elif kind == "frames":
        if not Path(name).exists():
            raise InputError(f"{name}: no such video or folder of frames")
        yield name, name
    elif kind == "series":  # a file of numbers is one source
        yield name, sys.stdin.read() if name == "-" else Path(name) if _is_file(name) else name
    elif name == "-":
        yield from _lines(sys.stdin, name)
    elif _is_file(name):
        with open(name, encoding="utf-8-sig") as lines:
            yield from _lines(lines, name)
    elif name and _is_folder(name):
        raise InputError(f"{name}: is a folder: name the files in it (a text goes through standard input, `-`)")
    elif Path(name).suffix.lower() in TEXT_FILES and not any(c.isspace() for c in name):
        raise InputError(f"{name}: no such file (a text that only looks like one goes through standard input, `-`)")
    else:
        yield name, name


def _lines(lines: Iterable[str], name: str) -> Iterator[tuple[str, str]]:
    """Where and what is each line of a text.

    Raises:
        InputError: there is none, or it is not UTF-8.
    """
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            yield f"{name}:{number}", line.rstrip("\n")
    except UnicodeDecodeError:
        raise InputError(f"{name}: not UTF-8 text") from None
    if not number:
        raise InputError(f"{name}: is empty: there is no text to read in it")


def _is_file(name: str) -> bool:
    try:
        return len(name) < 4096 and "\0" not in name and Path(name).is_file()
    except OSError:  # a long text is no file name
        return False


def _is_folder(name: str) -> bool:
    try:
        return len(name) < 4096 and "\0" not in name and Path(name).is_dir()
    except OSError:
        return False


def _files(kind: str, name: str) -> Iterator[tuple[str, Any]]:
    """Pictures or sounds that a name stands for."""
    if name == "-":
        yield "-", sys.stdin.buffer.read()
        return
    if not name:  # as an unset variable of a shell leaves it: not the folder we are in
        raise InputError(f"the name of the {kind} file is empty")
    path = Path(name)
    if path.is_dir():
        found = [str(p) for p in sorted(path.rglob("*")) if p.suffix.lower() in ENDINGS[kind] and p.is_file()]
        if not found:
            raise InputError(f"{name}: there is no {kind} file in this folder")
    elif path.exists():
        found = [name]
    else:
        found = sorted(glob.glob(name, recursive=True))
        if not found:
            raise InputError(f"{name}: no such file")
    for one in found:
        yield one, one


def example(task: Any) -> Any:
    """A made-up example for the first inference of a process; None where nothing is known of what the task reads."""
    from sensorium.media import made_up  # takes longer to import than the rest of this together

    known = {*ENDINGS, "frames", "video", "label", "series", "word_boxes", "boxes", "prompts", *TEXTS}
    return made_up.sources(task, 1, False)[0] if known >= set(parts(task)) else None


def labels(task: Any) -> list[str]:
    """The labels that a task's model knows, in order; empty where it has none."""
    found = getattr(task, "labels", None) or getattr(task, "id2label", None) or []
    if isinstance(found, Mapping):
        found = [found[k] for k in sorted(found, key=lambda k: (len(str(k)), str(k)))]
    return [str(label) for label in found] if isinstance(found, (list, tuple)) else []
