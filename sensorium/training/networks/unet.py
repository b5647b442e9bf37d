"""A small U-Net that says which way a noisy picture should move, and the classifier that judges pictures by."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def wave(timestep: Tensor, size: int) -> Tensor:
    """Sines and cosines of a time, as in "Attention is all you need": (N,) in 0..1000 to (N, size)."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(size // 2, device=timestep.device) / (size // 2))
    angles = timestep.float()[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), 1)


class Norm(nn.GroupNorm):
    """Group normalisation with sixteen channels or so in each group."""

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__(math.gcd(channels, max(1, channels // 16)), channels, affine=affine)


class Block(nn.Module):
    """A residual block of two convolutions; time and class scale and shift its middle."""

    def __init__(self, inputs: int, outputs: int, condition: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = Norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.condition = nn.Linear(condition, 2 * outputs)
        self.norm2 = Norm(outputs, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.conv2.weight)  # starts as the identity
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, 1)
        h = functional.silu(self.norm2(h) * (1 + scale) + shift)
        return self.skip(x) + self.conv2(self.dropout(h))


class Attention(nn.Module):
    """Every place looks at every other; heads of 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 32)
        self.norm = Norm(channels)
        self.mix = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.mix(tokens).reshape(n, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c)
        return x + self.out(y).transpose(1, 2).reshape(n, c, h, w)


class UNet(nn.Module):
    """Noisy pictures, their times and classes to velocities.

    Args:
        channels: of the picture: 1 grey, 3 colour.
        widths: channels at each level; each level has half the size of the one before.
        layers: blocks of each level on the way down; one more on the way up.
        classes: number of classes; one more embedding stands for "none". 0 for a network without classes.
        patch: side of the squares of pixels that become one place of the first level, as its channels.
        dropout: share of channels' values dropped inside the blocks while training.
    """

    MOVES = 7  # numbers that say how a training picture was moved

    def __init__(
        self, channels: int, widths: list[int], layers: int, classes: int, patch: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        condition = 4 * widths[0]
        self.frequencies = widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], condition), nn.SiLU(), nn.Linear(condition, condition))
        self.classes = nn.Embedding(classes + 1, condition)
        self.moves = nn.Linear(self.MOVES, condition, bias=False)
        self.patch = patch
        self.first = nn.Conv2d(channels * patch**2, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        at, skips = widths[0], [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(layers):
                self.down.append(Block(at, width, condition, dropout))
                at = width
                skips.append(at)
            if level < len(widths) - 1:
                self.down.append(nn.Conv2d(at, at, 3, stride=2, padding=1))
                skips.append(at)
        self.middle1 = Block(at, at, condition, dropout)
        self.attention = Attention(at)
        self.middle2 = Block(at, at, condition, dropout)
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(layers + 1):
                self.up.append(Block(at + skips.pop(), width, condition, dropout))
                at = width
            if level:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(at, at, 3, padding=1)))
        self.last = nn.Sequential(Norm(at), nn.SiLU(), nn.Conv2d(at, channels * patch**2, 3, padding=1))
        nn.init.zeros_(self.last[2].weight)
        nn.init.zeros_(self.last[2].bias)

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor, moves: Tensor | None = None) -> Tensor:
        """(N, C, H, W) in about -1..1, (N,) in 0..1000, (N,) integers; to the velocity, (N, C, H, W).

        `moves`, (N, 7), tells how the pictures were augmented (Karras et al. 2022); None is not at all.
        """
        condition = self.time(wave(timestep, self.frequencies)) + self.classes(class_labels)
        if moves is not None:
            condition = condition + self.moves(10 * moves)
        condition = functional.silu(condition)
        x = self.first(functional.pixel_unshuffle(sample, self.patch) if self.patch > 1 else sample)
        skips = [x]
        for layer in self.down:
            x = layer(x, condition) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        x = self.middle2(self.attention(self.middle1(x, condition)), condition)
        for layer in self.up:
            x = layer(torch.cat((x, skips.pop()), 1), condition) if isinstance(layer, Block) else layer(x)
        x = self.last(x)
        return functional.pixel_shuffle(x, self.patch) if self.patch > 1 else x


class Judge(nn.Module):
    """A small classifier; the layer before its last gives the features that FID and KID compare.

    Args:
        channels: of the picture.
        width: channels of the first of three levels.
        features: length of the feature vector.
        classes: number of classes.
    """

    def __init__(self, channels: int, width: int, features: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        at = channels
        for size in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(at, size, 3, padding=1, bias=False), nn.BatchNorm2d(size), nn.ReLU()]
            layers += [nn.Conv2d(size, size, 3, padding=1, bias=False), nn.BatchNorm2d(size), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
            at = size
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        # Unit variance in every feature: the scale that the kernel of KID is made for.
        self.features = nn.Sequential(nn.Linear(4 * at, features), nn.BatchNorm1d(features, affine=False))
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.2), nn.Linear(features, classes))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(N, C, H, W) in -1..1 to features (N, D)."""
        return self.features(self.body(pixel_values))

    def classify(self, pixel_values: Tensor) -> Tensor:
        """(N, C, H, W) in -1..1 to logits (N, classes)."""
        return self.head(self(pixel_values))
