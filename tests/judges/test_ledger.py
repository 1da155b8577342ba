"""What a judge costs, what it would cost, and a budget that holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saebench.errors import UserError
from saebench.judges.openai_judge import OpenAIJudge
from saebench.judges.protocol import Answers, Unanswered
from tests.judges import scripted
from tests.judges.conftest import Make
from tests.judges.scripted import balanced_accuracy, explain_tasks, score_tasks
from tests.judges.server import Canned, JudgeServer, Request, completion, failure

PRICES = {"judge": (2.0, 8.0), "other": (1, 1)}


def _size(request: Request) -> int:
    """Characters of a question: of its messages and of its schema."""
    schema = request.body["response_format"]["json_schema"]["schema"]
    return sum(len(message["content"]) for message in request.body["messages"]) + len(json.dumps(schema))


def test_calls_tokens_and_money_are_counted(make: Make) -> None:
    tasks = score_tasks(5)
    with JudgeServer(scripted.faulty(scripted.perfect(tasks), {1: failure(500, "oops"), 2: "nonsense"})) as server:
        judge = make(server, prices=PRICES, concurrency=1)
        judge.score(tasks)
        judge.score(tasks)
    counted = judge.ledger.to_dict()
    assert counted["calls"] == 7 and counted["retries"] == 2 and counted["cached"] == 6
    assert (counted["prompt_tokens"], counted["completion_tokens"]) == (600, 60)
    assert counted["money"] == pytest.approx((600 * 2 + 60 * 8) / 1e6)
    assert "0.0017 spent" in str(judge.ledger)


def test_an_unknown_price_is_said_to_be_unknown(make: Make) -> None:
    with JudgeServer(scripted.nothing) as server:
        judge = make(server, prices={"other": (1, 1)})
        judge.score(score_tasks(1))
    assert judge.ledger.money is None and "no price given for 'judge'" in str(judge.ledger)
    with pytest.raises(UserError, match="budget in money but no price of 'm'"):
        OpenAIJudge("m", budget_money=1.0)


def test_replies_without_usage_are_counted_by_their_length(make: Make) -> None:
    (task,) = score_tasks(1)
    text = json.dumps({"answers": [{"context": 1, "answer": True, "probability": None}]})
    with JudgeServer(lambda request: Canned(completion(text, usage=False))) as server:
        judge = make(server)
        judge.score([task])
        asked = _size(server.requests[0])
    assert judge.ledger.uncounted == 1
    assert judge.ledger.spent.prompt_tokens == -(-asked // 4)
    assert judge.ledger.spent.completion_tokens == -(-len(text) // 4)


BUDGETS: list[dict[str, Any]] = [
    {"budget_calls": 5},
    {"budget_tokens": 6000},
    {"budget_money": 0.012, "prices": PRICES},
]


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_is_never_broken_and_leaves_the_rest_unanswered(make: Make, budget: dict[str, Any]) -> None:
    tasks = score_tasks(80)
    with JudgeServer(scripted.perfect(tasks)) as server:
        judge = make(server, max_tokens=500, **budget)
        answers = judge.score(tasks)
        got = [n for n, answer in enumerate(answers) if isinstance(answer, Answers)]
        assert len(got) == len(server.requests) and 5 <= len(got) < 80
        assert {answer for answer in answers if isinstance(answer, Unanswered)} == {Unanswered("budget")}
        assert balanced_accuracy([tasks[n] for n in got], [answers[n] for n in got]) == 1.0
        spent = judge.ledger.spent
        assert spent.calls <= budget.get("budget_calls", 1e9)
        assert spent.prompt_tokens + spent.completion_tokens <= budget.get("budget_tokens", 1e9)
        assert (spent.money(PRICES["judge"]) or 0) <= budget.get("budget_money", 1e9)
        more = make(server, max_tokens=500)
        assert balanced_accuracy(tasks, more.score(tasks)) == 1.0
        assert more.ledger.cached == len(got)


def test_a_budget_is_used_up_to_the_longest_reply(make: Make) -> None:
    """Calls wait for those under way to turn out cheaper than feared."""
    tasks = score_tasks(80)
    with JudgeServer(scripted.perfect(tasks)) as server:
        judge = make(server, max_tokens=1000, budget_tokens=8000, concurrency=32)
        judge.score(tasks)
        longest = len(server.requests[0].body["messages"][0]["content"]) + len(json.dumps(server.requests[0].body))
    spent = judge.ledger.spent
    assert 8000 - 1000 - longest < spent.prompt_tokens + spent.completion_tokens <= 8000


def test_replies_in_the_cache_cost_no_budget(make: Make) -> None:
    tasks = score_tasks(10)
    with JudgeServer(scripted.perfect(tasks)) as server:
        make(server).score(tasks[:8])
        answers = make(server, budget_calls=1).score(tasks)
    assert sum(isinstance(answer, Answers) for answer in answers) == 9


def test_an_estimate_asks_nothing_and_is_near(make: Make) -> None:
    explain, score = explain_tasks(4), score_tasks(6)
    with JudgeServer(scripted.perfect(score)) as server:
        judge = make(server, prices=PRICES)
        before = judge.estimate([*explain, *score])
        assert server.requests == []
        judge.score(score)
        sizes = [_size(request) for request in server.requests]
        after = judge.estimate([*explain, *score])
    assert (before.calls, before.cached) == (10, 0)
    assert (after.calls, after.cached) == (4, 6)
    assert before.prompt_tokens - after.prompt_tokens == sum(-(-size // 4) for size in sizes)
    assert before.money == pytest.approx((before.prompt_tokens * 2 + before.completion_tokens * 8) / 1e6)
    assert "4 characters" in before.rule


def test_an_estimate_needs_neither_key_nor_price(tmp_path: Path) -> None:
    judge = OpenAIJudge("m", cache=tmp_path / "none.sqlite")
    assert judge.estimate(score_tasks(2)).money is None
    assert not (tmp_path / "none.sqlite").exists()
    with pytest.raises(UserError, match="OPENAI_API_KEY.*ngram"):
        judge.check()
