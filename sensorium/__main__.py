"""`sensorium`, and `python -m sensorium`."""

import atexit
import contextlib
import os
import sys
from typing import NoReturn

from sensorium.cli import main


def run() -> NoReturn:
    """One command as a program of its own.

    Its memory goes back as a whole: to free the weights of a network piece by piece takes as long as a short answer.
    """
    status = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed by whoever reads it
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
