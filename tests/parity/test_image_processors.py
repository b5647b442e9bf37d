"""The arrays equal those of the PIL-backed image processors of transformers, family by family."""

from __future__ import annotations

import importlib
import io

import numpy as np
import pytest
from PIL import Image

from sensorium.media import image

transformers = pytest.importorskip("transformers")

# (module, class, what its preprocessor_config.json says beyond the defaults)
CASES = [
    ("vit", "ViT", {}),
    ("vit", "ViT", {"size": 64, "resample": 3}),
    ("vit", "ViT", {"size": {"height": 48, "width": 80}, "do_normalize": False}),
    ("vit", "ViT", {"size": {"shortest_edge": 50}, "resample": 0, "image_mean": [0.1, 0.2, 0.3]}),
    ("vit", "ViT", {"size": {"max_height": 90, "max_width": 70}, "resample": 1}),
    ("vit", "ViT", {"size": {"shortest_edge": 64, "longest_edge": 100}}),
    ("vit", "ViT", {"do_resize": False, "do_center_crop": True, "crop_size": 71}),
    ("vit", "ViT", {"do_rescale": False, "size": 40}),
    ("vit", "ViT", {"size": 40, "do_pad": True, "pad_size": {"height": 48, "width": 64}}),
    ("beit", "Beit", {}),
    ("beit", "Beit", {"do_center_crop": True, "size": 256, "crop_size": {"height": 224, "width": 224}}),
    ("bit", "Bit", {}),
    ("bit", "Bit", {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 33}}),
    ("blip", "Blip", {}),
    ("clip", "CLIP", {}),
    ("clip", "CLIP", {"size": 30, "crop_size": 47}),
    ("chinese_clip", "ChineseCLIP", {}),
    ("convnext", "ConvNext", {}),
    ("convnext", "ConvNext", {"size": {"shortest_edge": 224}}),
    ("convnext", "ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.95, "resample": 2}),
    ("deit", "DeiT", {}),
    ("detr", "Detr", {}),
    ("detr", "Detr", {"size": 100, "max_size": 130}),
    ("detr", "Detr", {"size": {"shortest_edge": 60, "longest_edge": 70}}),
    ("conditional_detr", "ConditionalDetr", {}),
    ("deformable_detr", "DeformableDetr", {}),
    ("grounding_dino", "GroundingDino", {}),
    ("yolos", "Yolos", {}),
    ("yolos", "Yolos", {"size": {"shortest_edge": 64, "longest_edge": 100}}),
    ("rt_detr", "RTDetr", {}),
    ("rt_detr", "RTDetr", {"size": {"height": 320, "width": 256}, "do_normalize": True}),
    ("dpt", "DPT", {"size": {"height": 64, "width": 64}}),
    ("dpt", "DPT", {"size": {"height": 96, "width": 64}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}),
    ("efficientnet", "EfficientNet", {}),
    ("efficientnet", "EfficientNet", {"rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False}),
    ("efficientnet", "EfficientNet", {"do_center_crop": True}),
    ("glpn", "GLPN", {}),
    ("layoutlmv3", "LayoutLMv3", {"apply_ocr": False}),
    ("levit", "Levit", {}),
    ("maskformer", "MaskFormer", {"size": {"shortest_edge": 64, "longest_edge": 100}}),
    ("mask2former", "Mask2Former", {"size": {"height": 50, "width": 70}}),
    ("mobilenet_v1", "MobileNetV1", {}),
    ("mobilenet_v2", "MobileNetV2", {}),
    ("mobilevit", "MobileViT", {}),
    ("mobilevit", "MobileViT", {"do_flip_channel_order": False, "size": {"shortest_edge": 288}}),
    ("owlvit", "OwlViT", {"size": {"height": 96, "width": 96}}),
    ("poolformer", "PoolFormer", {}),
    ("poolformer", "PoolFormer", {"crop_pct": 0.95, "size": {"height": 224, "width": 224}}),
    ("pvt", "Pvt", {}),
    ("segformer", "Segformer", {}),
    ("siglip", "Siglip", {}),
    ("swin2sr", "Swin2SR", {}),
    ("vilt", "Vilt", {"size": {"shortest_edge": 96}}),
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


@pytest.mark.parametrize(("module", "family", "options"), CASES, ids=lambda v: str(v)[:60])
def test_preprocessing_equals_transformers(module: str, family: str, options: dict) -> None:
    module = importlib.import_module(f"transformers.models.{module}.image_processing_pil_{module}")
    processor = getattr(module, f"{family}ImageProcessorPil")(**options)
    written = processor.to_dict()  # what a folder would hold
    assert written["image_processor_type"] == f"{family}ImageProcessor"
    legacy = {"image_processor_type": f"{family}FeatureExtractor", **options}
    for name, data in PICTURES.items():
        picture = image.load(data)
        wanted = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0], np.float32)
        for config in (written, legacy):
            got = image.preprocess(config, picture)
            assert got.dtype == np.float32
            assert got.flags.c_contiguous
            np.testing.assert_array_equal(got, wanted, err_msg=f"{family} {name}")
        where = image.geometry(written, *picture.size)
        assert where.size == wanted.shape[:0:-1], name
