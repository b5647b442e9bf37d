"""Token sequences from a network that says what comes next: greedy and beam search.

Token for token what `generate` of Hugging Face transformers gives, in numpy, over any network with the inputs
and outputs that Optimum and transformers.js use for decoders, with or without a cache of keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sensorium.errors import InputError

Arrays = dict[str, np.ndarray]
Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Tokens so far (rows, time) int64 and scores (rows, vocabulary) float32 to the scores that hold."""

IMPOSSIBLE = np.float32(-1e9)


class Decoder:
    """A network that continues token sequences, one row each, and what it remembers of them.

    What is fed goes by the names of the network's inputs: `input_ids` (or `decoder_input_ids`),
    `attention_mask`, `position_ids`, `past_key_values.*`, `use_cache_branch`, and what `feeds` has, such as
    `encoder_hidden_states` and `encoder_attention_mask`. A network without `past_key_values` reads all tokens
    in each step.

    Args:
        net: named arrays to named arrays, with `logits` and, where there is a cache, `present.*`.
        feeds: arrays that are the same in each step, first axis the rows.
        rows: number of sequences.
    """

    def __init__(self, net: Any, feeds: Mapping[str, np.ndarray], rows: int) -> None:
        self.net = net
        self.feeds = {name: array for name, array in feeds.items() if name in net.inputs}
        self.ids_name = "decoder_input_ids" if "decoder_input_ids" in net.inputs else "input_ids"
        self.ids = np.zeros((rows, 0), np.int64)
        self.past: Arrays = {}
        for name, (shape, dtype) in net.inputs.items():
            if name.startswith("past_key_values"):
                if len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int):
                    raise InputError(f"the decoder's cache '{name}' has no fixed number of heads and width")
                self.past[name] = np.zeros((rows, shape[1], 0, shape[3]), dtype)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Tokens (rows, n) that follow to the scores (rows, vocabulary) float32 of what comes after them."""
        first = self.ids.shape[1] == 0
        self.ids = np.concatenate([self.ids, ids], axis=1)
        feeds = {**self.feeds, **self.past, self.ids_name: ids if self.past else self.ids}
        if "use_cache_branch" in self.net.inputs:
            feeds["use_cache_branch"] = np.array([not first])
        if "attention_mask" in self.net.inputs:  # of a decoder alone: the prompt's, and ones for what follows it
            mask = self.feeds.get("attention_mask", np.ones_like(ids))
            mask = np.pad(mask, ((0, 0), (0, self.ids.shape[1] - mask.shape[1])), constant_values=1)
            feeds["attention_mask"] = mask
            if "position_ids" in self.net.inputs:
                places = np.maximum(mask.cumsum(1) - 1, 0)
                feeds["position_ids"] = places[:, -feeds[self.ids_name].shape[1] :]
        outputs = self.net(feeds)
        for name in self.past:
            # The encoder's keys and values never change: later steps may give anything for them.
            if first or ".encoder." not in name:
                self.past[name] = outputs[name.replace("past_key_values", "present")]
        scores: np.ndarray = outputs["logits"][:, -1].astype(np.float32)
        return scores

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these rows only."""
        self.reorder(rows)
        self.feeds = {name: array[rows] for name, array in self.feeds.items()}
        self.past = {name: a[rows] if ".encoder." in name else a for name, a in self.past.items()}

    def reorder(self, rows: np.ndarray) -> None:
        """Row i goes on from row `rows[i]`, which has the same source."""
        self.ids = self.ids[rows]
        self.past = {name: a if ".encoder." in name else a[rows] for name, a in self.past.items()}


@dataclass(frozen=True)
class Settings:
    """How to search; names and defaults are those of `generation_config.json`.

    Attributes:
        max_length: of a sequence with its prompt.
        eos: tokens that end a sequence.
        length_penalty: power of the length that a beam's score is divided by: above 0 prefers longer ones.
        early_stopping: True ends with as many finished sequences as beams, False when a better one is
            unlikely, "never" when there can be no better one.
        rules: applied to the scores in each step, in order.
    """

    max_length: int
    eos: tuple[int, ...]
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    rules: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, config: Mapping[str, Any], prompt: int) -> Settings:
        """From what a `generation_config.json` says, for a prompt of so many tokens.

        Raises:
            InputError: it says what is not possible.
        """
        new, longest = config.get("max_new_tokens"), config.get("max_length")
        max_length = prompt + int(new) if new else int(longest) if longest else prompt + 20
        beams = 1 if config.get("num_beams") is None else int(config["num_beams"])
        if beams < 1 or max_length <= prompt:
            raise InputError("num_beams and max_new_tokens must be at least 1")
        if config.get("num_beam_groups") not in (None, 1):
            raise InputError("generation with num_beam_groups is not supported")
        eos = _ids(config.get("eos_token_id"))
        penalty = config.get("length_penalty")
        return cls(
            max_length=max_length,
            eos=eos,
            num_beams=beams,
            length_penalty=1.0 if penalty is None else float(penalty),
            early_stopping=config.get("early_stopping") or False,
            rules=tuple(rules(config, prompt, max_length, eos)),
        )


def _ids(value: Any) -> tuple[int, ...]:
    return () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (int(value),)


def rules(config: Mapping[str, Any], prompt: int, max_length: int, eos: tuple[int, ...]) -> list[Rule]:
    """The rules that a `generation_config.json` asks for, in the order in which transformers applies them."""
    found: list[Rule] = []
    if (penalty := config.get("repetition_penalty")) not in (None, 1.0):
        found.append(repetition_penalty(float(penalty)))
    if size := config.get("no_repeat_ngram_size"):
        found.append(no_repeat_ngram(int(size)))
    if words := config.get("bad_words_ids"):
        found.append(bad_words([w for w in words if tuple(w) not in {(i,) for i in eos}]))
    least = prompt + config["min_new_tokens"] if config.get("min_new_tokens") else config.get("min_length")
    if least and eos:
        found.append(forbid(eos, lambda length: length < least))
    if (token := config.get("forced_bos_token_id")) is not None:
        found.append(force(_ids(token), 1))
    if (token := config.get("forced_eos_token_id")) is not None:
        found.append(force(_ids(token), max_length - 1))
    if tokens := config.get("suppress_tokens"):
        found.append(forbid(tuple(tokens), lambda length: True))
    if tokens := config.get("begin_suppress_tokens"):
        begin = prompt + (prompt == 1 and config.get("forced_bos_token_id") is not None)
        found.append(forbid(tuple(tokens), lambda length: length == begin))
    return found


def forbid(tokens: Sequence[int], when: Callable[[int], bool]) -> Rule:
    """Never these tokens, at the lengths that `when` says."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        if when(ids.shape[1]):
            scores[:, list(tokens)] = -np.inf
        return scores

    return rule


def force(tokens: Sequence[int], at: int) -> Rule:
    """Only these tokens at this length."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        if ids.shape[1] == at:
            scores[:] = -np.inf
            scores[:, list(tokens)] = 0
        return scores

    return rule


def repetition_penalty(penalty: float) -> Rule:
    """Make tokens that occurred less likely (Keskar et al., CTRL, 2019)."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        seen = np.take_along_axis(scores, ids, axis=1)
        seen = np.where(seen < 0, seen * np.float32(penalty), seen / np.float32(penalty))
        np.put_along_axis(scores, ids, seen, axis=1)
        return scores

    return rule


def no_repeat_ngram(size: int) -> Rule:
    """No n-gram of this size twice in one sequence."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        if ids.shape[1] >= size:
            windows = np.lib.stride_tricks.sliding_window_view(ids, size, axis=1)
            ending = ids[:, None, ids.shape[1] + 1 - size :]
            row, at = np.nonzero((windows[..., :-1] == ending).all(axis=-1))
            scores[row, windows[row, at, -1]] = -np.inf
        return scores

    return rule


def bad_words(words: Sequence[Sequence[int]]) -> Rule:
    """None of these token sequences."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        banned = np.zeros(scores.shape, bool)  # found first, so that one word cannot hide another
        for *start, last in words:
            if len(start) <= ids.shape[1]:
                banned[:, last] |= (ids[:, ids.shape[1] - len(start) :] == start).all(axis=1)
        scores[banned] = -np.inf
        return scores

    return rule


def generate(decoder: Decoder, prompt: np.ndarray, settings: Settings) -> list[list[int]]:
    """Continue each row of a prompt.

    Args:
        decoder: with as many rows as the prompt has, times `num_beams`, the beams of a prompt side by side.
        prompt: (rows, tokens) int64.

    Returns:
        The tokens that follow each prompt, with the one that ended it if one did.
    """
    if settings.num_beams == 1:
        return greedy(decoder, prompt, settings)
    return beam_search(decoder, prompt, settings)


def greedy(decoder: Decoder, prompt: np.ndarray, settings: Settings) -> list[list[int]]:
    """The likeliest token, again and again; rows that have ended are no longer computed."""
    found: list[list[int]] = [[] for _ in prompt]
    rows = np.arange(len(prompt))  # which prompt each row goes on from
    ids = step = prompt
    while len(rows):
        scores = decoder(step)
        for rule in settings.rules:
            scores = rule(ids, scores)
        step = scores.argmax(axis=1)[:, None]
        ids = np.concatenate([ids, step], axis=1)
        for row, token in zip(rows, step[:, 0]):
            found[row].append(int(token))
        going = ~np.isin(step[:, 0], settings.eos) & (ids.shape[1] < settings.max_length)
        if not going.all():
            rows, ids, step = rows[going], ids[going], step[going]
            decoder.keep(np.flatnonzero(going))
    return found


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Log of the softmax over the last axis."""
    scores = scores - scores.max(axis=-1, keepdims=True)
    logs: np.ndarray = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return logs


def _top(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` greatest of each row, the greatest first."""
    some = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def _pick(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Of `array` (prompts, n, ...) the places `index` (prompts, k) on its second axis."""
    picked: np.ndarray = np.take_along_axis(array, index.reshape(index.shape + (1,) * (array.ndim - 2)), axis=1)
    return picked


def beam_search(decoder: Decoder, prompt: np.ndarray, settings: Settings) -> list[list[int]]:
    """The likeliest sequence among `num_beams` that are followed side by side.

    Prompts whose search is over are no longer computed. All scores are float32, as in transformers, and what
    cannot be chosen has a score of -1e9 less.
    """
    beams, start, end = settings.num_beams, prompt.shape[1], settings.max_length
    penalty, early = settings.length_penalty, settings.early_stopping is True
    candidates = max(2, 1 + len(settings.eos)) * beams
    count = len(prompt)
    found: list[list[int]] = [[] for _ in prompt]
    rows = np.arange(count)  # which prompt each search belongs to

    running = np.zeros((count, beams, end), np.int64)
    running[:, :, :start] = prompt[:, None]
    running_scores = np.full((count, beams), IMPOSSIBLE)
    running_scores[:, 0] = 0  # all beams are equal at first: go on from one of them
    finished = running.copy()
    lengths = np.full((count, beams), start)
    scores = np.full((count, beams), IMPOSSIBLE)
    is_finished = np.zeros((count, beams), bool)
    step = np.repeat(prompt, beams, axis=0)

    for length in range(start, end):
        count = len(rows)
        chances = log_softmax(decoder(step))
        for rule in settings.rules:
            chances = rule(running[:, :, :length].reshape(count * beams, length), chances)
        chances = (chances.reshape(count, beams, -1) + running_scores[:, :, None]).astype(np.float32)
        vocabulary = chances.shape[-1]
        chances = chances.reshape(count, -1)
        kept = min(candidates, chances.shape[1])
        top = _top(chances, kept)
        top_scores = np.take_along_axis(chances, top, axis=1)
        beam, token = top // vocabulary, top % vocabulary
        sequences = _pick(running, beam)
        sequences[:, :, length] = token
        ends = np.isin(token, settings.eos) | (length + 1 >= end)

        # The best that go on.
        going = top_scores + ends * IMPOSSIBLE
        best = _top(going, beams)
        running, running_scores = _pick(sequences, best), _pick(going, best)
        parents = _pick(beam, best)

        # The best that have ended, of those among the first `num_beams` candidates and those from before.
        just = ends & (np.arange(kept) < beams)
        full = is_finished.all(axis=1, keepdims=True) & early
        ended = top_scores / np.float32((length + 1 - start) ** penalty)
        ended = ended + full * IMPOSSIBLE + ~just * IMPOSSIBLE
        merged = np.concatenate([scores, ended], axis=1)
        best = _top(merged, beams)
        scores = _pick(merged, best)
        finished = _pick(np.concatenate([finished, sequences], axis=1), best)
        lengths = _pick(np.concatenate([lengths, np.full(top.shape, length + 1)], axis=1), best)
        is_finished = _pick(np.concatenate([is_finished, just], axis=1), best)

        # A search is over when no running beam can still win, or when early stopping has enough.
        reach = end - start if settings.early_stopping == "never" and penalty > 0 else length + 1 - start
        possible = running_scores[:, 0] / np.float32(reach**penalty)
        worst = np.where(is_finished, scores.min(axis=1, keepdims=True), IMPOSSIBLE)
        over = ~(possible[:, None] > worst).any(axis=1)
        over |= is_finished.all(axis=1) & early | (length + 1 >= end)
        for i in np.flatnonzero(over):
            found[rows[i]] = finished[i, 0, start : lengths[i, 0]].tolist()
        if over.all():
            break
        order = (np.arange(count)[:, None] * beams + parents)[~over]
        if over.any():
            rows, running, running_scores = rows[~over], running[~over], running_scores[~over]
            finished, lengths, scores = finished[~over], lengths[~over], scores[~over]
            is_finished = is_finished[~over]
            decoder.keep(order.reshape(-1))
        else:
            decoder.reorder(order.reshape(-1))
        step = running[:, :, length].reshape(-1, 1)
    return found
