"""What all classifiers do alike: scores, and what is drawn of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from sensorium import tasks
from sensorium.errors import InputError
from sensorium.media import drawing, lettering
from sensorium.media.encoder import Encoder
from sensorium.ops.classification import Label, shown

KINDS = ("audio-classification", "image-classification", "text-classification", "video-classification")
LOGITS = np.array([-1.0, 2.0], np.float32)
SIGMOID = 1 / (1 + np.exp(-2.0))


def make(kind: str, **config: Any) -> Any:
    names = {"id2label": {"0": "no", "1": "yes"}} | config
    task = tasks.find(kind)
    return task(Encoder(names, "")) if kind == "text-classification" else task(names, {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("config", "best"),
    [
        ({}, 1 / (1 + np.exp(-3.0))),
        ({"problem_type": "multi_label_classification"}, SIGMOID),
        ({"problem_type": "regression"}, 2.0),
        ({"function_to_apply": "none"}, 2.0),
        ({"function_to_apply": "sigmoid"}, SIGMOID),
    ],
)
def test_config_says_what_makes_scores_of_outputs(kind: str, config: dict[str, Any], best: float) -> None:
    found = make(kind, **config).decode({"logits": LOGITS}, None, top_k=None)
    assert [f.label for f in found] == ["yes", "no"]  # also a negative number is an answer
    assert found[0].score == pytest.approx(best)


@pytest.mark.parametrize("kind", KINDS)
def test_the_caller_says_it_before_config(kind: str) -> None:
    task = make(kind)
    assert "function_to_apply" in {option.name for option in tasks.options(type(task))}
    assert task.decode({"logits": LOGITS}, None, function_to_apply="sigmoid")[0].score == pytest.approx(SIGMOID)
    with pytest.raises(InputError, match="'tanh': use one of softmax, sigmoid, none"):
        task.decode({"logits": LOGITS}, None, function_to_apply="tanh")


@pytest.mark.parametrize("kind", KINDS)
def test_one_label_has_a_probability_of_its_own(kind: str) -> None:
    found = make(kind, id2label={"0": "yes"}).decode({"logits": LOGITS[1:]}, None)
    assert found[0].score == pytest.approx(SIGMOID)


def test_an_answer_without_truth_is_not_drawn_as_wrong() -> None:
    picture = Image.new("RGB", (40, 40), "white")
    bars = np.asarray(drawing.bars(picture, *shown([Label("a", 0.9), Label("b", 0.1)])))
    assert not (bars == lettering.BAD).all(-1).any()
    assert shown([Label(str(i), 0.0) for i in range(9)], "7") == ([(n, 0.0) for n in "012347"], ["7"])
