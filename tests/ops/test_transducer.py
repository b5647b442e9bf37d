"""Greedy decoding of transducers, on networks whose answers stand in a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.ops import transducer
from sensorium.ops.ctc import Run

BLANK = 3


class Decoder:
    """Hands the last token on, and counts how often it is asked."""

    def __init__(self) -> None:
        self.inputs = {"hidden_state": ([1, "batch_size", 2], np.float32)}
        self.asked: list[int] = []

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        token = feeds["input_ids"].astype(np.float32)[:, :, None]
        self.asked.append(int(token.item()))
        state = {f"present_{name}": feeds[name] + 1 for name in ("hidden_state", "cell_state")}
        return {"decoder_hidden_states": token, **state}


class Joint:
    """What is said at a frame after a token, and for how long."""

    def __init__(self, table: dict[tuple[int, int], Any], durations: int = 0) -> None:
        self.table = table
        self.durations = durations

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        at = int(feeds["encoder_hidden_states"].item()), int(feeds["decoder_hidden_states"].item())
        token, lasts = self.table.get(at, (BLANK, 1))
        logits = np.zeros((1, 1, BLANK + 1 + self.durations), np.float32)
        logits[0, 0, token] = 1
        if self.durations:
            logits[0, 0, BLANK + 1 + lasts] = 1
        return {"logits": logits}


def frames(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)[:, None]


def test_tokens_that_last() -> None:
    table = {(0, BLANK): (1, 2), (2, 1): (2, 0), (2, 2): (BLANK, 0), (3, 2): (0, 3)}
    nets = {"decoder_model": Decoder(), "joint_model": Joint(table, 5)}
    found = transducer.greedy(nets, frames(7), blank=BLANK, start=BLANK, longest=50, durations=range(5))
    assert found == [Run(1, 0, 2), Run(2, 2, 3), Run(0, 3, 6)]
    assert nets["decoder_model"].asked == [BLANK, 1, 2, 0]  # a blank is not read


def test_only_a_blank_goes_on() -> None:
    table = {(1, BLANK): (1, 0), (1, 1): (2, 0), (2, 2): (2, 0)}
    nets = {"decoder_model": Decoder(), "joint_model": Joint(table)}
    found = transducer.greedy(nets, frames(4), blank=BLANK, start=BLANK, longest=50, most=2)
    assert found == [Run(1, 1, 2), Run(2, 1, 2), Run(2, 2, 3), Run(2, 2, 3)]  # at most two at a frame
    assert len(transducer.greedy(nets, frames(4), blank=BLANK, start=BLANK, longest=3, most=2)) == 2
    assert transducer.greedy(nets, frames(0), blank=BLANK, start=BLANK, longest=3) == []
