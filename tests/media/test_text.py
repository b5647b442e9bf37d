from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sensorium.errors import InputError
from sensorium.media import text


@pytest.fixture
def tokenizer_json() -> str:
    vocab = {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "a": 3, "b": 4, "c": 5}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.enable_padding(length=9)
    tokenizer.enable_truncation(4)
    return tokenizer.to_str()


def test_load(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfgr\xc3\xbcn")
    assert text.load("a") == "a"
    assert text.load("grün".encode()) == "grün"
    assert text.load(tmp_path / "a.txt") == "grün"


@pytest.mark.parametrize("source", [b"\xff", 3, None, Path("/nowhere/at all"), "a" * (text.MAX_CHARACTERS + 1)])
def test_load_refuses(source: object) -> None:
    with pytest.raises(InputError) as error:
        text.load(source)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_load_reads_no_more_than_the_cap(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(InputError, match="longer"):
        text.load(tmp_path / "huge")


def test_tokenizer(tokenizer_json: str) -> None:
    tokenizer = text.tokenizer(tokenizer_json)
    assert text.encode(tokenizer, "a b c a b c").ids == [0, 3, 4, 5, 3, 4, 5, 1]
    assert text.encode(text.tokenizer(tokenizer_json, max_length=5), "a b c a b c").ids == [0, 3, 4, 5, 1]
    assert text.encode(tokenizer, "a", "b").type_ids == [0, 0, 0, 1, 1]
    assert text.decode(tokenizer, [0, 3, 4, 1]) == "a b"
    again = pickle.loads(pickle.dumps(tokenizer))
    assert text.encode(again, "c").ids == [0, 5, 1]


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"model": {"type": "BPE"}}',
        "[" * 100_000,
        '{"version": "1.0", "model": null}',
        "\ud800",
    ],
)
def test_broken_tokenizer(broken: str) -> None:
    with pytest.raises(InputError, match=r"^here\.json: ") as error:
        text.tokenizer(broken, where="here.json")
    assert "\n" not in str(error.value)


def test_tokenizer_that_panics_or_fails_is_an_input_error(tokenizer_json: str) -> None:
    content = json.loads(tokenizer_json)
    content["model"]["unk_token"] = "missing"
    with pytest.raises(InputError):
        text.encode(text.tokenizer(json.dumps(content)), "zzz")
    content["post_processor"]["sep"] = ["[SEP]", 1]
    content["truncation"] = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 5}
    assert text.tokenizer(json.dumps(content))
    with pytest.raises(InputError):
        text.tokenizer(json.dumps(content), max_length=-1)
