"""The searches: greedy or drawn, step by step, and beams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from sensorium.ops.generation.decoder import Decoder
from sensorium.ops.generation.rules import Rule
from sensorium.ops.generation.sampling import draw, log_softmax
from sensorium.ops.generation.settings import Settings

IMPOSSIBLE = np.float32(-1e9)


def generate(decoder: Decoder, prompt: np.ndarray, settings: Settings) -> list[list[int]]:
    """Continue each row of a prompt.

    Args:
        decoder: with as many rows as the prompt has, or times `settings.copies`, those of a prompt side by side.
        prompt: (rows, tokens) int64.

    Returns:
        The tokens that follow each prompt, with the one that ended it if one did; `num_return_sequences` of them
        for a prompt, side by side.
    """
    if settings.num_beams == 1:
        return greedy(decoder, prompt, settings)
    return beam_search(decoder, prompt, settings)


def steps(decoder: Decoder, prompt: np.ndarray, settings: Settings) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The next token of each row, again and again: the likeliest, or one that is drawn.

    Yields:
        Rows that go on (n,), numbered as `generate` returns them, and their tokens (n,). Rows that have ended are no
        longer computed.
    """
    copies = settings.copies
    generators = _generators(settings, len(prompt)) if settings.do_sample else []
    rows = np.arange(len(prompt) * copies)
    scores = _first(decoder, prompt, copies)
    ids = np.repeat(prompt, copies, axis=0)
    _keep(settings.rules, rows // copies, copies > 1)
    while True:
        for rule in (*settings.rules, *settings.warpers):
            scores = rule(ids, scores)
        tokens = draw(scores, [generators[row] for row in rows]) if generators else scores.argmax(axis=1)
        yield rows, tokens
        ids = np.concatenate([ids, tokens[:, None]], axis=1)
        going = ~np.isin(tokens, settings.eos) & (ids.shape[1] < settings.max_length)
        for stop in settings.stops:
            going &= ~stop(ids)
        if not going.any():
            return
        if not going.all():
            rows, ids = rows[going], ids[going]
            decoder.keep(np.flatnonzero(going))
            _keep(settings.rules, np.flatnonzero(going))
        scores = decoder(ids[:, -1:])


def _generators(settings: Settings, count: int) -> list[np.random.Generator]:
    """Random numbers of each row."""
    seeds = settings.seeds
    return [
        np.random.default_rng(None if seeds is None else (seeds[row], copy))
        for row in range(count)
        for copy in range(settings.copies)
    ]


def _first(decoder: Decoder, prompt: np.ndarray, copies: int) -> np.ndarray:
    """The scores after the prompt, of each of its copies; the prompt itself is read once."""
    if decoder.rows == len(prompt) * copies:
        return decoder(np.repeat(prompt, copies, axis=0))
    scores = decoder(prompt)
    each = np.repeat(np.arange(len(prompt)), copies)
    decoder.keep(each)
    return scores[each]


def _keep(rules: Iterable[Rule], rows: np.ndarray, changed: bool = True) -> None:
    """Rules that know something of each row go on with these rows."""
    for rule in rules:
        if changed and hasattr(rule, "keep"):
            rule.keep(rows)


def greedy(decoder: Decoder, prompt: np.ndarray, settings: Settings) -> list[list[int]]:
    """The likeliest token, or one that is drawn, again and again."""
    found: list[list[int]] = [[] for _ in range(len(prompt) * settings.copies)]
    for rows, tokens in steps(decoder, prompt, settings):
        for row, token in zip(rows.tolist(), tokens.tolist()):
            found[row].append(token)
    return found


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
    answers = settings.num_return_sequences
    found: list[list[int]] = [[] for _ in range(count * answers)]
    rows = np.arange(count)  # which prompt each search belongs to

    running = np.zeros((count, beams, end), np.int64)
    running[:, :, :start] = prompt[:, None]
    running_scores = np.full((count, beams), IMPOSSIBLE)
    running_scores[:, 0] = 0  # all beams are equal at first: go on from one of them
    finished = running.copy()
    lengths = np.full((count, beams), start)
    scores = np.full((count, beams), IMPOSSIBLE)
    is_finished = np.zeros((count, beams), bool)
    raw = _first(decoder, prompt, beams)
    _keep(settings.rules, np.repeat(rows, beams))

    for length in range(start, end):
        count = len(rows)
        chances = log_softmax(raw)
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
        for stop in settings.stops:
            ends |= stop(sequences[:, :, : length + 1].reshape(count * kept, -1)).reshape(count, kept)

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
            for n in range(answers):
                found[rows[i] * answers + n] = finished[i, n, start : lengths[i, n]].tolist()
        if over.all():
            break
        order = (np.arange(count)[:, None] * beams + parents)[~over]
        if over.any():
            rows, running, running_scores = rows[~over], running[~over], running_scores[~over]
            finished, lengths, scores = finished[~over], lengths[~over], scores[~over]
            is_finished = is_finished[~over]
            decoder.keep(order.reshape(-1))
            _keep(settings.rules, order.reshape(-1))
        else:
            decoder.reorder(order.reshape(-1))
        raw = decoder(running[:, :, length].reshape(-1, 1))
    return found
