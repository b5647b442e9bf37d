"""Boxes as annotation files give them: which can be used, and what is wrong with the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sensorium.data.source import Source
from sensorium.errors import InputError
from sensorium.media import image


def picture_size(path: str) -> tuple[int, int]:
    """Width and height of a picture as it is seen, from its header; (0, 0) where it cannot be opened."""
    try:
        return image.size(path)
    except InputError:
        return 0, 0


def usable_box(edges: Sequence[Any], size: tuple[int, int], source: Source, where: str) -> list[float] | None:
    """A box (xmin, ymin, xmax, ymax) in pixels, cut at the border of the picture; None: it cannot be used.

    What is wrong is reported to `source`; a box that reaches over the border by no more than a pixel is not.

    Args:
        edges: four numbers, or texts of numbers.
        size: width and height of the picture; (0, 0) where they are not known.
    """
    try:
        xmin, ymin, xmax, ymax = (float(e) for e in edges)
    except (TypeError, ValueError, OverflowError):
        source.found("box-invalid", "warning", where, "its box is not four numbers: left out")
        return None
    shown = f"({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g})"
    if not all(math.isfinite(e) for e in (xmin, ymin, xmax, ymax)):
        source.found("box-invalid", "warning", where, f"box {shown} is not finite: left out")
        return None
    if xmax < xmin or ymax < ymin:
        source.found("box-inverted", "warning", where, f"box {shown} ends before it begins: left out")
        return None
    if xmax == xmin or ymax == ymin:
        source.found("box-without-area", "warning", where, f"box {shown} has no area: left out")
        return None
    width, height = size
    if width <= 0 or height <= 0:
        return [xmin, ymin, xmax, ymax]
    if xmin >= width or ymin >= height or xmax <= 0 or ymax <= 0:
        source.found(
            "box-outside",
            "warning",
            where,
            f"box {shown} lies outside the picture of {width}x{height}: left out",
        )
        return None
    if xmin < -1 or ymin < -1 or xmax > width + 1 or ymax > height + 1:
        source.found(
            "box-over-border",
            "warning",
            where,
            f"box {shown} reaches out of the picture of {width}x{height}: cut",
        )
    return [max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height))]
