"""A compact convolutional detector whose answers need no suppression of duplicates.

One network with two classifying heads over shared boxes. The *many* head is taught with several cells for each
object, which trains the features well; the *one* head with exactly one cell for each object, so that what it says can
be taken as it is (the dual assignment of YOLOv10, https://arxiv.org/abs/2405.14458, with a separate selecting branch
over shared boxes as in https://arxiv.org/abs/2101.11782). Only the *one* head is exported.

Plain 3x3 convolutions throughout: on CPUs they reach many times the arithmetic rate of depthwise ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)
ABSENT = -50.0  # logit of the classes that a query does not stand for: softmax makes 2e-22 of it


@dataclass
class Raw:
    """What the network says of all its cells, A of them, on three levels one after the other.

    Attributes:
        one, many: (N, A, C) logits of the classes.
        boxes: (N, A, 4) corners in pixels of the network's input.
        sides: (N, A, 4, bins) logits of the distances from a cell's centre to the sides of its box, in strides.
        centres: (A, 2) in pixels.
        strides: (A,) in pixels.
    """

    one: Tensor
    many: Tensor | None
    boxes: Tensor
    sides: Tensor
    centres: Tensor
    strides: Tensor


class Detector(nn.Module):
    """From pictures to queries, each of them one class at one place.

    Args:
        classes: number of classes C.
        size: (height, width) of the pictures that it is made for, in pixels.
        width: channels after the first convolution.
        depths: residual blocks at strides 4, 8, 16 and 32.
        neck: channels of the three levels that boxes are read from.
        bins: how far a box can reach from its cell, in strides.
        queries: how many answers it gives.
    """

    def __init__(
        self,
        classes: int,
        size: tuple[int, int],
        width: int = 24,
        depths: tuple[int, int, int, int] = (1, 1, 2, 1),
        neck: int = 64,
        bins: int = 16,
        queries: int = 300,
    ) -> None:
        super().__init__()
        self.classes, self.bins, self.queries = classes, bins, queries
        widths = [width, width * 2, width * 4, width * 6, width * 8]
        self.stem = conv(3, widths[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(before, after, stride=2), *(Residual(after) for _ in range(depth)))
            for before, after, depth in zip(widths, widths[1:], depths)
        )
        self.wide = Pyramid(widths[-1])
        self.lateral = nn.ModuleList(conv(w, neck, 1) for w in widths[-3:])
        self.down_mix = nn.ModuleList(conv(neck * 2, neck) for _ in range(2))
        self.up = nn.ModuleList(conv(neck, neck, stride=2) for _ in range(2))
        self.up_mix = nn.ModuleList(conv(neck * 2, neck) for _ in range(2))
        # As if there were about five objects of any class on each level of a picture: the loss starts out small.
        cells = [math.ceil(size[0] / s) * math.ceil(size[1] / s) for s in STRIDES]
        priors = [math.log(min(0.1, 5 / classes / n)) for n in cells]
        self.many = nn.ModuleList(Tower(neck, classes, prior) for prior in priors)
        self.one = nn.ModuleList(Tower(neck, classes, prior) for prior in priors)
        self.sides = nn.ModuleList(Tower(neck, 4 * bins, 1.0) for _ in priors)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """(N, 3, H, W), 0..1 -> three maps at strides 8, 16 and 32."""
        x = self.stem((pixels - 0.5) * 4)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        levels[-1] = self.wide(x)
        maps = [lateral(level) for lateral, level in zip(self.lateral, levels[-3:])]
        for i in (1, 0):
            above = F.interpolate(maps[i + 1], size=maps[i].shape[-2:], mode="nearest")
            maps[i] = self.down_mix[i](torch.cat([maps[i], above], 1))
        for i in (0, 1):
            maps[i + 1] = self.up_mix[i](torch.cat([self.up[i](maps[i]), maps[i + 1]], 1))
        return maps

    def raw(self, pixels: Tensor, teach: bool = True) -> Raw:
        """What all cells say. With `teach` also of the *many* head, which only training needs."""
        maps = self.features(pixels)
        many = flat([head(m) for head, m in zip(self.many, maps)]) if teach else None
        one = flat([head(m) for head, m in zip(self.one, maps)])
        sides = flat([head(m) for head, m in zip(self.sides, maps)]).unflatten(2, (4, self.bins))
        centres, strides = grid(maps)
        steps = torch.arange(self.bins, dtype=torch.float32, device=pixels.device)
        reach = (sides.softmax(3) * steps).sum(3) * strides[:, None]
        boxes = torch.cat([centres - reach[..., :2], centres + reach[..., 2:]], 2)
        return Raw(one, many, boxes, sides, centres, strides)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """The best pairs of cell and class.

        Args:
            pixel_values: (N, 3, H, W), 0..1.

        Returns:
            logits (N, Q, C + 1): that of the query's own class, `ABSENT` for the others, and 0 for "no object", so
            that softmax over them gives the chance that the network means, as sigmoid of the first would; pred_boxes
            (N, Q, 4), centre form, as fractions of the picture. Q is `queries`, or fewer where there are not as many.
        """
        height, width = pixel_values.shape[-2:]
        raw = self.raw(pixel_values, teach=False)
        flat_logits = raw.one.flatten(1)
        best, index = flat_logits.topk(min(self.queries, flat_logits.shape[1]), 1)
        cell = index // self.classes
        kind = index - cell * self.classes
        own = kind[..., None] == torch.arange(self.classes, device=kind.device)
        logits = torch.cat([torch.where(own, best[..., None], ABSENT), torch.zeros_like(best)[..., None]], 2)
        corners = raw.boxes.gather(1, cell[..., None].expand(-1, -1, 4))
        corners = corners / torch.tensor([width, height, width, height], device=corners.device)
        corners = corners.clamp(0, 1)
        low, high = corners[..., :2], corners[..., 2:]
        return logits, torch.cat([(low + high) / 2, high - low], 2)


def flat(maps: list[Tensor]) -> Tensor:
    """Maps (N, C, H, W) -> (N, all cells, C) float32."""
    return torch.cat([m.flatten(2) for m in maps], 2).transpose(1, 2).float()


def grid(maps: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Centres (A, 2) and strides (A,) of the cells of all maps, in pixels."""
    centres, strides = [], []
    for m, stride in zip(maps, STRIDES):
        height, width = m.shape[-2:]
        y = (torch.arange(height, device=m.device) + 0.5) * stride
        x = (torch.arange(width, device=m.device) + 0.5) * stride
        centres.append(torch.stack([x.repeat(height), y.repeat_interleave(width)], 1))
        strides.append(torch.full((height * width,), float(stride), device=m.device))
    return torch.cat(centres), torch.cat(strides)


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, SiLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
        nn.SiLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Pyramid(nn.Module):
    """Maxima over growing windows, mixed: a wide view at a small price."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = conv(width, width // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.mix = conv(width * 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.reduce(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.mix(torch.cat(parts, 1))


class Tower(nn.Module):
    """Two convolutions and a linear answer for each cell."""

    def __init__(self, width: int, outputs: int, bias: float) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width))
        self.out = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.constant_(self.out.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.out(self.body(x))
        return answer
