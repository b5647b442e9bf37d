"""Pictures decoded once: RGB pixels of limited size in a folder of their own, mapped into memory when needed.

An entry is named after its picture's path, size, time of change and the limit, so a changed picture is read anew. It
is written beside its place and renamed into it, and carries a checksum: one that a crash has spoilt is made again.
A full disk costs speed, nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import mmap
import os
import struct
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.files import user_cache
from sensorium.media import image

DAYS = 30  # entries older than this are removed
_HEAD = struct.Struct("<8sIIII")  # mark, height, width, checksum, nothing
_MARK = b"SENSPIX1"


def folder() -> Path:
    """Where the entries are: in `$SENSORIUM_CACHE`, or else in the user's cache directory."""
    given = os.environ.get("SENSORIUM_CACHE")
    try:
        base = Path(given) if given else user_cache() / "sensorium"
    except InputError:  # no home: it lasts as long as this training
        base = Path(tempfile.mkdtemp(prefix="sensorium-"))
    return base / "pictures"


def pixels(path: str | os.PathLike[str], *, shortest: int | None = None, longest: int | None = None) -> np.ndarray:
    """The picture in this file as uint8 (H, W, 3), not to be written to.

    Args:
        shortest: shrink it, keeping its shape, until its shorter side has so many pixels; never enlarge it.
        longest: the same for its longer side.

    Raises:
        InputError: it cannot be read.
    """
    path = os.fspath(path)
    try:
        found = os.stat(path)
    except OSError:
        image.load(path)  # says what is wrong
        raise
    key = f"{os.path.abspath(path)}\0{found.st_size}\0{found.st_mtime_ns}\0{shortest}\0{longest}"
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    entry = _prepared() / name[:2] / name
    array = _read(entry)
    if array is None:
        array = np.asarray(shrink(image.load(path), shortest=shortest, longest=longest))
        _write(entry, array)
    return array


def shrink(picture: Image.Image, *, shortest: int | None = None, longest: int | None = None) -> Image.Image:
    """The picture within these limits, see `pixels`."""
    factors = [1.0]
    if shortest is not None:
        factors.append(shortest / min(picture.size))
    if longest is not None:
        factors.append(longest / max(picture.size))
    factor = min(factors)
    if factor == 1.0:
        return picture
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.BICUBIC)


@functools.cache
def _prepared() -> Path:
    """The folder, rid of old entries, once per process."""
    root = folder()
    limit = time.time() - DAYS * 86400
    with contextlib.suppress(OSError):  # somebody else is tidying up, or it cannot be read: nothing depends on it
        for entry in root.glob("??/*"):
            if entry.stat().st_mtime < limit:
                entry.unlink(missing_ok=True)
    return root


def _read(entry: Path) -> np.ndarray | None:
    """The pixels of a sound entry, or None."""
    try:
        with entry.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # not there, or empty
        return None
    if len(mapped) < _HEAD.size:
        return None
    mark, height, width, checksum, _ = _HEAD.unpack_from(mapped)
    if mark != _MARK or len(mapped) != _HEAD.size + height * width * 3:
        return None
    array = np.frombuffer(mapped, np.uint8, offset=_HEAD.size).reshape(height, width, 3)
    return array if zlib.crc32(array) == checksum else None


def _write(entry: Path, array: np.ndarray) -> None:
    temporary = entry.with_name(f"{entry.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(_HEAD.pack(_MARK, *array.shape[:2], zlib.crc32(np.ascontiguousarray(array)), 0))
            file.write(np.ascontiguousarray(array))
        temporary.replace(entry)
    except OSError:  # no room, or no right to write
        with contextlib.suppress(OSError):
            temporary.unlink()
