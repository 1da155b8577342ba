"""The key reaches the endpoint and nothing else, whatever the endpoint does with it."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import pytest

from saebench.errors import UserError
from saebench.judges.endpoint import Endpoint
from saebench.judges.openai_judge import OpenAIJudge
from tests.judges import scripted
from tests.judges.conftest import Make
from tests.judges.scripted import explain_tasks, score_tasks
from tests.judges.server import Canned, JudgeServer, Request, completion, failure

KEY = "sk-verysecret-0123456789"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.mark.parametrize("suffix", ["jsonl", "md"])
def test_no_artefact_holds_the_key_even_if_the_server_echoes_it(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    caplog.set_level(logging.DEBUG)
    tasks = score_tasks(4)
    knowing = scripted.perfect(tasks)

    def brain(request: Request) -> Canned | str:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        echoes = {
            0: failure(500, f"upstream refused {KEY}"),
            1: Canned({"error": {"message": f"no quota for {KEY}"}}),
            2: Canned(completion(f"Your key is {KEY}.")),
            3: Canned(completion(None, refusal=f"{KEY} may not ask this")),
        }
        return echoes.get(request.number) or knowing(request)

    with JudgeServer(brain) as server:
        judge = make(server, concurrency=1, transcript=tmp_path / f"talk.{suffix}", draws=5)
        answers = judge.score(tasks)
        explained = make(server).explain(explain_tasks(1))
    artefacts = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(artefacts) >= 2
    told = [
        repr(answers),
        repr(explained),
        repr(vars(judge)),
        json.dumps(judge.signature()),
        str(judge.ledger),
        caplog.text,
    ]
    for text in [*artefacts, *(part.encode() for part in told), pickle.dumps(judge)]:
        assert KEY.encode() not in text
    assert any(b"[key]" in data for data in artefacts)
    assert KEY not in repr(Endpoint.found(server.url))


@pytest.mark.parametrize(
    "canned",
    [
        failure(401, f"Incorrect API key provided: {KEY}."),
        failure(401, "Incorrect API key provided: sk-very*************6789."),
        failure(400, f"bad {KEY}"),
        failure(404, f"bad {KEY}"),
        Canned(f"<html>{KEY}</html>"),
        Canned({"key": KEY}),
    ],
)
def test_no_error_holds_the_key(make: Make, canned: Canned) -> None:
    with JudgeServer(lambda request: canned) as server, pytest.raises(UserError) as caught:
        make(server).score(score_tasks(1))
    chain: BaseException | None = caught.value
    while chain is not None:
        assert KEY not in str(chain) and "6789" not in str(chain)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


def test_an_address_with_a_password_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint.found("http://someone:verysecretword@[::1]:8000/v1")
    assert endpoint.host == "[::1]:8000" and endpoint.loopback
    assert endpoint.clean("at verysecretword") == "at [key]"
    assert "verysecretword" not in repr(endpoint)


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://gpu-7:8000/v1", "http://10.0.0.3/v1"])
def test_without_a_key_only_this_machine_is_asked(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="OPENAI_API_KEY.*'ngram'"):
        OpenAIJudge("m", base_url=url, cache=":memory:").score(score_tasks(1))
    for near in ("http://localhost:1/v1", "http://127.0.0.2/v1", "http://[::1]/v1"):
        assert Endpoint.found(near).loopback


def test_the_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Endpoint.found(None).url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1234/v1")
    assert Endpoint.found(None).host == "127.0.0.1:1234"
    assert Endpoint.found("http://localhost/v1").host == "localhost"


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "api.openai.com", "http://", "http://host:port/v1", "ftp://host/"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="OPENAI_BASE_URL"):
        Endpoint.found(url)


def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel-wort")
    with pytest.raises(UserError) as caught:
        Endpoint.found(None)
    assert "wort" not in str(caught.value)
