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
LONGEST_WORD = 32  # characters; what is longer has its first ones left out


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


def _back(x: Tensor, steps: int) -> Tensor:
    """What stood `steps` places before, 0 before the beginning; (B, L)."""
    return F.pad(x, (steps, 0))[:, : x.shape[1]]


def _latest(x: Tensor) -> Tensor:
    """The largest of the last `LONGEST_WORD` values at each place; (B, L)."""
    step = 1
    while step < LONGEST_WORD:
        x = torch.maximum(x, _back(x, step))
        step *= 2
    return x


def _bucket(h: Tensor, salt: int, buckets: int) -> Tensor:
    """Spread a hash below PRIME over the buckets."""
    return (h + salt * 0x9E3779B1) % PRIME * 48271 % PRIME % buckets


class NGrams(nn.Module):
    """Numbers of the n-grams in a text.

    Args:
        codes: (V,) what each token stands for in this view, 0 for space.
        kinds: (V,) SPACE, WORD or OTHER.
        longest: n-grams of 1 to this many characters, within words (with the spaces around them).
        words: 1 for words, 2 for pairs of neighbouring words also, 0 for neither.
        salt: sets the views apart.
    """

    def __init__(
        self, codes: list[int], kinds: list[int], longest: int, words: int, buckets: int, max_length: int, salt: int
    ) -> None:
        super().__init__()
        self.longest, self.words, self.buckets, self.salt = longest, words, buckets, salt
        inverse = pow(BASE, -1, PRIME)
        powers, inverses = [1], [1]
        for _ in range(max_length + 2):
            powers.append(powers[-1] * BASE % PRIME)
            inverses.append(inverses[-1] * inverse % PRIME)
        for name, values in (("codes", codes), ("kinds", kinds), ("powers", powers), ("inverses", inverses)):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) tokens and mask to (B, G, T + 2) bucket numbers and whether there is an n-gram, for G kinds."""
        code = F.pad(self.codes[input_ids] * attention_mask, (1, 1))
        kind = F.pad(self.kinds[input_ids] * attention_mask, (1, 1))
        found = self._characters(code, (kind > 0).long())
        if self.words:
            found += self._words(code, (kind == WORD).long())
        return torch.stack([b for b, _ in found], 1), torch.stack([v for _, v in found], 1)

    def _characters(self, code: Tensor, solid: Tensor) -> list[tuple[Tensor, Tensor]]:
        found, h, inner = [], code + 1, torch.ones_like(code)
        for n in range(1, self.longest + 1):
            if n == 1:
                valid = solid
            elif n == 2:
                valid = torch.maximum(solid, _back(solid, 1))
            else:  # the characters between the first and the last are no spaces
                inner = inner * _back(solid, n - 2)
                valid = inner
            if n > 1:
                h = (_back(h, 1) * BASE + code + 1) % PRIME
            place = torch.arange(code.shape[1], device=code.device) >= n - 1
            found.append((_bucket(h, self.salt + n, self.buckets), valid * place))
        return found

    def _words(self, code: Tensor, word: Tensor) -> list[tuple[Tensor, Tensor]]:
        length = code.shape[1]
        place = torch.arange(length, device=code.device)
        first = word * (1 - _back(word, 1))
        last = word * (1 - F.pad(word, (0, 1))[:, 1:])
        start = _latest(first * place)
        # The hash of a word is a difference of prefix sums, moved to exponent zero.
        sums = torch.cumsum((code + 1) * word * self.powers[:length] % PRIME, 1) % PRIME
        before = torch.gather(F.pad(sums, (1, 0)), 1, start)
        h = (sums - before + PRIME) % PRIME * self.inverses[start] % PRIME
        found = [(_bucket(h, self.salt + 100, self.buckets), last)]
        if self.words > 1:
            end = torch.gather(F.pad(_latest(last * place), (1, 0)), 1, start)  # of the word before
            pair = (torch.gather(h, 1, end) * 31337 + h) % PRIME
            found.append((_bucket(pair, self.salt + 200, self.buckets), last * (end > 0)))
        return found


class TextClassifier(nn.Module):
    """Sums of the weights of all n-grams, characters and words apart, each sum divided by the length of its vector.

    With labels as the width of the table this is logistic regression, which a few thousand texts fill well; what is
    different from TF-IDF is that nothing must be counted beforehand.

    Args:
        characters: the vocabulary, by token number; special tokens are longer than one character.
        labels: number of labels.
        views: of `view_codes`.
        longest, words, buckets, max_length: see `NGrams`.
    """

    def __init__(
        self,
        characters: list[str],
        labels: int,
        views: list[str],
        longest: int,
        words: int,
        buckets: int,
        max_length: int,
    ) -> None:
        super().__init__()
        kinds = character_kinds(characters)
        self.views = nn.ModuleList(
            NGrams(view_codes(characters, view), kinds, longest, words, buckets, max_length, 1000 * i)
            for i, view in enumerate(views)
        )
        self.longest = longest
        self.table = nn.Embedding(buckets, labels)
        nn.init.zeros_(self.table.weight)
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) int64 tokens and mask to (B, labels) logits."""
        total = self.bias.expand(len(input_ids), -1)
        for view in self.views:
            numbers, valid = view(input_ids, attention_mask)
            for part in (slice(None, self.longest), slice(self.longest, None)):
                total = total + self._part(numbers[:, part].flatten(1), valid[:, part].flatten(1))
        return total

    def _part(self, numbers: Tensor, valid: Tensor) -> Tensor:
        weight = valid.to(self.bias.dtype)
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1).sqrt()
        return torch.einsum("bn,bnc->bc", weight, self.table(numbers))
