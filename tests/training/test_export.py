from __future__ import annotations

import torch
from torch import nn
from torch.utils._device import _device_constructors

from sensorium.training.export import free_sizes_kept


def test_after_an_export_tensors_are_made_on_the_device_that_is_asked_for() -> None:
    """Otherwise transformers believes that it has initialised what it only planned, and leaves it as it finds it."""
    _device_constructors.cache_clear()  # as in a process that has asked for no device yet
    with free_sizes_kept(nn.Linear(1, 1)), torch.device("cpu"):
        torch.empty(1)
    with torch.device("meta"):
        assert all(made.is_meta for made in (torch.tensor([1.0]), torch.as_tensor([1]), torch.linspace(0, 1, 3)))
