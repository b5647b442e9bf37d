"""Transducers: at each frame of a sound, which token is said next, or none, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sensorium.ops.ctc import Run


def greedy(
    nets: Mapping[str, Any],
    frames: np.ndarray,
    *,
    blank: int,
    start: int,
    longest: int,
    durations: Sequence[int] | None = None,
    most: int = 10,
) -> list[Run]:
    """The likeliest token at each step, as transformers' `generate` for Parakeet.

    Args:
        nets: `decoder_model` (`input_ids`, `hidden_state` and `cell_state` to `decoder_hidden_states` and both states)
            and `joint_model` (`encoder_hidden_states`, `decoder_hidden_states` to `logits`).
        frames: (time, width) of one sound.
        blank: the token that says nothing.
        start: the token that the first one follows.
        longest: steps after which it ends, whatever remains to be heard.
        durations: frames that a token may last (TDT), whose scores follow those of the tokens; None where only a blank
            goes on to the next frame (RNN-T).
        most: tokens at one frame.

    Returns:
        The tokens with their frames.
    """
    decoder, joint = nets["decoder_model"], nets["joint_model"]
    layers, _, width = decoder.inputs["hidden_state"][0]
    hidden = cell = np.zeros((layers, 1, width), np.float32)
    found: list[Run] = []
    said: np.ndarray | None = None
    token, at, here = start, 0, 0
    for _ in range(longest):
        if at >= len(frames):
            break
        if said is None or token != blank:
            feeds = {"input_ids": np.array([[token]], np.int64), "hidden_state": hidden, "cell_state": cell}
            outputs = decoder(feeds)
            said = outputs["decoder_hidden_states"]
            hidden, cell = outputs["present_hidden_state"], outputs["present_cell_state"]
        feeds = {"encoder_hidden_states": frames[None, at : at + 1], "decoder_hidden_states": said}
        scores = joint(feeds)["logits"][0, 0]
        if durations is None:
            token = int(scores.argmax())
            here = 0 if token == blank else here + 1
            step = int(token == blank or here >= most)
            here = 0 if step else here
            lasts = 1
        else:
            count = len(scores) - len(durations)
            token, step = int(scores[:count].argmax()), durations[int(scores[count:].argmax())]
            step = max(step, 1) if token == blank else step
            lasts = max(step, 1)
        if token != blank:
            found.append(Run(token, at, at + lasts))
        at += step
    return found
