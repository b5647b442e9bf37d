"""The errors a user meets: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import importlib
import os
from types import ModuleType


class SensoriumError(Exception):
    """Base of all errors that are meant for the user.

    Attributes:
        status: exit status of the command line.
        always: the model or the call is wrong: any other source would fail alike, so that no further one is tried.
    """

    status = 2
    always = False


class InputError(SensoriumError):
    """The input or the call is wrong."""

    status = 2


class CallError(InputError):
    """The call, or a file of the model, is wrong, whatever the source."""

    always = True


class MissingError(SensoriumError):
    """Something that is needed is not there: an extra, a device, a file."""

    status = 3


class Refused(SensoriumError):
    """It ran, and the answer is no: verification failed, a demanded score was not reached."""

    status = 1


class Fault(SensoriumError):
    """The program is wrong, not the input; what it stumbled over is the `__cause__`."""

    status = 70


def need(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Raises:
        MissingError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingError(
            f"this needs the package '{module.split('.')[0]}': pip install 'sensorium[{extra}]'"
        ) from None


def check_count(name: str, value: int | None) -> None:
    """Raises CallError where an option that counts answers is less than 1."""
    if value is not None and value < 1:
        raise CallError(f"{name} is at least 1, not {value}")


def check_path(*paths: str | os.PathLike[str] | None) -> None:
    """Raises InputError where a path is empty, as of a variable that is not set: not the current folder is meant."""
    if any(path is not None and os.fspath(path) == "" for path in paths):
        raise InputError("an empty path: name a file or folder (`.` is the current folder)")
