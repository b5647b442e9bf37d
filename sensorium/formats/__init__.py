"""Readers of foreign model formats, one file each: what is this file, what is in it, and as an ONNX graph.

A reader is a module here with

    TITLE                              the name people know it by
    ENDINGS                            endings of its files' names, for the message when a file is something else
    match(file) -> float               how surely a file is of this format, 0 to 1: by container, magic and structure;
                                       the ending of its name only breaks ties
    inspect(files) -> Report           what is in it, without running or unpickling anything of it
    read(files, options) -> Graph      its graph; absent where it is not converted, and then `inspect` gives the reason
    HEAVY = True                       where reading takes seconds and another program's help: `inspect` leaves it

The folder is the registry: a new format is a new file, and no reader imports another. What several need is in
`shared/`: files, parsers that no content can crash or exhaust, the report, and the graph that becomes ONNX.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from sensorium.errors import InputError, MissingError, SensoriumError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import ENTRIES, File, Options, nature

__all__ = ["File", "Graph", "Options", "Report", "formats", "inspect", "read", "recognise"]

SURE = 0.3  # less than this is a guess from a name


@cache
def _readers() -> dict[str, ModuleType]:
    found = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        if hasattr(module, "match"):
            found[entry.name.replace("_", "-")] = module
    return found


def formats() -> dict[str, tuple[str, bool]]:
    """The formats that are known: name to what it is, and whether it is converted."""
    return {
        name: ((module.__doc__ or module.TITLE).strip().splitlines()[0], hasattr(module, "read"))
        for name, module in _readers().items()
    }


def _matches(files: Sequence[File]) -> Iterator[tuple[float, str]]:
    for name, module in _readers().items():
        try:
            surest = max((float(module.match(file)) for file in files), default=0.0)
        except SensoriumError:
            continue
        if surest > 0:
            yield surest, name


def recognise(paths: Sequence[str | os.PathLike[str]]) -> tuple[str, list[File]] | None:
    """The format of a file, of the files of one model, or of a folder; and the files to read.

    Returns:
        Name and files, or None where no format is recognised.

    Raises:
        InputError: there is no such file.
    """
    files = [File.of(path) for path in paths]
    found = sorted(_matches(files), key=lambda match: (-match[0], match[1]))
    if found and found[0][0] >= SURE:
        return found[0][1], files
    if len(files) == 1 and files[0].is_folder and len(files[0].names) <= ENTRIES:
        inside = [files[0].path / name for name in sorted(files[0].names) if not name.startswith(".")]
        for inner in ([p for p in inside if p.is_file()], [p for p in inside if p.is_dir()]):  # a folder in it at last
            entries = [File.of(path) for path in inner]
            found = sorted(_matches(entries), key=lambda match: (-match[0], match[1]))
            if found and found[0][0] >= SURE:
                module = _readers()[found[0][1]]
                return found[0][1], [file for file in entries if module.match(file) > 0]
    return None


def _known(paths: Sequence[str | os.PathLike[str]]) -> tuple[ModuleType, list[File]]:
    if not paths:
        raise InputError("name the files of a model")
    found = recognise(paths)
    if found is None:
        file = File.of(paths[0])
        for module in _readers().values():
            if file.suffix in getattr(module, "ENDINGS", ()):
                raise InputError(f"{file.path}: {nature(file)}, not a {module.TITLE} model as its name says")
        raise InputError(
            f"{file.path}: {nature(file)}; not a model of a format that is known here (see docs/foreign-formats.md)"
        )
    return _readers()[found[0]], found[1]


def inspect(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """What is in the files of one model.

    Returns:
        `Report.to_json()`.

    Raises:
        InputError: they are of no known format, or damaged.
    """
    module, files = _known(paths)
    report: Report = _guarded(module, files, lambda: module.inspect(files))
    if not hasattr(module, "read") and report.reason is None:
        report.reason = f"{module.TITLE} models are not converted yet"
    if report.reason is None and not report.missing and not getattr(module, "HEAVY", False):
        _try(module, files, report)
    return report.to_json() | {"bytes": sum(file.size for file in files)}


def _try(module: ModuleType, files: Sequence[File], report: Report) -> None:
    """Convert in memory, to say what stands in the way, or how much the network computes."""
    try:
        graph: Graph = _guarded(module, files, lambda: module.read(files, Options()))
        report.multiply_adds = graph.multiply_adds()
        report.inputs = {i.name: [graph.free_axes(i).get(a, n) for a, n in enumerate(i.shape)] for i in graph.inputs}
        report.outputs = {name: list(graph.find_shape(value) or ()) or None for name, value in graph.outputs.items()}
        report.notes += graph.notes
    except InputError as error:
        report.missing.append(str(error))
    except MissingError as error:
        report.notes.append(f"to convert it, {error}")


def read(paths: Sequence[str | os.PathLike[str]], options: Options | None = None) -> Graph:
    """The graph of a model, to be written as ONNX.

    Raises:
        InputError: the files are of no known format, damaged, or hold what cannot be converted: says which layer.
        MissingError: the package onnx is not installed.
    """
    module, files = _known(paths)
    if not hasattr(module, "read"):
        report: Report = _guarded(module, files, lambda: module.inspect(files))
        reason = report.reason or f"{module.TITLE} models are not converted yet"
        raise InputError(f"{files[0].path}: {module.TITLE}: {reason}")
    graph: Graph = _guarded(module, files, lambda: module.read(files, options or Options()))
    graph.producer = graph.producer or module.TITLE
    return graph


def _misnamed(module: ModuleType, file: File) -> str:
    """What a message adds where the name of a file promises another format than it has."""
    endings = {m: getattr(m, "ENDINGS", ()) for m in _readers().values()}
    promised = [m.TITLE for m, known in endings.items() if file.suffix in known]
    if not promised or file.suffix in endings[module]:
        return ""
    return f" (it is a {module.TITLE} file, not a {promised[0]} model as its name says)"


def _guarded(module: ModuleType, files: Sequence[File], work: Any) -> Any:
    """Run a reader; whatever a damaged file makes it stumble over becomes one line."""
    try:
        with np.errstate(all="ignore"):  # of damaged weights
            return work()
    except SensoriumError as error:
        text, misnamed = str(error), _misnamed(module, files[0])
        if any(str(file.path) in text for file in files):
            if not misnamed:
                raise
            raise type(error)(text + misnamed) from None
        raise type(error)(f"{files[0].path}: {text}{misnamed}") from None
    except (ValueError, KeyError, IndexError, TypeError, ArithmeticError, RecursionError, AttributeError) as error:
        raise InputError(
            f"{files[0].path}: corrupt, or not a {module.TITLE} model that can be read "
            f"({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        ) from error
