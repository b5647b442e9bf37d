from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from sensorium import inference, tasks
from sensorium.errors import InputError
from sensorium.tasks.text_generation import Generated, Task

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
SIZE = len(ALPHABET) + 2


class Next:
    """A decoder after whose token comes the next in the alphabet; how far it is, its cache knows."""

    inputs: ClassVar = {
        "input_ids": (["b", "t"], np.int64),
        "attention_mask": (["b", "p"], np.int64),
        "position_ids": (["b", "t"], np.int64),
        "past_key_values.0.key": (["b", 1, "p", 1], np.float32),
        "past_key_values.0.value": (["b", 1, "p", 1], np.float32),
    }
    outputs = ("logits", "present.0.key", "present.0.value")

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        ids, past = feeds["input_ids"], feeds["past_key_values.0.key"]
        assert feeds["attention_mask"].shape[1] == past.shape[2] + ids.shape[1]
        assert (feeds["position_ids"][:, -1] == feeds["attention_mask"].sum(1) - 1).all()
        logits = np.zeros((*ids.shape, SIZE), np.float32)
        np.put_along_axis(logits, (ids[..., None] + 1) % SIZE, 5.0, axis=2)
        key = np.concatenate([past, ids[:, None, :, None].astype(np.float32)], axis=2)
        return {"logits": logits, "present.0.key": key, "present.0.value": key}


NETS: Any = {"model": Next()}


@pytest.fixture
def task() -> Task:
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(ALPHABET)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>"])
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    generation = {"bos_token_id": SIZE - 2, "eos_token_id": SIZE - 1, "max_new_tokens": 3}
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}:A{% endif %}"
    return Task({"n_positions": 40}, made.to_str(), config, generation, {"default": template})


def test_predict(task: Task) -> None:
    sources = ["a", "xyz hello K", "0123"]
    answers = task.predict(NETS, sources)
    assert answers == [Generated("abcd"), Generated("xyz hello KLMN"), Generated("0123456")]
    assert answers == [task.predict(NETS, [source])[0] for source in sources]
    assert task.predict(NETS, ["a"], return_full_text=False, max_new_tokens=2) == [Generated("bc")]
    assert task.predict(NETS, ["a"], num_beams=3) == [Generated("abcd")]
    assert tasks.to_json(task.predict(NETS, ["a"])) == [{"generated_text": "abcd"}]
    assert task.predict(NETS, []) == []


def test_chat(task: Task) -> None:
    pytest.importorskip("jinja2")
    chat = [{"role": "user", "content": "hi"}]
    assert task.predict(NETS, [chat]) == [Generated([*chat, {"role": "assistant", "content": "BCD"}])]
    begun = [*chat, {"role": "assistant", "content": "AB"}]
    assert task.predict(NETS, [begun]) == [Generated([*chat, {"role": "assistant", "content": "ABCDE"}])]
    assert task.open({"messages": chat}) == chat
    assert "".join(task.stream(NETS, chat)) == "BCD"


def test_drawing_is_reproducible_whatever_stands_beside(task: Task) -> None:
    given: dict[str, Any] = {"do_sample": True, "temperature": 3.0, "top_k": 0, "max_new_tokens": 8}
    alone = task.predict(NETS, ["a"], seed=1, **given)[0]
    assert task.predict(NETS, ["bcd", "a", "x"], seed=1, **given)[1] == alone
    assert task.predict(NETS, ["a"], seed=2, **given)[0] != alone
    several = task.predict(NETS, ["a", "b"], seed=1, num_return_sequences=3, **given)
    assert [len(one) for one in several] == [3, 3]
    assert several[0][0] == alone
    assert len({one.generated_text for one in several[0]}) == 3
    assert "".join(task.stream(NETS, "a", seed=1, **given)) == alone.generated_text[1:]


def test_stopping(task: Task) -> None:
    assert task.predict(NETS, ["a"], stop=["e"], max_new_tokens=20)[0] == Generated("abcde")
    assert task.predict(NETS, ["a"], stop=["bc", "zz"], max_new_tokens=20)[0] == Generated("abc")
    assert task.predict(NETS, ["a"], max_time=0.0, max_new_tokens=20)[0] == Generated("ab")
    assert len(task.predict(NETS, ["a"], max_new_tokens=1000)[0].generated_text) <= 40
    assert "d" not in task.predict(NETS, ["a"], bad_words=["d"], max_new_tokens=9)[0].generated_text


def test_forms(task: Task) -> None:
    def answer(**given: Any) -> str:
        return str(task.predict(NETS, ["a"], return_full_text=False, max_new_tokens=30, **given)[0].generated_text)

    assert answer(choices=["yes", "no"]) in ("yes", "no")
    assert answer(regex="[x-z]{2}-[0-9]") in {f"{a}{b}-{n}" for a in "xyz" for b in "xyz" for n in range(10)}
    assert json.loads(answer(json_schema={"type": "array", "items": {"const": 1}, "maxItems": 2})) in ([], [1], [1, 1])
    assert "".join(task.stream(NETS, "a", choices=["yes"], max_new_tokens=9)) == "yes"


@pytest.mark.parametrize(
    "given",
    [
        {"num_beams": 0},
        {"max_new_tokens": -1},
        {"do_sample": True, "temperature": 0.0},
        {"do_sample": True, "top_p": 1.5},
        {"do_sample": True, "num_beams": 2},
        {"num_return_sequences": 2},
        {"choices": ["a"], "regex": "b"},
        {"json_schema": {"type": "nonsense"}},
        {"repetition_penalty": 0.0},
        {"no_repeat_ngram_size": -1},
    ],
    ids=str,
)
def test_options_that_are_not_possible(task: Task, given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        task.predict(NETS, ["a"], **given)


def test_prompts_that_are_not_possible(task: Task) -> None:
    for wrong in (7, None, [], [{"content": "x"}], {"text": 3}):
        with pytest.raises(InputError):
            task.open(wrong)
    with pytest.raises(InputError, match="takes 40"):
        task.predict(NETS, ["x" * 40])
    assert task.prepare("")["input_ids"].tolist() == [SIZE - 2]
    with pytest.raises(InputError, match="no beams"):
        task.stream(NETS, "a", num_beams=2)
    with pytest.raises(InputError, match="no option 'chat_template'"):
        inference.run(task, NETS, ["a"], chat_template="x")


def test_perplexity(task: Task) -> None:
    right = math.log(math.exp(5) + SIZE - 1) - 5
    tally = task.tally(None, "abcdef", NETS)
    assert tally.stats == (pytest.approx(5 * right), 5, 6)
    wrong = task.tally(None, "aaaa", NETS)
    assert wrong.quality < tally.quality
    found = task.score([tally, wrong])
    loss = 5 * right + 3 * (right + 5)
    assert found["perplexity"] == pytest.approx(math.exp(loss / 8))
    assert found["bits_per_byte"] == pytest.approx(loss / math.log(2) / 10)
    assert math.isnan(task.score([task.tally(None, "", NETS)])["perplexity"])


@pytest.mark.parametrize("length", [2, 20, 21, 40, 41, 60, 99, 100, 101])
def test_a_window_moves_over_long_texts(task: Task, length: int) -> None:
    ids = [i % 7 for i in range(length)]
    loss, count = task.surprise(NETS["model"], ids)
    right = math.log(math.exp(5) + SIZE - 1) - 5
    expected = sum(right if b == a + 1 else right + 5 for a, b in pairwise(ids))
    assert (loss, count) == (pytest.approx(expected), length - 1)


def test_the_naive_predictor_knows_frequencies(task: Task) -> None:
    naive = task.baseline(["aab"], ["aab"])
    often = task.tally(naive("x"), "xaa", NETS)
    seldom = task.tally(naive("x"), "xzz", NETS)
    assert often.quality > seldom.quality


def test_files_round_trip(task: Task) -> None:
    assert Task.load(json.loads(json.dumps(task.files()))) == task
    named = Task(task.config, task.tokenizer_json, task.tokenizer_config, task.generation, {"default": "a", "rag": "b"})
    assert Task.load(named.files()) == named
    with pytest.raises(InputError, match=r"no tokenizer.json"):
        Task.load({})


def test_draw(task: Task) -> None:
    assert task.draw("a", Generated("abc")).width > 50
    assert (
        task.draw([{"role": "user", "content": "a"}], [Generated([{"role": "assistant", "content": "b"}])]).width > 50
    )
