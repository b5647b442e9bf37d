"""Sound: from files to samples, and from samples to what the networks take, as preprocessor_config.json says it.

The numbers are those of the feature extractors of transformers.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from sensorium.errors import InputError

Floats = npt.NDArray[np.float32]

MAX_SECONDS = 4 * 3600
"""Longest sound that is decoded."""

LOG_GUARD = 2.0**-24
EPSILON = 1e-5


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound with one channel.

    Attributes:
        samples: (N,) float32, -1..1.
        rate: samples per second.
    """

    samples: Floats
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def load(source: Any, rate: int | None = None) -> Audio:
    """A sound as one channel, which is the mean of all channels.

    Args:
        source: a path, the bytes of a file (WAV, FLAC, OGG, MP3, AIFF ...), an `Audio`, or (samples, rate).
        rate: samples per second to bring it to; None for its own.

    Raises:
        InputError: no sound, an empty one, one longer than `MAX_SECONDS`, or samples that are not finite.
    """
    if isinstance(source, Audio):
        found, where = source, "the sound"
    elif isinstance(source, tuple):
        found, where = _from_samples(*source), "the sound"
    elif isinstance(source, bytes | bytearray | memoryview):
        found, where = _read(io.BytesIO(source), "the sound"), "the sound"
    elif isinstance(source, str | Path):
        found, where = _read(Path(source), str(source)), str(source)
    else:
        raise InputError(f"a sound file is needed, not {type(source).__name__}")
    if not len(found.samples):
        raise InputError(f"{where}: has no samples")
    if not np.isfinite(found.samples).all():
        raise InputError(f"{where}: has samples that are not finite")
    if rate is None or found.rate == rate:
        return found
    return Audio(np.asarray(soxr.resample(found.samples, found.rate, rate, quality="HQ"), np.float32), rate)


def _from_samples(samples: Any, rate: Any) -> Audio:
    try:
        array = np.asarray(samples)
        if np.issubdtype(array.dtype, np.integer):
            array = array / (np.iinfo(array.dtype).max + 1.0)
        array, rate = array.astype(np.float32), int(rate)
    except (TypeError, ValueError):
        raise InputError("a sound is (samples, rate): numbers, and how many of them a second has") from None
    if array.ndim == 2:
        array = array.mean(axis=1 if array.shape[1] <= array.shape[0] else 0, dtype=np.float32)
    if array.ndim != 1 or not 100 <= rate <= 1_000_000:
        raise InputError(f"a sound is (samples, rate); these have shape {array.shape} and rate {rate}")
    if len(array) > MAX_SECONDS * rate:
        raise InputError(f"the sound: longer than {MAX_SECONDS // 3600} hours: split it")
    return Audio(array, rate)


def _read(file: io.BytesIO | Path, where: str) -> Audio:
    if isinstance(file, Path) and not file.is_file():
        raise InputError(f"{where}: no such file")
    try:
        with soundfile.SoundFile(file) as sound:
            # A header may claim any length: no more is read than is allowed.
            limit = MAX_SECONDS * sound.samplerate
            blocks, total = [], 0
            while True:
                block = sound.read(1 << 20, dtype="float32", always_2d=True)
                total += len(block)
                if total > limit:
                    raise InputError(f"{where}: longer than {MAX_SECONDS // 3600} hours: split it")
                blocks.append(block.mean(axis=1, dtype=np.float32))
                if len(block) < 1 << 20:
                    break
            return Audio(np.concatenate(blocks), sound.samplerate)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as error:
        raise InputError(f"{where}: not a sound that can be read: {str(error).splitlines()[0]}") from None


def features(config: Mapping[str, Any], audio: Audio) -> dict[str, np.ndarray]:
    """The arrays of one sound, as the feature extractor named in preprocessor_config.json makes them.

    Args:
        config: preprocessor_config.json; `feature_extractor_type` is `ParakeetFeatureExtractor` (log-mel:
            `input_features` (frames, bands) float32, `attention_mask` (frames,) int64) or `Wav2Vec2FeatureExtractor`
            (`input_values` (samples,) float32, `attention_mask` (samples,) int64).
        audio: at the rate that the configuration asks for.

    Raises:
        InputError: another feature extractor, another rate, or a sound shorter than one frame.
    """
    rate = config.get("sampling_rate", 16000)
    if audio.rate != rate:
        raise InputError(f"this model takes {rate} samples a second, not {audio.rate}")
    kind = config.get("feature_extractor_type")
    if kind == "Wav2Vec2FeatureExtractor":
        samples = audio.samples
        if config.get("do_normalize", True):
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return {"input_values": samples.astype(np.float32), "attention_mask": np.ones(len(samples), np.int64)}
    if kind == "ParakeetFeatureExtractor":
        return _log_mel(config, audio)
    raise InputError(f"preprocessor_config.json: feature_extractor_type '{kind}' is none that is known here")


def _log_mel(config: Mapping[str, Any], audio: Audio) -> dict[str, np.ndarray]:
    """Log-mel frames, each band with mean 0 and deviation 1 over the sound; the last frame is filling."""
    bands, hop = config.get("feature_size", 80), config.get("hop_length", 160)
    size, width = config.get("n_fft", 512), config.get("win_length", 400)
    emphasis = config.get("preemphasis", 0.97)
    frames = len(audio.samples) // hop
    if frames < 1:
        raise InputError(f"the sound is shorter than one frame ({1000 * hop / audio.rate:.0f} ms)")
    # The original rounds to single precision here; what follows loses nothing in double.
    x = audio.samples
    if emphasis is not None:
        x = np.concatenate((x[:1], x[1:] - np.float32(emphasis) * x[:-1]))
    x = np.pad(x, size // 2)
    window = np.zeros(size)
    start = (size - width) // 2
    window[start : start + width] = np.hanning(width)
    pieces = np.lib.stride_tricks.sliding_window_view(x, size)[::hop][:frames]
    filters = mel_filters(size // 2 + 1, bands, audio.rate)
    mel = np.empty((frames, bands))
    for first in range(0, frames, 4096):  # a long sound is not unfolded at once
        part = slice(first, first + 4096)
        mel[part] = np.abs(np.fft.rfft(pieces[part] * window)) ** 2 @ filters
    mel = np.log(mel + LOG_GUARD)
    deviation = mel.std(axis=0, ddof=1) if frames > 1 else np.zeros(bands)
    result = np.zeros((frames + 1, bands), np.float32)
    result[:frames] = (mel - mel.mean(axis=0)) / (deviation + EPSILON)
    mask = np.ones(frames + 1, np.int64)
    mask[frames] = 0
    return {"input_features": result, "attention_mask": mask}


@lru_cache(8)
def mel_filters(bins: int, bands: int, rate: int) -> npt.NDArray[np.float64]:
    """(bins, bands) triangles of equal area on Slaney's mel scale, from 0 to half the rate."""
    top = _to_mel(rate / 2)
    edges = _from_mel(np.linspace(0, top, bands + 2))
    frequencies = np.linspace(0, rate // 2, bins)
    slopes = edges[None, :] - frequencies[:, None]
    widths = np.diff(edges)
    rising, falling = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return (triangles * (2 / (edges[2:] - edges[:-2])).astype(np.float32)).astype(np.float64)


def _to_mel(frequency: float) -> float:
    if frequency < 1000:
        return 3 * frequency / 200
    return float(15 + np.log(frequency / 1000) * 27 / np.log(6.4))


def _from_mel(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mels < 15, 200 * mels / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
