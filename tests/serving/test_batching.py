"""The queue by itself: what is computed together, and what nobody waits for."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sensorium.errors import InputError
from sensorium.serving.batching import Batcher, answer
from sensorium.serving.limits import Limits, Rejection
from sensorium.serving.metrics import Metrics
from tests.serving.fakes import Generation, Predictor, Texts


def with_batcher(predictor: Any, do: Callable[[Batcher], Awaitable[Any]], **limits: Any) -> Any:
    async def main() -> Any:
        batcher = Batcher("m", predictor, Limits(**limits), Metrics())
        await batcher.start(lambda p: None)
        try:
            return await do(batcher)
        finally:
            batcher.stop()

    return asyncio.run(main())


async def submit(batcher: Batcher, text: Any, apart: str = "", **options: Any) -> Any:
    with batcher.admit():
        return json.loads(await batcher.submit(text, options, apart))


def test_batched_equals_alone() -> None:
    predictor = Predictor(Texts(), 0.01)
    texts = [f"t{i}" for i in range(30)]

    async def together(batcher: Batcher) -> Any:
        return await asyncio.gather(*(submit(batcher, t) for t in texts))

    answers = with_batcher(predictor, together)
    assert answers == [json.loads(answer(predictor, [t], {})[0]) for t in texts]  # type: ignore[arg-type]
    assert max(predictor.batches) == 8


def test_other_options_are_not_mixed() -> None:
    predictor = Predictor(Texts(), 0.01)

    async def together(batcher: Batcher) -> Any:
        return await asyncio.gather(*(submit(batcher, "t", top_k=1 + i % 2) for i in range(12)))

    assert [len(a) for a in with_batcher(predictor, together)] == [1, 2] * 6


def test_requests_kept_apart_are_whole() -> None:
    predictor = Predictor(Generation(), 0.01)

    async def together(batcher: Batcher) -> Any:
        first = [submit(batcher, "alpha", "a") for _ in range(12)]
        return await asyncio.gather(*first, *(submit(batcher, "beta", "b") for _ in range(3)))

    with_batcher(predictor, together)
    assert predictor.batches == [12, 3]


def test_a_lone_client_does_not_wait() -> None:
    async def one(batcher: Batcher) -> float:
        start = time.monotonic()
        await submit(batcher, "t")
        return time.monotonic() - start

    assert with_batcher(Predictor(Texts()), one, delay=5.0) < 2


def test_the_bad_one_fails_alone() -> None:
    class Whole(Predictor):
        """Fails as a whole when one example is bad."""

        def predict_batch(self, sources: list[Any], **options: Any) -> list[Any]:
            self.batches.append(len(sources))
            return [self.task.decode({}, s, **options) for s in sources]

    found = answer(Whole(Texts()), ["a", "bad", "crash", "b"], {})
    assert [type(f) for f in found] == [bytes, InputError, ZeroDivisionError, bytes]


def test_sheds_beyond_the_queue() -> None:
    async def fill(batcher: Batcher) -> None:
        with batcher.admit() as take:
            take(3)
            with pytest.raises(Rejection) as refused, batcher.admit():
                pass
            assert refused.value.status == 429
            assert int(refused.value.headers["Retry-After"]) >= 1
        assert batcher.pending == 0
        with batcher.admit():
            pass

    with_batcher(Predictor(Texts()), fill, queue=4)


def test_not_ready_before_the_first_answer() -> None:
    async def main() -> None:
        batcher = Batcher("m", Predictor(Texts()), Limits(), Metrics())
        with pytest.raises(Rejection) as refused, batcher.admit():
            pass
        assert refused.value.status == 503
        batcher.stop()

    asyncio.run(main())


def test_the_cancelled_are_not_computed() -> None:
    predictor = Predictor(Texts(), 0.1)

    async def leave(batcher: Batcher) -> None:
        first = asyncio.create_task(submit(batcher, "first"))
        await asyncio.sleep(0.03)
        others = [asyncio.create_task(submit(batcher, f"t{i}")) for i in range(5)]
        await asyncio.sleep(0.01)
        for other in others:
            other.cancel()
        await first
        await submit(batcher, "last")
        assert batcher.pending == 0

    with_batcher(predictor, leave)
    assert predictor.batches == [1, 1]


def test_a_loop_ends_when_nobody_waits() -> None:
    """A task that runs its network many times stops between two runs."""
    runs = 0
    over = threading.Event()

    class Many:
        name = "many"

        def predict(self, nets: Any, sources: list[Any]) -> list[Any]:
            try:
                for _ in range(1000):
                    nets["model"]({})
            finally:
                over.set()
            return sources

    class Slow:
        task = Many()

        @property
        def nets(self) -> Any:
            def net(feeds: Any) -> Any:
                nonlocal runs
                runs += 1
                time.sleep(0.01)

            return {"model": net}

    async def leave(batcher: Batcher) -> None:
        asking = asyncio.create_task(submit(batcher, "x"))
        await asyncio.sleep(0.1)
        asking.cancel()
        assert await asyncio.to_thread(over.wait, 5)

    with_batcher(Slow(), leave)
    assert 0 < runs < 100


def test_a_panic_does_not_end_the_worker() -> None:
    class Panic(BaseException):
        """As native libraries raise it."""

    class Fragile(Predictor):
        def predict_batch(self, sources: list[Any], **options: Any) -> list[Any]:
            if "panic" in sources:
                raise Panic
            return super().predict_batch(sources, **options)

    async def twice(batcher: Batcher) -> Any:
        with pytest.raises(RuntimeError):
            await submit(batcher, "panic")
        return await submit(batcher, "fine")

    assert with_batcher(Fragile(Texts()), twice)[0]["label"] == "ham"
