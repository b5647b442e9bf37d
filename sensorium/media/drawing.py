"""Answers and charts as pictures, with Pillow alone: boxes, captions, score bars, confusion, curves, contact sheets.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; nothing is told by colour only.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (120, 94, 240),
    (240, 228, 66),
)
INK: Colour = (32, 33, 36)
SOFT: Colour = (110, 114, 120)
RULE: Colour = (224, 226, 230)
PAPER: Colour = (255, 255, 255)
GOOD, BAD = PALETTE[2], PALETTE[1]

# Fonts that systems have for scripts that Pillow's own font lacks, tried in this order.
_OTHER_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "Hiragino Sans GB.ttc",
    "msgothic.ttc",
    "arial.ttf",
)
CURVES = 6  # in one panel, at most: more cannot be told apart
_SMOOTH = 3  # shapes are drawn this much larger and reduced, so that their edges are smooth


def colour(index: int) -> Colour:
    """The colour of the nth class or series; after one round of the palette, darker ones."""
    base, again = PALETTE[index % len(PALETTE)], index // len(PALETTE) % 3
    red, green, blue = (round(c * (1 - 0.28 * again)) for c in base)
    return red, green, blue


# --- text ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _plain_font(size: int) -> Font:
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=64)
def _other_font(size: int) -> Font:
    for name in _OTHER_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return _plain_font(size)


@functools.lru_cache(maxsize=4096)
def _has(character: str) -> bool:
    """Whether Pillow's own font can show it, and not just an empty box."""
    own = _plain_font(16)
    return character.isspace() or bytes(own.getmask(character)) != bytes(own.getmask("\uffff"))


def font(size: int, text: str = "") -> Font:
    """A font that can show this text: Pillow's own where it does, else one that the system has."""
    size = max(6, size)
    return _plain_font(size) if all(c < "\x7f" or _has(c) for c in text) else _other_font(size)


def _length(text: str, size: int) -> int:
    return math.ceil(font(size, text).getlength(text))


def _shorten(text: str, size: int, room: float) -> str:
    """The text on one line, cut with an ellipsis where it is longer than `room` pixels."""
    text = " ".join(text.split())
    if _length(text, size) <= room:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        if _length(text[:middle] + "…", size) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…" if low else ""


def _wrap(text: str, size: int, room: float, most: int) -> list[str]:
    """The text in at most `most` lines of `room` pixels; words that are too long are broken."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for piece, glued in _pieces(paragraph, size, room):
            longer = piece if not line else line + piece if glued else f"{line} {piece}"
            if line and _length(longer, size) > room:
                lines.append(line)
                line = piece
            else:
                line = longer
        lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], _shorten(" ".join(lines[most - 1 :]), size, room)]
    return lines


def _pieces(paragraph: str, size: int, room: float) -> Iterator[tuple[str, bool]]:
    """(what is not to be broken, whether it follows without a space): words; characters of scripts without spaces."""
    for word in paragraph.split():
        if _length(word, size) <= room and all(c < "\u2e80" for c in word):
            yield word, False
            continue
        part, glued = "", False
        for character in word:
            if part and (character >= "\u2e80" or _length(part + character, size) > room):
                yield part, glued
                part, glued = "", True
            part += character
        yield part, glued


def _write(
    picture: Image.Image,
    at: tuple[float, float],
    text: str,
    size: int,
    fill: Colour = INK,
    anchor: str = "la",
) -> None:
    ImageDraw.Draw(picture).text(at, text, fill=fill, font=font(size, text), anchor=anchor)


def _write_up(picture: Image.Image, at: tuple[float, float], text: str, size: int, fill: Colour = INK) -> None:
    """Text that runs upwards; `at` is the middle of its lower end."""
    length, height = _length(text, size) + 2, size + 6
    mask = Image.new("L", (length, height), 0)
    ImageDraw.Draw(mask).text((0, height / 2), text, fill=255, font=font(size, text), anchor="lm")
    turned = mask.rotate(90, expand=True)
    corner = (round(at[0] - height / 2), round(at[1] - length))
    picture.paste(Image.new("RGB", turned.size, fill), corner, turned)


def _readable(background: Colour) -> Colour:
    """Black or white, whichever stands out."""
    red, green, blue = background
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else PAPER


def _smoothly(
    picture: Image.Image, paint: Callable[[ImageDraw.ImageDraw, int], None], box: tuple[int, int, int, int]
) -> None:
    """Paint shapes with smooth edges inside `box`; `paint` gets a canvas `scale` times as large, from (0, 0)."""
    area = picture.crop(box)
    large = area.resize((area.width * _SMOOTH, area.height * _SMOOTH), Image.Resampling.NEAREST)
    paint(ImageDraw.Draw(large), _SMOOTH)
    picture.paste(large.reduce(_SMOOTH), box[:2])


# --- pictures -----------------------------------------------------------------------------------------------------


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
            text = _shorten(captions[i], size, canvas.width)
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
        text = _shorten(words, size, result.width)
        _tag(result, x - _length(text, size) / 2, y, y, text, size, shade)
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
    width, height = _length(text, size) + size // 2 + 2, round(size * 1.45)
    x = min(max(0, left), max(0, canvas.width - width))
    y = top - height if top >= height else bottom if bottom + height <= canvas.height else max(0, top)
    ImageDraw.Draw(canvas).rectangle((x, y, x + width, y + height), fill=shade)
    _write(canvas, (x + size // 4 + 1, y + height / 2), text, size, _readable(shade), "lm")


def caption(picture: Image.Image, text: str, lines: int = 3) -> Image.Image:
    """The picture with a text below it."""
    canvas, _ = enlarge(picture, 240)
    size = max(13, round(canvas.width / 44))
    written = _wrap(text, size, canvas.width - size, lines)
    height = round(len(written) * size * 1.4 + size)
    result = Image.new("RGB", (canvas.width, canvas.height + height), PAPER)
    result.paste(canvas, (0, 0))
    for i, line in enumerate(written):
        _write(result, (size // 2, canvas.height + size // 2 + i * size * 1.4), line, size)
    return result


def text(paragraphs: Sequence[tuple[str, str]], width: int = 720) -> Image.Image:
    """Texts with a small heading each, on paper: for tasks that have no picture.

    Args:
        paragraphs: (heading, text).
    """
    size, margin = 18, 28
    blocks = [(heading, _wrap(body, size, width - 2 * margin, 40)) for heading, body in paragraphs]
    height = margin * 2 + sum(22 + round(len(lines) * size * 1.5) + 14 for _, lines in blocks)
    result = Image.new("RGB", (width, height), PAPER)
    y = float(margin)
    for heading, lines in blocks:
        _write(result, (margin, y), heading, 13, PALETTE[0])
        y += 22
        for line in lines:
            _write(result, (margin, y), line, size)
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
        name = _shorten(label, size, right - left - _length(number, size) - 28)
        _write(result, (left, y + 4), name, size)
        _write(result, (right, y + 4), number, size, SOFT, "ra")
        if right_answer:
            x = left + _length(name, size) + 8
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
    texts = [_wrap(c, size, width, 3) for c in captions] or [[] for _ in thumbs]
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
                _write(result, (x + width / 2, y + height + 6 + j * size * 1.35), line, size, INK, "ma")
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

    _smoothly(picture, paint, (at[0], at[1], at[0] + 22, at[1] + 22))


# --- charts -------------------------------------------------------------------------------------------------------


def confusion(matrix: np.ndarray, labels: Sequence[str]) -> Image.Image:
    """A confusion matrix: rows are the truth, columns the answers; the shade is the share of the row.

    Args:
        matrix: (n, n) counts.
        labels: n names.
    """
    counts = np.asarray(matrix, float)
    n = len(labels)
    cell = max(4, min(56, 840 // max(1, n)))
    size = max(9, min(15, cell - 3))
    named = cell >= 11
    margin = min(max([_length(s, size) for s in labels], default=0), 180) + 14 if named else 14
    left, top = margin + 30, margin + 44
    width, height = left + n * cell + 24, top + n * cell + 24
    result = Image.new("RGB", (max(width, 260), height), PAPER)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The diagonal is blue, mistakes are red: the eye finds the mistakes.
    strength = np.where(counts > 0, 0.12 + 0.88 * np.sqrt(share), 0.0)[:, :, None]
    target = np.where(np.eye(n, dtype=bool)[:, :, None], PALETTE[0], PALETTE[1]).astype(float)
    pixels = (255 + (target - 255) * strength).round().astype(np.uint8)
    result.paste(Image.fromarray(pixels.repeat(cell, axis=0).repeat(cell, axis=1)), (left, top))
    draw = ImageDraw.Draw(result)
    for i in range(n + 1) if cell >= 8 else (0, n):
        draw.line((left, top + i * cell, left + n * cell, top + i * cell), fill=RULE)
        draw.line((left + i * cell, top, left + i * cell, top + n * cell), fill=RULE)
    if cell >= 18:
        for i, j in zip(*np.nonzero(counts)):
            number = _count(counts[i, j])
            small = size if _length(number, size) <= cell - 4 else max(8, size - 4)
            shade: Colour = tuple(int(v) for v in pixels[i, j])  # type: ignore[assignment]
            _write(result, (left + (j + 0.5) * cell, top + (i + 0.5) * cell), number, small, _readable(shade), "mm")
    if named:
        for i, label in enumerate(labels):
            name = _shorten(label, size, 180)
            _write(result, (left - 7, top + (i + 0.5) * cell), name, size, INK, "rm")
            _write_up(result, (left + (i + 0.5) * cell, top - 6), name, size)
    right = counts.trace() / max(1.0, counts.sum())
    _write(result, (left, 10), f"answer   ({right:.1%} of {_count(counts.sum())} right)", 14, SOFT)
    _write_up(result, (14, top + n * cell), "truth", 14, SOFT)
    return result


def _count(value: float) -> str:
    if value != round(value):
        return f"{value:.2g}"
    return f"{value:.0f}" if value < 10000 else f"{value / 1000:.0f}k"


def curves(rows: Sequence[Mapping[str, object]]) -> Image.Image:
    """Learning curves: what a run logged, a panel for the losses, one for the metrics that are shares (0..1), one for
    each other figure; at most `CURVES` in a panel.

    Args:
        rows: as logged, in order; `step` (or else `epoch`, or else the number of the row) is the horizontal axis, and
            every other number a point of the curve of its name. A mapping in a row (`validation`) is a group of
            figures of its own. Values that are not finite leave a gap.
    """
    keys = {key for row in rows for key in row}
    across = "step" if "step" in keys else "epoch" if "epoch" in keys else "row"
    series: dict[str, tuple[list[float], list[float]]] = {}
    for i, row in enumerate(rows):
        at = row.get(across, i)
        for key, entry in row.items():
            group = entry if isinstance(entry, Mapping) else {"": entry}
            for inner, value in group.items():
                name = f"{key} {inner}".strip()
                if name in ("step", "epoch", "seconds") or isinstance(value, bool):
                    continue
                if isinstance(value, (int, float, np.number)) and isinstance(at, (int, float, np.number)):
                    xs, ys = series.setdefault(name, ([], []))
                    xs.append(float(at))
                    ys.append(float(value))
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name, points in series.items():
        finite = [y for y in points[1] if math.isfinite(y)]
        low, high = min(finite, default=0.0), max(finite, default=0.0)
        share = low >= 0 and high <= 1 and high > 0.02
        # Figures of a group (`validation accuracy`) and of single steps (parts of the loss) are not to be compared.
        panel = "loss" if "loss" in name else name if not share else "metrics" if " " in name else "in steps"
        further = 1
        while len(panels.get(panel, ())) >= CURVES:
            further += 1
            panel = f"{panel.split(', ')[0]}, {further}"
        panels.setdefault(panel, {})[name] = points
    order = sorted(panels, key=lambda p: (p != "loss", not p.startswith("metrics")))
    charts = [lines(panels[p], title=p, across=across) for p in order]
    if not charts:
        return lines({}, title="nothing logged yet", across=across)
    columns = 1 if len(charts) == 1 else 2
    across_all = max(c.width for c in charts)
    down = max(c.height for c in charts)
    rows_of = math.ceil(len(charts) / columns)
    result = Image.new("RGB", (across_all * columns, down * rows_of), PAPER)
    for i, chart in enumerate(charts):
        result.paste(chart, (i % columns * across_all, i // columns * down))
    return result


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str = "",
    across: str = "",
    size: tuple[int, int] = (640, 400),
) -> Image.Image:
    """A line chart.

    Args:
        series: name to (xs, ys); a value that is not finite makes a gap.
        across: name of the horizontal axis.
        size: (width, height) in pixels.
    """
    width, height = size
    result = Image.new("RGB", size, PAPER)
    points = {
        name: [(float(x), float(y)) for x, y in zip(xs, ys) if math.isfinite(x)] for name, (xs, ys) in series.items()
    }
    xs = [x for line in points.values() for x, _ in line]
    ys = [y for line in points.values() for _, y in line if math.isfinite(y)]
    x_ticks = _ticks(min(xs, default=0.0), max(xs, default=1.0), 7, whole=all(x == round(x) for x in xs))
    y_ticks = _ticks(min(ys, default=0.0), max(ys, default=1.0), 5)
    x_low, x_high = min(xs, default=0.0), max(xs, default=1.0)
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    y_low, y_high = y_ticks[0], y_ticks[-1]
    names = [_number(y, y_ticks) for y in y_ticks]
    legend = _legend(list(points), width - 90) if list(points) != [title] else []
    left = 24 + max(_length(s, 13) for s in names)
    right, top, bottom = width - 24, 44 + 22 * len(legend), height - 48

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_low) / (x_high - x_low) * (right - left),
            bottom - (y - y_low) / (y_high - y_low) * (bottom - top),
        )

    draw = ImageDraw.Draw(result)
    for y, name in zip(y_ticks, names):
        at = place(x_low, y)[1]
        draw.line((left, at, right, at), fill=RULE)
        _write(result, (left - 8, at), name, 13, SOFT, "rm")
    for x in x_ticks:
        if x_low <= x <= x_high:
            at = place(x, y_low)[0]
            draw.line((at, bottom, at, bottom + 4), fill=SOFT)
            _write(result, (at, bottom + 8), _number(x, x_ticks), 13, SOFT, "ma")
    draw.line((left, bottom, right, bottom), fill=SOFT)
    _write(result, (16, 12), title, 17)
    _write(result, (right, height - 18), across, 13, SOFT, "rs")
    for row, entries in enumerate(legend):
        for x, i, name in entries:
            y = 42 + row * 22
            shade = colour(i)
            _smoothly(result, lambda d, s, i=i: _stroke(d, [(0, 5), (26, 5)], i, s), (x, y, x + 26, y + 10))  # type: ignore[misc]
            _write(result, (x + 32, y + 5), name, 13, INK if shade != PALETTE[7] else SOFT, "lm")

    def paint(canvas: ImageDraw.ImageDraw, scale: int) -> None:
        for i, line in enumerate(points.values()):
            for part in _unbroken(line):
                at = [place(x, y) for x, y in part]
                _stroke(canvas, [(x - left + 8, y - top + 8) for x, y in at], i, scale)

    _smoothly(result, paint, (left - 8, top - 8, right + 8, bottom + 8))
    return result


def sound(samples: np.ndarray, seconds: float, size: tuple[int, int] = (720, 240)) -> Image.Image:
    """The loudness of a sound over time, as a curve.

    Args:
        samples: (N,) of one channel.
    """
    pieces = np.array_split(np.abs(samples), max(1, min(600, len(samples))))
    loudness = [float(piece.max(initial=0)) for piece in pieces]
    return lines({"loudness": (np.linspace(0, seconds, len(loudness)).tolist(), loudness)}, "", "seconds", size)


def _stroke(canvas: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], index: int, scale: int) -> None:
    """One curve: its own colour, and a dash pattern of its own, so that it can be told apart without colour."""
    shade = colour(index)
    scaled = [(x * scale, y * scale) for x, y in points]
    if len(scaled) == 1:
        x, y = scaled[0]
        canvas.ellipse((x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale), fill=shade)
        return
    pattern = ((1, 0), (9, 5), (3, 4), (14, 4))[index % 4]
    thick = round(2.2 * scale)
    if not pattern[1]:
        canvas.line(scaled, fill=shade, width=thick, joint="curve")
        return
    on, off = pattern[0] * scale, pattern[1] * scale
    walked = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(scaled):
        length = math.hypot(x1 - x0, y1 - y0)
        at = 0.0
        while at < length:
            phase = (walked + at) % (on + off)
            step = (on - phase) if phase < on else (on + off - phase)
            step = min(max(step, 0.01), length - at)
            if phase < on:
                a, b = at / length, (at + step) / length
                canvas.line(
                    (x0 + (x1 - x0) * a, y0 + (y1 - y0) * a, x0 + (x1 - x0) * b, y0 + (y1 - y0) * b),
                    fill=shade,
                    width=thick,
                )
            at += step
        walked += length


def _unbroken(line: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    part: list[tuple[float, float]] = []
    for point in line:
        if math.isfinite(point[1]):
            part.append(point)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _legend(names: Sequence[str], room: int) -> list[list[tuple[int, int, str]]]:
    """Rows of (x, number, name)."""
    rows: list[list[tuple[int, int, str]]] = []
    x = room + 1
    for i, name in enumerate(names):
        name = _shorten(name, 13, 220)
        width = 32 + _length(name, 13) + 18
        if x + width > room:
            rows.append([])
            x = 16
        rows[-1].append((x, i, name))
        x += width
    return rows


def histogram(
    values: Sequence[float] | np.ndarray,
    title: str = "",
    across: str = "",
    bins: int = 30,
    size: tuple[int, int] = (640, 360),
) -> Image.Image:
    """How often which value occurs; values that are not finite are left out and counted in the title."""
    everything = np.asarray(values, float).ravel()
    finite = everything[np.isfinite(everything)]
    width, height = size
    result = Image.new("RGB", size, PAPER)
    left_out = len(everything) - len(finite)
    _write(result, (16, 12), title + (f"   ({left_out} not finite)" if left_out else ""), 17)
    if not len(finite):
        _write(result, (width / 2, height / 2), "no values", 15, SOFT, "mm")
        return result
    counts, edges = np.histogram(finite, bins=bins)
    y_ticks = _ticks(0, float(counts.max()), 5, whole=True)
    names = [_number(y, y_ticks) for y in y_ticks]
    left = 24 + max(_length(s, 13) for s in names)
    right, top, bottom = width - 24, 50, height - 48
    draw = ImageDraw.Draw(result)
    for y, name in zip(y_ticks, names):
        at = bottom - y / y_ticks[-1] * (bottom - top)
        draw.line((left, at, right, at), fill=RULE)
        _write(result, (left - 8, at), name, 13, SOFT, "rm")
    for i, count in enumerate(counts):
        x0, x1 = (left + (right - left) * k / len(counts) for k in (i, i + 1))
        if count:
            draw.rectangle(
                (x0 + 1, bottom - count / y_ticks[-1] * (bottom - top), max(x0 + 1, x1 - 1), bottom), fill=PALETTE[0]
            )
    draw.line((left, bottom, right, bottom), fill=SOFT)
    low, high = float(edges[0]), float(edges[-1])
    x_ticks = _ticks(low, high, 7)
    for x in x_ticks:
        if low <= x <= high:
            at = left + (x - low) / (high - low) * (right - left)
            draw.line((at, bottom, at, bottom + 4), fill=SOFT)
            _write(result, (at, bottom + 8), _number(x, x_ticks), 13, SOFT, "ma")
    _write(result, (right, height - 18), across, 13, SOFT, "rs")
    return result


def _ticks(low: float, high: float, about: int, whole: bool = False) -> list[float]:
    """Round numbers that enclose low..high, about so many."""
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _number(value: float, among: Sequence[float]) -> str:
    """The value with as many digits as its neighbours on the axis need."""
    step = among[1] - among[0] if len(among) > 1 else 1.0
    largest = max(abs(v) for v in among)
    if largest >= 1e6 or (0 < largest < 1e-3):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    digits = next((d for d in range(8) if abs(round(step, d) - step) < step * 1e-3), 8)
    return f"{value:.{digits}f}"
