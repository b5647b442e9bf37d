from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._device import _device_constructors

from sensorium.nets.ort import OrtNet
from sensorium.training.export import free_sizes_kept, write_network
from sensorium.training.plan import Part


def test_after_an_export_tensors_are_made_on_the_device_that_is_asked_for() -> None:
    """Otherwise transformers believes that it has initialised what it only planned, and leaves it as it finds it."""
    _device_constructors.cache_clear()  # as in a process that has asked for no device yet
    with free_sizes_kept(nn.Linear(1, 1)), torch.device("cpu"):
        torch.empty(1)
    with torch.device("meta"):
        assert all(made.is_meta for made in (torch.tensor([1.0]), torch.as_tensor([1]), torch.linspace(0, 1, 3)))


class Normalised(nn.Module):
    """A normalisation whose epsilon is as small as that of Helium."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-8),)


@pytest.mark.filterwarnings("ignore")
def test_a_small_epsilon_stays(tmp_path: Path) -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    part = Part(Normalised(), {"x": x}, ["y"], {"x": {0: "batch_size"}})
    write_network(part, tmp_path / "model.onnx")
    found = OrtNet(tmp_path / "model.onnx")({"x": x.numpy()})["y"]
    np.testing.assert_allclose(found, Normalised()(x)[0].numpy(), rtol=1e-6)
