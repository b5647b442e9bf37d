"""The tasks, one module each: what goes in, what comes out, how good it is. Never needs PyTorch.

The folder is the registry: a task `object-detection` is the class `Task` in `object_detection.py`.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib
import importlib.util
import inspect
import io
import math
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from sensorium.errors import InputError

if TYPE_CHECKING:  # Pillow is loaded by the tasks that see or draw
    from PIL import Image

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Tally:
    """What the metrics need to know of one example.

    Attributes:
        quality: how well this one went; 1 is best, lower is worse (orders the list of worst examples).
        stats: sufficient statistics of the task's own kind; `Task.score` combines them.
    """

    quality: float
    stats: Any


class Net(Protocol):
    """Named arrays to named arrays, all with a batch axis."""

    @property
    def inputs(self) -> Mapping[str, Any]: ...
    @property
    def outputs(self) -> Sequence[str]: ...
    def __call__(self, feeds: Arrays) -> Arrays: ...


Nets = Mapping[str, Net]


class Task(Protocol):
    """What every task module's `Task` class has. See `docs/adding-a-task.md`."""

    name: ClassVar[str]
    source: ClassVar[str]  # the field of the data it reads
    truth: ClassVar[str]  # the field of the data it answers
    metric: ClassVar[str]  # the main one of what `score` gives
    lower_is_better: ClassVar[bool]
    padding: ClassVar[dict[str, float]]  # value that fills up a shorter example in a batch, per array
    evaluation: ClassVar[dict[str, Any]]  # options used when evaluating
    # Optional: `parts`, where a source has several (a picture and a question about it), the first being `source`;
    # `architectures`, the endings of the Hugging Face classes that do this task, and `suits(config)` where the ending
    # alone does not tell; `evaluation_on(truths)`, options for evaluating that the data decide: labels to choose from;
    # `labels`, all that it can answer, where the truths are labels too.

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task: ...
    def files(self) -> dict[str, Any]: ...
    def open(self, source: Any) -> Any: ...
    def prepare(self, source: Any) -> Arrays: ...
    def decode(self, outputs: Arrays, source: Any) -> Any: ...
    def tally(self, prediction: Any, truth: Any, nets: Nets) -> Tally: ...
    def score(self, tallies: Sequence[Tally]) -> dict[str, float]: ...
    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Any]: ...
    def draw(self, source: Any, result: Any) -> Image.Image: ...


def names() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if not m.ispkg)


def find(name: str) -> type[Any]:
    """The `Task` class of this name.

    Raises:
        InputError: there is no such task.
    """
    if name not in names():
        import difflib

        near = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean '{near[0]}'?" if near else "`sensorium tasks` lists them"
        raise InputError(f"there is no task '{name}': {hint}")
    task: type[Any] = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").Task
    return task


def of_architecture(config: Mapping[str, Any]) -> str | None:
    """The task of a Hugging Face `config.json`: the one that names the longest ending of its architecture."""
    found: list[tuple[int, str]] = []
    for name in names():
        kind = find(name)
        for architecture in config.get("architectures") or []:
            for ending in getattr(kind, "architectures", ()):
                if str(architecture).endswith(ending) and (not hasattr(kind, "suits") or kind.suits(config)):
                    found.append((-len(ending), name))
    return min(found, default=(0, None))[1]


def parts(task: Task | type[Any]) -> tuple[str, ...]:
    """The fields of the data that make up one source."""
    return tuple(getattr(task, "parts", None) or (task.source,))


def source_of(task: Task | type[Any], fields: Mapping[str, Any]) -> Any:
    """What `task.open` takes of an example: the field it reads, or a mapping of those it reads."""
    if len(parts(task)) == 1:
        return fields.get(task.source)
    return {name: fields[name] for name in parts(task) if name in fields}


@dataclass(frozen=True, slots=True)
class Option:
    """A keyword option of a task's answer: a command-line flag and a request field."""

    name: str
    annotation: str
    default: Any
    help: str


def options(task: type[Any]) -> list[Option]:
    """The options of a task: the keyword-only parameters of its `predict`, or else of its `decode`."""
    function = getattr(task, "predict", None) or task.decode
    lines = [line.strip() for line in (inspect.getdoc(function) or "").splitlines()]
    help_of = dict(line.split(": ", 1) for line in lines if ": " in line and line.split(": ")[0].isidentifier())
    return [
        Option(p.name, str(p.annotation), p.default, help_of.get(p.name, ""))
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    ]


def described(task: type[Any]) -> dict[str, Any]:
    """The options of a task as JSON values.

    Returns:
        `options`, name to default, null for those that have none; `required`, the names of these.
    """
    found = options(task)
    required = [o.name for o in found if o.default is inspect.Parameter.empty]
    return {"options": {o.name: None if o.name in required else o.default for o in found}, "required": required}


def to_json(result: Any) -> Any:
    """A result as JSON values: dataclasses become objects, arrays lists, pictures PNG data URLs, NaN null."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {f.name: to_json(getattr(result, f.name)) for f in dataclasses.fields(result)}
    if isinstance(result, Mapping):
        return {str(k): to_json(v) for k, v in result.items()}
    if isinstance(result, (list, tuple)):
        return [to_json(v) for v in result]
    if isinstance(result, (np.ndarray, np.generic)):
        return to_json(result.tolist())
    if result is None or isinstance(result, (str, int)):
        return result
    if isinstance(result, float):
        return result if math.isfinite(result) else None
    from PIL import Image

    if isinstance(result, Image.Image):
        buffer = io.BytesIO()
        result.save(buffer, "PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return result


def table() -> list[dict[str, Any]]:
    """The table of tasks, generated from the code.

    Returns:
        For each task: name, description, source, truth, metric, trainable, options, required.
    """
    rows = []
    for name in names():
        task = find(name)
        doc = (sys.modules[task.__module__].__doc__ or "").strip().splitlines()[0]
        recipe = importlib.util.find_spec(f"sensorium.training.recipes.{name.replace('-', '_')}")
        rows.append(
            {
                "name": name,
                "description": doc,
                "source": task.source,
                "truth": task.truth,
                "metric": task.metric,
                "trainable": recipe is not None,
                **described(task),
            }
        )
    return rows


class _Callable(ModuleType):
    """`sensorium.tasks()` is a verb and `sensorium.tasks` this package: the module itself can be called."""

    def __call__(self) -> list[dict[str, Any]]:
        return table()


sys.modules[__name__].__class__ = _Callable
