"""What a place says of a model, before it is fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Member:
    """One file: its name as users see it, its size, and how its place calls it."""

    name: str
    size: int
    key: str


@dataclass
class Found:
    """A package or a set of files.

    Attributes:
        name, version: as the place calls it.
        shown: the address, without passwords.
        licence: as the place says; None for what the package itself says.
        members: the files, where they can be fetched one by one with `take`.
        archive: fetches the package where they cannot; the path of a file whose hash was compared. A place has one of
            the two.
        checked: hashes that the place gave, and that were compared.
        single: everything in it is wanted where nothing is named.
        leftovers: downloads to delete when all went well.
    """

    name: str
    version: str
    shown: str
    licence: str | None = None
    members: list[Member] | None = None
    take: Callable[[Any, Member, Path], None] | None = None
    archive: Callable[[Any], Path] | None = None
    checked: dict[str, str] = field(default_factory=dict)
    single: bool = False
    leftovers: list[Path] = field(default_factory=list)
