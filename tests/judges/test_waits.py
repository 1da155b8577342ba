"""How long is waited, and how work ends."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from saebench.errors import UserError
from saebench.judges import waits, workers

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": formatdate(NOW + 7, usegmt=True)}, 7.0),
        ({"retry-after": formatdate(NOW - 7, usegmt=True)}, 0.0),
        ({"retry-after": formatdate(NOW + 107, usegmt=True), "date": formatdate(NOW + 100, usegmt=True)}, 7.0),
    ],
)
def test_the_wait_an_endpoint_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert waits.asked_wait(headers, now=NOW) == seconds


def test_waits_double_with_jitter_up_to_the_longest() -> None:
    for attempt, most in enumerate([1.0, 2.0, 4.0, 5.0, 5.0]):
        drawn = [waits.backoff(1.0, attempt, 5.0) for _ in range(200)]
        assert most / 2 <= min(drawn) and max(drawn) <= most
        assert max(drawn) - min(drawn) > most / 4
    assert waits.backoff(1.0, 10**6, 5.0) <= 5.0


def test_work_runs_with_and_without_a_loop() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 3

    async def notebook() -> int:
        return workers.run(work())

    assert workers.run(work()) == 3 == asyncio.run(notebook())


def test_the_first_error_ends_the_rest_which_may_finish_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_GRACE", 0.3)
    finished, begun = [], []

    async def work(item: int) -> int:
        begun.append(item)
        await asyncio.sleep((0.1, 0.02, 60)[item % 3])
        if item == 1:
            raise UserError("no")
        finished.append(item)
        return item

    async def go() -> list[int]:
        return await workers.each(range(30), work, 3, asyncio.Event())

    start = time.monotonic()
    with pytest.raises(UserError, match="no"):
        asyncio.run(go())
    assert time.monotonic() - start < 5
    assert finished == [0] and begun == [0, 1, 2]
