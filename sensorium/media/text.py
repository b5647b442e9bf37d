"""Text and tokenizers: `tokenizer.json` of a model folder, and the text that a user gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from sensorium.errors import CallError, InputError

MAX_CHARACTERS = 1_000_000
"""Longest text that is taken as one source."""

MAX_TOKENIZER_CHARACTERS = 128_000_000
"""Longest tokenizer.json that is read; the largest multilingual ones have about 35 million."""


def load(source: str | bytes | Path) -> str:
    """The text itself: a string as it is, bytes and files as UTF-8 (with or without a byte order mark).

    Raises:
        InputError: not text, not UTF-8, not there, or longer than `MAX_CHARACTERS`.
    """
    where = "the text"
    if isinstance(source, Path):
        where = str(source)
        try:
            with source.open("rb") as file:
                source = file.read(4 * MAX_CHARACTERS + 1)  # UTF-8 has at most four bytes a character
        except OSError as error:
            raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    if isinstance(source, bytes):
        try:
            source = source.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: not UTF-8 at byte {error.start}") from None
    if not isinstance(source, str):
        raise InputError(f"a text is needed, not {type(source).__name__}")
    if len(source) > MAX_CHARACTERS:
        raise InputError(f"{where}: longer than {MAX_CHARACTERS} characters: split it")
    return source


@contextmanager
def guarded(where: str, kind: type[InputError] = InputError) -> Iterator[None]:
    """The tokenizers library raises plain `Exception`, and panics with a `BaseException` of its own."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            reason = " ".join(str(error).split())[:200]
            raise kind(f"{where}: {reason}") from None
        raise


def tokenizer(text: str, *, max_length: int | None = None, where: str = "tokenizer.json") -> Tokenizer:
    """A tokenizer from the text of its `tokenizer.json`. It pickles, and may be used by several threads.

    Args:
        text: the JSON text (it runs no code).
        max_length: longest sequence in tokens, special tokens included; the rest is cut off.
        where: the file's name, for messages.

    Padding and truncation that the file may ask for are turned off: batches are padded by who makes them.

    Raises:
        CallError: this is no tokenizer.
    """
    if not isinstance(text, str):
        raise CallError(f"{where}: a text is needed, not {type(text).__name__}")
    if len(text) > MAX_TOKENIZER_CHARACTERS:
        raise CallError(f"{where}: longer than {MAX_TOKENIZER_CHARACTERS} characters")
    with guarded(where, CallError):
        result = Tokenizer.from_str(text)
        result.no_padding()
        if max_length is None:
            result.no_truncation()
        else:
            result.enable_truncation(max_length)
    return result


def encode(tokenizer: Tokenizer, text: str, pair: str | None = None, *, special: bool = True) -> Encoding:
    """Tokens of a text (or of a pair): `.ids`, `.type_ids`, `.offsets`, `.word_ids`.

    Args:
        special: with special tokens.

    Raises:
        InputError: the tokenizer fails at this text.
    """
    with guarded(f"the tokenizer fails at {text[:40]!r}"):
        return tokenizer.encode(text, pair, add_special_tokens=special)


def decode(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text of tokens, without special tokens.

    Raises:
        InputError: the tokenizer fails at these ids.
    """
    with guarded("the tokenizer fails at decoding"):
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text
