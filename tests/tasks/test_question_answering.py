from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.tasks.question_answering import Answer, Task
from tests.media.test_encoder import TOKENIZER


class Net:
    """Sure that the answer begins with `bad` and ends with `##ly`, or with `bad` itself."""

    inputs = None
    outputs = ("start_logits", "end_logits")

    def __call__(self, feeds):
        ids = feeds["input_ids"]
        return {"start_logits": np.where(ids == 6, 9.0, 0.0), "end_logits": np.where(ids == 7, 9.5, (ids == 6) * 9.0)}


@pytest.fixture
def task():
    config = {"model_type": "bert", "max_position_embeddings": 12, "pad_token_id": 0}
    return Task.load({"config.json": config, "tokenizer.json": TOKENIZER})


def answer(task, context, question="good", **options):
    return task.predict({"model": Net()}, [task.open({"question": question, "context": context})], **options)[0]


def test_whole_words_are_answered(task):
    found = answer(task, "good . badly good")
    assert (found.answer, found.start, found.end) == ("badly", 7, 12)
    assert answer(task, "good . badly good", max_answer_len=1).answer == "badly"
    assert answer(task, "good . badly good", max_answer_len=1, align_to_words=False).answer in ("bad", "ly")
    assert answer(task, "good . badly good", top_k=2)[0].answer == "badly"


def test_long_contexts_are_read_in_windows(task):
    found = answer(task, "good . " * 20 + "badly " + "good . " * 20, doc_stride=3)
    assert (found.answer, found.start) == ("badly", 140)


def test_nothing_may_be_the_answer(task):
    class Nothing(Net):
        def __call__(self, feeds):
            first = np.zeros(feeds["input_ids"].shape)
            first[:, 0] = 9.0
            return {"start_logits": first, "end_logits": first}

    asked = [task.open({"question": "good", "context": "bad ."})]
    assert task.predict({"model": Nothing()}, asked, handle_impossible_answer=True)[0].answer == ""
    assert task.predict({"model": Nothing()}, asked)[0].answer != ""


def test_what_is_missing_is_named(task):
    for source in ("good", {"question": "good"}, {"question": "", "context": "bad"}):
        with pytest.raises(InputError, match="give both, question and context"):
            task.open(source)
    with pytest.raises(InputError, match="leaves no room"):
        answer(task, "bad", question="good " * 20)
    with pytest.raises(InputError, match="at least 1"):
        answer(task, "bad", top_k=0)
    with pytest.raises(InputError, match="no output 'start_logits'"):
        task.decode({"logits": np.zeros(1)}, None)


def test_scores_are_squads(task):
    truths = [{"text": ["the bad", "good"], "answer_start": [0, 0]}, {"text": []}]
    tallies = [task.tally(Answer("Bad!", 1.0, 0, 4), truth, {}) for truth in truths]
    assert task.score(tallies[:1]) == {"exact_match": 100.0, "f1": 100.0}
    assert task.score(tallies) == {
        "exact_match": 50.0, "f1": 50.0, "has_answer_exact_match": 100.0, "has_answer_f1": 100.0,
        "no_answer_exact_match": 0.0, "no_answer_f1": 0.0,
    }  # fmt: skip
    assert task.baseline([], truths[1:])({}).answer == ""


def test_draw(task):
    assert task.draw({"question": "good", "context": "bad"}, Answer("bad", 0.5, 0, 3), {"text": ["bad"]}).mode == "RGB"


def test_windows_that_are_not_possible(task):
    source = task.open({"question": "who", "context": "me"})
    for name, wrong in (("max_seq_len", 0), ("max_seq_len", -1), ("doc_stride", -1), ("top_k", 0)):
        with pytest.raises(InputError, match=f"{name} is at least .*, not {wrong}"):
            task.predict({}, [source], **{name: wrong})
