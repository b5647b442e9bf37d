"""Whisper at work: an encoder and a decoder that hear a sound stretch by stretch, as its times say where to go on.

What is heard is that of transformers' `WhisperForConditionalGeneration.generate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.ops import batches, whisper
from sensorium.ops.generation import Decoder, Settings, generate
from sensorium.ops.whisper import Piece

STRIDE = 2
"""Frames of features that become one state of the encoder: its second convolution has this stride."""

AT_ONCE = 8
"""Stretches that are heard together."""


@dataclass
class Reading:
    """A sound and how far it has been heard.

    Attributes:
        features: (bands, frames) float32, at least one stretch: an array, or what has its shape and slices.
        sounding: frames of the sound itself, without what fills it up.
        stride: of the piece that it is, see `whisper.Piece`.
        seek: the frame to go on from.
        rounds: stretches heard so far.
    """

    features: Any
    sounding: int
    stride: tuple[float, float, float] | None = None
    seek: int = 0
    rounds: int = 0

    def __post_init__(self) -> None:
        self.heard = Piece([], [], self.stride)
        self.prompt: list[int] = []


@dataclass
class Listener:
    """An encoder and a decoder with what their configuration says.

    Attributes:
        nets: `encoder_model` and `decoder_model_merged`.
        config: config.json: `max_source_positions`, `max_target_positions`, `median_filter_width`.
        settings: generation_config.json, completed from config.json.
        precision: seconds of one step of time.
        times: whether to write times among the words.
        words: whether to find when each token is said.

    Raises:
        InputError: the model tells no times.
    """

    nets: Mapping[str, Any]
    config: Mapping[str, Any]
    settings: dict[str, Any]
    precision: float
    times: bool = False
    words: bool = False
    language: str | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        self.size = STRIDE * int(self.config.get("max_source_positions", 1500))
        self.longest = int(self.config.get("max_target_positions", 448))
        without = self.settings.get("no_timestamps_token_id")
        if self.times and without is None:
            raise InputError("generation_config.json has no 'no_timestamps_token_id': this model tells no times")
        if self.words and not self.settings.get("alignment_heads"):
            raise InputError("generation_config.json has no 'alignment_heads': this model tells no times of words")
        self.begin = int(self.config["vocab_size"]) + 1 if without is None else int(without) + 1
        eos = self.settings.get("eos_token_id")
        self.eos = int(eos[0] if isinstance(eos, list) else eos)  # type: ignore[arg-type]

    def hear(self, readings: Sequence[Reading]) -> list[Piece]:
        """What is said in each, with the language where it had to be detected."""
        for first in range(0, len(readings), AT_ONCE):
            going = list(readings[first : first + AT_ONCE])
            while going:
                self._round(going)
                going = [reading for reading in going if reading.seek < reading.features.shape[1]]
        return [reading.heard for reading in readings]

    def _round(self, going: list[Reading]) -> None:
        """Hear the next stretch of each."""
        stretches = [reading.features[:, reading.seek : reading.seek + self.size] for reading in going]
        features = np.stack([np.pad(s, ((0, 0), (0, self.size - s.shape[1]))) for s in stretches])
        states = batches.answers(self.nets["encoder_model"], {"input_features": features})["last_hidden_state"]
        fresh = [i for i, reading in enumerate(going) if not reading.prompt]
        if fresh:
            self._begin([going[i] for i in fresh], states[fresh])
        for rounds in sorted({reading.rounds for reading in going}):  # each round may write longer answers
            rows = [i for i, reading in enumerate(going) if reading.rounds == rounds]
            prompt = np.array([going[i].prompt for i in rows], np.int64)
            search = self._search(prompt.shape[1], rounds)
            answers = generate(self._decoder(states[rows]), prompt, search)
            for i, answer in zip(rows, answers[:: search.num_return_sequences]):
                self._read(going[i], answer, states[i], stretches[i].shape[1])

    def _begin(self, fresh: list[Reading], states: np.ndarray) -> None:
        """The tokens that begin the answers, with the language that is heard where none is given."""
        found = whisper.prompt_tokens(self.settings, self.language, self.task, self.times)
        languages: dict[str, int] = self.settings.get("lang_to_id") or {}
        codes = {token: name.strip("<|>") for name, token in languages.items()}
        detected: list[int] = []
        if None in found:
            if not languages:
                found = [token for token in found if token is not None]
            else:
                start = np.full((len(fresh), 1), found[0], np.int64)
                scores = self._decoder(states)(start)
                known = np.array(sorted(codes), np.int64)
                detected = known[scores[:, known].argmax(axis=1)].tolist()
        for i, reading in enumerate(fresh):
            reading.prompt = [detected[i] if token is None else token for token in found]
            reading.heard.language = next((codes[token] for token in reading.prompt if token in codes), None)

    def _decoder(self, states: np.ndarray) -> Decoder:
        return Decoder(self.nets["decoder_model_merged"], {"encoder_hidden_states": states}, len(states))

    def _search(self, prompt: int, rounds: int) -> Settings:
        settings = {**self.settings, "forced_decoder_ids": None}
        if new := settings.get("max_new_tokens"):
            settings["max_new_tokens"] = min(int(new), self.longest - prompt)
        else:  # transformers adds the prompt anew for each stretch
            longest = int(settings.get("max_length") or 20) + (rounds + 1) * prompt
            settings["max_length"] = min(longest, self.longest)
        search = Settings.of(settings, prompt=prompt)
        if not self.times:
            return search
        most = settings.get("max_initial_timestamp_index")
        rule = whisper.timestamp_rule(self.begin, self.begin - 1, self.eos, prompt, most)
        return dataclasses.replace(search, rules=(*search.rules, rule))

    def _read(self, reading: Reading, answer: list[int], states: np.ndarray, frames: int) -> None:
        tokens = answer[:-1] if answer and answer[-1] == self.eos else answer
        times: np.ndarray = np.zeros(0)
        if self.words:
            times = self._times(reading, answer, states) + reading.seek * self.precision / STRIDE
        parts, offset = whisper.segments(tokens, self.begin, frames, STRIDE)
        for part in parts:
            reading.heard.tokens += part.tokens
            reading.heard.times += times[part.first : part.first + len(part.tokens)].tolist()
        reading.seek += offset
        reading.rounds += 1

    def _times(self, reading: Reading, answer: list[int], states: np.ndarray) -> np.ndarray:
        """Seconds at which each token of an answer is said, from the start of the stretch.

        The answer is read once more as a whole: its cross-attention is that of its steps.
        """
        read = [*reading.prompt, *answer[:-1]]
        decoder = self._decoder(states[None])
        net = self.nets["decoder_model_merged"]
        feeds: dict[str, Any] = {**decoder.feeds, **decoder.past, decoder.ids_name: np.array([read], np.int64)}
        if "use_cache_branch" in net.inputs:
            feeds["use_cache_branch"] = np.array([False])
        outputs = net(feeds)
        heads = []
        for layer, head in self.settings["alignment_heads"]:
            attention = outputs.get(f"cross_attentions.{layer}")
            if attention is None:
                raise InputError("the decoder's file does not answer 'cross_attentions': it tells no times of words")
            heads.append(attention[0, head])
        # Beyond the end of the sound this counts from the end of the stretch, twice, as in transformers.
        frames = (reading.sounding - reading.seek) // STRIDE
        weights = np.stack(heads)[:, len(reading.prompt) :, :frames][..., :frames]
        found = np.zeros(len(answer))
        if weights.shape[1]:
            said = whisper.token_times(weights, int(self.config.get("median_filter_width", 7)), self.precision)
            found[:] = np.append(said, said[-1])[: len(answer)]
        return found
