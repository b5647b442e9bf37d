"""Changes to an example that keep its meaning: the picture and its boxes, before `prepare`.

Pictures are uint8 arrays (H, W, 3); boxes are (N, 4) float [xmin, ymin, xmax, ymax] in pixels, as the data has them.
Every random number comes from the generator given, so that a resumed run sees the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]
GREY: Colour = (114, 114, 114)


def crop(
    image: np.ndarray,
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    area: tuple[float, float] = (0.35, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """A random part of the picture, resized (with antialiasing) to `size`.

    Args:
        size: (width, height) of the result.
        area: share of the picture that the part covers.
        ratio: width / height of the part, relative to that of `size`.
    """
    height, width = image.shape[:2]
    wanted = rng.uniform(*area) * width * height
    shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]))) * size[0] / size[1]
    across, down = min(width, math.sqrt(wanted * shape)), min(height, math.sqrt(wanted / shape))
    left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
    return resize(image, size, (left, top, left + across, top + down))


def resize(
    image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """The picture, or the part of it in `box`, resized to (width, height)."""
    if box is None and (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, box))


def flip(image: np.ndarray, boxes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Left and right exchanged. Only where that keeps the meaning: not for text, hands, traffic signs."""
    if boxes is not None:
        boxes = boxes.copy()
        boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
    return np.ascontiguousarray(image[:, ::-1]), boxes


def affine(
    image: np.ndarray,
    boxes: np.ndarray | None,
    rng: np.random.Generator,
    *,
    size: tuple[int, int] | None = None,
    rotate: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    ratio: tuple[float, float] = (1.0, 1.0),
    shear: float = 0.0,
    translate: float = 0.0,
    mirror: float = 0.0,
    fill: Colour | None = GREY,
    visible: float = 0.3,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """A random turn, zoom, shear and shift about the middle, in one pass of bilinear sampling.

    Args:
        boxes: (N, 4), or None.
        size: (width, height) of the result; that of the picture by default. The picture is fitted into it first,
            keeping its shape.
        rotate, shear: largest angle in degrees, either way.
        scale: least and largest zoom.
        ratio: least and largest stretch of width against height.
        translate: largest shift either way, as a share of the result's sides.
        mirror: probability of exchanging left and right.
        fill: the colour beyond the picture's edge; None for that of its outermost pixels.
        visible: a box of which less than this share of the area remains inside is dropped.

    Returns:
        (the picture, the boxes that remain, clipped to it, the indices of these boxes).
    """
    height, width = image.shape[:2]
    across, down = size or (width, height)
    fit = min(across / width, down / height)
    angle = math.radians(rng.uniform(-rotate, rotate))
    zoom = fit * math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    stretch = math.sqrt(math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]))))
    slant_x, slant_y = (math.tan(math.radians(rng.uniform(-shear, shear))) for _ in range(2))
    shift = (rng.uniform(-translate, translate) * across, rng.uniform(-translate, translate) * down)
    sign = -1.0 if rng.random() < mirror else 1.0

    cos, sin = math.cos(angle), math.sin(angle)
    forward = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, slant_x], [slant_y, 1.0]])
    forward = forward @ np.diag([sign * zoom * stretch, zoom / stretch])
    middle = np.array([width / 2, height / 2])
    target = np.array([across / 2 + shift[0], down / 2 + shift[1]])
    offset = target - forward @ middle

    source = image
    if zoom < 0.5:  # bilinear sampling skips pixels when it shrinks that much: shrink with antialiasing first
        share = (max(1, round(width * zoom * 1.5)), max(1, round(height * zoom * 1.5)))
        source = resize(image, share)
    ratio_x, ratio_y = source.shape[1] / width, source.shape[0] / height
    back = np.linalg.inv(forward)
    origin = -back @ offset
    data = (
        back[0, 0] * ratio_x,
        back[0, 1] * ratio_x,
        origin[0] * ratio_x,
        back[1, 0] * ratio_y,
        back[1, 1] * ratio_y,
        origin[1] * ratio_y,
    )
    paper = fill if fill is not None else edge_colour(source)
    turned = np.asarray(
        Image.fromarray(source).transform(
            (across, down), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=paper
        )
    )
    if boxes is None:
        return turned, None, np.zeros(0, int)
    moved = _move(np.asarray(boxes, float).reshape(-1, 4), forward, offset)
    kept, indices = clip(moved, across, down, visible)
    return turned, kept, indices


def _move(boxes: np.ndarray, forward: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The upright boxes around the boxes moved: (N, 4)."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) @ forward.T + offset
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def clip(boxes: np.ndarray, width: int, height: int, visible: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """(the boxes cut at the picture's edges, the indices of those of which enough remains)."""
    inside = boxes.copy()
    inside[:, [0, 2]] = inside[:, [0, 2]].clip(0, width)
    inside[:, [1, 3]] = inside[:, [1, 3]].clip(0, height)
    sides = inside[:, 2:] - inside[:, :2]
    before = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-9), axis=1)
    kept = (np.prod(sides, axis=1) >= visible * before) & (sides > 1).all(axis=1)
    return inside[kept], np.flatnonzero(kept)


def edge_colour(image: np.ndarray) -> Colour:
    """The mean colour of the outermost pixels: what the picture's background most likely is."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    red, green, blue = (round(float(v)) for v in edge.mean(axis=0))
    return red, green, blue


def colour(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.3,
    hue: float = 0.0,
) -> np.ndarray:
    """Other light: brightness, contrast, saturation and hue changed, all in one linear step.

    Args:
        brightness, contrast, saturation: largest relative change, either way.
        hue: largest turn of the colour circle, either way, as a share of it (0.5 is all of it).
    """
    gain = 1 + rng.uniform(-contrast, contrast)
    light = 1 + rng.uniform(-brightness, brightness)
    colourful = 1 + rng.uniform(-saturation, saturation)
    turn = 2 * math.pi * rng.uniform(-hue, hue)
    cos, sin = colourful * math.cos(turn), colourful * math.sin(turn)
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    matrix = np.linalg.inv(to_yiq) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ to_yiq
    # Contrast about the picture's own mean, so that a dark picture does not become darker by it.
    middle = float(image[:: max(1, image.shape[0] // 16), :: max(1, image.shape[1] // 16)].mean())
    bias = light * middle * (1 - gain)
    rows = np.concatenate([light * gain * matrix, np.full((3, 1), bias)], axis=1)
    return np.asarray(Image.fromarray(image).convert("RGB", tuple(rows.ravel().tolist())))


def erase(
    image: np.ndarray, rng: np.random.Generator, *, area: tuple[float, float] = (0.02, 0.2), fill: Colour | None = None
) -> np.ndarray:
    """A rectangle covered: with one colour, or with noise."""
    height, width = image.shape[:2]
    covered = rng.uniform(*area) * width * height
    shape = math.exp(rng.uniform(-1, 1))
    across = max(1, min(width, round(math.sqrt(covered * shape))))
    down = max(1, min(height, round(math.sqrt(covered / shape))))
    left, top = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
    result = image.copy()
    noise = rng.integers(0, 256, (down, across, 3), np.uint8)
    result[top : top + down, left : left + across] = noise if fill is None else fill
    return result


def mosaic(
    images: Sequence[np.ndarray],
    boxes: Sequence[np.ndarray],
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    fill: Colour = GREY,
    visible: float = 0.3,
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Four pictures in one, meeting at a random point; each keeps its shape and covers its quarter.

    Args:
        images, boxes: four of each.
        size: (width, height) of the result.

    Returns:
        (the picture, all boxes that remain (N, 4), for each picture the indices of its boxes that remain).
    """
    width, height = size
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = fill
    x, y = (round(rng.uniform(0.3, 0.7) * side) for side in size)
    found: list[np.ndarray] = []
    indices: list[np.ndarray] = []
    for number, (image, own) in enumerate(zip(images, boxes, strict=True)):
        left, right = (0, x) if number % 2 == 0 else (x, width)
        top, bottom = (0, y) if number < 2 else (y, height)
        across, down = right - left, bottom - top
        tall, wide = image.shape[:2]
        zoom = max(across / wide, down / tall) * rng.uniform(1.0, 1.3)
        part_w, part_h = across / zoom, down / zoom
        from_x, from_y = rng.uniform(0, max(0.0, wide - part_w)), rng.uniform(0, max(0.0, tall - part_h))
        canvas[top:bottom, left:right] = resize(
            image, (across, down), (from_x, from_y, min(wide, from_x + part_w), min(tall, from_y + part_h))
        )
        moved = (np.asarray(own, float).reshape(-1, 4) - [from_x, from_y, from_x, from_y]) * zoom
        inside, kept = clip(moved, across, down, visible)
        found.append(inside + np.array([left, top, left, top]))
        indices.append(kept)
    return canvas, np.concatenate(found), indices


def mix(
    pixels: np.ndarray,
    targets: np.ndarray,
    rng: np.random.Generator,
    *,
    mixup: float = 0.2,
    cutmix: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Each example mixed with another of the batch: blended (mixup), or with a rectangle of it (cutmix).

    Args:
        pixels: (N, 3, H, W) float32.
        targets: (N, C) float32 shares of the labels.
        mixup, cutmix: parameter of the Beta distribution of the shares; 0 leaves that kind out. With both, one of
            them is drawn for the batch.

    Returns:
        (pixels, targets mixed by the same shares).
    """
    kinds = [(k, a) for k, a in (("mixup", mixup), ("cutmix", cutmix)) if a > 0]
    if not kinds or len(pixels) < 2:
        return pixels, targets
    kind, alpha = kinds[int(rng.integers(len(kinds)))]
    share = float(rng.beta(alpha, alpha))
    other = np.roll(np.arange(len(pixels)), 1)
    if kind == "mixup":
        pixels = share * pixels + (1 - share) * pixels[other]
    else:
        height, width = pixels.shape[2:]
        side = math.sqrt(1 - share)
        across, down = round(width * side), round(height * side)
        left, top = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
        pixels = pixels.copy()
        pixels[:, :, top : top + down, left : left + across] = np.roll(
            pixels[:, :, top : top + down, left : left + across], 1, axis=0
        )
        share = 1 - across * down / (width * height)
    return pixels.astype(np.float32, copy=False), share * targets + (1 - share) * targets[other]
