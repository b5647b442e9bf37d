"""How the networks of a folder are run on this machine: engine, precision, threads; chosen, or found by `tune`."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sensorium import files
from sensorium.errors import InputError

ENGINES = ("onnxruntime", "openvino")
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int4")
DEVICES = ("cpu", "cuda", "coreml", "directml")
MOST = 1024  # threads, or examples at once: with more an engine does not end in sensible time


@dataclass(frozen=True, slots=True)
class Settings:
    """What is not given (None) is what `tune` recorded for this folder on this machine, or else the default.

    Attributes:
        engine: `onnxruntime` (the default), or `openvino` (extra `openvino`).
        precision: of the file to run; `bf16` runs the fp32 file in bfloat16, which OpenVINO can.
        threads: of one run; by default all cores that this process may use.
        device: `cpu`; `cuda`, `coreml` and `directml` where the installed onnxruntime has them.
        batch_size: examples that are computed together when many are streamed.
    """

    engine: str | None = None
    precision: str | None = None
    threads: int | None = None
    device: str | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        choices = (("engine", ENGINES), ("precision", PRECISIONS), ("device", DEVICES))
        for name, known in choices:
            value = getattr(self, name)
            if value is not None and value not in known:
                raise InputError(f"{name} '{value}' is not one of {', '.join(known)}")
        for name in ("threads", "batch_size"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST:
                raise InputError(f"{name} must be at least 1 and at most {MOST}")

    @property
    def free(self) -> bool:
        """Whether nothing that decides the answers' digits was chosen, so that what `tune` found may count."""
        return self.engine is None and self.precision is None and self.device is None

    def or_recorded(self, folder: Path) -> Settings:
        """These settings, filled up with what `tune` recorded for the folder, where they leave it free."""
        found = recorded(folder) if self.free else None
        if found is None:
            return self
        own = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(found, **own)


def _place(folder: Path) -> Path:
    """The file in the user's cache that holds the settings of a folder on this machine."""
    cache = files.user_cache() / "sensorium" / "settings"
    manifest = folder / "sensorium.json"
    networks = [manifest] if manifest.is_file() else sorted((folder / "onnx").glob("*"))
    # The manifest has the hash of every file; without one, names, sizes and times stand for the content.
    known = [
        p.read_bytes() if p == manifest else f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}".encode()
        for p in networks
    ]
    machine = f"{platform.node()} {platform.machine()} {os.cpu_count()}".encode()
    return cache / f"{hashlib.sha256(b'|'.join([machine, *known])).hexdigest()[:32]}.json"


def recorded(folder: Path) -> Settings | None:
    """What `tune` recorded for this folder on this machine; None where it has not been tuned."""
    try:
        found = json.loads(_place(folder).read_text("utf-8"))["settings"]
        return Settings(**found)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def record(folder: Path, settings: Settings, report: object) -> Path:
    """Keep settings for a folder, with the measurements behind them.

    Returns:
        The file they were written to.
    """
    place = _place(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    content = {"model": str(folder.absolute()), "settings": asdict(settings), "measured": report}
    new = place.with_suffix(f".{os.getpid()}.new")
    new.write_text(json.dumps(content, indent=1), "utf-8")
    new.replace(place)
    return place


def forget(folder: Path) -> bool:
    """Drop what was recorded; False where nothing was."""
    place = _place(folder)
    known = place.is_file()
    place.unlink(missing_ok=True)
    return known
