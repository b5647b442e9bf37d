from __future__ import annotations

import pickle
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from sensorium.errors import InputError
from sensorium.media.tokens import Tokens, config_of

TEXT = "Größe 東京 🙂 do n't"


def byte_level() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def fallback() -> Tokenizer:
    vocabulary = {"<unk>": 0, **{f"<0x{i:02X}>": i + 1 for i in range(256)}}
    for piece in ["▁", "d", "o", "n", "'", "t", "G"]:
        vocabulary[piece] = len(vocabulary)
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


def word_pieces() -> Tokenizer:
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "do": 1, "##ing": 2, ",": 3}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece(cleanup=False)
    return made


@pytest.mark.parametrize("make", [byte_level, fallback])
def test_the_bytes_of_tokens_are_the_text(make: Any) -> None:
    made = make()
    made.add_special_tokens(["<s>"])
    made.add_tokens([AddedToken("<tool>", special=False)])
    tokens = Tokens(made.to_str(), {})
    ids = tokens.encode(TEXT)
    written = b"".join(tokens.table[i] for i in ids).decode()
    assert written.removeprefix(" " if tokens.drops_first_space else "") == TEXT == tokens.decode(ids)
    assert tokens.table[tokens.id_of("<s>")] == b""  # type: ignore[index]
    assert tokens.table[tokens.id_of("<tool>")] == b"<tool>"  # type: ignore[index]
    assert tokens.drops_first_space == (make is fallback)


def test_word_pieces() -> None:
    tokens = Tokens(word_pieces().to_str(), {})
    assert tokens.table[1:] == [b" do", b"ing", b" ,"]
    assert tokens.decode([1, 2, 3]) == "doing ,"
    assert tokens.drops_first_space


@pytest.mark.parametrize("make", [byte_level, fallback])
def test_no_piece_ends_within_a_character(make: Any) -> None:
    tokens = Tokens(make().to_str(), {})
    ids = tokens.encode(TEXT)
    pieces = list(tokens.stream(iter(ids)))
    assert "".join(pieces) == tokens.decode(ids) == TEXT
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    assert "東" in pieces
    # What ends within a character is said in the end.
    cut = tokens.encode("d東")[:-1]
    assert "".join(tokens.stream(cut)) == tokens.decode(cut)
    assert list(tokens.stream([])) == []


def test_cleaning_up() -> None:
    assert Tokens(word_pieces().to_str(), {"clean_up_tokenization_spaces": True}).decode([1, 3]) == "do,"
    assert Tokens(word_pieces().to_str(), {"clean_up_tokenization_spaces": False}).decode([1, 3]) == "do ,"
    pairs = Tokens(byte_level().to_str(), {"clean_up_tokenization_spaces": True})
    assert pairs.decode(pairs.encode("a , b")) == "a , b"


def test_special_tokens() -> None:
    files = {
        "special_tokens_map.json": {"bos_token": {"content": "<s>"}, "pad_token": "<p>"},
        "tokenizer_config.json": {"pad_token": "<pad>", "add_bos_token": True},
    }
    tokens = Tokens(byte_level().to_str(), config_of(files))
    assert tokens.special == {"bos_token": "<s>", "pad_token": "<pad>"}
    assert tokens.id_of("nowhere") is None
    assert tokens.id_of(None) is None
    with pytest.raises(InputError):
        config_of({"tokenizer_config.json": ["x"]})


def test_it_pickles() -> None:
    tokens = Tokens(byte_level().to_str(), {})
    _ = tokens.table
    assert pickle.loads(pickle.dumps(tokens)).decode(tokens.encode(TEXT)) == TEXT
