"""Summarization and text to text, over an encoder and a decoder that copy; translation between many languages."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from sensorium.errors import InputError
from sensorium.tasks import summarization, text2text_generation, translation
from tests.tasks.test_translation import NETS, WORDS

LANGUAGES = ["eng_Latn", "fra_Latn", "__de__"]
START = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "max_new_tokens": 30}


def tokenizer(languages: bool = False) -> str:
    special = ["<pad>", "</s>"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS, *LANGUAGES])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    around = [("</s>", 1), (LANGUAGES[0], vocabulary[LANGUAGES[0]])]
    single = f"{LANGUAGES[0]} $A </s>" if languages else "$A </s>"
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=around)
    made.decoder = decoders.WordPiece(cleanup=False)
    made.add_special_tokens(special + LANGUAGES * languages)
    return made.to_str()


def config(**own: Any) -> dict[str, Any]:
    return {"is_encoder_decoder": True, "task_specific_params": own}


def test_summarization() -> None:
    task = summarization.Task(config(), tokenizer(), {"model_max_length": 64}, START)
    sources = ["the cat sat on the mat .", "a dog", "", "the dog ."]
    assert [one.summary_text for one in task.predict(NETS, sources)] == sources
    assert [one.summary_text for one in task.predict(NETS, sources, num_beams=3)] == sources
    assert task.predict(NETS, sources, max_new_tokens=2)[0].summary_text == "the cat"
    told = {"summarization": {"max_length": 4, "num_beams": 2, "prefix": "a dog "}}
    brief = summarization.Task(config(**told), tokenizer(), {"model_max_length": 64}, START)
    assert brief.predict(NETS, ["sat on"])[0].summary_text == "a dog sat"
    assert brief.predict(NETS, ["sat on"], max_new_tokens=9)[0].summary_text == "a dog sat on"
    assert summarization.Task.load(json.loads(json.dumps(task.files()))) == task
    good = task.tally(summarization.Summary("the cat sat"), "The cat sat!", NETS)
    assert task.score([good]) == dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), 1.0)
    assert task.baseline(["a b c d"], ["x y"])("1 2 3 4").summary_text == "1 2"
    assert task.draw("a " * 2000, summarization.Summary("b"), "c").width > 50


def test_text_to_text() -> None:
    task = text2text_generation.Task(config(), tokenizer(), {"model_max_length": 64}, START)
    assert task.predict(NETS, ["a dog", "the mat"])[1].generated_text == "the mat"
    assert task.predict(NETS, ["a dog"], choices=["the cat", "a cat"])[0].generated_text in ("the cat", "a cat")
    assert len(task.predict(NETS, ["a dog"], num_return_sequences=2, num_beams=2)[0]) == 2
    drawn = task.predict(NETS, ["a dog", "a dog"], do_sample=True, seed=3)
    assert drawn[0] == drawn[1]
    pair = {"input": "a dog", "output": "a cat"}
    assert task.open(pair) == "a dog"
    assert task.score([task.tally(text2text_generation.Generated("a cat"), pair, NETS)])["exact_match"] == 1
    with pytest.raises(InputError):
        task.open({"input": "x"})
    assert text2text_generation.Task.load(json.loads(json.dumps(task.files()))) == task


def test_languages() -> None:
    task = translation.Task({"bleu_tokenizer": "none"}, tokenizer(True), {"model_max_length": 64}, START)
    first, french, german = (task.tokenizer.token_to_id(name) for name in LANGUAGES)
    assert task.prepare("a dog")["input_ids"].tolist()[0] == first
    assert task.prepare("a dog", "fra_Latn")["input_ids"].tolist()[0] == french
    assert task.prepare("a dog", "de")["input_ids"].tolist()[0] == german
    with pytest.raises(InputError, match="no language 'xx'"):
        task.prepare("a dog", "xx")
    begun: list[int] = []

    class Noting:
        inputs, outputs = NETS["decoder_model_merged"].inputs, NETS["decoder_model_merged"].outputs

        def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            begun.append(int(feeds["input_ids"][0, 0]))
            names = ("encoder_hidden_states", "past_key_values.0.encoder.key")
            feeds |= {name: np.minimum(feeds[name], 2) for name in names}  # it knows fewer tokens than there are
            found = NETS["decoder_model_merged"](feeds)
            wider = np.full((len(found["logits"]), 1, german + 1), -9.0, np.float32)
            wider[:, :, : found["logits"].shape[2]] = found["logits"]
            return {**found, "logits": wider}

    nets = {**NETS, "decoder_model_merged": Noting()}
    task.predict(nets, ["a dog"], tgt_lang="fra_Latn", max_new_tokens=3)
    assert begun[:2] == [0, french]


def test_prefixes_of_languages() -> None:
    told = {"translation_en_to_de": {"prefix": "the cat ", "num_beams": 1}}
    task = translation.Task({**config(**told), "bleu_tokenizer": "none"}, tokenizer(), {}, START)
    assert task.prepare("sat", "en", "de")["input_ids"].tolist() == [2, 3, 4, 1]
    assert task.predict(NETS, ["sat"], src_lang="en", tgt_lang="de")[0].translation_text == "the cat sat"
