"""The network being trained, behind the same seam as a network in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from sensorium.training.plan import Part


class TorchNet:
    """One part as a function from named arrays to named arrays."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.outputs = part.outputs
        self.inputs: dict[str, tuple[list[Any], Any]] = {}
        for name, tensor in part.inputs.items():
            free = part.dynamic.get(name, {})
            shape = [free.get(axis, size) for axis, size in enumerate(tensor.shape)]
            self.inputs[name] = (shape, torch.empty(0, dtype=tensor.dtype).numpy().dtype)

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = next(self.part.module.parameters(), None)
        device = found.device if found is not None else torch.device("cpu")
        ready = {
            name: torch.from_numpy(np.asarray(feeds[name], dtype=dtype, order="C")).to(device)
            for name, (_, dtype) in self.inputs.items()
        }
        with torch.inference_mode():
            outputs = self.part.module(**ready)
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        return {
            name: value.float().cpu().numpy() if value.is_floating_point() else value.cpu().numpy()
            for name, value in zip(self.outputs, outputs)
        }


class TorchNets(Mapping[str, TorchNet]):
    """The parts that a recipe exports, run by PyTorch."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._nets = {stem: TorchNet(part) for stem, part in parts.items()}

    def __getitem__(self, name: str) -> TorchNet:
        return self._nets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nets)

    def __len__(self) -> int:
        return len(self._nets)
