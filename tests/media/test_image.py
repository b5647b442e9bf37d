from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import image


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 12, height: int = 8) -> Image.Image:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x * 20, y * 30, x * 0 + 7], axis=2).astype(np.uint8))


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    picture = gradient()
    path = tmp_path / "a picture.png"
    path.write_bytes(encode(picture))
    for source in (path, str(path), path.read_bytes(), memoryview(path.read_bytes()), picture, np.asarray(picture)):
        loaded = image.load(source)
        assert loaded.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(loaded), np.asarray(picture))
    assert image.size(path) == (12, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(gradient(), exif=exif)
    upright = image.load(data)
    assert image.size(data) == upright.size == ((12, 8) if orientation < 5 else (8, 12))
    assert image.load(upright).tobytes() == upright.tobytes()  # turned once only


@pytest.mark.parametrize(
    ("mode", "pixel"),
    [("1", 1), ("L", 200), ("LA", (200, 0)), ("P", 0), ("RGBA", (200, 200, 200, 0)), ("CMYK", (0, 0, 0, 55))],
)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_modes_and_smallest_sizes(mode: str, pixel: object, size: tuple[int, int]) -> None:
    picture = Image.new(mode, size, pixel)
    if mode == "P":
        picture.putpalette([200] * 768)
    loaded = image.load(encode(picture, "TIFF" if mode == "CMYK" else "PNG"))
    assert loaded.size == size
    assert set(np.asarray(loaded).ravel().tolist()) == {255 if mode == "1" else 200}
    config = {"image_processor_type": "ViTImageProcessor", "size": 8}
    assert image.preprocess(config, loaded).shape == (3, 8, 8)


def test_sixteen_bit_grey_keeps_its_upper_bits() -> None:
    grey = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
    loaded = np.asarray(image.load(encode(Image.fromarray(grey))))
    np.testing.assert_array_equal(loaded[:, :, 1], grey >> 8)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_picture_of_several(kind: str) -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert image.load(data).getpixel((2, 2)) == (255, 0, 0)


def bomb(width: int, height: int) -> bytes:
    """A PNG of that many pixels in its header, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture at all",
        b"\x89PNG\r\n\x1a\n",
        encode(gradient())[:60],
        encode(gradient(300, 300), "JPEG")[:1500],
        encode(gradient(90, 90), "WEBP")[:80],
        encode(gradient(90, 90), "GIF")[:500],
        encode(gradient(90, 90), "TIFF")[:500],
        b"P6 9 9 255 xx",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        bomb(9000, 9000),
        bomb(60000, 60000),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_bad_pictures_are_refused_in_one_line(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(InputError) as caught:
            image.load(source)
        message = str(caught.value)
        assert "\n" not in message
        assert not re.search(r"0x[0-9a-f]{6,}", message)
        assert source is data or "bad.png" in message


def test_missing_files_folders_and_wrong_arrays(tmp_path: Path) -> None:
    for source in (
        tmp_path / "none.png",
        tmp_path,
        "a\0b",
        "x" * 5000,
        7,
        np.zeros((4, 4, 3)),
        np.zeros((0, 4), np.uint8),
    ):
        with pytest.raises(InputError):
            image.load(source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        {"image_processor_type": "UnheardOfImageProcessor", "tiles": 4},
        {"size": {"longest_edge": 9}},
        {"size": 10**9},
        {"size": "big"},
        {"resample": 77},
        {"image_mean": [1, 2]},
        {"do_center_crop": True},
        {"do_pad": True, "pad_size": {"height": 3, "width": 3}},
    ],
)
def test_bad_configurations_are_refused(config: dict) -> None:
    with pytest.raises(InputError, match=r"image processor|preprocessor_config"):
        image.preprocess(config, gradient())
