"""Run folders: what a training leaves behind, and how it is read again.

run.json        task, data fingerprint, resolved options, plan, versions, seed, state, result
metrics.jsonl   one line a step and one a validation
splits.json     which examples were trained on and which were held out
checkpoints/    the newest two and the best
tensorboard/    the same numbers and pictures as event files
pictures/       learning curves, what the network sees, predictions beside truths, worst examples
model/          the verified model folder
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sensorium import files
from sensorium.errors import InputError

RECORD = "run.json"
METRICS = "metrics.jsonl"
SPLITS = "splits.json"


class Run:
    """A run folder.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: IO[str] | None = None

    @property
    def exists(self) -> bool:
        return (self.path / RECORD).is_file()

    def read(self) -> dict[str, Any]:
        """What `run.json` holds.

        Raises:
            InputError: this is not a run folder.
        """
        if not self.exists:
            raise InputError(f"{self.path}: not a run folder (it has no {RECORD})")
        record = files.read_json(self.path / RECORD)
        if not isinstance(record, dict):
            raise InputError(f"{self.path / RECORD}: should hold an object")
        return record

    def write(self, record: dict[str, Any]) -> None:
        files.write_atomic(self.path / RECORD, files.dump_json(record))

    def lock(self) -> None:
        """Keep any other process from training into this folder until this one ends.

        Raises:
            InputError: another process trains here.
        """
        import fcntl

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "w")  # noqa: SIM115  (held until the process ends)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            raise InputError(f"{self.path}: another process is training into this folder") from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def start_log(self, step: int) -> None:
        """Begin `metrics.jsonl`, or cut off what stands in it after `step`."""
        kept = [line for line in self.metrics() if line.get("step", 0) <= step] if step else []
        files.write_atomic(self.path / METRICS, "".join(json.dumps(line) + "\n" for line in kept))

    def log(self, **values: Any) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self.path / METRICS).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(values) + "\n")

    def sync_log(self) -> None:
        """Bring the log to the disk (before a checkpoint that claims those steps are done)."""
        files.sync(self.path / METRICS)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a half-written last line is left out."""
        path = self.path / METRICS
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    return


def of_model(path: str | Path) -> Run | None:
    """The run folder that a path to a model means: the path itself, or its parent for `RUN/model`."""
    for folder in (Path(path), Path(path).absolute().parent):
        if (folder / RECORD).is_file():
            return Run(folder)
    return None
