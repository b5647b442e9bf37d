"""How large a picture becomes, by each family's rule, and where it lies in what is filled up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sensorium.errors import CallError, InputError
from sensorium.media import tiles
from sensorium.media.processors.families import FILE, resolve

MAX_PIXELS = 50_000_000  # of a picture after resizing


def size_of(value: Any, name: str, square: bool = True, longest: int | None = None) -> dict[str, int]:
    """A size in any of the ways in which configurations write it, as a dictionary."""
    if isinstance(value, Mapping):
        size = {k: int(v) for k, v in value.items() if v is not None}
    elif isinstance(value, (list, tuple)) and len(value) == 2:
        size = {"height": int(value[0]), "width": int(value[1])}
    elif isinstance(value, int) and square:
        size = {"height": value, "width": value}
    elif isinstance(value, int):
        size = {"shortest_edge": value} | ({"longest_edge": longest} if longest else {})
    else:
        raise CallError(f"{FILE}: '{name}' is no size: {value!r}")
    if any(not 1 <= edge <= 16384 for edge in size.values()):
        raise CallError(f"{FILE}: '{name}' is outside 1..16384: {value!r}")
    return size


def sides(options: Mapping[str, Any], name: str = "size") -> tuple[int, int]:
    """(width, height) of a size that has to name both."""
    size = size_of(options.get(name), name)
    if not {"height", "width"} <= size.keys():
        raise CallError(f"{FILE}: the '{name}' of '{options['kind']}' needs 'height' and 'width'")
    return size["width"], size["height"]


def crop_size(options: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height)."""
    value = options.get("crop_size")
    if isinstance(value, Mapping) and value.get("shortest_edge"):
        value = value["shortest_edge"]
    return sides({**options, "crop_size": value}, "crop_size")


def middle(width: int, height: int, crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the middle; negative where the picture is smaller than the crop."""
    left, top = (width - crop[0]) // 2, (height - crop[1]) // 2
    return left, top, left + crop[0], top + crop[1]


def resized_to(options: Mapping[str, Any], width: int, height: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """((width, height) to resize to, (width, height) of a crop that belongs to the family's resizing)."""
    (across, down), crop = _rule(options, width, height)
    if step := int(options.get("size_divisibility") or 0):  # of transformers.js
        across, down = (max(1, edge // step) * step for edge in (across, down))
    across, down = max(1, across), max(1, down)  # extreme shapes round to nothing
    if across * down > MAX_PIXELS:
        raise InputError(f"the picture would be resized to {across} x {down} pixels, which is too many")
    return (across, down), crop


def _rule(options: Mapping[str, Any], width: int, height: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    kind = options.get("resize", "")
    if kind == "glpn":
        step = int(options["size_divisor"])
        return (width // step * step, height // step * step), None
    if kind == "siglip2":
        return _patched(width, height, int(options["patch_size"]), int(options["max_num_patches"])), None
    if kind == "blocks":
        return tiles.whole_patches(width, height, options), None
    size = size_of(options.get("size"), "size", bool(options["square"]), options.get("max_size"))
    if kind == "pixtral":
        patch = size_of(options["patch_size"], "patch_size")
        most = (size.get("longest_edge") or size["width"], size.get("longest_edge") or size["height"])
        if (ratio := max(height / most[1], width / most[0])) > 1:
            width, height = math.floor(width / ratio), math.floor(height / ratio)
        return (
            math.ceil(width / patch["width"]) * patch["width"],
            math.ceil(height / patch["height"]) * patch["height"],
        ), None
    shortest, longest = size.get("shortest_edge"), size.get("longest_edge")
    if kind == "convnext":
        if shortest is None:
            raise CallError(f"{FILE}: a ConvNext 'size' needs 'shortest_edge'")
        if shortest >= 384:
            return (shortest, shortest), None
        return _shortest(width, height, int(shortest / options["crop_pct"])), (shortest, shortest)
    if kind == "poolformer" and options.get("crop_pct") is not None:
        edges = {int(e / options["crop_pct"]) for e in (shortest or size["height"], shortest or size["width"])}
        if len(edges) == 1:
            return _shortest(width, height, edges.pop()), None
        return (int(size["width"] / options["crop_pct"]), int(size["height"] / options["crop_pct"])), None
    if kind == "levit" and shortest:
        return _shortest(width, height, int((256 / 224) * shortest)), None
    if kind == "vilt" and shortest:
        return _vilt(width, height, shortest, int(options["size_divisor"])), None
    if kind == "textnet" and shortest:
        step = int(options["size_divisor"])
        across, down = _shortest(width, height, shortest)
        return (math.ceil(across / step) * step, math.ceil(down / step) * step), None
    if kind == "sam" and longest:
        scale = longest / max(width, height)
        return (int(width * scale + 0.5), int(height * scale + 0.5)), None
    if kind == "page":
        return _shortest(width, height, min(sides(options))), None
    if kind == "dpt":
        return multiple_of(width, height, options), None
    if shortest and longest:
        across, down = _between(width, height, shortest, longest, copy_equal=kind != "yolos")
        if kind == "yolos":
            across, down = across - across % 16, down - down % 16
    elif shortest:
        across, down = _shortest(width, height, shortest)
    elif "max_height" in size and "max_width" in size:
        scale = min(size["max_height"] / height, size["max_width"] / width)
        across, down = int(width * scale), int(height * scale)
    elif "height" in size and "width" in size:
        across, down = size["width"], size["height"]
    else:
        raise InputError(
            f"{FILE}: 'size' needs 'height' and 'width', 'shortest_edge', or 'max_height' and "
            f"'max_width'; it has {', '.join(size) or 'nothing'}"
        )
    if kind == "maskformer" and options["size_divisor"] > 0:
        step = int(options["size_divisor"])
        across, down = math.ceil(across / step) * step, math.ceil(down / step) * step
    return (across, down), None


def _shortest(width: int, height: int, edge: int) -> tuple[int, int]:
    if width <= height:
        return edge, int(edge * height / width)
    return int(edge * width / height), edge


def _between(width: int, height: int, shortest: int, longest: int, copy_equal: bool) -> tuple[int, int]:
    """DETR's rule: the shorter edge becomes `shortest`, unless the longer would exceed `longest`."""
    edge, exact = shortest, float(shortest)
    low, high = float(min(width, height)), float(max(width, height))
    if high / low * shortest > longest:
        exact = longest * low / high
        edge = round(exact)
    same = (height <= width and height == edge) or (width <= height and width == edge)
    if same and (copy_equal or width >= height):
        return width, height
    if width < height:
        return edge, int(exact * height / width)
    return int(exact * width / height), edge


def _vilt(width: int, height: int, shortest: int, step: int) -> tuple[int, int]:
    longest = int(1333 / 800 * shortest)
    scale = shortest / min(height, width)
    down, across = (shortest, scale * width) if height < width else (scale * height, shortest)
    if max(down, across) > longest:
        scale = longest / max(down, across)
        down, across = scale * down, scale * across
    return int(across + 0.5) // step * step, int(down + 0.5) // step * step


def multiple_of(width: int, height: int, options: Mapping[str, Any]) -> tuple[int, int]:
    """DPT's rule: edges that are multiples of a number, with the proportions kept or not."""
    wide, high = sides(options)
    multiple = options.get("ensure_multiple_of", 1)
    across, down = wide / width, high / height
    if options.get("keep_aspect_ratio"):  # scale as little as possible
        across = down = across if abs(1 - across) < abs(1 - down) else down
    return int(round(across * width / multiple) * multiple), int(round(down * height / multiple) * multiple)


def _patched(width: int, height: int, patch: int, most: int) -> tuple[int, int]:
    """SigLIP 2's rule: the largest picture of these proportions with at most so many whole patches."""

    def edges(scale: float) -> tuple[int, int]:
        across, down = (max(patch, math.ceil(edge * scale / patch) * patch) for edge in (width, height))
        return across, down

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        scale = (low + high) / 2
        across, down = edges(scale)
        if (down / patch) * (across / patch) <= most:
            low = scale
        else:
            high = scale
    return edges(low)


def padding(options: Mapping[str, Any], width: int, height: int) -> tuple[int, int, int, int] | None:
    """(left, top, whole width, whole height), or None where nothing is filled up."""
    kind = options.get("pad")
    if kind == "symmetric":
        if not options.get("do_pad", True):
            return None
        step = int(options["size_divisor"])
        return 0, 0, (width // step + 1) * step, (height // step + 1) * step
    if not options.get("do_pad"):
        return None
    if kind == "around":
        if not options.get("size_divisor"):
            return None
        step = int(options["size_divisor"])
        across, down = math.ceil(width / step) * step, math.ceil(height / step) * step
        return (across - width) // 2, (down - height) // 2, across, down
    if not options.get("pad_size"):
        return None  # to the largest of a batch, which one picture is by itself
    across, down = sides(options, "pad_size")
    if across < width or down < height:
        raise InputError(f"{FILE}: 'pad_size' {(across, down)} is smaller than the picture, {width} x {height}")
    return 0, 0, across, down


def border(config: Mapping[str, Any], width: int, height: int) -> tuple[int, int]:
    """Width and height of the mirrored border that is put around a picture of this size; (0, 0) for most families."""
    options = resolve(config)
    if "reflect" not in options["steps"] or not options.get("do_pad"):
        return 0, 0
    across, down = (int(np.sqrt(edge / 2) * 3) for edge in (width, height))
    return across, down
