"""A small Transformer that reads one sequence of tokens and writes another.

Pre-norm layers, sinusoidal positions that are computed (so no greatest length is built in), and one matrix of
embeddings for the source, the target and the output. The two files exported from it have the inputs and outputs
of the Marian family as Optimum exports it: an encoder, and one decoder for the first step and all later ones.

Vaswani et al., Attention Is All You Need, 2017.
Xiong et al., On Layer Normalization in the Transformer Architecture, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEVER = -1e4
"""Score of what cannot be: within the range of half precision."""


def positions(start: int, length: int, width: int) -> Tensor:
    """Sinusoidal positions `start` to `start + length`: (length, width) float32."""
    rate = torch.exp(torch.arange(width // 2, dtype=torch.float32) * (-math.log(10000.0) / (width // 2 - 1)))
    angle = torch.arange(start, start + length, dtype=torch.float32)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def additive(seen: Tensor) -> Tensor:
    """A mask of what may be seen, as what is added to the scores of attention."""
    return (~seen).float() * NEVER


class Attention(nn.Module):
    """Attention with several heads; keys and values (rows, heads, time, width / heads) are made apart."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        key, value = self.key_value(x).chunk(2, dim=-1)
        return self.split(key), self.split(value)

    def forward(self, x: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        query = self.split(self.query(x))
        # Written out: on a CPU, for sentences, this learns several times as fast as the fused kernels.
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        mixed = (scores + mask).softmax(-1).to(value.dtype) @ value
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)))


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.forward_ = FeedForward(width, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norms[0](x)
        x = x + self.dropout(self.attention(normed, *self.attention.keys_values(normed), mask))
        return x + self.dropout(self.forward_(self.norms[1](x)))


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.cross = Attention(width, heads)
        self.forward_ = FeedForward(width, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        past: tuple[Tensor, Tensor] | None,
        encoded: tuple[Tensor, Tensor],
        mask: Tensor,
        encoder_mask: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        normed = self.norms[0](x)
        key, value = self.attention.keys_values(normed)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        x = x + self.dropout(self.attention(normed, key, value, mask))
        x = x + self.dropout(self.cross(self.norms[1](x), *encoded, encoder_mask))
        return x + self.dropout(self.forward_(self.norms[2](x))), (key, value)


class EncoderDecoder(nn.Module):
    """Logits of the next target token, from source tokens and the target tokens so far.

    Args:
        vocabulary: number of tokens.
        generated: only tokens with an id below this are ever generated; the others occur in sources alone, and
            cost nothing in the output layer.
    """

    def __init__(
        self,
        vocabulary: int,
        generated: int,
        width: int = 256,
        heads: int = 4,
        hidden: int = 1024,
        encoder_layers: int = 4,
        decoder_layers: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.vocabulary, self.generated, self.width = vocabulary, generated, width
        self.heads, self.layers = heads, decoder_layers
        # Apart, so that the decoder's file holds only what it needs, and that once.
        self.targets = nn.Embedding(generated, width)
        self.others = nn.Embedding(vocabulary - generated, width)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, hidden, dropout) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, hidden, dropout) for _ in range(decoder_layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder_norm = nn.LayerNorm(width)
        for table in (self.targets, self.others):
            nn.init.normal_(table.weight, std=width**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def embed(self, table: Tensor, ids: Tensor, start: int = 0) -> Tensor:
        x = F.embedding(ids, table) * math.sqrt(self.width)
        return self.dropout(x + positions(start, ids.shape[1], self.width).to(x.device))

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(rows, source) tokens and their mask to (rows, source, width)."""
        mask = additive(attention_mask[:, None, None, :].bool())
        x = self.embed(torch.cat([self.targets.weight, self.others.weight]), input_ids)
        for layer in self.encoder:
            x = layer(x, mask)
        return self.encoder_norm(x)

    def cross_keys_values(self, encoded: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the source for each layer of the decoder: the same in every step."""
        return [layer.cross.keys_values(encoded) for layer in self.decoder]

    def decode(
        self,
        ids: Tensor,
        encoder_mask: Tensor,
        cross: list[tuple[Tensor, Tensor]],
        past: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """(rows, time) tokens that follow the past to (rows, time, width), and the past after them."""
        start = 0 if past is None else past[0][0].shape[2]
        now = torch.arange(start, start + ids.shape[1], device=ids.device)
        mask = additive(torch.arange(start + ids.shape[1], device=ids.device)[None, :] <= now[:, None])
        encoder_mask = additive(encoder_mask[:, None, None, :].bool())
        x, present = self.embed(self.targets.weight, ids, start), []
        for i, layer in enumerate(self.decoder):
            x, pair = layer(x, None if past is None else past[i], cross[i], mask, encoder_mask)
            present.append(pair)
        return self.decoder_norm(x), present

    def logits(self, x: Tensor) -> Tensor:
        """(rows, width) to (rows, generated)."""
        return F.linear(x, self.targets.weight)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Teacher forcing: (rows, target, width), of which `logits` makes the scores of the next tokens."""
        cross = self.cross_keys_values(self.encode(input_ids, attention_mask))
        return self.decode(decoder_input_ids, attention_mask, cross)[0]


def first_or_past(
    make: Callable[[Tensor], Sequence[Tensor]], states: Tensor, use_past: Tensor, past: Sequence[Tensor]
) -> Sequence[Tensor]:
    """`make(states)` in the first step, the past in all later ones: only one of them is computed, in ONNX too.

    Args:
        use_past: (1,) bool.
        past: as many tensors as `make` gives, of the same shapes.
    """
    if not torch.compiler.is_exporting():
        return past if use_past else make(states)

    def first(states: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.contiguous() for tensor in make(states))

    def later(states: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.clone(memory_format=torch.contiguous_format) for tensor in past)

    return torch.cond(use_past[0], later, first, (states, *past))


class Borrowed(nn.Module):
    """An encoder-decoder of Hugging Face (Marian, BART, T5) that learns as an `EncoderDecoder` does."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.vocabulary = self.generated = model.get_output_embeddings().weight.shape[0]

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask)[0]

    def logits(self, x: Tensor) -> Tensor:
        if getattr(self.model.config, "scale_decoder_outputs", False):  # T5
            x = x * self.model.config.d_model**-0.5
        logits = F.linear(x, self.model.get_output_embeddings().weight)
        bias = getattr(self.model, "final_logits_bias", None)
        return logits if bias is None else logits + bias

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        return self.model.get_decoder()(
            input_ids=decoder_input_ids,
            encoder_hidden_states=self.encode(input_ids, attention_mask),
            encoder_attention_mask=attention_mask,
            use_cache=False,
        )[0]


class Encoder(nn.Module):
    """What becomes `encoder_model.onnx`."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.network.encode(input_ids, attention_mask)


class Decoder(nn.Module):
    """What becomes `decoder_model_merged.onnx`."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        input_ids: Tensor,
        encoder_attention_mask: Tensor,
        encoder_hidden_states: Tensor,
        use_cache_branch: Tensor,
        **past: Tensor,
    ) -> tuple[Tensor, ...]:
        """Logits (rows, time, vocabulary), then for each layer the keys and values to give to the next step."""
        cross = first_or_past(
            lambda states: [t for pair in self.network.cross_keys_values(states) for t in pair],
            encoder_hidden_states,
            use_cache_branch,
            [past[name] for name in past if ".encoder." in name],
        )
        own = [past[name] for name in past if ".decoder." in name]
        x, present = self.network.decode(
            input_ids,
            encoder_attention_mask,
            list(zip(cross[::2], cross[1::2])),
            list(zip(own[::2], own[1::2])),
        )
        never = self.network.vocabulary - self.network.generated
        logits = F.pad(self.network.logits(x.flatten(0, 1)), (0, never), value=NEVER).unflatten(0, x.shape[:2])
        pairs = zip(present, zip(cross[::2], cross[1::2]))
        return logits, *(tensor for own_pair, cross_pair in pairs for tensor in (*own_pair, *cross_pair))
