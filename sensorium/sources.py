"""What a user names on the command line, as things to answer: files, folders, patterns, standard input, text."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sensorium.errors import InputError

ENDINGS = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    "audio": (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".m4a"),
}
TEXTS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".log")


def expand(kind: str, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The sources that names on the command line stand for.

    Args:
        kind: what the task reads (`Task.source`): `image`, `audio`, `frames`, or else text.
        names: files, folders, patterns such as `*.jpg`, `-` for standard input, or for text tasks the text itself. A
            file given to a text task is read line by line. For `frames`, a folder or a video is one source.

    Yields:
        (name to show, source for `Task.open`)

    Raises:
        InputError: a name stands for nothing.
    """
    for name in names:
        if kind in ENDINGS:
            yield from _files(kind, name)
        elif kind == "frames":
            if not Path(name).exists():
                raise InputError(f"{name}: no such video or folder of frames")
            yield name, name
        elif name == "-":
            for number, line in enumerate(sys.stdin, 1):
                yield f"-:{number}", line.rstrip("\n")
        elif _is_file(name):
            try:
                with open(name, encoding="utf-8") as lines:
                    for number, line in enumerate(lines, 1):
                        yield f"{name}:{number}", line.rstrip("\n")
            except UnicodeDecodeError:
                raise InputError(f"{name}: not UTF-8 text") from None
        elif Path(name).suffix.lower() in TEXTS and not any(c.isspace() for c in name):
            raise InputError(f"{name}: no such file (a text that only looks like one goes through standard input, `-`)")
        else:
            yield name, name


def _is_file(name: str) -> bool:
    try:
        return len(name) < 4096 and "\0" not in name and Path(name).is_file()
    except OSError:  # a long text is no file name
        return False


def _files(kind: str, name: str) -> Iterator[tuple[str, Any]]:
    """Pictures or sounds that a name stands for."""
    if name == "-":
        yield "-", sys.stdin.buffer.read()
        return
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
