"""Tiny data sets, made here."""

from __future__ import annotations

import wave
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., str]:
    """Write a picture of noise; the same seed gives the same picture."""

    def make(name: str, size: tuple[int, int] = (40, 30), seed: int | None = None) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(zlib.crc32(name.encode()) if seed is None else seed)
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize(size).save(path)
        return str(path)

    return make


@pytest.fixture
def sound(tmp_path: Path) -> Callable[..., str]:
    """Write a mono 16-bit WAV file."""

    def make(name: str, seconds: float = 0.1, rate: int = 8000, seed: int | None = None) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(zlib.crc32(name.encode()) if seed is None else seed)
        samples = rng.integers(-9000, 9000, int(seconds * rate), dtype=np.int16)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(samples.tobytes())
        return str(path)

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a text file, or bytes."""

    def make(name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return make


def voc_xml(name: str, *objects: tuple[str, float, float, float, float], size: tuple[int, int] = (40, 30)) -> str:
    things = "".join(
        f"<object><name>{escape(label)}</name><difficult>0</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for label, a, b, c, d in objects
    )
    return (
        f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"<depth>3</depth></size>{things}</annotation>"
    )
