"""What PyTorch does for readers, in a child process with limits: writing its own graphs as ONNX."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import children
from sensorium.errors import InputError
from sensorium.formats.shared import json_text
from sensorium.formats.shared.finished import Finished, finished, references
from sensorium.formats.shared.source import File, Options

SECONDS = 300.0  # that converting may take
MEMORY = 16 << 30  # of address space: PyTorch alone takes 3 GB of it
MISSING = (
    "its layers: it holds tensors and no graph; put the config.json of its Hugging Face model beside it, or describe "
    "the layers in a file (--architecture FILE)"
)


def shapes(options: Options) -> dict[str, list[int]]:
    """The shapes of inputs that were told."""
    return {name: list(shape) for name, shape in {**options.examples, **options.shapes}.items()}


def layers(file: File, arrays: Mapping[str, np.ndarray], options: Options) -> Finished:
    """A network of described layers with these parameters.

    Raises:
        InputError: no layers are described, or they do not fit the parameters.
    """
    if options.architecture is None:
        raise InputError(f"{file.path}: {len(arrays)} tensors; missing are {MISSING}")
    described = json_text.load(File.of(options.architecture))
    with tempfile.TemporaryDirectory(prefix="sensorium-") as folder:
        stored = Path(folder) / "weights.npz"
        np.savez(stored, **{str(i): array for i, array in enumerate(arrays.values())})  # type: ignore[arg-type]
        return export(
            file,
            "layers",
            path=str(stored),
            names=list(arrays),
            described=described,
            where=str(options.architecture),
            shapes=shapes(options),
            image_size=options.image_size,
        )


def export(file: File, work: str, **arguments: Any) -> Finished:
    """Call a function of `sensorium.training.foreign` in a child; what it wrote, with the outputs PyTorch gave."""
    with tempfile.TemporaryDirectory(prefix="sensorium-") as folder:
        told = children.run(
            f"sensorium.training.foreign:{work}",
            seconds=SECONDS,
            memory=MEMORY,
            what=str(file.path),
            folder=folder,
            **arguments,
        )
        graph = finished(Path(folder) / "model.onnx", "PyTorch")
        graph.notes += [str(note) for note in told["notes"]]
        graph.reference = references(Path(folder) / "reference.npz")
        graph.referee = str(told["version"])
        return graph
