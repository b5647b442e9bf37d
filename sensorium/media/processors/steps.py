"""The steps from a picture to an array, one function each, and what some families make of the array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media.processors.families import FILE
from sensorium.media.processors.sizes import border, crop_size, middle, multiple_of, padding, resized_to, sides, size_of
from sensorium.ops import interpolation

Pixels = npt.NDArray[np.float32]

# --- steps on 8-bit pictures ------------------------------------------------------------------------------------


def _resized(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    if not options.get("do_resize"):
        return image
    size, crop = resized_to(options, *image.size)
    if size != image.size:
        image = image.resize(size, _resample(options["resample"]))
    return image if crop is None else image.crop(middle(*size, crop))


def _cropped(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    if not options.get("do_center_crop"):
        return image
    return image.crop(middle(*image.size, crop_size(options)))


def _inner(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Perceiver: the middle square, by the proportion of `size` to `crop_size`, before resizing."""
    if not options.get("do_center_crop"):
        return image
    part, whole, edge = sides(options), crop_size(options), min(image.size)
    return image.crop(middle(*image.size, (int(part[0] / whole[0] * edge), int(part[1] / whole[1] * edge))))


def _turned(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Donut: a page that lies is stood up, where the network reads standing ones, and the other way round."""
    width, height = sides(options)
    lies = (width < height and image.width > image.height) or (width > height and image.width < image.height)
    return image.transpose(Image.Transpose.ROTATE_270) if options.get("do_align_long_axis") and lies else image


def _thumbnail(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Smaller, if need be, so that the longer side fits into `size`."""
    if not options.get("do_thumbnail"):
        return image
    most = sides(options)
    width, height = min(image.width, most[0]), min(image.height, most[1])
    if (width, height) == image.size:
        return image
    if image.height > image.width:
        width = int(image.width * height / image.height)
    elif image.width > image.height:
        height = int(image.height * width / image.width)
    how = options.get("thumbnail", {})
    return image.resize(
        (width, height),
        _resample(how.get("resample", options["resample"])),
        reducing_gap=how.get("reducing_gap"),
    )


def _centred(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """In the middle of black of `size`."""
    if not options.get("do_pad"):
        return image
    width, height = sides(options)
    if width < image.width or height < image.height:
        raise InputError(f"{FILE}: a picture of {image.width} x {image.height} does not fit into 'size'")
    left, top = (width - image.width) // 2, (height - image.height) // 2
    return image.crop((-left, -top, width - left, height - top))


def _without_margin(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Nougat: the smallest box that holds all that is dark."""
    if not options.get("do_crop_margin"):
        return image
    grey = np.asarray(image.convert("L"))
    low, high = grey.min(), grey.max()
    if low == high:
        return image
    dark = (grey - low) / (high - low) * 255 < 200
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    return image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def _on_square(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Llava: in the middle of a square of the mean colour."""
    if not options.get("do_pad") or image.width == image.height:
        return image
    edge = max(image.size)
    red, green, blue = (int(255 * float(v)) for v in _channels(options, "image_mean").astype(np.float64)[:, 0])
    square = Image.new("RGB", (edge, edge), (red, green, blue))
    square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    return square


def _to_edges(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """EoMT: filled up with black at the right and at the bottom, to shortest edge x longest edge."""
    if not options.get("do_pad"):
        return image
    size = size_of(options.get("size"), "size", False, options.get("max_size"))
    down = size["shortest_edge"]
    across = size.get("longest_edge") or down
    return image.crop((0, 0, max(across, image.width), max(down, image.height)))


# --- values -----------------------------------------------------------------------------------------------------


def _resample(code: Any) -> Image.Resampling:
    try:
        return Image.Resampling(code)
    except ValueError:
        raise CallError(f"{FILE}: 'resample' is 0 to 5, not {code!r}") from None


def values(image: Image.Image, options: Mapping[str, Any]) -> Pixels:
    """(3, H, W): rescaled and normalised."""
    return _looked_up(image, options, _table(options))


def _rescaled(image: Image.Image, options: Mapping[str, Any]) -> Pixels:
    return _looked_up(image, options, _table({**options, "do_normalize": False}))


def _looked_up(image: Image.Image, options: Mapping[str, Any], table: Pixels) -> Pixels:
    pixels = np.asarray(image)
    array = np.empty((3, *pixels.shape[:2]), np.float32)
    channels = (2, 1, 0) if options.get("do_flip_channel_order") else (0, 1, 2)
    for i, channel in enumerate(channels):
        np.take(table[i], pixels[:, :, channel], out=array[i], mode="clip")
    return array


def _table(options: Mapping[str, Any]) -> Pixels:
    """(3, 256) float32: the value of each 8-bit value in each channel, with the roundings of transformers.

    One look-up instead of a multiplication in double precision, a subtraction and a division per pixel.
    """
    value: np.ndarray = np.arange(256)
    if options.get("do_rescale"):
        value = (value.astype(np.float64) * options["rescale_factor"]).astype(np.float32)
        if options.get("rescale_offset") or options.get("offset"):
            value -= 1
    table = np.broadcast_to(value.astype(np.float32), (3, 256))
    if options.get("do_normalize"):
        mean, deviation = _channels(options, "image_mean"), _channels(options, "image_std")
        table = (table - mean) / deviation
    if options.get("include_top"):
        table = table / _channels(options, "image_std")
    return np.ascontiguousarray(table, np.float32)


def _channels(options: Mapping[str, Any], name: str) -> Pixels:
    """(3, 1) float32."""
    try:
        numbers = np.array(options[name], np.float32)
        return np.broadcast_to(numbers.reshape(-1, 1), (3, 1))
    except (KeyError, TypeError, ValueError):
        raise CallError(f"{FILE}: '{name}' is one number or three") from None


# --- steps on real numbers --------------------------------------------------------------------------------------


def _padded(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    height, width = pixels.shape[1:]
    where = padding(options, width, height)
    if where is None or where == (0, 0, width, height):
        return pixels
    left, top, across, down = where
    around = ((0, 0), (top, down - height - top), (left, across - width - left))
    if options.get("pad") == "symmetric":
        return np.pad(pixels, around, mode="symmetric")
    return np.pad(pixels, around)


def _grey(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    """One brightness in all three channels, unless they are equal already."""
    if not options.get("do_grayscale") or (np.array_equal(*pixels[:2]) and np.array_equal(*pixels[1:])):
        return pixels
    grey = pixels[0] * 0.2989 + pixels[1] * 0.5870 + pixels[2] * 0.1140
    return np.stack([grey] * 3)


def _reflected(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    """ZoeDepth: a mirrored border."""
    across, down = border(options, pixels.shape[2], pixels.shape[1])
    return np.pad(pixels, ((0, 0), (down, down), (across, across)), mode="reflect")


def _interpolated(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    """ZoeDepth: resized as real numbers."""
    if not options.get("do_resize"):
        return pixels
    modes: dict[int, interpolation.Mode] = {2: "bilinear", 3: "bicubic"}
    code = int(_resample(options["resample"]))
    if code not in modes:
        raise CallError(f"{FILE}: 'resample' of '{options['kind']}' is 2 or 3, not {code}")
    height, width = pixels.shape[1:]
    across, down = multiple_of(width, height, options)
    return interpolation.resize(pixels, (max(1, down), max(1, across)), modes[code], align_corners=True)


def _square_right(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    """Owlv2: zeros at the right or at the bottom."""
    edge = max(pixels.shape[1:])
    around = ((0, 0), (0, edge - pixels.shape[1]), (0, edge - pixels.shape[2]))
    return np.pad(pixels, around) if options.get("do_pad") else pixels


def _smoothed(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    """Owlv2: smoothed and resized as `scipy.ndimage` does it."""
    if not options.get("do_resize"):
        return pixels
    across, down = sides(options)
    return interpolation.smooth_resize(pixels, (down, across))


def _normalized(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    if not options.get("do_normalize"):
        return pixels
    mean, deviation = _channels(options, "image_mean"), _channels(options, "image_std")
    return np.ascontiguousarray((pixels - mean[:, :, None]) / deviation[:, :, None])


FUNCTIONS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "resize": _resized,
    "crop": _cropped,
    "inner": _inner,
    "turn": _turned,
    "thumbnail": _thumbnail,
    "centre": _centred,
    "margin": _without_margin,
    "square": _on_square,
    "edges": _to_edges,
    "values": values,
    "rescale": _rescaled,
    "pad": _padded,
    "grey": _grey,
    "reflect": _reflected,
    "interpolate": _interpolated,
    "square right": _square_right,
    "smooth": _smoothed,
    "normalize": _normalized,
}


# --- further arrays ---------------------------------------------------------------------------------------------


def patches(pixels: Pixels, patch: int, most: int) -> dict[str, np.ndarray]:
    """SigLIP 2: rows of patches, filled up with zeros to `most`."""
    down, across = pixels.shape[1] // patch, pixels.shape[2] // patch
    rows = pixels[:, : down * patch, : across * patch].reshape(3, down, patch, across, patch)
    rows = rows.transpose(1, 3, 2, 4, 0).reshape(down * across, -1)
    filled = np.zeros((max(most, len(rows)), rows.shape[1]), np.float32)
    filled[: len(rows)] = rows
    mask = (np.arange(len(filled)) < len(rows)).astype(np.int32)
    return {
        "pixel_values": filled,
        "pixel_attention_mask": mask,
        "spatial_shapes": np.array([down, across], np.int64),
    }


def nearest_colours(pixels: Pixels, clusters: Any) -> np.ndarray:
    """ImageGPT: the number of the nearest colour, pixel by pixel."""
    if clusters is None:
        raise CallError(f"{FILE}: 'clusters' is missing: the colours that an ImageGPT model knows")
    colours = np.asarray(clusters)
    points = pixels.transpose(1, 2, 0).reshape(-1, 3)
    squares = (points**2).sum(1)[:, None] - 2 * points @ colours.T + (colours**2).sum(1)[None]
    numbers: np.ndarray = np.argmin(squares, axis=1)
    return numbers
