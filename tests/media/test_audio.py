from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from sensorium.errors import InputError
from sensorium.media import audio


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
