"""The tokens that a model writes: their texts and bytes, whole answers, and answers as they come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from sensorium.errors import CallError
from sensorium.media import text

CLEANED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
    (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip
CUT = "\N{REPLACEMENT CHARACTER}"


def special_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that a `tokenizer_config.json` names, by their role: `bos_token`, `eos_token`, ..."""
    found = {}
    for name, value in config.items():
        if name.endswith("_token") and isinstance(value, Mapping):
            value = value.get("content")
        if name.endswith("_token") and isinstance(value, str):
            found[name] = value
    return found


class Tokens:
    """The tokenizer of a model that writes.

    Args:
        tokenizer_json: the text of `tokenizer.json`.
        config: `tokenizer_config.json`, with what `special_tokens_map.json` says where that is apart.
        max_length: of a text in tokens; the rest is cut off. None for no limit.

    Raises:
        InputError: this is no tokenizer.
    """

    def __init__(self, tokenizer_json: str, config: Mapping[str, Any], max_length: int | None = None) -> None:
        self.tokenizer: Tokenizer = text.tokenizer(tokenizer_json, max_length=max_length)
        self.config = config
        # What it was made for: in text of byte pairs, a space before a full stop is meant.
        self.cleans = bool(config.get("clean_up_tokenization_spaces")) and (
            type(self.tokenizer.model).__name__ != "BPE"
            or bool(config.get("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"))
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "table"}

    @cached_property
    def special(self) -> dict[str, str]:
        """The special tokens by their role: `bos_token`, `eos_token`, ..."""
        return special_of(self.config)

    def id_of(self, token: str | None) -> int | None:
        """The number of a token, or None where there is none."""
        found: int | None = None if token is None else self.tokenizer.token_to_id(token)
        return found

    def encode(self, source: str, *, special: bool = True) -> list[int]:
        """Tokens of a text.

        Args:
            special: with the special tokens that the tokenizer puts around it.
        """
        found: list[int] = text.encode(self.tokenizer, source, special=special).ids
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, without special tokens."""
        found = text.decode(self.tokenizer, list(ids))
        if self.cleans:
            for spaced, joined in CLEANED:
                found = found.replace(spaced, joined)
        return found

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of tokens, piece by piece as they come; no piece ends within a character.

        Together the pieces are what `decode` gives.
        """
        seen: list[int] = []
        said = 0
        for token in ids:
            seen.append(token)
            whole = self.decode(seen)
            # The bytes of a character may be spread over several tokens; where more may follow, wait for it.
            ready = whole.rstrip(CUT)
            if len(ready) > said:
                yield ready[said:]
                said = len(ready)
        rest = self.decode(seen)[said:]
        if rest:
            yield rest

    @cached_property
    def table(self) -> list[bytes]:
        """What each token writes, by id; special tokens write nothing."""
        size = self.tokenizer.get_vocab_size(with_added_tokens=True)
        added = self.tokenizer.get_added_tokens_decoder()
        steps = self._decoders()
        table = [b""] * max(size, 1 + max(added, default=-1))
        for token, i in self.tokenizer.get_vocab(with_added_tokens=True).items():
            if i >= len(table):
                table.extend([b""] * (i + 1 - len(table)))
            if i in added:
                table[i] = b"" if added[i].special else added[i].content.encode()
            else:
                table[i] = _written(token, steps)
        return table

    @property
    def drops_first_space(self) -> bool:
        """Whether the space that the first token of a text begins with is not written."""
        return any(step["type"] in ("Metaspace", "WordPiece", "Strip") for step in self._decoders())

    def _decoders(self) -> list[dict[str, Any]]:
        decoder = self.tokenizer.decoder
        if decoder is None:
            return []
        found = json.loads(decoder.__getstate__())
        steps: list[dict[str, Any]] = found["decoders"] if found["type"] == "Sequence" else [found]
        return steps


def _bytes_of_characters() -> dict[str, int]:
    """The character that byte-level tokenizers write for each byte: printable ones as they are, others from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


BYTES = _bytes_of_characters()


def _written(token: str, steps: Sequence[Mapping[str, Any]]) -> bytes:
    """What a token writes within a text."""
    for step in steps:
        kind = step["type"]
        if kind == "ByteLevel":
            if all(c in BYTES for c in token):
                return bytes(BYTES[c] for c in token)
        elif kind == "ByteFallback":
            if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
                try:
                    return bytes([int(token[3:5], 16)])
                except ValueError:
                    continue
        elif kind == "Replace":
            pattern = step["pattern"].get("String")
            if pattern:
                token = token.replace(pattern, step["content"])
        elif kind == "Metaspace":
            token = token.replace(step["replacement"], " ")
        elif kind == "WordPiece":
            prefix = step["prefix"]
            token = token.removeprefix(prefix) if token.startswith(prefix) else " " + token
        elif kind == "BPEDecoder":
            token = token.replace(step["suffix"], " ")
    return token.encode()


def config_of(files: Mapping[str, Any]) -> dict[str, Any]:
    """`tokenizer_config.json` of a folder, with the special tokens that stand in a file of their own.

    Raises:
        InputError: it is not an object.
    """
    found: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        part = files.get(name) or {}
        if not isinstance(part, Mapping):
            raise CallError(f"{name}: should hold an object")
        found |= part
    return found
