"""Attention without a mask is one operator in the file, and gives what PyTorch gives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from sensorium.nets.ort import OrtNet
from sensorium.training.export import write_network
from sensorium.training.plan import Part


class Attention(nn.Module):
    """As transformers writes it: `mask` is "nothing" (zeros everywhere), "input", or None; `scale` says on what."""

    def __init__(self, mask: str | None, scale: str = "scores", heads: int = 3, size: int = 8) -> None:
        super().__init__()
        self.mask, self.scale, self.heads, self.size = mask, scale, heads, size
        width = heads * size
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, states: torch.Tensor, lengths: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        batch, count, width = states.shape
        q, k, v = (
            layer(states).view(batch, count, self.heads, self.size).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        factor = self.size**-0.5
        if self.scale == "query":
            q, factor = q * factor, 1.0
        scores = q @ k.transpose(2, 3) * factor
        if self.mask == "nothing":
            seen = torch.ones(1, 1, 1, 1, dtype=torch.bool).expand(batch, 1, count, count)
            scores = scores + torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        if lengths is not None:
            seen = torch.arange(count)[None, None, None] < lengths[:, None, None, None]
            scores = scores + torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        mixed = scores.softmax(-1) @ v
        return {"y": self.out(mixed.transpose(1, 2).reshape(batch, count, width))}


def written(module: nn.Module, inputs: dict[str, torch.Tensor], path: Path) -> tuple[Counter[str], OrtNet]:
    free: dict[str, Any] = {name: {0: "batch_size"} for name in inputs}
    free["states"][1] = "sequence_length"
    write_network(Part(module, inputs, ["y"], free), path)
    return Counter(node.op_type for node in onnx.load(path).graph.node), OrtNet(path)


@pytest.mark.parametrize("mask", [None, "nothing"])
@pytest.mark.parametrize("scale", ["scores", "query"])
def test_without_a_mask(mask: str | None, scale: str, tmp_path: Path) -> None:
    module = Attention(mask, scale).eval()
    operators, net = written(module, {"states": torch.randn(2, 5, 24)}, tmp_path / "model.onnx")
    assert operators["MultiHeadAttention"] == 1
    assert not operators["Softmax"]
    assert not operators["Transpose"]
    assert not operators["Where"]
    for shape in ((1, 1, 24), (3, 70, 24)):
        states = torch.randn(*shape)
        with torch.no_grad():
            expected = module(states)["y"].numpy()
        np.testing.assert_allclose(net({"states": states.numpy()})["y"], expected, atol=2e-6)


def test_with_a_mask(tmp_path: Path) -> None:
    module = Attention("input").eval()
    given = {"states": torch.randn(2, 5, 24), "lengths": torch.tensor([5, 3])}
    operators, net = written(module, given, tmp_path / "model.onnx")
    assert operators["Softmax"] == 1
    assert not operators["MultiHeadAttention"]
    with torch.no_grad():
        expected = module(**given)["y"].numpy()
    found = net({name: value.numpy() for name, value in given.items()})["y"]
    np.testing.assert_allclose(found, expected, atol=2e-6)
