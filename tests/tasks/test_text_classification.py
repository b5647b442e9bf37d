from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.inference import collate
from sensorium.media.encoder import Encoder
from sensorium.ops.classification import Label
from sensorium.tasks import options, to_json
from sensorium.tasks.text_classification import Task

TOKENIZER = """{"version": "1.0", "added_tokens": [], "normalizer": {"type": "Lowercase"}, "post_processor": null,
"pre_tokenizer": {"type": "Whitespace"}, "decoder": null, "truncation": null, "padding": null,
"model": {"type": "WordLevel", "vocab": {"[PAD]": 3, "good": 1, "bad": 2, "[UNK]": 0}, "unk_token": "[UNK]"}}"""
NAMES = {"0": "no", "1": "yes", "2": "maybe"}


def task(**more):
    config = {"id2label": NAMES, "model_type": "bert", "type_vocab_size": 2, "max_position_embeddings": 5, **more}
    return Task(Encoder(config, TOKENIZER, {"pad_token": {"content": "[PAD]"}, "model_max_length": 10**30}))


def test_round_trip():
    assert Task.load(task().files()) == task()
    with pytest.raises(InputError, match=r"tokenizer\.json is missing"):
        Task.load({"config.json": {"id2label": NAMES}})
    with pytest.raises(InputError, match="id2label"):
        Task.load({"config.json": {"id2label": ["no"]}, "tokenizer.json": TOKENIZER})


def test_prepare_cuts_and_pads():
    t = task()
    long, short = t.prepare("good bad good bad good bad"), t.prepare("what")
    assert long["input_ids"].tolist() == [1, 2, 1, 2, 1]
    assert t.prepare("")["input_ids"].tolist() == [3]
    batch = collate([long, short], t.padding)
    assert batch["input_ids"].tolist()[1] == [0, 3, 3, 3, 3]
    assert batch["attention_mask"].tolist()[1] == [1, 0, 0, 0, 0]
    assert batch["token_type_ids"].dtype == np.int64
    assert "token_type_ids" not in task(type_vocab_size=0).prepare("good")
    assert task(model_type="roberta").encoder.max_length == 3


def test_decode():
    logits = {"logits": np.array([0.0, 2.0, 1.0], np.float32)}
    t = task()
    assert [r.label for r in t.decode(logits, "", top_k=None)] == ["yes", "maybe", "no"]
    assert to_json(t.decode(logits, "")) == [{"label": "yes", "score": pytest.approx(0.6652409, abs=1e-6)}]
    assert [o.name for o in options(Task)] == ["top_k", "threshold", "function_to_apply"]
    several = task(problem_type="multi_label_classification")
    assert several.decode(logits, "")[0].score == pytest.approx(1 / (1 + np.exp(-2)))
    with pytest.raises(InputError, match="2 labels"):
        t.decode({"logits": np.zeros(2)}, "")


def test_score_and_baseline():
    t = task()
    naive = t.baseline([], ["yes", "yes", "no"])
    assert [r.label for r in naive("anything")] == ["yes", "no"]
    tallies = [t.tally(naive(""), truth, {}) for truth in ("yes", "no", "unheard of")]
    assert t.score(tallies) == {"accuracy": pytest.approx(1 / 3), "macro_f1": pytest.approx(0.5 / 3)}
    assert tallies[0].quality > tallies[2].quality == 0


def test_several_labels_each():
    t = task(problem_type="multi_label_classification")
    assert (t.truth, t.metric) == ("labels", "mean_average_precision")
    prediction = [Label("yes", 0.9), Label("no", 0.6), Label("maybe", 0.1)]
    tallies = [t.tally(prediction, ["yes", "no"], {}), t.tally(prediction, ["maybe"], {})]
    found = t.score(tallies)
    assert found["accuracy"] == 0.5
    assert tallies[0].quality == pytest.approx(0.6)
    assert t.baseline([], [["yes"], []])("")[0] == Label("yes", 0.5)


def test_draw():
    assert task().draw("a text", [Label("yes", 0.9)]).mode == "RGB"
    assert set(task().charts([[Label("yes", 0.9)]], ["no"])) == {"confusion"}
