"""A run's rows in the results that a board is built from."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from saebench.cli import cli
from saebench.errors import UserError
from saebench.leaderboard.add import add
from saebench.results import Results, Row

BOARD = {"columns": ["l0", {"metric": "tpp", "slice": "n=20"}], "pareto": [{"x": "l0", "y": "kl"}]}


def _run(folder: Path, *more: Row) -> Path:
    def row(metric: str, value: float, part: str = "", status: str = "ok") -> Row:
        reason = "no reason" if status == "error" else ""
        return Row(
            sae="a", metric=metric, slice=part, value=value, status=status, reason=reason, signature=f"{metric}|a"
        )

    rows = [row("l0", 5.0), row("kl", 0.1), row("mse", 2.0), row("bad", 0.0, status="error")]
    tpp = [row("tpp", 0.3, "n=10"), row("tpp", 0.4, "n=20"), row("tpp", 0.5, "n=20/job")]
    Results([*rows, *tpp, *more]).save(folder)
    return folder


def test_what_the_board_shows_is_appended_once(tmp_path: Path) -> None:
    run, results = _run(tmp_path / "run"), tmp_path / "results"
    assert add(run, results, BOARD) == (3, 0, 1, 3)
    before = (results / "rows.jsonl").read_bytes()
    assert add(run, results, BOARD) == (0, 3, 1, 3)
    assert (results / "rows.jsonl").read_bytes() == before
    assert add(run, results) == (3, 3, 1, 0)
    assert (results / "rows.jsonl").read_bytes().startswith(before)


def test_nothing_to_add_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no row that the board shows: nothing was added"):
        add(_run(tmp_path / "run"), tmp_path / "results", {"columns": ["scr"], "pareto": []})
    assert not (tmp_path / "results").exists()


def test_the_command_counts(tmp_path: Path) -> None:
    told = CliRunner().invoke(cli, ["leaderboard", "add", str(_run(tmp_path / "run")), str(tmp_path / "all.jsonl")])
    assert told.exit_code == 0 and told.output == f"6 rows added to {tmp_path / 'all.jsonl'} (1 failed)\n"
