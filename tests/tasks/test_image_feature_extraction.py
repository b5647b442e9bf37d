from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError
from sensorium.tasks import of_architecture
from sensorium.tasks.image_feature_extraction import Task

PICTURE = Image.new("RGB", (4, 4))


@pytest.fixture
def task() -> Task:
    return Task.load({"config.json": {}, "preprocessor_config.json": {"image_processor_type": "ViTImageProcessor"}})


def test_states_and_the_pooled_vector(task: Task) -> None:
    states = np.arange(12.0).reshape(3, 4)
    outputs = {"last_hidden_state": states, "pooler_output": np.full((4, 1, 1), 7.0)}
    np.testing.assert_array_equal(task.decode(outputs, PICTURE), states)
    np.testing.assert_array_equal(task.decode(outputs, PICTURE, pool=True), [7, 7, 7, 7])
    np.testing.assert_array_equal(task.decode({"last_hidden_state": states}, PICTURE, pool=True), states.mean(0))
    maps = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(task.decode({"last_hidden_state": maps}, PICTURE, pool=True), maps.mean((1, 2)))
    with pytest.raises(InputError, match="nothing"):
        task.decode({}, PICTURE)


def test_each_looks_for_its_like_among_all(task: Task) -> None:
    vectors = [(1, 0), (1, 0.1), (0, 1), (0.1, 1), (-1, 0)]
    tallies = [task.tally(np.array(v), label, {}) for v, label in zip(vectors, "aabbc")]
    assert task.score(tallies) == {
        "recall_at_1": 1.0, "recall_at_5": 1.0, "recall_at_10": 1.0, "mean_average_precision": 1.0,
    }  # fmt: skip
    assert task.score([tallies[0]] * 3)["recall_at_1"] == 1.0  # among all, not among its own copies
    assert np.isnan(task.score([tallies[4]])["recall_at_1"])


def test_models_that_see_are_told_from_those_that_read() -> None:
    assert of_architecture({"architectures": ["ViTModel"], "image_size": 224}) == "image-feature-extraction"
    assert of_architecture({"architectures": ["BertModel"], "vocab_size": 100}) == "feature-extraction"
