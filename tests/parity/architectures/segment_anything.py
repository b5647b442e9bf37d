"""Networks that are asked by points and boxes for masks: SAM and its like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parity.architectures import Architecture
from tests.parity.architectures.examples import opened
from tests.parity.architectures.makers import pictures

TASK = "mask-generation"
# What is asked, as shares of the picture's sides: points of one object, points with labels, a box, both.
ASKED: list[dict[str, Any]] = [
    {"points": [[0.3, 0.4]]},
    {"points": [[0.7, 0.2], [0.5, 0.5]], "labels": [1, 0]},
    {"box": [0.2, 0.1, 0.8, 0.9]},
    {"points": [[0.6, 0.6]], "labels": [1], "box": [0.4, 0.3, 0.9, 1.0]},
]
EVERYTHING = {"points_per_crop": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.005}


def sources(folder: Path) -> list[Any]:
    """Pictures with prompts in pixels."""
    found = []
    for path in pictures(folder):
        width, height = opened(path).size
        prompts = []
        for asked in ASKED:
            prompt = {"labels": asked["labels"]} if "labels" in asked else {}
            if "points" in asked:
                prompt["points"] = [[x * width, y * height] for x, y in asked["points"]]
            if "box" in asked:
                prompt["box"] = [v * side for v, side in zip(asked["box"], (width, height) * 2)]
            prompts.append(prompt)
        found.append({"image": path, "prompts": prompts})
    return found


def maker(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        vision = getattr(t, f"{kind}VisionConfig")(
            hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=37, image_size=64,
            patch_size=8, output_channels=16, window_size=4, global_attn_indexes=[1, 3], mlp_dim=40, num_pos_feats=8,
            initializer_range=0.3,
        )  # fmt: skip
        prompts = getattr(t, f"{kind}PromptEncoderConfig")(
            hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4
        )
        more = {"vit_dim": 32} if kind == "SamHQ" else {}
        decoder = getattr(t, f"{kind}MaskDecoderConfig")(
            hidden_size=16, num_attention_heads=2, mlp_dim=20, iou_head_hidden_dim=20, num_hidden_layers=2, **more
        )
        config = getattr(t, f"{kind}Config")(
            vision_config=vision.to_dict(), prompt_encoder_config=prompts.to_dict(),
            mask_decoder_config=decoder.to_dict(),
        )  # fmt: skip
        model = getattr(t, f"{kind}Model")(config).eval()
        for name, weights in model.named_parameters():
            if "upscale_conv" in name or ("hypernetworks" in name and name.endswith("proj_out.weight")):
                weights.data.mul_(200)  # else masks are nearly 0 everywhere
            if "iou_prediction_head" in name:
                weights.data.mul_(3)
        model.save_pretrained(folder)
        size = {"height": 64, "width": 64}
        t.SamImageProcessor(size={"longest_edge": 64}, pad_size=size).save_pretrained(folder)

    return make


def answers(masks: Any, scores: Any) -> list[dict[str, Any]]:
    """As ours: the best mask of each prompt."""
    from PIL import Image

    found = []
    for some, own in zip(masks, scores):
        best = int(own.argmax())
        picture = Image.fromarray((some[best].numpy() * 255).astype("uint8"))
        found.append({"score": float(own[best]), "mask": picture})
    return found


def expect_asked(folder: Path, asked: list[Any]) -> list[Any]:
    """What the processor and the model of transformers make of it, a prompt after the other."""
    import torch
    import transformers as t

    model = t.AutoModelForMaskGeneration.from_pretrained(folder)
    processor = t.SamProcessor(t.AutoImageProcessor.from_pretrained(folder, backend="pil"))
    found = []
    for source in asked:
        rows = []
        for prompt in source["prompts"]:
            given = {}
            if "points" in prompt:
                given["input_points"] = [prompt["points"]]
                given["input_labels"] = [prompt.get("labels", [1] * len(prompt["points"]))]
            if "box" in prompt:
                given["input_boxes"] = [[prompt["box"]]]
            inputs = processor(opened(source["image"]), **given, return_tensors="pt")
            sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
            with torch.no_grad():
                outputs = model(**inputs)
            masks = processor.image_processor.post_process_masks(outputs.pred_masks, *sizes)
            rows += answers(masks[0], outputs.iou_scores[0])
        found.append(rows)
    return found


def expect_everything(folder: Path, paths: list[Any]) -> list[Any]:
    """What the pipeline of transformers does, but for torchvision's suppression of doubles, which is written out."""
    import torch
    import transformers as t
    from PIL import Image
    from transformers.loss.loss_for_object_detection import box_iou
    from transformers.models.sam.image_processing_pil_sam import _rle_to_mask

    model = t.AutoModelForMaskGeneration.from_pretrained(folder)
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    found = []
    for path in paths:
        picture = opened(path)
        where, points, crops, labels = processor.generate_crop_boxes(picture, 64, points_per_crop=4)
        inputs = processor(images=crops, return_tensors="pt")
        sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
        with torch.no_grad():
            outputs = model(inputs["pixel_values"], points, labels)
        masks = processor.post_process_masks(outputs.pred_masks, *sizes, binarize=False)
        rles, scores, places = processor.filter_masks(
            masks[0], outputs.iou_scores[0], sizes[0][0].tolist(), where[0], 0.0, EVERYTHING["stability_score_thresh"]
        )
        order = scores.argsort(descending=True, stable=True).tolist()
        kept: list[int] = []
        for i in order:
            if all(box_iou(places[i : i + 1].float(), places[j : j + 1].float())[0] <= 0.7 for j in kept):
                kept.append(i)
        pictures_of = [Image.fromarray(_rle_to_mask(rles[i]).astype("uint8") * 255) for i in kept]
        found.append([{"score": float(scores[i]), "mask": m} for i, m in zip(kept, pictures_of)])
    return found


def make_sam2(folder: Path) -> None:
    import json

    import torch
    import transformers as t

    torch.manual_seed(0)
    body = t.Sam2HieraDetConfig(
        hidden_size=8, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 2, 4], window_size_per_stage=[4, 2, 4, 2], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4], initializer_range=0.2,
    )  # fmt: skip
    vision = t.Sam2VisionConfig(
        backbone_config=body, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]], initializer_range=0.2,
    )  # fmt: skip
    config = t.Sam2Config(
        vision_config=vision,
        prompt_encoder_config=t.Sam2PromptEncoderConfig(hidden_size=32, image_size=64, mask_input_channels=4),
        mask_decoder_config=t.Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=40, num_attention_heads=2, iou_head_hidden_dim=32
        ),
    )
    model = t.Sam2Model(config).eval()
    for name, weights in model.named_parameters():
        if "hypernetworks" in name and name.endswith("proj_out.weight"):
            weights.data.mul_(200)
        if "iou_prediction_head" in name:
            weights.data.mul_(3)
    model.save_pretrained(folder)
    # The processor itself needs torchvision, and resizes with it.
    settings = {"image_processor_type": "Sam2ImageProcessor", "size": {"height": 64, "width": 64}, "do_rescale": True}
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "mask_size": {"height": 16, "width": 16}}))


def expect_sam2(folder: Path, asked: list[Any]) -> list[Any]:
    """What the model of transformers makes of our pixels, with the coordinates and the resizing of its processor."""
    import torch
    import transformers as t

    from sensorium.media import image
    from sensorium.model import Model

    model = t.Sam2Model.from_pretrained(folder)
    settings = image.settings(Model(folder).files)
    found = []
    for source in asked:
        picture = opened(source["image"])
        pixels = torch.from_numpy(image.preprocess(settings, picture))[None]
        size = torch.tensor([64 / picture.width, 64 / picture.height])
        rows = []
        for prompt in source["prompts"]:
            given: dict[str, Any] = {}
            if "points" in prompt:
                given["input_points"] = (torch.tensor(prompt["points"]) * size)[None, None]
                labels = prompt.get("labels", [1] * len(prompt["points"]))
                given["input_labels"] = torch.tensor([[labels]])
            if "box" in prompt:
                given["input_boxes"] = (torch.tensor(prompt["box"]) * size.repeat(2))[None, None]
            with torch.no_grad():
                outputs = model(pixel_values=pixels, **given)
            wide = torch.nn.functional.interpolate(
                outputs.pred_masks[0], (picture.height, picture.width), mode="bilinear"
            )
            rows += answers(wide > 0, outputs.iou_scores[0])
        found.append(rows)
    return found


ARCHITECTURES = [
    Architecture("sam", TASK, maker("Sam"), expect_asked, sources),
    Architecture("sam_hq", TASK, maker("SamHQ"), expect_asked, sources),
    Architecture("sam2", TASK, make_sam2, expect_sam2, sources),
    Architecture("sam", TASK, maker("Sam"), expect_everything, pictures, EVERYTHING),
]
