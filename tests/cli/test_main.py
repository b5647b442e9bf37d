"""The command itself."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_reader_that_went_away_is_no_success() -> None:
    """`sensorium verify MODEL --json | head -1` must not turn a failed verification into one that passed."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "sensorium", "tasks", "--json"], stdout=pipe, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 141
    assert done.stderr == ""
