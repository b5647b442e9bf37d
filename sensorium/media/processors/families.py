"""The families of image processors: what each takes where its file is silent, and the steps it is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sensorium.errors import CallError
from sensorium.media import tiles

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

# The steps, in order, of a family that names no others.
STEPS = ("resize", "crop", "values", "pad")
# The keys that no file has: `square`, `resize` (the rule for the size), `pad` (the rule for filling up), `steps`. A
# family that never resizes, crops, rescales or normalises, whatever its file says, has None there.
FAMILIES: dict[str, dict[str, Any]] = {
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
TYPES = ("image_processor_type", "feature_extractor_type", "video_processor_type")
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
OF_MODEL = {
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
OF_MODEL |= dict.fromkeys(_CLIPS, "CLIP")


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the family's defaults filled in; null counts as not given, as in transformers."""
    kind = next((str(config[key]) for key in TYPES if config.get(key)), "ViTImageProcessor")
    family = re.sub(r"(ImageProcessor|FeatureExtractor|VideoProcessor)(Fast|Pil)?$", "", kind)
    given = {k: v for k, v in config.items() if v is not None}
    if family not in FAMILIES:
        for key, value in given.items():
            if value is not False and key not in _USUAL and key not in _IDLE and not key.startswith("_"):
                raise CallError(f"{FILE}: the image processor '{kind}' is not known here, nor what its '{key}' does")
    defaults = FAMILIES.get(family, _GENERAL)
    options = {"steps": STEPS, **defaults, **given, "family": family, "kind": kind}
    options["square"] = bool(given.get("default_to_square", defaults["square"]))
    for key, value in defaults.items():
        if value is None:
            options[key] = False
    if options.get("do_pan_and_scan"):
        raise CallError(f"{FILE}: 'do_pan_and_scan' is not known here: say false, and a picture is seen as a whole")
    if family == "Swin2SR" and isinstance(given.get("pad_size"), int):  # as older files call it
        options["size_divisor"] = given["pad_size"]
    return options
