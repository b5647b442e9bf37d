"""Fill-mask, zero-shot classification, feature extraction and sentence similarity, with networks made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.media import prompts
from sensorium.tasks import feature_extraction, fill_mask, sentence_similarity, zero_shot_classification
from tests.media.test_encoder import TOKENIZER

CONFIG = {"model_type": "bert", "max_position_embeddings": 16, "pad_token_id": 0}
FILES = {"config.json": CONFIG, "tokenizer.json": TOKENIZER}


class Net:
    inputs = None

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, feeds):
        return self.answer(feeds["input_ids"])


def test_gaps_are_filled_with_the_likeliest_words():
    task = fill_mask.Task.load(FILES)
    source = task.open("good <mask> .")
    assert source == "good [MASK] ."
    tokens = task.prepare(source)["input_ids"]
    logits = np.zeros((len(tokens), 9), np.float32)
    logits[:, 6], logits[:, 5] = 5.0, 4.0
    found = task.decode({"logits": logits}, source, top_k=2)
    assert [f.token_str for f in found] == ["bad", "good"]
    assert [f.token_str for f in task.decode({"logits": logits}, source, targets=["good", "."])] == ["good", "."]
    twice = task.decode({"logits": logits}, task.open("[MASK] [MASK]"), top_k=1)
    assert [rows[0].token_str for rows in twice] == ["bad", "bad"]
    assert task.score([task.tally(found, "good", {}), task.tally(found, "bad", {})])["accuracy"] == 0.5
    with pytest.raises(InputError, match=r"write \[MASK\] where"):
        task.open("good .")
    with pytest.raises(InputError, match="none of these words"):
        task.decode({"logits": logits}, source, targets=[" "])


def test_labels_given_with_the_question():
    config = CONFIG | {"id2label": {0: "ENTAILMENT", 1: "neutral", 2: "contradiction"}}
    task = zero_shot_classification.Task.load({**FILES, "config.json": config})
    assert (task.entailment, task.contradiction) == (0, 2)

    def answer(ids):
        good = (ids == 5).sum(1)
        return {"logits": np.stack([good * 2.0, good * 0.0, 1.0 + good * 0], axis=1)}

    nets = {"model": Net(answer)}
    found = task.predict(nets, ["bad"], candidate_labels=["bad", "good"], hypothesis_template="{} .")[0]
    assert [r.label for r in found] == ["good", "bad"]
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-2)))
    alone = task.predict(nets, ["bad"], candidate_labels=["good"], hypothesis_template="{}")[0]
    assert alone[0].score == pytest.approx(1 / (1 + np.exp(-1)))
    with pytest.raises(InputError, match="name the labels"):
        task.predict(nets, ["bad"], candidate_labels=[])
    with pytest.raises(InputError, match="where the label"):
        task.predict(nets, ["bad"], candidate_labels=["good"], hypothesis_template="good")
    assert task.evaluation_on(["b", "a", "b"]) == {"candidate_labels": ["a", "b"]}


def states(ids):
    return {"last_hidden_state": np.eye(9, dtype=np.float32)[ids]}


def test_vectors_do_not_count_padding(tmp_path):
    task = feature_extraction.Task.load(FILES)
    nets = {"model": Net(states)}
    plain = task.predict(nets, ["good", "good bad ."])
    assert [len(p) for p in plain] == [3, 5]
    mean = task.predict(nets, ["good", "good bad ."], pooling="mean")
    assert mean[0] == pytest.approx(np.eye(9)[[2, 5, 3]].mean(0))
    assert np.linalg.norm(task.predict(nets, ["good"], pooling="cls", normalize=True)[0]) == pytest.approx(1)
    with pytest.raises(InputError, match="pooling 'best': use one of none"):
        task.predict(nets, ["good"], pooling="best")
    with pytest.raises(InputError, match="prompt_name 'query'"):
        task.predict(nets, ["good"], prompt_name="query")
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "a", "text": "bad bad"}\n{"_id": "b", "text": "good"}\n')
    tally = task.tally(mean[0], {"corpus": str(corpus), "documents": {"b": 1}}, nets)
    assert task.score([tally])["ndcg_at_10"] == 1.0


def test_sentences_are_a_list_of_texts():
    with pytest.raises(InputError, match="sentences: a list of texts is needed, not int"):
        sentence_similarity.Task(None).open({"source_sentence": "a", "sentences": 5})


def test_likeness_of_sentences():
    task = sentence_similarity.Task.load(FILES)
    source = task.open({"source_sentence": "good", "sentences": ["good", "bad", ""]})
    found = task.predict({"model": Net(states)}, [source])[0]
    assert found[0] == pytest.approx(1)
    assert found[1] == pytest.approx(2 / 3)
    tallies = [task.tally([v], v * 5, {}) for v in found]
    assert task.score(tallies)["spearman"] == pytest.approx(1)
    with pytest.raises(InputError, match="give both"):
        task.open("good")


def test_labels_are_given_back_as_they_came() -> None:
    assert prompts.labels(["lazy dog ", " ", "fox"]) == ["lazy dog ", "fox"]
