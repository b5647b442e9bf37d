"""Data sets on disk: one reader per format, to examples with the field names of Hugging Face data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Example:
    """One example of a data set.

    Attributes:
        id: what `splits.json` calls it: a relative path, or a row id such as `train.tsv:17`.
        fields: `image`, `label`, `labels`, `objects`, `audio`, `text`, `translation`, `frames`, `tracks`.
        where: file, and row where there is one, for messages.
        split: `train`, `val` or `test` where the format or a `splits.json` says so.
        group: patient, speaker, scene: never divided between splits.
    """

    id: str
    fields: dict[str, Any]
    where: str
    split: str | None = None
    group: str | None = None


@dataclass
class Dataset:
    """A data set that was recognised and read.

    Attributes:
        path: where it lies.
        format: name of the reader that understood it.
        fields: names of the fields that its examples have.
        examples: the examples, in a fixed order.
        notes: what was left out, and why.
    """

    path: Path
    format: str
    fields: tuple[str, ...]
    examples: Sequence[Example]
    notes: list[str] = field(default_factory=list)

    def splits(self) -> dict[str, int]:
        """Number of examples in each split that is known."""
        counts: dict[str, int] = {}
        for example in self.examples:
            if example.split is not None:
                counts[example.split] = counts.get(example.split, 0) + 1
        return counts

    def subset(self, split: str) -> list[Example]:
        """The examples of one split."""
        return [e for e in self.examples if e.split == split]
