"""Data sets on disk: one reader per format, to examples with the field names of Hugging Face data sets.

A reader is a module here with `match(source) -> float` (how surely the files are of its format, 0 to 1, by
content) and `read(source) -> Dataset`. The folder is the registry: a new format is a new file.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, Literal

from sensorium.data.examples import SPLITS, Dataset, Example, Finding
from sensorium.data.source import Source, extension
from sensorium.data.splits import apply_splits, check_splits, hold_out, read_splits, write_splits
from sensorium.errors import InputError

__all__ = [
    "SPLITS",
    "Dataset",
    "Example",
    "Finding",
    "formats",
    "hold_out",
    "open_data",
    "read_splits",
    "write_splits",
]


def _readers() -> Iterator[tuple[str, ModuleType]]:
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        if hasattr(module, "match"):
            yield found.name.replace("_", "-"), module


def formats() -> dict[str, str]:
    """The formats that can be read: name and description."""
    return {name: (module.__doc__ or "").strip().splitlines()[0] for name, module in _readers()}


def needs(task: str) -> dict[str, bool]:
    """The fields a task reads and answers; True: it cannot do without.

    A condition to generate from (`label` before a picture) may be missing.
    """
    from sensorium.tasks import find, parts

    found = find(task)
    return {name: task != "image-generation" for name in parts(found)} | {found.truth: True}


def open_data(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    splits: str | os.PathLike[str] | Mapping[str, Sequence[str]] | Literal[False] | None = None,
    task: str | None = None,
) -> Dataset:
    """Recognise a data set by its content and read it.

    Args:
        path: a folder, or one file of annotations or a table.
        format: name of a format, to ask for it; by default the one that the files speak of.
        splits: a file of lists, or the lists themselves: `{"train": [ids], "val": [ids], "test": [ids]}`. By
            default the `splits.json` beside the data, or else what the format says; False for this alone.
        task: the task it is for. Where the files can be understood in several ways, one is chosen that has
            what the task needs.

    Raises:
        InputError: no such data, no known format, a fault in it, or not what the task needs.
    """
    required = needs(task) if task is not None else {}
    source = Source.of(path, required)
    readers = dict(_readers())
    if format is not None:
        if format not in readers:
            raise InputError(f"there is no data format '{format}': use one of {', '.join(readers)}")
        candidates, surety = [format], {}
    else:
        surety = {name: reader.match(source) for name, reader in readers.items()}
        candidates = sorted((n for n in surety if surety[n] > 0), key=lambda n: (-surety[n], n))
    if not candidates:
        raise InputError(_not_recognised(source, path))
    first: Dataset | None = None
    for name in candidates:
        attempt = Source(source.root, source.file, source.wants, list(source.notes))
        attempt.__dict__.update({k: v for k, v in source.__dict__.items() if k in ("files", "listing")})
        try:
            dataset: Dataset = readers[name].read(attempt)
        except InputError:
            if first is None:
                raise
            continue
        dataset = _for_task(dataset, required)
        if len(dataset.examples) and all(f in dataset.fields for f, must in required.items() if must):
            break
        first = first or dataset
        if not required and not len(first.examples) and surety.get(name, 1.0) > 0.8:
            raise InputError(_not_usable(first, path, task, required))
    else:
        assert first is not None
        raise InputError(_not_usable(first, path, task, required))
    if splits is None and (source.root / "splits.json").is_file():
        splits = source.root / "splits.json"
    if isinstance(splits, Mapping):
        apply_splits(dataset, check_splits(splits, "splits"), "splits", source.files)
    elif splits is not None and splits is not False:
        apply_splits(dataset, read_splits(splits), os.path.basename(splits), source.files)
    return dataset


def _for_task(dataset: Dataset, required: Mapping[str, bool]) -> Dataset:
    """Offer a label as the text to be heard where the task needs one: spoken digits, words or commands."""
    if "text" in required and "text" not in dataset.fields and {"audio", "label"} <= set(dataset.fields):
        dataset.examples = [replace(e, fields={**e.fields, "text": e.fields["label"]}) for e in dataset.examples]
        dataset.fields = (*dataset.fields, "text")
        dataset.notes.append("the labels are taken as the text that is spoken")
    return dataset


def _not_usable(dataset: Dataset, path: Any, task: str | None, required: Mapping[str, bool]) -> str:
    if not len(dataset.examples):
        reason = f" ({f.where}: {f.message})" if (f := next(iter(dataset.findings), None)) else ""
        return f"'{path}': read as {dataset.format}, not one example can be used{reason}"
    missing = " and ".join(f"'{f}'" for f, must in required.items() if must and f not in dataset.fields)
    return (
        f"'{path}' was understood as {dataset.format} with the fields {', '.join(dataset.fields)}: "
        f"{task} also needs {missing}"
    )


def _not_recognised(source: Source, path: Any) -> str:
    kinds = Counter(extension(name) or "no extension" for name in source.given if name != "splits.json")
    if not kinds:
        return f"'{path}' is empty: no data in it"
    seen = ", ".join(f"{n} x {kind}" for kind, n in kinds.most_common(4))
    return f"'{path}' is in no known data format (files: {seen}): see docs/data-formats.md"
