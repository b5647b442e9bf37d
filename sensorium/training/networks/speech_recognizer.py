"""A small speech recogniser from scratch: convolutions over log-mel frames, one row of labels per frame (CTC).

Its inputs and outputs are those of ParakeetForCTC: `input_features`, `attention_mask` and `logits`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A convolution over time, then one over channels, each added to what came in.

    Args:
        width: channels.
        kernel: frames that one convolution sees.
        groups: of channels that the convolution over time keeps apart.
    """

    def __init__(self, width: int, kernel: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.time = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        self.between = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        # Each block begins as nearly nothing, so that depth does no harm at first.
        nn.init.zeros_(self.down.bias)
        nn.init.normal_(self.down.weight, std=0.02)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, width) and (B, T, 1) to (B, T, width)."""
        y = (self.before(x) * mask).transpose(1, 2)
        x = x + self.dropout(F.gelu(self.time(y).transpose(1, 2)))
        return x + self.dropout(self.down(F.gelu(self.up(self.between(x)))))


class SpeechRecognizer(nn.Module):
    """Log-mel frames to one row of logits per frame, or per `factor` frames.

    What fills up the shorter sounds of a batch is taken out before each convolution, so that it changes nothing.

    Args:
        bands: of the log-mel frames.
        labels: characters, with the blank.
        factor: frames taken together: 1, 2, 4 or 8.
        width, depth, kernel, groups, dropout: of the blocks.
    """

    def __init__(
        self, bands: int, labels: int, factor: int, width: int, depth: int, kernel: int, groups: int, dropout: float
    ) -> None:
        super().__init__()
        sizes = [bands] + [width] * (factor.bit_length() - 1)
        self.shorten = nn.ModuleList(nn.Conv1d(a, b, 3, stride=2, padding=1) for a, b in pairwise(sizes))
        self.enter = nn.Conv1d(sizes[-1], width, 5, padding=2)
        self.blocks = nn.ModuleList(Block(width, kernel, groups, dropout) for _ in range(depth))
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, labels)

    def forward(self, input_features: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T, bands) float32 and (B, T) int64 to (B, T / factor, labels)."""
        length = attention_mask.sum(1)
        x = (input_features * attention_mask.unsqueeze(-1).to(input_features.dtype)).transpose(1, 2)
        for layer in self.shorten:
            length = (length - 1) // 2 + 1
            x = F.gelu(layer(x))
            x = x * self._mask(x, length)
        x = F.gelu(self.enter(x))
        mask = self._mask(x, length).transpose(1, 2)
        x = x.transpose(1, 2)
        for block in self.blocks:
            x = block(x, mask)
        # After the end of a sound stands the blank (label 0), for runtimes that read all rows.
        after = F.pad(8 * (1 - mask), (0, self.head.out_features - 1))
        return self.head(self.last(x)) * mask + after

    def frames(self, length: Tensor) -> Tensor:
        """How many rows of logits belong to sounds of so many frames."""
        for _ in self.shorten:
            length = (length - 1) // 2 + 1
        return length

    @staticmethod
    def _mask(x: Tensor, length: Tensor) -> Tensor:
        """(B, 1, T): 1 for the frames of the sound, 0 after its end."""
        place = torch.arange(x.shape[-1], device=x.device)
        return (place[None, :] < length[:, None]).unsqueeze(1).to(x.dtype)
