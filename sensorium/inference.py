"""Predict and evaluate: for any task and any network, whether it stands in a folder or is being trained."""

from __future__ import annotations

import inspect
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from numbers import Integral, Real
from typing import Any

import numpy as np

from sensorium.errors import CallError, Fault, InputError, SensoriumError
from sensorium.nets import FolderNets, Settings
from sensorium.nets.ort import available_cores
from sensorium.ops import batches, bootstrap
from sensorium.ops.batches import collate as collate
from sensorium.tasks import Arrays, Nets, Tally, Task, options, source_of

BATCH_SIZE = 16
PART = 4  # of a batch: soon read, and as quick in one network as all of them
WORKERS = 8  # that compute at the same time, each with its own values between the layers


def run(task: Task, nets: Nets, sources: Sequence[Any], **given: Any) -> list[Any]:
    """The task's answers to opened sources, computed together.

    Args:
        sources: what `task.open` gave.
        given: options of the task's answer.

    Raises:
        InputError: an option that the task does not have or that is missing, or inputs that the network does not take.
    """
    return _run(task, nets, sources, None, given)


def _run(
    task: Task, nets: Nets, sources: Sequence[Any], items: Sequence[Arrays] | None, given: dict[str, Any]
) -> list[Any]:
    """`run`, with the arrays of the sources where they are prepared already."""
    check_options(task, given)
    if not sources:
        return []
    several = getattr(task, "predict", None)
    if several is not None:
        with _fitting(task, nets):
            answers: list[Any] = several(nets, list(sources), **given)
        return answers
    if "model" not in nets:
        raise InputError(f"{task.name} runs one network, onnx/model.onnx; this folder has {', '.join(nets)}")
    net = nets["model"]
    with _fitting(task, nets):
        items = [task.prepare(source) for source in sources] if items is None else items
        results: list[Any] = [None] * len(items)
        for i, outputs in batches.outputs(net, items, task.padding, len(items)):
            results[i] = task.decode(outputs, sources[i], **given)
    return results


@contextmanager
def _fitting(task: Task, nets: Nets) -> Iterator[None]:
    """Say in one line that a folder's network is not one for the task, as when another task is asked of it.

    Raises:
        InputError: the task stumbled over what the network takes or gives.
        Fault: it stumbled all the same where the networks were written for this task.
    """
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        if not isinstance(nets, FolderNets):  # a network in training: whoever writes it wants to see where
            raise
        if nets.made_for(task.name):
            raise Fault(f"{task.name} fails ({type(error).__name__}: {error}): a fault of this program; please report "
                        "it with what `--debug` shows") from error  # fmt: skip
        raise InputError(
            f"{task.name} cannot use what the networks of this model take or give ({type(error).__name__}: {error}): "
            "is it a model for this task?"
        ) from error


KINDS: dict[str, Any] = {
    "int": Integral, "float": Real, "bool": (bool, np.bool_), "str": (str, os.PathLike), "dict": Mapping,
    "list": (list, tuple, np.ndarray),
}  # fmt: skip


def check_options(task: Task, given: Mapping[str, Any]) -> None:
    """See that the task has these options, that they are of its kinds, and that those it needs are among them.

    Raises:
        CallError: they are not.
    """
    choices = options(type(task))
    known = {o.name for o in choices}
    if unknown := sorted(set(given) - known):
        has = ", ".join(sorted(known)) or "none"
        raise CallError(f"{task.name} has no option '{unknown[0]}'; its options: {has}")
    for choice in choices:
        if choice.name not in given:
            continue
        value = given[choice.name]
        kind = KINDS.get(choice.annotation.split("|")[0].split("[")[0].strip(), object)
        if not isinstance(value, kind) and not (value is None and "None" in choice.annotation):
            raise CallError(f"{task.name}: the option '{choice.name}' is {choice.annotation}, not {str(value)[:40]!r}")
    if lacking := [o for o in choices if o.default is inspect.Parameter.empty and o.name not in given]:
        raise CallError(f"{task.name} needs the option '{lacking[0].name}': {lacking[0].help}")


def open_source(task: Task, source: Any) -> Any:
    """What `task.open` gives, or the `SensoriumError` it raises."""
    try:
        return task.open(source)
    except SensoriumError as error:
        return error


def _ready(task: Task, source: Any) -> tuple[Any, Arrays | None]:
    """The source opened, or the error; and prepared, where the task runs one network once."""
    opened = open_source(task, source)
    if isinstance(opened, SensoriumError) or hasattr(task, "predict"):
        return opened, None
    try:
        return opened, task.prepare(opened)
    except SensoriumError as error:
        return error, None


def _now(function: Callable[..., Any], *given: Any) -> Future[Any]:
    """What submitting to another thread gives, of what is done in this one: for one source that is quicker."""
    done: Future[Any] = Future()
    done.set_result(function(*given))
    return done


def stream(
    task: Task,
    nets: Nets,
    sources: Iterable[Any],
    *,
    batch_size: int | None = None,
    **given: Any,
) -> Iterator[tuple[Any, Any]]:
    """Answer any number of sources with bounded memory: the next are read and prepared while these are computed.

    Where the task needs one run of one network for each, and several cores are free for that, each core computes its
    own sources: together they are quicker so than all of them on one after the other.

    Args:
        batch_size: sources that are computed at a time, by all cores together; None for 16, for 2 to 4 by each core
            that computes its own, or for 4 where one core computes and another reads. Twice as many are read ahead.

    Yields:
        (source, result) in the order given; where one cannot be answered, the result is the `SensoriumError`.

    Raises:
        SensoriumError: the model or an option is wrong, so that every source would fail alike.
    """
    check_options(task, given)
    free, single = _free_cores(nets), not hasattr(task, "predict")
    waiting = iter(sources)
    first = list(islice(waiting, WORKERS))
    waiting = chain(first, waiting)
    workers = 1
    if single and isinstance(nets, FolderNets):
        nets, workers = nets.apart(len(first))
    size = max(2, PART * 2 // workers) if workers > 1 else PART if single and free else BATCH_SIZE
    if batch_size:
        size = -(-batch_size // workers)
    if len(first) < WORKERS:  # these are all
        size = min(size, -(-len(first) // workers) or 1)
    with _threads(free or available_cores(), len(first) > 1) as read, _threads(workers, workers > 1) as compute:
        pending: deque[tuple[Any, Future[tuple[Any, Arrays | None]]]] = deque()
        computed: deque[tuple[list[Any], Future[list[Any]]]] = deque()
        position = 0
        while True:
            room = 2 * workers * size - len(pending) - len(computed) * size
            for source in islice(waiting, room):
                pending.append((source, read(_ready, task, source)))
            # One more than there are workers, so that none of them waits for whoever takes the answers.
            while pending and len(computed) < workers + (workers > 1):
                batch = [pending.popleft() for _ in range(min(size, len(pending)))]
                here = _seeded(task, given, position)
                futures = [future for _, future in batch]
                computed.append(([source for source, _ in batch], compute(_answered, task, nets, futures, here)))
                position += len(batch)
            if not computed:
                return
            done, answers = computed.popleft()
            found = answers.result()
            for one in found:
                if isinstance(one, SensoriumError) and one.always:
                    raise one
            yield from zip(done, found)


@contextmanager
def _threads(count: int, wanted: bool) -> Iterator[Callable[..., Future[Any]]]:
    """What runs a function in one of so many threads, or where these are not wanted in the thread that asks."""
    if not wanted:
        yield _now
        return
    pool = ThreadPoolExecutor(count)
    try:
        yield pool.submit
    finally:
        pool.shutdown(cancel_futures=True)


def _answered(
    task: Task, nets: Nets, reading: Sequence[Future[tuple[Any, Arrays | None]]], given: dict[str, Any]
) -> list[Any]:
    """Answers to sources that are being read, or the `SensoriumError` of each."""
    opened = [future.result() for future in reading]
    good = [i for i, (one, _) in enumerate(opened) if not isinstance(one, SensoriumError)]
    items = [arrays for i in good if (arrays := opened[i][1]) is not None]
    answers = dict(zip(good, answer_each(task, nets, [opened[i][0] for i in good], items or None, **given)))
    return [answers.get(i, one) for i, (one, _) in enumerate(opened)]


def _free_cores(nets: Nets) -> int:
    """Cores that the networks of a folder leave to others while they are computed."""
    settings = nets.settings if isinstance(nets, FolderNets) else Settings()
    on_cores = settings.device in (None, "cpu")
    return max(0, available_cores() - ((settings.threads or available_cores()) if on_cores else 1))


def answer_each(
    task: Task, nets: Nets, opened: Sequence[Any], items: Sequence[Arrays] | None = None, **given: Any
) -> list[Any]:
    """Answers to opened sources; where one of them fails, its place holds the error.

    Args:
        items: their arrays, where they are prepared already.
    """
    try:
        return _run(task, nets, opened, items, given)
    except SensoriumError as error:
        if len(opened) == 1 or error.always:
            return [error] * len(opened)
        return [
            answer_each(task, nets, [one], items and [items[i]], **_seeded(task, given, i))[0]
            for i, one in enumerate(opened)
        ]


def _seeded(task: Task, given: dict[str, Any], position: int) -> dict[str, Any]:
    """The options for sources from this position on: a `seed`, where answers are drawn, counts along with them."""
    default = next((o.default for o in options(type(task)) if o.name == "seed"), None)
    if position == 0 or default is None:
        return given
    return {**given, "seed": given.get("seed", default) + position}


@dataclass
class Evaluation:
    """How good a model is on some examples.

    Attributes:
        metrics: name to value with the 95 % confidence interval, `low` and `high`.
        baseline: name to value of the naive predictor.
        ids, predictions, truths, tallies: per example, in the same order.
        notes: what is to be known of the numbers: labels that the model does not have.
    """

    task: str
    split: str
    metrics: dict[str, dict[str, float]]
    baseline: dict[str, float] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    truths: list[Any] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def worst(self, count: int = 10) -> list[int]:
        """Indices of the examples that went worst, the worst first."""
        return sorted(range(len(self.tallies)), key=lambda i: self.tallies[i].quality)[:count]

    def to_json(self) -> dict[str, Any]:
        """The document that `evaluate --json` prints."""
        from sensorium.tasks import to_json

        report = {
            "task": self.task,
            "split": self.split,
            "examples": len(self.tallies),
            "metrics": self.metrics,
            "baseline": self.baseline,
            "worst": [{"id": self.ids[i], "quality": self.tallies[i].quality} for i in self.worst()],
            "notes": self.notes,
        }
        cleaned: dict[str, Any] = to_json(report)
        return cleaned


def evaluate(
    task: Task,
    nets: Nets,
    examples: Sequence[Any],
    *,
    split: str = "all",
    learn: Sequence[Any] = (),
    resamples: int | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], object] | None = None,
    keep: bool = True,
    **given: Any,
) -> Evaluation:
    """Run the task's nets on examples and measure the answers with the field's metrics.

    Args:
        examples: of a `Dataset`; each has the fields that the task names.
        learn: examples that the naive baseline learns from; none leaves the baseline out.
        resamples: bootstrap resamples for the confidence intervals; None for as many as the number of
            examples asks for, 0 for none.
        progress: called with the number of examples done in each batch.
        keep: keep sources, predictions and truths for pictures and lists.
        given: options of the answer, over those the task evaluates with.

    Raises:
        InputError: there is no example, or one cannot be read or answered.
    """
    if not examples:
        raise InputError(f"no example in split '{split}' to evaluate on")
    chosen = task.evaluation_on([e.fields[task.truth] for e in examples]) if hasattr(task, "evaluation_on") else {}
    how = {**task.evaluation, **chosen, **given}
    found = Evaluation(task.name, split, {})
    sources = (source_of(task, e.fields) for e in examples)
    for example, (source, result) in zip(examples, stream(task, nets, sources, batch_size=batch_size, **how)):
        if isinstance(result, SensoriumError):
            message = str(result)
            raise type(result)(message if example.where in message else f"{example.where}: {message}") from result
        truth = example.fields[task.truth]
        found.tallies.append(task.tally(result, truth, nets))
        found.ids.append(example.id)
        if keep:
            found.sources.append(source)
            found.predictions.append(result)
            found.truths.append(truth)
        if progress is not None:
            progress(1)
    if resamples != 0:
        found.metrics = bootstrap.interval(found.tallies, task.score, resamples=resamples)
    else:
        found.metrics = {
            name: {"value": value, "low": value, "high": value} for name, value in task.score(found.tallies).items()
        }
    if learn:
        found.baseline = baseline(task, nets, examples, learn)
    return found


def baseline(task: Task, nets: Nets, examples: Sequence[Any], learn: Sequence[Any]) -> dict[str, float]:
    """What the task's naive predictor, learned from `learn`, reaches on `examples`."""
    naive = task.baseline([source_of(task, e.fields) for e in learn], [e.fields[task.truth] for e in learn])
    tallies = [task.tally(naive(source_of(task, e.fields)), e.fields[task.truth], nets) for e in examples]
    return task.score(tallies)
