"""Masks that data sets speak of: from a picture of class or object numbers, from outlines, or from run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.media import image
from sensorium.ops import masks


def load(described: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """Each mask as bool (height, width); a file that several lie in is read once.

    Args:
        described: each `file` and `value` (the number, or the colour, of its pixels: see `image.values`), or `size`
            (height, width) and `polygons` or `counts` as COCO has them.

    Raises:
        InputError: a file cannot be read, or a mask is none.
    """
    read: dict[str, np.ndarray] = {}
    found = []
    for mask in described:
        if "file" in mask:
            path = str(mask["file"])
            if path not in read:
                read[path] = image.values(path)
            found.append(read[path] == mask["value"])
            continue
        height, width = (int(v) for v in mask["size"])
        if not 0 < height * width <= image.MAX_PIXELS:
            raise InputError(f"a mask of {width} x {height} pixels is none, or too large")
        try:
            if "counts" in mask:
                found.append(masks.from_counts(mask["counts"], height, width))
            else:
                found.append(masks.from_polygons(mask["polygons"], height, width))
        except (TypeError, ValueError) as error:
            raise InputError(f"a mask of the data set cannot be read: {error}") from None
    return found
