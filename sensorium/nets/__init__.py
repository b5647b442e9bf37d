"""Named arrays to named arrays: one file per engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from sensorium import files
from sensorium.errors import InputError, MissingError, SensoriumError
from sensorium.nets import bound
from sensorium.nets.bound import BoundNet
from sensorium.nets.openvino import OpenVinoNet
from sensorium.nets.ort import OrtNet, available_cores
from sensorium.nets.settings import Settings

__all__ = ["SUFFIXES", "FolderNets", "Opened", "Settings", "split_stem"]

Opened = OrtNet | OpenVinoNet | BoundNet

LARGE = 1 << 30  # bytes of networks that are not loaded a second time
# File-name suffix of each precision, as transformers.js and the onnx-community folders spell them.
SUFFIXES = {"fp32": "", "fp16": "_fp16", "int8": "_quantized", "int4": "_q4"}


def split_stem(stem: str) -> tuple[str, str]:
    """`encoder_model_fp16` to (`encoder_model`, `fp16`)."""
    for precision, suffix in SUFFIXES.items():
        if suffix and stem.endswith(suffix):
            return stem.removesuffix(suffix), precision
    return stem, "fp32"


class FolderNets(Mapping[str, Opened]):
    """The networks in a model folder's `onnx/`, each opened when it is first asked for.

    A folder that was converted may say in `bindings.json` what its network calls the task's arrays.

    Args:
        folder: the model folder.
        settings: the engine, the device, the threads, and the precision: None takes fp32, or what there is where there
            is no fp32. A file that does not exist in the precision asked for is taken in fp32, as long as one file has
            that precision.
        check: sees each network that another engine than ONNX Runtime opened, with its file, and may refuse it.

    Attributes:
        once: whether each network will be run once only, which those that are opened from now on are prepared for.

    Raises:
        InputError: the folder holds no network.
        MissingError: no network has this precision.
    """

    def __init__(
        self, folder: Path, settings: Settings | None = None, check: Callable[[Path, Any], None] | None = None
    ) -> None:
        self.settings = settings or Settings()
        self.check = check
        self.once = False
        if self.settings.precision == "bf16" and self.settings.engine != "openvino":
            raise InputError("bf16 is computed by OpenVINO: ask for engine 'openvino', too")
        precision = None if self.settings.precision == "bf16" else self.settings.precision
        found: dict[str, dict[str, Path]] = {}
        for path in sorted((folder / "onnx").glob("*.onnx")):
            stem, kind = split_stem(path.stem)
            found.setdefault(stem, {})[kind] = path
        if not found:
            raise InputError(f"{folder}: no network in its folder 'onnx'; is this a model folder?")
        if precision is not None and not any(precision in kinds for kinds in found.values()):
            has = ", ".join(sorted({kind for kinds in found.values() for kind in kinds}))
            raise MissingError(
                f"{folder}: there is no {precision} file here (there is {has}); "
                f"make one with `sensorium export {folder} --to {precision}`"
            )
        self.paths = {
            stem: kinds.get(precision or "fp32") or kinds.get("fp32") or next(iter(kinds.values()))
            for stem, kinds in found.items()
        }
        self.folder = folder
        self.binding = bound.read(folder)
        self._open: dict[str, Opened] = {}
        self._opening = Lock()
        self._apart: dict[int, FolderNets] = {}

    def apart(self, most: int) -> tuple[FolderNets, int]:
        """The same networks for several that run them at the same time, each with its share of the threads.

        Layers of one run wait for each other's threads; runs beside each other do not. Of networks that are large and
        open already nothing is loaded a second time.

        Args:
            most: how many at the same time.

        Returns:
            The networks, and how many may run them at the same time.
        """
        how = self.settings
        threads = how.threads or available_cores()
        workers = min(most, threads)
        size = sum(p.stat().st_size for name in self._open for p in self.folder.glob(f"onnx/{self.paths[name].name}*"))
        if workers < 2 or how.engine == "openvino" or how.device not in (None, "cpu") or size > LARGE:
            return self, 1
        with self._opening:
            if workers not in self._apart:
                share = replace(how, threads=threads // workers)
                self._apart[workers] = FolderNets(self.folder, share, self.check)
            return self._apart[workers], workers

    def __getitem__(self, name: str) -> Opened:
        with self._opening:  # several threads may ask for it at once
            if name not in self._open:
                if name not in self.paths:
                    raise KeyError(name)
                try:
                    self._open[name] = self.bound(self._opened(self.paths[name]))
                except SensoriumError as error:
                    error.always = True
                    raise
            return self._open[name]

    def _opened(self, path: Path) -> OrtNet | OpenVinoNet:
        how = self.settings
        if how.engine != "openvino":
            return OrtNet(path, how.threads, how.device or "cpu", self.once)
        net = OpenVinoNet(path, how.threads, how.precision == "bf16")
        if self.check is not None:
            self.check(path, net)
        return net

    def made_for(self, task: str) -> bool:
        """Whether these networks were written, and tried, for this task."""
        manifest = self.folder / "sensorium.json"
        found = files.read_json(manifest) if manifest.is_file() else {}
        return isinstance(found, dict) and found.get("task") == task

    def bound(self, net: OrtNet | OpenVinoNet) -> Opened:
        """A network of this folder, with the names that the task knows."""
        return BoundNet(net, self.binding) if self.binding else net

    def __contains__(self, name: object) -> bool:
        return name in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)
