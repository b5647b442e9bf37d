"""Architectures that see: classifiers and detectors, each a row of what its configuration says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.parity.architectures import Architecture
from tests.parity.architectures.makers import pictures

LABELS = {i: f"class {i}" for i in range(5)}
HEADS = {
    "image-classification": "AutoModelForImageClassification",
    "object-detection": "AutoModelForObjectDetection",
}
# Sizes of a small transformer, under the names that most of them have.
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "image_size": 32,
    "patch_size": 8,
}
STAGES: dict[str, Any] = {"hidden_sizes": [16, 24, 32], "depths": [1, 2, 1]}


def opened(path: str) -> Image.Image:
    """A picture as pipelines of transformers load it."""
    from transformers.image_utils import load_image

    return load_image(path)


def enliven(model: Any) -> None:
    """Random weights that decide: each layer keeps the size of what goes through it, norms know their inputs."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and not name.endswith(("relative_position_bias_table", "position_embeddings")):
            inner = weight[0].numel()
            weight.data.normal_(0, 1.2 / inner**0.5, generator=generator)
        elif weight.ndim == 1 and name.endswith("bias"):
            weight.data.normal_(0, 0.1, generator=generator)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)


def make(
    model_type: str, task: str, processor: tuple[str, dict[str, Any]], config: dict[str, Any]
) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        settings = t.AutoConfig.for_model(model_type, **{"id2label": LABELS, **config})
        model = getattr(t, HEADS[task]).from_config(settings).eval()
        enliven(model)
        model.save_pretrained(folder)
        name, options = processor
        getattr(t, f"{name}ImageProcessorPil")(**options).save_pretrained(folder)

    return write


def expect_labels(folder: Path, sources: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.AutoModelForImageClassification.from_pretrained(folder, attn_implementation="eager").eval()
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    answers = []
    for source in sources:
        with torch.no_grad():
            scores = model(**processor(opened(source), return_tensors="pt")).logits[0].softmax(-1)
        order = scores.argsort(descending=True).tolist()
        answers.append([{"label": model.config.id2label[i], "score": float(scores[i])} for i in order])
    return answers


def classifier(
    model_type: str, processor: str = "ViT", size: Any = 32, quick: bool = False, **config: Any
) -> Architecture:
    options: dict[str, Any] = {"size": size}
    if processor in ("Bit", "MobileNetV1", "MobileNetV2", "MobileViT", "DeiT", "Levit", "PoolFormer"):
        options = {"size": {"shortest_edge": 40} if processor != "DeiT" else 40, "crop_size": size}
    return Architecture(
        model_type,
        "image-classification",
        make(model_type, "image-classification", (processor, options), config),
        expect_labels,
        pictures,
        {"top_k": None},
        quick,
    )


ARCHITECTURES = [
    classifier("deit", "DeiT", **SMALL),
    classifier("beit", "Beit", **SMALL),
    classifier("data2vec-vision", "Beit", **SMALL),
    classifier("dinov2", "Bit", **SMALL),
    classifier("dinov2_with_registers", "Bit", **SMALL),
    classifier("dinov3_vit", "ViT", **SMALL),
    classifier("swin", embed_dim=16, depths=[1, 2], num_heads=[2, 4], image_size=32, patch_size=4, window_size=4),
    classifier("swinv2", embed_dim=16, depths=[1, 2], num_heads=[2, 4], image_size=32, patch_size=4, window_size=4),
    classifier("convnext", "ConvNext", {"shortest_edge": 32}, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1]),
    classifier("convnextv2", "ConvNext", {"shortest_edge": 32}, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1]),
    classifier(
        "resnet",
        "ConvNext",
        {"shortest_edge": 32},
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 40],
        depths=[1, 2, 1, 1],
        layer_type="bottleneck",
        quick=True,
    ),
    classifier(
        "regnet",
        "ConvNext",
        {"shortest_edge": 32},
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 40],
        depths=[1, 2, 1, 1],
        groups_width=8,
    ),
    classifier("mobilenet_v1", "MobileNetV1", depth_multiplier=0.25, min_depth=8),
    classifier("mobilenet_v2", "MobileNetV2", depth_multiplier=0.25, min_depth=8),
    classifier(
        "mobilevit",
        "MobileViT",
        64,
        image_size=64,
        hidden_sizes=[32, 40, 48],
        neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 64],
        num_attention_heads=4,
    ),
    classifier("mobilevitv2", "MobileViT", 64, image_size=64, width_multiplier=0.25),
    classifier(
        "efficientnet", "EfficientNet", width_coefficient=0.25, depth_coefficient=0.2, image_size=32, hidden_dim=320
    ),
    classifier("poolformer", "PoolFormer", hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1]),
    classifier(
        "pvt",
        "Pvt",
        64,
        image_size=64,
        hidden_sizes=[16, 32, 40, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 5, 8],
    ),
    classifier(
        "pvt_v2",
        "Pvt",
        64,
        image_size=64,
        hidden_sizes=[16, 32, 40, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 5, 8],
    ),
    classifier(
        "levit",
        "Levit",
        64,
        image_size=64,
        hidden_sizes=[16, 32, 48],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
    ),
    classifier("bit", "Bit", hidden_sizes=[32, 32, 64, 64], depths=[1, 1, 1, 1], embedding_size=16, num_groups=4),
    classifier("cvt", "ConvNext", {"shortest_edge": 32}, embed_dim=[16, 32, 48], num_heads=[1, 2, 3], depth=[1, 1, 2]),
    classifier(
        "focalnet",
        "Bit",
        image_size=32,
        embed_dim=16,
        hidden_sizes=[16, 32],
        depths=[1, 2],
        focal_levels=[2, 2],
        focal_windows=[3, 3],
    ),
    classifier("hiera", "Bit", 64, image_size=[64, 64], embed_dim=16, depths=[1, 1, 1, 1]),
    classifier("vit_msn", **SMALL),
    classifier("swiftformer", image_size=32, embed_dims=[16, 24, 32, 40], depths=[1, 1, 1, 1]),
    classifier("ijepa", **SMALL),
    classifier(
        "hgnet_v2",
        "RTDetr",
        {"height": 64, "width": 64},
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 40],
        depths=[1, 1, 1, 1],
        stem_channels=[3, 8, 16],
        stage_in_channels=[16, 16, 24, 32],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 24, 32, 40],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[2, 2, 2, 2],
    ),
    classifier(
        "siglip",
        "Siglip",
        vision_config={**SMALL, "model_type": "siglip_vision_model"},
        text_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 37},
    ),
    classifier(
        "clip",
        "CLIP",
        vision_config=SMALL,
        text_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 37},
    ),
]
