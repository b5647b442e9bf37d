"""What one request may ask for, and the refusal that a client gets beyond it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sensorium.errors import Fault, InputError, MissingError, SensoriumError


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps of the service; each is checked before the work that it bounds is begun.

    Attributes:
        body: bytes of a request's body.
        inputs: examples in one request.
        pixels: pixels of all pictures of one request together (64 million take 192 MB decoded); of a sequence, of each.
        seconds: length of one recording.
        frames: pictures in one sequence.
        characters: length of one text.
        depth: nesting of a JSON document.
        values: an upper bound of the values in a JSON document (counted as separators).
        upload: seconds that a client may take to send a body.
        timeout: seconds from the complete body to the answer.
        queue: examples admitted and not yet answered, per model; more are shed with 429.
        batch: examples computed together at most.
        delay: seconds that a batch waits for company, and only while there are several clients.
    """

    body: int = 32 * 2**20
    inputs: int = 32
    pixels: int = 64_000_000
    seconds: float = 600.0
    frames: int = 600
    characters: int = 100_000
    depth: int = 32
    values: int = 200_000
    upload: float = 20.0
    timeout: float = 60.0
    queue: int = 32
    batch: int = 8
    delay: float = 0.002


@dataclass
class Rejection(Exception):
    """An answer that is an error: HTTP status, one line for the client, and perhaps headers."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


_ADDRESS = re.compile(r"<[^<>]*\bat 0x[0-9a-f]+>|0x[0-9a-f]{6,}", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w:/<])(?:[A-Za-z]:)?(?:[/\\][\w.@~+-]+){2,}[/\\]?")


def public(message: str) -> str:
    """A message fit for a client: one line, without file paths and memory addresses of this machine."""
    line = next(iter(message.splitlines()), "")
    return _PATH.sub("(path)", _ADDRESS.sub("(object)", line))[:400] or "the request cannot be answered"


def rejection(error: Exception) -> Rejection:
    """How an error of a task is told to a client. Anything unforeseen is 500 and says nothing."""
    if isinstance(error, Rejection):
        return error
    if isinstance(error, InputError):
        return Rejection(400, public(str(error)))
    if isinstance(error, MissingError):
        return Rejection(501, public(str(error)))
    if isinstance(error, SensoriumError) and not isinstance(error, Fault):
        return Rejection(422, public(str(error)))
    return Rejection(500, "internal error: the log of the service has the details")
