from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from sensorium.errors import InputError
from sensorium.media import audio
from sensorium.media.recording import Recording


def wave(rate=8000, seconds=0.5, channels=1):
    t = np.arange(int(rate * seconds)) / rate
    return np.stack([np.sin(2 * np.pi * 440 * t) * 0.5 / (c + 1) for c in range(channels)], 1).astype(np.float32)


def encoded(samples, rate=8000, kind="WAV", subtype=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_files_of_many_kinds(tmp_path, kind):
    path = tmp_path / "a.bin"
    path.write_bytes(encoded(wave(channels=2), kind=kind))
    found = audio.load(path)
    assert found.rate == 8000
    assert found.samples.dtype == np.float32
    assert abs(len(found.samples) - 4000) < 1500
    assert abs(np.abs(found.samples).max() - 0.375) < 0.05


@pytest.mark.parametrize("rate", [None, 16000])
@pytest.mark.parametrize("blocks", [1, 3.5])
def test_long_files_stay_on_disk_and_say_the_same(tmp_path, monkeypatch, rate, blocks):
    monkeypatch.setattr(audio, "BLOCK", 1000)
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, (int(1000 * blocks), 2)), 8000)
    short = audio.load(tmp_path / "a.wav", rate)
    monkeypatch.setattr(audio, "LONG", 0.05)
    long = audio.load(tmp_path / "a.wav", rate)
    assert isinstance(short.samples, np.ndarray)
    assert isinstance(long.samples, Recording)
    assert (len(long.samples), long.seconds) == (len(short.samples), short.seconds)
    np.testing.assert_array_equal(np.asarray(long.samples), short.samples)
    np.testing.assert_array_equal(long.samples[300:700], short.samples[300:700])
    np.testing.assert_array_equal(long.samples[-5:], short.samples[-5:])
    whole, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    whole = audio.load((whole.mean(1), 8000), rate)
    np.testing.assert_array_equal(whole.samples, short.samples)


def test_whispers_features_are_read_stretch_by_stretch(monkeypatch):
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    samples[4000:] *= 1e-4  # below what the loudest place makes silent
    config = {"feature_size": 80, "sampling_rate": 16000, "n_samples": len(samples)}
    whole = audio._whisper(config, samples)["input_features"]
    monkeypatch.setattr(audio, "FRAMES", 7)
    monkeypatch.setattr(audio.mel, "BLOCK", 3)
    found = audio.Spectrogram(config, samples)
    assert found.shape == whole.shape == (80, 100)
    for start, stop in ((0, 100), (0, 1), (30, 61), (99, 120), (100, 130)):
        np.testing.assert_array_equal(found[:, start:stop], whole[:, start:stop])


def test_resampling_keeps_the_tone():
    found = audio.load((wave()[:, 0], 8000), 16000)
    assert (found.rate, len(found.samples)) == (16000, 8000)
    np.testing.assert_allclose(found.samples[2000:6000], wave(16000)[2000:6000, 0], atol=2e-3)
    assert audio.load(found, 16000) is found


def test_integers_and_shapes():
    assert np.abs(audio.load((np.array([32767, -32768], np.int16), 8000)).samples).max() == 1
    assert len(audio.load((wave(channels=2).T, 8000)).samples) == 4000


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"no sound at all", "not a sound"),
        ("/nowhere/a.wav", "no such file"),
        (7, "not int"),
        ((np.zeros(0), 8000), "no samples"),
        ((np.array([np.nan]), 8000), "not finite"),
        ((np.zeros((2, 2, 2)), 8000), "shape"),
        ((np.zeros(9), 0), "rate 0"),
        ((["x"], 8000), "numbers"),
    ],
)
def test_what_is_no_sound(source, message):
    with pytest.raises(InputError, match=message):
        audio.load(source)


def test_an_empty_file():
    with pytest.raises(InputError, match="no samples"):
        audio.load(encoded(np.zeros((0, 1))))


def test_too_long(monkeypatch):
    monkeypatch.setattr(audio, "MAX_SECONDS", 0.1)
    with pytest.raises(InputError, match="longer"):
        audio.load(encoded(wave()))
    with pytest.raises(InputError, match="longer"):
        audio.load((wave()[:, 0], 8000))


def test_features_are_particular():
    with pytest.raises(InputError, match="shorter than one frame"):
        audio.features(
            {"feature_extractor_type": "ParakeetFeatureExtractor"}, audio.Audio(np.zeros(9, np.float32), 16000)
        )
    with pytest.raises(InputError, match="takes 16000"):
        audio.features({}, audio.Audio(np.zeros(9, np.float32), 8000))
    with pytest.raises(InputError, match="feature_extractor_type 'Mel'"):
        audio.features({"feature_extractor_type": "Mel"}, audio.Audio(np.zeros(9, np.float32), 16000))
    one = audio.features(
        {"feature_extractor_type": "ParakeetFeatureExtractor"}, audio.Audio(np.ones(160, np.float32), 16000)
    )
    assert np.isfinite(one["input_features"]).all()


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"")
    for source in (path, b""):
        with pytest.raises(InputError, match=r"the file is empty \(0 bytes\)"):
            audio.load(source)
    path.write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"^[^:]*a\.wav: not a sound that can be read: Format not recognised\.$"):
        audio.load(path)
