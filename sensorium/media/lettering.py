"""Words and colours on pictures: what drawings and charts are made with.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; nothing is told by colour only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw, ImageFont

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
_SMOOTH = 3  # shapes are drawn this much larger and reduced, so that their edges are smooth


def colour(index: int) -> Colour:
    """The colour of the nth class or series; after one round of the palette, darker ones."""
    base, again = PALETTE[index % len(PALETTE)], index // len(PALETTE) % 3
    red, green, blue = (round(c * (1 - 0.28 * again)) for c in base)
    return red, green, blue


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


def width_of(text: str, size: int) -> int:
    return math.ceil(font(size, text).getlength(text))


def shorten(text: str, size: int, room: float) -> str:
    """The text on one line, cut with an ellipsis where it is longer than `room` pixels."""
    text = " ".join(text.split())
    if width_of(text, size) <= room:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        if width_of(text[:middle] + "…", size) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…" if low else ""


def wrap(text: str, size: int, room: float, most: int) -> list[str]:
    """The text in at most `most` lines of `room` pixels; words that are too long are broken."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for piece, glued in _pieces(paragraph, size, room):
            longer = piece if not line else line + piece if glued else f"{line} {piece}"
            if line and width_of(longer, size) > room:
                lines.append(line)
                line = piece
            else:
                line = longer
        lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], shorten(" ".join(lines[most - 1 :]), size, room)]
    return lines


def _pieces(paragraph: str, size: int, room: float) -> Iterator[tuple[str, bool]]:
    """(what is not to be broken, whether it follows without a space): words; characters of scripts without spaces."""
    for word in paragraph.split():
        if width_of(word, size) <= room and all(c < "\u2e80" for c in word):
            yield word, False
            continue
        part, glued = "", False
        for character in word:
            if part and (character >= "\u2e80" or width_of(part + character, size) > room):
                yield part, glued
                part, glued = "", True
            part += character
        yield part, glued


def write(
    picture: Image.Image,
    at: tuple[float, float],
    text: str,
    size: int,
    fill: Colour = INK,
    anchor: str = "la",
) -> None:
    ImageDraw.Draw(picture).text(at, text, fill=fill, font=font(size, text), anchor=anchor)


def write_up(picture: Image.Image, at: tuple[float, float], text: str, size: int, fill: Colour = INK) -> None:
    """Text that runs upwards; `at` is the middle of its lower end."""
    length, height = width_of(text, size) + 2, size + 6
    mask = Image.new("L", (length, height), 0)
    ImageDraw.Draw(mask).text((0, height / 2), text, fill=255, font=font(size, text), anchor="lm")
    turned = mask.rotate(90, expand=True)
    corner = (round(at[0] - height / 2), round(at[1] - length))
    picture.paste(Image.new("RGB", turned.size, fill), corner, turned)


def readable(background: Colour) -> Colour:
    """Black or white, whichever stands out."""
    red, green, blue = background
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else PAPER


def smoothly(
    picture: Image.Image, paint: Callable[[ImageDraw.ImageDraw, int], None], box: tuple[int, int, int, int]
) -> None:
    """Paint shapes with smooth edges inside `box`; `paint` gets a canvas `scale` times as large, from (0, 0)."""
    area = picture.crop(box)
    large = area.resize((area.width * _SMOOTH, area.height * _SMOOTH), Image.Resampling.NEAREST)
    paint(ImageDraw.Draw(large), _SMOOTH)
    picture.paste(large.reduce(_SMOOTH), box[:2])
