from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

import sensorium
from sensorium.data import Example
from sensorium.training.recipes import automatic_speech_recognition as recipe

TONES = {"a": 300, "b": 700, "c": 1300}


def spoken(text, rng, rate=8000):
    """Each letter a tone of 0.15 s, a space 0.1 s of silence."""
    pieces = [np.zeros(400)]
    for letter in text:
        t = np.arange(rate * 15 // 100) / rate
        tone = np.sin(2 * np.pi * TONES.get(letter, 0) * t) * np.hanning(len(t)) * 0.3
        pieces += [tone, np.zeros(400)]
    x = np.concatenate(pieces)
    return (x + 0.002 * rng.standard_normal(len(x))).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    with (path / "metadata.csv").open("w") as file:
        file.write("file_name,text\n")
        for i in range(48):
            text = "".join(rng.choice(list("abc"), rng.integers(1, 4)))
            soundfile.write(path / f"{i}.wav", spoken(text, rng), 8000)
            file.write(f"{i}.wav,{text}\n")
    return path


def test_learns_exports_and_answers(folder, tmp_path):
    record = sensorium.train(
        "automatic-speech-recognition", folder, out=tmp_path / "run", epochs=30, quiet=True, width=48, depth=2,
        batch_size=8, learning_rate=4e-3, speed=0.02, mask=0.3, average=0.9,
    )  # fmt: skip
    assert record["result"]["verification"] == "pass"
    assert record["result"]["metrics"]["wer"]["value"] < 0.5
    model = sensorium.load(tmp_path / "run")
    rng = np.random.default_rng(1)
    sounds = [(spoken(text, rng), 8000) for text in ("a", "cab", "b")]
    together = model.predict_batch(sounds)
    assert [t.text for t in together] == [model.predict(s).text for s in sounds]
    found = model.predict((spoken("b", rng, 8000), 8000), return_timestamps=True)
    if found.chunks:
        assert 0 <= found.chunks[0].timestamp[0] <= found.chunks[-1].timestamp[1] <= 0.26


def test_batches_and_targets_follow_from_the_numbers_given(folder):
    rows = (folder / "metadata.csv").read_text().splitlines()[1:]
    examples = [Example(n, {"audio": str(folder / n), "text": text}, n) for n, text in (row.split(",") for row in rows)]
    plan = recipe.plan(examples, None)
    assert plan.task.rate == 8000
    parts = recipe.batches(plan, examples, np.random.default_rng(0))
    assert sorted(i for part in parts for i in part) == list(range(48))
    one, two = (recipe.batch(plan, examples[:6], np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert (one["frames"] >= one["target_length"]).all()
    joined = recipe.batch(recipe.plan(examples, None, join=1.0), examples[:6], np.random.default_rng(0))
    assert (joined["target"] == plan.task.numbers["|"]).any()
    plain = recipe.batch(plan, examples[:6], None)
    assert not (plain["target"] == plan.task.numbers["|"]).any()


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_from_a_base_of_wav2vec2(folder, tmp_path, norm):
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=6,
        conv_dim=(16, 16), conv_kernel=(10, 8), conv_stride=(8, 8), num_feat_extract_layers=2, pad_token_id=0,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
    )  # fmt: skip
    base = tmp_path / "base"
    Wav2Vec2ForCTC(config).save_pretrained(base)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(base)
    (base / "vocab.json").write_text(json.dumps({"<pad>": 0, "|": 1, "A": 2, "B": 3, "C": 4, "<unk>": 5}))
    (base / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>", "word_delimiter_token": "|"}))
    record = sensorium.train(
        "automatic-speech-recognition", folder, out=tmp_path / "run", base=base, epochs=1, quiet=True
    )
    assert record["result"]["verification"] == "pass"
    model = sensorium.load(tmp_path / "run")
    assert model.task.tokenizer_config["do_lower_case"] is True  # the base's vocabulary is kept
    assert model.task.config["architectures"] == ["Wav2Vec2ForCTC"]
    rng = np.random.default_rng(1)
    sounds = [(spoken(text, rng), 8000) for text in ("a", "cab", "b")]
    task, net = model.task, model.nets["model"]
    for sound, answer in zip(sounds, model.predict_batch(sounds)):
        arrays = task.prepare(task.open(sound))
        outputs = net({name: array[None] for name, array in arrays.items()})
        assert outputs["logits"].shape[1] == task.frames(len(arrays["input_values"]))
        assert task.decode({"logits": outputs["logits"][0]}, task.open(sound)) == answer
