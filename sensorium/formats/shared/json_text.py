"""JSON from strangers, with depth and size bounded."""

from __future__ import annotations

import json
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.shared.source import File, nature


def parse(text: str | bytes, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        InputError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {str(error)[:120]}") from None


def load(file: File) -> Any:
    """The value of a JSON file.

    Raises:
        InputError: it is not JSON; says what it looks like.
    """
    if not file.looks_like_text or file.head.lstrip()[:1] not in (b"{", b"["):
        raise InputError(f"{file.path}: not JSON: {nature(file)}")
    return parse(file.text, str(file.path))
