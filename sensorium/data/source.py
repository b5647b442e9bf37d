"""The files of a data set, and reading them with care: they may come from anybody.

Names that come out of annotation files are looked up in the listing of the folder, never joined to a path and
opened, so that no annotation can reach a file outside the data.
"""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from sensorium.data.examples import Dataset, Example, Finding, Severity
from sensorium.errors import InputError, check_path


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


IMAGES = frozenset(words(".jpg .jpeg .png .bmp .gif .webp .tif .tiff .ppm .pgm .pbm"))
SOUNDS = frozenset(words(".wav .flac .mp3 .ogg .opus .aiff .aif .au"))
TABLES = frozenset(words(".csv .tsv .tab .jsonl .ndjson"))

MAX_FILES = 5_000_000
MAX_DEPTH = 24
MAX_JSON = 1 << 30
MAX_XML = 16 << 20
MAX_TEXT = 256 << 20
NAMED = 500  # faults of one kind that are named one by one
WESTERN = ("cp1252", "latin-1")
LEFT_OUT = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini"))

SPLIT_WORDS = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val", "development": "val",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip


_FOLDER = re.compile(
    r"(?:(?:images?|imgs?|labels?|data|wavs?)[-_ ]?)?([a-z]+?)(?:[-_ ]?(?:\d+|set|data|images?|imgs?|clean|other))*"
)


def split_in(name: str) -> str | None:
    """The split that a name speaks of: `train2017`, `gap-development`, `x.test`; None: none, or several."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    found = {SPLIT_WORDS[w] for w in words if w in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def split_of_path(name: str) -> str | None:
    """The split that the folders of a relative path speak of, the highest first: `val2017/x.jpg`, `dev-clean/1/x.flac`.

    Only a folder whose whole name says so counts: `train_station` is no split.
    """
    for part in name.lower().split("/")[:-1]:
        found = _FOLDER.fullmatch(part)
        if found and found[1] in SPLIT_WORDS:
            return SPLIT_WORDS[found[1]]
    return None


def extension(name: str) -> str:
    """The extension of a file name, in small letters, with its dot."""
    return PurePosixPath(name).suffix.lower()


@dataclass
class Source:
    """A folder of data, or one file of it, and what was noticed while reading.

    Attributes:
        root: the folder, absolute and without links; for a single file the folder it lies in.
        file: the single file that was given, relative to `root`.
        wants: the fields that the task needs, where a task was named.
        notes: what readers have to say; findings: faults they met.
        used: the annotation files that were read.
    """

    root: Path
    file: str | None = None
    wants: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    counts: Counter[tuple[str, Severity]] = field(default_factory=Counter)

    @classmethod
    def of(cls, path: str | os.PathLike[str], wants: Iterable[str] = ()) -> Source:
        """Raises InputError where there is no such file or folder."""
        check_path(path)
        given = Path(path)
        try:
            real = given.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise InputError(f"there is no data at '{path}': check the path") from None
        if real.is_dir():
            return cls(real, None, frozenset(wants))
        if real.is_file():
            return cls(real.parent, real.name, frozenset(wants))
        raise InputError(f"'{path}' is neither a file nor a folder")

    @cached_property
    def files(self) -> list[str]:
        """All files below the root, as relative paths, sorted; no hidden ones, and no links to outside."""
        found: list[str] = []
        outside = 0
        folders = [("", 0)]
        while folders:
            folder, depth = folders.pop()
            try:
                entries = list(os.scandir(self.root / folder))
            except OSError as error:
                raise InputError(f"cannot read the folder '{self.root / folder}': {error.strerror}") from None
            for entry in entries:
                if entry.name.startswith(".") or entry.name in LEFT_OUT:
                    continue
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    if not self._link_stays(name):
                        outside += 1
                        continue
                    if entry.is_file():
                        found.append(name)
                elif entry.is_dir():
                    if depth < MAX_DEPTH:
                        folders.append((name, depth + 1))
                elif entry.is_file():
                    found.append(name)
            if len(found) > MAX_FILES:
                raise InputError(f"'{self.root}' holds more than {MAX_FILES:,} files: is it the right folder?")
        if outside and self.file is None:
            self.notes.append(f"{outside} links lead outside the data folder: left out (copy the files to use them)")
        return sorted(found, key=lambda name: name.split("/"))

    def _link_stays(self, name: str) -> bool:
        try:
            return (self.root / name).resolve(strict=True).is_relative_to(self.root)
        except (OSError, RuntimeError):
            return False

    @cached_property
    def listing(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def given(self) -> list[str]:
        """The files to be understood: the single one given, or all."""
        return [self.file] if self.file is not None else self.files

    @cached_property
    def by_basename(self) -> dict[str, str]:
        """Relative path of each file by its bare name; "" where several have that name."""
        found: dict[str, str] = {}
        for name in self.files:
            base = name.rsplit("/", 1)[-1]
            found[base] = "" if base in found else name
        return found

    @cached_property
    def images_by_stem(self) -> dict[str, str]:
        """The same by stem, for pictures."""
        found: dict[str, str] = {}
        for name in self.files:
            if extension(name) in IMAGES:
                stem = PurePosixPath(name).stem
                found[stem] = "" if stem in found else name
        return found

    def find(self, name: str, *bases: str, where: str) -> str | None:
        """The file that an annotation names, as a path relative to the root; None: there is none.

        Looked for below the root, below each of `bases`, and anywhere where the file's name occurs only once.

        Raises:
            InputError: the name leads out of the data folder.
        """
        name = name.strip().replace("\\", "/")
        if not name or "\0" in name:
            return None
        if name.startswith("/") or re.match(r"[A-Za-z]:/", name):
            inside = os.path.normpath(name)
            if not inside.startswith(str(self.root) + os.sep):
                raise InputError(
                    f"{where}: '{name}' lies outside the data folder: use paths relative to it, "
                    "or open the folder that holds both"
                )
            name = Path(inside).relative_to(self.root).as_posix()
        escapes = False
        for base in ("", *bases):
            candidate = os.path.normpath(f"{base}/{name}" if base else name).replace(os.sep, "/")
            if candidate == ".." or candidate.startswith("../"):
                escapes = True
            elif candidate in self.listing:
                return candidate
        alone = self.by_basename.get(name.rsplit("/", 1)[-1])
        if not alone and escapes:
            raise InputError(
                f"{where}: '{name}' leads out of the data folder: use paths that stay inside, "
                "or open the folder that holds both"
            )
        return alone or None

    def absolute(self, name: str) -> str:
        return f"{self.root}/{name}"

    def note(self, message: str) -> None:
        self.notes.append(message)

    def found(self, kind: str, severity: Severity, where: str, message: str) -> None:
        """Report a fault; beyond the first hundreds of a kind only their number is kept."""
        self.counts[kind, severity] += 1
        if self.counts[kind, severity] <= NAMED:
            self.findings.append(Finding(kind, severity, where, message))

    def dataset(
        self,
        format: str,
        fields: tuple[str, ...],
        examples: Sequence[Example],
        classes: Iterable[str] = (),
    ) -> Dataset:
        """What was read, with all that was noticed."""
        path = self.root / self.file if self.file is not None else self.root
        kinds: dict[str, Finding] = {}
        for finding in self.findings:
            kinds.setdefault(finding.kind, finding)
        for (kind, severity), count in self.counts.items():
            self.note(f"{count} x {kind}, such as {kinds[kind].where}: {kinds[kind].message}")
            if count > NAMED:
                self.findings.append(Finding(kind, severity, str(path), f"and {count - NAMED} more like these"))
        used = [self.root / name for name in dict.fromkeys(self.used)]
        return Dataset(path, format, fields, examples, self.notes, tuple(classes), self.findings, used)

    # Reading

    def head(self, name: str, size: int = 1 << 18) -> bytes:
        """The first bytes of a file; empty if it cannot be read."""
        try:
            with open(self.root / name, "rb") as file:
                return file.read(size)
        except OSError:
            return b""

    def binary(self, name: str, limit: int) -> bytes:
        try:
            with open(self.root / name, "rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror}") from None
        if len(data) > limit:
            raise InputError(f"{name}: larger than {limit >> 20} MB: split the file")
        return data

    def text(self, name: str, limit: int = MAX_TEXT) -> str:
        """The text of a file in whatever encoding it has; one that is not Unicode is reported."""
        data = self.binary(name, limit)
        encoding = encoding_of(data, name)
        if encoding in WESTERN:
            self.report_encoding(name, data, encoding)
        return decode(data, encoding)

    def lines(self, name: str, limit: int = MAX_TEXT) -> Iterator[tuple[str, str]]:
        """Where (`file:17`) and what is each line of a text that is not empty.

        Only a line feed ends a line: the other separators of Unicode may stand within a text.
        """
        for number, line in enumerate(self.text(name, limit).split("\n"), 1):
            if line.strip():
                yield f"{name}:{number}", line.rstrip("\r")

    def json_lines(self, name: str) -> Iterator[tuple[str, Any]]:
        """Where and what is each value of a file of JSON lines."""
        for where, line in self.lines(name):
            yield where, parse_json(line, where)

    def report_encoding(self, name: str, data: bytes, encoding: str) -> None:
        line = 1
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: its lines that are not are read as {encoding}; save it as UTF-8 and check its accents"
        self.found("encoding", "warning", f"{name}:{line}", message)

    def json(self, name: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
        """The value of a JSON file; `hook` sees each object as it is read, to keep only what is needed."""
        return parse_json(self.text(name, MAX_JSON), name, hook)

    def xml(self, name: str) -> ElementTree.Element:
        """The root element of an XML file. Declarations of types and entities are refused.

        Raises:
            InputError: it is not well-formed, too large, or declares a document type.
        """
        data = self.binary(name, MAX_XML)
        declared = re.match(rb"(?:\xef\xbb\xbf)?<\?xml[^>]*encoding=[\"']([\w.-]+)[\"']", data[:200])
        text = None
        if declared and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            try:
                text = data.decode(declared[1].decode())
            except (LookupError, UnicodeDecodeError):
                text = None
        text = (text if text is not None else decode(data, encoding_of(data, name))).lstrip("\ufeff")
        if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
            raise InputError(f"{name}: declares a document type or entities: remove the declaration")
        try:
            return ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError, RecursionError) as error:
            raise InputError(f"{name}: not well-formed XML: {error}") from None


def decode(data: bytes, encoding: str) -> str:
    """Text in the encoding that `encoding_of` found; in a Western one, each line that is valid UTF-8 is taken as that.

    Files that were put together from several sources have lines of both kinds.
    """
    if encoding not in WESTERN:
        return data.decode(encoding)
    lines = []
    for line in data.split(b"\n"):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(line.decode(encoding))
    return "\n".join(lines)


def encoding_of(data: bytes, name: str) -> str:
    """The encoding of a text: a byte-order mark, valid UTF-8, or UTF-16 by its zeros; else cp1252 or latin-1.

    Raises:
        InputError: it is none of these, or no text at all.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in data[:4096]:
        zeros_even, zeros_odd = data[:4096:2].count(0), data[1:4096:2].count(0)
        half = max(1, min(len(data), 4096) // 2)
        if zeros_odd > 0.3 * half and zeros_even < 0.05 * half:
            return "utf-16-le"
        if zeros_even > 0.3 * half and zeros_odd < 0.05 * half:
            return "utf-16-be"
        raise InputError(f"{name}: not a text file")
    try:
        data.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    high = len(data) - len(data.translate(None, bytes(range(128, 256))))
    if high > 0.25 * len(data):
        raise InputError(f"{name}: its encoding is neither Unicode nor latin-1: save the file as UTF-8")
    try:
        data.decode("cp1252")
        return "cp1252" if re.search(rb"[\x80-\x9f]", data) else "latin-1"
    except UnicodeDecodeError:
        return "latin-1"


def parse_json(text: str, where: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Raises InputError where it is not JSON, or nested too deeply."""
    try:
        return json.loads(text, object_hook=hook)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        raise InputError(f"{where}: not valid JSON: {error.msg}, {at}") from None
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply") from None
    except ValueError as error:  # integers of too many digits
        raise InputError(f"{where}: not valid JSON: {error}") from None
