"""A model ready to answer: light to create, loaded at the first question, picklable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sensorium import inference
from sensorium.errors import InputError, SensoriumError
from sensorium.model import MANIFEST, Model, open_model
from sensorium.nets import FolderNets, Settings


class Predictor:
    """Answers with the model in a folder.

    It pickles to its path and options, so that Ray, Spark and Dask can send it about; each process loads the networks
    once, when it is first asked.

    Args:
        path: a model folder, or a run folder (its best model).
        settings: how its networks are run; what they leave free is what `tune` recorded, or else the default.
        task: another task than the folder names that the same files serve: a detector can also track.

    Raises:
        InputError: there is no model at this path.
    """

    def __init__(self, path: str | Path, settings: Settings | None = None, *, task: str | None = None) -> None:
        self.model: Model = open_model(path)
        self.task_name = task
        self.settings = (settings or Settings()).or_recorded(self.model.path)
        self._forget()

    @property
    def precision(self) -> str | None:
        """The precision that was asked for, or found best by `tune`; None for the folder's own."""
        return self.settings.precision

    def _forget(self) -> None:
        self._task: Any = None
        self._nets: FolderNets | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        path = str(self.model.path.absolute())
        return {"path": path, "model": self.model.stamp, "settings": self.settings, "task": self.task_name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.model = open_model(state["path"])
        if self.model.stamp != state["model"]:
            raise InputError(f"{state['path']}: not the model that was sent: its {MANIFEST} has changed")
        self.settings, self.task_name = state["settings"], state["task"]
        self._forget()

    def __repr__(self) -> str:
        return f"Predictor({str(self.model.path)!r})"

    @property
    def task(self) -> Any:
        """The task of the model, with its labels, tokenizer and preprocessing."""
        if self._task is None:
            self._task = self.model.task(self.task_name)
        return self._task

    @property
    def nets(self) -> FolderNets:
        """The networks of the folder."""
        # A session does not survive a fork: its threads stay behind in the parent.
        if self._nets is None or self._process != os.getpid():
            self._nets, self._process = self.model.nets(self.settings), os.getpid()
        return self._nets

    def predict(self, source: Any, **options: Any) -> Any:
        """The answer to one source: a path, bytes, picture, array or text, as the task takes them.

        Raises:
            InputError: the source cannot be read, or the task has no such option.
        """
        return inference.run(self.task, self.nets, [self.task.open(source)], **options)[0]

    def predict_batch(self, sources: Iterable[Any], **options: Any) -> list[Any]:
        """The answers to several sources, computed together; where one fails, its place holds the error."""
        opened = [inference.open_source(self.task, source) for source in sources]
        good = [one for one in opened if not isinstance(one, SensoriumError)]
        answers = iter(inference.answer_each(self.task, self.nets, good, **options))
        return [one if isinstance(one, SensoriumError) else next(answers) for one in opened]

    def stream(self, sources: Iterable[Any], **options: Any) -> Iterator[tuple[Any, Any]]:
        """Answers to any number of sources, in order, with bounded memory: (source, result or `SensoriumError`)."""
        return inference.stream(self.task, self.nets, sources, **{"batch_size": self.settings.batch_size, **options})

    def stream_text(self, source: Any, **options: Any) -> Iterator[str]:
        """The answer to one source, piece by piece as it is written; together what `predict` gives of new text.

        Raises:
            InputError: the source or an option is not possible, or the task does not write texts.
        """
        if not hasattr(self.task, "stream"):
            raise InputError(f"{self.task.name} does not answer piece by piece")
        inference.check_options(self.task, options)
        pieces: Iterator[str] = self.task.stream(self.nets, source, **options)
        return pieces

    def warm_up(self) -> None:
        """Load the task and every network of the folder, so that the first question does not wait.

        Raises:
            InputError: one of them cannot be loaded.
        """
        _ = self.task
        for name in self.nets:
            _ = self.nets[name]
