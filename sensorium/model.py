"""The model folder: open it, write it, check it. Reading one never runs code from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import files, tasks
from sensorium.errors import InputError, SensoriumError, check_path
from sensorium.nets import FolderNets, Settings
from sensorium.version import __version__

MANIFEST = "sensorium.json"
VERIFICATION = "verification.json"
# A network's outputs may be off by so much of their largest in another engine, in half the digits.
FAR = 0.5
PROBES = "probes"
# Files that a task may read, of those a Hugging Face folder has.
TEXT_LIMIT = 256 << 20


class FolderFiles(Mapping[str, Any]):
    """The JSON (as values) and text files of a folder by name, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Any:
        path = self.folder / name
        if name not in self:
            raise KeyError(name)
        if name.endswith(".json") and name != "tokenizer.json":
            found = files.read_json(path)
            if name.endswith("config.json") and not isinstance(found, dict):
                raise InputError(f"{path}: should hold an object")
            return found
        if path.stat().st_size > TEXT_LIMIT:
            raise InputError(f"{path}: larger than {TEXT_LIMIT >> 20} MB")
        if name.endswith(".safetensors"):
            return path.read_bytes()
        try:
            return path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 text: {error}") from None

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        place = name.split("/")  # `1_Pooling/config.json` of sentence-transformers, and nothing further down or up
        return len(place) <= 2 and not {"", ".", ".."} & set(place) and (self.folder / name).is_file()

    def __iter__(self) -> Iterator[str]:
        kinds = (".json", ".txt", ".jinja")
        return (p.name for p in sorted(self.folder.iterdir()) if p.is_file() and p.suffix in kinds)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class Model:
    """A model folder on disk.

    Attributes:
        path: the folder.
    """

    path: Path

    @cached_property
    def files(self) -> FolderFiles:
        return FolderFiles(self.path)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What `sensorium.json` says; empty for a folder that somebody else wrote."""
        found = self.files.get(MANIFEST, {})
        if not isinstance(found, dict):
            raise InputError(f"{self.path / MANIFEST}: should hold an object")
        return found

    @cached_property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.files.get("config.json", {})
        return found

    @cached_property
    def verification(self) -> dict[str, Any]:
        found = self.files.get(VERIFICATION, {})
        return found if isinstance(found, dict) else {}

    @cached_property
    def task_name(self) -> str:
        """The task, from `sensorium.json`, or else from the architecture that `config.json` names."""
        if name := self.manifest.get("task"):
            return str(name)
        if name := tasks.of_architecture(self.config):
            return name
        raise InputError(
            f"{self.path}: neither {MANIFEST} nor the architectures in config.json say which task this model does"
        )

    def task(self, name: str | None = None) -> Any:
        """The task with everything the folder says about it.

        Args:
            name: another task that the same files serve: a detector can also track.

        Raises:
            InputError: a file of the folder is missing or does not hold what it should.
        """
        kind = tasks.find(name or self.task_name)
        try:
            return kind.load(self.files)
        except KeyError as error:
            raise InputError(f"{self.path}: {kind.name} needs {error} in this folder's files") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{self.path}: its files do not describe a {kind.name} model: {error}") from None

    def nets(self, settings: Settings | None = None) -> FolderNets:
        """The networks of the folder, opened when first used."""
        return FolderNets(self.path, settings, self._hold)

    def _hold(self, path: Path, net: Any) -> None:
        """See that an engine gives about the outputs that were kept: OpenVINO computes whole numbers of 64 bits in 32,
        and a network that hashes words would answer with anything.

        Raises:
            InputError: it does not.
        """
        kept, task = load_probe(self.path, path.name), None
        with contextlib.suppress(SensoriumError):  # the folder may not say its task
            task = self.task()
        if kept is not None and not difference(task, kept[1], net(kept[0])) <= FAR:
            raise InputError(f"{path}: OpenVINO gives other outputs for this network: run it with engine 'onnxruntime'")

    @property
    def stamp(self) -> str:
        """SHA-256 of `sensorium.json`, which has the hash of every file; empty where it is absent."""
        path = self.path / MANIFEST
        return files.sha256(path) if path.is_file() else ""

    def fingerprint(self) -> str:
        """SHA-256 over what `sensorium.json` lists, or over the folder's networks where it is absent."""
        import hashlib

        listed = self.manifest.get("files")
        if not isinstance(listed, dict):
            listed = {p.name: files.sha256(p) for p in sorted((self.path / "onnx").glob("*"))}
        return hashlib.sha256(repr(sorted(listed.items())).encode()).hexdigest()


def open_model(path: str | Path) -> Model:
    """Open a model folder, or the best model of a run folder.

    Raises:
        InputError: there is none at this path.
    """
    check_path(path)
    folder = Path(path)
    if not folder.exists():
        raise InputError(f"{folder}: no such model folder")
    if folder.is_file():
        raise InputError(f"{folder}: a single file does not say its task; give the model folder it belongs to")
    if (folder / "onnx").is_dir():
        return Model(folder)
    if (folder / "model" / "onnx").is_dir():
        return Model(folder / "model")
    if (folder / "run.json").is_file():
        raise InputError(
            f"{folder}: this run has not written a model yet; finish it with `sensorium train ... --resume`"
        )
    raise InputError(f"{folder}: not a model folder (it has no folder 'onnx') and not a run folder")


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but the manifest, by relative path."""
    return {
        p.relative_to(folder).as_posix(): files.sha256(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.relative_to(folder).as_posix() != MANIFEST
    }


def seal(folder: Path, task: str, origin: Mapping[str, Any]) -> None:
    """Write `sensorium.json`: the task, the version, the hash of every file, and where the model came from."""
    manifest = {"sensorium": __version__, "task": task, "origin": dict(origin), "files": contents(folder)}
    (folder / MANIFEST).write_text(files.dump_json(manifest), "utf-8")


def write_files(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a task's files: values as JSON, text and bytes as they are."""
    for name, value in content.items():
        text = value if isinstance(value, (str, bytes)) else files.dump_json(value)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def save_probe(folder: Path, file: str, feeds: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
    """Keep made-up inputs of one network and the outputs that were computed from them, for `verify`."""
    (folder / PROBES).mkdir(exist_ok=True)
    arrays = {f"in.{k}": v for k, v in feeds.items()} | {f"out.{k}": v for k, v in outputs.items()}
    np.savez_compressed(folder / PROBES / f"{Path(file).stem}.npz", **arrays)  # type: ignore[arg-type]


def load_probe(folder: Path, file: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """The inputs and outputs that `save_probe` kept, or None where there are none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / PROBES / f"{Path(file).stem}.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile and numpy raise many kinds for a damaged file
        raise InputError(f"{path}: damaged: {error}") from None
    feeds = {k[3:]: v for k, v in arrays.items() if k.startswith("in.")}
    return feeds, {k[4:]: v for k, v in arrays.items() if k.startswith("out.")}


def difference(task: Any, expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """How far a network's outputs are from those expected: as the task sees it, or else the `largest_difference`.

    A task whose outputs have no order of their own, such as queries sorted by score, says by a method `difference` what
    counts: two of them that are as good as equal may change places.
    """
    own = getattr(task, "difference", None)
    return float(own(expected, found)) if own is not None else largest_difference(expected, found)


def largest_difference(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    """Largest difference of two sets of arrays, relative to the largest magnitude in each reference array `a`.

    A differing shape or a value that is not finite on one side only counts as infinite.
    """
    worst = 0.0
    for name, reference in a.items():
        other = b.get(name)
        if other is None or other.shape != reference.shape:
            return float("inf")
        if reference.size == 0:
            continue
        x, y = reference.astype(np.float64), other.astype(np.float64)
        if not np.array_equal(np.isfinite(x), np.isfinite(y)):
            return float("inf")
        finite = np.isfinite(x)
        scale = max(1.0, float(np.abs(x[finite]).max(initial=0)))
        worst = max(worst, float(np.abs(x - y)[finite].max(initial=0)) / scale)
    return worst
