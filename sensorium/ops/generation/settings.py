"""How to search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sensorium.errors import CallError
from sensorium.ops.generation import rules, sampling
from sensorium.ops.generation.rules import Rule
from sensorium.ops.generation.stopping import Stop, max_time


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
        stops: what else ends a sequence, besides `eos`.
        do_sample: draw tokens by their chances instead of taking the likeliest.
        warpers: applied after the rules where tokens are drawn.
        num_return_sequences: answers to each prompt.
        seeds: one for each prompt; without them, no two draws are alike.
    """

    max_length: int
    eos: tuple[int, ...]
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    rules: tuple[Rule, ...] = ()
    stops: tuple[Stop, ...] = ()
    do_sample: bool = False
    warpers: tuple[Rule, ...] = ()
    num_return_sequences: int = 1
    seeds: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        prompt: int,
        *,
        mask: np.ndarray | None = None,
        encoder_ids: np.ndarray | None = None,
        constraints: Sequence[Rule] = (),
        stops: Sequence[Stop] = (),
        seeds: Sequence[int] | None = None,
    ) -> Settings:
        """From what a `generation_config.json` says, for prompts of so many tokens.

        Args:
            mask: of the prompts (rows, tokens), 0 where they are filled up at their left.
            encoder_ids: (rows, tokens) what the encoder has read.
            constraints: rules of what may be written at all.
            stops: what else ends a sequence.
            seeds: one for each prompt.

        Raises:
            InputError: it says what is not possible.
        """
        new, longest = config.get("max_new_tokens"), config.get("max_length")
        max_length = prompt + int(new) if new else int(longest) if longest else prompt + 20
        beams, count = (_count(config, name) for name in ("num_beams", "num_return_sequences"))
        if beams < 1 or count < 1 or max_length <= prompt:
            raise CallError(
                "num_beams, num_return_sequences and max_new_tokens must be at least 1"
                if max_length > prompt or not longest
                else f"the prompt has {prompt} tokens and max_length is {max_length}: nothing can follow"
            )
        drawn = bool(config.get("do_sample"))
        if config.get("num_beam_groups") not in (None, 1) or config.get("penalty_alpha") or (drawn and beams > 1):
            raise CallError("generation with num_beam_groups, penalty_alpha, or beams and do_sample is not supported")
        if count > beams and not drawn:
            raise CallError("num_return_sequences above 1 needs do_sample or as many beams")
        eos = rules.ids_of(config.get("eos_token_id"))
        penalty, seconds = config.get("length_penalty"), config.get("max_time")
        return cls(
            max_length=max_length,
            eos=eos,
            num_beams=beams,
            length_penalty=1.0 if penalty is None else float(penalty),
            early_stopping=config.get("early_stopping") or False,
            rules=tuple(rules.rules(config, prompt, max_length, eos, mask, encoder_ids, constraints)),
            stops=(*stops, *([max_time(float(seconds))] if seconds is not None else [])),
            do_sample=drawn,
            warpers=tuple(sampling.warpers(config)) if drawn else (),
            num_return_sequences=count,
            seeds=None if seeds is None else tuple(seeds),
        )

    @property
    def copies(self) -> int:
        """Rows that each prompt is followed in."""
        return self.num_return_sequences if self.do_sample else self.num_beams


def _count(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int):
        raise CallError(f"{name} must be a whole number, not {value!r}")
    return value
