from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.tasks import to_json
from sensorium.tasks.token_classification import Entity, Task
from tests.media.test_encoder import TOKENIZER

LABELS = ("O", "B-A", "I-A", "B-B")
# What the network says of each token of the vocabulary of the tokenizer.
OF_TOKEN = {5: 1, 6: 2, 7: 3, 8: 0}


class Net:
    """Tags each token by its number alone."""

    inputs = None
    outputs = ("logits",)

    def __call__(self, feeds):
        tags = np.vectorize(lambda token: OF_TOKEN.get(int(token), 0))(feeds["input_ids"])
        return {"logits": (np.eye(len(LABELS))[tags] * 9).astype(np.float32)}


@pytest.fixture
def task():
    config = {
        "model_type": "bert",
        "max_position_embeddings": 8,
        "pad_token_id": 0,
        "id2label": dict(enumerate(LABELS)),
    }
    return Task.load({"config.json": config, "tokenizer.json": TOKENIZER})


def answer(task, source, **options):
    return task.predict({"model": Net()}, [task.open(source)], **options)[0]


def test_spans_of_each_strategy(task):
    words = "good bad . goodly"
    assert [t.word for t in answer(task, words, aggregation_strategy="none")] == ["good", "bad", "good", "##ly"]
    simple = answer(task, words)
    assert [(e.entity_group, e.word, e.start, e.end) for e in simple] == [
        ("A", "good bad", 0, 8), ("A", "good", 11, 15), ("B", "##ly", 15, 17),
    ]  # fmt: skip
    for strategy in ("first", "max", "average"):
        whole = answer(task, words, aggregation_strategy=strategy)
        assert [(e.word, e.start, e.end) for e in whole] == [("good bad", 0, 8), ("goodly", 11, 17)]
    assert set(to_json(simple)[0]) == {"entity_group", "score", "word", "start", "end"}
    assert [e.entity_group for e in answer(task, words, ignore_labels=["B"])] == ["A", "O", "A"]


def test_words_that_are_given_stay_whole(task):
    found = answer(task, ["goodly", ".", "bad"], aggregation_strategy="words")
    assert [(t.entity, t.word, t.start, t.end) for t in found] == [
        ("B-A", "goodly", 0, 6), ("O", ".", 7, 8), ("I-A", "bad", 9, 12),
    ]  # fmt: skip
    long = ["good", "bad", "."] * 9
    assert [t.entity for t in answer(task, long, aggregation_strategy="words")] == ["B-A", "I-A", "O"] * 9
    assert answer(task, [], aggregation_strategy="words") == []


def test_long_texts_are_cut_or_read_in_windows(task):
    text = "good . " * 8
    assert len(answer(task, text)) == 3
    assert [(e.start, e.end) for e in answer(task, text, stride=2)] == [(7 * i, 7 * i + 4) for i in range(8)]
    with pytest.raises(InputError, match="another aggregation_strategy than none"):
        answer(task, text, stride=2, aggregation_strategy="none")
    with pytest.raises(InputError, match="use one of none, simple"):
        answer(task, text, aggregation_strategy="best")


def test_nothing_is_found_in_nothing(task):
    assert answer(task, "") == answer(task, "  \n") == []


def test_scores_are_of_whole_entities(task):
    found = answer(task, ["good", "bad", ".", "good"], aggregation_strategy="words")
    tallies = [task.tally(found, truth, {}) for truth in (["B-A", "I-A", "O", "B-A"], ["B-A", "O", "O", "B-A"])]
    assert task.score(tallies[:1])["f1"] == 1.0
    assert task.score(tallies)["f1"] == pytest.approx(3 / 4)
    assert task.score(tallies)["accuracy"] == pytest.approx(7 / 8)
    with pytest.raises(InputError, match="give a tag for each word"):
        task.tally(found, ["O"], {})
    naive = task.baseline([["x", "y"]], [["B-A", "O"]])
    assert [t.entity for t in naive(["x", "z"])] == ["B-A", "O"]


def test_draw(task):
    assert task.draw("good bad", [Entity("A", 0.9, "good", 0, 4)]).mode == "RGB"
    assert task.draw(["good"], answer(task, ["good"]), ["B-A"]).mode == "RGB"
