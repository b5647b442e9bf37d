from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import ParakeetCTCConfig, ParakeetForCTC, Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2ForCTC

import sensorium
from sensorium.errors import InputError
from sensorium.media.audio import Audio
from sensorium.tasks import options, to_json
from sensorium.tasks.automatic_speech_recognition import MAX_SECONDS, Chunk, Task, Transcript, ctc_tokenizer
from tests.ops.test_transducer import BLANK, Decoder, Joint

VOCABULARY = {"<pad>": 0, "<unk>": 1, "|": 2, "a": 3, "b": 4, "C": 5}
RAW = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000}
LAYERS = {"conv_kernel": [10, 3], "conv_stride": [5, 2]}


def task(**settings):
    found = {"pad_token": "<pad>", "word_delimiter_token": "|", "unk_token": "<unk>", **settings}
    return Task({"model_type": "wav2vec2", "pad_token_id": 0, **LAYERS}, RAW, found, VOCABULARY)


def said(t, labels, seconds=1.0, **options):
    sound = Audio(np.zeros(int(16000 * seconds), np.float32), 16000)
    logits = np.eye(len(VOCABULARY), dtype=np.float32)[labels]
    return t.decode({"logits": logits}, sound, **options)


def test_round_trip():
    assert Task.load(task().files()) == task()
    with pytest.raises(InputError, match=r"preprocessor_config\.json is missing"):
        Task.load({"config.json": {}})
    with pytest.raises(InputError, match=r"vocab\.json"):
        Task.load({"config.json": {}, "preprocessor_config.json": RAW})
    names = {o.name for o in options(Task)}
    assert {"return_timestamps", "granularity", "chunk_length_s", "language", "num_beams"} <= names


@pytest.mark.parametrize("lower", [False, True])
def test_decoding_is_that_of_transformers(tmp_path, lower):
    (tmp_path / "vocab.json").write_text(json.dumps(VOCABULARY))
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), do_lower_case=lower, bos_token=None, eos_token=None)
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.integers(0, 6, rng.integers(1, 30)).repeat(rng.integers(1, 4))
        expected = tokenizer.decode(labels.tolist(), output_word_offsets=True)
        found = said(task(do_lower_case=lower), labels, return_timestamps=True)
        assert found.text == expected.text
        times = [
            (round(int(w["start_offset"]) * 10 / 16000, 4), round(int(w["end_offset"]) * 10 / 16000, 4))
            for w in expected.word_offsets
        ]
        assert [c.timestamp for c in found.chunks] == times
        if not lower:
            assert [c.text for c in found.chunks] == [w["word"] for w in expected.word_offsets]


def test_a_tokenizer_file_instead_of_a_vocabulary():
    t = Task(task().config, RAW, {"pad_token": "<pad>"}, {}, ctc_tokenizer(VOCABULARY, "<pad>", "|"))
    assert said(t, [0, 3, 3, 0, 4, 2, 2, 5]).text == "ab C"
    assert Task.load(t.files()) == t


def test_json_is_that_of_hugging_face():
    found = to_json(said(task(), [3] * 10 + [2] * 10 + [4] * 10, return_timestamps=True))
    assert found == {
        "text": "a b",
        "chunks": [{"text": "a", "timestamp": [0.0, 0.0063]}, {"text": "b", "timestamp": [0.0125, 0.0187]}],
    }


def test_answers_beyond_the_sound_do_not_count():
    t = task()
    assert t.frames(16000) == 1599
    assert said(t, [3] * 100 + [4] * 100, seconds=0.06).text == "a"


def test_frames_are_those_of_transformers():
    config = ParakeetCTCConfig(encoder_config={"subsampling_factor": 4, "num_hidden_layers": 1, "hidden_size": 16})
    import torch

    network = ParakeetForCTC(config)
    t = Task({"encoder_config": {"subsampling_factor": 4}}, {}, {}, VOCABULARY)
    for length in (1, 2, 3, 8, 9, 101):
        assert t.frames(length) == int(network._get_subsampling_output_length(torch.tensor([length])))


def test_transducers_tell_times():
    """Frames of 40 ms, in pieces of two seconds of which the overlaps are heard once."""
    extractor = {"feature_extractor_type": "ParakeetFeatureExtractor", "feature_size": 20, "sampling_rate": 16000}
    config = {"model_type": "parakeet_tdt", "encoder_config": {"subsampling_factor": 4}, "blank_token_id": BLANK}
    t = Task(config, extractor, {"word_delimiter_token": "|"}, {"a": 0, "b": 1, "|": 2, "<blank>": BLANK})
    frames = []

    def encode(feeds):
        frames.append(np.arange(t.frames(feeds["input_features"].shape[1]), dtype=np.float32)[None, :, None])
        return {"last_hidden_state": frames[-1].repeat(len(feeds["input_features"]), axis=0)}

    encode.inputs = {}
    table = {(20, BLANK): (0, 2), (22, 0): (1, 4), (26, 1): (2, 1), (27, 2): (0, 0)}
    table |= {(27, 0): (BLANK, 1)}
    nets = {"encoder_model": encode, "decoder_model": Decoder(), "joint_model": Joint(table, 5)}
    sound = Audio(np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32), 16000)
    found = t.predict(nets, [sound], return_timestamps=True)[0]
    assert found == Transcript("ab a", [Chunk("ab", (0.8, 1.04)), Chunk("a", (1.08, 1.12))])
    assert t.predict(nets, [sound])[0] == Transcript("ab a")
    long = Audio(np.concatenate([sound.samples] * 2), 16000)
    pieces = t.predict(nets, [long], chunk_length_s=2.0, stride_length_s=0.4)[0]
    assert pieces.text.startswith("ab a")


def test_limits():
    t = task()
    with pytest.raises(InputError, match="no samples"):
        t.open((np.zeros(0), 16000))
    with pytest.raises(InputError, match="give chunk_length_s"):
        list(t.pieces(Audio(np.zeros(100 * (MAX_SECONDS + 1), np.float32), 100), None, None))
    with pytest.raises(InputError, match="too short"):
        t.prepare(Audio(np.zeros(8, np.float32), 16000))
    assert t.open((np.zeros(8000, np.float32), 8000)).rate == 16000


def test_score_baseline_and_picture():
    t = task()
    naive = t.baseline([], ["b", "a b", "a b"])
    tallies = [t.tally(naive(None), truth, {}) for truth in ("a b", "c", "")]
    assert tallies[0].quality == 1
    assert tallies[0].quality > tallies[1].quality
    assert t.score(tallies) == {"wer": pytest.approx(4 / 3), "cer": pytest.approx(6 / 4)}
    sound = Audio(np.zeros(16000, np.float32), 16000)
    assert t.draw(sound, Transcript("a b", [Chunk("a", (0, 1))])).mode == "RGB"


def test_sounds_normalised_over_time_are_not_filled_up():
    assert "input_values" in task().padding
    t = task()
    grouped = Task({**t.config, "feat_extract_norm": "group"}, RAW, t.tokenizer_config, VOCABULARY)
    assert grouped.padding == {}


class Letters:
    """A network that answers the letter that the loudness of each frame says."""

    def __init__(self):
        self.inputs = {"input_values": (["batch", "samples"], np.float32)}

    def __call__(self, feeds):
        values = feeds["input_values"]
        frames = (values.shape[1] - 10) // 5 + 1
        frames = (frames - 3) // 2 + 1
        levels = np.rint(values[:, : frames * 10 : 10] * 10).astype(int)
        return {"logits": np.eye(len(VOCABULARY), dtype=np.float32)[levels]}


def test_long_sounds_are_heard_in_pieces():
    t = task()
    t.preprocessor = {**RAW, "do_normalize": False}
    rng = np.random.default_rng(0)
    labels = rng.integers(1, len(VOCABULARY), 400).repeat(7)
    sound = Audio((labels.repeat(10) / 10).astype(np.float32), 16000)
    (whole,) = t.predict({"model": Letters()}, [sound], return_timestamps=True)
    (joined,) = t.predict({"model": Letters()}, [sound], return_timestamps=True, chunk_length_s=0.5)
    assert joined.text == whole.text
    assert [c.text for c in joined.chunks] == [c.text for c in whole.chunks]
    for a, b in zip(joined.chunks, whole.chunks):
        assert a.timestamp == pytest.approx(b.timestamp, abs=0.002)
    letters = t.predict({"model": Letters()}, [sound], return_timestamps=True, granularity="char")[0].chunks
    assert len(letters) > len(whole.chunks)
    with pytest.raises(InputError, match="cannot overlap"):
        t.predict({"model": Letters()}, [sound], chunk_length_s=1.0, stride_length_s=0.6)
    with pytest.raises(InputError, match="granularity"):
        t.predict({"model": Letters()}, [sound], return_timestamps=True, granularity="sentence")


RESIDENT = """
import json, sys, threading, time, sensorium
model, options, seen, heard = sensorium.load(sys.argv[1]), json.loads(sys.argv[2]), [], threading.Event()
def watch():
    while not heard.wait(0.05):
        seen.append(int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20)
watching = threading.Thread(target=watch)
watching.start()
model.predict(sys.argv[3], **options)
heard.set()
watching.join()
half = len(seen) // 2
print(max(seen[:half]), max(seen[half:]))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc: use Linux")
@pytest.mark.parametrize("kind", ["whisper", "whisper in pieces", "wav2vec2 in pieces"])
def test_two_hours_are_heard_in_constant_memory(kind, tmp_path):
    """The second hour takes no more memory than the first."""
    from tests.parity import architectures

    cases = [case for area in architectures.areas().values() for case in area]
    case = next(c for c in cases if c.model_type == kind.split()[0] and c.task == Task.name)
    (tmp_path / "checkpoint").mkdir()
    case.make(tmp_path / "checkpoint")
    if "wav2vec2" in kind:  # frames of 20 ms, as real ones have
        config = Wav2Vec2Config.from_pretrained(tmp_path / "checkpoint")
        config.conv_kernel, config.conv_stride = [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]
        config.conv_dim, config.num_feat_extract_layers = [16] * 7, 7
        Wav2Vec2ForCTC(config).save_pretrained(tmp_path / "checkpoint")
    sensorium.convert(tmp_path / "checkpoint", out=tmp_path / "model", task=Task.name, force=True)
    options = {"max_new_tokens": 4} if "whisper" in kind else {}
    if "pieces" in kind:
        options["chunk_length_s"] = 20
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 8000, 2, "PCM_16") as file:
        for _ in range(120):
            file.write(rng.normal(0, 0.1, (8000 * 60, 2)))
    command = [sys.executable, "-c", RESIDENT, tmp_path / "model", json.dumps(options), tmp_path / "a.wav"]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    first, second = (int(number) for number in run.stdout.split())
    assert second - first < 64  # MB
