from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.ops import detection


def outputs(seed: int = 0):
    rng = np.random.default_rng(seed)
    return {
        "logits": rng.normal(0, 3, (2, 20, 4)).astype(np.float32),
        "pred_boxes": rng.random((2, 20, 4), np.float32),
    }


def test_difference_sees_values_and_not_order():
    a = outputs()
    order = np.random.default_rng(1).permutation(20)
    turned = {k: v[:, order] for k, v in a.items()}
    assert detection.difference(a, turned, "yolos") == 0
    moved = {**turned, "pred_boxes": turned["pred_boxes"] + np.float32(0.01)}
    assert detection.difference(a, moved, "yolos") == pytest.approx(0.01, abs=1e-5)
    assert detection.difference(a, outputs(1), "d_fine") > 0.1
    assert detection.difference(a, {**a, "logits": a["logits"] * np.nan}, "yolos") == float("inf")
    assert detection.difference(a, {"logits": a["logits"]}, "yolos") == float("inf")


def test_nothing_found_is_no_error():
    found = detection.decode(np.zeros((0, 3)), np.zeros((0, 4)), "d_fine", 10, 10, 0.5)
    assert [len(f) for f in found] == [0, 0, 0]


def test_large_logits_are_no_trouble():
    logits = np.array([[1e4, -1e4, 0.0]], np.float32)
    for family, classes in (("d_fine", 3), ("yolos", 2)):
        scores, labels, _ = detection.decode(logits, np.full((1, 4), 0.5), family, 10, 10, 0.5)
        assert scores[0] == 1
        assert labels[0] == 0 < classes


@pytest.mark.parametrize(
    ("logits", "boxes", "family"),
    [((3, 2), (4, 4), "yolos"), ((3,), (3, 4), "yolos"), ((3, 2), (3, 4), "resnet")],
)
def test_what_cannot_be_decoded(logits, boxes, family):
    with pytest.raises(InputError):
        detection.decode(np.zeros(logits), np.zeros(boxes), family, 10, 10, 0.5)


def test_an_unknown_family_goes_by_its_columns() -> None:
    files = {"config.json": {"model_type": "newest", "id2label": {"0": "a", "1": "b"}}, "preprocessor_config.json": {}}
    task = detection.Detector.load(files)
    assert task.family(3) == "detr"  # a last column for no object
    assert task.family(2) == "rt_detr"
