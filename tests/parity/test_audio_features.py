from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import chirp
from transformers import (
    ASTFeatureExtractor,
    ClapFeatureExtractor,
    DacFeatureExtractor,
    EncodecFeatureExtractor,
    LasrFeatureExtractor,
    ParakeetFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Speech2TextFeatureExtractor,
    SpeechT5FeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.audio_utils import load_audio

from sensorium.errors import InputError
from sensorium.media import audio


def sounds(rate):
    rng = np.random.default_rng(0)
    t = np.arange(int(1.3 * rate)) / rate
    voice = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * np.exp(-2 * t) * 0.2
    yield (voice + 0.02 * rng.standard_normal(len(t))).astype(np.float32)
    yield (0.3 * chirp(t, 60, t[-1], rate / 2.2) + 0.001 * rng.standard_normal(len(t))).astype(np.float32)
    yield (0.1 * rng.standard_normal(rate // 7)).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "settings"),
    [
        (16000, {}),
        (8000, {"feature_size": 64, "hop_length": 80, "n_fft": 256, "win_length": 200}),
        (22050, {"feature_size": 80, "hop_length": 220, "n_fft": 1024, "win_length": 551, "preemphasis": 0.0}),
    ],
)
def test_log_mel(rate, settings, monkeypatch):
    extractor = ParakeetFeatureExtractor(sampling_rate=rate, **settings)
    config = extractor.to_dict() | {"feature_extractor_type": "ParakeetFeatureExtractor"}
    found = [audio.features(config, audio.Audio(samples, rate)) for samples in sounds(rate)]
    voice = extractor(next(sounds(rate)), sampling_rate=rate, return_tensors="np")
    np.testing.assert_allclose(found[0]["input_features"], voice["input_features"][0], atol=1e-5)

    # Where a band is all but silent, the original's single precision is too coarse to compare with: so in double.
    spectrum = extractor._torch_extract_fbank_features
    extractor.mel_filters = extractor.mel_filters.double()
    monkeypatch.setattr(extractor, "_torch_extract_fbank_features", lambda x, device: spectrum(x.double(), device))
    torch.set_default_dtype(torch.float64)
    try:
        for samples, got in zip(sounds(rate), found):
            expected = extractor(samples, sampling_rate=rate, return_tensors="np")
            np.testing.assert_array_equal(got["attention_mask"], expected["attention_mask"][0])
            np.testing.assert_allclose(got["input_features"], expected["input_features"][0], atol=1e-5)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("normal", [True, False])
def test_raw(normal):
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normal, return_attention_mask=True)
    config = extractor.to_dict() | {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    for samples in sounds(16000):
        expected = extractor(samples + 0.01, sampling_rate=16000, return_tensors="np")
        found = audio.features(config, audio.Audio(samples + np.float32(0.01), 16000))
        np.testing.assert_allclose(found["input_values"], expected["input_values"][0], atol=1e-5)
        np.testing.assert_array_equal(found["attention_mask"], expected["attention_mask"][0])


def hard_sounds(rate):
    """Beside the ordinary ones: silence, a click, a constant, and what lasts longer than most networks take."""
    yield from sounds(rate)
    yield np.zeros(rate, np.float32)
    click = np.zeros(rate // 2, np.float32)
    click[rate // 4] = 1
    yield click
    yield np.full(rate // 3, 0.25, np.float32)
    rng = np.random.default_rng(1)
    yield (0.1 * rng.standard_normal(11 * rate + 77)).astype(np.float32)


def shortest(samples):
    return samples[:417]


EXTRACTORS = {
    "whisper": (WhisperFeatureExtractor, {}),
    "whisper, 128 bands": (WhisperFeatureExtractor, {"feature_size": 128, "chunk_length": 5}),
    "speech_to_text": (Speech2TextFeatureExtractor, {}),
    "speech_to_text, plain": (Speech2TextFeatureExtractor, {"do_ceptral_normalize": False, "num_mel_bins": 40}),
    "speech_to_text, means": (Speech2TextFeatureExtractor, {"normalize_vars": False}),
    "ast": (ASTFeatureExtractor, {}),
    "ast, small": (ASTFeatureExtractor, {"num_mel_bins": 32, "max_length": 60, "do_normalize": False}),
    "seamless": (SeamlessM4TFeatureExtractor, {}),
    "seamless, filled with ones": (SeamlessM4TFeatureExtractor, {"padding_value": 1.0, "num_mel_bins": 40}),
    "lasr": (LasrFeatureExtractor, {}),
    "speecht5": (SpeechT5FeatureExtractor, {}),
    "speecht5, normal": (SpeechT5FeatureExtractor, {"do_normalize": True}),
    "clap, fusion": (ClapFeatureExtractor, {}),
    "clap, cut": (ClapFeatureExtractor, {"truncation": "rand_trunc", "padding": "repeat"}),
    "clap, filled": (ClapFeatureExtractor, {"truncation": "rand_trunc", "padding": "pad", "max_length_s": 5}),
    "encodec": (EncodecFeatureExtractor, {"feature_size": 1}),
    "dac": (DacFeatureExtractor, {}),
}


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractors(name, monkeypatch):
    kind, settings = EXTRACTORS[name]
    extractor = kind(**settings)
    config = json.loads(extractor.to_json_string())
    rate = audio.sampling_rate(config)
    monkeypatch.setattr(np.random, "randint", lambda low, high=None: 0)
    monkeypatch.setattr(np.random, "choice", lambda values: values[0])
    if kind is WhisperFeatureExtractor:  # the variant in numpy: the other one computes in single precision
        monkeypatch.setattr(extractor, "_torch_extract_fbank_features", extractor._np_extract_fbank_features)
    assert rate == extractor.sampling_rate
    cases = list(hard_sounds(rate))
    if kind not in (ClapFeatureExtractor, SeamlessM4TFeatureExtractor):
        cases.append(shortest(cases[0]))
    for samples in cases:
        extra = {} if kind in (EncodecFeatureExtractor, DacFeatureExtractor) else {"return_attention_mask": True}
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = extractor(samples, sampling_rate=rate, return_tensors="np", **extra)
        found = audio.features(config, audio.Audio(samples, rate))
        for key, array in found.items():
            if key == "padding_mask" and key not in expected:
                continue
            wanted = np.asarray(expected[key])[0]
            assert array.shape == wanted.shape, key
            good = np.isfinite(wanted)  # in silence, some divide by zero
            assert np.isfinite(array).all()
            np.testing.assert_allclose(array[good], wanted[good], atol=1e-5, err_msg=key)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_rates_and_stereo(rate, tmp_path):
    """A file at another rate, with two channels, is what `transformers.audio_utils.load_audio` makes of it."""
    samples = next(sounds(rate))
    soundfile.write(tmp_path / "a.wav", np.stack([samples, 0.5 * samples[::-1]], 1), rate, subtype="FLOAT")
    expected = load_audio(str(tmp_path / "a.wav"), 16000, backend="soundfile")
    found = audio.load(tmp_path / "a.wav", 16000)
    np.testing.assert_allclose(found.samples, expected, atol=1e-6)


def test_what_a_folder_says():
    extractor = {"feature_extractor_type": "WhisperFeatureExtractor"}
    assert audio.extractor({"preprocessor_config.json": extractor}) == extractor
    assert audio.extractor({"processor_config.json": {"feature_extractor": extractor}}) == extractor
    with pytest.raises(InputError):
        audio.extractor({"config.json": {}})
