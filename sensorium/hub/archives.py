"""Package files from strangers (wheels, zip files, tarballs): members by safe names, written one by one.

Nothing is unpacked by the archive's own wishes: files are made new, with our own names and modes. An archive with a
member that would leave its folder, that is a link or a device, or whose name comes twice, is refused as a whole.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sensorium.errors import InputError
from sensorium.hub.found import Member

MEMBERS = 100_000
RATIO = 1100  # deflate cannot do better than 1032 to 1
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError, ValueError,
          OSError, NotImplementedError, RuntimeError)  # fmt: skip


def plain_name(name: str) -> bool:
    """Whether a member's name stays in its folder on every system."""
    parts = name.split("/")
    return (
        0 < len(name) < 1024
        and name.isprintable()
        and not any(c in name for c in '\\:*?"<>|')
        and not any(p in ("", ".", "..") or p.endswith((" ", ".")) for p in parts)
    )


@dataclass
class Package:
    """An opened package file."""

    members: list[Member]
    stream: Callable[[Member], IO[bytes]]
    where: str
    limit: int
    close: Callable[[], None]

    def take(self, member: Member, target: Path) -> None:
        """Write one member to a new file.

        Raises:
            InputError: it is damaged, or not of the size that the archive says.
        """
        count = 0
        try:
            with self.stream(member) as source, target.open("xb") as new:
                while block := source.read(1 << 20):
                    count += len(block)
                    if count > member.size:
                        raise InputError(f"{self.where}: '{member.name}' is larger than it claims; refused")
                    new.write(block)
        except DAMAGE as error:
            raise InputError(f"{self.where}: '{member.name}' is damaged: {str(error)[:100]}") from None
        if count != member.size:
            raise InputError(f"{self.where}: '{member.name}' is cut short")

    def read(self, member: Member, limit: int) -> bytes:
        """One small member."""
        if member.size > limit:
            raise InputError(f"{self.where}: '{member.name}' is larger than {limit >> 20} MB")
        try:
            with self.stream(member) as source:
                return source.read(limit)
        except DAMAGE as error:
            raise InputError(f"{self.where}: '{member.name}' is damaged: {str(error)[:100]}") from None


def open_package(path: Path, name: str, limit: int) -> Package:
    """Open a wheel, a zip file, or a tar file with or without compression.

    Raises:
        InputError: it is none of them, damaged, or one that a careless program would be hurt by.
    """
    with path.open("rb") as file:
        head = file.read(512)
    try:
        if head[:4] == b"PK\x03\x04":
            package = _zip(path, name, limit)
        elif head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\0" or head[257:262] == b"ustar":
            package = _tar(path, name, limit)
        else:
            raise InputError(f"{name}: neither a wheel nor a tarball")
    except DAMAGE as error:
        raise InputError(f"{name}: a package that is truncated or corrupt: {str(error)[:100]}") from None
    try:
        _check(package, path.stat().st_size)
    except InputError:
        package.close()
        raise
    return package


def _check(package: Package, stored: int) -> None:
    if len(package.members) > MEMBERS:
        raise InputError(f"{package.where}: more than {MEMBERS} files in this package")
    seen: set[str] = set()
    for member in package.members:
        if not plain_name(member.name):
            raise InputError(f"{package.where}: a member named '{member.name[:80]}' would leave its folder; refused")
        folded = unicodedata.normalize("NFC", member.name).casefold()
        if folded in seen:
            raise InputError(f"{package.where}: two members are named '{member.name[:80]}'; refused")
        seen.add(folded)
    total = sum(m.size for m in package.members)
    if total > package.limit or total > RATIO * max(stored, 1):
        raise InputError(f"{package.where}: claims {total >> 20} MB in {stored} bytes; refused")


def _zip(path: Path, where: str, limit: int) -> Package:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    members = []
    for entry in entries:
        if entry.is_dir():
            continue
        mode = entry.external_attr >> 16
        if mode & 0o170000 not in (0, 0o100000):
            raise InputError(f"{where}: '{entry.filename[:80]}' is a link or a device; refused")
        if entry.flag_bits & 1:
            raise InputError(f"{where}: '{entry.filename[:80]}' is encrypted")
        members.append(Member(entry.filename, entry.file_size, entry.filename))
    opened = zipfile.ZipFile(path)
    return Package(members, lambda m: opened.open(m.key), where, limit, opened.close)


def _unpacked(path: Path, where: str, limit: int) -> IO[bytes]:
    """The content of a compressed file, in a temporary one without a name.

    Raises:
        InputError: it is larger than the limit.
    """
    with path.open("rb") as file:
        head = file.read(6)
    kinds = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
    opener: Any = kinds.get(head[:2], open)
    made = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        with opener(path, "rb") as stream:
            while block := stream.read(1 << 20):
                made.write(block)
                if made.tell() > limit:
                    raise InputError(f"{where}: unpacks to more than is allowed; refused")
    except BaseException:
        made.close()
        raise
    made.seek(0)
    return made


def _tar(path: Path, where: str, limit: int) -> Package:
    """Names begin with one folder (`package/` of npm, `name-1.0/` of source packages), which is left out."""
    room = min(limit, RATIO * path.stat().st_size) + (1 << 20)
    unpacked = _unpacked(path, where, room)
    try:
        archive = tarfile.open(fileobj=unpacked, mode="r:")  # noqa: SIM115
        members = _tar_members(archive, where)
    except BaseException:
        unpacked.close()
        raise
    roots = {m.name.split("/", 1)[0] for m in members}
    if len(roots) == 1 and all("/" in m.name for m in members):
        members = [Member(m.name.split("/", 1)[1], m.size, m.key) for m in members]

    def stream(member: Member) -> IO[bytes]:
        found = archive.extractfile(member.key)
        if found is None:
            raise InputError(f"{where}: '{member.name}' is not a file")
        return found

    return Package(members, stream, where, limit, unpacked.close)


def _tar_members(archive: tarfile.TarFile, where: str) -> list[Member]:
    members = []
    for entry in archive:
        if entry.isdir():
            continue
        if not entry.isreg():
            raise InputError(f"{where}: '{entry.name[:80]}' is a link or a device; refused")
        members.append(Member(entry.name, entry.size, entry.name))
        if len(members) > MEMBERS:
            break
    return members
