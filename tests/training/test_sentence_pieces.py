"""Tokenizers of sentence pieces with a vocabulary of their own read as transformers' own do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sensorium.errors import InputError
from tests.parity.architectures.makers import SENTENCES

pytest.importorskip("torch")
sentencepiece = pytest.importorskip("sentencepiece")
transformers = pytest.importorskip("transformers")

from sensorium.training.pretrained.sentence_pieces import tokenizer_of  # noqa: E402

WORDS = ["the", "brown", "dog", "jumps", "over", "lazy", "cafes", "naive", "weather", "then", "again", "thought"]
CONTROL = ("<s>", "</s>", "<unk>", "<pad>")


@pytest.fixture(params=["unigram", "bpe"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    lines = [one for one in [*SENTENCES, *WORDS] if one]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(tmp_path / "own"), vocab_size=90, hard_vocab_limit=False,
        model_type=request.param, character_coverage=0.98, minloglevel=2,
    )  # fmt: skip
    return tmp_path / "own.model"


def pieces(model: Path) -> list[str]:
    own = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return [piece for i in range(own.get_piece_size()) if (piece := own.id_to_piece(i)) not in CONTROL]


@pytest.mark.filterwarnings("ignore")
def test_marian(model: Path) -> None:
    for name in ("source.spm", "target.spm"):
        shutil.copy(model, model.with_name(name))
    listed = ["</s>", "<unk>", *sorted(pieces(model)), "▁only-written", ">>fra<<", "<pad>"]
    model.with_name("vocab.json").write_text(json.dumps({token: i for i, token in enumerate(listed)}))
    theirs = transformers.MarianTokenizer(
        *(str(model.with_name(name)) for name in ("source.spm", "target.spm", "vocab.json"))
    )
    ours = tokenizer_of(theirs)
    for text in (*SENTENCES, ">>fra<< The fox", " two  spaces "):
        ids = theirs(text)["input_ids"]
        assert ours.encode(text).ids == ids
        assert ours.decode(ids).rstrip() == theirs.decode(ids, skip_special_tokens=True).removeprefix(">>fra<< ")


@pytest.mark.filterwarnings("ignore")
def test_m2m100(model: Path) -> None:
    listed = ["<s>", "<pad>", "</s>", "<unk>", *pieces(model)]
    model.with_name("vocab.json").write_text(json.dumps({token: i for i, token in enumerate(listed)}))
    theirs = transformers.M2M100Tokenizer(str(model.with_name("vocab.json")), str(model), src_lang="fr")
    ours = tokenizer_of(theirs)
    for text in SENTENCES:
        assert ours.encode(text).ids == theirs(text)["input_ids"]
    assert ours.token_to_id("__de__") == theirs.get_lang_id("de")
    assert ours.decode([ours.token_to_id("__de__"), *ours.encode("The fox").ids]) == "The fox"


def test_other_tokenizers() -> None:
    with pytest.raises(InputError, match="is not a tokenizer of sentence pieces"):
        tokenizer_of(object())
