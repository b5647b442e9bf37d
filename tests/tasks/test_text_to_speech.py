from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from sensorium.errors import InputError
from sensorium.tasks.text_to_speech import Speech, Task

LETTERS = {"<pad>": 0, "a": 1, "b": 2, " ": 3, "X": 4, "<unk>": 5}


class Net:
    """A network that remembers what it is asked, and answers a tone."""

    def __init__(self, *names: str, output: str = "waveform") -> None:
        self.inputs = {name: ([None], np.float32) for name in names}
        self.output = output

    def __call__(self, feeds):
        self.fed = feeds
        return {self.output: np.sin(np.arange(800, dtype=np.float32))[None, None]}


def vits(**settings):
    return Task({"model_type": "vits", "sampling_rate": 8000}, {}, "", {"phonemize": False, **settings}, LETTERS)


def test_letters_are_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.json").write_text(json.dumps(LETTERS))
    for settings in ({}, {"add_blank": False}, {"normalize": False}):
        tokenizer = transformers.VitsTokenizer(str(tmp_path / "vocab.json"), phonemize=False, **settings)
        for said in ("Ab XxB!", " a  b ", "aé東b", "B" * 20):
            assert vits(**settings).prepare(said)["input_ids"].tolist() == tokenizer(said).input_ids
    with pytest.raises(InputError, match="nothing"):
        vits().prepare("é東")


def test_it_speaks_and_saves(tmp_path):
    task, net = vits(), Net("input_ids", "attention_mask")
    (found,) = task.predict({"model": net}, ["ab"])
    assert (found.audio.shape, found.audio.dtype, found.sampling_rate) == ((800,), np.float32, 8000)
    path = task.save(found, tmp_path / "said")
    samples, rate = soundfile.read(path, dtype="float32")
    assert (path.name, rate) == ("said.wav", 8000)
    np.testing.assert_allclose(samples, found.audio, atol=1e-4)
    assert isinstance(task.draw("ab", found), Image.Image)
    assert Task.load(task.files()) == task
    perfect = task.tally(found, path, {})
    assert task.score([perfect])["mcd"] < task.score([task.tally(Speech(found.audio[::2], 8000), path, {})])["mcd"]


def test_voices_of_piper():
    known = {"^": [1], "$": [2], "_": [0], "h": [7], "i": [8, 9]}
    config = {"phoneme_id_map": known, "audio": {"sample_rate": 22050}, "inference": {"noise_scale": 0.5}}
    net = Net("input", "input_lengths", "scales", "sid", output="output")
    (found,) = Task({**config, "speaker_id_map": {"ann": 3}}).predict(
        {"model": net}, ["hi?"], speaker="ann", speaking_rate=2.0
    )
    assert found.sampling_rate == 22050
    assert net.fed["input"].tolist() == [[1, 7, 0, 8, 9, 0, 2]]
    assert net.fed["input_lengths"].tolist() == [7]
    assert net.fed["scales"].tolist() == pytest.approx([0.5, 0.5, 0.8])
    assert net.fed["sid"].tolist() == [3]
    with pytest.raises(InputError, match="no speaker 'bob'"):
        Task(config).predict({"model": net}, ["hi"], speaker="bob")


def test_voices_of_kokoro():
    table = np.arange(40, dtype=np.float32).reshape(10, 1, 4)
    task = vits(add_blank=False)
    task.voices = {"one": table.tolist(), "two": (table + 100).tolist()}
    net = Net("input_ids", "style", "speed")
    task.predict({"model": net}, ["abab"], speaker="two", speaking_rate=0.5)
    assert net.fed["style"].tolist() == [[108, 109, 110, 111]]  # the row of four tokens, without the two at the ends
    assert net.fed["speed"].tolist() == [0.5]
    with pytest.raises(InputError, match="no voice 'three'; it has: one, two"):
        task.predict({"model": net}, ["ab"], speaker="three")
