from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from sensorium import tasks
from sensorium.errors import InputError
from sensorium.tasks.translation import Task, Translation, scoring_tokenizer

WORDS = ["the", "cat", "sat", "on", "a", "mat", ".", "dog"]


class Encoder:
    inputs: ClassVar = {"input_ids": (["b", "t"], np.int64), "attention_mask": (["b", "t"], np.int64)}
    outputs = ("last_hidden_state",)

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"last_hidden_state": (feeds["input_ids"] * feeds["attention_mask"])[..., None].astype(np.float32)}


class Copying:
    """A decoder that copies the source; how far it is, it knows from its cache alone."""

    inputs: ClassVar = {
        "input_ids": (["b", "t"], np.int64),
        "encoder_hidden_states": (["b", "s", 1], np.float32),
        "use_cache_branch": ([1], np.bool_),
        "past_key_values.0.decoder.key": (["b", 1, "p", 1], np.float32),
        "past_key_values.0.encoder.key": (["b", 1, "s", 1], np.float32),
    }
    outputs = ("logits", "present.0.decoder.key", "present.0.encoder.key")

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        past, states = feeds["past_key_values.0.decoder.key"], feeds["encoder_hidden_states"]
        at = past.shape[2]
        assert feeds["use_cache_branch"].tolist() == [at > 0]
        source = states[:, None] if at == 0 else feeds["past_key_values.0.encoder.key"]
        assert (source[:, 0] == states).all()
        wanted = source[:, 0, min(at, source.shape[2] - 1), 0].astype(int)
        logits = np.full((len(past), 1, len(WORDS) + 2), -3.0, np.float32)
        logits[np.arange(len(past)), 0, wanted] = 3.0
        new = np.concatenate([past, feeds["input_ids"][:, None, :, None].astype(np.float32)], axis=2)
        later = {} if at == 0 else {"present.0.encoder.key": np.zeros((0, 1, 1, 1), np.float32)}  # as Optimum's
        return {"logits": logits, "present.0.decoder.key": new, "present.0.encoder.key": source, **later}


NETS: Any = {"encoder_model": Encoder(), "decoder_model_merged": Copying()}


@pytest.fixture
def task() -> Task:
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    generation = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "max_new_tokens": 30}
    return Task({"bleu_tokenizer": "none"}, tokenizer.to_str(), {"model_max_length": 64}, generation)


def test_predict(task: Task) -> None:
    sources = ["the cat sat on the mat .", "a dog", "", "the dog ."]
    for options in ({}, {"num_beams": 3}):
        assert [r.translation_text for r in task.predict(NETS, sources, **options)] == sources
    assert task.predict(NETS, sources, max_new_tokens=2)[0] == Translation("the cat")
    assert task.predict(NETS, [], num_beams=2) == []
    assert tasks.to_json(task.predict(NETS, ["a dog"])) == [{"translation_text": "a dog"}]


def test_options_are_flags(task: Task) -> None:
    found = {o.name: o for o in tasks.options(Task)}
    assert {"num_beams", "max_new_tokens", "length_penalty", "no_repeat_ngram_size", "tgt_lang"} <= set(found)
    assert all(o.help for o in found.values())
    with pytest.raises(InputError):
        task.predict(NETS, ["a"], num_beams=0)


def test_open(task: Task) -> None:
    assert task.open({"en": "a cat", "ja": "猫"}) == "a cat"
    assert task.open(task.open("a cat")) == "a cat"
    for wrong in ({"en": "a"}, {"en": "a", "ja": 3}, 7, None):
        with pytest.raises(InputError):
            task.open(wrong)


def test_files_round_trip(task: Task) -> None:
    files = json.loads(json.dumps(task.files()))
    assert Task.load(files) == task
    config = {**task.config, **task.generation, "num_beams": 2, "model_type": "marian"}
    old = Task.load({"config.json": config, "tokenizer.json": task.tokenizer_json})
    assert old.generation == {"num_beams": 2, **{k: v for k, v in task.generation.items() if k != "max_new_tokens"}}
    for broken in ({}, {"tokenizer.json": task.tokenizer_json}, {**files, "config.json": {"bleu_tokenizer": "x"}}):
        with pytest.raises(InputError):
            Task.load(broken)


def test_prefix_of_t5(task: Task) -> None:
    task.config["task_specific_params"] = {"translation": {"prefix": "the cat "}}
    assert task.prepare("sat")["input_ids"].tolist() == [2, 3, 4, 1]


def test_score(task: Task) -> None:
    truth = {"en": "x", "ja": "the cat sat on the mat ."}
    good = task.tally(Translation("the cat sat on the mat ."), truth, NETS)
    bad = task.tally(Translation("dog"), truth, NETS)
    assert good.quality == 1
    assert bad.quality < 0.2
    assert task.score([good, good]) == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}
    assert 0 < task.score([good, bad])["bleu"] < 100


def test_baseline_retrieves_the_most_similar(task: Task) -> None:
    pairs = [{"en": a, "ja": b} for a, b in (("the cat sat", "1"), ("a dog ran", "2"), ("", "3"))]
    naive = task.baseline(pairs, pairs)
    assert naive("dogs ran away").translation_text == "2"
    assert naive({"en": "cat", "ja": "?"}).translation_text == "1"
    assert naive("zzz").translation_text in "123"


def test_draw(task: Task) -> None:
    assert task.draw("a cat", Translation("猫")).width > 50


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["自分 の 事 を しろ 。", "彼 は つら い 人生 を 送 っ た 。"], "none"),
        (["自分の事をしろ。", "彼は Tom ではない。"], "char"),
        (["he lived a hard life .", "no . i 'm sorry , i 've got to go ."], "none"),
        (["He lived a hard life.", "No, I'm sorry: I've got to go!"], "13a"),
        (["er kommt nicht", "wir gehen"], "13a"),
        ([""], "13a"),
    ],
)
def test_scoring_tokenizer(texts: list[str], expected: str) -> None:
    assert scoring_tokenizer(texts) == expected
