"""What may and may not follow: rules that change the scores of the next token.

In the order, and with the numbers, of the logits processors of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sensorium.errors import CallError, InputError

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Tokens so far (rows, time) int64 and scores (rows, vocabulary) float32 to the scores that hold.

A rule that knows something of each row has a method `keep(rows)`, too: go on with these rows only.
"""


def ids_of(value: Any) -> tuple[int, ...]:
    """A setting that is one token, several, or none."""
    return () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (int(value),)


def rules(
    config: Mapping[str, Any],
    prompt: int,
    max_length: int,
    eos: tuple[int, ...],
    mask: np.ndarray | None = None,
    encoder_ids: np.ndarray | None = None,
    constraints: Sequence[Rule] = (),
) -> list[Rule]:
    """The rules that a `generation_config.json` asks for, in the order in which transformers applies them.

    Args:
        prompt: tokens of the prompt.
        mask: of the prompts (rows, tokens), 0 where they are filled up at their left.
        encoder_ids: (rows, tokens) what the encoder has read; of a decoder alone, its prompt.
        constraints: rules of what may be written at all.

    Raises:
        InputError: a setting has a value that it cannot have.
    """
    found: list[Rule] = []
    if bias := config.get("sequence_bias"):
        found.append(sequence_bias(bias))
    if (penalty := config.get("encoder_repetition_penalty")) not in (None, 1.0) and encoder_ids is not None:
        found.append(EncoderRule(encoder_ids, _repeated(1 / _positive("encoder_repetition_penalty", penalty))))
    if (penalty := config.get("repetition_penalty")) not in (None, 1.0):
        filling = None if mask is None or mask.all() else (mask != 0).argmax(axis=1)
        found.append(RepetitionPenalty(_positive("repetition_penalty", penalty), filling))
    if size := config.get("no_repeat_ngram_size"):
        found.append(no_repeat_ngram(int(_positive("no_repeat_ngram_size", size))))
    if (size := config.get("encoder_no_repeat_ngram_size")) and encoder_ids is not None:
        found.append(EncoderRule(encoder_ids, _foreign_ngrams(int(_positive("encoder_no_repeat_ngram_size", size)))))
    if words := config.get("bad_words_ids"):
        found.append(bad_words([w for w in words if tuple(w) not in {(i,) for i in eos}]))
    least = prompt + config["min_new_tokens"] if config.get("min_new_tokens") else config.get("min_length")
    if least and eos:
        found.append(forbid(eos, lambda length: length < least))
    found.extend(constraints)
    if (token := config.get("forced_bos_token_id")) is not None:
        found.append(force(ids_of(token), 1))
    if (token := config.get("forced_eos_token_id")) is not None:
        found.append(force(ids_of(token), max_length - 1))
    if config.get("remove_invalid_values"):
        found.append(finite)
    if decay := config.get("exponential_decay_length_penalty"):
        found.append(decay_length(eos, prompt + int(decay[0]), float(decay[1])))
    if tokens := config.get("suppress_tokens"):
        found.append(forbid(tuple(tokens), lambda length: True))
    if tokens := config.get("begin_suppress_tokens"):
        begin = prompt + (prompt == 1 and config.get("forced_bos_token_id") is not None)
        found.append(forbid(tuple(tokens), lambda length: length == begin))
    return found


def _positive(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not value > 0:
        raise CallError(f"{name} must be above 0, not {value!r}")
    return float(value)


def forbid(tokens: Sequence[int], when: Callable[[int], bool]) -> Rule:
    """Never these tokens, at the lengths that `when` says."""
    given, never = np.asarray(tokens, np.int64), np.zeros(0, bool)

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        nonlocal never
        if when(ids.shape[1]):
            if len(never) != scores.shape[1]:
                never = np.isin(np.arange(scores.shape[1]), given)
            np.copyto(scores, -np.inf, where=never)
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


def finite(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """No value that is not a number: they become 0, and infinite ones the greatest that there are."""
    found: np.ndarray = np.nan_to_num(scores, nan=0.0)
    return found


def _penalised(scores: np.ndarray, ids: np.ndarray, penalty: float) -> np.ndarray:
    seen = np.take_along_axis(scores, ids, axis=1)
    seen = np.where(seen < 0, seen * np.float32(penalty), seen / np.float32(penalty))
    np.put_along_axis(scores, ids, seen, axis=1)
    return scores


class RepetitionPenalty:
    """Make tokens that occurred less likely (Keskar et al., CTRL, 2019).

    Args:
        penalty: above 1 for less likely.
        filling: of each row, the tokens at its left that only fill it up.
    """

    def __init__(self, penalty: float, filling: np.ndarray | None = None) -> None:
        self.penalty, self.filling = penalty, filling

    def keep(self, rows: np.ndarray) -> None:
        self.filling = None if self.filling is None else self.filling[rows]

    def __call__(self, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        size = scores.shape[1]
        if self.filling is not None:
            ids = np.where(np.arange(ids.shape[1]) < self.filling[:, None], size, ids)
        elif ids.max(initial=0) < size:
            return _penalised(scores, ids, self.penalty)
        # One column more, for tokens that do not count.
        wider = np.pad(scores, ((0, 0), (0, 1)))
        return _penalised(wider, np.minimum(ids, size), self.penalty)[:, :size]


class EncoderRule:
    """A rule that compares with what the encoder has read.

    Args:
        ids: (rows, tokens) that the encoder has read.
        rule: those, the tokens so far, and the scores to the scores that hold.
    """

    def __init__(self, ids: np.ndarray, rule: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.ids, self.rule = ids, rule

    def keep(self, rows: np.ndarray) -> None:
        self.ids = self.ids[rows]

    def __call__(self, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return self.rule(self.ids, ids, scores)


def _repeated(penalty: float) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    return lambda read, ids, scores: _penalised(scores, read, penalty)


def _foreign_ngrams(size: int) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """No n-gram of this size that the encoder has read."""

    def rule(read: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        if read.shape[1] >= size and ids.shape[1] + 1 >= size:
            _ban_ngrams(read, ids, size, scores)
        return scores

    return rule


def _ban_ngrams(read: np.ndarray, ids: np.ndarray, size: int, scores: np.ndarray) -> None:
    windows = np.lib.stride_tricks.sliding_window_view(read, size, axis=1)
    ending = ids[:, None, ids.shape[1] + 1 - size :]
    row, at = np.nonzero((windows[..., :-1] == ending).all(axis=-1))
    scores[row, windows[row, at, -1]] = -np.inf


def no_repeat_ngram(size: int) -> Rule:
    """No n-gram of this size twice in one sequence."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        if ids.shape[1] >= size:
            _ban_ngrams(ids, ids, size, scores)
        return scores

    return rule


def bad_words(words: Sequence[Sequence[int]]) -> Rule:
    """None of these token sequences."""
    return sequence_bias([[word, -np.inf] for word in words])


def sequence_bias(biases: Mapping[Sequence[int], float] | Sequence[Any]) -> Rule:
    """Make token sequences likelier or less likely, as they are about to be completed.

    Args:
        biases: pairs of a sequence and what is added to the score of its last token.
    """
    pairs = list(biases.items()) if isinstance(biases, Mapping) else [(tokens, value) for tokens, value in biases]

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        added = np.zeros_like(scores)  # found first, so that one sequence cannot hide another
        for (*start, last), value in pairs:
            if last >= scores.shape[1]:
                raise InputError(f"there is no token {last} in a vocabulary of {scores.shape[1]}")
            if len(start) <= ids.shape[1]:
                added[(ids[:, ids.shape[1] - len(start) :] == start).all(axis=1), last] += np.float32(value)
        scores += added
        return scores

    return rule


def decay_length(eos: Sequence[int], start: int, factor: float) -> Rule:
    """Make the end likelier with every token beyond a length."""

    def rule(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        if ids.shape[1] > start and eos:
            ends = scores[:, list(eos)]
            growth = np.float32(factor ** (ids.shape[1] - start) - 1)
            scores[:, list(eos)] += np.where(np.isfinite(ends), np.abs(ends) * growth, np.float32(0))
        return scores

    return rule
