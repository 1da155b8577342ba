"""Many calls at a time, from any thread, whether or not an event loop runs in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from saebench.judges.faults import Halted

T = TypeVar("T")
R = TypeVar("R")

_GRACE = 5.0
"""Seconds that calls under way have to end, once an error that will not pass has stopped the rest."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; in a thread of its own where this one's event loop runs already, as in notebooks."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    stop: list[Callable[[], object]] = []

    async def stoppable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        return await work

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(asyncio.run, stoppable())
        try:
            return future.result()
        except KeyboardInterrupt:
            for cancel in stop:
                cancel()
            raise


async def each(items: Sequence[T], work: Callable[[T], Awaitable[R]], width: int, halt: asyncio.Event) -> list[R]:
    """Results of the items in their order, `width` of them worked on at a time.

    The first exception sets `halt`; work under way has a few seconds to end, so that no reply that
    is being paid for is lost, then the exception is raised.
    """
    results: dict[int, R] = {}
    queue = iter(enumerate(items))
    workers = [asyncio.create_task(_worker(queue, work, results, halt)) for _ in range(min(width, len(items)))]
    try:
        if workers:
            _, pending = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            halt.set()
            if pending:
                await asyncio.wait(pending, timeout=_GRACE)
    finally:
        for worker in workers:
            worker.cancel()
        ends = await asyncio.gather(*workers, return_exceptions=True)
    errors = [end for end in ends if isinstance(end, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, (Halted, asyncio.CancelledError))):
        raise error
    return [results[place] for place in range(len(items))]


async def _worker(
    queue: Iterator[tuple[int, T]],
    work: Callable[[T], Awaitable[R]],
    results: dict[int, R],
    halt: asyncio.Event,
) -> None:
    for place, item in queue:
        if halt.is_set():
            return
        results[place] = await work(item)
