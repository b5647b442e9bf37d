"""Similarity of key points and average precision by it equal pycocotools'."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest

from sensorium.tasks.keypoint_detection import Box, Keypoint, Pose, Task

RNG = np.random.default_rng(0)


def test_average_precision_of_poses() -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    task = Task({}, {})
    annotations, results, tallies = [], [], []
    for image in range(1, 16):
        truths, found = [], []
        for _ in range(RNG.integers(0, 4)):
            low, size = RNG.uniform(0, 200, 2), RNG.uniform(20, 250, 2)
            points = np.concatenate([low + RNG.uniform(0, 1, (17, 2)) * size, RNG.integers(0, 3, (17, 1))], 1)
            points[:, 2] *= RNG.random() > 0.15  # some have no known point
            truth = {"keypoints": points.tolist(), "box": [*low, *(low + size)], "names": [],
                     "area": float(size.prod() * 0.6), "iscrowd": bool(RNG.random() < 0.1)}  # fmt: skip
            truths.append(truth)
            for _ in range(RNG.integers(0, 3)):
                moved = points[:, :2] + RNG.normal(0, RNG.uniform(1, 20), (17, 2))
                found.append(Pose(float(RNG.random()), Box(0, 0, 1, 1), [Keypoint("", 1, x, y) for x, y in moved]))
        for t in truths:
            x0, y0, x1, y1 = t["box"]
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": 1, "area": t["area"],
                                "iscrowd": int(t["iscrowd"]), "bbox": [x0, y0, x1 - x0, y1 - y0],
                                "keypoints": np.ravel(t["keypoints"]).tolist(),
                                "num_keypoints": int((np.array(t["keypoints"])[:, 2] > 0).sum())})  # fmt: skip
        for p in found:
            row = [v for k in p.keypoints for v in (k.x, k.y, 1)]
            results.append({"image_id": image, "category_id": 1, "keypoints": row, "score": p.score})
        tallies.append(task.tally(found, truths, {}))
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": i} for i in range(1, 16)], "annotations": annotations,
                        "categories": [{"id": 1}]}  # fmt: skip
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = task.score(tallies)
    names = ("map", "map_50", "map_75", "map_medium", "map_large", "mar")
    assert [ours[name] for name in names] == pytest.approx(evaluation.stats[:6].tolist(), abs=1e-9)
