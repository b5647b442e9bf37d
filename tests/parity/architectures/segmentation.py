"""Segmenters: classes at pixels, and queries with a mask each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parity.architectures import Architecture
from tests.parity.architectures.examples import LARGE, opened
from tests.parity.architectures.makers import pictures
from tests.parity.architectures.zero_shot_vision import clip_words

TASK = "image-segmentation"
LABELS = dict(enumerate(("background", "zero", "one", "two", "three")))
# The best pairs of query and class come sorted out of `torch.topk` only where there are many classes; the order decides
# to whom a pixel goes that several objects want.
MANY = {i: f"class {i}" for i in range(70)}
SIZE = {"height": 64, "width": 64}
VISION = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 37}
SOFT = {"threshold": 0.3, "mask_threshold": 0.3, "overlap_mask_area_threshold": 0.2}


def maker(build: Callable[[Any], tuple[Any, Any]]) -> Callable[[Path], None]:
    """A function that writes the model and the processor that `build` makes of transformers."""

    def make(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        model, processor = build(t)
        for name, parameter in model.named_parameters():
            # Random heads of a deep model see little of the picture, and masks would hang on single pixels.
            if "mask_embed" in name or "class_predictor" in name:
                torch.nn.init.normal_(parameter, std=LARGE)
        model.eval().save_pretrained(folder)
        processor.save_pretrained(folder)

    return make


def expecter(**options: Any) -> Callable[[Path, list[Any]], list[Any]]:
    """What the pipeline of transformers answers."""

    def expect(folder: Path, sources: list[Any]) -> list[Any]:
        import transformers as t

        processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
        pipeline = t.pipeline("image-segmentation", str(folder), image_processor=processor)
        return [pipeline(opened(source), **options) for source in sources]

    return expect


def expect_eomt(subtask: str) -> Callable[[Path, list[Any]], list[Any]]:
    """What EoMT's processor makes of it; the pipeline gives its processor options that it does not have."""

    def expect(folder: Path, sources: list[Any]) -> list[Any]:
        import torch
        import transformers as t
        from PIL import Image

        processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
        model = t.AutoModelForUniversalSegmentation.from_pretrained(folder)
        given = {"panoptic": SOFT, "instance": {"threshold": SOFT["threshold"]}, "semantic": {}}[subtask]
        answers = []
        for source in sources:
            picture = opened(source)
            with torch.no_grad():
                outputs = model(**processor(picture, return_tensors="pt"))
            work = getattr(processor, f"post_process_{subtask}_segmentation")
            found = work(outputs, target_sizes=[(picture.height, picture.width)], **given)[0]
            if subtask == "semantic":
                rows = [(model.config.id2label[int(i)], None, found == i) for i in found.unique()]
            else:
                names, where = model.config.id2label, found["segmentation"]
                rows = [(names[s["label_id"]], s["score"], where == s["id"]) for s in found["segments_info"]]
            masks = [Image.fromarray((mask * 255).numpy().astype("uint8")) for _, _, mask in rows]
            answers.append([{"label": r[0], "score": r[1], "mask": m} for r, m in zip(rows, masks)])
        return answers

    return expect


def segformer(t: Any) -> tuple[Any, Any]:
    config = t.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[4, 2], hidden_sizes=[16, 24], patch_sizes=[7, 3],
        strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16,
        initializer_range=LARGE, id2label=LABELS,
    )  # fmt: skip
    return t.SegformerForSemanticSegmentation(config), t.SegformerImageProcessor(size=SIZE)


def upernet(t: Any) -> tuple[Any, Any]:
    backbone = t.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"],
        initializer_range=LARGE,
    )  # fmt: skip
    config = t.UperNetConfig(
        backbone_config=backbone, hidden_size=16, use_auxiliary_head=False, initializer_range=LARGE, id2label=LABELS
    )
    return t.UperNetForSemanticSegmentation(config), t.SegformerImageProcessor(size=SIZE)


def beit(t: Any) -> tuple[Any, Any]:
    config = t.BeitConfig(
        **VISION, image_size=64, patch_size=16, out_indices=[1, 2, 3, 4], use_auxiliary_head=False,
        initializer_range=LARGE, id2label=LABELS, use_relative_position_bias=True,
    )  # fmt: skip
    return t.BeitForSemanticSegmentation(config), t.BeitImageProcessor(size=SIZE, do_center_crop=False)


def data2vec(t: Any) -> tuple[Any, Any]:
    config = t.Data2VecVisionConfig(
        **VISION, image_size=64, patch_size=16, out_indices=[1, 2, 3, 4], use_auxiliary_head=False,
        initializer_range=LARGE, id2label=LABELS,
    )  # fmt: skip
    return t.Data2VecVisionForSemanticSegmentation(config), t.BeitImageProcessor(size=SIZE, do_center_crop=False)


def dpt(t: Any) -> tuple[Any, Any]:
    config = t.DPTConfig(
        **VISION, image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3], use_auxiliary_head=False,
        neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16, is_hybrid=False, initializer_range=LARGE,
        id2label=LABELS,
    )  # fmt: skip
    return t.DPTForSemanticSegmentation(config), t.DPTImageProcessor(size=SIZE)


def mobilevit(t: Any) -> tuple[Any, Any]:
    config = t.MobileViTConfig(
        image_size=64, hidden_sizes=[16, 20, 24], neck_hidden_sizes=[8, 8, 12, 16, 16, 16, 24], num_attention_heads=2,
        aspp_out_channels=16, initializer_range=LARGE, id2label=LABELS,
    )  # fmt: skip
    processor = t.MobileViTImageProcessor(size={"shortest_edge": 72}, crop_size=SIZE)
    return t.MobileViTForSemanticSegmentation(config), processor


def mobilevitv2(t: Any) -> tuple[Any, Any]:
    config = t.MobileViTV2Config(
        image_size=64, width_multiplier=0.25, n_attn_blocks=[1, 1, 1], base_attn_unit_dims=[32, 48, 64],
        aspp_out_channels=16, initializer_range=LARGE, id2label=LABELS,
    )  # fmt: skip
    processor = t.MobileViTImageProcessor(size={"shortest_edge": 72}, crop_size=SIZE)
    return t.MobileViTV2ForSemanticSegmentation(config), processor


def mobilenet(t: Any) -> tuple[Any, Any]:
    config = t.MobileNetV2Config(image_size=64, depth_multiplier=0.35, initializer_range=0.2, id2label=LABELS)
    processor = t.MobileNetV2ImageProcessor(size={"shortest_edge": 72}, crop_size=SIZE)
    return t.MobileNetV2ForSemanticSegmentation(config), processor


def detr(t: Any) -> tuple[Any, Any]:
    backbone = t.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = t.DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, backbone=None, d_model=32, encoder_layers=1,
        decoder_layers=1, encoder_attention_heads=8, decoder_attention_heads=8, encoder_ffn_dim=37,
        decoder_ffn_dim=37, num_queries=12, init_std=LARGE, id2label=LABELS, use_pretrained_backbone=False,
    )  # fmt: skip
    return t.DetrForSegmentation(config), t.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})


def swin(t: Any) -> Any:
    return t.SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"], initializer_range=0.1,
    )  # fmt: skip


def maskformer(t: Any) -> tuple[Any, Any]:
    decoder = t.DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=37, decoder_ffn_dim=37, num_queries=12, use_pretrained_backbone=False,
    )  # fmt: skip
    config = t.MaskFormerConfig(
        backbone_config=swin(t), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, init_std=LARGE,
        init_xavier_std=LARGE, id2label=MANY,
    )  # fmt: skip
    processor = t.MaskFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return t.MaskFormerForInstanceSegmentation(config), processor


def mask2former(t: Any) -> tuple[Any, Any]:
    config = t.Mask2FormerConfig(
        backbone_config=swin(t), feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=37,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=37, num_queries=12,
        init_std=LARGE, init_xavier_std=LARGE, id2label=MANY,
    )  # fmt: skip
    processor = t.Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return t.Mask2FormerForUniversalSegmentation(config), processor


def eomt(t: Any) -> tuple[Any, Any]:
    config = t.EomtConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=16, num_blocks=1,
        num_upscale_blocks=1, num_queries=12, num_register_tokens=1, initializer_range=LARGE, id2label=LABELS,
    )  # fmt: skip
    processor = t.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True)
    return t.EomtForUniversalSegmentation(config), processor


def eomt_split(t: Any) -> tuple[Any, Any]:
    """As it is used for semantic segmentation: squares after each other."""
    model, _ = eomt(t)
    return model, t.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": None}, do_split_image=True)


def eomt_dinov3(t: Any) -> tuple[Any, Any]:
    config = t.EomtDinov3Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=37, image_size=64,
        patch_size=16, num_blocks=1, num_upscale_blocks=1, num_queries=12, num_register_tokens=1,
        initializer_range=LARGE, id2label=LABELS,
    )  # fmt: skip
    processor = t.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True)
    return t.EomtDinov3ForUniversalSegmentation(config), processor


def make_oneformer(folder: Path) -> None:
    import torch
    import transformers as t

    torch.manual_seed(0)
    tokenizer = clip_words(folder)
    config = t.OneFormerConfig(
        backbone_config=swin(t), num_queries=12, hidden_dim=32, mask_dim=32, conv_dim=32, encoder_feedforward_dim=37,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=37, num_classes=len(MANY),
        text_encoder_width=32, text_encoder_num_layers=1, text_encoder_vocab_size=len(tokenizer), task_seq_len=77,
        query_dec_layers=1, init_std=LARGE, init_xavier_std=LARGE, id2label=MANY, is_training=False,
        use_auxiliary_loss=False, output_auxiliary_logits=False,
    )  # fmt: skip
    model = t.OneFormerForUniversalSegmentation(config)
    for name, parameter in model.named_parameters():
        if "mask_embed" in name or "class_embed" in name:
            torch.nn.init.normal_(parameter, std=LARGE)
    model.eval().save_pretrained(folder)
    t.OneFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)


def expect_oneformer(subtask: str) -> Callable[[Path, list[Any]], list[Any]]:
    def expect(folder: Path, sources: list[Any]) -> list[Any]:
        import torch
        import transformers as t
        from PIL import Image
        from transformers.models.oneformer import image_processing_pil_oneformer as module

        class Resizing:  # what the module takes from torchvision: the same where pictures are larger than masks
            InterpolationMode = type("Mode", (), {"BILINEAR": "bilinear"})

            @staticmethod
            def resize(masks: Any, size: Any, interpolation: str) -> Any:
                return torch.nn.functional.interpolate(masks, size=size, mode=interpolation, align_corners=False)

        module.tvF = Resizing
        processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
        processor.class_info_file = ""  # else it looks for a word in None
        both = t.OneFormerProcessor(processor, t.AutoTokenizer.from_pretrained(folder))
        model = t.OneFormerForUniversalSegmentation.from_pretrained(folder)
        answers = []
        for source in sources:
            picture = opened(source)
            inputs = both(picture, [subtask], return_tensors="pt")
            with torch.no_grad():
                outputs = model(pixel_values=inputs["pixel_values"], task_inputs=inputs["task_inputs"])
            size = [(picture.height, picture.width)]
            if subtask == "semantic":
                found = processor.post_process_semantic_segmentation(outputs, target_sizes=size)[0]
                rows = [(model.config.id2label[int(i)], None, found == i) for i in found.unique()]
            else:
                work = getattr(processor, f"post_process_{subtask}_segmentation")
                found = work(outputs, target_sizes=size, **SOFT)[0]
                names, where = model.config.id2label, found["segmentation"]
                rows = [(names[s["label_id"]], s["score"], where == s["id"]) for s in found["segments_info"]]
            masks = [Image.fromarray((mask * 255).numpy().astype("uint8")) for _, _, mask in rows]
            answers.append([{"label": r[0], "score": r[1], "mask": m} for r, m in zip(rows, masks)])
        return answers

    return expect


def semantic(name: str, build: Callable[[Any], tuple[Any, Any]], quick: bool = False) -> Architecture:
    return Architecture(name, TASK, maker(build), expecter(), pictures, quick=quick)


def queries(name: str, build: Callable[[Any], tuple[Any, Any]], subtask: str) -> Architecture:
    options = {**SOFT, "subtask": subtask}
    return Architecture(name, TASK, maker(build), expecter(**options), pictures, options)


ARCHITECTURES = [
    semantic("segformer", segformer, quick=True),
    semantic("upernet", upernet),
    semantic("beit", beit),
    semantic("data2vec-vision", data2vec),
    semantic("dpt", dpt),
    semantic("mobilevit", mobilevit),
    semantic("mobilevitv2", mobilevitv2),
    semantic("mobilenet_v2", mobilenet),
    *(queries("detr", detr, task) for task in ("panoptic", "instance", "semantic")),
    *(queries("maskformer", maskformer, task) for task in ("panoptic", "instance", "semantic")),
    *(queries("mask2former", mask2former, task) for task in ("panoptic", "instance", "semantic")),
    *(
        Architecture("eomt", TASK, maker(eomt), expect_eomt(task), pictures, {**SOFT, "subtask": task})
        for task in ("panoptic", "instance")
    ),
    *(
        Architecture("oneformer", TASK, make_oneformer, expect_oneformer(task), pictures, {**SOFT, "subtask": task})
        for task in ("panoptic", "instance", "semantic")
    ),
    Architecture("eomt_dinov3", TASK, maker(eomt_dinov3), expect_eomt("panoptic"), pictures, SOFT),
    Architecture("eomt", TASK, maker(eomt_split), expect_eomt("semantic"), pictures, {"subtask": "semantic"}),
]
