"""What a data set is once it has been read: examples with named fields."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, overload

Severity = Literal["error", "warning", "note"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Finding:
    """Something about a data set that its owner should know.

    Attributes:
        kind: what sort of fault, such as `box-without-area`.
        severity: `error` (training would be unwise), `warning` (look at it), `note` (good to know).
        where: file, and row where there is one.
        message: what is wrong there, and what becomes of it.
    """

    kind: str
    severity: Severity
    where: str
    message: str


@dataclass(frozen=True)
class Example:
    """One example of a data set.

    Attributes:
        id: what `splits.json` calls it: a relative path, or a row id such as `train.tsv:17`.
        fields: `image`, `label`, `labels`, `objects`, `audio`, `text`, `translation`, `frames`, `tracks`, `depth` ...
        where: file, and row where there is one, for messages.
        split: `train`, `val` or `test` where the format or a `splits.json` says so.
        group: patient, speaker, scene: never divided between splits.
    """

    id: str
    fields: dict[str, Any]
    where: str
    split: str | None = None
    group: str | None = None


class Lazy(Sequence[Example]):
    """Examples that are read from their files whenever they are asked for.

    Args:
        read: the examples from one position up to (not including) another.
        count: how many there are.
        split_of: the split of each, (0 none, 1 train, 2 val, 3 test).
    """

    def __init__(self, read: Callable[[int, int], list[Example]], count: int, split_of: bytearray) -> None:
        self.read = read
        self.total = count
        self.split_of = split_of

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return Selection(self, range(self.total)[index])
        at = range(self.total)[index]
        return self._split(self.read(at, at + 1)[0], at)

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, self.total, 1000):
            for i, example in enumerate(self.read(start, min(start + 1000, self.total)), start):
                yield self._split(example, i)

    def _split(self, example: Example, at: int) -> Example:
        code = self.split_of[at]
        split = SPLITS[code - 1] if code else None
        return example if example.split == split else replace(example, split=split)


class Selection(Sequence[Example]):
    """Some of the examples of a lazy sequence, by position."""

    def __init__(self, examples: Sequence[Example], positions: Sequence[int]) -> None:
        self.examples = examples
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return Selection(self.examples, self.positions[index])
        return self.examples[self.positions[index]]


@dataclass
class Dataset:
    """A data set that was recognised and read.

    Attributes:
        path: where it lies.
        format: name of the reader that understood it.
        fields: names of the fields that its examples have.
        examples: the examples, in a fixed order; read from disk when asked for where they are many.
        notes: what was understood, what was left out, and why.
        classes: the classes that the format itself declares, in its order (empty: only the examples tell).
        findings: faults that the reader met; `check` looks for more.
        annotations: the files besides pictures and sounds that the examples were read from.
    """

    path: Path
    format: str
    fields: tuple[str, ...]
    examples: Sequence[Example]
    notes: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    annotations: list[Path] = field(default_factory=list)

    def splits(self) -> dict[str, int]:
        """Number of examples in each split that is known."""
        if isinstance(self.examples, Lazy):
            counts = Counter(self.examples.split_of)
            return {name: counts[i] for i, name in enumerate(SPLITS, 1) if counts[i]}
        of = Counter(e.split for e in self.examples)
        return {name: of[name] for name in SPLITS if of[name]}

    def subset(self, split: str) -> Sequence[Example]:
        """The examples of one split: a list, or of a large data set a sequence that reads them when asked."""
        if isinstance(self.examples, Lazy):
            code = SPLITS.index(split) + 1 if split in SPLITS else -1
            return Selection(self.examples, [i for i, c in enumerate(self.examples.split_of) if c == code])
        return [e for e in self.examples if e.split == split]

    def fingerprint(self) -> str:
        """SHA-256 over the names of the examples, the sizes of their files, and the bytes of the annotations.

        It does not depend on where the data lies, on how it is divided into splits, or on the order of files
        on disk. Pictures and sounds count with name and size only, so that it stays quick.
        """
        total = hashlib.sha256()
        for path in sorted(self.annotations):
            total.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        if self.annotations and isinstance(self.examples, Lazy):
            total.update(str(len(self.examples)).encode())  # the rows are the annotations
            return total.hexdigest()
        for example in self.examples:
            total.update(example.id.encode("utf-8", "surrogateescape") + b"\0")
            for name in media_files(example):
                try:
                    size = Path(name).stat().st_size
                except OSError:
                    size = -1
                total.update(b"%d," % size)
        return total.hexdigest()


def media_files(example: Example) -> list[str]:
    """The pictures and sounds of an example: absolute paths."""
    known = ("image", "audio", "depth", "alpha", "target")
    found = [example.fields[name] for name in known if name in example.fields]
    return [*found, *example.fields.get("frames", ())]
