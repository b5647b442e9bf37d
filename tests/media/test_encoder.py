from __future__ import annotations

import json

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.media.encoder import Encoder
from sensorium.media.sentences import Sentences, pool, tensors

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "##ly", "."]
TOKENIZER = json.dumps(
    {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": VOCABULARY[i], "special": True, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False} for i in (2, 3, 4)],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {w: i for i, w in enumerate(VOCABULARY)}},
    }
)  # fmt: skip


def encoder(settings=None, **config):
    return Encoder(
        {"model_type": "bert", "max_position_embeddings": 8, "pad_token_id": 0, **config}, TOKENIZER, settings or {}
    )


def test_files_and_their_absence():
    e = encoder()
    assert Encoder.load(e.files(), "x") == e
    with pytest.raises(InputError, match=r"tokenizer\.json is missing: x needs it"):
        Encoder.load({"config.json": {}}, "x")


def test_limits_follow_the_family():
    assert encoder().max_length == 8
    assert encoder({"model_max_length": 6}).max_length == 6
    assert encoder({"model_max_length": 10**30}).max_length == 8
    assert encoder(model_type="roberta", pad_token_id=1).max_length == 6
    assert encoder(model_type="t5").max_length is None
    assert encoder(max_position_embeddings=None, n_positions=5).max_length == 5


def test_padding_only_where_it_cannot_reach_the_answer():
    assert encoder().padding["input_ids"] == 0
    assert encoder(model_type="fnet").padding == {}
    assert encoder({"padding_side": "left"}).padding == {}
    assert encoder(model_type="gpt2", pad_token_id=None).padding == {}


def test_pairs_windows_and_types():
    e = encoder()
    tokens = e.encode("good", "bad bad bad bad bad", stride=1, strategy="only_second")
    assert [len(w.ids) for w in (tokens, *tokens.overflowing)] == [8, 6]
    assert e.arrays(tokens)["token_type_ids"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert "token_type_ids" not in encoder(type_vocab_size=1).arrays(tokens)
    assert "token_type_ids" not in encoder({"model_input_names": ["input_ids"]}).arrays(tokens)
    assert e.encode("good bad " * 9).ids[-1] == 3
    with pytest.raises(InputError, match="the tokenizer fails"):
        e.encode("good " * 9, "bad", strategy="only_second")


def test_special_tokens_by_their_role():
    assert encoder().token_id("mask_token") == 4
    assert encoder({"mask_token": {"content": "[UNK]"}}).token_id("mask_token") == 1
    assert encoder().token("nothing_token") is None


def test_text_of_tokens():
    assert encoder().join(["good", "##ly", "."]) == "goodly."
    assert encoder().decode([2, 5, 7, 3]) == "[CLS] goodly [SEP]"
    assert encoder().decode([2, 5, 7, 3], special=False) == "goodly"


MODULES = [
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    {"idx": 3, "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def safetensors(**arrays):
    header, body = {}, b""
    for name, array in arrays.items():
        data = array.astype("<f4").tobytes()
        name = name.replace("_", ".")
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_modules_of_sentence_transformers():
    files = {
        "modules.json": MODULES,
        "sentence_bert_config.json": {"max_seq_length": 7, "do_lower_case": True},
        "config_sentence_transformers.json": {"prompts": {"query": "Q: "}, "default_prompt_name": "query"},
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        "2_Dense/config.json": {"activation_function": "torch.nn.modules.activation.Tanh"},
        "2_Dense/model.safetensors": safetensors(linear_weight=np.eye(2, 4), linear_bias=np.ones(2)),
    }
    s = Sentences.load(files)
    assert (s.ways, s.max_length, s.lower, s.prompt) == (("cls", "mean"), 7, True, "query")
    vector = s.finish(pool(np.array([[1.0, 2], [3, 4]]), s.ways))
    wanted = np.tanh([2.0, 3.0])
    assert vector == pytest.approx(wanted / np.linalg.norm(wanted))
    assert s.kept.keys() == files.keys()
    with pytest.raises(InputError, match="Dense"):
        Sentences.load({k: v for k, v in files.items() if not k.endswith("safetensors")})
    with pytest.raises(InputError, match="'CNN' is not known"):
        Sentences.load({"modules.json": [{"type": "sentence_transformers.models.CNN", "path": "1_CNN"}]})
    with pytest.raises(InputError, match="damaged"):
        tensors(b"\x05\0\0\0\0\0\0\0{]}", "x")


def test_ways_of_pooling():
    states = np.array([[1.0], [2.0], [6.0]])
    for way, value in {
        "cls": 1,
        "max": 6,
        "mean": 3,
        "mean_sqrt_len": 9 / 3**0.5,
        "weightedmean": 23 / 6,
        "lasttoken": 6,
    }.items():
        assert pool(states, [way])[0] == pytest.approx(value)
    assert pool(states, ["mean"], skip=1)[0] == 4
    assert Sentences(similarity="euclidean").similar(np.array([[0.0, 0]]), np.array([[3.0, 4]]))[0, 0] == -5
