"""The same objects as `post_process_object_detection` of transformers, for each kind of family."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sensorium.ops import detection

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


def processor(name: str):
    import importlib

    module, kind = {
        "detr": ("detr", "Detr"),
        "yolos": ("yolos", "Yolos"),
        "rt_detr_v2": ("rt_detr", "RTDetr"),
        "d_fine": ("rt_detr", "RTDetr"),
        "conditional_detr": ("conditional_detr", "ConditionalDetr"),
        "deformable_detr": ("deformable_detr", "DeformableDetr"),
    }[name]
    found = importlib.import_module(f"transformers.models.{module}.image_processing_pil_{module}")
    return getattr(found, f"{kind}ImageProcessorPil")()


@pytest.mark.parametrize("family", ["detr", "yolos", "rt_detr_v2", "d_fine", "conditional_detr", "deformable_detr"])
@pytest.mark.parametrize(("queries", "classes", "threshold"), [(300, 5, 0.0), (300, 5, 0.5), (7, 2, 0.3), (60, 1, 0.2)])
def test_equals_transformers(family: str, queries: int, classes: int, threshold: float):
    rng = np.random.default_rng(queries)
    columns = classes + (family in detection.SOFTMAX)
    logits = rng.normal(-1, 3, (queries, columns)).astype(np.float32)
    boxes = rng.random((queries, 4), np.float32)
    outputs = SimpleNamespace(logits=torch.from_numpy(logits)[None], pred_boxes=torch.from_numpy(boxes)[None])
    wanted = processor(family).post_process_object_detection(outputs, threshold, torch.tensor([[480, 640]]))[0]
    scores, labels, corners = detection.decode(logits, boxes, family, 640, 480, threshold)
    order = np.argsort(-wanted["scores"].numpy(), kind="stable")
    np.testing.assert_allclose(scores, wanted["scores"].numpy()[order], rtol=1e-6)
    np.testing.assert_array_equal(labels, wanted["labels"].numpy()[order])
    np.testing.assert_allclose(corners, wanted["boxes"].numpy()[order], rtol=1e-5, atol=1e-4)
