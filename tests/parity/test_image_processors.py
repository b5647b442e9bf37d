"""The arrays equal those of the PIL-backed image processors of transformers: all that make one array of a picture."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import image
from sensorium.media.processors.families import FAMILIES

transformers = pytest.importorskip("transformers")

# Those that make more than one picture's array: tiles, rows of patches with positions, text, pairs. Some are tried
# below; the others' tasks are not among ours, or, as for trimaps and prompts, need a second picture.
NOT_ONE_PICTURE = {
    "Aria", "CohereCompass", "Cosmos3Edge", "DeepseekOcr2", "DeepseekVL", "DeepseekVLHybrid", "Ernie4_5_VLMoe",
    "Ernie4_5_VL_Moe", "Fuyu", "Gemma3", "Gemma4", "Glm46V", "Glm4v", "Glm5Next", "GlmImage", "Glmga",
    "GotOcr2", "GraniteDocling", "HunYuanVL", "Idefics", "Idefics2", "Idefics3", "Janus", "Kosmos2_5", "LlavaNext",
    "LlavaOnevision", "MiniCPMV4_6", "Mllama", "Ovis2", "PaddleOCRVL", "Pix2Struct", "Pixtral", "Qwen2VL",
    "SmolVLM", "Tvp", "VideoLlama3", "VitMatte", "VitPose",
}  # fmt: skip
REAL = ("Owlv2", "ZoeDepth")  # they resize real numbers
PAIRS = ("EfficientLoFTR", "LightGlue", "SuperGlue")  # they take two pictures; each is prepared by itself
# What a file may say beyond the defaults, by family.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "ViT": [
        {"size": 64, "resample": 3},
        {"size": {"height": 48, "width": 80}, "do_normalize": False},
        {"size": {"shortest_edge": 50}, "resample": 0, "image_mean": [0.1, 0.2, 0.3]},
        {"size": {"max_height": 90, "max_width": 70}, "resample": 1},
        {"size": {"shortest_edge": 64, "longest_edge": 100}},
        {"do_resize": False, "do_center_crop": True, "crop_size": 71},
        {"do_rescale": False, "size": 40},
        {"size": 40, "do_pad": True, "pad_size": {"height": 48, "width": 64}},
        {"size": 40, "default_to_square": False},
    ],
    "Beit": [{"do_center_crop": True, "size": 256, "crop_size": {"height": 224, "width": 224}}],
    "Bit": [{"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 33}}],
    "CLIP": [{"size": 30, "crop_size": 47}],
    "ConvNext": [
        {"size": {"shortest_edge": 224}},
        {"size": {"shortest_edge": 32}, "crop_pct": 0.95, "resample": 2},
    ],
    "Detr": [{"size": 100, "max_size": 130}, {"size": {"shortest_edge": 60, "longest_edge": 70}}],
    "Donut": [
        {"size": {"height": 640, "width": 480}},
        {"size": {"height": 480, "width": 640}, "do_align_long_axis": True},
        {"size": {"height": 64, "width": 48}},
    ],
    "DPT": [
        {"size": {"height": 64, "width": 64}},
        {"size": {"height": 96, "width": 64}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
        {"size": {"height": 50, "width": 64}, "do_pad": True, "size_divisor": 32},
    ],
    "EfficientNet": [
        {"rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False},
        {"do_center_crop": True},
    ],
    "Eomt": [{"do_pad": True}, {"size": {"shortest_edge": 64, "longest_edge": 64}, "do_pad": True}],
    "LayoutLMv2": [{"apply_ocr": False}],
    "LayoutLMv3": [{"apply_ocr": False}],
    "Llava": [{"do_pad": True}],
    "Mask2Former": [{"size": {"height": 50, "width": 70}}],
    "MaskFormer": [{"size": {"shortest_edge": 64, "longest_edge": 100}}],
    "MobileViT": [{"do_flip_channel_order": False, "size": {"shortest_edge": 288}}],
    "Nougat": [{"size": {"height": 640, "width": 480}}, {"do_crop_margin": False, "do_align_long_axis": True}],
    "Owlv2": [{"size": {"height": 96, "width": 80}}],
    "PoolFormer": [{"crop_pct": 0.95, "size": {"height": 224, "width": 224}}],
    "PromptDepthAnything": [{"do_pad": True, "size_divisor": 14, "keep_aspect_ratio": True}],
    "RTDetr": [{"size": {"height": 320, "width": 256}, "do_normalize": True}],
    "Siglip2": [{"max_num_patches": 64}],
    "SuperPoint": [{"do_grayscale": True}],
    "Swin2SR": [{"size_divisor": 16}, {"pad_size": 4}],
    "Vilt": [{"size": {"shortest_edge": 96}}],
    "Yolos": [{"size": {"shortest_edge": 64, "longest_edge": 100}}],
    "ZoeDepth": [{"size": {"height": 96, "width": 64}, "keep_aspect_ratio": False, "ensure_multiple_of": 32}],
}


def processors() -> dict[str, str]:
    """Every PIL-backed image processor of transformers: family to module."""
    found = {}
    for path in sorted((Path(transformers.__file__).parent / "models").glob("*/image_processing_pil_*.py")):
        for family in re.findall(r"^class (\w+)ImageProcessorPil\(", path.read_text("utf-8"), re.MULTILINE):
            found[family] = f"transformers.models.{path.parent.name}.{path.stem}"
    return found


PROCESSORS = processors()
CASES = [
    (family, options)
    for family in PROCESSORS
    if family not in NOT_ONE_PICTURE
    for options in ([{}] if not family.startswith("LayoutLM") else []) + OPTIONS.get(family, [])
]


def pictures() -> dict[str, bytes]:
    """Odd sizes and every kind of picture that a phone, a scanner or a web site makes."""
    rng = np.random.default_rng(0)

    def noise(width: int, height: int, channels: int) -> np.ndarray:
        coarse = rng.integers(0, 256, (height // 7 + 2, width // 7 + 2, channels), np.uint8)
        rows, columns = np.arange(height) // 7, np.arange(width) // 7
        return coarse[rows][:, columns] // 2 + rng.integers(0, 128, (height, width, channels), np.uint8)

    def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        return buffer.getvalue()

    turned = Image.Exif()
    turned[0x0112] = 6
    rgb = Image.fromarray(noise(101, 67, 3))
    return {
        "odd": encode(rgb, "PNG"),
        "tall": encode(Image.fromarray(noise(53, 211, 3)), "PNG"),
        "large": encode(Image.fromarray(noise(640, 427, 3)), "JPEG"),
        "tiny": encode(Image.new("RGB", (1, 1), (200, 30, 90)), "PNG"),
        "grey": encode(Image.fromarray(noise(97, 64, 1)[:, :, 0]), "JPEG"),
        "alpha": encode(Image.fromarray(noise(64, 65, 4)), "PNG"),
        "grey alpha": encode(Image.fromarray(noise(70, 41, 2), "LA"), "PNG"),
        "palette": encode(rgb.quantize(31), "PNG", transparency=3),
        "turned": encode(rgb, "JPEG", exif=turned),
        "cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "webp": encode(rgb, "WEBP"),
    }


PICTURES = pictures()


@pytest.mark.parametrize("name", PICTURES)
def test_loading_equals_transformers(name: str) -> None:
    from transformers.image_utils import load_image

    theirs = load_image(Image.open(io.BytesIO(PICTURES[name])))
    ours = image.load(PICTURES[name])
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def make(family: str, options: dict[str, Any]) -> Any:
    return getattr(importlib.import_module(PROCESSORS[family]), f"{family}ImageProcessorPil")(**options)


def expected(family: str, processor: Any, picture: Image.Image) -> dict[str, np.ndarray]:
    if family in PAIRS:
        found = processor([picture, picture], return_tensors="np")["pixel_values"][0][0]
        return {"pixel_values": np.asarray(found)}
    names = [n for n in processor.model_input_names if n not in ("pixel_mask", "prompt_depth", "task_inputs")]
    found = processor(picture, return_tensors="np")
    arrays = {name: np.asarray(found[name][0]) for name in names}
    return {n: a[0] if family == "VideoMAE" else a for n, a in arrays.items()}  # without the axis of frames


@pytest.mark.parametrize(("family", "options"), CASES, ids=lambda v: str(v)[:60])
def test_preprocessing_equals_transformers(family: str, options: dict[str, Any]) -> None:
    if family == "ImageGPT":
        options = {**options, "size": 32, "clusters": np.random.default_rng(1).uniform(-1, 1, (50, 3)).tolist()}
    processor = make(family, options)
    written = processor.to_dict()  # what a folder would hold
    assert written["image_processor_type"] == f"{family}ImageProcessor"
    legacy = {"image_processor_type": f"{family}FeatureExtractor", **options}
    for name, data in PICTURES.items():
        picture = image.load(data)
        try:
            wanted = expected(family, processor, picture)
        except (ValueError, ZeroDivisionError):  # a picture that Hugging Face cannot prepare: one pixel, mostly
            assert "tiny" in name or family in ("Donut", "Nougat")
            continue
        for config in (written, legacy):
            got = image.arrays(config, picture)
            assert got.keys() == wanted.keys()
            for key, array in wanted.items():
                assert got[key].flags.c_contiguous
                if array.dtype.kind == "f":
                    assert got[key].dtype == np.float32
                if family in REAL:
                    np.testing.assert_allclose(got[key], array, rtol=0, atol=2e-6, err_msg=f"{family} {name}")
                else:
                    np.testing.assert_array_equal(got[key], array.astype(got[key].dtype), err_msg=f"{family} {name}")
        if "steps" not in FAMILIES[family] and family not in ("ImageGPT", "Siglip2"):
            assert image.geometry(written, *picture.size).size == wanted["pixel_values"].shape[:0:-1], name


GRID = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
TILED: list[tuple[str, dict[str, Any]]] = [
    ("Gemma3", {"size": {"height": 40, "width": 32}}),
    ("GotOcr2", {"size": {"height": 32, "width": 32}}),
    ("GotOcr2", {"size": {"height": 32, "width": 48}, "crop_to_patches": True, "max_patches": 6}),
    ("GotOcr2", {"size": {"height": 96, "width": 96}, "crop_to_patches": True, "min_patches": 2}),
    (
        "LlavaNext",
        {"image_grid_pinpoints": GRID, "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    ),
    ("LlavaOnevision", {"image_grid_pinpoints": GRID, "size": {"height": 32, "width": 32}}),
    ("LlavaOnevision", {}),
    ("Idefics3", {}),
    ("Idefics3", {"size": {"longest_edge": 100}, "max_image_size": {"longest_edge": 32}}),
    ("SmolVLM", {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}, "do_image_splitting": False}),
    ("SmolVLM", {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 32}}),
    ("Pixtral", {}),
    ("Pixtral", {"size": {"longest_edge": 64}, "patch_size": 14}),
    ("Qwen2VL", {}),
    ("Qwen2VL", {"size": {"shortest_edge": 4096, "longest_edge": 8192}, "patch_size": 8, "merge_size": 4}),
    ("Qwen2VL", {"size": {"shortest_edge": 1024, "longest_edge": 2048}, "patch_size": 16, "temporal_patch_size": 1}),
]


@pytest.mark.parametrize(("family", "options"), TILED, ids=lambda v: str(v)[:60])
def test_tiles_and_patches_equal_transformers(family: str, options: dict[str, Any]) -> None:
    processor = make(family, options)
    for name, data in PICTURES.items():
        picture = image.load(data)
        try:
            wanted = processor([picture], return_tensors="np")
        except ValueError:  # one pixel
            assert name == "tiny"
            continue
        got = image.arrays(processor.to_dict(), picture)
        pixels = np.asarray(wanted["pixel_values"], np.float32)
        np.testing.assert_array_equal(got["pixel_values"], pixels.reshape(got["pixel_values"].shape), err_msg=name)
        if "image_grid_thw" in wanted:
            np.testing.assert_array_equal(got["image_grid_thw"], wanted["image_grid_thw"])
    picture = Image.new("RGB", (1, 300))
    if family == "Qwen2VL":
        with pytest.raises(InputError, match="too narrow"):
            image.arrays(processor.to_dict(), picture)
        with pytest.raises(InputError, match="how many pixels"):
            image.arrays({**processor.to_dict(), "size": {"height": 9, "width": 9}}, Image.new("RGB", (9, 9)))
    if family == "LlavaNext":
        with pytest.raises(InputError, match="not whole tiles"):
            image.arrays({**processor.to_dict(), "image_grid_pinpoints": [[33, 32]]}, picture)
        with pytest.raises(InputError, match="one side"):
            image.arrays({**processor.to_dict(), "crop_size": {"height": 30, "width": 30}}, picture)
    if family == "Gemma3":
        with pytest.raises(InputError, match="do_pan_and_scan"):
            image.arrays({**processor.to_dict(), "do_pan_and_scan": True}, picture)


def test_patches_with_their_places_equal_transformers() -> None:
    for options in ({}, {"patch_size": {"height": 8, "width": 12}, "max_patches": 50}, {"do_normalize": False}):
        processor = make("Pix2Struct", options)
        for name, data in PICTURES.items():
            picture = image.load(data)
            wanted = processor(picture, return_tensors="np")
            filled = np.asarray(wanted["attention_mask"][0]) > 0
            got = image.arrays(processor.to_dict(), picture)["flattened_patches"]
            theirs = np.asarray(wanted["flattened_patches"][0])
            if name != "tiny":  # rows of one colour may add up to nothing
                theirs = theirs[filled]
            off = 4e-5 * np.abs(theirs).max()  # PyTorch resizes with weights of single precision
            np.testing.assert_allclose(got, theirs[: len(got)], rtol=1e-5, atol=off, err_msg=name)
    with pytest.raises(InputError, match="draws the question"):
        image.arrays({**processor.to_dict(), "is_vqa": True}, picture)


def test_a_processor_that_nobody_knows_is_followed_by_its_keys() -> None:
    """It does what the base class of transformers does with the usual keys."""
    from transformers.image_processing_backends import PilBackend

    class NewestImageProcessorPil(PilBackend):  # type: ignore[misc]
        pass

    picture = image.load(PICTURES["odd"])
    for options in (
        {"do_resize": True, "size": {"height": 50, "width": 30}, "do_rescale": True, "resample": 2},
        {"do_resize": True, "size": 40, "resample": 3, "do_center_crop": True, "crop_size": 32, "do_normalize": True,
         "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "do_rescale": True, "do_convert_rgb": True},
        {"do_resize": True, "size": {"shortest_edge": 32}, "resample": 0, "do_pad": True,
         "pad_size": {"height": 40, "width": 60}},
    ):  # fmt: skip
        processor = NewestImageProcessorPil(**options)
        wanted = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0], np.float32)
        np.testing.assert_array_equal(image.preprocess(processor.to_dict(), picture), wanted)
    with pytest.raises(InputError, match="'tile_grid'"):
        image.preprocess({"image_processor_type": "NewestImageProcessor", "tile_grid": 3}, picture)


def test_vivit_equals_transformers() -> None:
    """Its only processor, without a backend, subtracts 1 after rescaling."""
    from transformers.models.vivit.image_processing_vivit import VivitImageProcessor

    processor = VivitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    for name in ("odd", "tall", "alpha"):
        picture = image.load(PICTURES[name])
        wanted = np.asarray(processor([picture], return_tensors="np")["pixel_values"][0][0])
        np.testing.assert_array_equal(image.preprocess(processor.to_dict(), picture), wanted)
