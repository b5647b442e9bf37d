"""Maps of depth: from a file, and as a picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import image

Depths = npt.NDArray[np.float32]

SUFFIXES = frozenset({".npy", ".png", ".tif", ".tiff"})


def load(path: str | os.PathLike[str]) -> Depths:
    """The depth of each pixel: (H, W) float32; 0 and what is not finite stand for unknown.

    An array (.npy) and a TIFF of real numbers are taken as they are; a picture of 16 bits has millimetres, as from
    most depth cameras, and becomes metres; one of 8 bits becomes 0..1.

    Raises:
        InputError: it is no map of depth.
    """
    if Path(path).suffix.lower() == ".npy":
        return _array(path)
    name, file = image.opened(path)
    with file, image.header(name, file) as picture:
        try:
            values = np.asarray(picture)
        except Exception:  # decoders raise errors of every kind on damaged data
            raise InputError(f"{name}: the picture is damaged or cut short") from None
        mode = picture.mode
    if values.ndim != 2 or mode == "P":
        raise InputError(f"{name}: a map of depth has one channel, this picture has the mode {mode}")
    if mode == "F":
        return np.asarray(values, np.float32)
    return values.astype(np.float32) / np.float32(1000 if mode.startswith("I") else 255)


def _array(path: str | os.PathLike[str]) -> Depths:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: no array that can be read: {str(error).splitlines()[0][:100]}") from None
    while values.ndim > 2 and 1 in (len(values), values.shape[-1]):
        values = values[0] if len(values) == 1 else values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise InputError(f"{path}: a map of depth is an array of numbers (H, W), not {values.dtype} {values.shape}")
    return np.asarray(values, np.float32)


def picture(depth: Depths) -> Image.Image:
    """8-bit grey, the least depth black and the largest white, as pipelines of Hugging Face show it."""
    low, high = depth.min(), depth.max()
    share = (depth - low) / (high - low) if high > low else np.zeros_like(depth)
    return Image.fromarray((share * 255).astype(np.uint8))
