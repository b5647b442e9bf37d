"""Seeded damage to a file: every outcome must be an answer or an InputError, quickly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from sensorium.errors import SensoriumError

SECONDS = 2.0


def mutations(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Bytes flipped, cut, doubled, overwritten with extremes, or shuffled."""
    random = np.random.default_rng(seed)
    for i in range(count):
        changed = bytearray(data)
        at = int(random.integers(0, len(data)))
        length = int(random.integers(1, 9))
        match i % 6:
            case 0:
                changed[at] ^= 1 << int(random.integers(0, 8))
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at : at + length] = b"\xff" * length
            case 4:
                changed[at : at + length] = random.bytes(length)
            case 5:
                changed[at:at] = changed[max(0, at - 40) : at]
        yield bytes(changed)


def survive(data: bytes, count: int, work: Callable[[bytes], object], seed: int = 0) -> tuple[int, int]:
    """Run `work` on mutations.

    Returns:
        How many were answered, and how many refused.
    """
    answered = refused = 0
    for changed in mutations(data, count, seed):
        begin = time.perf_counter()
        try:
            work(changed)
            answered += 1
        except SensoriumError as error:
            refused += 1
            text = str(error)
            assert "\n" not in text.strip(), text
            assert len(text) < 700
        except MemoryError:
            pytest.fail("out of memory")
        assert time.perf_counter() - begin < SECONDS * 5  # a busy machine
    return answered, refused
