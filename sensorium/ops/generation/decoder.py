"""A network that continues token sequences, and what it remembers of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sensorium.errors import InputError


class Decoder:
    """A network that continues token sequences, one row each, and what it remembers of them.

    What is fed goes by the names of the network's inputs: `input_ids` (or `decoder_input_ids`),
    `attention_mask`, `position_ids`, `past_key_values.*` (and other `past_*`), `use_cache_branch`,
    `num_logits_to_keep`, and what `feeds` has, such as `encoder_hidden_states` and `encoder_attention_mask`. A network
    without a past reads all tokens in each step.

    Args:
        net: named arrays to named arrays, with `logits` and, where there is a cache, `present.*`. Where it has a
            method `step`, what it remembers stays in the engine from step to step.
        feeds: arrays that are the same in each step, first axis the rows.
        rows: number of sequences.
        heads: of the attention, for caches whose first axis is rows times heads.
    """

    def __init__(self, net: Any, feeds: Mapping[str, np.ndarray], rows: int, heads: int = 1) -> None:
        self.net = net
        self.rows = rows
        self.feeds = {name: array for name, array in feeds.items() if name in net.inputs}
        self.ids_name = "decoder_input_ids" if "decoder_input_ids" in net.inputs else "input_ids"
        self.ids = np.zeros((rows, 0), np.int64)
        self.past: dict[str, Any] = {}
        for name, (shape, dtype) in net.inputs.items():
            if name.startswith("past"):
                self.past[name] = np.zeros(_empty(name, shape, rows, heads), dtype)
        # An encoder's keys and values come out of the first step and never change; later steps may give anything.
        own = [_present(name) for name in self.past if ".encoder." not in name]
        self.outputs = ["logits", *own], ["logits", *map(_present, self.past)]

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Tokens (rows, n) that follow to the scores (rows, vocabulary) float32 of what comes after them."""
        scores: np.ndarray = self.scores(ids, 1)[:, -1]
        return scores.astype(np.float32)

    def scores(self, ids: np.ndarray, last: int = 0) -> np.ndarray:
        """As a call, with the scores after each of the tokens: (rows, n, vocabulary).

        Args:
            last: how many of them are needed, where the network can save the others; 0 for all.
        """
        first = self.ids.shape[1] == 0
        self.ids = np.concatenate([self.ids, ids], axis=1)
        feeds: dict[str, Any] = {**self.feeds, **self.past, self.ids_name: ids if self.past else self.ids}
        inputs = self.net.inputs
        if "use_cache_branch" in inputs:
            feeds["use_cache_branch"] = np.array([not first])
        if "num_logits_to_keep" in inputs:
            feeds["num_logits_to_keep"] = np.array(last, np.int64)
        if "attention_mask" in inputs:  # of a decoder alone: the prompt's, and ones for what follows it
            mask = self.feeds.get("attention_mask", np.ones_like(ids))
            mask = np.pad(mask, ((0, 0), (0, self.ids.shape[1] - mask.shape[1])), constant_values=1)
            feeds["attention_mask"] = mask
            if "position_ids" in inputs:
                places = np.maximum(mask.cumsum(1) - 1, 0)
                feeds["position_ids"] = places[:, -feeds[self.ids_name].shape[1] :]
        names = self.outputs[first]
        step = getattr(self.net, "step", None)
        outputs = step(feeds, names) if step is not None else self.net(feeds)
        for name in self.past:
            if first or ".encoder." not in name:
                self.past[name] = outputs[_present(name)]
        return _array(outputs["logits"])

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these rows only; one that is named several times goes on as often."""
        self._take(rows, "")
        self.feeds = {name: array[rows] for name, array in self.feeds.items()}

    def reorder(self, rows: np.ndarray) -> None:
        """Row i goes on from row `rows[i]`, which has the same source."""
        if not np.array_equal(rows, np.arange(self.rows)):
            self._take(rows, ".encoder.")

    def _take(self, rows: np.ndarray, without: str) -> None:
        self.ids = self.ids[rows]
        for name, value in self.past.items():
            if without and without in name:
                continue
            array = _array(value)
            per_row = array.shape[0] // self.rows
            self.past[name] = array[rows if per_row == 1 else np.add.outer(rows * per_row, np.arange(per_row)).ravel()]
        self.rows = len(rows)


def _present(name: str) -> str:
    """The output that is the next step's input of this name."""
    known = name.startswith("past_key_values")
    return name.replace("past_key_values", "present") if known else name.replace("past", "present", 1)


def _array(value: Any) -> np.ndarray:
    array: np.ndarray = value if isinstance(value, np.ndarray) else value.numpy()
    return array


def _empty(name: str, shape: list[Any], rows: int, heads: int) -> tuple[int, ...]:
    """The shape of a past without tokens: rows first, one free axis for the tokens, or none where it has a fixed size.

    Raises:
        InputError: other sizes are not fixed.
    """
    rest = [0 if not isinstance(size, int) else size for size in shape[1:]]
    if rest.count(0) > 1:
        raise InputError(f"the decoder's cache '{name}' has no fixed number of heads and width")
    each = heads if isinstance(shape[0], str) and "num_heads" in shape[0] else 1
    return (rows * each, *rest)
