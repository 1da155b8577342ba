"""Every question and reply in a file that can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from saebench.errors import UserError
from tests.judges import scripted
from tests.judges.conftest import Make
from tests.judges.scripted import explain_tasks, faulty, score_tasks
from tests.judges.server import JudgeServer, failure


def test_a_line_for_every_exchange(make: Make, tmp_path: Path) -> None:
    tasks = score_tasks(3)
    with JudgeServer(faulty(scripted.nothing, {0: failure(500, "oops"), 1: "bananas"})) as server:
        judge = make(server, concurrency=1)
        judge.score(tasks)
        judge.score(tasks[2:])
    lines = [json.loads(line) for line in (tmp_path / "judge.jsonl").read_text().splitlines()]
    assert [line["latent"] for line in lines] == [0, 0, 0, 1, 2, 2]
    assert [line["draw"] for line in lines] == [0, 0, 1, 0, 0, 0]
    assert [line["source"] for line in lines] == ["endpoint"] * 5 + ["cache"]
    assert lines[0]["fault"] == "failed: 500 oops" and lines[0]["reply"] is None
    assert lines[1]["reply"]["content"] == "bananas"
    assert all(line["messages"] == server.requests[0].body["messages"] for line in lines[:3])


def test_markdown_can_be_read_whatever_the_texts_hold(make: Make, tmp_path: Path) -> None:
    with JudgeServer(lambda request: '{"explanation": "````code````"}') as server:
        make(server, transcript=tmp_path / "talk.md").explain(explain_tasks(1))
    text = (tmp_path / "talk.md").read_text()
    assert text.startswith("## Latent 0, explain\n")
    assert "100 + 10 tokens" in text and "<<w0y0>>" in text
    assert '\n`````\n{"explanation": "````code````"}\n`````\n' in text


def test_a_transcript_that_cannot_be_written_is_refused_before_anything_is_asked(make: Make, tmp_path: Path) -> None:
    with JudgeServer(scripted.nothing) as server:
        with pytest.raises(UserError, match="transcript"):
            make(server, transcript=tmp_path).score(score_tasks(1))
        assert server.requests == []
