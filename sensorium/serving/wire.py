"""What came over the wire, as the examples and options of a task; everything is bounded before it is read.

A string stands for itself only where the task reads text; everywhere else it is base64 or a data URL, so
that nothing a client sends is ever taken for a file name or an address.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import json
import math
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from sensorium.errors import InputError
from sensorium.media import image
from sensorium.serving import schema
from sensorium.serving.limits import Limits, Rejection
from sensorium.sources import TEXTS

SEQUENCES = frozenset({"frames"})
"""Fields of which one example is a list of files."""

_DATA_URL = re.compile(r"data:[^,]{0,200}?;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """A request: its examples (bytes, text or values, not yet opened), whether it is a list of several, its options."""

    sources: list[Any]
    several: bool
    options: dict[str, Any]


def parse_json(body: bytes, limits: Limits) -> Any:
    """Strict JSON: bounded in depth and size; no NaN, no infinity, no key twice, no half characters.

    Raises:
        Rejection: it is not.
    """
    # Each value takes far more memory than the two bytes it may be written in: count them first.
    if sum(body.count(c) for c in (b",", b"[", b"{")) > max(limits.values, limits.characters):
        raise Rejection(413, f"more than {limits.values} JSON values")

    def constant(_: str) -> None:
        raise ValueError("not finite")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("a key stands twice")
        return made

    try:
        value = json.loads(body, parse_constant=constant, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise Rejection(400, "the body is not valid JSON (or nests too deep)") from None
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > limits.depth:
            raise Rejection(400, f"JSON nested deeper than {limits.depth}")
        following: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                following += one.keys()
                following += one.values()
            elif isinstance(one, list):
                following += one
            elif isinstance(one, float) and not math.isfinite(one):
                raise Rejection(400, "a number is too large")
            elif isinstance(one, str) and not one.isascii() and not _whole(one):
                raise Rejection(400, "a string is not valid Unicode")
        level = following
    return value


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_base64(text: str) -> bytes:
    """The bytes of a base64 string or a base64 data URL.

    Raises:
        Rejection: it is neither.
    """
    head = _DATA_URL.match(text)
    try:
        return base64.b64decode(text[head.end() :] if head else text, validate=True)
    except (binascii.Error, ValueError):
        raise Rejection(400, "the input must be base64 or a base64 data URL (addresses are not fetched)") from None


class Budget:
    """What the examples of one request may take together."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.pixels = limits, 0

    def file(self, data: bytes, field: str) -> bytes:
        """The same bytes, if what their header promises is within the limits.

        What the header does not tell, and whether it lies, is left to the reader of the medium.
        """
        if not data:
            raise Rejection(400, "the input is empty")
        if field == "audio":
            self._audio(data)
        else:
            self._image(data, field)
        return data

    def _image(self, data: bytes, field: str) -> None:
        try:
            width, height = image.size(data)
        except InputError:  # perhaps a video; else the task's reader says what is wrong
            return
        # The pictures of a sequence are decoded one after the other.
        self.pixels = width * height + (0 if field in SEQUENCES else self.pixels)
        if self.pixels > self.limits.pixels:
            raise Rejection(413, f"more than {self.limits.pixels:,} pixels")

    def _audio(self, data: bytes) -> None:
        import soundfile

        try:
            info = soundfile.info(io.BytesIO(data))
            seconds = info.frames * max(1, info.channels / 2) / max(1, info.samplerate)
        except Exception:  # not a format that libsndfile knows, or broken
            return
        if seconds > self.limits.seconds:
            raise Rejection(413, f"longer than {self.limits.seconds:g} seconds")

    def source(self, value: Any, field: str) -> Any:
        """One example as its task takes it: base64 decoded, text as it is, objects by their keys."""
        if isinstance(value, bytes):
            return self.file(value, field)
        if isinstance(value, str):
            if field in TEXTS:
                if len(value) > self.limits.characters:
                    raise Rejection(413, f"a text of more than {self.limits.characters} characters")
                return value
            return self.file(decode_base64(value), field)
        if isinstance(value, list):
            if field in SEQUENCES and len(value) > self.limits.frames:
                raise Rejection(413, f"more than {self.limits.frames} frames")
            return [self.source(v, field) for v in value]
        if isinstance(value, dict):
            return {k: self.source(v, k) for k, v in value.items()}
        return value


def sources(inputs: Any, field: str, limits: Limits) -> tuple[list[Any], bool]:
    """The examples in `inputs`, and whether it was a list of several.

    A list is several examples, except where one example is a list: frames (of files), or plain numbers.
    """
    several = isinstance(inputs, list)
    if several and inputs:
        if field in SEQUENCES:
            several = any(isinstance(v, list) for v in inputs)
        elif all(isinstance(v, (int, float)) for v in inputs):
            several = field in TEXTS
    examples = inputs if several else [inputs]
    if not examples or inputs == []:
        raise Rejection(400, "'inputs' is an empty list")
    if len(examples) > limits.inputs:
        raise Rejection(413, f"more than {limits.inputs} inputs")
    budget = Budget(limits)
    return [budget.source(v, field) for v in examples], several


def from_json(
    body: bytes, query: Mapping[str, str], field: str, options: Mapping[str, schema.Schema], limits: Limits
) -> Call:
    """`{"inputs": ..., "parameters": {...}}`."""
    document = parse_json(body, limits)
    if not isinstance(document, dict) or "inputs" not in document:
        raise Rejection(400, 'the body must be {"inputs": ..., "parameters": {...}}')
    if set(document) - {"inputs", "parameters"}:
        raise Rejection(400, "the body may have 'inputs' and 'parameters' only")
    given = document.get("parameters") or {}
    if not isinstance(given, dict):
        raise Rejection(400, "'parameters' must be an object")
    chosen = schema.parameters(query, options, texts=True) | schema.parameters(given, options)
    return Call(*sources(document["inputs"], field, limits), chosen)


def from_bytes(
    body: bytes, query: Mapping[str, str], field: str, options: Mapping[str, schema.Schema], limits: Limits
) -> Call:
    """The file (or UTF-8 text) itself, options in the query."""
    chosen = schema.parameters(query, options, texts=True)
    value: Any = body
    if field in TEXTS:
        try:
            value = body.decode()
        except UnicodeDecodeError:
            raise Rejection(400, "the text is not UTF-8") from None
    return Call([Budget(limits).source(value, field)], False, chosen)


async def from_form(
    body: bytes,
    headers: Headers,
    query: Mapping[str, str],
    fields: Sequence[str],
    options: Mapping[str, schema.Schema],
    limits: Limits,
) -> Call:
    """multipart/form-data: `inputs` (files or text; again for several), `parameters` (JSON), or an option a field.

    Where an example has several parts (`fields`), each is a field of its name, and `inputs` is the first of them.
    """
    field = fields[0]

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    most = limits.frames if field in SEQUENCES else limits.inputs
    try:
        form: FormData = await MultiPartParser(
            headers,
            stream(),
            max_files=most,
            max_fields=limits.inputs + len(options) + 1,
            max_part_size=limits.body,
        ).parse()
    except (MultiPartException, KeyError, ValueError, AssertionError):
        raise Rejection(400, "the body is not valid multipart/form-data") from None
    inputs: list[Any] = []
    given: dict[str, str] = dict(query)
    further: dict[str, Any] = {}
    document: Any = {}
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(form.close)  # its temporary files
        for name, value in form.multi_items():
            if name in fields and len(fields) > 1:
                further[name] = _part(await value.read() if isinstance(value, UploadFile) else value, name, limits)
            elif isinstance(value, UploadFile):
                inputs.append(await value.read())
            elif name == "inputs":
                inputs.append(value)
            elif name == "parameters":
                document = parse_json(value.encode(), limits)
            else:
                given[name] = value
    if field in TEXTS:
        try:
            inputs = [v.decode() if isinstance(v, bytes) else v for v in inputs]
        except UnicodeDecodeError:
            raise Rejection(400, "the text is not UTF-8") from None
    if not isinstance(document, dict):
        raise Rejection(400, "'parameters' must be an object")
    chosen = schema.parameters(given, options, texts=True) | schema.parameters(document, options)
    if len(fields) > 1:
        first = {field: inputs[0]} if inputs and field not in further else {}
        return Call(*sources({**first, **further}, field, limits), chosen)
    if not inputs:
        raise Rejection(400, "the form has no field 'inputs'")
    pictures = field in SEQUENCES and len(inputs) > 1
    return Call(*sources(inputs[0] if len(inputs) == 1 and not pictures else inputs, field, limits), chosen)


def _part(value: bytes | str, field: str, limits: Limits) -> Any:
    """One part of an example: text, a file, or numbers as JSON."""
    if isinstance(value, bytes) and field in TEXTS:
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise Rejection(400, "the text is not UTF-8") from None
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")) and field not in TEXTS - {"words"}:
        return parse_json(value.encode(), limits)
    return value
