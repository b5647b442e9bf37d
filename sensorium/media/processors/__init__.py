"""From a picture to the arrays that `preprocessor_config.json` describes, as Hugging Face's PIL-backed processors do.

A family of image processors is a row of `families.FAMILIES`: what it takes where its file is silent, and the steps it
is made of. Each step is one function of `steps`; `sizes` has the rules for sizes. A processor that is not in the table
is followed as far as it uses the usual keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sensorium.errors import CallError
from sensorium.media import tiles
from sensorium.media.processors import steps
from sensorium.media.processors.families import FAMILIES, OF_MODEL, STEPS, TYPES, resolve
from sensorium.media.processors.families import FILE as FILE
from sensorium.media.processors.sizes import border as border
from sensorium.media.processors.sizes import crop_size, middle, padding, resized_to, size_of
from sensorium.media.processors.steps import Pixels

# The mask of a picture that fills its array: for networks that ask for one, as DETR in the folders that transformers.js
# runs. They stretch it over their maps, so that any size will do; this is the one that they are given there.
WHOLE = np.ones((64, 64), np.int64)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the pixels of a picture go, in the order of the steps.

    Attributes:
        resize: (width, height) after resizing.
        crop: (left, top, right, bottom) in the resized picture; may reach beyond it, which is filled with black.
        pad: (left, top, width, height): where the picture lies in the whole, and the whole; None without padding.
    """

    resize: tuple[int, int]
    crop: tuple[int, int, int, int] | None
    pad: tuple[int, int, int, int] | None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the array in the end."""
        if self.pad is not None:
            return self.pad[2:]
        if self.crop is not None:
            return self.crop[2] - self.crop[0], self.crop[3] - self.crop[1]
        return self.resize


def settings(files: Mapping[str, Any]) -> dict[str, Any]:
    """The image processor's settings in a model's folder, as `preprocess` takes them.

    They stand in `preprocessor_config.json`, or, as transformers 5 writes it where a tokenizer belongs to it, within
    `processor_config.json`. Where no processor is named, the `model_type` of `config.json` says which it is.

    Raises:
        InputError: there are none.
    """
    found = files.get(FILE)
    if not isinstance(found, Mapping):
        whole = files.get("processor_config.json")
        nested = whole if isinstance(whole, Mapping) else {}
        found = nested.get("image_processor") or files.get("video_preprocessor_config.json")
        found = found or nested.get("video_processor")
    if not isinstance(found, Mapping):
        raise CallError(f"{FILE} is missing: it says how a picture becomes the network's input")
    config = files.get("config.json")
    kind = str(config.get("model_type", "")) if isinstance(config, Mapping) else ""
    if kind in ("aya_vision", "internvl"):  # as its processor has it, whatever its file says
        found = {**found, "crop_to_patches": True}
    if step := lattice(config):
        found = {**found, "patch_size": step}
    if not any(found.get(key) for key in TYPES):
        plain = {family.lower(): family for family in FAMILIES}
        family = OF_MODEL.get(kind) or plain.get(re.sub(r"[^a-z0-9]", "", kind.lower()))
        if family:
            return {**found, "image_processor_type": f"{family}ImageProcessor"}
    return dict(found)


def lattice(config: Any) -> int:
    """Pixels from one vector of a picture to the next, of models that see with Pixtral; 0 of others."""
    eye = config.get("vision_config") if isinstance(config, Mapping) else None
    if not isinstance(eye, Mapping) or eye.get("model_type") != "pixtral":
        return 0
    merged = 2 if config.get("model_type") == "mistral3" else 1
    return int(eye.get("patch_size", 16)) * int(config.get("spatial_merge_size", merged))


def geometry(config: Mapping[str, Any], width: int, height: int) -> Geometry:
    """Where `preprocess` puts the pixels of a picture of this size.

    Raises:
        InputError: the configuration cannot be followed, or it does more than to resize, crop and pad.
    """
    options = resolve(config)
    if options["steps"] != STEPS:
        raise CallError(f"{FILE}: the steps of '{options['kind']}' are not only resizing, cropping and padding")
    box: tuple[int, int, int, int] | None = None
    if options.get("do_resize"):
        (width, height), crop = resized_to(options, width, height)
        box = None if crop is None else middle(width, height, crop)
    resized = (width, height)
    if options.get("do_center_crop"):
        across, down = (box[2] - box[0], box[3] - box[1]) if box else resized
        inner = middle(across, down, crop_size(options))
        left, top = (box[0], box[1]) if box else (0, 0)
        box = (inner[0] + left, inner[1] + top, inner[2] + left, inner[3] + top)
    across, down = (box[2] - box[0], box[3] - box[1]) if box else resized
    return Geometry(resized, box, padding(options, across, down))


def preprocess(config: Mapping[str, Any], image: Image.Image) -> Pixels:
    """The array that a network takes: (3, H, W) float32.

    Equal to what the PIL-backed image processors of transformers 5 compute from the same `preprocessor_config.json`:
    bit for bit, but for the two that resize real numbers (Owlv2, ZoeDepth), which agree to 1e-6. (Some families, such
    as DINOv3, have no PIL-backed one; there it is as near as 8-bit resizing comes.)

    Args:
        config: the contents of `preprocessor_config.json`.
        image: an RGB picture (see `image.load`).

    Raises:
        InputError: the configuration cannot be followed.
    """
    options = resolve(config)
    state: Any = image
    for step in options["steps"]:
        state = steps.FUNCTIONS[step](state, options)
    pixels: Pixels = state
    return pixels


def arrays(config: Mapping[str, Any], image: Image.Image) -> dict[str, np.ndarray]:
    """All that an image processor gives of one picture, by name.

    Nearly always `pixel_values` alone; SigLIP 2 gives patches with `pixel_attention_mask` and `spatial_shapes`,
    ImageGPT the numbers of colours, `input_ids`, Qwen2-VL rows of patches with `image_grid_thw`, Pix2Struct
    `flattened_patches`, and families that cut
    pictures into tiles `pixel_values` of each, (tiles, 3, H, W), with their rows and columns, `tiles`, and the
    picture's height and width, `image_sizes`.

    Raises:
        InputError: the configuration cannot be followed.
    """
    options = resolve(config)
    if options["family"] == "Pix2Struct":
        return tiles.flattened(image, options)
    if "tiles" in options:
        pictures, grid = options["tiles"](image, options, size_of(options["size"], "size", bool(options["square"])))
        found = np.stack([steps.values(picture, options) for picture in pictures])
        return {"pixel_values": found, "tiles": np.array(grid), "image_sizes": np.array([image.height, image.width])}
    pixels = preprocess(config, image)
    if options["family"] == "Siglip2":
        return steps.patches(pixels, int(options["patch_size"]), int(options["max_num_patches"]))
    if options["family"] == "Qwen2VL":
        return tiles.patches(pixels, options)
    if options["family"] == "ImageGPT" and options["do_color_quantize"]:
        return {"input_ids": steps.nearest_colours(pixels, options.get("clusters"))}
    return {"pixel_values": pixels}
