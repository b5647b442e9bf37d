"""A small text classifier from scratch: hashed n-grams of characters and words, weighted, summed, and classified.

Texts come as one token per character. The graph itself finds the n-grams with integer arithmetic, so that the
tokenizer stays one that every runtime has, and the exported file needs nothing beside it. On a few thousand texts
this beats small convolutional nets and Transformers that have not been trained before.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIME = (1 << 31) - 1  # hashes stay below it, so that a product of two fits into 63 bits
BASE = 1_000_003
SPACE, WORD, OTHER = 0, 1, 2
LONGEST_WORD = 24  # characters; of a longer one the last ones count


def character_kinds(characters: list[str]) -> list[int]:
    """Space (also for special tokens, which are longer than one character), part of a word, or other."""
    return [SPACE if len(c) != 1 or c.isspace() else WORD if c.isalnum() or c == "_" else OTHER for c in characters]


def view_codes(characters: list[str], view: str) -> list[int]:
    """The number that stands for each character in a view of the text.

    Args:
        characters: the vocabulary, by token number.
        view: `fold` without case, `raw` as it is, `shape` only the kind: capital, small, digit, sign.
    """

    def code(c: str) -> int:
        if view == "fold":
            c = c.lower()
        elif view == "shape":
            c = "0" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c
        return ord(c[0]) + 1

    return [code(c) if len(c) == 1 and not c.isspace() else 0 for c in characters]


class NGrams(nn.Module):
    """Numbers of the n-grams in a text.

    An n-gram is numbered by its last character: the sum of its characters times powers of BASE, counted backwards
    from that character, so that the same n-gram has the same number everywhere.

    Args:
        codes: (V,) what each token stands for in this view, 0 for space.
        kinds: (V,) SPACE, WORD or OTHER.
        longest: n-grams of 1 to this many characters, within words (with the spaces around them).
        words: 1 for words, 2 for pairs of neighbouring words also, 0 for neither.
        salt: sets the views apart.
    """

    def __init__(self, codes: list[int], kinds: list[int], longest: int, words: int, buckets: int, salt: int) -> None:
        super().__init__()
        self.longest, self.words, self.buckets, self.salt = longest, words, buckets, salt
        self.reach = LONGEST_WORD if words else longest
        powers = [pow(BASE, j, PRIME) for j in range(self.reach)]
        for name, values in (("codes", codes), ("kinds", kinds), ("powers", powers)):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) tokens and mask to (B, T + 1, G) bucket numbers and whether there is an n-gram, for G kinds."""
        # A space follows the text; what comes before it is space, too.
        code = F.pad(self.codes[input_ids] * attention_mask, (self.reach, 1))
        kind = F.pad(self.kinds[input_ids] * attention_mask, (self.reach, 1))
        ends = torch.arange(input_ids.shape[1] + 1, device=code.device) + self.reach
        back = ends[:, None] - torch.arange(self.reach, device=code.device)
        terms = (code[:, back] + 1) * self.powers  # below 2^53, as no character is above 2^21
        kind = kind[:, back]
        numbers, valid = self._characters(terms[..., : self.longest], (kind[..., : self.longest] > 0).long())
        if self.words:
            more, there = self._words(terms, (kind == WORD).long())
            numbers, valid = torch.cat([numbers, more], -1), torch.cat([valid, there], -1)
        return numbers, valid

    def _bucket(self, h: Tensor, salts: list[int]) -> Tensor:
        """Spread hashes (..., G) over the buckets, each kind in its own way."""
        salt = torch.tensor([(self.salt + s) * 0x9E3779B1 % PRIME for s in salts], device=h.device)
        return (h + salt) % PRIME * 48271 % PRIME % self.buckets

    def _characters(self, terms: Tensor, solid: Tensor) -> tuple[Tensor, Tensor]:
        # Inside an n-gram, between its first and last character, there is no space.
        spaces = torch.cumsum(1 - solid, -1)
        valid = [solid[..., :1], solid[..., :2].amax(-1, keepdim=True)][: self.longest]
        valid.append((spaces[..., 1 : self.longest - 1] == spaces[..., :1]).long())
        return self._bucket(torch.cumsum(terms, -1) % PRIME, list(range(1, self.longest + 1))), torch.cat(valid, -1)

    def _words(self, terms: Tensor, word: Tensor) -> tuple[Tensor, Tensor]:
        inside = (torch.cumsum(1 - word, -1) == 0).long()
        h = (terms * inside).sum(-1) % PRIME  # (B, T + 1), of the word that ends, or goes on, here
        last = word[..., 0] * (1 - F.pad(word[:, 1:, 0], (0, 1)))
        if self.words == 1:
            return self._bucket(h[..., None], [100]), last[..., None]
        # The hash of word k stands in place k, so that each finds the one before; place 0 takes what is no word.
        order = torch.cumsum(last, 1)
        listed = torch.zeros_like(h).scatter(1, order * last, h)
        pair = (torch.gather(listed, 1, (order - 1).clamp(min=0)) * 31337 + h) % PRIME
        valid = torch.stack([last, last * (order > 1)], -1)
        return self._bucket(torch.stack([h, pair], -1), [100, 200]), valid


class TextClassifier(nn.Module):
    """Sums of the weights of the n-grams that occur, characters and words apart, divided by the length of their vector.

    With labels as the width of the table this is logistic regression, which a few thousand texts fill well; what is
    different from TF-IDF is that nothing must be counted beforehand.

    Args:
        characters: the vocabulary, by token number; special tokens are longer than one character.
        labels: number of labels.
        views: of `view_codes`.
        longest, words, buckets: see `NGrams`.
    """

    def __init__(
        self,
        characters: list[str],
        labels: int,
        views: list[str],
        longest: int,
        words: int,
        buckets: int,
    ) -> None:
        super().__init__()
        kinds = character_kinds(characters)
        self.views = nn.ModuleList(
            NGrams(view_codes(characters, view), kinds, longest, words, buckets, 1000 * i)
            for i, view in enumerate(views)
        )
        self.longest = longest
        self.table = nn.Embedding(buckets, labels)
        nn.init.zeros_(self.table.weight)
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) int64 tokens and mask to (B, labels) logits."""
        total = self.bias.expand(input_ids.shape[0], -1)  # `len` may be taken for that of the sample
        for view in self.views:
            numbers, valid = view(input_ids, attention_mask)
            for part in (slice(None, self.longest), slice(self.longest, None))[: 1 + bool(view.words)]:
                total = total + self._part(numbers[..., part].flatten(1), valid[..., part].flatten(1))
        return total

    def _part(self, numbers: Tensor, valid: Tensor) -> Tensor:
        # Each n-gram counts once, however often it stands in the text: sorted, repetitions are neighbours.
        numbers = torch.sort(torch.where(valid > 0, numbers, -1), 1).values
        new = (numbers != F.pad(numbers[:, :-1], (1, 0), value=-1)).to(self.bias.dtype)
        weight = new * (numbers >= 0).to(self.bias.dtype)
        numbers = numbers.clamp(min=0)
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1).sqrt()
        return torch.einsum("bn,bnc->bc", weight, self.table(numbers))
