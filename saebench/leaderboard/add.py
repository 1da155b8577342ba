"""Contributing to a leaderboard: the finished rows of a run, appended to the rows that the board is built from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from saebench.errors import UserError
from saebench.leaderboard.board import DEFAULT_COLUMNS, Board, Column, load_board
from saebench.leaderboard.sections import figures_of
from saebench.results.store import FINISHED, Store, read_rows

if TYPE_CHECKING:
    from saebench.results import Row


class Added(NamedTuple):
    """How many rows were appended, were there already, failed in the run, or are not shown on the board."""

    rows: int
    known: int
    failed: int
    not_shown: int


def add(run: str | Path, results: str | Path, board: str | Path | Board | Mapping[str, Any] | None = None) -> Added:
    """Append a run's rows to a results folder; nothing that is there is changed or removed.

    Args:
        run: Run folder or `.jsonl` file.
        results: Folder of rows, or a `.jsonl` file, that a board is built from; made where there is none.
        board: Keep only what this board shows, which is far less to store; all rows if None.

    Raises:
        UserError: The run holds no finished row, or none that the board shows.
    """
    found = read_rows(run)
    finished = [row for row in found if row.status in FINISHED]
    shown = finished if board is None else _shown(finished, load_board(board))
    if not shown:
        what = "that the board shows" if finished else "that is finished"
        raise UserError(f"{run} holds no row {what}: nothing was added to {results}.")
    store = Store(results)
    there = {(row.key, row.value) for row in store.rows()}
    fresh = [row for row in shown if (row.key, row.value) not in there]
    store.append(fresh)
    return Added(len(fresh), len(shown) - len(fresh), len(found) - len(finished), len(finished) - len(shown))


def _shown(rows: list[Row], board: Board) -> list[Row]:
    """Rows in a column or on an axis of the board; of a column without a slice, all slices but those of groups."""
    axes = [axis for figure in figures_of(board) for axis in (figure.x, figure.y)]
    wanted = [*(DEFAULT_COLUMNS if board.columns is None else board.columns), *axes]
    return [row for row in rows if any(_matches(row, column) for column in wanted)]


def _matches(row: Row, column: Column) -> bool:
    if row.metric != column.metric:
        return False
    return row.slice == column.slice if column.slice else "/" not in row.slice
