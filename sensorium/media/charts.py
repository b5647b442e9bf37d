"""Charts as pictures, with Pillow alone: confusion matrices, curves, the loudness of a sound."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from sensorium.media.lettering import (
    INK,
    PALETTE,
    PAPER,
    RULE,
    SOFT,
    colour,
    readable,
    shorten,
    smoothly,
    width_of,
    write,
    write_up,
)

CURVES = 6  # in one panel, at most: more cannot be told apart


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
    margin = min(max([width_of(s, size) for s in labels], default=0), 180) + 14 if named else 14
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
            small = size if width_of(number, size) <= cell - 4 else max(8, size - 4)
            red, green, blue = (int(v) for v in pixels[i, j])
            write(
                result,
                (left + (j + 0.5) * cell, top + (i + 0.5) * cell),
                number,
                small,
                readable((red, green, blue)),
                "mm",
            )
    if named:
        for i, label in enumerate(labels):
            name = shorten(label, size, 180)
            write(result, (left - 7, top + (i + 0.5) * cell), name, size, INK, "rm")
            write_up(result, (left + (i + 0.5) * cell, top - 6), name, size)
    right = counts.trace() / max(1.0, counts.sum())
    write(result, (left, 10), f"answer   ({right:.1%} of {_count(counts.sum())} right)", 14, SOFT)
    write_up(result, (14, top + n * cell), "truth", 14, SOFT)
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
    left = 24 + max(width_of(s, 13) for s in names)
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
        write(result, (left - 8, at), name, 13, SOFT, "rm")
    for x in x_ticks:
        if x_low <= x <= x_high:
            at = place(x, y_low)[0]
            draw.line((at, bottom, at, bottom + 4), fill=SOFT)
            write(result, (at, bottom + 8), _number(x, x_ticks), 13, SOFT, "ma")
    draw.line((left, bottom, right, bottom), fill=SOFT)
    write(result, (16, 12), title, 17)
    write(result, (right, height - 18), across, 13, SOFT, "rs")
    for row, entries in enumerate(legend):
        for x, i, name in entries:
            y = 42 + row * 22
            shade = colour(i)
            dash = functools.partial(_stroke, points=[(0, 5), (26, 5)], index=i)
            smoothly(result, dash, (x, y, x + 26, y + 10))
            write(result, (x + 32, y + 5), name, 13, INK if shade != PALETTE[7] else SOFT, "lm")

    def paint(canvas: ImageDraw.ImageDraw, scale: int) -> None:
        for i, line in enumerate(points.values()):
            for part in _unbroken(line):
                at = [place(x, y) for x, y in part]
                _stroke(canvas, scale, [(x - left + 8, y - top + 8) for x, y in at], i)

    smoothly(result, paint, (left - 8, top - 8, right + 8, bottom + 8))
    return result


def sound(samples: np.ndarray, seconds: float, size: tuple[int, int] = (720, 240)) -> Image.Image:
    """The loudness of a sound over time, as a curve.

    Args:
        samples: (N,) of one channel.
    """
    edges = np.linspace(0, len(samples), max(1, min(600, len(samples))) + 1).astype(int)
    loudness = [float(np.abs(samples[a:b]).max(initial=0)) for a, b in pairwise(edges)]
    return lines({"loudness": (np.linspace(0, seconds, len(loudness)).tolist(), loudness)}, "", "seconds", size)


def _stroke(canvas: ImageDraw.ImageDraw, scale: int, points: Sequence[tuple[float, float]], index: int) -> None:
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
        name = shorten(name, 13, 220)
        width = 32 + width_of(name, 13) + 18
        if x + width > room:
            rows.append([])
            x = 16
        rows[-1].append((x, i, name))
        x += width
    return rows


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
