"""Writing a network of transformers as ONNX, by whichever way of exporting gives PyTorch's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sensorium import model, verification
from sensorium.errors import Refused, SensoriumError
from sensorium.nets.ort import OrtNet
from sensorium.training.export import OPSET, free_sizes_kept, reason_of, silent, write_network
from sensorium.training.nets import TorchNet
from sensorium.training.plan import Part


@dataclass
class Written:
    """One network in a file.

    Attributes:
        difference: the largest from PyTorch, on all samples.
        feeds, expected: the first sample with PyTorch's outputs.
        inputs: of the file: name to shape and type.
        notes: what the user should know.
    """

    difference: float
    feeds: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    inputs: dict[str, Any]
    notes: list[str]


class _Ordered(nn.Module):
    """A module that takes its named inputs in order."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *values: torch.Tensor) -> Any:
        return self.module(**dict(zip(self.names, values)))


def write_traced(part: Part, path: Path) -> None:
    """Write a part by recording one run of it: for modules whose code cannot be analysed.

    Raises:
        Refused: it cannot be expressed in ONNX.
    """
    axes = {name: dict(free) for name, free in part.dynamic.items()}
    with torch.no_grad():
        found = TorchNet(part)(_arrays(part.inputs))
    for name, array in found.items():
        axes[name] = {0: "batch_size"} if array.ndim else {}
    try:
        with silent(), torch.no_grad(), free_sizes_kept(part.module):
            torch.onnx.export(
                _Ordered(part.module, list(part.inputs)).eval(),
                tuple(part.inputs.values()),
                str(path),
                input_names=list(part.inputs),
                output_names=part.outputs,
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever the module raised
        raise Refused(f"{path.name}: the network cannot be written as ONNX: {reason_of(error)}") from error


def _still(part: Part) -> Part:
    """The same part with no free axis but the batch."""
    free = {name: {0: axes[0]} if 0 in axes else {} for name, axes in part.dynamic.items()}
    return dataclasses.replace(part, dynamic=free, other=None, more=())


def varies(part: Part) -> bool:
    """Whether the samples of a part differ in more than the number of their examples."""
    return any(tensor.shape[1:] != part.inputs[name].shape[1:] for name, tensor in (part.other or {}).items())


def _arrays(batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in batch.items()}


def write(part: Part, path: Path, name: str, task: Any = None) -> Written:
    """Write a part, and check the file against PyTorch on its samples.

    Ways that fail, or whose file gives other outputs, are followed by the next; the last gives up free sizes, unless
    the task is known to prepare inputs of several.

    Args:
        name: of the architecture, for messages.

    Raises:
        Refused: no way leads to a file.
    """
    ways: list[tuple[Callable[[Part, Path], None], Part, list[str]]] = [(write_network, part, [])]
    if part.write is None:
        ways.append((write_traced, part, []))
        # A cache that cannot grow would be of no use.
        grows = any(name.startswith("past_key_values") for name in part.inputs)
        if (
            not grows
            and not (task is not None and varies(part))
            and any(max(axes, default=0) for axes in part.dynamic.values())
        ):
            fixed = ["takes only inputs of the sample's size"]
            ways += [(write_network, _still(part), fixed), (write_traced, _still(part), fixed)]
    best: tuple[float, int, Path] | None = None
    problem = ""
    for number, (way, given, _) in enumerate(ways):
        place = path.with_name(f"way{number}") / path.name
        place.parent.mkdir()
        try:
            way(given, place)
            difference = worst_difference(task, given, place)
        except SensoriumError as error:
            problem = problem or str(error).removeprefix(f"{path.name}: ")
            _remove(place.parent)
            continue
        if best is None or difference < best[0]:
            if best is not None:
                _remove(best[2].parent)
            best = (difference, number, place)
        else:
            _remove(place.parent)
        if difference <= verification.TOLERANCES["fp32"]:
            break
    if best is None:
        raise Refused(f"{name}: {path.name}: {problem}")
    difference, number, place = best
    for file in sorted(place.parent.iterdir()):
        file.replace(path.parent / file.name)
    place.parent.rmdir()
    feeds = _arrays(part.inputs)
    net = OrtNet(path)
    inputs = {k: {"shape": shape, "dtype": np.dtype(dtype).name} for k, (shape, dtype) in net.inputs.items()}
    return Written(difference, feeds, TorchNet(part)(feeds), inputs, list(ways[number][2]))


def worst_difference(task: Any, part: Part, path: Path) -> float:
    """The largest difference of a file from PyTorch, on all samples of a part; a tenth of it for those that are to find
    graphs that decided something by the number of tokens: these are far off, and rounding grows over long texts.

    Raises:
        InputError: the file does not load, or does not take a sample.
    """
    net, reference = OrtNet(path), TorchNet(part)
    worst = 0.0
    samples = [(part.inputs, 1.0), (part.other, 1.0), *((batch, 0.1) for batch in part.more)]
    for batch, weight in samples:
        if batch is not None:
            feeds = _arrays(batch)
            worst = max(worst, weight * model.difference(task, reference(feeds), net(feeds)))
    return worst


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
