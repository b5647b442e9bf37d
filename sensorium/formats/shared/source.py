"""A file that somebody gave us: its first bytes, its size, its content when asked for; and what it looks like."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sensorium.errors import InputError

HEAD = 8192  # bytes that recognition may look at
LIMIT = 4 << 30  # of a file that is read as a whole
TEXT_LIMIT = 64 << 20  # of a text that is parsed
ENTRIES = 500  # of a folder that is taken for a model's


@dataclass(frozen=True)
class File:
    """One file or folder, unopened.

    Attributes:
        path: where it is.
        head: its first `HEAD` bytes; empty for a folder.
        size: in bytes; 0 for a folder.
    """

    path: Path
    head: bytes
    size: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> File:
        """Raises InputError where there is nothing to read."""
        place = Path(path)
        try:
            if place.is_dir():
                return cls(place, b"", 0)
            if not place.is_file():
                raise InputError(f"{place}: no such file or folder")
            with place.open("rb") as file:
                return cls(place, file.read(HEAD), place.stat().st_size)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
            raise InputError(f"{str(place)[:200]}: {reason}") from None

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    @property
    def suffix(self) -> str:
        """The ending of the name, in lower case, with its dot: it may break a tie, never decide."""
        return self.path.suffix.lower()

    @cached_property
    def names(self) -> frozenset[str]:
        """Names in a folder; empty for a file."""
        if not self.is_folder:
            return frozenset()
        return frozenset(os.listdir(self.path))

    @cached_property
    def data(self) -> bytes:
        """The whole content.

        Raises:
            InputError: it is empty, too large, or cannot be read.
        """
        if self.is_folder:
            raise InputError(f"{self.path}: is a folder; name the files in it")
        if self.size > LIMIT:
            raise InputError(f"{self.path}: larger than {LIMIT >> 30} GB")
        if self.size == 0:
            raise InputError(f"{self.path}: the file is empty (0 bytes)")
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from None

    @cached_property
    def text(self) -> str:
        """The content as UTF-8 text (a stray byte is replaced: old files carry comments in any encoding).

        Raises:
            InputError: it is empty, too large, or not text.
        """
        if self.size > TEXT_LIMIT:
            raise InputError(f"{self.path}: larger than {TEXT_LIMIT >> 20} MB; too large for a text of its kind")
        if b"\0" in self.data:
            raise InputError(f"{self.path}: not a text: {nature(self)}")
        return self.data.decode("utf-8-sig", "replace")

    @property
    def looks_like_text(self) -> bool:
        head = self.head
        return bool(head) and b"\0" not in head and sum(b < 9 or 13 < b < 32 for b in head) * 50 < len(head)


# First bytes, and what begins with them.
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"Rar!", "a RAR archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "a program (ELF)"),
    (b"MZ", "a program (Windows)"),
    (b"GGUF", "a GGUF file"),
    (b"RIFF", "a RIFF file (sound, video or WebP)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was never fetched (git lfs pull)"),
)


def nature(file: File) -> str:
    """What a file looks like, for messages: `an HTML page`, `a PNG picture`, `empty (0 bytes)`."""
    if file.is_folder:
        return "a folder"
    head = file.head
    if not head:
        return "empty (0 bytes)"
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page (a saved login or error page?)"
    if start.startswith((b"<?xml", b"<")) and file.looks_like_text:
        return "an XML text"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle"
    if head[4:8] in (b"TFL3", b"ORTM", b"ET12"):
        return {b"TFL3": "a TFLite model", b"ORTM": "an ORT model", b"ET12": "an ExecuTorch program"}[head[4:8]]
    if start.startswith((b"{", b"[")) and file.looks_like_text:
        return "a text like JSON"
    return "a text" if file.looks_like_text else "binary data of an unknown kind"


@dataclass(frozen=True)
class Options:
    """What the caller knows that the files may not say.

    Attributes:
        outputs: names of the outputs wanted; empty for the format's own.
        shapes: shape of an input by its name, with the batch axis.
        image_size: (height, width) of the picture input.
        architecture: a file that describes the layers, for bare parameters.
        examples: shapes of the reference inputs, where some were given to check with: what an example looks like, while
            `shapes` is what the caller wants. Their names may have `_` for characters that archives cannot hold.
        answers: names of the reference outputs, written so: for graphs that do not say what their outputs are.
    """

    outputs: Sequence[str] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    architecture: Path | None = None
    examples: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    answers: Sequence[str] = ()

    def example(self, name: str) -> tuple[int, ...] | None:
        """The shape of the reference input of this name, if there is one."""
        found = self.examples.get(name, self.examples.get(re.sub(r"[^A-Za-z0-9_.-]", "_", name)))
        return tuple(found) if found is not None else None


def only(files: Iterable[File], what: str) -> File:
    """The one file of a kind.

    Raises:
        InputError: there is more than one.
    """
    found = list(files)
    if len(found) != 1:
        raise InputError(f"{found[1].path}: a second {what} beside {found[0].path}; give one")
    return found[0]
