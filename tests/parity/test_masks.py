"""Masks equal pycocotools', their average precision too."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest

from sensorium.ops import coco_ap, masks

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_outlines_and_run_lengths() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    for number in range(200):
        height, width = (int(n) for n in RNG.integers(1, 80, 2))
        corners = int(RNG.integers(3, 12))
        points = RNG.uniform(-5, 85, (corners, 2)) if number % 2 else RNG.integers(0, 80, (corners, 2)).astype(float)
        outline = points.reshape(-1).tolist()
        packed = reference.merge(reference.frPyObjects([outline], height, width))
        wanted = reference.decode(packed).astype(bool)
        assert np.array_equal(masks.from_polygons([outline], height, width), wanted)
        assert np.array_equal(masks.from_counts(packed["counts"].decode(), height, width), wanted)


def test_run_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="add up"):
        masks.from_counts([1, 2], 2, 2)
    with pytest.raises(ValueError, match="packed"):
        masks.from_counts("\x00", 2, 2)


def test_average_precision_of_masks() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def blob() -> np.ndarray:
        y, x, radius = RNG.integers(0, 90), RNG.integers(0, 90), RNG.integers(2, 40)
        rows, columns = np.mgrid[:90, :90]
        inside: np.ndarray = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        return inside

    def packed(mask: np.ndarray) -> dict[str, object]:
        found = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {**found, "counts": found["counts"].decode()}

    annotations, results, matches = [], [], []
    for image in range(1, 13):
        truths = [(str(RNG.integers(1, 3)), blob(), bool(RNG.random() < 0.15)) for _ in range(RNG.integers(0, 5))]
        found = [(k, np.roll(m, RNG.integers(-4, 5), RNG.integers(0, 2)), RNG.random()) for k, m, _ in truths]
        found += [(str(RNG.integers(1, 3)), blob(), RNG.random()) for _ in range(3)]
        for kind, mask, crowd in truths:
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": int(kind),
                                "iscrowd": int(crowd), "area": int(mask.sum()), "bbox": [0, 0, 1, 1],
                                "segmentation": packed(mask)})  # fmt: skip
        for kind, mask, confidence in found:
            results.append({"image_id": image, "category_id": int(kind), "score": confidence,
                            "segmentation": packed(mask)})  # fmt: skip
        crowd = np.array([c for _, _, c in truths], bool)
        matches.append(
            coco_ap.match_by(
                lambda a, b, f=found, t=truths, c=crowd: masks.iou([f[i][1] for i in a], [t[j][1] for j in b], c[b]),
                [k for k, _, _ in found],
                [s for _, _, s in found],
                masks.areas([m for _, m, _ in found]),
                [k for k, _, _ in truths],
                masks.areas([m for _, m, _ in truths]),
                crowd,
                np.zeros(len(truths), bool),
            )
        )
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": i, "height": 90, "width": 90} for i in range(1, 13)],
                        "annotations": annotations, "categories": [{"id": 1}, {"id": 2}]}  # fmt: skip
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = np.nan_to_num(list(coco_ap.average_precision(matches).values()), nan=-1)
    assert np.abs(ours - evaluation.stats).max() < 1e-9
