"""Architectures that see, each a row of settings: classifiers, detectors, depth, features, pictures, videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.parity.architectures import Architecture
from tests.parity.architectures.examples import opened
from tests.parity.architectures.makers import pictures

LABELS = {i: f"class {i}" for i in range(5)}
# Sizes of a small transformer, under the names that most of them have.
SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 37}
FOUR: dict[str, Any] = {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 2, 1, 1]}
RESNET: dict[str, Any] = {"model_type": "resnet", "embedding_size": 16, **FOUR, "out_indices": [4]}
HGNET: dict[str, Any] = {
    "model_type": "hgnet_v2", "embedding_size": 16, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1],
    "stem_channels": [3, 8, 16], "stage_in_channels": [16, 16, 24, 32], "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [16, 24, 32, 40], "stage_num_blocks": [1, 1, 1, 1], "stage_numb_of_layers": [2, 2, 2, 2],
}  # fmt: skip
DETR: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "num_queries": 9,
    "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "backbone_config": RESNET,
}  # fmt: skip
RT_DETR: dict[str, Any] = {
    "d_model": 32, "encoder_hidden_dim": 32, "encoder_in_channels": [24, 32, 40], "encoder_ffn_dim": 37,
    "encoder_attention_heads": 2, "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 37, "decoder_layers": 2,
    "decoder_attention_heads": 2, "num_queries": 20, "num_denoising": 0, "num_feature_levels": 3,
    "hidden_expansion": 0.5, "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None,
}  # fmt: skip
LW_DETR: dict[str, Any] = {
    "d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 37, "decoder_self_attention_heads": 2, "group_detr": 1,
    "decoder_cross_attention_heads": 2, "decoder_n_points": 2, "num_queries": 9, "projector_scale_factors": [1.0],
    "backbone": None, "use_pretrained_backbone": False,
    "backbone_config": {
        "model_type": "lw_detr_vit", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
        "image_size": 64, "pretrain_image_size": 64, "patch_size": 16, "window_block_indices": [0, 2],
        "out_indices": [2, 4], "num_windows": 4, "cae_init_values": 0.1,
    },
}  # fmt: skip
RF_DETR: dict[str, Any] = {
    "d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 37, "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 2, "decoder_n_points": 2, "num_queries": 9, "group_detr": 1,
    "projector_scale_factors": [1.0],
    "backbone_config": {
        "model_type": "rf_detr_dinov2", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
        "image_size": 64, "patch_size": 16, "num_windows": 2, "out_indices": [2, 4],
    },
}  # fmt: skip
RT_RESNET = {
    "model_type": "rt_detr_resnet", "embedding_size": 16, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip
DINOV2 = {**SMALL, "model_type": "dinov2", "num_hidden_layers": 4, "mlp_ratio": 1, "out_indices": [1, 2, 3, 4],
          "apply_layernorm": True, "reshape_hidden_states": False}  # fmt: skip
BEIT = {**SMALL, "model_type": "beit", "num_hidden_layers": 4, "out_indices": [1, 2, 3, 4],
        "reshape_hidden_states": False, "use_relative_position_bias": True}  # fmt: skip
DPT = {"neck_hidden_sizes": [8, 16, 24, 32], "fusion_hidden_size": 16}
CLIP_SQUARE = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
EDGE = {"size": {"shortest_edge": 64, "longest_edge": 96}}


def square(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


def enliven(model: Any, gain: float = 1.2) -> None:
    """Random weights that decide: each layer keeps the size of what goes through it, norms know their inputs."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and weight.numel() and not name.endswith(("table", "position_embeddings", "layer_scale")):
            weight.data.normal_(0, gain / weight[0].numel() ** 0.5, generator=generator)
        elif weight.ndim == 1 and name.endswith("bias"):
            weight.data.normal_(0, 0.1, generator=generator)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)


def maker(
    head: str, model_type: str, processor: tuple[str, dict[str, Any]], config: dict[str, Any], gain: float = 1.2
) -> Callable[[Path], None]:
    """A function that writes a checkpoint.

    Args:
        head: an Auto class of transformers, or a class by its name.
        processor: name of the family, and its settings.
    """

    def make(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        settings = t.AutoConfig.for_model(model_type, **{"id2label": LABELS, **config})
        kind = getattr(t, head)
        model = (kind.from_config(settings) if head.startswith("Auto") else kind(settings)).eval()
        enliven(model, gain)
        model.save_pretrained(folder)
        name, options = processor
        getattr(t, f"{name}ImageProcessorPil")(**options).save_pretrained(folder)

    return make


def loaded(folder: Path, auto: str) -> tuple[Any, Any]:
    """Hugging Face's model and processor."""
    import transformers as t

    model = getattr(t, auto).from_pretrained(folder, attn_implementation="eager").eval()
    return model, t.AutoImageProcessor.from_pretrained(folder, backend="pil")


def outputs(folder: Path, auto: str, source: Any) -> tuple[Any, Any, tuple[int, int]]:
    """What the model gives of a picture, the processor, and (height, width)."""
    import torch

    model, processor = loaded(folder, auto)
    picture = opened(source)
    with torch.no_grad():
        return model(**processor(picture, return_tensors="pt")), processor, (picture.height, picture.width)


def labels(scores: Any) -> list[dict[str, Any]]:
    order = scores.argsort(descending=True).tolist()
    return [{"label": LABELS[i], "score": float(scores[i])} for i in order]


def expect_labels(folder: Path, sources: list[Any]) -> list[Any]:
    return [labels(outputs(folder, "AutoModelForImageClassification", s)[0].logits[0].softmax(-1)) for s in sources]


def expect_objects(folder: Path, sources: list[Any]) -> list[Any]:
    answers = []
    for source in sources:
        found, processor, size = outputs(folder, "AutoModelForObjectDetection", source)
        objects = processor.post_process_object_detection(found, threshold=THRESHOLD, target_sizes=[size])[0]
        order = objects["scores"].argsort(descending=True, stable=True)
        corners = ("xmin", "ymin", "xmax", "ymax")
        answers.append(
            [
                {
                    "label": LABELS[int(objects["labels"][i])],
                    "score": float(objects["scores"][i]),
                    "box": dict(zip(corners, map(float, objects["boxes"][i]))),
                }
                for i in order
            ]
        )
    return answers


def expect_depth(folder: Path, sources: list[Any]) -> list[Any]:
    import torch

    answers = []
    for source in sources:
        found, processor, size = outputs(folder, "AutoModelForDepthEstimation", source)
        if type(processor).__name__.startswith("ZoeDepth"):  # what it does itself needs torchvision
            border = [int(np.sqrt(edge / 2) * 3) for edge in size]
            whole = (size[0] + 2 * border[0], size[1] + 2 * border[1])
            depth = torch.nn.functional.interpolate(found.predicted_depth[:, None], whole, mode="bicubic")[0, 0]
            depth = depth[border[0] : -border[0], border[1] : -border[1]]
        else:
            depth = processor.post_process_depth_estimation(found, [size])[0]["predicted_depth"]
        answers.append({"predicted_depth": depth.numpy()})
    return answers


def make_depth_pro(folder: Path) -> None:
    """A tiny Depth Pro, whose nearness and angle are mostly above 0, so that there is a depth."""
    import transformers as t

    eye = {**SMALL, "model_type": "dinov2", "num_hidden_layers": 2, "mlp_ratio": 1}
    config = {
        "patch_size": 32, "fusion_hidden_size": 16, "intermediate_hook_ids": [1, 0], "merge_padding_value": 1,
        "intermediate_feature_dims": [16, 16], "scaled_images_feature_dims": [16, 16, 16], "use_fov_model": True,
        "num_fov_head_layers": 1, **{f"{part}_model_config": eye for part in ("image", "patch", "fov")},
    }  # fmt: skip
    maker("AutoModelForDepthEstimation", "depth_pro", ("ViT", square(128)), config)(folder)
    model = t.DepthProForDepthEstimation.from_pretrained(folder)
    for part, usual in ((model.head, 9.0), (model.fov_model.head, 60.0)):
        *_, last = (layer for layer in part.modules() if hasattr(layer, "kernel_size"))
        last.bias.data.fill_(usual)
    model.save_pretrained(folder)


def expect_inverse(folder: Path, sources: list[Any]) -> list[Any]:
    """As Depth Pro's own processor, which needs torchvision."""
    import torch

    answers = []
    for source in sources:
        found, _, size = outputs(folder, "AutoModelForDepthEstimation", source)
        focal = 0.5 * size[1] / torch.tan(0.5 * torch.deg2rad(found.field_of_view[0]))
        near = found.predicted_depth[:1, None] * size[1] / focal
        near = torch.nn.functional.interpolate(near, size, mode="bilinear")[0, 0]
        answers.append({"predicted_depth": (1 / near.clamp(1e-4, 1e4)).numpy()})
    return answers


def expect_picture(folder: Path, sources: list[Any]) -> list[Any]:
    answers = []
    for source in sources:
        found, _, _ = outputs(folder, "AutoModelForImageToImage", source)
        pixels = found.reconstruction[0].clamp(0, 1).numpy()
        answers.append({"image": Image.fromarray((np.moveaxis(pixels, 0, -1) * 255.0).round().astype(np.uint8))})
    return answers


def expect_states(folder: Path, sources: list[Any]) -> list[Any]:
    found = [outputs(folder, "AutoModel", source)[0] for source in sources]
    return [one.get("last_hidden_state", one[0])[0].numpy() for one in found]


def expect_pooled(folder: Path, sources: list[Any]) -> list[Any]:
    return [outputs(folder, "AutoModel", source)[0].pooler_output[0].numpy().reshape(-1) for source in sources]


def expect_cutout(folder: Path, sources: list[Any]) -> list[Any]:
    """As transformers.js: sigmoid, resized to the picture, put into its alpha channel."""
    import torch

    answers = []
    for source in sources:
        found, _, size = outputs(folder, "AutoModelForSemanticSegmentation", source)
        share = torch.nn.functional.interpolate(found.logits.sigmoid(), size, mode="bilinear")[0, 0]
        mask = Image.fromarray((share * 255).round().to(torch.uint8).numpy())
        picture = opened(source).convert("RGBA")
        picture.putalpha(mask)
        answers.append({"image": picture, "mask": mask})
    return answers


def clips(folder: Path) -> list[Any]:
    """Videos as lists of files: wide, high and grey."""
    rng = np.random.default_rng(0)
    found = []
    for number, (width, height, mode) in enumerate([(61, 45, "RGB"), (40, 77, "RGB"), (50, 50, "L")]):
        place = folder / f"clip{number}"
        place.mkdir()
        for frame in range(9):
            shape = (5, 6, 3) if mode == "RGB" else (5, 6)
            coarse = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
            coarse.resize((width, height), Image.Resampling.BICUBIC).save(place / f"{frame:03}.png")
        found.append([str(path) for path in sorted(place.iterdir())])
    return found


def expect_video(folder: Path, sources: list[Any]) -> list[Any]:
    import torch

    model, processor = loaded(folder, "AutoModelForVideoClassification")
    answers = []
    for source in sources:
        count = getattr(model.config, "num_frames", None) or model.config.frames_per_clip
        frames = [np.asarray(opened(source[i])) for i in np.linspace(0, 2 * count - 1, num=count, dtype=np.int64)]
        with torch.no_grad():
            pixels = processor(frames, return_tensors="pt")["pixel_values"]
            answers.append(labels(model(**{model.main_input_name: pixels}).logits[0].softmax(-1)))
    return answers


def classifier(
    model_type: str, processor: str = "ViT", options: dict[str, Any] | None = None, *, quick: bool = False,
    head: str = "AutoModelForImageClassification", gain: float = 1.2, **config: Any,
) -> Architecture:  # fmt: skip
    made = maker(head, model_type, (processor, options or square(32)), config, gain)
    return Architecture(model_type, "image-classification", made, expect_labels, pictures, {"top_k": None}, quick)


THRESHOLD = 0.25


def detector(
    model_type: str, processor: str = "Detr", options: dict[str, Any] | None = None, *, quick: bool = False,
    **config: Any,
) -> Architecture:  # fmt: skip
    made = maker("AutoModelForObjectDetection", model_type, (processor, options or EDGE), config)
    task = "object-detection"
    return Architecture(model_type, task, made, expect_objects, pictures, {"threshold": THRESHOLD}, quick)


def depth(model_type: str, processor: str, options: dict[str, Any], **config: Any) -> Architecture:
    made = maker("AutoModelForDepthEstimation", model_type, (processor, options), config)
    return Architecture(model_type, "depth-estimation", made, expect_depth, pictures)


def features(
    model_type: str, processor: str, options: dict[str, Any], pool: bool = False, **config: Any
) -> Architecture:
    made = maker("AutoModel", model_type, (processor, options), config)
    expected = expect_pooled if pool else expect_states
    return Architecture(model_type, "image-feature-extraction", made, expected, pictures, {"pool": pool})


def video(model_type: str, processor: str, **config: Any) -> Architecture:
    made = maker("AutoModelForVideoClassification", model_type, (processor, CLIP_SQUARE), {**SMALL, **config})
    options = {"top_k": None, "frame_sampling_rate": 2}
    return Architecture(model_type, "video-classification", made, expect_video, clips, options)


VJEPA2: dict[str, Any] = {
    "crop_size": 32, "frames_per_clip": 4, "mlp_ratio": 2.0, "pred_hidden_size": 24, "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1, "pred_num_mask_tokens": 2, "pred_zero_init_mask_tokens": False, "num_pooler_layers": 1,
}  # fmt: skip
SWIN: dict[str, Any] = {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "image_size": 32, "patch_size": 4,
                        "window_size": 4}  # fmt: skip
PVT: dict[str, Any] = {"image_size": 64, "hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1],
                       "num_attention_heads": [1, 2, 5, 8]}  # fmt: skip
LEVIT: dict[str, Any] = {"image_size": 64, "hidden_sizes": [16, 32, 48], "num_attention_heads": [2, 3, 4],
                         "depths": [1, 1, 1], "key_dim": [8, 8, 8]}  # fmt: skip
COLOURS = [[red, green, blue] for red in (-0.8, 0.0, 0.9) for green in (-0.5, 0.6) for blue in (-0.9, 0.1, 0.7)]
PERCEIVER: dict[str, Any] = {
    "d_latents": 32, "num_latents": 8, "num_blocks": 1, "num_self_attends_per_block": 2, "num_self_attention_heads": 2,
    "num_cross_attention_heads": 1, "image_size": 32, "d_model": 32,
}  # fmt: skip
CONVNEXT = {"size": {"shortest_edge": 32}}
BIG_CROP = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
SWIN2SR: dict[str, Any] = {"image_size": 32, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4,
                           "upscale": 2}  # fmt: skip

make_depth = maker("AutoModelForDepthEstimation", "depth_anything", ("DPT", square(64)),
                   {"backbone_config": DINOV2, "patch_size": 8, "reassemble_hidden_size": 32, **DPT})  # fmt: skip
make_features = maker("AutoModel", "resnet", ("ConvNext", CONVNEXT), {"embedding_size": 16, **FOUR})
make_larger = maker("AutoModelForImageToImage", "swin2sr", ("Swin2SR", {}), SWIN2SR, 0.5)
make_matte = maker(
    "AutoModelForSemanticSegmentation", "segformer", ("ViT", square(64)),
    {"id2label": {0: "foreground"}, "hidden_sizes": [16, 24, 32, 40], "num_attention_heads": [1, 2, 4, 5],
     "depths": [1, 1, 1, 1], "decoder_hidden_size": 32},
)  # fmt: skip
make_video = maker("AutoModelForVideoClassification", "videomae", ("VideoMAE", CLIP_SQUARE), {**SMALL, "num_frames": 4})

ARCHITECTURES = [
    classifier("beit", "Beit", **SMALL),
    classifier("bit", "Bit", CLIP_SQUARE, hidden_sizes=[32, 32, 64, 64], depths=[1, 1, 1, 1], embedding_size=16,
               num_groups=4),
    classifier("clip", "CLIP", CLIP_SQUARE, vision_config=SMALL, text_config=TEXT),
    classifier("convnext", "ConvNext", CONVNEXT, **FOUR),
    classifier("convnextv2", "ConvNext", CONVNEXT, **FOUR),
    classifier("cvt", "ConvNext", CONVNEXT, embed_dim=[16, 32, 48], num_heads=[1, 2, 3], depth=[1, 2, 3]),
    classifier("data2vec-vision", "Beit", **SMALL),
    classifier("deit", "DeiT", {"size": 40, "crop_size": 32}, head="DeiTForImageClassification", **SMALL),
    classifier("dinov2", "Bit", CLIP_SQUARE, **SMALL),
    classifier("dinov2_with_registers", "Bit", CLIP_SQUARE, **SMALL),
    classifier("efficientnet", "EfficientNet", width_coefficient=0.25, depth_coefficient=0.2, image_size=32,
               hidden_dim=320),
    classifier("focalnet", "Bit", CLIP_SQUARE, image_size=32, embed_dim=16, hidden_sizes=[16, 32], depths=[1, 2],
               focal_levels=[2, 2], focal_windows=[3, 3]),
    classifier("hgnet_v2", "RTDetr", square(64), **{k: v for k, v in HGNET.items() if k != "model_type"}),
    classifier("hiera", "Bit", BIG_CROP, image_size=[64, 64], embed_dim=16, depths=[1, 1, 1, 1]),
    classifier("ijepa", **SMALL),
    classifier("levit", "Levit", BIG_CROP, head="LevitForImageClassification", **LEVIT),
    classifier("mobilenet_v1", "MobileNetV1", CLIP_SQUARE, depth_multiplier=0.25, min_depth=8),
    classifier("mobilenet_v2", "MobileNetV2", CLIP_SQUARE, depth_multiplier=0.25, min_depth=8),
    classifier("mobilevit", "MobileViT", BIG_CROP, image_size=64, hidden_sizes=[32, 40, 48],
               neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 64]),
    classifier("mobilevitv2", "MobileViT", BIG_CROP, image_size=64, width_multiplier=0.25),
    classifier("poolformer", "PoolFormer", CLIP_SQUARE, **FOUR),
    classifier("pvt", "Pvt", square(64), num_labels=5, **PVT),
    classifier("pvt_v2", "Pvt", square(64), **PVT),
    classifier("regnet", "ConvNext", CONVNEXT, embedding_size=16, groups_width=8, **FOUR),
    classifier("resnet", "ConvNext", CONVNEXT, embedding_size=16, quick=True, **FOUR),
    classifier("siglip", "Siglip", vision_config={**SMALL, "model_type": "siglip_vision_model"}, text_config=TEXT),
    classifier("swiftformer", image_size=32, embed_dims=[16, 24, 32, 40], depths=[1, 1, 1, 1], gain=0.4),
    classifier("swin", **SWIN),
    classifier("swinv2", **SWIN),
    classifier("vit_msn", **SMALL),
    classifier("imagegpt", "ImageGPT", {"size": {"height": 8, "width": 8}, "clusters": COLOURS},
               head="ImageGPTForImageClassification", n_embd=32, n_layer=2, n_head=2, vocab_size=21, n_positions=64),
    classifier("perceiver", "Perceiver", {**square(32), "crop_size": {"height": 36, "width": 36}},
               head="PerceiverForImageClassificationConvProcessing", **PERCEIVER),
    classifier("donut-swin", head="DonutSwinForImageClassification", **SWIN),
    classifier("textnet", "TextNet", CONVNEXT, head="TextNetForImageClassification"),
    detector("detr", quick=True, **DETR),
    detector("conditional_detr", "ConditionalDetr", **DETR),
    detector("deformable_detr", "DeformableDetr", num_feature_levels=2,
             **{**DETR, "backbone_config": {**RESNET, "out_indices": [3, 4]}}),
    detector("table-transformer", **DETR),
    detector("dab-detr", "ConditionalDetr", **{**DETR, "hidden_size": 32}),
    detector("yolos", "Yolos", {"size": {"shortest_edge": 64, "longest_edge": 96}},
             **{**SMALL, "image_size": [64, 96], "num_detection_tokens": 9}),
    detector("rt_detr", "RTDetr", square(64), **RT_DETR, backbone_config=RT_RESNET),
    detector("rt_detr_v2", "RTDetr", square(64), **RT_DETR, backbone_config=RT_RESNET),
    detector("d_fine", "RTDetr", square(64), **RT_DETR, backbone_config={**HGNET, "out_indices": [2, 3, 4]}),
    detector("deimv2", "RTDetr", square(64), **RT_DETR, backbone_config={**HGNET, "out_indices": [2, 3, 4]}),
    detector("lw_detr", "DeformableDetr", square(64), **LW_DETR),
    detector("rf_detr", "RTDetr", {**square(64), "do_normalize": True}, **RF_DETR),
    depth("dpt", "DPT", square(32), **{**SMALL, "num_hidden_layers": 4}, backbone_out_indices=[0, 1, 2, 3], **DPT),
    depth("depth_anything", "DPT", {**square(64), "keep_aspect_ratio": True, "ensure_multiple_of": 8},
          backbone_config=DINOV2, patch_size=8, reassemble_hidden_size=32, **DPT),
    Architecture("depth_pro", "depth-estimation", make_depth_pro, expect_inverse, pictures),
    depth("glpn", "GLPN", {}, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 5],
          decoder_hidden_size=16),
    depth("prompt_depth_anything", "PromptDepthAnything", square(64), backbone_config=DINOV2, patch_size=8,
          reassemble_hidden_size=32, **DPT),
    depth("zoedepth", "ZoeDepth", {**square(64), "ensure_multiple_of": 32}, backbone_config=BEIT, backbone=None,
          reassemble_factors=[4, 2, 1, 0.5], bottleneck_features=16, num_attractors=[4, 2, 1, 1],
          bin_embedding_dim=16, **DPT),
    Architecture("swin2sr", "image-to-image", make_larger, expect_picture, pictures),
    Architecture("segformer", "background-removal", make_matte, expect_cutout, pictures),
    features("dinov2", "Bit", CLIP_SQUARE, **SMALL),
    features("dinov2", "Bit", CLIP_SQUARE, pool=True, **SMALL),
    features("resnet", "ConvNext", CONVNEXT, pool=True, embedding_size=16, **FOUR),
    features("convnextv2", "ConvNext", CONVNEXT, **FOUR),
    features("vit", "ViT", square(32), pool=True, **SMALL),
    features("siglip2_vision_model", "Siglip2", {"patch_size": 8, "max_num_patches": 16}, pool=True, num_patches=16,
             **{name: value for name, value in SMALL.items() if name != "image_size"}),
    features("dinov3_vit", "ViT", square(32), **SMALL),
    features("dinov3_convnext", "ViT", square(32), pool=True, **FOUR),
    features("hiera", "Bit", BIG_CROP, image_size=[64, 64], embed_dim=16, depths=[1, 1, 1, 1]),
    features("mobilenet_v2", "MobileNetV2", CLIP_SQUARE, pool=True, depth_multiplier=0.25, min_depth=8),
    features("swin", "ViT", square(32), pool=True, **SWIN),
    features("siglip_vision_model", "Siglip", square(32), pool=True, **SMALL),
    features("clip_vision_model", "CLIP", CLIP_SQUARE, pool=True, **SMALL),
    features("vitdet", "ViT", square(32), mlp_ratio=1, **{k: v for k, v in SMALL.items() if k != "intermediate_size"}),
    features("pixio", "Bit", CLIP_SQUARE, **SMALL),
    features("mlcd_vision_model", "CLIP", CLIP_SQUARE, pool=True, **SMALL),
    features("aimv2_vision_model", "CLIP", CLIP_SQUARE, **SMALL),
    features("donut-swin", "ViT", square(32), **SWIN),
    features("radio", "CLIP", CLIP_SQUARE, **SMALL),
    features("ijepa", "ViT", square(32), **SMALL),
    features("beit", "Beit", square(32), **SMALL),
    features("deit", "DeiT", {"size": 40, "crop_size": 32}, pool=True, **SMALL),
    features("regnet", "ConvNext", CONVNEXT, pool=True, embedding_size=16, groups_width=8, **FOUR),
    features("swinv2", "ViT", square(32), pool=True, **SWIN),
    features("focalnet", "Bit", CLIP_SQUARE, image_size=32, embed_dim=16, hidden_sizes=[16, 32], depths=[1, 2],
             focal_levels=[2, 2], focal_windows=[3, 3]),
    features("efficientnet", "EfficientNet", {}, pool=True, width_coefficient=0.25, depth_coefficient=0.2,
             image_size=32, hidden_dim=320),
    features("poolformer", "PoolFormer", CLIP_SQUARE, **FOUR),
    features("levit", "Levit", BIG_CROP, **LEVIT),
    features("cvt", "ConvNext", CONVNEXT, embed_dim=[16, 32, 48], num_heads=[1, 2, 3], depth=[1, 2, 3]),
    video("videomae", "VideoMAE", num_frames=4),
    video("vjepa2", "VideoMAE", **VJEPA2),
    video("timesformer", "VideoMAE", num_frames=4),
    video("vivit", "VideoMAE", num_frames=4, tubelet_size=[2, 8, 8]),
]  # fmt: skip
