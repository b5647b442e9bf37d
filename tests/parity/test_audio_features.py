from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import chirp
from transformers import ParakeetFeatureExtractor, Wav2Vec2FeatureExtractor

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
