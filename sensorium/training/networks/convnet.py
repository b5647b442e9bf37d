"""A compact convolutional network for pictures of any size, quick on a CPU.

Residual blocks of two 3x3 convolutions (He et al. 2016), with the shortcut of ResNet-D (He et al. 2019: averaged, not
skipped, where the size halves). The first layers shrink the picture early: there the pixels are many and the channels
few, which is where processors are slowest for what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Block(nn.Module):
    """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, stride=stride)
        self.second = convolution(outputs, outputs)
        nn.init.zeros_(self.second[1].weight)  # each block begins as its shortcut
        shortcut: list[nn.Module] = [nn.AvgPool2d(2, 2, ceil_mode=True)] if stride == 2 else []
        if inputs != outputs:
            shortcut += convolution(inputs, outputs, kernel=1)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(functional.relu(self.first(x)))
        return functional.relu(y + self.shortcut(x))


class ConvNet(nn.Module):
    """`pixel_values` (N, 3, H, W) to `logits` (N, labels).

    Args:
        widths: channels of each stage.
        depths: blocks of each stage.
        stem: how often the size halves before the first stage, 0 to 2; each further stage halves it once.
        dropout: share of features left out before the last layer, while training.
    """

    def __init__(
        self,
        labels: int,
        widths: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (1, 1, 1, 1),
        stem: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for i in range(max(1, stem)):
            outputs = widths[0] if i == max(1, stem) - 1 else max(16, widths[0] // 2)
            layers += [*convolution(inputs, outputs, stride=2 if i < stem else 1), nn.ReLU()]
            inputs = outputs
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                layers.append(Block(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        features = self.features(pixel_values).mean((2, 3))
        return self.head(self.dropout(features))
