"""A kill at any instant loses no reply that was paid for, and two processes may share one cache."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from saebench.errors import UserError
from saebench.judges.cache import ReplyCache
from saebench.judges.completion import Reply
from saebench.judges.openai_judge import OpenAIJudge
from saebench.judges.protocol import Answers
from tests.judges import scripted
from tests.judges.conftest import Make
from tests.judges.scripted import balanced_accuracy, score_tasks
from tests.judges.server import Canned, JudgeServer, Request

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """What the forked processes would each import anew."""
    importlib.import_module("openai.resources.chat")


def _score(url: str, cache: Path, latents: int, concurrency: int) -> None:
    judge = OpenAIJudge("judge", base_url=url, cache=cache, concurrency=concurrency, backoff=0.01)
    judge.score(score_tasks(latents))


def _kept(cache: Path) -> int:
    with contextlib.closing(sqlite3.connect(cache)) as database:
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return database.execute("SELECT count(*) FROM replies").fetchone()[0] if tables else 0


def _until(kept: int, cache: Path) -> None:
    for _ in range(2000):
        if cache.exists() and _kept(cache) >= kept:
            return
        time.sleep(0.005)
    raise AssertionError("the replies never arrived")


def test_a_killed_run_goes_on_where_it_was_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    """Half of the calls are answered and then hang, so that exactly these are paid for when the kill comes."""
    tasks, cache = score_tasks(24), tmp_path / "judge.sqlite"
    knowing, hanging = scripted.perfect(tasks), [True]

    def brain(request: Request) -> Canned | str:
        return Canned("", hang=True) if hanging[0] and request.number >= 12 else knowing(request)

    with JudgeServer(brain) as server:
        first = FORK.Process(target=_score, args=(server.url, cache, 24, 4))
        first.start()
        _until(12, cache)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        first.join()
        hanging[0] = False
        assert _kept(cache) == 12 == server.paid.total()
        judge = OpenAIJudge("judge", base_url=server.url, cache=cache)
        answers = judge.score(tasks)
        assert judge.ledger.cached == 12 and judge.ledger.spent.calls == 12
        assert balanced_accuracy(tasks, answers) == 1.0
        assert len(server.paid) == 24 and set(server.paid.values()) == {1}


def test_kills_at_any_moment_leave_a_cache_that_can_be_read(tmp_path: Path) -> None:
    """What is in the cache is never asked for again, and at most the calls under way are lost with a kill."""
    tasks, cache = score_tasks(45), tmp_path / "judge.sqlite"
    with JudgeServer(scripted.perfect(tasks), latency=0.01) as server:
        for kept in (1, 17, 30):
            run = FORK.Process(target=_score, args=(server.url, cache, 45, 3))
            run.start()
            _until(kept, cache)
            assert run.pid is not None
            os.kill(run.pid, signal.SIGKILL)
            run.join()
        before, asked = _kept(cache), len(server.requests)
        answers = OpenAIJudge("judge", base_url=server.url, cache=cache).score(tasks)
        assert len(server.requests) - asked == 45 - before
        assert server.paid.total() - 45 <= 3 * 3
    assert balanced_accuracy(tasks, answers) == 1.0


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    cache = tmp_path / "judge.sqlite"
    with JudgeServer(scripted.coin(0), latency=0.005) as server:
        runs = [FORK.Process(target=_score, args=(server.url, cache, 30, 4)) for _ in range(2)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        assert [run.exitcode for run in runs] == [0, 0]
        paid = server.paid.total()
        _score(server.url, cache, 30, 4)
        assert server.paid.total() == paid
    assert _kept(cache) == 30


def test_a_rerun_asks_nothing_whatever_the_address_and_key(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = score_tasks(5)
    with JudgeServer(scripted.coin(0)) as server:
        first = make(server).score(tasks)
    monkeypatch.setenv("OPENAI_API_KEY", "another-key")
    with JudgeServer(scripted.nothing) as other:
        judge = make(other)
        assert judge.score(tasks) == first
        assert other.requests == [] and judge.ledger.cached == 5
        for changed in ({"seed": 1}, {"temperature": 0.5}, {"max_tokens": 50}, {"prompt": "saebench", "draws": 1}):
            make(other, **changed).score(tasks[:1])
        assert len(other.requests) == 4


def test_a_dialect_learnt_late_finds_what_was_paid_for(make: Make) -> None:
    """A resume asks an endpoint without response_format anew, and still finds its replies."""
    tasks = score_tasks(3)
    with JudgeServer(scripted.coin(0)) as server:
        make(server).score(tasks)
        judge = make(server)
        judge._manners.structured = False
        judge.score(tasks)
        assert len(server.requests) == 3


def test_equal_questions_at_one_time_are_asked_once(make: Make) -> None:
    (task,) = score_tasks(1)
    with JudgeServer(scripted.coin(0), latency=0.05) as server:
        answers = make(server).score([task] * 8)
        assert len(server.requests) == 1
    assert len(set(answers)) == 1 and isinstance(answers[0], Answers)


def test_the_first_reply_to_a_request_stays(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "a" / "c.sqlite") as cache, ReplyCache(tmp_path / "a" / "c.sqlite") as other:
        assert cache.get("k") is None
        assert cache.put("k", "m", Reply("first", None, "stop", 1, 2)) == Reply("first", None, "stop", 1, 2)
        assert other.put("k", "m", Reply("second")) == Reply("first", None, "stop", 1, 2)


def test_a_file_that_is_no_cache_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look like one" * 50)
    with JudgeServer(scripted.nothing) as server, pytest.raises(UserError, match="notes.txt"):
        make(server, cache=tmp_path / "notes.txt").score(score_tasks(1))
