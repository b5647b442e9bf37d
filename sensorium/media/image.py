"""Pictures: from a file to RGB pixels, and from pixels to the array that `preprocessor_config.json` describes."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from sensorium.errors import InputError

MAX_PIXELS = 50_000_000  # of one picture, checked before decoding: about 200 MB of memory
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no others are ever opened
# Lower-case endings, for finding pictures in folders; decoding goes by content.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray


def load(source: Source) -> Image.Image:
    """A picture as 8-bit RGB, turned upright as its EXIF data says.

    Palettes are expanded, grey is repeated and CMYK converted, as Pillow does it; transparency is dropped, so the
    colours below transparent pixels show, as in Hugging Face pipelines. Of an animation or a file of several pages
    the first picture is taken. 16-bit grey keeps its upper 8 bits (Pillow alone would clip it to white).

    Args:
        source: a path, the bytes of a file, a PIL picture, or a uint8 array (H, W), (H, W, 1), (H, W, 3), (H, W, 4).

    Raises:
        InputError: there is no such file, it is no picture of a format in `FORMATS`, it is damaged, or it has
            more than `MAX_PIXELS` pixels.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _to_rgb(source, "the picture given")
    name, file = _file(source)
    with file, _open(name, file) as image:
        picture = _to_rgb(image, name)
        if picture is image:
            picture = image.copy()
        picture.info = {}
        return picture


def size(source: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """(width, height) in pixels of the upright picture, read from the header without decoding it.

    Raises:
        InputError: as for `load`, as far as the header shows it.
    """
    name, file = _file(source)
    with file, _open(name, file) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def _file(source: Any) -> tuple[str, BinaryIO]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not source:
            raise InputError("the picture given is empty (0 bytes)")
        return "the picture given", io.BytesIO(source)
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"a picture is a path, bytes, a PIL image or an array, not {type(source).__name__}")
    path = Path(source)
    try:
        if not path.is_file():
            what = "is a folder, not a picture" if path.is_dir() else "there is no such file"
            raise InputError(f"{path}: {what}")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes)")
        return str(path), path.open("rb")
    except (OSError, ValueError) as error:  # no permission, a name with a null byte, too long a name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise InputError(f"{str(path)[:200]!r}: {reason}") from None


def _open(name: str, file: BinaryIO) -> Image.Image:
    try:
        image = Image.open(file, formats=FORMATS)
        width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{name}: more than {MAX_PIXELS:,} pixels; make it smaller first") from None
    except Exception:  # Pillow's readers raise errors of every kind on broken headers
        raise InputError(
            f"{name}: not a picture that can be read here (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM), or damaged"
        ) from None
    _check_size(name, width, height)
    return image


def _check_size(name: str, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InputError(f"{name}: the picture has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: {width} x {height} is more than {MAX_PIXELS:,} pixels; make it smaller first")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """The first frame, upright, as RGB; the same object where nothing needs doing."""
    _check_size(name, *image.size)
    try:
        image.load()
        if _orientation(image) > 1:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
            image = image.convert("RGBA")  # the same colours as straight to RGB, without Pillow's warning
        return image if image.mode == "RGB" else image.convert("RGB")
    except Exception:  # decoders raise errors of every kind on damaged data
        raise InputError(f"{name}: the picture is damaged or cut short") from None


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF data: the picture itself may be sound
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise InputError(
            "a picture as an array is uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"not {array.dtype} {array.shape}"
        )
    _check_size("the picture given", array.shape[1], array.shape[0])
    if array.ndim == 3:
        array = array[:, :, 0] if array.shape[2] == 1 else array[:, :, :3]
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")


# --- preprocessor_config.json -----------------------------------------------------------------------------------

_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_ANY = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "resample": 2}
_SQUARE = {**_ANY, "square": True}  # a `size` that is one number means height and width ...
_SHORT = {**_ANY, "square": False}  # ... or the shortest edge
_CROP_224 = {"do_center_crop": True, "crop_size": 224}
_DETR = {**_SHORT, **_IMAGENET, "size": {"shortest_edge": 800, "longest_edge": 1333}, "max_size": 1333}

# What a family takes where its file is silent, and, with the keys that no file has (`square`, `resize`, ...), how it
# differs from the others. The names are those of `image_processor_type` without the ending.
_FAMILIES: dict[str, dict[str, Any]] = {
    "Beit": {**_SQUARE, **_HALF, "size": 224, "resample": 3, "crop_size": 224},
    "Bit": {**_SHORT, **_CLIP, **_CROP_224, "size": 224, "resample": 3},
    "Blip": {**_SQUARE, **_CLIP, "size": 384, "resample": 3},
    "CLIP": {**_SHORT, **_CLIP, **_CROP_224, "size": 224, "resample": 3},
    "ChineseCLIP": {**_SHORT, **_CLIP, **_CROP_224, "size": 224, "resample": 3},
    "ConditionalDetr": _DETR,
    "ConvNext": {**_SHORT, **_HALF, "size": 384, "resample": 3, "crop_pct": 0.875, "resize": "convnext"},
    "DINOv3ViT": {**_SQUARE, **_IMAGENET, "size": 224},
    "DPT": {**_SQUARE, **_HALF, "size": 384, "resample": 3, "resize": "dpt"},
    "DeformableDetr": _DETR,
    "DeiT": {**_SQUARE, **_HALF, **_CROP_224, "size": 256, "resample": 3},
    "Detr": _DETR,
    "EfficientNet": {
        **_SQUARE,
        **_HALF,
        "size": 346,
        "resample": 3,
        "crop_size": 289,
        "rescale_offset": False,
        "include_top": True,
    },
    "GLPN": {**_SQUARE, "do_normalize": None, "resize": "glpn", "size_divisor": 32},
    "GroundingDino": _DETR,
    "LayoutLMv3": {**_SQUARE, **_HALF, "size": 224},
    "Levit": {**_SHORT, **_IMAGENET, **_CROP_224, "size": 224, "resample": 3, "resize": "levit"},
    "Mask2Former": {**_DETR, "size_divisor": 32, "resize": "maskformer"},
    "MaskFormer": {**_DETR, "size_divisor": 32, "resize": "maskformer"},
    "MobileNetV1": {**_SHORT, **_HALF, **_CROP_224, "size": 256},
    "MobileNetV2": {**_SHORT, **_HALF, **_CROP_224, "size": 256},
    "MobileViT": {
        **_SHORT,
        "size": 224,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": 256,
        "do_normalize": None,
        "do_flip_channel_order": True,
    },
    "OwlViT": {**_SQUARE, **_CLIP, "size": 768, "resample": 3, "crop_size": 768},
    "PoolFormer": {
        **_SHORT,
        **_IMAGENET,
        **_CROP_224,
        "size": 224,
        "resample": 3,
        "crop_pct": 0.9,
        "resize": "poolformer",
    },
    "Pvt": {**_SQUARE, **_IMAGENET, "size": 224, "resample": 3},
    "RTDetr": {**_SHORT, **_IMAGENET, "size": [640, 640], "do_normalize": False},
    "Segformer": {**_SQUARE, **_IMAGENET, "size": 512},
    "Siglip": {**_SQUARE, **_HALF, "size": 224, "resample": 3},
    "Swin2SR": {**_SQUARE, "do_resize": None, "do_normalize": None, "pad": "symmetric", "size_divisor": 8},
    "ViT": {**_SQUARE, **_HALF, "size": 224},
    "VideoMAE": {**_SHORT, **_HALF, **_CROP_224, "size": 224},
    "Vilt": {**_SHORT, **_HALF, "size": 384, "resample": 3, "resize": "vilt", "size_divisor": 32},
    "Yolos": {**_DETR, "resize": "yolos"},
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the pixels of a picture go, in the order of the steps.

    Attributes:
        resize: (width, height) after resizing.
        crop: (left, top, right, bottom) in the resized picture; may reach beyond it, which is filled with black.
        pad: (width, height) in the end; filled up at the right and at the bottom, with zeros after normalising.
    """

    resize: tuple[int, int]
    crop: tuple[int, int, int, int] | None
    pad: tuple[int, int] | None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the array in the end."""
        if self.pad is not None:
            return self.pad
        if self.crop is not None:
            return self.crop[2] - self.crop[0], self.crop[3] - self.crop[1]
        return self.resize


def geometry(config: Mapping[str, Any], width: int, height: int) -> Geometry:
    """Where `preprocess` puts the pixels of a picture of this size.

    Raises:
        InputError: the configuration cannot be followed.
    """
    return _geometry(_resolve(config), width, height)


def preprocess(config: Mapping[str, Any], image: Image.Image) -> np.ndarray:
    """The array that a network takes: (3, H, W) float32.

    Equal, bit for bit, to what the PIL-backed image processors of transformers 5 compute from the same
    `preprocessor_config.json`, for the families in the table above. (DINOv3 has no PIL-backed one; there it is as near
    as 8-bit resizing comes.)

    Args:
        config: the contents of `preprocessor_config.json`.
        image: an RGB picture (see `load`).

    Raises:
        InputError: the configuration cannot be followed.
    """
    options = _resolve(config)
    where = _geometry(options, *image.size)
    if where.resize != image.size:
        image = image.resize(where.resize, _resample(options["resample"]))
    if where.crop is not None:
        image = image.crop(where.crop)
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    table = _table(options)
    channels = (2, 1, 0) if options.get("do_flip_channel_order") else (0, 1, 2)
    full_width, full_height = where.pad or (width, height)
    if (full_width, full_height) == (width, height):
        array = np.empty((3, height, width), np.float32)
        for i, channel in enumerate(channels):
            np.take(table[i], pixels[:, :, channel], out=array[i], mode="clip")
        return array
    array = np.zeros((3, full_height, full_width), np.float32)
    for i, channel in enumerate(channels):
        array[i, :height, :width] = table[i][pixels[:, :, channel]]
    if options.get("pad") == "symmetric":
        more = ((0, 0), (0, full_height - height), (0, full_width - width))
        array = np.pad(array[:, :height, :width], more, mode="symmetric")
    return array


def _resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the family's defaults filled in; null counts as not given, as in transformers."""
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "ViTImageProcessor")
    family = re.sub(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", kind)
    if family not in _FAMILIES:
        raise InputError(
            f"preprocessor_config.json: the image processor '{kind}' is not known here; known are "
            + ", ".join(_FAMILIES)
        )
    defaults = _FAMILIES[family]
    options = {**defaults, **{k: v for k, v in config.items() if v is not None}}
    for key in ("do_resize", "do_normalize"):  # None in the table: this family never does it
        if key in defaults and defaults[key] is None:
            options[key] = False
    return options


def _size(value: Any, name: str, square: bool = True, longest: int | None = None) -> dict[str, int]:
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
        raise InputError(f"preprocessor_config.json: '{name}' is no size: {value!r}")
    if any(not 1 <= edge <= 16384 for edge in size.values()):
        raise InputError(f"preprocessor_config.json: '{name}' is outside 1..16384: {value!r}")
    return size


def _geometry(options: Mapping[str, Any], width: int, height: int) -> Geometry:
    crop: tuple[int, int] | None = None
    if options.get("do_resize"):
        resized, crop = _resize(options, width, height)
        width, height = max(1, resized[0]), max(1, resized[1])  # extreme shapes round to nothing
        if width * height > MAX_PIXELS:
            raise InputError(f"the picture would be resized to {width} x {height} pixels, which is too many")
    box = None if crop is None else _center(width, height, crop)
    if options.get("do_center_crop"):
        wanted = _size(options.get("crop_size"), "crop_size")
        if not {"height", "width"} <= wanted.keys():
            raise InputError("preprocessor_config.json: 'crop_size' needs 'height' and 'width'")
        across, down = crop or (width, height)
        inner = _center(across, down, (wanted["width"], wanted["height"]))
        left, top = (box[0], box[1]) if box else (0, 0)
        box = (inner[0] + left, inner[1] + top, inner[2] + left, inner[3] + top)
    pad = None
    across, down = (box[2] - box[0], box[3] - box[1]) if box else (width, height)
    if options.get("pad") == "symmetric" and options.get("do_pad", True):
        step = int(options["size_divisor"])
        pad = ((across // step + 1) * step, (down // step + 1) * step)
    elif options.get("do_pad") and options.get("pad_size"):
        wanted = _size(options["pad_size"], "pad_size")
        pad = (wanted["width"], wanted["height"])
        if pad[0] < across or pad[1] < down:
            raise InputError(
                f"preprocessor_config.json: 'pad_size' {pad} is smaller than the picture, {across} x {down}"
            )
    return Geometry((width, height), box, pad)


def _center(width: int, height: int, crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the middle; negative where the picture is smaller than the crop."""
    left, top = (width - crop[0]) // 2, (height - crop[1]) // 2
    return left, top, left + crop[0], top + crop[1]


def _resize(options: Mapping[str, Any], width: int, height: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """((width, height) to resize to, (width, height) of a crop that belongs to the family's resizing)."""
    kind = options.get("resize", "")
    if kind == "glpn":
        step = int(options["size_divisor"])
        return (width // step * step, height // step * step), None
    size = _size(options.get("size"), "size", bool(options["square"]), options.get("max_size"))
    shortest, longest = size.get("shortest_edge"), size.get("longest_edge")
    if kind == "convnext":
        if shortest is None:
            raise InputError("preprocessor_config.json: a ConvNext 'size' needs 'shortest_edge'")
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
    if kind == "dpt":
        return _dpt(width, height, size, options), None
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
            "preprocessor_config.json: 'size' needs 'height' and 'width', 'shortest_edge', or 'max_height' and "
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


def _dpt(width: int, height: int, size: Mapping[str, int], options: Mapping[str, Any]) -> tuple[int, int]:
    if not {"height", "width"} <= size.keys():
        raise InputError("preprocessor_config.json: a DPT 'size' needs 'height' and 'width'")
    multiple = int(options.get("ensure_multiple_of", 1))
    across, down = size["width"] / width, size["height"] / height
    if options.get("keep_aspect_ratio"):  # scale as little as possible
        across = down = across if abs(1 - across) < abs(1 - down) else down
    return round(across * width / multiple) * multiple, round(down * height / multiple) * multiple


def _resample(code: Any) -> Image.Resampling:
    try:
        return Image.Resampling(code)
    except ValueError:
        raise InputError(f"preprocessor_config.json: 'resample' is 0 to 5, not {code!r}") from None


def _table(options: Mapping[str, Any]) -> np.ndarray:
    """(3, 256) float32: the value of each 8-bit value in each channel, with the roundings of transformers.

    One look-up instead of a multiplication in double precision, a subtraction and a division per pixel.
    """
    value = np.arange(256)
    if options.get("do_rescale"):
        value = (value.astype(np.float64) * options["rescale_factor"]).astype(np.float32)
        if options.get("rescale_offset"):
            value -= 1
    table = np.broadcast_to(value.astype(np.float32), (3, 256))
    if options.get("do_normalize"):
        mean, deviation = _channels(options, "image_mean"), _channels(options, "image_std")
        table = (table - mean) / deviation
    if options.get("include_top"):
        table = table / _channels(options, "image_std")
    return np.ascontiguousarray(table, np.float32)


def _channels(options: Mapping[str, Any], name: str) -> np.ndarray:
    """(3, 1) float32."""
    try:
        values = np.array(options[name], np.float32)
        return np.broadcast_to(values.reshape(-1, 1), (3, 1))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"preprocessor_config.json: '{name}' is one number or three") from None
