"""Text generation: how a text goes on, or the answer in a chat; at once, or piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media import chat, drawing, text
from sensorium.media import tokens as tokens_of
from sensorium.media.tokens import Tokens
from sensorium.ops.generation import batches
from sensorium.ops.generation.constraints import constraint
from sensorium.ops.generation.decoder import Decoder
from sensorium.ops.generation.sampling import log_softmax, seed_of
from sensorium.ops.generation.search import steps
from sensorium.ops.generation.stopping import stop_strings
from sensorium.tasks import Arrays, Nets, Tally

NEW_TOKENS = 256
"""Tokens that follow a prompt where nothing says how many, as in the pipelines of Hugging Face."""

WINDOW = 1024
"""Tokens that a perplexity looks back on, where a model takes more; half of them are new in each step."""


@dataclass
class Generated:
    """A text with its prompt, or the messages of a chat with the new one."""

    generated_text: str | list[dict[str, Any]]


@dataclass
class Frequencies:
    """How often each token occurs, as the log of its share: the naive predictor."""

    logs: np.ndarray

    def surprise(self, ids: Sequence[int]) -> tuple[float, int]:
        """As `Task.surprise`."""
        return float(-self.logs[np.array(ids[1:], np.int64)].sum()), max(len(ids) - 1, 0)


Prompt = str | list[dict[str, Any]]


@dataclass
class Task:
    """Reads a text, or the messages of a chat; answers with what follows.

    Attributes:
        config: `config.json`.
        tokenizer_json: the text of `tokenizer.json`.
        tokenizer_config: `tokenizer_config.json`, special tokens included.
        generation: `generation_config.json`: the defaults of the options of `predict`, and more.
        templates: the chat templates by name; none for a model that only goes on with texts.
    """

    name: ClassVar[str] = "text-generation"
    source: ClassVar[str] = "text"
    truth: ClassVar[str] = "text"
    metric: ClassVar[str] = "perplexity"
    lower_is_better: ClassVar[bool] = True
    padding: ClassVar[dict[str, float]] = {"input_ids": 0, "attention_mask": 0}
    evaluation: ClassVar[dict[str, Any]] = {"max_new_tokens": 1}
    architectures: ClassVar[tuple[str, ...]] = ("ForCausalLM", "LMHeadModel")

    config: dict[str, Any]
    tokenizer_json: str = field(repr=False)
    tokenizer_config: dict[str, Any]
    generation: dict[str, Any]
    templates: dict[str, str] = field(default_factory=dict)
    tokens: Tokens = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.tokenizer_json, self.tokenizer_config)

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        tokenizer = files.get("tokenizer.json")
        if tokenizer is None:
            raise CallError("this model has no tokenizer.json")
        config = tokens_of.config_of(files)
        templates = chat.template_of(files, config)
        config.pop("chat_template", None)
        return cls(dict(files.get("config.json") or {}), tokenizer, config, batches.config_of(files), templates)

    def files(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "config.json": self.config,
            "tokenizer.json": self.tokenizer_json,
            "tokenizer_config.json": self.tokenizer_config,
            "generation_config.json": self.generation,
        }
        if set(self.templates) == {"default"}:
            found["chat_template.jinja"] = self.templates["default"]
        elif self.templates:
            named = [{"name": name, "template": template} for name, template in self.templates.items()]
            found["tokenizer_config.json"] = {**self.tokenizer_config, "chat_template": named}
        return found

    @classmethod
    def suits(cls, config: Mapping[str, Any]) -> bool:
        """Whether a `config.json` is that of a decoder alone."""
        return not config.get("is_encoder_decoder")

    @property
    def longest(self) -> int | None:
        """Tokens that the model takes."""
        return batches.positions(self.config)

    @cached_property
    def heads(self) -> int:
        """Of the attention."""
        return int(self.config.get("num_attention_heads") or self.config.get("n_head") or 1)

    def open(self, source: Any) -> Prompt:
        """A text, or messages: a list of them, or an object with a list `messages`.

        Raises:
            InputError: neither.
        """
        if isinstance(source, Mapping):
            source = source.get("messages", source.get("text"))
        return chat.messages_of(source) if isinstance(source, (list, tuple)) else text.load(source)

    def prepare(self, source: Prompt, **given: Any) -> Arrays:
        """Tokens of a prompt: `input_ids` and `attention_mask`, (time,) int64.

        Args:
            given: of a chat, what its template may ask for (`chat.render`).
        """
        if isinstance(source, str):
            ids = self.tokens.encode(source)
        else:
            into = source[-1]["role"] == "assistant"
            given = {"add_generation_prompt": not into, "continue_final_message": into, **given}
            ids = self.tokens.encode(chat.render(self.templates, source, self.tokens.special, **given), special=False)
        if not ids:
            begin = batches.first_of(self.generation.get("bos_token_id", self.config.get("bos_token_id")))
            if begin is None:
                raise InputError("an empty text: this model has no token to begin with")
            ids = [begin]
        if self.longest is not None and len(ids) >= self.longest:
            raise InputError(
                f"the prompt has {len(ids)} tokens; this model takes {self.longest} with the answer: cut it"
            )
        return {"input_ids": np.array(ids, np.int64), "attention_mask": np.ones(len(ids), np.int64)}

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Prompt],
        *,
        max_new_tokens: int | None = None,
        min_new_tokens: int | None = None,
        do_sample: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        epsilon_cutoff: float | None = None,
        eta_cutoff: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram_size: int | None = None,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | None = None,
        num_return_sequences: int | None = None,
        bad_words: list[str] | None = None,
        stop: list[str] | None = None,
        max_time: float | None = None,
        seed: int | None = None,
        return_full_text: bool = True,
        choices: list[str] | None = None,
        regex: str | None = None,
        json_schema: dict[str, Any] | None = None,
        tools: list[Any] | None = None,
        documents: list[Any] | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Go on; what is not given is as the model's generation_config.json says.

        Options:
            max_new_tokens: longest answer, in tokens
            min_new_tokens: shortest answer, in tokens
            do_sample: draw tokens by their chances instead of taking the likeliest
            temperature: of drawing: below 1 for likelier tokens, above 1 for more surprising ones
            top_k: draw among so many of the likeliest tokens only, 0 for all
            top_p: draw among the likeliest tokens that together have this chance only
            min_p: draw among tokens with this share of the likeliest one's chance only
            typical_p: draw among tokens about as surprising as is to be expected only
            epsilon_cutoff: draw among tokens with at least this chance only
            eta_cutoff: as epsilon_cutoff, less strict where the next token is open
            repetition_penalty: above 1 makes tokens that occurred less likely
            no_repeat_ngram_size: no sequence of this many tokens twice, 0 for no such rule
            num_beams: answers that are followed side by side; 1 is quickest
            length_penalty: of beams: above 0 prefers longer answers, below 0 shorter ones
            early_stopping: of beams: end with as many answers as there are beams
            num_return_sequences: answers to each prompt
            bad_words: texts that are never written
            stop: texts that end the answer, which ends with them
            max_time: seconds after which nothing further is computed
            seed: of drawing: the same seed gives the same answer to the same prompt
            return_full_text: the text with its prompt, or a chat with all its messages; else the answer alone
            choices: the answer is one of these texts
            regex: the answer matches this regular expression
            json_schema: the answer is a JSON value of this schema
            tools: descriptions of functions that the model may call, for its chat template
            documents: texts to answer from, for its chat template
            chat_template_kwargs: what else its chat template asks for
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "nets", "sources")}
        config = self._config(given)
        template = self._for_template(given)
        prompts = [self.prepare(one, **({} if isinstance(one, str) else template))["input_ids"] for one in sources]
        net = nets["model"]
        found: list[Any] = [None] * len(sources)
        # Without a mask nothing says where a shorter prompt begins: those of one length go together.
        lengths = [0 if "attention_mask" in net.inputs else len(ids) for ids in prompts]
        for length in sorted(set(lengths)):
            rows = [i for i, n in enumerate(lengths) if n == length]
            chosen = [prompts[i].tolist() for i in rows]
            answers = batches.continuations(net, chosen, config, **self._given(given, chosen))
            for i, several in zip(rows, answers):
                made = [self._result(sources[i], self.tokens.decode(ids), return_full_text) for ids in several]
                found[i] = made if len(made) > 1 else made[0]
        return found

    def stream(self, nets: Nets, source: Any, **given: Any) -> Iterator[str]:
        """The answer to one prompt, piece by piece; together what `predict` gives without its prompt.

        Args:
            given: the options of `predict`, but those of beams and of several answers.

        Raises:
            InputError: the prompt or an option is not possible.
        """
        source = self.open(source)
        config = self._config(given)
        if any((config.get(name) or 1) != 1 for name in ("num_beams", "num_return_sequences")):
            raise CallError("a stream has one answer and no beams: leave num_beams and num_return_sequences out")
        prompt = self.prepare(source, **({} if isinstance(source, str) else self._for_template(given)))["input_ids"]
        chosen = [prompt.tolist()]
        decoder, ids, settings = batches.ready(nets["model"], chosen, config, **self._given(given, chosen))
        return self.tokens.stream(int(tokens[0]) for _, tokens in steps(decoder, ids, settings))

    def _config(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the model says about generation, with what the caller says over it."""
        config = {**self.generation, **{name: value for name, value in given.items() if value is not None}}
        if given.get("max_new_tokens") is None and not (config.get("max_new_tokens") or config.get("max_length")):
            config["max_new_tokens"] = NEW_TOKENS
        if given.get("bad_words"):
            forms = [form for word in given["bad_words"] for form in (word, " " + word)]
            tried = [self.tokens.encode(form, special=False) for form in forms]
            config["bad_words_ids"] = [*(config.get("bad_words_ids") or []), *(ids for ids in tried if ids)]
        for name in ("pad_token_id", "eos_token_id"):
            if config.get(name) is None:
                config[name] = self.config.get(name)
        return config

    @staticmethod
    def _for_template(given: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {name: given[name] for name in ("tools", "documents") if given.get(name) is not None}
        return {**found, "further": given.get("chat_template_kwargs")}

    def _given(self, given: Mapping[str, Any], prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
        """What a search takes besides its settings."""
        table = self.tokens.table if any(given.get(n) for n in ("stop", "choices", "regex", "json_schema")) else []
        eos = batches.all_of(self.generation.get("eos_token_id", self.config.get("eos_token_id")))
        rule = constraint(
            table,
            eos,
            choices=given.get("choices"),
            regex=given.get("regex"),
            schema=given.get("json_schema"),
            drops_space=bool(table) and self.tokens.drops_first_space,
        )
        seed = given.get("seed")
        return {
            "longest": self.longest,
            "heads": self.heads,
            "constraints": [] if rule is None else [rule],
            "stops": [
                *([stop_strings(given["stop"], table)] if given.get("stop") else []),
                *([rule.stop] if rule is not None else []),
            ],
            "seeds": None if seed is None else [seed_of(seed, np.array(ids, np.int64).tobytes()) for ids in prompts],
        }

    @staticmethod
    def _result(source: Prompt, answer: str, full: bool) -> Generated:
        if not full:
            return Generated(answer)
        if isinstance(source, str):
            return Generated(source + answer)
        if source[-1]["role"] == "assistant":
            return Generated([*source[:-1], {**source[-1], "content": source[-1]["content"] + answer}])
        return Generated([*source, {"role": "assistant", "content": answer}])

    def tally(self, prediction: Any, truth: Any, nets: Nets) -> Tally:
        """How well the text itself is foreseen: minus the log of its chance, its tokens and its bytes.

        The quality is minus the mean surprise of a token. What was predicted does not matter, but for the naive
        predictor, whose chances take the place of the network's.
        """
        source = self.open(truth)
        if isinstance(source, str):
            whole, ids = source, self.tokens.encode(source)
        else:
            whole = chat.render(self.templates, source, self.tokens.special)
            ids = self.tokens.encode(whole, special=False)
        if isinstance(prediction, Frequencies):
            loss, count = prediction.surprise(ids)
        else:
            loss, count = self.surprise(nets["model"], ids)
        return Tally(-loss / max(count, 1), (loss, count, len(whole.encode())))

    def surprise(self, net: Any, ids: Sequence[int]) -> tuple[float, int]:
        """Sum of minus the log chance (nats) of each token but the first, and their number.

        A long text goes through a window that moves by its half, so that each token has at least as many before it.
        """
        window = min(WINDOW, self.longest or WINDOW)
        total, count, done = 0.0, 0, 1
        for start in range(0, max(len(ids) - 1, 0), max(window // 2, 1)):
            part = np.array([ids[start : start + window]], np.int64)
            first = max(done - start, 1)  # the first that has not been foreseen yet
            decoder = Decoder(net, {"attention_mask": np.ones_like(part)}, 1, self.heads)
            chances = log_softmax(decoder.scores(part)[0].astype(np.float64))
            new = np.arange(first, part.shape[1])
            total -= float(chances[new - 1, part[0, new]].sum())
            count += len(new)
            done = start + part.shape[1]
            if done >= len(ids):
                break
        return total, count

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Perplexity (of a token), and bits per byte of UTF-8, which compares across tokenizers; lower is better."""
        loss, count, size = np.sum([t.stats for t in tallies], axis=0)
        return {
            "perplexity": math.exp(min(loss / count, 700)) if count else math.nan,
            "bits_per_byte": float(loss / math.log(2) / size) if size else math.nan,
        }

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Any]:
        """Tokens by how often they occur, whatever stands before them."""
        counts = np.ones(max(len(self.tokens.table), 1))
        for truth in map(self.open, truths):
            texts = [truth] if isinstance(truth, str) else [str(message.get("content", "")) for message in truth]
            for one in texts:
                np.add.at(counts, self.tokens.encode(one, special=False), 1)
        found = Frequencies(np.log(counts / counts.sum()))
        return lambda source: found

    def draw(self, source: Any, result: Any) -> Image.Image:
        """The prompt and the answer, one below the other."""
        opened = self.open(source)
        several = result if isinstance(result, list) else [result]
        if isinstance(opened, str):
            paragraphs = [("Text", opened)]
        else:
            paragraphs = [(message["role"], str(message.get("content", ""))) for message in opened]
        for one in several:
            said = one.generated_text
            answer = said if isinstance(said, str) else str(said[-1]["content"])
            shown = answer[len(opened) :] if isinstance(opened, str) and answer.startswith(opened) else answer
            paragraphs.append(("Answer", shown or " "))
        return drawing.text(paragraphs, 560)
