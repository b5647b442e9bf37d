from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sensorium import tasks
from sensorium.errors import InputError
from sensorium.tasks.object_detection import Box, Detection, Task

CONFIG = {"model_type": "d_fine", "id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}, "more": 7}
PICTURES = {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 32, "width": 64}, "do_normalize": False}
TRUTH = [{"label": "cat", "box": [10.0, 10.0, 60.0, 90.0]}, {"label": "dog", "box": [100.0, 0.0, 200.0, 100.0]}]


@pytest.fixture
def task() -> Task:
    return Task.load({"config.json": CONFIG, "preprocessor_config.json": PICTURES})


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8))


def test_files_there_and_back(task):
    assert task.files() == {"config.json": CONFIG, "preprocessor_config.json": PICTURES}
    assert Task.load(task.files()) == task


def test_prepare(task, picture):
    array = task.prepare(picture)["pixel_values"]
    assert array.shape == (3, 32, 64)
    assert array.dtype == np.float32


def test_decode(task, picture):
    logits = np.full((3, 2), -9.0, np.float32)
    logits[1, 0], logits[2, 1] = 2.0, 1.0
    boxes = np.array([[0.5] * 4, [0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.2, 0.2]], np.float32)
    found = task.decode({"logits": logits, "pred_boxes": boxes}, picture)
    assert [d.label for d in found] == ["cat", "dog"]
    assert tasks.to_json(found)[0] == {
        "label": "cat",
        "score": pytest.approx(1 / (1 + np.exp(-2))),
        "box": {"xmin": 50, "ymin": 25, "xmax": 150, "ymax": 75},
    }
    assert len(task.decode({"logits": logits, "pred_boxes": boxes}, picture, threshold=0.8)) == 1
    assert tasks.options(Task)[0].help


def test_perfect_and_empty_answers(task):
    perfect = task.tally(task.truth_result(TRUTH), TRUTH, {})
    assert perfect.quality == 1
    assert task.score([perfect])["map"] == pytest.approx(1)
    nothing = task.tally([], TRUTH, {})
    assert nothing.quality == 0
    assert task.score([nothing])["map"] == 0
    assert task.tally([], [], {}).quality == 1


def test_alike_looks_at_sure_objects(task):
    a = [Detection("cat", 0.9, Box(0, 0, 50, 50)), Detection("dog", 0.2, Box(0, 0, 9, 9))]
    assert task.alike(a, [Detection("cat", 0.9002, Box(0, 0, 50.01, 50))], 1e-3)
    assert not task.alike(a, [Detection("cat", 0.9, Box(0, 0, 55, 50))], 1e-3)
    assert not task.alike(a, [], 1e-3)
    assert not task.alike([], a, 1e-3)


def test_baseline_and_picture(task, picture):
    naive = task.baseline([picture], [TRUTH])
    assert {d.label for d in naive(picture)} == {"cat", "dog"}
    assert task.draw(picture, naive(picture)).size >= picture.size


@pytest.mark.parametrize("names", [None, {}, {"0": "cat", "999999999": "dog"}])
def test_names_of_classes_are_needed(names):
    with pytest.raises(InputError, match="id2label"):
        Task.load({"config.json": {"id2label": names}, "preprocessor_config.json": PICTURES})


def test_networks_that_ask_for_a_mask_get_one(task, picture):
    assert task.prepare(picture)["pixel_mask"].all()
