"""A stranger's network is first opened, and run, by a child process: one that crashes the engine costs a line."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import children
from sensorium.nets.ort import OrtNet

SECONDS = 30.0
MEMORY = 6 << 30  # of address space, besides four times the file


def look(path: Path) -> dict[str, Any]:
    """Inputs (name to shape and type) and outputs of a network, from a child process.

    Raises:
        InputError: ONNX Runtime does not open it, or died of it.
    """
    found: dict[str, Any] = _child("open_network", path)
    return found


def run(path: Path, feeds: Mapping[str, np.ndarray]) -> None:
    """Run a network once in a child process.

    Raises:
        InputError: it cannot be run on these, or the child died of it.
    """
    with tempfile.TemporaryDirectory(prefix="sensorium-") as folder:
        given = Path(folder) / "feeds.npz"
        np.savez(given, **feeds)  # type: ignore[arg-type]
        _child("run_network", path, feeds=str(given))


def _child(name: str, path: Path, **arguments: str) -> Any:
    size = sum(p.stat().st_size for p in path.parent.glob(path.name + "*")) or path.stat().st_size
    return children.run(
        f"{__name__}:{name}",
        seconds=SECONDS,
        memory=MEMORY + 4 * size,
        what=str(path),
        path=str(path.resolve()),
        shown=str(path),
        **arguments,
    )


# The child's side


def open_network(path: str, shown: str) -> dict[str, Any]:
    net = OrtNet(Path(path), threads=1)
    return {
        "inputs": {name: {"shape": shape, "dtype": np.dtype(kind).name} for name, (shape, kind) in net.inputs.items()},
        "outputs": net.outputs,
    }


def run_network(path: str, shown: str, feeds: str) -> None:
    with np.load(feeds, allow_pickle=False) as stored:
        OrtNet(Path(path), threads=1)({name: stored[name] for name in stored.files})
