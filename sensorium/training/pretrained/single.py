"""One forward pass: encoders, classifiers, detectors, segmenters and their like become `model.onnx`."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from sensorium.errors import Refused
from sensorium.training.plan import Part
from sensorium.training.pretrained import rewrites
from sensorium.training.pretrained.checkpoint import BODY as BODY_TASKS
from sensorium.training.pretrained.checkpoint import Checkpoint
from sensorium.training.pretrained.samples import free_axes
from sensorium.training.pretrained.writing import write_traced

# Outputs that are steps on the way, or for training.
INNER = re.compile(
    r"loss.*|.*attentions?|past_key_values|auxiliary.*|intermediate.*|init.*|enc_.*|encoder_.*|decoder_.*|denois.*|"
    r".*hidden_states|mems|state|.*loc|.*scale|extract_features|projected_.*states"
)
# Families whose analysis takes many times as long as recording a run, which gives the same.
RECORDED = ("mask2former", "oneformer")
BODY = ("last_hidden_state", "pooler_output")


def match(config: dict[str, Any], task: str | None) -> float:
    return 0.1


class Answers(nn.Module):
    """A model of transformers that returns only some of its outputs, as a tuple."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(**inputs, return_dict=True)
        return tuple(found[name] for name in self.names)


def outputs_of(found: Any, body: bool = False) -> list[str]:
    """Names of a model's outputs that are its answer: not its inner states, unless there is nothing else.

    Args:
        body: whether the states of the model's body are wanted, if it has them.
    """
    tensors = [name for name, value in found.items() if isinstance(value, torch.Tensor)]
    if body and BODY[0] in tensors:
        return [name for name in tensors if name in BODY]
    answers = [name for name in tensors if not INNER.fullmatch(name) and name not in BODY]
    return answers or [name for name in tensors if name in BODY] or tensors[:1]


def parts(checkpoint: Checkpoint) -> dict[str, Part]:
    model = checkpoint.model
    for config in (model.config, model.config.get_text_config()):
        config.use_cache = False
    if checkpoint.task_name is None and model.can_generate():
        raise Refused(
            f"{checkpoint.name} generates in a way that is not known here: one forward pass of it would be of no use"
        )
    if any(hasattr(module, "num_hashes") for module in model.modules()):  # of Reformer, for texts of some length
        raise Refused(f"{checkpoint.name} attends by hashes that it draws at random, which is not exported")
    first, second = checkpoint.inputs
    try:
        with torch.no_grad():
            found, again = (model(**first, return_dict=True) for _ in range(2))
    except Exception as error:  # a model raises whatever it misses
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        given = ", ".join(first)
        raise Refused(f"{checkpoint.name} cannot be run on {given}: {reason}") from error
    answers = outputs_of(found, checkpoint.task_name in BODY_TASKS)
    names = [name for name in answers if name not in checkpoint.without]
    wanted = getattr(checkpoint.task, "outputs", None) or names
    names = [name for name in names if name in wanted] or names
    if not names:
        raise Refused(f"{checkpoint.name}: its weights lack those of its output {', '.join(checkpoint.without)}")
    if not all(torch.allclose(found[name], again[name], 1e-3, 1e-3, equal_nan=True) for name in names):
        raise Refused(
            f"{checkpoint.name} answers differently each time: it draws random numbers, which is not exported"
        )
    module = Answers(model, names)
    if rewrites.apply(model):
        with torch.no_grad():
            rewritten = module(**first)
        if not all(torch.allclose(a, found[name], rtol=1e-4, atol=1e-4) for a, name in zip(rewritten, names)):
            raise Refused(f"{checkpoint.name}: written for export, it does not give what transformers gives")
    part = Part(module, first, names, free_axes(first, second), other=second)
    if checkpoint.config.get("model_type") in RECORDED:
        part.write = partial(write_traced, replace(part))
    return {"model": part}
