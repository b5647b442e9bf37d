"""Networks that find named points of bodies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.parity.architectures import Architecture
from tests.parity.architectures.examples import opened
from tests.parity.architectures.makers import pictures

POINTS = ("one end", "middle", "other end")
BOXES = ((0.1, 0.2, 0.6, 0.9), (0.0, 0.0, 1.0, 1.0), (0.5, -0.1, 1.2, 0.4))  # as shares of the picture's sides


def sources(folder: Path) -> list[Any]:
    """Pictures with boxes in pixels, one of which reaches beyond."""
    found = []
    for path in pictures(folder):
        width, height = opened(path).size
        boxes = [[v * side for v, side in zip(box, (width, height) * 2)] for box in BOXES]
        found.append({"image": path, "boxes": boxes})
    return found


def make_vitpose(experts: int = 1, simple: bool = False) -> Any:
    def make(folder: Path) -> None:
        import torch
        import transformers as t

        torch.manual_seed(0)
        backbone = t.VitPoseBackboneConfig(
            image_size=[64, 48], patch_size=[16, 16], hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            out_indices=[2], num_experts=experts, part_features=8 if experts > 1 else 0, initializer_range=0.5,
        )  # fmt: skip
        config = t.VitPoseConfig(
            backbone_config=backbone, id2label=dict(enumerate(POINTS)), initializer_range=0.5,
            use_simple_decoder=simple, edges=[[0, 1], [1, 2]], scale_factor=4,
        )  # fmt: skip
        model = t.VitPoseForPoseEstimation(config).eval()
        if simple:  # where a heat map has no positive value the reference reads its neighbour's
            model.head.conv.bias.data.fill_(20.0)
        model.save_pretrained(folder)
        t.VitPoseImageProcessor(size={"height": 64, "width": 48}).save_pretrained(folder)

    return make


def expect(folder: Path, asked: list[Any]) -> list[Any]:
    import torch
    import transformers as t

    model = t.VitPoseForPoseEstimation.from_pretrained(folder)
    processor = t.AutoImageProcessor.from_pretrained(folder, backend="pil")
    answers = []
    for source in asked:
        given = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in source["boxes"]]
        inputs = processor(opened(source["image"]), boxes=[given], return_tensors="pt")
        if model.config.backbone_config.num_experts > 1:
            inputs["dataset_index"] = torch.zeros(len(given), dtype=torch.long)
        with torch.no_grad():
            outputs = model(**inputs)
        rows = []
        for pose in processor.post_process_pose_estimation(outputs, boxes=[given])[0]:
            named = zip(POINTS, pose["scores"].tolist(), pose["keypoints"].tolist())
            points = [{"label": label, "score": score, "x": x, "y": y} for label, score, (x, y) in named]
            rows.append({"keypoints": points})
        answers.append(rows)
    return answers


ARCHITECTURES = [
    Architecture("vitpose", "keypoint-detection", make_vitpose(), expect, sources),
    Architecture("vitpose", "keypoint-detection", make_vitpose(simple=True), expect, sources),
    Architecture("vitpose", "keypoint-detection", make_vitpose(experts=2), expect, sources),
]
