"""Rows of a user's table (CSV, JSONL, JSON, Parquet), with the columns that are needed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.data.held_out import shown
from saebench.errors import UserError, nearest

if TYPE_CHECKING:
    from pandas import DataFrame

TABLES = (".csv", ".jsonl", ".json", ".parquet")


def table_files(path: Path) -> list[Path]:
    """The file itself, or the tables in a folder in the order of their names.

    Raises:
        UserError: Nothing is there, or no table.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        hint = f"The folder {str(path.parent)!r} does not exist."
        if path.parent.is_dir():
            tables = [p.name for p in path.parent.iterdir() if p.suffix in TABLES]
            hint = nearest(path.name, tables) if tables else f"The folder {str(path.parent)!r} holds no table."
        raise UserError(f"No data at {str(path)!r}. {hint}")
    files = sorted(p for p in path.rglob("*") if p.suffix in TABLES)
    if not files:
        raise UserError(f"The folder {str(path)!r} holds no table: put {', '.join(TABLES)} files there.")
    return files


def read_table(path: Path, needed: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a table; empty cells are absent keys.

    Raises:
        UserError: It cannot be read, has no row, or has not the needed columns.
    """
    rows = _rows(path)
    if not rows:
        raise UserError(f"{str(path)!r} is empty: it holds no row.")
    columns = {key for row in rows for key in row}
    for column in needed:
        if column not in columns:
            raise UserError(f"{str(path)!r} has no column {column!r}. {_hint(column, columns)}")
    return ({k: v for k, v in row.items() if v is not None and v != "" and v == v} for row in map(_plain, rows))


def _hint(column: str, columns: Collection[str]) -> str:
    """What to do about a column that is not there."""
    marks = [mark for mark in ";\t|" if len(columns) == 1 and mark in next(iter(columns))]
    return f"Its cells are parted by {marks[0]!r}: part them by commas." if marks else nearest(column, columns)


def single(row: Mapping[str, Any], column: str, where: str, instead: str = "") -> str:
    """What a row says in a column, as text; "" where it says nothing.

    Args:
        row: Values by column.
        column: The column.
        where: The row, in words.
        instead: What to do about several values, for the message.

    Raises:
        UserError: A list or a mapping, which is no one thing.
    """
    value = row.get(column)
    if isinstance(value, (list, dict)):
        kind = "a list" if isinstance(value, list) else "a mapping"
        raise UserError(
            f"{where} has {kind} in column {column!r}, where one value belongs: {shown(str(value))}. {instead}".rstrip()
        )
    return "" if value is None else str(value)


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix in (".csv", ".parquet"):
        return _frame(path)
    if path.suffix not in (".json", ".jsonl"):
        raise UserError(f"Cannot read {str(path)!r} as a table: use {', '.join(TABLES)}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix == ".json" else list(_lines(text, path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} is not {path.suffix[1:].upper()}: {error}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{str(path)!r} must hold rows with named columns.")
    return rows


def _lines(text: str, path: Path) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), 1):  # a JSON string may hold what splitlines parts
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                what = f"{error.msg} at column {error.colno}"
                raise UserError(f"Line {number} of {str(path)!r} is not JSON: {what}.") from error


def _frame(path: Path) -> list[dict[str, Any]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _csv(path)
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{str(path)!r} is empty: it holds no row.") from error
    except pd.errors.ParserWarning as error:
        what = "a row has more cells than there are columns: put cells that hold a comma in quotes"
        raise UserError(f"{str(path)!r} cannot be read: {what}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{str(path)!r} cannot be read: it is not UTF-8; save it as that.") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _csv(path: Path) -> DataFrame:
    """A CSV as text; "None" and "NA" are words like any other, and only an empty cell is empty.

    Raises:
        ParserWarning: A row is longer than the header, so that its cells would get the names of others.
    """
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(path, dtype=str, na_values=[""], keep_default_na=False, index_col=False)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Arrays of Parquet as lists."""
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in row.items()}
