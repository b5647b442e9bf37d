"""Answers as pictures, with Pillow alone: boxes, masks, points, captions, score bars, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sensorium.media.lettering import (
    BAD,
    GOOD,
    INK,
    PALETTE,
    PAPER,
    RULE,
    SOFT,
    Colour,
    colour,
    readable,
    shorten,
    smoothly,
    width_of,
    wrap,
    write,
)


def enlarge(picture: Image.Image, least: int = 480) -> tuple[Image.Image, float]:
    """(the picture with a longer side of at least `least` pixels, the factor): small ones have no room for text."""
    factor = least / max(picture.size)
    if factor <= 1:
        return picture.convert("RGB"), 1.0
    rule = Image.Resampling.NEAREST if factor >= 6 else Image.Resampling.BICUBIC
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.convert("RGB").resize(size, rule), factor


def beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures side by side, each as high as the first."""
    first, _ = enlarge(pictures[0])
    row = [p.convert("RGB") for p in pictures]
    row = [first, *(p.resize((max(1, round(p.width * first.height / p.height)), first.height)) for p in row[1:])]
    sheet = Image.new("RGB", (sum(p.width for p in row) + 4 * (len(row) - 1), first.height), PAPER)
    left = 0
    for p in row:
        sheet.paste(p, (left, 0))
        left += p.width + 4
    return sheet


def boxes(
    picture: Image.Image,
    boxes: Sequence[Sequence[float]],
    captions: Sequence[str] = (),
    colours: Sequence[int] = (),
) -> Image.Image:
    """The picture with boxes on it.

    Args:
        picture: enlarged first where it is too small for text.
        boxes: [xmin, ymin, xmax, ymax] in its pixels.
        captions: one for each box, or none.
        colours: one number for each box (the class, the track), or none: see `colour`.
    """
    canvas, factor = enlarge(picture)
    canvas = canvas.copy()
    draw = ImageDraw.Draw(canvas)
    size = max(12, round(max(canvas.size) / 50))
    line = max(2, round(max(canvas.size) / 320))
    corners = [[v * factor for v in box] for box in boxes]
    for i, (left, top, right, bottom) in enumerate(corners):
        shade = colour(colours[i] if colours else 0)
        left, right = sorted((left, right))
        top, bottom = sorted((top, bottom))
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=PAPER, width=line + 2)
        draw.rectangle((left, top, right, bottom), outline=shade, width=line)
    for i, (left, top, right, bottom) in enumerate(corners):  # above all boxes
        if i < len(captions) and captions[i]:
            text = shorten(captions[i], size, canvas.width)
            shade = colour(colours[i] if colours else 0)
            _tag(canvas, min(left, right), min(top, bottom), max(top, bottom), text, size, shade)
    return canvas


def masks(
    picture: Image.Image, masks: Sequence[Image.Image], captions: Sequence[str] = (), colours: Sequence[int] = ()
) -> Image.Image:
    """The picture with masks in colours over it, each with an edge, and its caption in its middle.

    Args:
        masks: 8-bit grey of the picture's size, 255 where something is.
        captions, colours: as for `boxes`.
    """
    canvas, _ = enlarge(picture)
    pixels = np.asarray(canvas, np.float32).copy()
    size = max(11, round(max(canvas.size) / 54))
    tags = []
    for i, mask in enumerate(masks):
        inside = np.asarray(mask.resize(canvas.size, Image.Resampling.NEAREST)) > 127
        if not inside.any():
            continue
        shade = colour(colours[i] if colours else i)
        inner = Image.fromarray(inside.astype(np.uint8) * 255).filter(ImageFilter.MinFilter(3))
        pixels[inside] = pixels[inside] * 0.5 + np.array(shade, np.float32) * 0.5
        pixels[inside & (np.asarray(inner) == 0)] = shade
        if i < len(captions) and captions[i]:
            rows, columns = np.nonzero(inside)
            row = int(np.median(rows))
            tags.append(
                (float(np.median(columns[rows == row])) if (rows == row).any() else 0.0, row, captions[i], shade)
            )
    result = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    for x, y, words, shade in tags:
        text = shorten(words, size, result.width)
        _tag(result, x - width_of(text, size) / 2, y, y, text, size, shade)
    return result


def points(
    picture: Image.Image, bodies: Sequence[Mapping[int, tuple[float, float]]], edges: Sequence[Sequence[int]] = ()
) -> Image.Image:
    """The picture with the points of each body, by their numbers, and a line for each edge between two of them."""
    canvas, factor = enlarge(picture)
    canvas = canvas.copy()
    draw = ImageDraw.Draw(canvas)
    size = max(3, round(max(canvas.size) / 160))
    for i, body in enumerate(bodies):
        spots = {k: (x * factor, y * factor) for k, (x, y) in body.items()}
        for edge in edges:
            if all(k in spots for k in edge):
                draw.line([spots[k] for k in edge], fill=colour(i), width=max(2, size // 2))
        for x, y in spots.values():
            draw.ellipse((x - size, y - size, x + size, y + size), fill=colour(i), outline=PAPER, width=2)
    return canvas


def _tag(canvas: Image.Image, left: float, top: float, bottom: float, text: str, size: int, shade: Colour) -> None:
    """A label above the box; below or inside it where there is no room."""
    width, height = width_of(text, size) + size // 2 + 2, round(size * 1.45)
    x = min(max(0, left), max(0, canvas.width - width))
    y = top - height if top >= height else bottom if bottom + height <= canvas.height else max(0, top)
    ImageDraw.Draw(canvas).rectangle((x, y, x + width, y + height), fill=shade)
    write(canvas, (x + size // 4 + 1, y + height / 2), text, size, readable(shade), "lm")


def caption(picture: Image.Image, text: str, lines: int = 3) -> Image.Image:
    """The picture with a text below it."""
    canvas, _ = enlarge(picture, 240)
    size = max(13, round(canvas.width / 44))
    written = wrap(text, size, canvas.width - size, lines)
    height = round(len(written) * size * 1.4 + size)
    result = Image.new("RGB", (canvas.width, canvas.height + height), PAPER)
    result.paste(canvas, (0, 0))
    for i, line in enumerate(written):
        write(result, (size // 2, canvas.height + size // 2 + i * size * 1.4), line, size)
    return result


def text(paragraphs: Sequence[tuple[str, str]], width: int = 720) -> Image.Image:
    """Texts with a small heading each, on paper: for tasks that have no picture.

    Args:
        paragraphs: (heading, text).
    """
    size, margin = 18, 28
    blocks = [(heading, wrap(body, size, width - 2 * margin, 40)) for heading, body in paragraphs]
    height = margin * 2 + sum(22 + round(len(lines) * size * 1.5) + 14 for _, lines in blocks)
    result = Image.new("RGB", (width, height), PAPER)
    y = float(margin)
    for heading, lines in blocks:
        write(result, (margin, y), heading, 13, PALETTE[0])
        y += 22
        for line in lines:
            write(result, (margin, y), line, size)
            y += size * 1.5
        y += 14
    return result


def bars(picture: Image.Image, scores: Sequence[tuple[str, float]], truth: Sequence[str] = ()) -> Image.Image:
    """The picture with labels and their scores (0..1) as bars beside it.

    Args:
        truth: the right labels, if known: these bars are green and ticked, the first bar is red if it is wrong.
    """
    canvas, _ = enlarge(picture, 320)
    if max(canvas.size) > 640:
        canvas = canvas.copy()
        canvas.thumbnail((640, 640))
    panel = _bars(scores, truth, 320)
    height = max(canvas.height, panel.height, 160)
    result = Image.new("RGB", (canvas.width + panel.width, height), PAPER)
    result.paste(canvas, (0, (height - canvas.height) // 2))
    result.paste(panel, (canvas.width, (height - panel.height) // 2))
    return result


def scores_card(body: str, scores: Sequence[tuple[str, float]], truth: Sequence[str] = ()) -> Image.Image:
    """A text with labels and their scores (0..1) as bars below it."""
    paper = text([("Text", body)])
    panel = _bars(scores, truth, 420)
    result = Image.new("RGB", (paper.width, paper.height + panel.height), PAPER)
    result.paste(paper, (0, 0))
    result.paste(panel, (8, paper.height - 14))
    return result


def _bars(scores: Sequence[tuple[str, float]], truth: Sequence[str], width: int) -> Image.Image:
    size, row = 15, 44
    result = Image.new("RGB", (width, len(scores) * row + 24), PAPER)
    left, right, top = 20, width - 20, 12
    draw = ImageDraw.Draw(result)
    for i, (label, score) in enumerate(scores):
        y = top + i * row
        right_answer = label in truth
        shade = PALETTE[0] if not truth else GOOD if right_answer else BAD if i == 0 else SOFT
        number = f"{score:.1%}"
        name = shorten(label, size, right - left - width_of(number, size) - 28)
        write(result, (left, y + 4), name, size)
        write(result, (right, y + 4), number, size, SOFT, "ra")
        if right_answer:
            x = left + width_of(name, size) + 8
            draw.line([(x, y + 13), (x + 4, y + 18), (x + 12, y + 7)], fill=GOOD, width=3, joint="curve")
        draw.rectangle((left, y + 26, right, y + 33), fill=(238, 240, 243))
        length = round((right - left) * min(1.0, max(0.0, score if math.isfinite(score) else 0.0)))
        if length:
            draw.rectangle((left, y + 26, left + length, y + 33), fill=shade)
    return result


def grid(
    pictures: Sequence[Image.Image],
    captions: Sequence[str] = (),
    columns: int | None = None,
    *,
    good: Sequence[bool | None] = (),
    cell: int = 224,
) -> Image.Image:
    """A contact sheet.

    Args:
        captions: one for each picture, or none.
        columns: how many pictures side by side; by default about as many as rows.
        good: for each picture whether its answer is right, shown as the colour of a frame and a mark; or none.
        cell: longest side of a picture on the sheet, in pixels.
    """
    count = max(1, len(pictures))
    columns = max(1, min(columns or math.ceil(math.sqrt(count * 1.4)), count))
    gap, size = 12, 13
    thumbs = [_fit(p, cell) for p in pictures]
    width = max([p.width for p in thumbs], default=cell) if len(thumbs) else cell
    width = max(width, min(cell, 120))
    texts = [wrap(c, size, width, 3) for c in captions] or [[] for _ in thumbs]
    rows = [range(i, min(i + columns, len(thumbs))) for i in range(0, len(thumbs), columns)]
    heights = [max(thumbs[i].height for i in r) for r in rows]
    lines = [max(len(texts[i]) for i in r) for r in rows]
    total = gap + sum(h + round(n * size * 1.35) + (6 if n else 0) + gap for h, n in zip(heights, lines))
    result = Image.new("RGB", (gap + columns * (width + gap), max(total, 2 * gap)), PAPER)
    draw = ImageDraw.Draw(result)
    y = gap
    for r, height, number in zip(rows, heights, lines):
        for column, i in enumerate(r):
            x = gap + column * (width + gap)
            at = (x + (width - thumbs[i].width) // 2, y + (height - thumbs[i].height) // 2)
            result.paste(thumbs[i], at)
            mark = good[i] if i < len(good) else None
            frame = RULE if mark is None else GOOD if mark else BAD
            corner = (at[0] + thumbs[i].width, at[1] + thumbs[i].height)
            draw.rectangle((at[0] - 1, at[1] - 1, *corner), outline=frame, width=1)
            if mark is not None:
                draw.rectangle((at[0] - 3, at[1] - 3, corner[0] + 2, corner[1] + 2), outline=frame, width=3)
                _mark(result, at, mark)
            for j, line in enumerate(texts[i]):
                write(result, (x + width / 2, y + height + 6 + j * size * 1.35), line, size, INK, "ma")
        y += height + round(number * size * 1.35) + (6 if number else 0) + gap
    return result


def _fit(picture: Image.Image, cell: int) -> Image.Image:
    factor = cell / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    rule = Image.Resampling.NEAREST if factor >= 3 else Image.Resampling.BICUBIC
    return picture.convert("RGB").resize(size, rule)


def _mark(picture: Image.Image, at: tuple[int, int], good: bool) -> None:
    """A tick or a cross on a coloured tab in the corner."""

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        draw.rectangle((0, 0, 22 * scale, 22 * scale), fill=GOOD if good else BAD)
        points = [(5, 11), (9, 16), (17, 5)] if good else [(5, 5), (17, 17), (11, 11), (17, 5), (5, 17)]
        draw.line([(x * scale, y * scale) for x, y in points], fill=PAPER, width=3 * scale)

    smoothly(picture, paint, (at[0], at[1], at[0] + 22, at[1] + 22))
