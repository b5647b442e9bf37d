"""Automatic speech recognition: what is said in a sound, and when."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, TypeVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media import audio, charts, drawing, text
from sensorium.media.audio import Audio
from sensorium.ops import batches, ctc, edit_distance, transducer, whisper
from sensorium.ops.generation import Decoder, Settings, generate
from sensorium.ops.listening import STRIDE, Listener, Reading
from sensorium.tasks import Arrays, Nets, Tally

MAX_SECONDS = 1800
"""Longest sound that is taken in one piece."""

GENERATING = ("ForConditionalGeneration", "ForSpeechToText", "SpeechEncoderDecoderModel")
"""Endings of architectures that write the text token by token."""

AT_ONCE = 16
"""Pieces of sound that are heard together."""

IN_MEMORY = 32
"""Pieces of sound that are prepared together."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of what is said and when: [start, end] in seconds, None for a time that the model did not tell."""

    text: str
    timestamp: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said.

    Attributes:
        text: all of it.
        chunks: its parts with their times, where they were asked for.
    """

    text: str
    chunks: list[Chunk] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """A part of a sound.

    Attributes:
        stride: samples of the part, and of its overlaps with the one before and the one after; None for a whole sound.
    """

    sound: Audio
    stride: tuple[int, int, int] | None = None


@dataclass
class Task:
    """What the folder's files say.

    Attributes:
        config: config.json: `pad_token_id` (the blank), and how the network takes samples or frames together:
            `conv_kernel` and `conv_stride` (wav2vec2 and its relatives) or `encoder_config` (Parakeet).
        preprocessor: preprocessor_config.json: `feature_extractor_type`, `sampling_rate` ...
        tokenizer_config: tokenizer_config.json: `pad_token`, `word_delimiter_token`, `do_lower_case`.
        vocabulary: vocab.json: token to number; empty where tokenizer.json says how to decode.
        tokenizer: the text of tokenizer.json; empty where there is none.
        generation: generation_config.json, of models that write token by token.
    """

    config: dict[str, Any]
    preprocessor: dict[str, Any]
    tokenizer_config: dict[str, Any]
    vocabulary: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = ""
    generation: dict[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "automatic-speech-recognition"
    architectures: ClassVar[tuple[str, ...]] = (
        "ForCTC",
        "ForRNNT",
        "ForTDT",
        "ForSpeechToText",
        "SpeechEncoderDecoderModel",
        "WhisperForConditionalGeneration",
        "Speech2TextForConditionalGeneration",
        "MoonshineForConditionalGeneration",
    )
    source: ClassVar[str] = "audio"
    truth: ClassVar[str] = "text"
    metric: ClassVar[str] = "wer"
    lower_is_better: ClassVar[bool] = True
    evaluation: ClassVar[dict[str, Any]] = {}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        config = files.get("config.json")
        if not isinstance(config, dict):
            raise InputError("config.json is missing: automatic-speech-recognition needs it")
        preprocessor = audio.extractor(files)
        vocabulary, tokenizer = files.get("vocab.json", {}), files.get("tokenizer.json", "")
        if not vocabulary and not tokenizer:
            raise InputError("vocab.json and tokenizer.json are missing: automatic-speech-recognition needs one")
        settings = files.get("tokenizer_config.json", {})
        generation = files.get("generation_config.json", {})
        return cls(config, preprocessor, settings, vocabulary, tokenizer, generation)

    def files(self) -> dict[str, Any]:
        written: dict[str, Any] = {
            "config.json": self.config,
            "preprocessor_config.json": self.preprocessor,
            "tokenizer_config.json": self.tokenizer_config,
        }
        if self.vocabulary:
            written["vocab.json"] = self.vocabulary
        if self.tokenizer:
            written["tokenizer.json"] = self.tokenizer
        if self.generation:
            written["generation_config.json"] = self.generation
        return written

    @cached_property
    def generates(self) -> bool:
        """Whether the text is written token by token, and not read off the frames."""
        names = [str(name) for name in self.config.get("architectures") or []]
        return any(name.endswith(GENERATING) for name in names) or self.is_whisper

    @cached_property
    def is_whisper(self) -> bool:
        """Whether it works on pieces of a fixed length and writes times among the words, as Whisper does."""
        return self.config.get("model_type") == "whisper"

    @cached_property
    def padding(self) -> dict[str, float]:
        """Values that fill up the shorter sounds of a batch; none where filling would change the answer."""
        return {} if self.generates else audio.padding(self.config, self.preprocessor)

    @property
    def rate(self) -> int:
        """Samples per second that the network takes."""
        return audio.sampling_rate(self.preprocessor)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Token to number, where decoding goes by characters; empty where tokenizer.json joins pieces of words."""
        found = self.vocabulary
        if not found:
            document = json.loads(self.tokenizer)
            if (document.get("decoder") or {}).get("type") == "CTC":
                found = document["model"]["vocab"]
        if any(isinstance(value, dict) for value in found.values()):  # one vocabulary for each language
            found = found[self.tokenizer_config.get("target_lang") or next(iter(found))]
        return {str(token): int(number) for token, number in found.items()}

    @cached_property
    def blank(self) -> int:
        """The label that stands for nothing."""
        pad = self.tokenizer_config.get("pad_token")
        pad = pad.get("content") if isinstance(pad, dict) else pad
        if pad in self.numbers:
            return self.numbers[pad]
        return int(self.config.get("pad_token_id") or 0)

    @cached_property
    def _tokens(self) -> list[str]:
        """What each label says: a space for the word delimiter."""
        size = max(self.numbers.values(), default=-1) + 1
        if size > 1 << 20:
            raise InputError(f"vocab.json: numbers a token {size - 1}")
        delimiter = self.tokenizer_config.get("word_delimiter_token", "|")
        tokens = [""] * size
        for token, number in self.numbers.items():
            tokens[number] = " " if token == delimiter else token
        return tokens

    @cached_property
    def _decoder(self) -> Any:
        return text.tokenizer(self.tokenizer)

    def open(self, source: Any) -> Audio:
        return audio.load(source, self.rate)

    def prepare(self, source: Audio) -> Arrays:
        """`input_features` or `input_values` float32, and mostly `attention_mask` int64."""
        arrays = audio.features(self.preprocessor, source)
        if not self.generates and self.frames(_length(arrays)) < 1:
            raise InputError(f"the sound is too short for this model ({1000 * source.seconds:.0f} ms)")
        return arrays

    def frames(self, length: int) -> int:
        """How many frames the network answers for so many samples, or frames of features."""
        for kernel, stride, padding in self._convolutions:
            length = (length + 2 * padding - kernel) // stride + 1
        return max(0, length)

    @cached_property
    def _convolutions(self) -> list[tuple[int, int, int]]:
        """Kernel, stride and padding of the layers that shorten."""
        found: list[tuple[int, int, int]] = []
        if "encoder_config" in self.config or "subsampling_conv_stride" in self.config:
            encoder = self.config.get("encoder_config", self.config)
            kernel, stride = encoder.get("subsampling_conv_kernel_size", 3), encoder.get("subsampling_conv_stride", 2)
            if "subsampling_factor" not in encoder:  # two layers, at whose ends nothing is added
                return [(kernel, stride, 0)] * 2
            layers = int(encoder["subsampling_factor"]).bit_length() - 1
            return [(kernel, stride, (kernel - 1) // 2)] * layers
        if "conv_kernel" in self.config and "feature_projection_input_dim" not in self.config:
            found = [(k, s, 0) for k, s in zip(self.config["conv_kernel"], self.config["conv_stride"])]
        if self.config.get("add_adapter"):
            stride, layers = self.config.get("adapter_stride", 2), self.config.get("num_adapter_layers", 3)
            plain = "feature_projection_input_dim" not in self.config
            kernel = self.config.get("adapter_kernel_size", 3)
            found += [(kernel, stride, 1 if plain else stride // 2)] * layers
        return found

    @cached_property
    def samples_per_frame(self) -> int:
        """Samples that one frame of the answer stands for."""
        steps = int(np.prod([stride for _, stride, _ in self._convolutions], dtype=np.int64))
        return steps * audio.samples_per_step(self.preprocessor)

    def decode(
        self, outputs: Arrays, source: Audio, *, return_timestamps: bool = False, granularity: str = "word"
    ) -> Transcript:
        """The words that the frames of a whole sound say.

        Options:
            return_timestamps: whether to tell when each word is said
            granularity: what has times: `word` or `char`
        """
        length = len(source.samples) // audio.samples_per_step(self.preprocessor)
        logits = outputs["logits"][: self.frames(length)]
        return self._said(self._labels(logits), source.seconds, granularity if return_timestamps else None)

    def _labels(self, logits: np.ndarray) -> np.ndarray:
        """The best label of each frame."""
        if self.numbers and logits.shape[-1] < len(self._tokens):
            raise InputError(f"the network answers {logits.shape[-1]} labels, vocab.json has {len(self._tokens)}")
        return np.asarray(np.argmax(logits, axis=-1))

    def _said(self, labels: np.ndarray, seconds: float, granularity: str | None) -> Transcript:
        """What labels of frames say, with times of words or characters."""
        return self._told(ctc.runs(labels, self.blank), seconds, granularity)

    def _transduced(self, nets: Nets, source: Audio, pieces: Iterable[Piece], granularity: str | None) -> Transcript:
        """What a transducer hears in the pieces of a sound."""
        blank = self._setting(self.config, "blank_token_id")
        start = self._setting(self.generation, "decoder_start_token_id", "blank_token_id")
        durations = self.config.get("durations", range(5)) if self.config.get("model_type") != "parakeet_rnnt" else None
        most = int(self.config.get("max_symbols_per_step", 10))
        found: list[ctc.Run] = []
        before = 0
        for group in _several(pieces):
            items = [self.prepare(piece.sound) for piece in group]
            heard = dict(batches.outputs(nets["encoder_model"], items, self.padding, AT_ONCE))
            for i, piece in enumerate(group):
                frames = heard[i]["last_hidden_state"][: self.frames(_length(items[i]))]
                own = self._own(piece, np.arange(len(frames)))
                longest = most * self.frames(len(next(iter(items[i].values())))) - 1  # as `generate` has it
                said = transducer.greedy(
                    nets, frames, blank=blank, start=start, longest=longest, durations=durations, most=most
                )
                shift = before - int(own[0]) if len(own) else 0
                inside = [run for run in said if len(own) and own[0] <= run.start <= own[-1]]
                found += [ctc.Run(run.label, run.start + shift, run.end + shift) for run in inside]
                before += len(own)
        return self._told(found, source.seconds, granularity)

    def _told(self, found: Sequence[ctc.Run], seconds: float, granularity: str | None) -> Transcript:
        """What tokens say, with times of words or characters."""
        if self.numbers:
            pieces = [self._tokens[r.label] if r.label < len(self._tokens) else "" for r in found]
            said = "".join(pieces).strip()
            if self.tokenizer_config.get("do_lower_case"):
                said, pieces = said.lower(), [piece.lower() for piece in pieces]
        else:
            said = text.decode(self._decoder, [r.label for r in found]).strip()
            names = [self._decoder.id_to_token(r.label) or "" for r in found]
            pieces = [name.replace("▁", " ") for name in names]
        if granularity is None:
            return Transcript(said)
        at = self.samples_per_frame / self.rate
        if granularity == "char":
            spans = [(piece, run.start, run.end) for piece, run in zip(pieces, found)]
        elif granularity in ("word", "segment"):
            spans = ctc.spans(pieces, found)
        else:
            raise CallError(f"granularity is 'word' or 'char', not '{granularity}'")
        times = [(word, round(start * at, 4), round(min(end * at, seconds), 4)) for word, start, end in spans]
        return Transcript(said, [Chunk(word, (start, end)) for word, start, end in times])

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Audio],
        *,
        return_timestamps: bool = False,
        granularity: str | None = None,
        chunk_length_s: float | None = None,
        stride_length_s: float | None = None,
        language: str | None = None,
        translate: bool = False,
        num_beams: int | None = None,
        max_new_tokens: int | None = None,
    ) -> list[Transcript]:
        """The words.

        Options:
            return_timestamps: whether to tell when it is said
            granularity: what has times: `word`, `char` (of models that answer frame by frame) or `segment` (Whisper)
            chunk_length_s: seconds of the pieces that a long sound is heard in; none for the whole
            stride_length_s: seconds by which pieces overlap at each end; none for a sixth of their length
            language: that is spoken, of models that know several: a code or an English name
            translate: write it in English, as Whisper can
            num_beams: texts that are followed side by side, of models that write token by token
            max_new_tokens: longest text of one piece, in tokens
        """
        chosen: str | None = granularity or ("segment" if self.is_whisper else "word")
        if isinstance(return_timestamps, str):  # as Hugging Face's pipelines take it
            chosen, return_timestamps = return_timestamps, True
        if not return_timestamps:
            chosen = None
        pieces = [self.pieces(source, chunk_length_s, stride_length_s) for source in sources]
        given = {"num_beams": num_beams, "max_new_tokens": max_new_tokens}
        settings = {**self.generation, **{name: value for name, value in given.items() if value is not None}}
        if self.is_whisper:
            return list(self._heard(nets, pieces, settings, chosen, language, "translate" if translate else None))
        if self.generates:
            if chosen is not None:
                raise CallError("this model does not tell times")
            return [Transcript(said) for said in self._written(nets, pieces, settings)]
        if "joint_model" in nets:
            return [self._transduced(nets, source, own, chosen) for source, own in zip(sources, pieces)]
        labels: list[list[np.ndarray]] = [[] for _ in sources]
        for group in _several((number, piece) for number, own in enumerate(pieces) for piece in own):
            items = [self.prepare(piece.sound) for _, piece in group]
            found = dict(batches.outputs(nets["model"], items, self.padding, AT_ONCE))
            for i, (number, piece) in enumerate(group):
                frames = self._labels(found[i]["logits"][: self.frames(_length(items[i]))])
                labels[number].append(self._own(piece, frames))
        return [self._said(np.concatenate(own), source.seconds, chosen) for source, own in zip(sources, labels)]

    def pieces(self, source: Audio, seconds: float | None, stride: float | None) -> Iterator[Piece]:
        """The pieces of a sound that are heard one by one: equal ones that overlap, or the whole.

        Raises:
            InputError: the overlaps are longer than the pieces, or the whole is too long to be heard at once.
        """
        if not seconds:
            if source.seconds > MAX_SECONDS and not self.is_whisper:
                raise InputError(
                    f"the sound lasts {source.seconds:.0f} s; at most {MAX_SECONDS} s are heard at once: "
                    "give chunk_length_s, for example 20"
                )
            yield Piece(source)
            return
        step = 1 if self.generates else self.samples_per_frame
        overlap = seconds / 6 if stride is None else stride
        length, side = (round(value * self.rate / step) * step for value in (seconds, overlap))
        if length <= 2 * side or side < 0:
            raise CallError(f"pieces of {seconds:g} s cannot overlap by {overlap:g} s at each end")
        for start in range(0, len(source.samples), length - 2 * side):
            part = source.samples[start : start + length]
            last = start + length >= len(source.samples)
            left, right = side if start else 0, 0 if last else side
            if len(part) > left:
                yield Piece(Audio(part, self.rate), (len(part), left, right))
            if last:
                return

    def _own(self, piece: Piece, labels: np.ndarray) -> np.ndarray:
        """The labels of a piece without those of its overlaps."""
        if piece.stride is None:
            return labels
        length, left, right = piece.stride
        frames = round(length / self.samples_per_frame)
        return labels[round(left / length * frames) : frames - round(right / length * frames)]

    def _written(self, nets: Nets, pieces: Sequence[Iterable[Piece]], settings: dict[str, Any]) -> Iterator[str]:
        """The texts that an encoder and a decoder write, those of a sound's pieces joined where they agree."""
        special = self._special
        texts: list[list[int]] = [[] for _ in pieces]
        for several in _several((number, piece) for number, own in enumerate(pieces) for piece in own):
            written = self._tokens_of(nets, [piece.sound for _, piece in several], settings)
            for (number, _), tokens in zip(several, written):
                joined, new = texts[number], [token for token in tokens if token not in special]
                joined += new[_overlap(joined, new) if joined else 0 :]
        for joined in texts:
            yield self._text(joined).strip()

    def _tokens_of(self, nets: Nets, sounds: Sequence[Audio], settings: dict[str, Any]) -> list[list[int]]:
        """The tokens that an encoder and a decoder write of each sound."""
        items = [self.prepare(sound) for sound in sounds]
        found: list[list[int]] = [[] for _ in items]
        start = self._setting(settings, "decoder_start_token_id", "bos_token_id")
        search = Settings.of(settings, prompt=1)
        for group in batches.alike(items, self.padding):
            for first in range(0, len(group), AT_ONCE):
                rows = group[first : first + AT_ONCE]
                encoded = batches.answers(
                    nets["encoder_model"], batches.collate([items[i] for i in rows], self.padding)
                )
                states = encoded["last_hidden_state"]
                fixed = {"encoder_hidden_states": states, "encoder_attention_mask": np.ones(states.shape[:2], np.int64)}
                decoder = Decoder(nets["decoder_model_merged"], fixed, len(rows))
                prompt = np.full((len(rows), 1), start, np.int64)
                for i, tokens in zip(rows, generate(decoder, prompt, search)):
                    found[i] = tokens
        return found

    def _heard(
        self,
        nets: Nets,
        pieces: Sequence[Iterable[Piece]],
        settings: dict[str, Any],
        granularity: str | None,
        language: str | None,
        task: str | None,
    ) -> Iterator[Transcript]:
        """What Whisper hears in the pieces of each sound."""
        if granularity not in (None, "segment", "word"):
            raise CallError(f"granularity is 'segment' or 'word', not '{granularity}'")
        for name in ("decoder_start_token_id", "eos_token_id", "forced_decoder_ids", "suppress_tokens"):
            settings.setdefault(name, self.config.get(name))
        hop = int(self.preprocessor.get("hop_length", 160))
        precision = hop * STRIDE / self.rate
        words = granularity == "word"
        listener = Listener(nets, self.config, settings, precision, granularity is not None, words, language, task)
        known = whisper.Vocabulary(
            listener.begin, listener.eos, self._special, lambda tokens: text.decode(self._decoder, tokens)
        )
        for own in pieces:
            heard: list[whisper.Piece] = []
            for group in _several(own):
                readings = [self._reading(piece, listener.size * hop) for piece in group]
                if group[0].stride is None and granularity is None and readings[0].features.shape[1] > listener.size:
                    listener.times = True  # without times, nothing says where to go on
                heard += listener.hear(readings)
            parts = whisper.join(heard, known, precision, listener.size // STRIDE, words)
            said = "".join(part.text for part in parts)
            if words:
                parts = [word for part in parts for word in part.words]
            yield Transcript(said, [Chunk(part.text, part.timestamp) for part in parts] if granularity else [])

    def _reading(self, piece: Piece, least: int) -> Reading:
        """A piece for Whisper, filled up to so many samples."""
        samples: Any = piece.sound.samples
        if len(samples) < least:
            samples = np.pad(samples, (0, least - len(samples)))
        stride = None
        if piece.stride is not None:
            length, left, right = piece.stride
            stride = (length / self.rate, left / self.rate, right / self.rate)
        sounding = -(-len(piece.sound.samples) // int(self.preprocessor.get("hop_length", 160)))
        return Reading(audio.Spectrogram(self.preprocessor, samples), sounding, stride)

    def _text(self, tokens: list[int]) -> str:
        """The text of tokens: by tokenizer.json, or else from the pieces of words in vocab.json."""
        if self.tokenizer:
            return text.decode(self._decoder, tokens)
        pieces = {number: piece for piece, number in self.numbers.items()}
        said = "".join(pieces.get(token, "") for token in tokens).replace("▁", " ")
        return said.upper() if self.tokenizer_config.get("do_upper_case") else said

    def _setting(self, settings: Mapping[str, Any], *names: str) -> int:
        """The first of these values that generation_config.json or config.json says."""
        nested = [self.config.get(part) or {} for part in ("decoder", "text_config")]
        for name in names:
            for place in (settings, self.config, *nested):
                value = place.get(name)
                if isinstance(value, int):
                    return value
        raise CallError(f"neither generation_config.json nor config.json says '{names[0]}'")

    @cached_property
    def _special(self) -> frozenset[int]:
        """Tokens that say nothing."""
        if not self.tokenizer:
            return frozenset(number for piece, number in self.numbers.items() if re.fullmatch("<.*>", piece))
        added = self._decoder.get_added_tokens_decoder()
        return frozenset(number for number, token in added.items() if token.special)

    def tally(self, prediction: Transcript, truth: str, nets: Nets) -> Tally:
        """Word and character errors; the quality is one minus the word error rate."""
        row = edit_distance.counts(truth, prediction.text)
        return Tally(1 - row[0] / max(1, row[1]) - 1e-3 * row[2] / max(1, row[3]), row)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Word and character error rate over all examples together."""
        return edit_distance.rates([t.stats for t in tallies])

    def baseline(self, sources: Sequence[Any], truths: Sequence[str]) -> Callable[[Any], Transcript]:
        """Always the most common transcript."""
        counts = Counter(truths)
        answer = Transcript(min(counts, key=lambda said: (-counts[said], said)) if counts else "")
        return lambda source: answer

    def draw(self, source: Any, result: Transcript, truth: str | None = None) -> Image.Image:
        """The loudness over time, with what was heard below it, and what was said where that is known."""
        found = self.open(source)
        picture = charts.sound(found.samples, found.seconds)
        picture = drawing.caption(picture, f"heard: {result.text or '(nothing)'}", 8)
        return picture if truth is None else drawing.caption(picture, f"said: {truth}", 8)


def _several(pieces: Iterable[T]) -> Iterator[list[T]]:
    """As many pieces at a time as are kept in memory."""
    waiting = iter(pieces)
    while group := list(islice(waiting, IN_MEMORY)):
        yield group


def _length(arrays: Arrays) -> int:
    """Samples, or frames of features, that are sound."""
    mask = arrays.get("attention_mask")
    return len(next(iter(arrays.values()))) if mask is None else int(mask.sum())


def _overlap(before: Sequence[int], after: Sequence[int]) -> int:
    """How many tokens at the beginning of one text repeat the end of the one before."""
    found, best = 0, 0.0
    for i in range(1, len(after) + 1):
        end = before[-i:]
        matches = sum(a == b for a, b in zip(end, after[:i])) if len(end) == i else 0
        if matches > 1 and matches / i + i / 10000 > best:
            found, best = i, matches / i + i / 10000
    return found


def ctc_tokenizer(vocabulary: Mapping[str, int], blank: str, delimiter: str) -> str:
    """tokenizer.json that decodes labels of frames, for runtimes that do not read vocab.json."""
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": delimiter},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": {"type": "CTC", "pad_token": blank, "word_delimiter_token": delimiter, "cleanup": True},
        "model": {"type": "WordLevel", "vocab": dict(vocabulary), "unk_token": "<unk>"},
    }
    return json.dumps(document, ensure_ascii=False)
