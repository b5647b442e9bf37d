"""tokenizer.json for tokenizers that transformers only has in Python: of proteins, and of bytes."""

from __future__ import annotations

import re
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from sensorium.media.made_up import TEXTS

TRIED = (*TEXTS, "MKTV<mask>LLA", "naïve café 東京 🙂", "", "  two\n lines ")


def converted(tokenizer: Any) -> Tokenizer | None:
    """The same tokenizer as the tokenizers library has it, or None where this is not known, or not the same."""
    make = {"EsmTokenizer": _residues, "ByT5Tokenizer": _bytes, "PerceiverTokenizer": _bytes}
    kind = type(tokenizer).__name__
    if kind not in make:
        return None
    found = make[kind](tokenizer)
    same = all(found.encode(text).ids == tokenizer(text)["input_ids"] for text in TRIED)
    pair = found.encode(TRIED[1], TRIED[2]).ids == tokenizer(TRIED[1], TRIED[2])["input_ids"]
    return found if same and pair else None


def _framed(found: Tokenizer, tokenizer: Any, first: str | None, last: str) -> Tokenizer:
    begin = f"{first} " if first else ""
    found.post_processor = processors.TemplateProcessing(
        single=f"{begin}$A {last}",
        pair=f"{begin}$A {last} $B {last}",
        special_tokens=[(t, tokenizer.convert_tokens_to_ids(t)) for t in (first, last) if t],
    )
    found.add_special_tokens(list(tokenizer.added_tokens_decoder.values()))
    return found


def _residues(tokenizer: Any) -> Tokenizer:
    """ESM: each entry of the vocabulary is cut out of the text, what is left between is unknown word by word."""
    special = set(tokenizer.all_special_tokens)
    plain = sorted((t for t in tokenizer.all_tokens if t not in special), key=len, reverse=True)
    vocabulary = {token: i for i, token in enumerate(tokenizer.all_tokens)}
    found = Tokenizer(models.WordLevel(vocabulary, unk_token=tokenizer.unk_token))
    cut = pre_tokenizers.Split(Regex("|".join(map(re.escape, plain))), "isolated")
    found.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.WhitespaceSplit()])
    return _framed(found, tokenizer, tokenizer.cls_token, tokenizer.eos_token)


def _bytes(tokenizer: Any) -> Tokenizer:
    """ByT5 and Perceiver: the bytes of the text, counted from behind the special tokens on."""
    count = tokenizer._utf_vocab_size
    offset = tokenizer.convert_tokens_to_ids("\x00")
    # The library writes bytes as letters: those that can be shown as themselves, the others from 256 on.
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in shown} | {
        b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in shown)
    }
    vocabulary = {letters[b]: b + offset for b in range(count)}
    vocabulary |= {str(token): i for i, token in tokenizer.added_tokens_decoder.items()}
    found = Tokenizer(models.BPE(vocabulary, []))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found.decoder = decoders.ByteLevel()
    if type(tokenizer).__name__ == "ByT5Tokenizer":
        return _framed(found, tokenizer, None, tokenizer.eos_token)
    return _framed(found, tokenizer, tokenizer.cls_token, tokenizer.sep_token)
