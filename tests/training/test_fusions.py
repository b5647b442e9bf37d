"""What is written as one operator in the file gives what PyTorch gives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from sensorium.nets import winograd
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


class Chosen(nn.Module):
    """The best rows of what a few layers make of all, as detectors of two stages choose their boxes."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.places = nn.Parameter(torch.randn(2 if how == "batch" else 1, 40, 4))
        self.score, self.norm = nn.Linear(6, 1), nn.LayerNorm(8)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), self.norm, nn.Linear(8, 4))

    def forward(self, states: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes = self.layers(states) + self.places * torch.sigmoid(states[..., :1])
        if self.how == "mixed":  # each row is made of all
            boxes = boxes - boxes.mean(1, keepdim=True)
        best = torch.topk(self.score(states)[..., 0], 5, dim=1).indices
        found = boxes.gather(1, best.unsqueeze(-1).repeat(1, 1, 4))
        return {"y": found + (boxes.mean() if self.how == "read" else 0)}


@pytest.mark.parametrize(("how", "rows"), [("plain", 5), ("batch", 5), ("mixed", 40), ("read", 40)])
def test_rows_are_chosen_before_they_are_computed(how: str, rows: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Chosen(how).eval()
    path = tmp_path / "model.onnx"
    free = {} if how == "batch" else {"states": {0: "batch_size"}}
    write_network(Part(module, {"states": torch.randn(2, 40, 6)}, ["y"], free), path)
    model = onnx.load(path)
    relu = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    model.graph.output.append(onnx.helper.make_tensor_value_info(relu, onnx.TensorProto.FLOAT, None))
    onnx.save(model, path)
    for batch in (2,) if how == "batch" else (1, 2, 3):
        given = torch.randn(batch, 40, 6)
        with torch.no_grad():
            expected = module(given)["y"].numpy()
        found = OrtNet(path)({"states": given.numpy()})
        np.testing.assert_allclose(found["y"], expected, atol=2e-6)
        assert found[relu].shape == (batch, rows, 8)


class Branches(nn.Module):
    """Two normalised convolutions that are added, as RepVGG has them."""

    def __init__(self, small: int = 1, pad: int = 0, stride: int = 1, groups: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.large = nn.Sequential(
            nn.Conv2d(4, 8, 3, stride, 1, groups=groups, bias=bias), nn.BatchNorm2d(8, track_running_stats=True)
        )
        self.small = nn.Sequential(
            nn.Conv2d(4, 8, small, stride, pad, groups=groups, bias=bias), nn.BatchNorm2d(8, track_running_stats=True)
        )
        for part in (self.large, self.small):
            for value in (part[1].running_mean, part[1].running_var, part[1].weight.data, part[1].bias.data):
                value.uniform_(0.5, 2.0)

    def forward(self, states: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": torch.relu(self.small(states) + self.large(states))}


@pytest.mark.parametrize(
    ("how", "count"),
    [
        ({}, 1),
        ({"bias": True, "groups": 2}, 1),
        ({"stride": 2}, 1),
        ({"small": 3, "pad": 1}, 1),
        ({"small": 5, "pad": 2}, 1),
    ],
)
def test_branches_of_convolutions(how: dict[str, Any], count: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Branches(**how).eval()
    given = torch.randn(2, 4, 9, 6)
    path = tmp_path / "model.onnx"
    write_network(Part(module, {"states": given}, ["y"], {"states": {0: "batch_size"}}), path)
    operators = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert operators["Conv"] == count
    assert not operators["Add"]
    with torch.no_grad():
        expected = module(given)["y"].numpy()
    np.testing.assert_allclose(OrtNet(path)({"states": given.numpy()})["y"], expected, atol=2e-5)


class Apart(nn.Module):
    """Convolutions whose sum is not one: of two values, with kernels beside each other, or read by another, too."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.large = nn.Conv2d(4, 8, 3, 2, 1)
        self.small = nn.Conv2d(4, 8, 2, 2, 1) if how == "even" else nn.Conv2d(4, 8, 1, 2)

    def forward(self, states: torch.Tensor) -> dict[str, torch.Tensor]:
        large, small = self.large(states), self.small(states.abs() if self.how == "values" else states)
        small = small[:, :, : large.shape[2], : large.shape[3]]
        return {"y": torch.relu(large + small) + (small if self.how == "read" else 0)}


@pytest.mark.parametrize("how", ["values", "even", "read"])
def test_convolutions_that_stay_apart(how: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Apart(how).eval()
    given = torch.randn(2, 4, 9, 7)
    path = tmp_path / "model.onnx"
    write_network(Part(module, {"states": given}, ["y"], {"states": {0: "batch_size"}}), path)
    assert Counter(node.op_type for node in onnx.load(path).graph.node)["Conv"] == 2
    with torch.no_grad():
        expected = module(given)["y"].numpy()
    np.testing.assert_allclose(OrtNet(path)({"states": given.numpy()})["y"], expected, atol=2e-5)


class Convolutions(nn.Module):
    """Convolutions of which one is wide enough, and of a map large enough, for another algorithm."""

    def __init__(self) -> None:
        super().__init__()
        wide = winograd.LEAST
        self.layers = nn.Sequential(
            nn.Conv2d(3, wide, 3, padding=1),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.Conv2d(wide, wide, 3, padding=1, groups=2),
            nn.Conv2d(wide, wide, 3, padding=1, stride=2),
            nn.Conv2d(wide, wide, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": self.layers(x)}


@pytest.mark.parametrize("free", [False, True])
def test_maps_that_are_known_are_noted(free: bool, tmp_path: Path) -> None:
    module, path = Convolutions().eval(), tmp_path / "model.onnx"
    axes = {0: "batch", 2: "height"} if free else {0: "batch"}
    x = torch.randn(2, 3, 24, 28)
    write_network(Part(module, {"x": x}, ["y"], {"x": axes}), path)
    notes = [{p.key: p.value for p in node.metadata_props} for node in onnx.load(path).graph.node]
    assert [note for note in notes if note] == ([] if free else [{winograd.MARK: "24x28"}])
    assert b".py" not in path.read_bytes()  # nor where the exporter found what it exports
    with torch.no_grad():
        expected = module(x)["y"].numpy()
    np.testing.assert_allclose(OrtNet(path)({"x": x.numpy()})["y"], expected, atol=2e-5)
