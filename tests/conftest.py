"""Settings for all tests."""

from __future__ import annotations

import os

# Tests run beside each other: more threads than cores make every one of them wait for the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
