"""The .weights file: floats in the order in which the layers take them."""

from __future__ import annotations

import struct

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.darknet.sections import Section
from sensorium.formats.shared.source import File, nature


def is_weights(file: File) -> bool:
    """Three version numbers, then the count of pictures seen, in 32 or 64 bits, then floats."""
    if len(file.head) < 16 or file.looks_like_text:
        return False
    major, minor, revision = struct.unpack_from("<3i", file.head)
    return major in (0, 1) and 0 <= minor < 10 and 0 <= revision < 10 and (major, minor) != (0, 0)


class Weights:
    """A .weights file: its header, and its floats in the order the layers take them.

    Raises:
        InputError: it is no such file.
    """

    def __init__(self, file: File) -> None:
        self.path = file.path
        if not file.size or file.looks_like_text or not is_weights(file):
            raise InputError(f"{file.path}: {nature(file)}, not Darknet weights")
        major, minor, revision = struct.unpack_from("<3i", file.data)
        wide = major * 10 + minor >= 2 and major < 1000 and minor < 1000
        self.version = f"{major}.{minor}.{revision}"
        start = 20 if wide else 16
        self.seen = struct.unpack_from("<Q" if wide else "<I", file.data.ljust(20, b"\0"), 12)[0]
        size = (len(file.data) - start) // 4
        if size < 0:
            raise InputError(f"{file.path}: truncated: too short for its header")
        self.values = np.frombuffer(file.data, "<f4", size, start)
        self.at = 0

    def take(self, section: Section, *shape: int) -> np.ndarray:
        count = 1
        for size in shape:
            count *= size
        if self.at + count > len(self.values):
            raise InputError(
                f"{self.path}: the weights are too short: layer {section.number} [{section.kind}] needs {4 * count} "
                f"bytes, {4 * (len(self.values) - self.at)} are left; truncated, or of another .cfg"
            )
        found = self.values[self.at : self.at + count]
        if not np.isfinite(found).all():
            raise InputError(
                f"{self.path}: layer {section.number} [{section.kind}]: its weights are not all numbers: corrupt, or "
                "of another .cfg"
            )
        self.at += count
        return found.reshape(shape)
