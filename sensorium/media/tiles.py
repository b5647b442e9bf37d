"""Pictures cut into tiles, each as large as a network takes one, as models do that are to see details."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError

Tiles = tuple[list[Image.Image], tuple[int, int]]
"""Tiles row by row, then the whole where there are several; rows and columns, (0, 0) where the picture is not cut."""

LONGEST = 4096
"""Of a picture that Idefics cuts, in pixels."""


def idefics(image: Image.Image, options: Mapping[str, Any], edges: Mapping[str, int]) -> Tiles:
    """Idefics 3 and SmolVLM: to a size, from there to whole tiles.

    Args:
        options: `do_resize`, `resample`, `do_image_splitting`, and `max_image_size`, the tile's.
        edges: `size`: `longest_edge`, or `height` and `width`.
    """
    resample = Image.Resampling(options["resample"])
    tile = int(options["max_image_size"]["longest_edge"])
    if options.get("do_resize"):
        image = image.resize(_within(*image.size, edges), resample)
    if not options.get("do_image_splitting"):
        return [image.resize((tile, tile), resample)], (0, 0)
    width, height = image.size
    aspect = width / height
    if width >= height:
        across = math.ceil(width / tile) * tile
        down = math.ceil(int(across / aspect) / tile) * tile
    else:
        down = math.ceil(height / tile) * tile
        across = math.ceil(int(down * aspect) / tile) * tile
    image = image.resize((across, down), resample)
    rows, columns = down // tile, across // tile
    if rows * columns == 1:
        return [image], (0, 0)
    return [*_cut(image, rows, columns), image.resize((tile, tile), resample)], (rows, columns)


def _within(width: int, height: int, edges: Mapping[str, int]) -> tuple[int, int]:
    """(width, height) for a longest edge, the other one even."""
    if "longest_edge" not in edges:
        return edges["width"], edges["height"]
    for longest in (edges["longest_edge"], LONGEST):
        aspect = width / height
        if longest is LONGEST and max(width, height) <= LONGEST:
            break
        if width >= height:
            width, height = longest, int(longest / aspect)
            height += height % 2
        else:
            width, height = int(longest * aspect), longest
            width += width % 2
        width, height = max(width, 1), max(height, 1)
    return width, height


def nearest_shape(image: Image.Image, options: Mapping[str, Any], edges: Mapping[str, int]) -> Tiles:
    """GOT-OCR 2 and InternVL: as many rows and columns of tiles as come nearest to the picture's shape.

    Args:
        options: `do_resize`, `resample`, `crop_to_patches`, `min_patches` and `max_patches`.
        edges: `size`: the tile's `height` and `width`.
    """
    resample = Image.Resampling(options["resample"])
    size = edges["width"], edges["height"]
    least, most = int(options["min_patches"]), int(options["max_patches"])
    if not options.get("crop_to_patches") or most < 2:
        return [image.resize(size, resample) if options.get("do_resize") else image], (0, 0)
    aspect, area = image.width / image.height, image.width * image.height
    shapes = [(w, h) for w in range(1, most + 1) for h in range(1, most + 1) if least <= w * h <= most]
    best, nearest = (1, 1), math.inf
    for across, down in sorted(shapes, key=lambda shape: shape[0] * shape[1]):
        distance = abs(aspect - across / down)
        # Of two that are equally near, the one with more tiles, unless these are twice as large as the picture.
        if distance < nearest or (distance == nearest and area > 0.5 * size[0] * size[1] * across * down):
            best, nearest = (across, down), distance
    columns, rows = best
    whole = image.resize((size[0] * columns, size[1] * rows), resample)
    if rows * columns == 1:
        return [whole], (0, 0)
    return [*_cut(whole, rows, columns), image.resize(size, resample)], (rows, columns)


def nearest_size(image: Image.Image, options: Mapping[str, Any], edges: Mapping[str, int]) -> Tiles:
    """LLaVA-NeXT and LLaVA-OneVision: the whole first, then tiles of the picture at the best of some sizes, on black.

    Args:
        options: `resample`, `image_grid_pinpoints` (heights and widths), and perhaps `crop_size`, the tile's.
        edges: `size`: of a tile as well.

    Raises:
        InputError: tiles would be resized and cropped once more.
    """
    resample = Image.Resampling(options["resample"])
    tile = edges.get("height", edges.get("shortest_edge", 0))
    crop = options.get("crop_size") if options.get("do_center_crop") else None
    crop = crop if crop is None or isinstance(crop, int) else int(crop["height"])
    if edges.get("width", tile) != tile or crop not in (None, tile):
        raise CallError(f"preprocessor_config.json: tiles of one side are known, not a 'size' of {dict(edges)}")
    down, across = best_size(image.width, image.height, options["image_grid_pinpoints"])
    if down % tile or across % tile:
        raise CallError(f"preprocessor_config.json: {down} x {across} pixels are not whole tiles of {tile}")
    wide, high = across / image.width, down / image.height
    if wide < high:
        inner = across, min(math.ceil(image.height * wide), down)
    else:
        inner = min(math.ceil(image.width * high), across), down
    page = Image.new("RGB", (across, down))
    page.paste(image.resize(inner, resample), ((across - inner[0]) // 2, (down - inner[1]) // 2))
    grid = down // tile, across // tile
    return [image.resize((tile, tile), resample), *_cut(page, *grid)], grid


def best_size(width: int, height: int, sizes: list[list[int]]) -> tuple[int, int]:
    """(height, width) among some at which most of a picture is seen and least is wasted."""

    def fit(size: list[int]) -> tuple[int, int]:
        down, across = size
        scale = min(across / width, down / height)
        seen = min(int(width * scale) * int(height * scale), width * height)
        return seen, seen - down * across

    down, across = max(sizes, key=fit)
    return int(down), int(across)


def _cut(image: Image.Image, rows: int, columns: int) -> list[Image.Image]:
    across, down = image.width // columns, image.height // rows
    places = [(across * column, down * row) for row in range(rows) for column in range(columns)]
    return [image.crop((left, top, left + across, top + down)) for left, top in places]


def whole_patches(width: int, height: int, options: Mapping[str, Any]) -> tuple[int, int]:
    """Qwen2-VL: (width, height) of whole blocks of patches, with about as many pixels as there are, within limits.

    Args:
        options: `patch_size`, `merge_size`, and `size`, whose edges are numbers of pixels (or as older files have it,
            `min_pixels` and `max_pixels`).

    Raises:
        InputError: the picture is too narrow, or the limits are none.
    """
    step = int(options["patch_size"]) * int(options["merge_size"])
    size = options["size"]
    least = int(options.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or 0)
    most = int(options.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels") or 0)
    if least < 1 or most < least:
        raise CallError(f"preprocessor_config.json: 'size' says how many pixels at least and at most, not {size!r}")
    if max(width, height) > 200 * min(width, height):
        raise InputError(f"a picture of {width} x {height} pixels is too narrow: at most 200 times as long as wide")
    across, down = round(width / step) * step, round(height / step) * step
    if across * down > most:
        scale = math.sqrt(width * height / most)
        return max(step, int(width / scale / step) * step), max(step, int(height / scale / step) * step)
    if across * down < least:
        scale = math.sqrt(least / (width * height))
        return math.ceil(width * scale / step) * step, math.ceil(height * scale / step) * step
    return across, down


def patches(pixels: np.ndarray, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Qwen2-VL: (3, H, W) as rows of patches, those of a block one after the other, and their grid.

    Returns:
        `pixel_values` (patches, 3 * frames * patch * patch), a picture being a film of equal frames, and
        `image_grid_thw` (1, 3): frames, rows and columns.
    """
    patch, merge = int(options["patch_size"]), int(options["merge_size"])
    down, across = pixels.shape[1] // patch, pixels.shape[2] // patch
    found = pixels.reshape(3, down // merge, merge, patch, across // merge, merge, patch)
    found = found.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
    found = np.repeat(found, int(options["temporal_patch_size"]), axis=5)
    return {
        "pixel_values": np.ascontiguousarray(found.reshape(down * across, -1)),
        "image_grid_thw": np.array([[1, down, across]], np.int64),
    }


def flattened(image: Image.Image, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Pix2Struct: as many whole patches as there may be, each with its row and column before its numbers.

    Args:
        options: `patch_size`, `max_patches`, `do_normalize` (by the picture's own mean and deviation), and `is_vqa`.

    Returns:
        `flattened_patches` (patches, 2 + patch * patch * 3), without rows that fill up.

    Raises:
        InputError: the question would have to be drawn above the picture.
    """
    if options.get("is_vqa"):
        raise InputError(
            "preprocessor_config.json: 'is_vqa' draws the question above the picture, which is not done here"
        )
    down, across = int(options["patch_size"]["height"]), int(options["patch_size"]["width"])
    most = int(options["max_patches"])
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
    if options.get("do_normalize"):
        pixels = (pixels - pixels.mean()) / max(pixels.std(), 1.0 / math.sqrt(pixels.size))
    scale = math.sqrt(most * (down / image.height) * (across / image.width))
    rows, columns = (max(min(int(scale * size), most), 1) for size in (image.height / down, image.width / across))
    size = columns * across, rows * down
    each = [Image.fromarray(channel).resize(size, Image.Resampling.BILINEAR) for channel in pixels]
    found = np.stack([np.asarray(channel) for channel in each], axis=-1)
    found = found.reshape(rows, down, columns, across, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
    places = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1) + 1
    return {"flattened_patches": np.concatenate([places, found], axis=1).astype(np.float32)}
