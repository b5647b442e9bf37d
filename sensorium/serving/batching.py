"""Dynamic batching: examples of many requests are computed together, and each gets its own answer.

A lone client never waits: a batch waits for company (`Limits.delay`) only if others are known to be on
their way, or the last batch had company. While one batch is computed, the next one gathers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from sensorium import inference
from sensorium.errors import SensoriumError
from sensorium.serving.limits import Limits, Rejection
from sensorium.serving.metrics import Metrics
from sensorium.tasks import to_json

log = logging.getLogger("sensorium.serving")

T = TypeVar("T")


class Predictor(Protocol):
    """What the service needs of a model; `sensorium.inference.Predictor` is one."""

    @property
    def task(self) -> Any: ...
    def predict_batch(self, sources: list[Any], **options: Any) -> list[Any]: ...
    def warm_up(self) -> None: ...


class Threads:
    """Daemon threads that run functions for the event loop; one that hangs cannot hold up the exit."""

    def __init__(self, number: int, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # a waiting thread must not keep the last example alive

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def run(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """A future for `function(*args)`; cancelling it before a thread takes it drops the call."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(cast(T, result))
                else:
                    future.set_exception(error)

        def job() -> None:
            if future.cancelled():
                return
            result, error = None, None
            try:
                result = function(*args)
            except BaseException as caught:  # a panic of a native library must not end the thread
                error = caught if isinstance(caught, Exception) else RuntimeError(repr(caught))
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(finish, result, error)

        self._jobs.put(job)
        return future

    def stop(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)


class Abandoned(Exception):
    """Nobody waits for this answer any more."""


class _Net:
    """A network that is not run for nobody."""

    def __init__(self, net: Any, wanted: Callable[[], bool]) -> None:
        self._net, self._wanted = net, wanted

    def __call__(self, feeds: Any) -> Any:
        # Between two runs only; within one, this is the place for onnxruntime's RunOptions.terminate.
        if not self._wanted():
            raise Abandoned
        return self._net(feeds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)


class _Nets(Mapping[str, Any]):
    """Networks, each of which stops when its answer is not wanted any more: a loop over them ends early."""

    def __init__(self, nets: Mapping[str, Any], wanted: Callable[[], bool]) -> None:
        self._nets, self._wanted = nets, wanted

    def __getitem__(self, name: str) -> _Net:
        return _Net(self._nets[name], self._wanted)

    def __contains__(self, name: object) -> bool:
        return name in self._nets

    def __iter__(self) -> Iterator[str]:
        return iter(self._nets)

    def __len__(self) -> int:
        return len(self._nets)


@dataclass(eq=False, slots=True)
class Item:
    """One example waiting for its answer, which is a JSON document (or an error).

    Attributes:
        key: examples of different keys are not computed together.
        apart: whether the batch is exactly the examples of this key, however many.
    """

    source: Any
    options: dict[str, Any]
    key: str
    apart: bool
    future: asyncio.Future[bytes]
    since: float = field(default_factory=time.monotonic)


def encode(result: Any) -> bytes:
    """A result as a JSON document."""
    return json.dumps(to_json(result), ensure_ascii=False, allow_nan=False).encode()


def answer(
    predictor: Predictor, sources: list[Any], options: dict[str, Any], wanted: Callable[[], bool] = lambda: True
) -> list[bytes | Exception]:
    """The answer to each opened source, computed together; if that fails, one by one, so that a bad one fails alone.

    Args:
        wanted: asked before each run of a network; if not, the rest is left undone.
    """
    nets = getattr(predictor, "nets", None)
    try:
        if nets is None:
            results = predictor.predict_batch(sources, **options)
        else:
            results = inference.answer_each(predictor.task, _Nets(nets, wanted), sources, **options)
        if len(results) != len(sources):
            raise RuntimeError(f"{len(sources)} examples were asked, {len(results)} answered")
    except Abandoned as error:
        return [error] * len(sources)
    except BaseException as error:  # a panic of a native library is no Exception
        if len(sources) == 1:
            if not isinstance(error, SensoriumError):
                log.exception("an example could not be computed")
            return [error if isinstance(error, Exception) else RuntimeError(repr(error))]
        return [one for source in sources for one in answer(predictor, [source], options, wanted)]
    answers: list[bytes | Exception] = []
    for result in results:
        try:
            answers.append(result if isinstance(result, Exception) else encode(result))
        except Exception as error:  # of one example, which must not spoil the others of its batch
            log.exception("a result could not be written as JSON")
            answers.append(error)
    return answers


def _wanted(batch: list[Item]) -> bool:
    return any(not item.future.done() for item in batch)


class Batcher:
    """The queue of one model and the thread that computes."""

    def __init__(self, name: str, predictor: Predictor, limits: Limits, metrics: Metrics) -> None:
        self.name, self.predictor, self.limits, self.metrics = name, predictor, limits, metrics
        self.pending = 0  # examples admitted and not yet answered
        self.warm = False
        self._waiting: deque[Item] = deque()
        self._changed = asyncio.Event()
        self._worker = Threads(1, f"sensorium-{name}")
        self._running_since: float | None = None
        self._pace = 0.0  # seconds an example took lately
        self._last_size = 1
        self._task: asyncio.Task[None] | None = None

    async def start(self, warm_up: Callable[[Predictor], None]) -> None:
        """Let the worker answer a real example; from then on the model is ready.

        Raises:
            SensoriumError: the model does not answer.
        """
        self._task = asyncio.create_task(self._serve())
        await self._worker.run(warm_up, self.predictor)
        self.warm = True

    def stop(self) -> None:
        if self._task:
            self._task.cancel()
        for item in self._waiting:
            item.future.cancel()
        self._worker.stop()

    @property
    def stuck(self) -> bool:
        """Whether the batch being computed has taken longer than any client waits."""
        since = self._running_since
        return since is not None and time.monotonic() - since > self.limits.timeout

    @property
    def ready(self) -> bool:
        return self.warm and self._worker.alive and not self.stuck

    def retry_after(self) -> dict[str, str]:
        """The header that says when to try again: when what is pending should be done."""
        return {"Retry-After": str(min(60, max(1, math.ceil(self.pending * self._pace))))}

    @contextlib.contextmanager
    def admit(self) -> Iterator[Callable[[int], None]]:
        """A place in the queue, taken before the body is read; the function yielded takes more of them.

        Raises:
            Rejection: 429 or 503, at once, if there is no place or no hope of an answer in time.
        """
        places = 0

        def take(number: int) -> None:
            nonlocal places
            if not self.ready:
                self.metrics.shed.add(model=self.name, reason="not ready")
                raise Rejection(503, "the model is not ready", self.retry_after())
            wait = (self.pending + number) * self._pace
            if self.pending + number > self.limits.queue or (self.pending > places and wait > self.limits.timeout):
                self.metrics.shed.add(model=self.name, reason="queue")
                raise Rejection(429, "too many requests are waiting: try again later", self.retry_after())
            self.pending += number
            places += number

        take(1)
        try:
            yield take
        finally:
            self.pending -= places

    def submit(self, source: Any, options: dict[str, Any], apart: str = "") -> asyncio.Future[bytes]:
        """A future for the answer; cancelling it before its turn takes the example out of the queue.

        Args:
            apart: if given, the example is computed with those that give the same word, and no others.
        """
        key = apart or json.dumps(options, sort_keys=True)
        item = Item(source, options, key, bool(apart), asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        self._changed.set()
        return item.future

    def _same(self) -> int:
        """How many of those waiting could go together with the first."""
        return sum(i.key == self._waiting[0].key for i in self._waiting if not i.future.done())

    async def _gather(self) -> list[Item]:
        """The next batch: the oldest example and those with equal options, in order of arrival."""
        while True:
            while self._waiting and self._waiting[0].future.done():
                self._waiting.popleft()
            if self._waiting:
                break
            self._changed.clear()
            await self._changed.wait()
        size, others = self.limits.batch, self.pending > len(self._waiting)
        if self._waiting[0].apart:
            size = len(self._waiting)
        elif size > 1 and (others or self._last_size > 1) and self._same() < size:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.delay):
                    while self._waiting and self._same() < min(size, self.pending):
                        self._changed.clear()
                        await self._changed.wait()
        batch: list[Item] = []
        later: deque[Item] = deque()
        for item in self._waiting:
            if item.future.done():
                continue
            fits = len(batch) < size and (not batch or item.key == batch[0].key)
            (batch if fits else later).append(item)
        self._waiting = later
        return batch

    async def _serve(self) -> None:
        while True:
            batch = await self._gather()
            if not batch:
                continue
            start = self._running_since = time.monotonic()
            for item in batch:
                self.metrics.queue.observe(start - item.since, model=self.name)
            sources = [item.source for item in batch]
            wanted = functools.partial(_wanted, batch)
            answers = await self._worker.run(answer, self.predictor, sources, batch[0].options, wanted)
            seconds = time.monotonic() - start
            self._running_since, self._last_size = None, len(batch)
            each = seconds / len(batch)
            self._pace = each if self._pace == 0 else 0.8 * self._pace + 0.2 * each
            self.metrics.sizes.observe(len(batch), model=self.name)
            self.metrics.compute.observe(seconds, model=self.name)
            self.metrics.examples.add(len(batch), model=self.name)
            for item, one in zip(batch, answers, strict=True):
                if item.future.done():
                    continue
                if isinstance(one, Exception):
                    item.future.set_exception(one)
                else:
                    item.future.set_result(one)
            del sources, batch, answers, wanted
