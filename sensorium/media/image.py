"""Pictures: from a file to RGB pixels, and from pixels to the array that `preprocessor_config.json` describes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from sensorium.errors import InputError
from sensorium.media.processors import WHOLE as WHOLE
from sensorium.media.processors import Geometry as Geometry
from sensorium.media.processors import arrays as arrays
from sensorium.media.processors import border as border
from sensorium.media.processors import geometry as geometry
from sensorium.media.processors import preprocess as preprocess
from sensorium.media.processors import settings as settings

MAX_PIXELS = 50_000_000  # of one picture, checked before decoding: about 200 MB of memory
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others are ever opened
# Lower-case endings, for finding pictures in folders; decoding goes by content.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray


def load(source: Source | None) -> Image.Image:
    """A picture as 8-bit RGB, turned upright as its EXIF data says.

    Palettes are expanded, grey is repeated and CMYK converted, as Pillow does it; transparency is dropped, so the
    colours below transparent pixels show, as in Hugging Face pipelines. Of an animation or a file of several pages
    the first picture is taken. 16-bit grey keeps its upper 8 bits (Pillow alone would clip it to white).

    Args:
        source: a path, the bytes of a file, a PIL picture, or a uint8 array (H, W), (H, W, 1), (H, W, 3), (H, W, 4).

    Raises:
        InputError: there is no such file, it is no picture of a format in `FORMATS`, it is damaged, or it has
            more than `MAX_PIXELS` pixels.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _to_rgb(source, "the picture given")
    name, file = opened(source)
    with file, header(name, file) as image:
        picture = _to_rgb(image, name)
        if picture is image:
            picture = image.copy()
        picture.info = {}
        return picture


def size(source: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """(width, height) in pixels of the upright picture, read from the header without decoding it.

    Raises:
        InputError: as for `load`, as far as the header shows it.
    """
    name, file = opened(source)
    with file, header(name, file) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def values(source: str | os.PathLike[str] | bytes) -> np.ndarray:
    """The numbers in a picture of masks: (H, W) int32, the index of a palette or the grey value of each pixel.

    A colour is the number red + 256 green + 65536 blue, as in COCO's panoptic pictures.

    Raises:
        InputError: as for `load`.
    """
    name, file = opened(source)
    with file, header(name, file) as image:
        try:
            image.load()
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
                colours = np.asarray(image.convert("RGB")).astype(np.int32)
                return colours @ np.array([1, 256, 65536], np.int32)
            return np.asarray(image).astype(np.int32)
        except Exception:  # decoders raise errors of every kind on damaged data
            raise InputError(f"{name}: the picture is damaged or cut short") from None


def opened(source: Any) -> tuple[str, BinaryIO]:
    """(name for messages, file) of a path or of bytes.

    Raises:
        InputError: there is no such file, or it is empty.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not source:
            raise InputError("the picture given is empty (0 bytes)")
        return "the picture given", io.BytesIO(source)
    if source is None:
        raise InputError("a picture is needed, and none is given")
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"a picture is a path, bytes, a PIL image or an array, not {type(source).__name__}")
    path = Path(source)
    try:
        if not path.is_file():
            what = "is a folder, not a picture" if path.is_dir() else "there is no such file"
            raise InputError(f"{path}: {what}")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes)")
        return str(path), path.open("rb")
    except (OSError, ValueError) as error:  # no permission, a name with a null byte, too long a name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise InputError(f"{str(path)[:200]!r}: {reason}") from None


def header(name: str, file: BinaryIO) -> Image.Image:
    """A picture of which nothing but the header has been read.

    Raises:
        InputError: it is no picture of a format in `FORMATS`, or too large.
    """
    try:
        image = Image.open(file, formats=FORMATS)
        width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{name}: more than {MAX_PIXELS:,} pixels; make it smaller first") from None
    except Exception:  # Pillow's readers raise errors of every kind on broken headers
        raise InputError(
            f"{name}: not a picture that can be read here (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM), or damaged"
        ) from None
    _check_size(name, width, height)
    return image


def _check_size(name: str, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InputError(f"{name}: the picture has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: {width} x {height} is more than {MAX_PIXELS:,} pixels; make it smaller first")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """The first frame, upright, as RGB; the same object where nothing needs doing."""
    _check_size(name, *image.size)
    try:
        image.load()
        if _orientation(image) > 1:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
            image = image.convert("RGBA")  # the same colours as straight to RGB, without Pillow's warning
        return image if image.mode == "RGB" else image.convert("RGB")
    except Exception:  # decoders raise errors of every kind on damaged data
        raise InputError(f"{name}: the picture is damaged or cut short") from None


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF data: the picture itself may be sound
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise InputError(
            "a picture as an array is uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"not {array.dtype} {array.shape}"
        )
    _check_size("the picture given", array.shape[1], array.shape[0])
    if array.ndim == 3:
        array = array[:, :, 0] if array.shape[2] == 1 else array[:, :, :3]
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
