"""Sound: from files to samples, and from samples to what the networks take, as preprocessor_config.json says it.

The numbers are those of the feature extractors of transformers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from sensorium.errors import CallError, InputError
from sensorium.media.recording import Recording
from sensorium.ops import mel
from sensorium.ops.mel import Mel

Floats = npt.NDArray[np.float32]

MAX_SECONDS = 4 * 3600
"""Longest sound that is decoded."""

LONG = 600
"""Seconds of a file that are kept in memory; the samples of a longer one are kept on disk."""

FAMILIES = (
    "Data2VecAudio",
    "Hubert",
    "SEW",
    "SEWD",
    "UniSpeech",
    "UniSpeechSat",
    "Wav2Vec2",
    "Wav2Vec2Bert",
    "Wav2Vec2Conformer",
    "WavLM",
)
"""Names of architectures that hear, where the ending of a class name does not tell: classifiers of sequences."""

BLOCK = 1 << 20
"""Samples of each channel that are decoded at once."""

FRAMES = 4096
"""Of a spectrogram that are kept in memory; those of a longer one are computed where they are read."""

LOG_GUARD = 2.0**-24
EPSILON = 1e-5
KALDI_FLOOR = 1.192092955078125e-07


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound with one channel.

    Attributes:
        samples: (N,) float32, -1..1; of a long file a `Recording`, whose slices are arrays.
        rate: samples per second.
    """

    samples: Floats
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def load(source: Any, rate: int | None = None, longest: float | None = None) -> Audio:
    """A sound as one channel, which is the mean of all channels.

    Args:
        source: a path, the bytes of a file (WAV, FLAC, OGG, MP3, AIFF ...), an `Audio`, or (samples, rate).
        rate: samples per second to bring it to; None for its own.
        longest: seconds that are taken; None for `MAX_SECONDS`.

    Raises:
        InputError: no sound, an empty one, one that is too long, or samples that are not finite.
    """
    if isinstance(source, Audio):
        found, where = source, "the sound"
    elif isinstance(source, tuple):
        found, where = _from_samples(*source), "the sound"
    elif isinstance(source, bytes | bytearray | memoryview):
        found, where = _read(io.BytesIO(source), "the sound", rate), "the sound"
    elif isinstance(source, str | Path):
        found, where = _read(Path(source), str(source), rate), str(source)
    else:
        raise InputError(f"a sound file is needed, not {type(source).__name__}")
    if not len(found.samples):
        raise InputError(f"{where}: has no samples")
    if isinstance(found.samples, np.ndarray) and not np.isfinite(found.samples).all():
        raise InputError(f"{where}: has samples that are not finite")
    if longest is not None and found.seconds > longest:
        raise InputError(f"{where}: lasts {found.seconds:.0f} s; at most {longest:g} s are taken: split it")
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


def _read(file: io.BytesIO | Path, where: str, rate: int | None) -> Audio:
    """A file at this rate (None: its own), decoded and resampled block by block."""
    if isinstance(file, Path) and not file.is_file():
        raise InputError(f"{where}: no such file")
    if not (file.stat().st_size if isinstance(file, Path) else file.getbuffer().nbytes):
        raise InputError(f"{where}: the file is empty (0 bytes)")
    try:
        with soundfile.SoundFile(file) as sound:
            own = sound.samplerate
            rate = rate or own
            resampler = soxr.ResampleStream(own, rate, 1, dtype="float32", quality="HQ") if rate != own else None
            blocks: list[Floats] = []
            recording: Recording | None = None
            total, last = 0, False
            while not last:
                read = sound.read(BLOCK, dtype="float32", always_2d=True)
                total, last = total + len(read), len(read) < BLOCK
                # A header may claim any length: no more is read than is allowed.
                if total > MAX_SECONDS * own:
                    raise InputError(f"{where}: longer than {MAX_SECONDS // 3600} hours: split it")
                block: Floats = read.mean(axis=1, dtype=np.float32)
                if not np.isfinite(block).all():
                    raise InputError(f"{where}: has samples that are not finite")
                if resampler is not None:
                    block = np.asarray(resampler.resample_chunk(block, last=last), np.float32)
                if recording is None and total > LONG * own:
                    recording = Recording()
                    for earlier in blocks:
                        recording.append(earlier)
                    blocks = []
                if recording is None:
                    blocks.append(block)
                else:
                    recording.append(block)
            # Of a recording, slices are taken: they are arrays.
            samples: Any = np.concatenate(blocks) if recording is None else recording
            return Audio(samples, rate)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"Error opening {str(file)!r}: ")
        raise InputError(f"{where}: not a sound that can be read: {reason}") from None


def save(audio: Audio, target: Path | io.BytesIO) -> None:
    """Write a sound as WAV with 16 bits; what is louder than 1 is cut."""
    soundfile.write(target, np.clip(audio.samples, -1, 1), audio.rate, subtype="PCM_16", format="WAV")


def extractor(files: Mapping[str, Any]) -> dict[str, Any]:
    """What the files of a model folder say about the feature extractor.

    It stands in preprocessor_config.json, or under `feature_extractor` in processor_config.json.

    Raises:
        InputError: neither says it.
    """
    found = files.get("preprocessor_config.json")
    if not isinstance(found, dict) or not {"feature_extractor_type", "sampling_rate"} & set(found):
        processor = files.get("processor_config.json")
        nested = processor.get("feature_extractor") if isinstance(processor, dict) else None
        found = nested if isinstance(nested, dict) else found
    if not isinstance(found, dict):
        raise CallError("preprocessor_config.json is missing: it says how a sound is taken")
    return found


def features(config: Mapping[str, Any], audio: Audio) -> dict[str, np.ndarray]:
    """The arrays of one sound, as the feature extractor named in preprocessor_config.json makes them.

    Args:
        config: preprocessor_config.json with a `feature_extractor_type` of `EXTRACTORS`.
        audio: at the rate that the configuration asks for.

    Returns:
        `input_values` or `input_features` float32, and mostly `attention_mask` int64.

    Raises:
        InputError: another feature extractor, another rate, or a sound shorter than one frame.
    """
    rate = sampling_rate(config)
    if audio.rate != rate:
        raise InputError(f"this model takes {rate} samples a second, not {audio.rate}")
    kind = config.get("feature_extractor_type")
    extract = EXTRACTORS.get(str(kind))
    if extract is None:
        raise CallError(f"preprocessor_config.json: feature_extractor_type '{kind}' is none that is known here")
    return extract(config, np.asarray(audio.samples))


def sampling_rate(config: Mapping[str, Any]) -> int:
    """Samples per second that the network takes."""
    return int(config.get("sampling_rate") or RATES.get(str(config.get("feature_extractor_type")), 16000))


def padding(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> dict[str, float]:
    """Values that fill up the shorter sounds of a batch; none where filling would change the answer.

    Args:
        config: config.json: where `feat_extract_norm` is `group`, all is normalised over time, filling included; and of
            a network of another framework it is not known.
    """
    if config.get("feat_extract_norm") == "group" or config.get("model_type") == "converted":
        return {}
    value = float(preprocessor.get("padding_value") or 0)
    return {"input_values": value, "input_features": value, "attention_mask": 0, "padding_mask": 0}


def samples_per_step(config: Mapping[str, Any]) -> int:
    """Samples that one step of the network's input stands for: 1, or those of a frame of features."""
    kind = config.get("feature_extractor_type")
    if kind in ("Wav2Vec2FeatureExtractor", "SpeechT5FeatureExtractor"):
        return 1
    return int(config.get("hop_length", 160)) * (
        config.get("stride", 2) if kind == "SeamlessM4TFeatureExtractor" else 1
    )


def _raw(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """The samples themselves, if `do_normalize` with mean 0 and deviation 1."""
    normal = config.get("feature_extractor_type") == "Wav2Vec2FeatureExtractor"
    if config.get("do_normalize", normal):
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return {"input_values": samples.astype(np.float32), "attention_mask": np.ones(len(samples), np.int64)}


def _parakeet(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """Log-mel frames, each band with mean 0 and deviation 1 over the sound; the last frame is filling."""
    bands, hop, rate = config.get("feature_size", 80), config.get("hop_length", 160), sampling_rate(config)
    size, width = config.get("n_fft", 512), config.get("win_length", 400)
    emphasis = config.get("preemphasis", 0.97)
    frames = len(samples) // hop
    if frames < 1:
        raise InputError(f"the sound is shorter than one frame ({1000 * hop / rate:.0f} ms)")
    # The original rounds to single precision here; what follows loses nothing in double.
    if emphasis is not None:
        samples = np.concatenate((samples[:1], samples[1:] - np.float32(emphasis) * samples[:-1]))
    how = Mel(rate, bands, width, hop, size, periodic=False, centre="constant", framed=True, single=True, rounded=False)
    found = np.log(mel.energies(samples, how)[:, :frames].T + LOG_GUARD)
    deviation = found.std(axis=0, ddof=1) if frames > 1 else np.zeros(bands)
    result = np.zeros((frames + 1, bands), np.float32)
    result[:frames] = (found - found.mean(axis=0)) / (deviation + EPSILON)
    mask = np.ones(frames + 1, np.int64)
    mask[frames] = 0
    return {"input_features": result, "attention_mask": mask}


def _whisper(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """(bands, frames) of `chunk_length` seconds: what is shorter ends in silence, what is longer is cut."""
    length = int(config.get("n_samples") or config.get("chunk_length", 30) * sampling_rate(config))
    found = Spectrogram(config, np.pad(samples[:length], (0, max(0, length - len(samples)))))
    return {"input_features": found[:, :]}


class Spectrogram:
    """Whisper's features of a sound of any length, computed where they are read: an array of which slices are taken.

    Args:
        config: preprocessor_config.json: `feature_size` (bands), `hop_length`, `n_fft`.
        samples: (N,) float32, or a `Recording`.

    Attributes:
        shape: (bands, frames).
    """

    def __init__(self, config: Mapping[str, Any], samples: Any) -> None:
        size, self._hop = config.get("n_fft", 400), config.get("hop_length", 160)
        bands = config.get("feature_size", 80)
        self._how = Mel(sampling_rate(config), bands, size, self._hop, size, high=8000.0, centre=None)
        self._samples = samples
        self.shape = (bands, len(samples) // self._hop)
        self._short = self._logarithms(0, self.shape[1]) if self.shape[1] <= FRAMES else None
        starts = range(0, self.shape[1], FRAMES)
        # What is quieter than a hundred-millionth of the loudest place of the whole sound is as good as silent.
        blocks = [self._short] if self._short is not None else (self._logarithms(i, i + FRAMES) for i in starts)
        self._floor = max(float(block.max(initial=-10.0)) for block in blocks) - 8.0

    def __getitem__(self, key: tuple[slice, slice]) -> Floats:
        start, stop, _ = key[1].indices(self.shape[1])
        found = self._logarithms(start, stop) if self._short is None else self._short[:, start:stop]
        found = found[key[0]]
        return ((np.maximum(found, self._floor) + 4.0) / 4.0).astype(np.float32)

    def _logarithms(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """Of the energies of these frames, each with its sample in the middle; the sound is reflected at its ends."""
        stop, half = min(stop, self.shape[1]), self._how.frame // 2
        first = start * self._hop - half
        last = max(start, stop - 1) * self._hop - half + self._how.frame
        inside = self._samples[max(0, first) : last]
        around = np.pad(inside, (max(0, -first), max(0, last - len(self._samples))), mode="reflect")
        return np.log10(np.maximum(1e-10, mel.energies(around, self._how)))[:, : max(0, stop - start)]


def _kaldi(samples: Floats, how: Mel) -> Floats:
    """(frames, bands) natural logarithms of the energies, bands after one another in memory."""
    found = mel.energies(samples, how)
    if not found.shape[1]:
        raise InputError(f"the sound is shorter than one frame ({1000 * how.width / how.rate:.0f} ms)")
    return np.log(np.maximum(KALDI_FLOOR, found)).astype(np.float32).T


def _spectrogram_transformer(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """(`max_length`, bands), filled up with zeros or cut, then brought to the deviation of AudioSet."""
    length, bands = config.get("max_length", 1024), config.get("num_mel_bins", 128)
    found = _kaldi(samples, mel.kaldi(sampling_rate(config), bands, "hann"))[:length]
    filled: np.ndarray = np.pad(found, ((0, length - len(found)), (0, 0)))
    if config.get("do_normalize", True):
        filled = (filled - config.get("mean", -4.2677393)) / (config.get("std", 4.5689974) * 2)
    return {"input_values": filled.astype(np.float32)}


def _seamless(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """Kaldi's frames with mean 0 and deviation 1 in each band, `stride` of them side by side."""
    bands, stride = config.get("num_mel_bins", 80), config.get("stride", 2)
    found = _kaldi(samples * np.float32(2**15), mel.kaldi(sampling_rate(config), bands))
    if len(found) < 2:
        raise InputError("the sound is shorter than two frames (35 ms)")
    # In single precision, as the original: where all is silent, its rounding is what remains.
    found = (found - found.mean(0)[None]) / np.sqrt(found.var(0, ddof=1)[None] + 1e-7)
    mask = np.ones(len(found), np.int64)
    if len(found) % 2:  # the original fills up to an even number
        value = np.float32(config.get("padding_value", 0.0))
        found = np.pad(found, ((0, 1), (0, 0)), constant_values=value)
        mask = np.pad(mask, (0, 1))
    frames = len(found) // stride
    found = np.ascontiguousarray(found[: frames * stride]).reshape(frames, stride * bands)
    return {"input_features": found, "attention_mask": mask[: frames * stride].reshape(frames, stride)[:, 1 % stride]}


def _speech_to_text(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """Kaldi's frames, each band with mean 0 and deviation 1 where the configuration asks for it."""
    found = _kaldi(samples * np.float32(2**15), mel.kaldi(sampling_rate(config), config.get("num_mel_bins", 80)))
    found = np.ascontiguousarray(found)  # sums are rounded in the order of the original
    if config.get("do_ceptral_normalize", True):
        if config.get("normalize_means", True):
            found = found - found.mean(axis=0)
        if config.get("normalize_vars", True):
            deviation = found.std(axis=0)
            found = (found / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    return {"input_features": found.astype(np.float32), "attention_mask": np.ones(len(found), np.int64)}


def _lasr(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """Natural logarithms of the energies between 125 and 7500 Hz."""
    width, hop, size = config.get("win_length", 400), config.get("hop_length", 160), config.get("n_fft", 512)
    rate, bands = sampling_rate(config), config.get("feature_size", 128)
    how = Mel(rate, bands, width, hop, size, "hann", False, 125.0, 7500.0, "kaldi", False, True, None, rounded=False)
    found = np.log(np.maximum(1e-5, mel.energies(samples, how))).T
    if not len(found):
        raise InputError(f"the sound is shorter than one frame ({1000 * width / rate:.0f} ms)")
    return {"input_features": found.astype(np.float32), "attention_mask": np.ones(len(found), np.int64)}


def _clap(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """(1 or 4, frames, bands) in decibels of `max_length_s` seconds, and `is_longer` (1,) bool.

    What is shorter is repeated; of what is longer the original takes random pieces, and here the first of each range
    is taken: of `rand_trunc` the beginning, of `fusion` the beginning of each third beside the whole, shrunk.
    """
    rate, hop = sampling_rate(config), config.get("hop_length", 480)
    length = int(config.get("nb_max_samples") or config.get("max_length_s", 10) * rate)
    size = config.get("fft_window_size", 1024)
    fusion = config.get("truncation", "fusion") == "fusion"
    low, high = config.get("frequency_min", 0), config.get("frequency_max", 14000)
    bands = config.get("feature_size", 64)
    how = Mel(rate, bands, size, hop, size, low=low, high=high, scale="htk" if fusion else "slaney", area=not fusion)

    def decibels(part: np.ndarray) -> np.ndarray:
        return (10.0 * np.log10(np.maximum(1e-10, mel.energies(part, how)))).astype(np.float32).T

    longer = len(samples) > length
    if not longer and (padding := config.get("padding", "repeatpad")) in ("repeat", "repeatpad"):
        samples = np.tile(samples, length // len(samples) + (padding == "repeat"))[:length]
    if not fusion or not longer:
        found = decibels(np.pad(samples[:length], (0, max(0, length - len(samples)))))
        parts = [found] * (4 if fusion else 1)
    else:
        found = decibels(samples)
        frames = length // hop + 1
        starts = [int(r[0]) if len(r) else 0 for r in np.array_split(np.arange(len(found) - frames + 1), 3)]
        parts = [found] * 4
        if len(found) > frames:
            parts = [_shrink(found, frames), *(found[start : start + frames] for start in starts)]
    # The original says of one sound alone that it is longer, whatever it is, so that all are fused.
    return {"input_features": np.stack(parts), "is_longer": np.array([longer or fusion])}


def _mel(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """(frames, bands) of any mel spectrogram, by the settings of librosa and with its defaults.

    `logarithm` is `ln`, `log10`, `db` or null, of `max(floor, x)`, or of `x + offset`; `db` counts from `reference` (a
    number, or `max` of the sound) and is cut `top_db` below its highest. Then `mean` is subtracted, divided by `std`.
    """
    size, rate = int(config.get("n_fft", 2048)), sampling_rate(config)
    centre, scale = config.get("center", True), config.get("mel_scale", "slaney")
    continued, power = config.get("pad_mode", "constant"), config.get("power", 2)
    if scale not in ("slaney", "htk") or continued not in ("constant", "reflect") or power not in (1, 2):
        raise CallError("mel_scale should be slaney or htk, pad_mode constant or reflect, power 1 or 2")
    how = Mel(
        rate, int(config.get("n_mels", 128)), int(config.get("win_length") or size), int(config.get("hop_length", 512)),
        size, low=float(config.get("fmin", 0)), high=float(config.get("fmax") or rate / 2), scale=scale,
        area=config.get("norm", "slaney") == "slaney", centre=continued if centre else None, framed=bool(centre),
        rounded=False, power=power,
    )  # fmt: skip
    found = mel.energies(samples, how)
    if not found.shape[1]:
        raise InputError(f"the sound is shorter than one frame ({1000 * how.frame / rate:.0f} ms)")
    kind = config.get("logarithm", "ln")
    if kind not in LOGARITHMS:
        raise CallError(f"logarithm '{kind}' is none of {', '.join(str(name) for name in LOGARITHMS)}")
    if kind is not None:
        if kind == "db":
            reference = config.get("reference", 1.0)
            found = found / (max(found.max(), 1e-10) if reference == "max" else float(reference))
        offset = float(config.get("offset", 0.0))
        found = LOGARITHMS[kind](found + offset if offset else np.maximum(float(config.get("floor", 1e-10)), found))
        if kind == "db" and config.get("top_db") is not None:
            found = np.maximum(found, found.max() - float(config["top_db"]))
    found = (found - float(config.get("mean", 0.0))) / float(config.get("std", 1.0))
    return {"input_features": found.T.astype(np.float32)}


LOGARITHMS: dict[str | None, Callable[[Any], Any]] = {
    "ln": np.log,
    "log10": np.log10,
    "db": lambda x: 10 * np.log10(x),
    None: np.asarray,
}


def _shrink(found: Floats, frames: int) -> Floats:
    """Fewer frames, by linear interpolation between their centres."""
    scale = float(np.float32(len(found)) / np.float32(frames))
    places = np.maximum((np.arange(frames) + 0.5) * scale - 0.5, 0).astype(np.float32)
    first = np.minimum(places.astype(np.int64), len(found) - 1)
    share = (places - first.astype(np.float32))[:, None]
    return np.asarray(found[first] * (1 - share) + found[np.minimum(first + 1, len(found) - 1)] * share, np.float32)


def _codec(config: Mapping[str, Any], samples: Floats) -> dict[str, np.ndarray]:
    """(channels, samples) for a neural codec, filled up to whole steps where it has a `hop_length`."""
    channels, hop = config.get("feature_size", 1), config.get("hop_length") or 1
    filled = np.pad(samples, (0, -len(samples) % hop))
    mask = (np.arange(len(filled)) < len(samples)).astype(np.int64)
    return {"input_values": np.tile(filled, (channels, 1)), "padding_mask": mask}


EXTRACTORS: dict[str, Callable[[Mapping[str, Any], Floats], dict[str, np.ndarray]]] = {
    "ASTFeatureExtractor": _spectrogram_transformer,
    "ClapFeatureExtractor": _clap,
    "DacFeatureExtractor": _codec,
    "EncodecFeatureExtractor": _codec,
    "LasrFeatureExtractor": _lasr,
    "MelSpectrogram": _mel,
    "ParakeetFeatureExtractor": _parakeet,
    "SeamlessM4TFeatureExtractor": _seamless,
    "Speech2TextFeatureExtractor": _speech_to_text,
    "SpeechT5FeatureExtractor": _raw,
    "Wav2Vec2FeatureExtractor": _raw,
    "WhisperFeatureExtractor": _whisper,
}
RATES = {"ClapFeatureExtractor": 48000, "DacFeatureExtractor": 16000, "EncodecFeatureExtractor": 24000}
