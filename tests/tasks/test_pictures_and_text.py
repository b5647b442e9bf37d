"""Captions and answers about pictures and pages: what is asked of files and sources, and the parts of an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sensorium.errors import InputError
from sensorium.tasks import document_question_answering as documents
from sensorium.tasks import image_to_text, visual_question_answering

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "what",
    "is",
    "it",
    "red",
    "total",
    "<s_answer>",
    "</s_answer>",
    "<s_docvqa>",
]
SEEN = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}


def files(**config: Any) -> dict[str, Any]:
    """A model's files, with a tokenizer of whole words."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return {
        "config.json": config,
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": {"model_max_length": 16, "pad_token": "[PAD]"},
        "preprocessor_config.json": SEEN,
    }


def page(**given: Any) -> dict[str, Any]:
    boxes = [["total", [10, 20, 60, 40]], ["red", [70, 20, 90, 40]]]
    return {"image": Image.new("RGB", (10, 10)), "question": "what is it", "word_boxes": boxes} | given


def test_tokens_of_a_page_have_the_boxes_of_their_words() -> None:
    for family, end in (("layoutlm", 1000), ("lilt", 0)):
        task = documents.Task.load(files(model_type=family))
        arrays = task.prepare(task.open(page()))
        assert arrays["input_ids"].tolist() == [2, 4, 5, 6, 3, 8, 7, 3]
        assert arrays["bbox"][4].tolist() == arrays["bbox"][7].tolist() == [end] * 4
        assert arrays["bbox"][:4].tolist() == [[0] * 4] * 4
        assert arrays["bbox"][5].tolist() == [10, 20, 60, 40]


def test_a_long_page_is_read_in_windows() -> None:
    task = documents.Task.load(files(model_type="layoutlm"))
    asked = task.open(page(word_boxes=[["total", [0, 0, 9, 9]]] * 30))
    windows = task.windows(asked)
    assert len(windows) > 2
    assert all(len(window.ids) <= 16 for window in windows)
    assert max(i for window in windows for i in window.word_ids if i is not None) == 29
    with pytest.raises(InputError, match="the question has 20 tokens"):
        task.windows(task.open(page(question="what " * 20)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"word_boxes": []}, "give word_boxes"),
        ({"word_boxes": [["a", [0, 0, 1]]]}, "entry 0: should be"),
        ({"word_boxes": [["a", [9, 0, 1, 1]]]}, "left before right"),
        ({"image": None}, "give its image"),
        ({"question": None}, "a page and a question"),
    ],
)
def test_what_is_missing_is_named(given: dict[str, Any], message: str) -> None:
    task = documents.Task.load(files(model_type="layoutlm"))
    with pytest.raises(InputError, match=message):
        task.open(page(**given))


def test_the_answer_is_found_on_the_page() -> None:
    task = documents.Task.load(files(model_type="layoutlm"))

    def net(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        logits = np.zeros((1, feeds["input_ids"].shape[1]), np.float32)
        logits[0, 6] = 9
        return {"start_logits": logits, "end_logits": logits}

    (answer,) = task.predict({"model": net}, [task.open(page())])[0]
    assert (answer.answer, answer.start, answer.end) == ("red", 1, 1)
    assert answer.score is not None
    assert answer.score > 0.9
    assert task.score([task.tally([answer], ["Red", "blue"], {})]) == {"anls": 1.0}


def test_a_question_needs_its_picture() -> None:
    task = visual_question_answering.Task.load(files(model_type="vilt"))
    with pytest.raises(InputError, match="give both"):
        task.open({"question": "what is it"})


def test_captions_are_measured_against_all_their_references() -> None:
    task = image_to_text.Task.load(files(model_type="blip"))
    tallies = [
        task.tally(image_to_text.Caption(text), truth, {})
        for text, truth in (("a red dog runs on grass", ["a red dog runs on grass", "dog"]), ("x", "a cat sits here"))
    ]
    assert tallies[0].quality > tallies[1].quality == 0
    assert set(task.score(tallies)) == {"cider", "bleu4"}
    assert task.score(tallies)["cider"] > 0


def test_a_prompt_begins_as_the_family_has_it() -> None:
    blip = image_to_text.Task.load(files(model_type="blip", text_config={"bos_token_id": 7}))
    assert blip.prompt(None) == [7]
    assert blip.prompt("what is") == [7, 4, 5]
    git = image_to_text.Task.load(files(model_type="git", bos_token_id=2))
    assert git.prompt("what is") == [2, 4, 5]
    donut = image_to_text.Task.load(
        files(model_type="vision-encoder-decoder", encoder={"model_type": "donut-swin"}, decoder_start_token_id=2)
    )
    assert donut.prompt("<s_docvqa>") == [11]
    with pytest.raises(InputError, match="bos_token_id"):
        image_to_text.Task.load(files(model_type="git")).prompt(None)
