"""Folder of pictures without labels: for generating pictures like them, and for prediction."""

from __future__ import annotations

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, split_of_path
from sensorium.errors import InputError


def match(source: Source) -> float:
    return 0.1 if any(extension(name) in IMAGES for name in source.given) else 0.0


def read(source: Source) -> Dataset:
    names = [name for name in source.given if extension(name) in IMAGES]
    if not names:
        raise InputError(f"'{source.root}' has no pictures")
    examples = [Example(n, {"image": source.absolute(n)}, n, split_of_path(n)) for n in names]
    source.note("pictures without labels")
    return source.dataset("image-folder", ("image",), examples)
