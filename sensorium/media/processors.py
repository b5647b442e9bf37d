"""From a picture to the arrays that `preprocessor_config.json` describes, as Hugging Face's PIL-backed processors do.

A family of image processors is a row of `_FAMILIES`: what it takes where its file is silent, and the steps it is made
of. Each step is one function here. A processor that is not in the table is followed as far as it uses the usual keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media import tiles
from sensorium.ops import interpolation

Pixels = npt.NDArray[np.float32]

MAX_PIXELS = 50_000_000  # of a picture after resizing
FILE = "preprocessor_config.json"

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
_DPT = {**_SQUARE, **_HALF, "size": 384, "resample": 3, "resize": "dpt", "pad": "around"}
_GREY = {**_SHORT, "size": [480, 640], "do_normalize": None, "steps": ("resize", "values", "grey")}
_PAGE = {**_SQUARE, "do_pad": True, "do_thumbnail": True, "resize": "page"}
_IDEFICS = {
    **_SHORT,
    **_HALF,
    "size": {"longest_edge": 1456},
    "resample": 1,
    "do_image_splitting": True,
    "max_image_size": {"longest_edge": 364},
    "tiles": tiles.idefics,
}
_CLIP_224 = {**_SHORT, **_CLIP, **_CROP_224, "size": 224, "resample": 3}

# The mask of a picture that fills its array: for networks that ask for one, as DETR in the folders that transformers.js
# runs. They stretch it over their maps, so that any size will do; this is the one that they are given there.
WHOLE = np.ones((64, 64), np.int64)

# The steps, in order, of a family that names no others.
_STEPS = ("resize", "crop", "values", "pad")
# The keys that no file has: `square`, `resize` (the rule for the size), `pad` (the rule for filling up), `steps`. A
# family that never resizes, crops, rescales or normalises, whatever its file says, has None there.
_FAMILIES: dict[str, dict[str, Any]] = {
    "Beit": {**_SQUARE, **_HALF, "size": 224, "resample": 3, "crop_size": 224},
    "Bit": _CLIP_224,
    "Blip": {**_SQUARE, **_CLIP, "size": 384, "resample": 3},
    "BridgeTower": {
        **_SHORT,
        **_CLIP,
        "size": 288,
        "resample": 3,
        "resize": "vilt",
        "size_divisor": 32,
        "do_center_crop": True,
        "crop_size": 288,
    },
    "CLIP": _CLIP_224,
    "Chameleon": {
        **_SHORT,
        "size": 512,
        "resample": 1,
        "do_center_crop": True,
        "crop_size": 512,
        "rescale_factor": 0.0078,
        "image_mean": [1.0, 1.0, 1.0],
        "image_std": [1.0, 1.0, 1.0],
    },
    "ChineseCLIP": _CLIP_224,
    "ConditionalDetr": _DETR,
    "ConvNext": {**_SHORT, **_HALF, "size": 384, "resample": 3, "crop_pct": 0.875, "resize": "convnext"},
    "DINOv3ViT": {**_SQUARE, **_IMAGENET, "size": 224},
    "DPT": _DPT,
    "DeformableDetr": _DETR,
    "DeiT": {**_SQUARE, **_HALF, **_CROP_224, "size": 256, "resample": 3},
    "DepthPro": {**_SQUARE, **_HALF, "size": 1536},
    "Detr": _DETR,
    "Donut": {
        **_PAGE,
        **_HALF,
        "size": [2560, 1920],
        "steps": ("turn", "resize", "thumbnail", "centre", "crop", "values"),
    },
    "EfficientLoFTR": {**_GREY, "do_grayscale": True},
    "EfficientNet": {
        **_SQUARE,
        **_HALF,
        "size": 346,
        "resample": 3,
        "crop_size": 289,
        "rescale_offset": False,
        "include_top": True,
    },
    "Eomt": {
        **_SHORT,
        **_IMAGENET,
        "size": {"shortest_edge": 640, "longest_edge": 640},
        "steps": ("resize", "edges", "values"),
    },
    "Flava": {**_SQUARE, **_CLIP, **_CROP_224, "size": 224, "resample": 3},
    "GLPN": {**_SQUARE, "do_normalize": None, "resize": "glpn", "size_divisor": 32},
    "GroundingDino": _DETR,
    "Gemma3": {**_SQUARE, **_HALF, "size": 224, "do_pan_and_scan": False},
    "GotOcr2": {
        **_SQUARE,
        **_CLIP,
        "size": 384,
        "resample": 3,
        "crop_to_patches": False,
        "min_patches": 1,
        "max_patches": 12,
        "tiles": tiles.nearest_shape,
    },
    "Idefics": {**_SQUARE, **_CLIP, "size": 224, "resample": 3},
    "Idefics3": _IDEFICS,
    "ImageGPT": {**_SQUARE, **_HALF, "size": 256, "do_color_quantize": True},
    "LayoutLMv2": {
        **_SQUARE,
        "size": 224,
        "do_rescale": None,
        "do_normalize": None,
        "do_flip_channel_order": True,
    },
    "LayoutLMv3": {**_SQUARE, **_HALF, "size": 224},
    "Levit": {**_SHORT, **_IMAGENET, **_CROP_224, "size": 224, "resample": 3, "resize": "levit"},
    "LightGlue": {**_GREY, "do_grayscale": True},
    "Llava": {**_CLIP_224, "steps": ("square", "resize", "crop", "values")},
    "LlavaNext": {
        **_SHORT,
        **_CLIP,
        "size": 224,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": 224,
        "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        "tiles": tiles.nearest_size,
    },
    "LlavaOnevision": {
        **_SQUARE,
        **_CLIP,
        "size": 384,
        "resample": 3,
        "image_grid_pinpoints": [[384 * down, 384 * across] for down in range(1, 7) for across in range(1, 7)],
        "tiles": tiles.nearest_size,
    },
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
    "Nougat": {
        **_PAGE,
        **_IMAGENET,
        "size": [896, 672],
        "do_crop_margin": True,
        "thumbnail": {"resample": 3, "reducing_gap": 2.0},
        "steps": ("margin", "turn", "resize", "thumbnail", "centre", "values"),
    },
    "OneFormer": _DETR,
    "OwlViT": {**_SQUARE, **_CLIP, "size": 768, "resample": 3, "crop_size": 768},
    "Owlv2": {
        **_SQUARE,
        **_CLIP,
        "size": 960,
        "do_pad": True,
        "steps": ("rescale", "square right", "smooth", "normalize"),
    },
    "PPChart2Table": {**_SQUARE, **_CLIP, "size": 1024, "resample": 3},
    "Perceiver": {
        **_SQUARE,
        **_IMAGENET,
        "size": 224,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": 256,
        "steps": ("inner", "resize", "values"),
    },
    "Pix2Struct": {
        **_SQUARE,
        "patch_size": {"height": 16, "width": 16},
        "max_patches": 2048,
        "is_vqa": False,
    },
    "PoolFormer": {
        **_SHORT,
        **_IMAGENET,
        **_CROP_224,
        "size": 224,
        "resample": 3,
        "crop_pct": 0.9,
        "resize": "poolformer",
    },
    "Pixtral": {
        **_SQUARE,
        **_CLIP,
        "size": {"longest_edge": 1024},
        "resample": 3,
        "resize": "pixtral",
        "patch_size": 16,
        "do_pad": None,
    },
    "PromptDepthAnything": _DPT,
    "Pvt": {**_SQUARE, **_IMAGENET, "size": 224, "resample": 3},
    "Qwen2VL": {
        **_SHORT,
        **_CLIP,
        "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
        "resample": 3,
        "resize": "blocks",
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
    },
    "RTDetr": {**_SHORT, **_IMAGENET, "size": [640, 640], "do_normalize": False},
    "RfDetr": {**_SHORT, **_IMAGENET, "size": [560, 560]},
    "Sam": {**_SQUARE, **_IMAGENET, "size": {"longest_edge": 1024}, "resize": "sam", "do_pad": True, "pad_size": 1024},
    "Sam2": {**_SQUARE, **_IMAGENET, "size": 1024},
    "Sam3": {**_SQUARE, **_HALF, "size": 1008},
    "SegGpt": {**_SQUARE, **_IMAGENET, "size": 448, "resample": 3},
    "Segformer": {**_SQUARE, **_IMAGENET, "size": 512},
    "Siglip": {**_SHORT, **_HALF, "size": [224, 224], "resample": 3},
    "Siglip2": {**_SQUARE, **_HALF, "patch_size": 16, "max_num_patches": 256, "resize": "siglip2"},
    "SmolVLM": _IDEFICS,
    "SuperGlue": {**_GREY, "do_grayscale": True},
    "SuperPoint": {**_GREY, "do_grayscale": False},
    "Swin2SR": {**_SQUARE, "do_resize": None, "do_normalize": None, "pad": "symmetric", "size_divisor": 8},
    "TextNet": {**_SHORT, **_IMAGENET, "size": 640, "crop_size": 224, "resize": "textnet", "size_divisor": 32},
    "ViT": {**_SQUARE, **_HALF, "size": 224},
    "VJEPA2": {**_SHORT, **_IMAGENET, "size": 292, "do_center_crop": True, "crop_size": 256},
    "VideoMAE": {**_SHORT, **_HALF, **_CROP_224, "size": 224},
    "Timesformer": {**_SHORT, **_IMAGENET, **_CROP_224, "size": 224},
    "Vilt": {**_SHORT, **_HALF, "size": 384, "resample": 3, "resize": "vilt", "size_divisor": 32},
    "VitPose": {**_SQUARE, **_IMAGENET, "size": [256, 192], "do_resize": None},
    "Vivit": {**_SHORT, **_HALF, **_CROP_224, "size": 256, "rescale_factor": 1 / 127.5, "offset": True},
    "Yolos": {**_DETR, "resize": "yolos"},
    "ZoeDepth": {
        **_SQUARE,
        **_HALF,
        "size": [384, 512],
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 1 / 32,
        "do_pad": True,
        "steps": ("rescale", "reflect", "interpolate", "normalize"),
    },
}
# The keys that may name the processor.
_TYPES = ("image_processor_type", "feature_extractor_type", "video_processor_type")
# What a processor that is not in the table does.
_GENERAL = {"square": True, "resample": 2, "rescale_factor": 1 / 255}
_USUAL = {
    "do_resize", "size", "resample", "default_to_square", "do_center_crop", "crop_size", "do_rescale",
    "rescale_factor", "do_normalize", "image_mean", "image_std", "do_pad", "pad_size", "do_convert_rgb",
    "do_flip_channel_order",
    "size_divisibility",
}  # fmt: skip
# Keys that change nothing of one picture's array.
_IDLE = {
    "image_processor_type", "feature_extractor_type", "video_processor_type", "processor_class", "auto_map",
    "data_format", "input_data_format", "device", "return_tensors", "disable_grouping", "image_seq_length",
    "do_reduce_labels", "reduce_labels", "ignore_index", "num_labels", "format", "do_convert_annotations", "max_size",
    "model_input_names",
}  # fmt: skip
# The processor's family by `model_type`, for files that do not name it and where it is called otherwise.
_OF_MODEL = {
    "align": "EfficientNet",
    "convnextv2": "ConvNext",
    "cvt": "ConvNext",
    "d_fine": "RTDetr",
    "data2vec-vision": "Beit",
    "deimv2": "RTDetr",
    "depth_anything": "DPT",
    "dinov2": "Bit",
    "dinov2_with_registers": "Bit",
    "donut-swin": "Donut",
    "eomt_dinov3": "Eomt",
    "focalnet": "Bit",
    "hiera": "Bit",
    "lw_detr": "DeformableDetr",
    "aya_vision": "GotOcr2",
    "internvl": "GotOcr2",
    "mistral3": "Pixtral",
    "mm-grounding-dino": "GroundingDino",
    "mobilevitv2": "MobileViT",
    "omdet-turbo": "Detr",
    "paligemma": "Siglip",
    "pixio": "Bit",
    "pvt_v2": "Pvt",
    "qwen2_5_vl": "Qwen2VL",
    "qwen3_vl": "Qwen2VL",
    "regnet": "ConvNext",
    "resnet": "ConvNext",
    "rt_detr_v2": "RTDetr",
    "edgetam": "Sam2",
    "edgetam_video": "Sam2",
    "sam2_video": "Sam2",
    "sam3_tracker": "Sam3",
    "sam_hq": "Sam",
    "table-transformer": "Detr",
    "timesformer": "VideoMAE",
    "udop": "LayoutLMv3",
    "upernet": "Segformer",
}
_CLIPS = [
    "aimv2",
    "altclip",
    "clip",
    "florence2",
    "git",
    "groupvit",
    "kosmos-2",
    "metaclip_2",
    "mlcd",
    "vipllava",
    "xclip",
]
_OF_MODEL |= dict.fromkeys(_CLIPS, "CLIP")


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
    if not any(found.get(key) for key in _TYPES):
        plain = {family.lower(): family for family in _FAMILIES}
        family = _OF_MODEL.get(kind) or plain.get(re.sub(r"[^a-z0-9]", "", kind.lower()))
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


def border(config: Mapping[str, Any], width: int, height: int) -> tuple[int, int]:
    """Width and height of the mirrored border that is put around a picture of this size; (0, 0) for most families."""
    options = _resolve(config)
    if "reflect" not in options["steps"] or not options.get("do_pad"):
        return 0, 0
    across, down = (int(np.sqrt(edge / 2) * 3) for edge in (width, height))
    return across, down


def geometry(config: Mapping[str, Any], width: int, height: int) -> Geometry:
    """Where `preprocess` puts the pixels of a picture of this size.

    Raises:
        InputError: the configuration cannot be followed, or it does more than to resize, crop and pad.
    """
    options = _resolve(config)
    if options["steps"] != _STEPS:
        raise CallError(f"{FILE}: the steps of '{options['kind']}' are not only resizing, cropping and padding")
    box: tuple[int, int, int, int] | None = None
    if options.get("do_resize"):
        (width, height), crop = _resize(options, width, height)
        box = None if crop is None else _middle(width, height, crop)
    resized = (width, height)
    if options.get("do_center_crop"):
        across, down = (box[2] - box[0], box[3] - box[1]) if box else resized
        inner = _middle(across, down, _crop_size(options))
        left, top = (box[0], box[1]) if box else (0, 0)
        box = (inner[0] + left, inner[1] + top, inner[2] + left, inner[3] + top)
    across, down = (box[2] - box[0], box[3] - box[1]) if box else resized
    return Geometry(resized, box, _padding(options, across, down))


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
    options = _resolve(config)
    state: Any = image
    for step in options["steps"]:
        state = _FUNCTIONS[step](state, options)
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
    options = _resolve(config)
    if options["family"] == "Pix2Struct":
        return tiles.flattened(image, options)
    if "tiles" in options:
        pictures, grid = options["tiles"](image, options, _size(options["size"], "size", bool(options["square"])))
        found = np.stack([_values(picture, options) for picture in pictures])
        return {"pixel_values": found, "tiles": np.array(grid), "image_sizes": np.array([image.height, image.width])}
    pixels = preprocess(config, image)
    if options["family"] == "Siglip2":
        return _patches(pixels, int(options["patch_size"]), int(options["max_num_patches"]))
    if options["family"] == "Qwen2VL":
        return tiles.patches(pixels, options)
    if options["family"] == "ImageGPT" and options["do_color_quantize"]:
        return {"input_ids": _nearest_colours(pixels, options.get("clusters"))}
    return {"pixel_values": pixels}


def _resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the family's defaults filled in; null counts as not given, as in transformers."""
    kind = next((str(config[key]) for key in _TYPES if config.get(key)), "ViTImageProcessor")
    family = re.sub(r"(ImageProcessor|FeatureExtractor|VideoProcessor)(Fast|Pil)?$", "", kind)
    given = {k: v for k, v in config.items() if v is not None}
    if family not in _FAMILIES:
        for key, value in given.items():
            if value is not False and key not in _USUAL and key not in _IDLE and not key.startswith("_"):
                raise CallError(f"{FILE}: the image processor '{kind}' is not known here, nor what its '{key}' does")
    defaults = _FAMILIES.get(family, _GENERAL)
    options = {"steps": _STEPS, **defaults, **given, "family": family, "kind": kind}
    options["square"] = bool(given.get("default_to_square", defaults["square"]))
    for key, value in defaults.items():
        if value is None:
            options[key] = False
    if options.get("do_pan_and_scan"):
        raise CallError(f"{FILE}: 'do_pan_and_scan' is not known here: say false, and a picture is seen as a whole")
    if family == "Swin2SR" and isinstance(given.get("pad_size"), int):  # as older files call it
        options["size_divisor"] = given["pad_size"]
    return options


# --- sizes ------------------------------------------------------------------------------------------------------


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
        raise CallError(f"{FILE}: '{name}' is no size: {value!r}")
    if any(not 1 <= edge <= 16384 for edge in size.values()):
        raise CallError(f"{FILE}: '{name}' is outside 1..16384: {value!r}")
    return size


def _sides(options: Mapping[str, Any], name: str = "size") -> tuple[int, int]:
    """(width, height) of a size that has to name both."""
    size = _size(options.get(name), name)
    if not {"height", "width"} <= size.keys():
        raise CallError(f"{FILE}: the '{name}' of '{options['kind']}' needs 'height' and 'width'")
    return size["width"], size["height"]


def _crop_size(options: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height)."""
    value = options.get("crop_size")
    if isinstance(value, Mapping) and value.get("shortest_edge"):
        value = value["shortest_edge"]
    return _sides({**options, "crop_size": value}, "crop_size")


def _middle(width: int, height: int, crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the middle; negative where the picture is smaller than the crop."""
    left, top = (width - crop[0]) // 2, (height - crop[1]) // 2
    return left, top, left + crop[0], top + crop[1]


def _resize(options: Mapping[str, Any], width: int, height: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """((width, height) to resize to, (width, height) of a crop that belongs to the family's resizing)."""
    (across, down), crop = _rule(options, width, height)
    if step := int(options.get("size_divisibility") or 0):  # of transformers.js
        across, down = (max(1, edge // step) * step for edge in (across, down))
    across, down = max(1, across), max(1, down)  # extreme shapes round to nothing
    if across * down > MAX_PIXELS:
        raise InputError(f"the picture would be resized to {across} x {down} pixels, which is too many")
    return (across, down), crop


def _rule(options: Mapping[str, Any], width: int, height: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    kind = options.get("resize", "")
    if kind == "glpn":
        step = int(options["size_divisor"])
        return (width // step * step, height // step * step), None
    if kind == "siglip2":
        return _patched(width, height, int(options["patch_size"]), int(options["max_num_patches"])), None
    if kind == "blocks":
        return tiles.whole_patches(width, height, options), None
    size = _size(options.get("size"), "size", bool(options["square"]), options.get("max_size"))
    if kind == "pixtral":
        patch = _size(options["patch_size"], "patch_size")
        most = (size.get("longest_edge") or size["width"], size.get("longest_edge") or size["height"])
        if (ratio := max(height / most[1], width / most[0])) > 1:
            width, height = math.floor(width / ratio), math.floor(height / ratio)
        return (
            math.ceil(width / patch["width"]) * patch["width"],
            math.ceil(height / patch["height"]) * patch["height"],
        ), None
    shortest, longest = size.get("shortest_edge"), size.get("longest_edge")
    if kind == "convnext":
        if shortest is None:
            raise CallError(f"{FILE}: a ConvNext 'size' needs 'shortest_edge'")
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
    if kind == "textnet" and shortest:
        step = int(options["size_divisor"])
        across, down = _shortest(width, height, shortest)
        return (math.ceil(across / step) * step, math.ceil(down / step) * step), None
    if kind == "sam" and longest:
        scale = longest / max(width, height)
        return (int(width * scale + 0.5), int(height * scale + 0.5)), None
    if kind == "page":
        return _shortest(width, height, min(_sides(options))), None
    if kind == "dpt":
        return _multiple(width, height, options), None
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
            f"{FILE}: 'size' needs 'height' and 'width', 'shortest_edge', or 'max_height' and "
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


def _multiple(width: int, height: int, options: Mapping[str, Any]) -> tuple[int, int]:
    """DPT's rule: edges that are multiples of a number, with the proportions kept or not."""
    wide, high = _sides(options)
    multiple = options.get("ensure_multiple_of", 1)
    across, down = wide / width, high / height
    if options.get("keep_aspect_ratio"):  # scale as little as possible
        across = down = across if abs(1 - across) < abs(1 - down) else down
    return int(round(across * width / multiple) * multiple), int(round(down * height / multiple) * multiple)


def _patched(width: int, height: int, patch: int, most: int) -> tuple[int, int]:
    """SigLIP 2's rule: the largest picture of these proportions with at most so many whole patches."""

    def edges(scale: float) -> tuple[int, int]:
        across, down = (max(patch, math.ceil(edge * scale / patch) * patch) for edge in (width, height))
        return across, down

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        scale = (low + high) / 2
        across, down = edges(scale)
        if (down / patch) * (across / patch) <= most:
            low = scale
        else:
            high = scale
    return edges(low)


def _padding(options: Mapping[str, Any], width: int, height: int) -> tuple[int, int, int, int] | None:
    """(left, top, whole width, whole height), or None where nothing is filled up."""
    kind = options.get("pad")
    if kind == "symmetric":
        if not options.get("do_pad", True):
            return None
        step = int(options["size_divisor"])
        return 0, 0, (width // step + 1) * step, (height // step + 1) * step
    if not options.get("do_pad"):
        return None
    if kind == "around":
        if not options.get("size_divisor"):
            return None
        step = int(options["size_divisor"])
        across, down = math.ceil(width / step) * step, math.ceil(height / step) * step
        return (across - width) // 2, (down - height) // 2, across, down
    if not options.get("pad_size"):
        return None  # to the largest of a batch, which one picture is by itself
    across, down = _sides(options, "pad_size")
    if across < width or down < height:
        raise InputError(f"{FILE}: 'pad_size' {(across, down)} is smaller than the picture, {width} x {height}")
    return 0, 0, across, down


# --- steps on 8-bit pictures ------------------------------------------------------------------------------------


def _resized(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    if not options.get("do_resize"):
        return image
    size, crop = _resize(options, *image.size)
    if size != image.size:
        image = image.resize(size, _resample(options["resample"]))
    return image if crop is None else image.crop(_middle(*size, crop))


def _cropped(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    if not options.get("do_center_crop"):
        return image
    return image.crop(_middle(*image.size, _crop_size(options)))


def _inner(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Perceiver: the middle square, by the proportion of `size` to `crop_size`, before resizing."""
    if not options.get("do_center_crop"):
        return image
    sides, whole, edge = _sides(options), _crop_size(options), min(image.size)
    return image.crop(_middle(*image.size, (int(sides[0] / whole[0] * edge), int(sides[1] / whole[1] * edge))))


def _turned(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Donut: a page that lies is stood up, where the network reads standing ones, and the other way round."""
    width, height = _sides(options)
    lies = (width < height and image.width > image.height) or (width > height and image.width < image.height)
    return image.transpose(Image.Transpose.ROTATE_270) if options.get("do_align_long_axis") and lies else image


def _thumbnail(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Smaller, if need be, so that the longer side fits into `size`."""
    if not options.get("do_thumbnail"):
        return image
    most = _sides(options)
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
    width, height = _sides(options)
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
    size = _size(options.get("size"), "size", False, options.get("max_size"))
    down = size["shortest_edge"]
    across = size.get("longest_edge") or down
    return image.crop((0, 0, max(across, image.width), max(down, image.height)))


# --- values -----------------------------------------------------------------------------------------------------


def _resample(code: Any) -> Image.Resampling:
    try:
        return Image.Resampling(code)
    except ValueError:
        raise CallError(f"{FILE}: 'resample' is 0 to 5, not {code!r}") from None


def _values(image: Image.Image, options: Mapping[str, Any]) -> Pixels:
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
        values = np.array(options[name], np.float32)
        return np.broadcast_to(values.reshape(-1, 1), (3, 1))
    except (KeyError, TypeError, ValueError):
        raise CallError(f"{FILE}: '{name}' is one number or three") from None


# --- steps on real numbers --------------------------------------------------------------------------------------


def _padded(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    height, width = pixels.shape[1:]
    where = _padding(options, width, height)
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
    across, down = _multiple(width, height, options)
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
    across, down = _sides(options)
    return interpolation.smooth_resize(pixels, (down, across))


def _normalized(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    if not options.get("do_normalize"):
        return pixels
    mean, deviation = _channels(options, "image_mean"), _channels(options, "image_std")
    return np.ascontiguousarray((pixels - mean[:, :, None]) / deviation[:, :, None])


_FUNCTIONS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "resize": _resized,
    "crop": _cropped,
    "inner": _inner,
    "turn": _turned,
    "thumbnail": _thumbnail,
    "centre": _centred,
    "margin": _without_margin,
    "square": _on_square,
    "edges": _to_edges,
    "values": _values,
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


def _patches(pixels: Pixels, patch: int, most: int) -> dict[str, np.ndarray]:
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


def _nearest_colours(pixels: Pixels, clusters: Any) -> np.ndarray:
    """ImageGPT: the number of the nearest colour, pixel by pixel."""
    if clusters is None:
        raise CallError(f"{FILE}: 'clusters' is missing: the colours that an ImageGPT model knows")
    colours = np.asarray(clusters)
    points = pixels.transpose(1, 2, 0).reshape(-1, 3)
    squares = (points**2).sum(1)[:, None] - 2 * points @ colours.T + (colours**2).sum(1)[None]
    numbers: np.ndarray = np.argmin(squares, axis=1)
    return numbers
