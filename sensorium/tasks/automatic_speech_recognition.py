"""Automatic speech recognition: what is said in a sound, and when."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import audio, drawing, text
from sensorium.media.audio import Audio
from sensorium.ops import ctc, edit_distance
from sensorium.tasks import Arrays, Nets, Tally

MAX_SECONDS = 1800
"""Longest sound that is taken in one piece."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A word and when it is said: [start, end] in seconds."""

    text: str
    timestamp: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said.

    Attributes:
        text: all of it.
        chunks: the words with their times, where they were asked for.
    """

    text: str
    chunks: list[Chunk] = field(default_factory=list)


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
    """

    config: dict[str, Any]
    preprocessor: dict[str, Any]
    tokenizer_config: dict[str, Any]
    vocabulary: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = ""

    name: ClassVar[str] = "automatic-speech-recognition"
    source: ClassVar[str] = "audio"
    truth: ClassVar[str] = "text"
    metric: ClassVar[str] = "wer"
    lower_is_better: ClassVar[bool] = True
    evaluation: ClassVar[dict[str, Any]] = {}
    architectures: ClassVar[tuple[str, ...]] = ("ForCTC",)

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        for name in ("config.json", "preprocessor_config.json"):
            if not isinstance(files.get(name), dict):
                raise InputError(f"{name} is missing: automatic-speech-recognition needs it")
        vocabulary, tokenizer = files.get("vocab.json", {}), files.get("tokenizer.json", "")
        if not vocabulary and not tokenizer:
            raise InputError("vocab.json and tokenizer.json are missing: automatic-speech-recognition needs one")
        return cls(
            files["config.json"],
            files["preprocessor_config.json"],
            files.get("tokenizer_config.json", {}),
            vocabulary,
            tokenizer,
        )

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
        return written

    @cached_property
    def padding(self) -> dict[str, float]:
        """Values that fill up the shorter sounds of a batch; none where filling would change the answer."""
        if self.config.get("feat_extract_norm") == "group":  # normalised over time, filling included
            return {}
        return {"input_values": 0, "input_features": 0, "attention_mask": 0}

    @property
    def rate(self) -> int:
        """Samples per second that the network takes."""
        return int(self.preprocessor.get("sampling_rate", 16000))

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
        found = audio.load(source)
        if found.seconds > MAX_SECONDS:
            raise InputError(f"the sound lasts {found.seconds:.0f} s; at most {MAX_SECONDS} s are taken: split it")
        return audio.load(found, self.rate)

    def prepare(self, source: Audio) -> Arrays:
        """input_features (frames, bands) or input_values (samples,) float32, and attention_mask int64."""
        arrays = audio.features(self.preprocessor, source)
        if self.frames(int(arrays["attention_mask"].sum())) < 1:
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
        if "conv_kernel" in self.config:
            return [(k, s, 0) for k, s in zip(self.config["conv_kernel"], self.config["conv_stride"])]
        encoder = self.config.get("encoder_config", self.config)
        kernel, stride = encoder.get("subsampling_conv_kernel_size", 3), encoder.get("subsampling_conv_stride", 2)
        layers = int(encoder.get("subsampling_factor", 8)).bit_length() - 1
        return [(kernel, stride, (kernel - 1) // 2)] * layers

    @cached_property
    def samples_per_frame(self) -> int:
        """Samples that one frame of the answer stands for."""
        steps = int(np.prod([stride for _, stride, _ in self._convolutions], dtype=np.int64))
        raw = self.preprocessor.get("feature_extractor_type") == "Wav2Vec2FeatureExtractor"
        return steps * (1 if raw else int(self.preprocessor.get("hop_length", 160)))

    def decode(self, outputs: Arrays, source: Audio, *, return_timestamps: bool = False) -> Transcript:
        """The words.

        Options:
            return_timestamps: whether to tell when each word is said
        """
        raw = self.preprocessor.get("feature_extractor_type") == "Wav2Vec2FeatureExtractor"
        length = len(source.samples) // (1 if raw else int(self.preprocessor.get("hop_length", 160)))
        logits = outputs["logits"][: self.frames(length)]
        found = ctc.runs(np.argmax(logits, axis=-1), self.blank)
        if self.numbers:
            if logits.shape[-1] < len(self._tokens):
                raise InputError(f"the network answers {logits.shape[-1]} labels, vocab.json has {len(self._tokens)}")
            pieces = [self._tokens[r.label] if r.label < len(self._tokens) else "" for r in found]
            said = "".join(pieces).strip()
            if self.tokenizer_config.get("do_lower_case"):
                said, pieces = said.lower(), [piece.lower() for piece in pieces]
        else:
            said = text.decode(self._decoder, [r.label for r in found]).strip()
            names = [self._decoder.id_to_token(r.label) or "" for r in found]
            pieces = [name.replace("▁", " ") for name in names]
        if not return_timestamps:
            return Transcript(said)
        at = self.samples_per_frame
        words = [
            Chunk(word, (round(start * at / self.rate, 2), round(min(end * at / self.rate, source.seconds), 2)))
            for word, start, end in ctc.spans(pieces, found)
        ]
        return Transcript(said, words)

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
        picture = drawing.sound(found.samples, found.seconds)
        picture = drawing.caption(picture, f"heard: {result.text or '(nothing)'}", 8)
        return picture if truth is None else drawing.caption(picture, f"said: {truth}", 8)


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
