"""What a recipe decides before training starts, and what it exports in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch


@dataclass
class Plan:
    """Everything the loop needs to know; written to `run.json`.

    Attributes:
        task: the task, complete: labels, tokenizer and preprocessing are learned.
        network: how to build the network, as JSON values.
        base: a Hugging Face folder that the network starts from, or None for from scratch.
        epochs: passes over the training data (fewer with `--budget`).
        average: decay of the exponential moving average of the weights, 0 for none.
        monitor: `metric` chooses the best epoch by the task's main metric, `loss` by the validation loss.
        parameters: the recipe's own hyper-parameters, resolved.
    """

    task: Any
    network: dict[str, Any]
    base: Path | None = None
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    average: float = 0.999
    clip: float = 1.0
    accumulate: int = 1
    patience: int | None = None
    monitor: Literal["metric", "loss"] = "metric"
    channels_last: bool = False
    autocast: bool = True
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass
class Part:
    """One file to export: a module, inputs to trace it with, and names.

    Attributes:
        module: called with `inputs` as keyword arguments; returns the outputs as a tuple, or one tensor.
        inputs: name to tensor, with a batch of two examples.
        outputs: names of the outputs, in order.
        dynamic: for each input name, axis number to axis name (`{"pixel_values": {0: "batch"}}`).
        write: writes the ONNX file itself, where tracing the module is not enough (a decoder with a branch).
        other: inputs of other sizes along the free axes, on which the file is checked as well.
        more: further such inputs: the shortest, the longest, where a module may decide by sizes or by values.
    """

    module: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    outputs: list[str]
    dynamic: dict[str, dict[int, str]]
    write: Callable[[Path], None] | None = None
    other: dict[str, torch.Tensor] | None = None
    more: tuple[dict[str, torch.Tensor], ...] = ()
