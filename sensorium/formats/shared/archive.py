"""Zip files from strangers: members listed and read, never unpacked to disk."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from sensorium.errors import InputError
from sensorium.formats.shared.source import LIMIT, File

MEMBERS = 20_000
DAMAGE = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError)
PIECE = 1 << 22
RATIO = 1100  # deflate cannot do better than 1032 to 1


class Archive:
    """The members of a zip file, or of one that lies within it.

    Args:
        file: the zip file.
        data: the content of a zip file in it.

    Raises:
        InputError: it is cut short, not a zip file, or built to exhaust its reader.
    """

    def __init__(self, file: File, data: bytes | None = None) -> None:
        self.file = file
        try:
            self._zip = zipfile.ZipFile(file.path if data is None else io.BytesIO(data))
            members = self._zip.infolist()
        except DAMAGE as error:
            raise InputError(f"{file.path}: a zip file that is truncated or corrupt: {str(error)[:120]}") from None
        if len(members) > MEMBERS:
            raise InputError(f"{file.path}: more than {MEMBERS} members in this zip file")
        names = [m.filename for m in members]
        if len(set(names)) != len(names):
            raise InputError(f"{file.path}: two members of this zip file have the same name; refused")
        for name in names:
            if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
                raise InputError(f"{file.path}: a member named '{name[:80]}' would lie outside its folder; refused")
        self.sizes = {m.filename: m.file_size for m in members}

    @property
    def names(self) -> list[str]:
        return list(self.sizes)

    def find(self, ending: str) -> str | None:
        """The first member whose path is, or ends in, this one."""
        return next((n for n in self.names if n == ending or n.endswith("/" + ending)), None)

    def read(self, name: str, limit: int = LIMIT) -> bytes:
        """One member's content.

        Raises:
            InputError: it is missing, larger than `limit`, or does not unpack.
        """
        try:
            member = self._zip.getinfo(name)
        except KeyError:
            raise InputError(f"{self.file.path}: no '{name}' in this zip file") from None
        if member.file_size > limit:
            raise InputError(f"{self.file.path}: '{name}' claims {member.file_size} bytes; refused")
        data = b"".join(self._pieces(member))
        if len(data) > limit:
            raise InputError(f"{self.file.path}: '{name}' is larger than it claims; refused")
        return data

    def check(self) -> None:
        """Compare the checksum of every member.

        Raises:
            InputError: one is damaged.
        """
        for member in self._zip.infolist():
            for _ in self._pieces(member):
                pass

    def _pieces(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """The content of a member, as much of it as it claims and a little more."""
        if member.file_size > RATIO * max(1, member.compress_size):
            raise InputError(f"{self.file.path}: '{member.filename}' claims {member.file_size} bytes; refused")
        left = member.file_size + 1
        try:
            with self._zip.open(member) as stream:
                while left > 0 and (piece := stream.read(min(left, PIECE))):
                    left -= len(piece)
                    yield piece
        except (
            zipfile.BadZipFile,
            OSError,
            ValueError,
            NotImplementedError,
            EOFError,
            RuntimeError,
            zlib.error,
        ) as error:
            raise InputError(
                f"{self.file.path}: '{member.filename}' is truncated or corrupt: {str(error)[:120]}"
            ) from None


def open_zip(file: File) -> Archive:
    """See `Archive`."""
    return Archive(file)
