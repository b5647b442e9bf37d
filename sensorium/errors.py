"""The errors a user meets: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import importlib
from types import ModuleType


class SensoriumError(Exception):
    """Base of all errors that are meant for the user; `status` is the exit status of the command line."""

    status = 2


class InputError(SensoriumError):
    """The input or the call is wrong."""

    status = 2


class MissingError(SensoriumError):
    """Something that is needed is not there: an extra, a device, a file."""

    status = 3


class Refused(SensoriumError):
    """It ran, and the answer is no: verification failed, a demanded score was not reached."""

    status = 1


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
    """Raises InputError where an option that counts answers is less than 1."""
    if value is not None and value < 1:
        raise InputError(f"{name} is at least 1, not {value}")
