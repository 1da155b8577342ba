"""Every fault an endpoint can have, injected: nothing is lost, and nothing unanswered counts as wrong."""

from __future__ import annotations

import json
import random
import re
import time
from email.utils import formatdate
from typing import Any

import pytest

from saebench.errors import UserError
from saebench.judges.openai_judge import OpenAIJudge
from saebench.judges.protocol import Answers, Unanswered
from tests.judges import scripted
from tests.judges.conftest import Make
from tests.judges.scripted import balanced_accuracy, faulty, score_tasks
from tests.judges.server import Canned, JudgeServer, Request, completion, failure

PASSING = {
    "429": failure(429, "slow down"),
    "429 in seconds": failure(429, "slow down", retry_after="0.2"),
    "429 by date": failure(429, "slow down", retry_after=formatdate(time.time() - 5, usegmt=True)),
    "500": failure(500, "oops"),
    "503 in HTML": Canned("<html>busy</html>", 503),
    "hang": Canned("", hang=True),
    "reset": Canned(completion("{}"), cut=20),
    "broken envelope": Canned('{"choices": [{"mess'),
    "error in success": Canned({"error": {"message": "upstream died"}}),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again(make: Make, fault: str) -> None:
    tasks = score_tasks(6)
    with JudgeServer(faulty(scripted.perfect(tasks), {0: PASSING[fault], 3: PASSING[fault]})) as server:
        judge = make(server, timeout=1.0 if fault == "hang" else 60.0, concurrency=3)
        assert balanced_accuracy(tasks, judge.score(tasks)) == 1.0
        assert len(server.requests) == 8
        assert judge.ledger.spent.calls == 8 and judge.ledger.retries == 2
        assert judge.ledger.spent.completion_tokens == 6 * 10


BAD = {
    "truncated JSON": '{"answers": [{"context": 1, "ans',
    "cut by length": Canned(completion('{"answers": [{"context": 1, "answer": true}]}', finish="length")),
    "wrong fields": '{"verdicts": [true, false]}',
    "wrong type": '{"answers": "all of them"}',
    "no context": '{"answers": [{"context": 77, "answer": true, "probability": 1}]}',
    "refusal": Canned(completion(None, refusal="I cannot help with that.")),
    "filtered": Canned(completion("", finish="content_filter")),
    "prose": "The first two, I think, and perhaps the last one.",
    "empty": "",
    "braces": "{" * 5000,
    "deep": '{"answers":' + "[" * 100_000,
}


@pytest.mark.parametrize("reply", BAD)
def test_a_bad_reply_is_asked_for_again_with_another_seed(make: Make, reply: str) -> None:
    tasks = score_tasks(4)
    with JudgeServer(faulty(scripted.perfect(tasks), {1: BAD[reply]})) as server:
        assert balanced_accuracy(tasks, make(server, concurrency=1).score(tasks)) == 1.0
        assert [request.body["seed"] for request in server.requests] == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("reply", "reason"), [("prose", "nonsense"), ("refusal", "refused"), ("cut by length", "nonsense")]
)
def test_replies_that_stay_bad_leave_the_task_unanswered(make: Make, reply: str, reason: str) -> None:
    tasks = score_tasks(2)
    with JudgeServer(lambda request: BAD[reply]) as server:
        judge = make(server, draws=2)
        for _ in range(2):
            for answer in judge.score(tasks):
                assert isinstance(answer, Unanswered) and answer.reason.startswith(reason)
        assert len(server.requests) == 4, "bad replies are paid for, and kept"


def test_contexts_that_are_missing_malformed_or_answered_both_ways_have_no_answer(make: Make) -> None:
    (task,) = score_tasks(1, positive=2, negative=3)

    def brain(request: Request) -> str:
        entries: list[Any] = json.loads(scripted.answered(request, lambda line: True))["answers"]
        entries[1]["answer"] = "perhaps"
        entries[3] = 4
        return json.dumps({"answers": [*entries[1:], {"context": 3, "answer": False}]})

    with JudgeServer(brain) as server:
        (answer,) = make(server).score([task])
    assert isinstance(answer, Answers)
    assert sorted(answer.says, key=str) == [None, None, None, None, True]


def test_a_tenth_of_nonsense_costs_nothing_but_calls(make: Make) -> None:
    tasks = score_tasks(40)
    knowing = scripted.perfect(tasks)

    def brain(request: Request) -> Canned | str:
        return "Bananas." if random.Random(str(request.body)).random() < 0.1 else knowing(request)

    with JudgeServer(brain) as server:
        judge = make(server, draws=5)
        assert balanced_accuracy(tasks, judge.score(tasks)) == 1.0
    assert 0 < judge.ledger.retries < 15


def test_a_storm_of_all_faults_loses_nothing(make: Make) -> None:
    """Every other request meets some fault, at random; every call is on the books, and every answer is right."""
    tasks = score_tasks(30)
    knowing, draw = scripted.perfect(tasks), random.Random(4)
    faults = [*PASSING.values(), *BAD.values()]

    def brain(request: Request) -> Canned | str:
        return draw.choice(faults) if draw.random() < 0.5 else knowing(request)

    with JudgeServer(brain) as server:
        judge = make(server, attempts=30, draws=30, timeout=1.0, concurrency=12)
        answers = judge.score(tasks)
        assert judge.ledger.spent.calls >= len(server.requests) > 45
        assert judge.ledger.retries == judge.ledger.spent.calls - 30
    assert balanced_accuracy(tasks, answers) == 1.0


def test_an_endpoint_that_fails_for_ever_leaves_its_tasks_unanswered_and_the_others_answered(make: Make) -> None:
    tasks = score_tasks(8)
    knowing = scripted.perfect(tasks)

    def brain(request: Request) -> Canned | str:
        words = set(re.findall(r"w(\d+)x", str(request.body)))
        return {"2": failure(500, "oops"), "5": Canned("", hang=True)}.get(words.pop()) or knowing(request)

    with JudgeServer(brain) as server:
        answers = make(server, attempts=2, timeout=1.0).score(tasks)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, Unanswered)] == [2, 5]
    assert answers[2] == Unanswered("failed: 500 oops") and answers[5] == Unanswered("timed out")
    kept = [n for n in range(8) if n not in (2, 5)]
    assert balanced_accuracy([tasks[n] for n in kept], [answers[n] for n in kept]) == 1.0


def test_all_calls_wait_as_long_as_the_endpoint_asks(make: Make) -> None:
    tasks = score_tasks(6)
    limited = {n: failure(429, "slow down", retry_after="0.5") for n in range(2)}
    with JudgeServer(faulty(scripted.perfect(tasks), limited)) as server:
        make(server, concurrency=2).score(tasks)
        times = [request.time for request in server.requests]
    assert times[2] - times[1] >= 0.5


def test_a_wait_that_is_too_long_is_not_waited_for(make: Make) -> None:
    with JudgeServer(lambda request: failure(429, "come back tomorrow", retry_after="86400")) as server:
        (answer,) = make(server).score(score_tasks(1))
        assert len(server.requests) == 1
    assert answer == Unanswered("failed: 429 come back tomorrow")


def test_waits_double(make: Make) -> None:
    with JudgeServer(lambda request: failure(500, "oops")) as server:
        make(server, attempts=4, backoff=0.1).score(score_tasks(1))
        times = [request.time for request in server.requests]
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    for gap, least in zip(gaps, (0.05, 0.1, 0.2), strict=True):
        assert least <= gap


@pytest.mark.parametrize("code", ["content_filter", "context_length_exceeded"])
def test_an_error_of_one_question_stops_no_other(make: Make, code: str) -> None:
    tasks = score_tasks(5)
    with JudgeServer(faulty(scripted.perfect(tasks), {2: failure(400, "no", code)})) as server:
        answers = make(server, concurrency=1).score(tasks)
    assert [isinstance(answer, Answers) for answer in answers] == [True, True, False, True, True]


PERMANENT = {
    "key": (failure(401, "Incorrect API key provided"), "judge.*401.*Incorrect"),
    "no credit": (failure(429, "You exceeded your quota", "insufficient_quota"), "no credit.*judge"),
    "bad request": (failure(400, "temperature must be 1"), "judge.*temperature must be 1.*to null"),
    "no such path": (Canned({"detail": "Not Found"}, 404), "no chat completions.*judge.*Not Found"),
    "HTML": (Canned("<!doctype html><p>Welcome"), "does not speak OpenAI's.*judge.*Welcome"),
    "other JSON": (Canned({"generated_text": "hello"}), "does not speak OpenAI's.*judge.*generated_text"),
}


def test_thoughts_before_a_reply_are_not_the_reply(make: Make) -> None:
    tasks = score_tasks(2)
    thought = '<think>Shall I say {"answers": [{"context": 1, "answer": true, "probability": 1}]}?</think>'
    knowing = scripted.perfect(tasks)
    with JudgeServer(lambda request: f"{thought}\n{knowing(request)}") as server:
        assert balanced_accuracy(tasks, make(server).score(tasks)) == 1.0


@pytest.mark.parametrize("error", PERMANENT)
def test_what_will_not_pass_stops_at_once_with_one_sentence(make: Make, error: str) -> None:
    canned, message = PERMANENT[error]
    with JudgeServer(lambda request: canned) as server:
        with pytest.raises(UserError, match=f"127.0.0.1:{server.port}.*") as caught:
            make(server, concurrency=4).score(score_tasks(40))
        assert len(server.requests) <= 4
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_an_unknown_model_is_answered_with_the_nearest(make: Make) -> None:
    unknown = failure(404, "The model does not exist", "model_not_found")
    with (
        JudgeServer(lambda request: unknown, models=("judgement", "gauge")) as server,
        pytest.raises(UserError, match="no model 'judge'. Did you mean 'judgement'"),
    ):
        make(server).score(score_tasks(3))
    with (
        JudgeServer(lambda request: unknown, models=None) as server,
        pytest.raises(UserError, match="'judge'.*The model does not exist"),
    ):
        make(server).score(score_tasks(3))


def test_replies_under_way_are_kept_when_another_call_stops_all(make: Make) -> None:
    tasks = score_tasks(4)
    brain = faulty(scripted.perfect(tasks), {3: failure(401, "revoked")})

    def slow(request: Request) -> float:
        return 0.0 if request.number == 3 else 0.4

    with JudgeServer(brain, latency=slow) as server:
        judge = make(server)
        with pytest.raises(UserError, match="revoked"):
            judge.score(tasks)
        assert judge.ledger.spent.completion_tokens == 30
        assert balanced_accuracy(tasks, judge.score(tasks)) == 1.0
        assert len(server.requests) == 5


def test_an_endpoint_that_is_not_there_is_said_to_be_so() -> None:
    judge = OpenAIJudge("m", base_url="http://127.0.0.1:9/v1", cache=":memory:", backoff=0.01)
    with pytest.raises(UserError, match="127.0.0.1:9 cannot be reached for model 'm'.*ngram"):
        judge.score(score_tasks(3))
