"""Checkpoints that survive a crash at any instant, and never lose the newest or the best.

A checkpoint is a folder `checkpoints/step-00001234`: `tensors.safetensors`, `state.json`, and `manifest.json` with the
SHA-256 of both. It is written under a temporary name, synced, and renamed; only then are older ones removed. Nothing
is pickled.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sensorium import files
from sensorium.errors import InputError, SensoriumError

KEEP = 2
BEST = "best"
NAME = re.compile(r"step-(\d{8,})$")


def save(folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint to `folder`, whole or not at all.

    Raises:
        SensoriumError: a tensor holds a value that is not finite, or the disk does not take it.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SensoriumError(f"not saved: '{name}' holds a value that is not finite")
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < size + (1 << 20):
        raise InputError(f"{folder}: needs {size >> 20} MB, the disk has {free >> 20} MB left; free some and --resume")
    with files.publishing(folder) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary / "tensors.safetensors")
        (temporary / "state.json").write_text(files.dump_json(state))
        manifest = {n: files.sha256(temporary / n) for n in ("tensors.safetensors", "state.json")}
        (temporary / "manifest.json").write_text(files.dump_json(manifest))


def load(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint.

    Raises:
        InputError: a file of it is missing, or is not what was written.
    """
    manifest = files.read_json(folder / "manifest.json")
    for name in ("tensors.safetensors", "state.json"):
        path = folder / name
        if not path.is_file() or not isinstance(manifest, dict) or manifest.get(name) != files.sha256(path):
            raise InputError(f"{path}: is not what was written")
    try:
        return load_file(folder / "tensors.safetensors"), files.read_json(folder / "state.json")
    except SafetensorError as error:
        raise InputError(f"{folder}: damaged: {error}") from None


def steps(root: Path) -> list[Path]:
    """The checkpoints in a folder by their step number, the newest first; anything else there is not ours."""
    found = [(int(m[1]), p) for p in root.glob("step-*") if (m := NAME.match(p.name)) and p.is_dir()]
    return [path for _, path in sorted(found, reverse=True)]


def save_step(root: Path, step: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Write the checkpoint of a step, then remove our own older ones but the newest two."""
    save(root / f"step-{step:08d}", tensors, state)
    for old in steps(root)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)


def newest(root: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, or None; says on standard error which ones are damaged."""
    for folder in steps(root):
        try:
            return load(folder)
        except InputError as error:
            print(f"sensorium: {error}: going back to the checkpoint before it", file=sys.stderr)
    return None
