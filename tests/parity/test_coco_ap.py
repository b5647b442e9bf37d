"""Equal to pycocotools, on random and on degenerate images."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.ops.coco_ap import average_precision, match

NAMES = [
    "map", "map_50", "map_75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large",
]  # fmt: skip
LABELS = ("cat", "dog", "eel")


def reference(images):
    """The twelve numbers of COCOeval, NaN for -1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def size(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    annotations, results = [], []
    for i, (predictions, truths) in enumerate(images):
        for truth in truths:
            box = size(truth["box"])
            area = box[2] * box[3] if truth.get("area") is None else truth["area"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": LABELS.index(truth["label"]) + 1,
                    "bbox": box,
                    # COCOeval knows no difficult objects, but ignores what has an impossible area.
                    "area": -1.0 if truth.get("difficult") else area,
                    "iscrowd": int(truth.get("iscrowd", False)),
                }
            )
        for label, score, box in zip(predictions["labels"], predictions["scores"], predictions["boxes"]):
            results.append(
                {
                    "image_id": i,
                    "category_id": LABELS.index(label) + 1,
                    "bbox": size(box),
                    "score": score,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(len(images))],
            "annotations": annotations,
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(LABELS)],
            "info": {},
        }
        truth.createIndex()
        if results:
            found = truth.loadRes(results)
        else:
            found = COCO()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: math.nan if v == -1 else float(v) for name, v in zip(NAMES, evaluation.stats)}


def check(images):
    got = average_precision([match(p, t) for p, t in images])
    assert got == pytest.approx(reference(images), abs=1e-9, nan_ok=True)
    return got


def random_images(generator, count, truths=8, noise=6.0, extra=10):
    """Truths of all sizes, predictions scattered around them and beside them."""
    images = []
    for _ in range(count):
        there, labels, scores, boxes = [], [], [], []
        for _ in range(int(generator.integers(truths + 1))):
            x, y = generator.uniform(0, 400, 2)
            w, h = 2 ** generator.uniform(2, 8, 2)
            box = [x, y, x + w, y + h]
            label = str(generator.choice(LABELS[:2]))
            there.append({"label": label, "box": box, "iscrowd": bool(generator.random() < 0.1)})
            there[-1]["area"] = None if generator.random() < 0.5 else w * h * generator.uniform(0.4, 1)
            there[-1]["difficult"] = bool(generator.random() < 0.1)
            for _ in range(int(generator.integers(4))):
                boxes.append((np.array(box) + generator.normal(scale=noise, size=4)).tolist())
                labels.append(label if generator.random() < 0.8 else str(generator.choice(LABELS)))
                scores.append(round(float(generator.random()), 2))  # ties
        for _ in range(int(generator.integers(extra + 1))):
            x, y, w, h = generator.uniform(0, 200, 4)
            boxes.append([x, y, x + w, y + h])
            labels.append(str(generator.choice(LABELS)))
            scores.append(round(float(generator.random()) * 0.5, 2))
        images.append(({"labels": labels, "scores": scores, "boxes": boxes}, there))
    return images


@pytest.mark.parametrize("seed", range(12))
def test_random_images(seed):
    generator = np.random.default_rng(seed)
    check(random_images(generator, 20, noise=float(generator.choice([0.0, 1.0, 6.0]))))


def test_more_than_a_hundred_detections_of_a_class():
    check(random_images(np.random.default_rng(3), 4, truths=60, extra=300))


# Few whole coordinates: overlaps and scores are often equal, boxes often empty, equal or inverted.
box = st.tuples(*[st.integers(0, 4)] * 4).map(lambda b: [16.0 * v for v in b])
truth = st.fixed_dictionaries(
    {"label": st.sampled_from(LABELS), "box": box},
    optional={
        "iscrowd": st.booleans(),
        "difficult": st.booleans(),
        "area": st.sampled_from([None, 0.0, 500.0, 1024.0, 5000.0, 9216.0, 10_000.0]),
    },
)
prediction = st.tuples(st.sampled_from(LABELS), st.sampled_from([0.0, 0.25, 0.5, 1.0]), box)


@st.composite
def image(draw):
    found = draw(st.lists(prediction, max_size=14))
    predictions = {key: [f[i] for f in found] for i, key in enumerate(("labels", "scores", "boxes"))}
    return predictions, draw(st.lists(truth, max_size=8))


@settings(max_examples=250, deadline=None)
@given(st.lists(image(), min_size=1, max_size=4))
def test_degenerate_images(images):
    check(images)


NOTHING = {"labels": [], "scores": [], "boxes": []}
CAT = {"label": "cat", "box": [0, 0, 50, 50]}


def test_nothing_at_all():
    assert all(math.isnan(v) for v in average_precision([]).values())
    assert all(math.isnan(v) for v in check([(NOTHING, [])]).values())


def test_no_predictions():
    got = check([(NOTHING, [CAT])])
    assert got["map"] == 0
    assert math.isnan(got["map_large"])


def test_no_truths():
    assert math.isnan(check([({"labels": ["cat"], "scores": [1.0], "boxes": [[0, 0, 9, 9]]}, [])])["map"])


def test_perfect_predictions():
    got = check([({"labels": ["cat"], "scores": [0.9], "boxes": [[0, 0, 50, 50]]}, [CAT])])
    assert got["map"] == pytest.approx(1)
    assert got["mar_1"] == 1


def test_a_crowd_hides_any_number_of_detections():
    crowd = {**CAT, "label": "dog", "iscrowd": True}
    inside = [[5 * i, 5 * i, 5 * i + 20, 5 * i + 20] for i in range(6)]
    dogs = {"labels": ["dog"] * 6 + ["cat"], "scores": [0.9] * 6 + [0.5], "boxes": [*inside, [0, 0, 50, 50]]}
    assert check([(dogs, [crowd, CAT])])["map"] == pytest.approx(1)


def test_parts_that_do_not_belong_together():
    with pytest.raises(ValueError, match="2 labels, 1 scores"):
        match({"labels": ["cat", "cat"], "scores": [1.0], "boxes": [[0, 0, 1, 1]] * 2}, [])
