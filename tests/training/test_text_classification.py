from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import sensorium
from sensorium.errors import InputError

GOOD, BAD = ("sunny", "lovely", "bright", "happy", "merry"), ("rainy", "awful", "gloomy", "bitter", "nasty")


def write(path, several=False):
    rng = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for i in range(120):
            words = rng.choice(GOOD if i % 2 else BAD, 2)
            rows.writerow([f"What a {words[0]} and {words[1]} day, the {i}th of all", "good" if i % 2 else "bad"])
    return path


def test_learns_exports_and_answers(tmp_path):
    data = write(tmp_path / "days.csv")
    record = sensorium.train("text-classification", data, out=tmp_path / "run", epochs=6, quiet=True)
    assert record["result"]["metrics"]["macro_f1"]["value"] == 1
    assert record["result"]["verification"] == "pass"
    model = sensorium.load(tmp_path / "run")
    assert model.predict("A merry, bright evening")[0].label == "good"
    together = model.predict_batch(["nasty!", "lovely", "", "été ☔ " * 50])
    assert [r[0].label for r in together[:2]] == ["bad", "good"]
    assert together[3][0].score == pytest.approx(model.predict("été ☔ " * 50)[0].score, abs=1e-6)


def test_from_a_base_of_transformers(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForMaskedLM

    data = write(tmp_path / "days.csv")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        data.read_text().splitlines(), trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    base = tmp_path / "base"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    network = BertForMaskedLM(BertConfig(vocab_size=200, max_position_embeddings=40, **sizes))
    network.save_pretrained(base)
    tokenizer.save(str(base / "tokenizer.json"))
    (base / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]", "tokenizer_class": "BertTokenizer"}))

    record = sensorium.train(
        "text-classification", data, out=tmp_path / "run", base=base, epochs=10, quiet=True, learning_rate=2e-3
    )
    assert record["result"]["metrics"]["macro_f1"]["value"] == 1
    assert record["result"]["verification"] == "pass"
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "bad", "1": "good"}
    model = sensorium.load(tmp_path / "run")
    assert [r[0].label for r in model.predict_batch(["a lovely day", "an awful and nasty day, " * 30])] == [
        "good",
        "bad",
    ]


def test_a_base_that_is_none(tmp_path):
    data = write(tmp_path / "days.csv")
    (tmp_path / "base").mkdir()
    with pytest.raises(InputError, match=r"config\.json"):
        sensorium.train("text-classification", data, out=tmp_path / "run", base=tmp_path / "base", quiet=True)
