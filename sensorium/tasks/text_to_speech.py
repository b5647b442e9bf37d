"""Text to speech: a text, spoken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media import audio, charts, drawing, text
from sensorium.media.audio import Audio
from sensorium.ops import speech
from sensorium.ops.generation import Decoder
from sensorium.tasks import Arrays, Nets, Tally

RATES = {"style_text_to_speech_2": 24000, "vits": 16000, "speecht5": 16000}
"""Samples per second of families whose config.json does not say it."""

LONGEST = 4000
"""Most characters of one text."""

SOUNDS = ("waveform", "audio", "output")
"""What networks call the sound that they answer."""


@dataclass(frozen=True, eq=False)
class Speech:
    """A sound.

    Attributes:
        audio: (N,) float32, -1..1.
        sampling_rate: samples per second.
    """

    audio: np.ndarray
    sampling_rate: int


@dataclass
class Task:
    """What the folder's files say.

    Attributes:
        config: config.json; of a Piper voice also `phoneme_id_map`, `audio`, `inference`.
        preprocessor: preprocessor_config.json of SpeechT5, for its rate.
        tokenizer: the text of tokenizer.json; empty where there is none.
        tokenizer_config: tokenizer_config.json: of VITS `normalize`, `add_blank`, `language`.
        vocabulary: vocab.json of VITS: character to number.
        voices: speakers by name, each an array of what the network is told of it.
    """

    config: dict[str, Any]
    preprocessor: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = field(default="", repr=False)
    tokenizer_config: dict[str, Any] = field(default_factory=dict)
    vocabulary: dict[str, int] = field(default_factory=dict)
    voices: dict[str, Any] = field(default_factory=dict, repr=False)

    name: ClassVar[str] = "text-to-speech"
    architectures: ClassVar[tuple[str, ...]] = ("VitsModel", "ForTextToSpeech")
    source: ClassVar[str] = "text"
    truth: ClassVar[str] = "audio"
    metric: ClassVar[str] = "mcd"
    lower_is_better: ClassVar[bool] = True
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        config = files.get("config.json")
        if not isinstance(config, dict):
            raise InputError("config.json is missing: text-to-speech needs it")
        if not any(name in files for name in ("tokenizer.json", "vocab.json")) and "phoneme_id_map" not in config:
            raise InputError("tokenizer.json and vocab.json are missing: text-to-speech needs one")
        return cls(
            config,
            files.get("preprocessor_config.json", {}),
            files.get("tokenizer.json", ""),
            files.get("tokenizer_config.json", {}),
            files.get("vocab.json", {}),
            {name: np.asarray(values, np.float32).tolist() for name, values in files.get("voices.json", {}).items()},
        )

    def files(self) -> dict[str, Any]:
        found = {
            "config.json": self.config,
            "preprocessor_config.json": self.preprocessor,
            "tokenizer.json": self.tokenizer,
            "tokenizer_config.json": self.tokenizer_config,
            "vocab.json": self.vocabulary,
            "voices.json": self.voices,
        }
        return {name: content for name, content in found.items() if content}

    @property
    def rate(self) -> int:
        """Samples per second of the answer."""
        for place in (self.config, self.config.get("audio") or {}, self.preprocessor):
            for name in ("sampling_rate", "sample_rate"):
                if place.get(name):
                    return int(place[name])
        return RATES.get(str(self.config.get("model_type")), 22050)

    @cached_property
    def _encoder(self) -> Any:
        return text.tokenizer(self.tokenizer)

    def open(self, source: Any) -> str:
        found = text.load(source)
        if len(found) > LONGEST:
            raise InputError(f"the text has {len(found)} characters; at most {LONGEST} are spoken at once: split it")
        return found

    def prepare(self, source: str) -> Arrays:
        """input_ids and attention_mask, (T,) int64: of characters, or of phonemes where the model speaks those.

        Raises:
            InputError: nothing in the text can be spoken.
        """
        ids = self._numbers(self.open(source))
        if not ids:
            raise InputError("the text has nothing that this model can speak")
        return {"input_ids": np.array(ids, np.int64), "attention_mask": np.ones(len(ids), np.int64)}

    def _numbers(self, said: str) -> list[int]:
        if known := self.config.get("phoneme_id_map"):  # Piper: a blank after each phoneme
            ids = list(known.get("^", []))
            for phoneme in said:
                if phoneme in known:
                    ids += [*known[phoneme], *known.get("_", [])]
            return [*ids, *known.get("$", [])] if len(ids) > 1 else []
        if self.vocabulary:
            return self._characters(said)
        return list(text.encode(self._encoder, said).ids) if said.strip() else []

    def _characters(self, said: str) -> list[int]:
        """As the tokenizer of VITS: letters that the vocabulary lacks become small, or are left out."""
        settings, known = self.tokenizer_config, self.vocabulary
        if settings.get("normalize", True):
            said = _small(said, list(known))
        if settings.get("language") == "ron":
            said = said.replace("ț", "ţ")
        if settings.get("normalize", True) and not settings.get("phonemize", True):
            said = "".join(c for c in said if c in known).strip()
        unknown = known.get(_token(settings.get("unk_token", "<unk>")))
        ids = [number for number in (known.get(c, unknown) for c in said) if number is not None]
        if not ids or not settings.get("add_blank", True):
            return ids
        spaced = [0] * (2 * len(ids) + 1)
        spaced[1::2] = ids
        return spaced

    def predict(
        self,
        nets: Nets,
        sources: Sequence[str],
        *,
        speaker: str | None = None,
        speaker_embeddings: list[Any] | None = None,
        speaking_rate: float = 1.0,
        threshold: float = 0.5,
    ) -> list[Speech]:
        """Speak.

        Options:
            speaker: the name, or the number, of one of the model's voices; none for its first
            speaker_embeddings: numbers that describe another voice, as SpeechT5 takes them
            speaking_rate: how quickly, of models that take it: 2 is twice as fast
            threshold: how sure SpeechT5 must be that all has been said
        """
        if not speaking_rate > 0:
            raise CallError(f"speaking_rate must be above 0, not {speaking_rate}")
        answers = []
        for source in sources:
            arrays = self.prepare(source)
            ids = arrays["input_ids"]
            if "decoder_model_merged" in nets:
                voice = self._voice(speaker, speaker_embeddings)
                sound = self._step_by_step(nets, ids, np.ravel(voice), threshold)
            else:
                net = nets["model"]
                outputs = net(self._feeds(net, ids, speaker, speaker_embeddings, speaking_rate))
                sound = next((outputs[name] for name in SOUNDS if name in outputs), next(iter(outputs.values())))
            answers.append(Speech(np.ravel(sound).astype(np.float32), self.rate))
        return answers

    def _feeds(self, net: Any, ids: np.ndarray, speaker: str | None, given: Any, rate: float) -> Arrays:
        """What a network that speaks at once asks for, by the names that the families give it."""
        scales = self.config.get("inference") or {}
        noise, width = scales.get("noise_scale", 0.667), scales.get("noise_w", 0.8)
        found: Arrays = {
            "input_ids": ids[None],
            "tokens": ids[None],
            "input": ids[None],
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([noise, scales.get("length_scale", 1.0) / rate, width], np.float32),
            "speed": np.array([rate], np.float32),
            "speaking_rate": np.array([rate], np.float32),
        }
        if {"sid", "speaker_id"} & set(net.inputs):
            number = (self.config.get("speaker_id_map") or {}).get(speaker or "", speaker or 0)
            if not str(number).isdigit():
                raise CallError(f"this model has no speaker '{speaker}'")
            found["sid"] = found["speaker_id"] = np.array([int(number)], np.int64)
        if "style" in net.inputs:
            voice = self._voice(speaker, given)
            # A row for each length of the text.
            rows = voice.reshape(-1, voice.shape[-1])
            found["style"] = rows[min(len(ids) - 2, len(rows) - 1)][None]
        return {name: array for name, array in found.items() if name in net.inputs}

    def _voice(self, speaker: str | None, given: Any) -> np.ndarray:
        """What the network is told of the voice.

        Raises:
            InputError: there is no such voice.
        """
        if given is not None:
            try:
                return np.asarray(given, np.float32)
            except (TypeError, ValueError):
                raise CallError("speaker_embeddings: give numbers") from None
        if speaker is None and self.voices:
            return np.asarray(next(iter(self.voices.values())), np.float32)
        if speaker is not None and speaker in self.voices:
            return np.asarray(self.voices[speaker], np.float32)
        if speaker is None and (size := self.config.get("speaker_embedding_dim")):
            return np.zeros(int(size), np.float32)
        known = ", ".join(sorted(self.voices)[:20]) or "none in voices.json"
        raise CallError(f"this model has no voice '{speaker or ''}'; it has: {known}")

    def _step_by_step(self, nets: Nets, ids: np.ndarray, voice: np.ndarray, threshold: float) -> np.ndarray:
        """SpeechT5: a decoder that writes a spectrum frame by frame, and a vocoder that makes it sound."""
        size = int(self.config.get("speaker_embedding_dim", 512))
        if voice.shape != (size,):
            raise CallError(f"a voice of this model has {size} numbers, not {voice.size}")
        encoded = nets["encoder_model"]({"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int64)})
        states = encoded["encoder_outputs"]
        bands, factor = int(self.config.get("num_mel_bins", 80)), int(self.config.get("reduction_factor", 2))
        net = nets["decoder_model_merged"]
        mask = encoded.get("encoder_attention_mask", np.ones(states.shape[:2], np.int64))
        fixed = {"encoder_hidden_states": states, "encoder_attention_mask": mask, "speaker_embeddings": voice[None]}
        past = dict(Decoder(net, {}, 1).past)
        frame, frames = np.zeros((1, 1, bands), np.float32), []
        most = max(1, int(states.shape[1] * float(self.config.get("max_length_ratio", 20.0)) / factor))
        for step in range(most):
            feeds = {**fixed, **past, "output_sequence": frame, "use_cache_branch": np.array([step > 0])}
            outputs = net({name: array for name, array in feeds.items() if name in net.inputs})
            for name in past:
                if step == 0 or ".encoder." not in name:
                    past[name] = outputs[name.replace("past_key_values", "present")]
            frame = outputs["output_sequence_out"]
            frames.append(outputs["spectrum"].reshape(-1, bands))
            if outputs["prob"].sum() >= threshold:
                break
        return nets["decoder_postnet_and_vocoder"]({"spectrogram": np.concatenate(frames)})["waveform"]

    def tally(self, prediction: Speech, truth: Any, nets: Nets) -> Tally:
        """Mel-cepstral distortion from a recording of the same text, and how much longer it is."""
        wanted = audio.load(truth, speech.RATE)
        found = audio.load((prediction.audio, prediction.sampling_rate), speech.RATE)
        total, frames = speech.distortion(found.samples, wanted.samples)
        return Tally(1 / (1 + total / frames), (total, frames, found.seconds, wanted.seconds))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Mel-cepstral distortion in decibels, over all frames, and the ratio of the lengths."""
        total, frames, found, wanted = np.sum([t.stats for t in tallies], axis=0)
        return {"mcd": float(total / frames), "length_ratio": float(found / wanted)}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Speech]:
        """Always the known recording of middle length."""
        known = sorted((audio.load(truth) for truth in truths), key=lambda sound: sound.seconds)
        middle = known[len(known) // 2]
        return lambda source: Speech(middle.samples, middle.rate)

    def draw(self, source: Any, result: Speech, truth: Any = None) -> Image.Image:
        """The loudness over time, with the text below it."""
        picture = charts.sound(result.audio, len(result.audio) / result.sampling_rate)
        return drawing.caption(picture, self.open(source), 8)

    def save(self, result: Speech, target: Path) -> Path:
        """Write the sound as a WAV file; its path."""
        path = target.with_name(target.name + ".wav")
        audio.save(Audio(result.audio, result.sampling_rate), path)
        return path

    def truth_result(self, truth: Any) -> Speech:
        """The recording, to draw beside the answer."""
        found: Audio = audio.load(truth)
        return Speech(found.samples, found.rate)


def _token(value: Any) -> str:
    return str(value.get("content")) if isinstance(value, Mapping) else str(value)


def _small(said: str, known: list[str]) -> str:
    """Small letters, but for what is in the vocabulary as it is."""
    found, i = "", 0
    while i < len(said):
        match = next((word for word in known if word and said.startswith(word, i)), None)
        found += said[i].lower() if match is None else match
        i += 1 if match is None else len(match)
    return found
