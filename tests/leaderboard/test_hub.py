"""Rows to a hub and back, spoken by the real client to a hub on the loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from saebench.cli import main
from saebench.errors import UserError
from saebench.leaderboard.hub import pull, push
from saebench.results import Results, Row
from tests.helpers.hub import serving


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_XET_CACHE"):
        monkeypatch.setattr(huggingface_hub.constants, name, str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))


def rows(sae: str = "../a b", value: float = 1.0, created: str = "2026-01-01T00:00:00+00:00") -> Results:
    facts: dict[str, Any] = {"model": "tiny", "hook_out": "blocks.1.hook_resid_post", "created": created}
    return Results(
        Row(sae=sae, metric=m, value=value, signature=f"{m}|{sae}", sums={"x": np.ones(9)}, **facts)
        for m in ("l0", "mse")
    )


def test_what_is_pushed_is_what_is_pulled(tmp_path: Path) -> None:
    repos: dict[str, Any] = {}
    with serving(repos):
        files = push(rows(), "me/results")
        assert push(rows(), "me/results") == files, "equal rows are equal files"
        push(rows("other"), "me/results")
        pulled = pull("me/results", tmp_path / "run")
    assert list(repos) == ["datasets/me/results"] and len(repos["datasets/me/results"]) == 2
    assert all(path.startswith("rows/") and ".." not in path for path in repos["datasets/me/results"])
    wanted = {row.key: row for row in (*rows(), *rows("other"))}
    assert {row.key: row for row in pulled} == wanted
    assert {row.key: row for row in Results.load(tmp_path / "run")} == wanted
    assert all(row.sums is None for row in pulled), "sums stay at home unless asked for"


def test_the_latest_of_each_measurement_wins_and_a_stores_own_sums_stay(tmp_path: Path) -> None:
    repos: dict[str, Any] = {}
    rows(value=1.0).save(tmp_path / "run")
    with serving(repos):
        push(rows(value=3.0, created="2026-03-01T00:00:00+00:00"), "me/results", sums=True)
        push(rows(value=2.0, created="2026-02-01T00:00:00+00:00"), "me/results")
        push(rows(value=1.0), "me/results")
        assert {row.value for row in pull("me/results")} == {3.0}
        pull("me/results", tmp_path / "run")
        before = (tmp_path / "run" / "rows.jsonl").read_text()
        pull("me/results", tmp_path / "run")
    stored = Results.load(tmp_path / "run")
    assert {row.value for row in stored} == {3.0} and all(row.sums is not None for row in stored)
    assert (tmp_path / "run" / "rows.jsonl").read_text() == before, "pulling again adds nothing"


def test_a_hub_that_refuses_says_why(tmp_path: Path) -> None:
    with serving({"datasets/me/empty": {"README.md": b""}}):
        with pytest.raises(UserError, match="Cannot pull the dataset 'me/absent'"):
            pull("me/absent")
        with pytest.raises(UserError, match="holds no rows"):
            pull("me/empty")
        with pytest.raises(UserError, match="Cannot push to the dataset 'them/absent'"):
            push(rows(), "them/absent", pull_request=True)
    for name in ("plain", "a/b/c", "hf:me/x"):
        with pytest.raises(UserError, match="Write OWNER/NAME"):
            push(rows(), name)
    with pytest.raises(UserError, match="no rows to push"):
        push(Results(), "me/results")


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows().save(tmp_path / "run")
    with serving({}):
        for words in (["push", str(tmp_path / "run"), "me/x"], ["pull", "me/x", "--out", str(tmp_path / "again")]):
            with pytest.raises(SystemExit) as left:
                main(["leaderboard", *words])
            assert left.value.code == 0
    assert "2 rows of 1 SAEs" in capsys.readouterr().out
