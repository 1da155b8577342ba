"""The board's YAML: short forms, defaults, and errors that name the nearest key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saebench.errors import UserError
from saebench.leaderboard import Board, load_board


def test_short_and_long_forms(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(
        "title: T\ncolumns: [l0, 'sparse_probing[k=1]', {metric: mse, digits: 2, label: error}]\n"
        "pareto: [{x: l0, y: mse, reference: [100, 1], matched: [32]}]\nfilters: {model: gpt2}\nsort: l0\n"
    )
    board = load_board(file)
    assert board.columns is not None and board.pareto is not None
    assert [column.key for column in board.columns] == ["l0", "sparse_probing[k=1]", "mse"]
    assert (board.columns[2].digits, board.columns[2].label) == (2, "error")
    assert (board.pareto[0].y.metric, board.pareto[0].reference, board.pareto[0].matched) == ("mse", (100, 1), (32,))
    assert board.filters.model == ("gpt2",) and board.sort == ("l0",)


def test_nothing_given_is_the_default_board() -> None:
    assert load_board() == Board() == load_board({})


@pytest.mark.parametrize(
    ("board", "words"),
    [
        ({"colums": ["l0"]}, ["'colums'", "'columns'"]),
        ({"columns": [{"metric": "l0", "digit": 2}]}, ["columns.0.digit", "'digits'"]),
        ({"pareto": [{"y": "mse", "refrence": [1, 2]}]}, ["refrence", "'reference'"]),
        ({"pareto": [{"y": {"metric": "mse", "lable": "e"}}]}, ["lable", "'label'"]),
        ({"filters": {"modle": "gpt2"}}, ["modle", "'model'"]),
        ({"error": "sd"}, ["'error'", "'sd'"]),
        ({"level": 2}, ["'level'"]),
        ({"columns": "l0"}, ["'columns'"]),
    ],
)
def test_mistakes_are_named(board: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_board(board)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(("text", "words"), [("- l0", "must hold keys"), ("a: [", "not YAML"), ("\udcff", "utf-8")])
def test_files_that_are_no_board(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "b.yaml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=words):
        load_board(file)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_board(tmp_path / "none.yaml")
