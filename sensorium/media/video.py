"""Frames of a video, an animation, a folder or any series of pictures, one after the other in constant memory."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sensorium.errors import InputError, need
from sensorium.media import image as images

# Containers that are opened as videos, by their first bytes. Playlists and descriptions of streams are text, so that
# none of them gets to a decoder that would follow what they point to.
_MAGIC = (
    ("MP4 or MOV", re.compile(rb"....(ftyp|moov|mdat|wide|free|skip)", re.DOTALL)),
    ("Matroska or WebM", re.compile(rb"\x1a\x45\xdf\xa3")),
    ("AVI", re.compile(rb"RIFF....AVI ", re.DOTALL)),
    ("MPEG", re.compile(rb"\x00\x00\x01[\xb3\xba]")),
    ("MPEG-TS", re.compile(rb"G.{187}G", re.DOTALL)),
    ("Ogg", re.compile(rb"OggS")),
    ("FLV", re.compile(rb"FLV\x01")),
)
SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".flv"})


@dataclass(frozen=True)
class Frames:
    """A series of RGB pictures, read as one goes through it; one that lies in files can be gone through again.

    Attributes:
        source: a path, bytes, or an iterable of pictures (paths, PIL, arrays).
        rate: frames in a second, where it is known.
        count: number of frames, where it is known (for some videos an estimate).
    """

    source: Any
    rate: float | None = None
    count: int | None = None

    def __iter__(self) -> Iterator[Image.Image]:
        """The frames.

        Raises:
            InputError: a frame cannot be read, or the file ends too early.
        """
        if isinstance(self.source, (str, os.PathLike, bytes)):
            name = "the video given" if isinstance(self.source, bytes) else str(self.source)
            if _container(_head(self.source)):
                return _decode(self.source, name)
            return _animation(self.source, name)
        return (images.load(picture) for picture in self.source)


def frames(source: Any) -> Frames:
    """The frames of a source.

    Args:
        source: path or bytes of a video (needs the extra `video`) or an animated GIF, WebP or PNG; a folder of
            pictures, in the order of the numbers in their names; a list of pictures, or any iterable of them.

    Raises:
        InputError: there is no such file, or it is nothing that has frames.
        MissingError: reading videos needs a package that is not installed.
    """
    if isinstance(source, Frames):
        return source
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    if not isinstance(source, (str, os.PathLike, bytes)):
        if isinstance(source, Image.Image) or not isinstance(source, Iterable):
            raise InputError(f"frames are a video, a folder or a list of pictures, not {type(source).__name__}")
        return Frames(source, None, len(source) if hasattr(source, "__len__") else None)
    if not isinstance(source, bytes) and Path(source).is_dir():
        return _folder(Path(source))
    head = _head(source)
    if _container(head):
        name = "the video given" if isinstance(source, bytes) else str(source)
        video, rate, count = _open(source, name)
        video.release()
        return Frames(source, rate, count)
    images.size(source)  # says what is wrong with a file that is no picture either
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=images.FORMATS) as picture:
        duration = picture.info.get("duration") or 0
        return Frames(source, 1000 / duration if duration else None, getattr(picture, "n_frames", 1))


def numbered(name: str) -> list[Any]:
    """Key that sorts `frame10` after `frame9`."""
    return [int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", name)]


def _folder(folder: Path) -> Frames:
    found = [p for p in folder.iterdir() if p.suffix.lower() in images.SUFFIXES]
    if not found and (folder / "img1").is_dir():  # a sequence of MOTChallenge
        return _folder(folder / "img1")
    if not found:
        raise InputError(f"{folder}: there is no picture in this folder")
    return Frames(sorted(found, key=lambda p: numbered(p.name)), None, len(found))


def _head(source: Any) -> bytes:
    if isinstance(source, bytes):
        return source[:200]
    try:
        with Path(source).open("rb") as file:
            return file.read(200)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise InputError(f"{str(source)[:200]!r}: {reason}") from None


def _container(head: bytes) -> str | None:
    return next((name for name, magic in _MAGIC if magic.match(head)), None)


def _open(source: Any, name: str) -> tuple[Any, float | None, int | None]:
    """An opened video with its frame rate and number of frames."""
    cv2 = need("cv2", "video")
    # FFmpeg by name: other readers take file names for patterns or addresses. An absolute path has no scheme.
    given = io.BytesIO(source) if isinstance(source, bytes) else str(Path(source).absolute())
    video = cv2.VideoCapture(given, cv2.CAP_FFMPEG, [])
    if not video.isOpened():
        raise InputError(f"{name}: a video that cannot be decoded here, or damaged")
    width, height = (int(video.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > images.MAX_PIXELS:
        video.release()
        raise InputError(f"{name}: {width} x {height} is more than {images.MAX_PIXELS:,} pixels; make it smaller first")
    rate, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    known = math.isfinite(rate) and 0 < rate <= 1000
    return video, float(rate) if known else None, int(count) if 0 < count < 1e9 else None


def _decode(source: Any, name: str) -> Iterator[Image.Image]:
    video, _, count = _open(source, name)
    done = 0
    try:
        while True:
            there, pixels = video.read()
            if not there:
                break
            done += 1
            yield Image.fromarray(pixels[:, :, ::-1])
    finally:
        video.release()
    # The decoder tells the end from a damage in no way; MP4 says exactly how many frames there are.
    exact = _container(_head(source)) == _MAGIC[0][0]
    if done == 0 or (exact and count is not None and done < 0.9 * count):
        raise InputError(f"{name}: damaged: only {done} of {count or 'its'} frames can be read")


def _animation(source: Any, name: str) -> Iterator[Image.Image]:
    images.size(source)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=images.FORMATS) as picture:
        for i in range(getattr(picture, "n_frames", 1)):
            try:
                picture.seek(i)
                picture.load()
            except Exception:  # decoders raise errors of every kind on damaged data
                raise InputError(f"{name}: damaged at frame {i}") from None
            yield images.load(picture.copy())
