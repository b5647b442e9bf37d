"""Vocabularies from elsewhere make the numbers that their own tokenizers make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sensorium.errors import InputError
from sensorium.media import text, vocabulary


def numbers(path: Path, *sources: str) -> list[list[int]]:
    made = text.tokenizer(vocabulary.load(path)["tokenizer.json"])
    return [made.encode(source).ids for source in sources]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_words_by_line_are_those_of_text_vectorization(tmp_path: Path) -> None:
    place = write(tmp_path / "v.txt", "\n[UNK]\nthe\nmovie\nits\n")
    assert numbers(place, "The movie, it's ... the  END", "") == [[2, 3, 4, 2, 1], []]
    settings = vocabulary.load(place)["tokenizer_config.json"]
    assert settings == {"unk_token": "[UNK]", "pad_token": ""}


def test_words_with_numbers_and_a_begin(tmp_path: Path) -> None:
    place = write(tmp_path / "v.txt", "<PAD> 0\n<START> 1\n<UNKNOWN> 2\nThe 4\ndon't 7\n! 9\n")
    assert numbers(place, "The don't! the") == [[1, 4, 7, 9, 2]]


def test_unknown_words_are_left_out_where_none_stands_for_them(tmp_path: Path) -> None:
    """Even where a letter of theirs is a word."""
    place = write(tmp_path / "v.json", {"the": 1, "a": 2, "i": 3, "cat": 12})
    assert numbers(place, "I saw a cat in aaa Ia the iii", "nothing") == [[3, 2, 12, 1], []]


@pytest.mark.parametrize("oov", [None, "<oov>"])
@pytest.mark.parametrize("twice", [True, False])
def test_a_tokenizer_of_keras(tmp_path: Path, oov: str | None, twice: bool) -> None:
    words = {"the": 2, "it's": 3, "cat": 4, "rare": 9} | ({"<oov>": 1} if oov else {})
    config = {"num_words": 5, "filters": '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\nd', "lower": True, "split": " ",
              "char_level": False, "oov_token": oov, "word_index": json.dumps(words)}  # fmt: skip
    document: Any = {"class_name": "Tokenizer", "config": config}
    place = write(tmp_path / "t.json", json.dumps(document) if twice else document)
    unknown = [1] if oov else []
    assert numbers(place, "The catd-it's, rare") == [[2, 4, 3, *unknown]]
    assert vocabulary.load(place)["tokenizer_config.json"]["padding_side"] == "left"


def test_letters(tmp_path: Path) -> None:
    place = write(tmp_path / "v.json", ["<pad>", "<unk>", "a", "b", " "])
    assert numbers(place, "AB x") == [[2, 3, 4, 1]]


def test_settings_that_are_no_object(tmp_path: Path) -> None:
    write(tmp_path / "vocab.txt", "[PAD]\n[UNK]\nplay\n##ing\n")
    write(tmp_path / "tokenizer_config.json", [1])
    with pytest.raises(InputError, match="should be an object"):
        vocabulary.load(tmp_path)


def test_pieces_of_words(tmp_path: Path) -> None:
    place = tmp_path / "bert"
    place.mkdir()
    write(place / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nplay\n##ing\n,\nÉ\n")
    write(place / "tokenizer_config.json", {"do_lower_case": False, "model_max_length": 9})
    assert numbers(place, "playing, É played") == [[2, 4, 5, 6, 7, 1, 3]]
    assert vocabulary.load(place)["tokenizer_config.json"]["model_max_length"] == 9


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"a": "b"}', '{"class_name": "Tokenizer", "config": {}}'])
def test_what_is_no_vocabulary(tmp_path: Path, content: str) -> None:
    place = write(tmp_path / "v.json", content)
    if content != "{":  # one word of a list
        with pytest.raises(InputError):
            vocabulary.load(place)
    with pytest.raises(InputError, match="holds neither"):
        vocabulary.load(tmp_path)
