"""Frames of a video, an animation, a folder or any series of pictures, one after the other in constant memory."""

from __future__ import annotations

import io
import itertools
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
            return _decode(self.source) if _container(_head(self.source)) else _animation(self.source)
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
        return Frames(source, None, len(source) if isinstance(source, Sized) else None)
    if not isinstance(source, bytes) and Path(source).is_dir():
        return _folder(Path(source))
    head = _head(source)
    if _container(head):
        with _opened(source) as (_, rate, count):
            return Frames(source, rate, count)
    images.size(source)  # says what is wrong with a file that is no picture either
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=images.FORMATS) as picture:
        _turn_to(picture, 0, source)  # some formats know their rate only then
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


@contextmanager
def _opened(source: Any) -> Iterator[tuple[Any, float | None, int | None]]:
    """An opened video with its frame rate and number of frames."""
    cv2 = need("cv2", "video")
    with tempfile.TemporaryDirectory() if isinstance(source, bytes) else nullcontext() as folder:
        path = Path(source).absolute() if folder is None else Path(folder, "video")
        if folder is not None:
            path.write_bytes(source)
        # FFmpeg by name: other readers take file names for patterns or addresses. An absolute path has no scheme.
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        try:
            yield video, *_checked(cv2, video, _name(source))
        finally:
            video.release()


def _checked(cv2: Any, video: Any, name: str) -> tuple[float | None, int | None]:
    """Frame rate and number of frames of a video that can be read and is not too large."""
    if not video.isOpened():
        raise InputError(f"{name}: a video that cannot be decoded here, or damaged")
    width, height = (int(video.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > images.MAX_PIXELS:
        raise InputError(f"{name}: {width} x {height} is more than {images.MAX_PIXELS:,} pixels; make it smaller first")
    rate, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    known = math.isfinite(rate) and 0 < rate <= 1000
    return float(rate) if known else None, int(count) if 0 < count < 1e9 else None


def _name(source: Any) -> str:
    return "the video given" if isinstance(source, bytes) else str(source)


def _decode(source: Any) -> Iterator[Image.Image]:
    done = 0
    with _opened(source) as (video, _, count):
        while True:
            there, pixels = video.read()
            if not there:
                break
            done += 1
            yield Image.fromarray(pixels[:, :, ::-1])
    # The decoder tells the end from a damage in no way; MP4 says exactly how many frames there are.
    exact = _container(_head(source)) == _MAGIC[0][0]
    if done == 0 or (exact and count is not None and done < 0.9 * count):
        raise InputError(f"{_name(source)}: damaged: only {done} of {count or 'its'} frames can be read")


def _animation(source: Any) -> Iterator[Image.Image]:
    images.size(source)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=images.FORMATS) as picture:
        for i in range(getattr(picture, "n_frames", 1)):
            _turn_to(picture, i, source)
            yield images.load(picture.copy())


def _turn_to(picture: Image.Image, number: int, source: Any) -> None:
    """Decode one picture of an animation."""
    try:
        picture.seek(number)
        picture.load()
    except Exception:  # decoders raise errors of every kind on damaged data
        raise InputError(f"{_name(source)}: damaged at frame {number}") from None


def write(path: str | os.PathLike[str], pictures: Iterable[Image.Image], rate: float | None = None) -> int:
    """Write pictures as a video: MP4 (needs the extra `video`), or GIF by the ending of the name.

    Args:
        pictures: all of the size of the first; taken one by one (a GIF is kept in memory until it is written).
        rate: frames in a second; 25 where it is not known.

    Returns:
        How many pictures it has.

    Raises:
        InputError: there is no picture, or this name cannot be written.
    """
    waiting = iter(pictures)
    first = next(waiting, None)
    if first is None:
        raise InputError(f"{path}: there is no picture to write")
    rate = rate or 25.0
    if Path(path).suffix.lower() == ".gif":
        rest = list(waiting)
        first.save(path, "GIF", save_all=True, append_images=rest, duration=round(1000 / rate), loop=0)
        return 1 + len(rest)
    if Path(path).suffix.lower() != ".mp4":
        raise InputError(f"{path}: videos are written as .mp4 or .gif")
    cv2 = need("cv2", "video")
    video = cv2.VideoWriter(str(Path(path).absolute()), cv2.VideoWriter_fourcc(*"mp4v"), rate, first.size)
    if not video.isOpened():
        raise InputError(f"{path}: a video cannot be written there")
    count = 0
    try:
        for picture in itertools.chain([first], waiting):
            count += 1
            video.write(np.asarray(picture.convert("RGB").resize(first.size))[:, :, ::-1])
    finally:
        video.release()
    return count
