"""The judge behind an endpoint, against a server on this machine through the real client."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re

import pytest

from saebench.errors import UserError
from saebench.judges.openai_judge import OpenAIJudge
from saebench.judges.protocol import Answers, Explanation, Judge, ScoreTask, Unanswered
from tests.judges import scripted
from tests.judges.conftest import Make
from tests.judges.scripted import balanced_accuracy, explain_tasks, score_tasks
from tests.judges.server import Canned, JudgeServer, Request, completion, failure


@pytest.mark.parametrize("kind", ["detection", "fuzzing"])
def test_a_perfect_judge_scores_one(make: Make, kind: str) -> None:
    tasks = score_tasks(20, kind=kind)
    with JudgeServer(scripted.perfect(tasks)) as server:
        answers = make(server).score(tasks)
    assert balanced_accuracy(tasks, answers) == 1.0


def test_a_coin_scores_a_half_within_its_interval(make: Make) -> None:
    tasks = score_tasks(60)
    with JudgeServer(scripted.coin(3)) as server:
        value = balanced_accuracy(tasks, make(server).score(tasks))
    stderr = math.sqrt(0.25 / (60 * 4) + 0.25 / (60 * 6)) / 2
    assert 0 < abs(value - 0.5) < 2.58 * stderr


def test_a_judge_that_always_says_none_scores_a_half(make: Make) -> None:
    tasks = score_tasks(10)
    with JudgeServer(scripted.nothing) as server:
        assert balanced_accuracy(tasks, make(server).score(tasks)) == 0.5


def test_results_do_not_depend_on_the_order_of_replies(make: Make) -> None:
    tasks = score_tasks(40)

    def late(request: Request) -> float:
        return random.Random(request.number * 7).random() / 20

    with JudgeServer(scripted.coin(1)) as server:
        calm = make(server, cache=":memory:").score(tasks)
    with JudgeServer(scripted.coin(1), latency=late) as server:
        shuffled = make(server, concurrency=16, cache=":memory:").score(tasks)
        assert 4 < server.together <= 16
    assert calm == shuffled


def test_answers_do_not_depend_on_the_order_of_contexts(make: Make) -> None:
    (task,) = score_tasks(1)
    turned = ScoreTask(task.kind, task.latent, task.explanation, task.contexts[::-1])
    with JudgeServer(scripted.coin(5)) as server:
        judge = make(server)
        (first,), (second,) = judge.score([task]), judge.score([turned])
        assert len(server.requests) == 1
    assert isinstance(first, Answers) and isinstance(second, Answers)
    assert first.says == second.says[::-1] and len(set(first.says)) == 2


def test_probabilities_are_kept_and_impossible_ones_are_not(make: Make) -> None:
    (task,) = score_tasks(1, 1, 1)
    given = iter([0.25, 1.5])

    def brain(request: Request) -> str:
        entries = [{"context": n, "answer": True, "probability": next(given)} for n in scripted.questions(request)]
        return json.dumps({"answers": entries})

    with JudgeServer(brain) as server:
        (answer,) = make(server).score([task])
    assert isinstance(answer, Answers)
    assert set(answer.confidence) == {0.25, None} and answer.says == (True, True)


def test_explanations_come_in_order_and_progress_is_told(make: Make) -> None:
    def brain(request: Request) -> str:
        word = re.search(r"<<(w\d+)y0>>", request.body["messages"][0]["content"])
        assert word
        return json.dumps({"explanation": f"about\n {word[1]}"})

    told: list[tuple[int, int]] = []
    with JudgeServer(brain, latency=lambda request: random.random() / 50) as server:
        got = make(server).explain(explain_tasks(12), progress=lambda done, total: told.append((done, total)))
    assert got == [Explanation(f"about w{n}") for n in range(12)]
    assert told == [(n, 12) for n in range(1, 13)]


def test_the_request_is_by_schema_and_tells_neither_activations_nor_how_many_fire(make: Make) -> None:
    few, many = score_tasks(1, positive=1, negative=9)[0], score_tasks(1, positive=9, negative=1)[0]
    with JudgeServer(scripted.nothing) as server:
        make(server, cache=":memory:").score([few])
        make(server, cache=":memory:").score([many])
        first, second = (request.body for request in server.requests)
    assert first == second
    assert "2.5" not in json.dumps(first["messages"]) and "<<" not in json.dumps(first["messages"])
    assert first["response_format"]["json_schema"]["strict"] is True
    assert (first["model"], first["temperature"], first["seed"], first["max_tokens"]) == ("judge", 0.0, 0, 4000)


def test_settings_reach_the_endpoint_and_the_signature(make: Make) -> None:
    tasks = explain_tasks(1)
    with JudgeServer(lambda request: '{"explanation": "e"}') as server:
        judge = make(server, temperature=None, seed=7, max_tokens=99)
        judge.explain(tasks)
        body = server.requests[0].body
        other = make(server, prompt="saebench")
    assert "temperature" not in body and body["seed"] == 7 and body["max_tokens"] == 99
    signature = judge.signature()
    assert signature["model"] == "judge" and signature["seed"] == 7 and signature["max_tokens"] == 99
    assert len(signature["prompt_version"]) == 12
    assert other.signature()["prompt_version"] != signature["prompt_version"]
    assert "127.0.0.1" not in json.dumps(signature)
    assert judge.name == "openai:judge"
    spoken: Judge = judge
    assert spoken is judge


def test_an_endpoint_without_response_format_is_asked_in_words(make: Make) -> None:
    tasks = score_tasks(20)
    knowing = scripted.perfect(tasks)

    def brain(request: Request) -> Canned | str:
        if "response_format" in request.body:
            return failure(400, "Unknown field: response_format")
        assert "JSON schema" in request.body["messages"][-1]["content"]
        return f'Let me think {{about it}}.\n```json\n{knowing(request)}\n``` I hope {{"this": "helps"}}.'

    with JudgeServer(brain) as server:
        judge = make(server, concurrency=4)
        answers = judge.score(tasks)
        assert sum("response_format" in request.body for request in server.requests) <= 4
    assert balanced_accuracy(tasks, answers) == 1.0
    assert judge.notes and judge.ledger.retries == 0


def test_a_model_that_wants_max_completion_tokens_gets_it(make: Make) -> None:
    def brain(request: Request) -> Canned | str:
        if "max_tokens" in request.body:
            message = "Unsupported parameter: 'max_tokens' is not supported, use 'max_completion_tokens' instead."
            return failure(400, message, "unsupported_parameter")
        return '{"explanation": "e"}'

    with JudgeServer(brain) as server:
        got = make(server).explain(explain_tasks(3))
        assert server.requests[-1].body["max_completion_tokens"] == 4000
    assert got == [Explanation("e")] * 3


def test_it_works_inside_a_running_loop(make: Make) -> None:
    async def cell(judge: OpenAIJudge) -> list[Answers | Unanswered]:
        return judge.score(tasks)

    tasks = score_tasks(3)
    with JudgeServer(scripted.perfect(tasks)) as server:
        answers = asyncio.run(cell(make(server)))
    assert balanced_accuracy(tasks, answers) == 1.0


def test_the_reference_prompt_asks_for_numbers(make: Make) -> None:
    tasks = score_tasks(30, positive=4, negative=10)
    truth = scripted.truths(tasks)

    def brain(request: Request) -> Canned | str:
        assert "response_format" not in request.body
        if "1. " not in request.body["messages"][1]["content"] and request.body["max_tokens"] == 30:
            return Canned(completion("This neuron activates on words of a latent, such as", finish="length"))
        assert request.body["max_tokens"] == 33
        return ", ".join(str(n) for n, line in scripted.questions(request).items() if truth[scripted.word_of(line)])

    with JudgeServer(brain) as server:
        judge = make(server, prompt="saebench")
        assert balanced_accuracy(tasks, judge.score(tasks)) == 1.0
        examples = {request.body["messages"][0]["content"].rpartition("like this:")[2] for request in server.requests}
        assert judge.explain(explain_tasks(1)) == [Explanation("words of a latent, such as")]
    assert len({example.count(",") for example in examples}) > 3
    with pytest.raises(UserError, match="no fuzzing"):
        judge.score(score_tasks(1, kind="fuzzing"))


def test_nothing_to_ask_asks_nothing() -> None:
    judge = OpenAIJudge("m", base_url="http://127.0.0.1:9/v1", cache=":memory:")
    assert judge.score([]) == [] and judge.explain([]) == []
