"""Fixtures of judges: no key and no address from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saebench.judges.openai_judge import OpenAIJudge
from tests.judges.server import JudgeServer

Make = Callable[..., OpenAIJudge]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A judge at a server, with short waits and all its files in the test's folder."""

    def made(server: JudgeServer, **settings: Any) -> OpenAIJudge:
        usual = {"cache": tmp_path / "judge.sqlite", "transcript": tmp_path / "judge.jsonl", "backoff": 0.01}
        return OpenAIJudge("judge", base_url=server.url, **{**usual, **settings})

    return made
