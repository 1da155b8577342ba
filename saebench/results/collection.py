"""The results of one or several runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.errors import unknown
from saebench.results import frame as tables
from saebench.results.row import Row
from saebench.results.store import Store, latest, read_rows

if TYPE_CHECKING:
    import pandas as pd


class Results:
    """Rows of results, the latest of each (signature, slice).

    Args:
        rows: In the order in which they were made.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: tuple[Row, ...] = tuple(latest(rows))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Results:
        """The results of a run folder (all `.jsonl` files under it) or of one `.jsonl` file.

        Raises:
            UserError: There is nothing there, or a row comes from a later version of saebench.
        """
        return cls(read_rows(path))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Append the rows that are not there yet to a run folder or `.jsonl` file; where they are.

        Raises:
            UserError: The folder cannot be written to.
        """
        store = Store(path)
        stored = {row.key: row for row in store.rows()}
        store.append(row for row in self.rows if stored.get(row.key) != row)
        return store.file

    def frame(self) -> pd.DataFrame:
        """Tidy pandas frame: a row for each number, with its null and baseline (see `frame.frame`)."""
        return tables.frame(self.rows)

    def board(self, *, slices: bool = True) -> pd.DataFrame:
        """Wide pandas frame: a row for each SAE, a column for each metric (see `frame.board`)."""
        return tables.board(self.rows, slices=slices)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the rows, without their sums, for readers of Parquet."""
        tables.export_parquet(self.rows, path)

    def filter(self, **wanted: Any) -> Results:
        """The rows whose fields equal the given values, or are among them if given several.

        >>> results.filter(metric=["l0", "mse"], role="sae", status="ok")  # doctest: +SKIP

        Raises:
            UserError: A name that is not a field of a row.
        """
        known = [f.name for f in fields(Row)]
        for name in wanted:
            if name not in known:
                raise unknown("field of a row", name, known)
        allowed = {
            name: list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
            for name, value in wanted.items()
        }
        return Results(row for row in self.rows if all(getattr(row, k) in v for k, v in allowed.items()))

    def errors(self) -> Results:
        """The rows of what failed, each with its reason."""
        return self.filter(status="error")

    @property
    def saes(self) -> tuple[str, ...]:
        """Names of the SAEs under test, without nulls and baselines, in order of appearance."""
        return tuple(dict.fromkeys(row.sae for row in self.rows if row.role == "sae"))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __add__(self, other: Results) -> Results:
        return Results([*self.rows, *other.rows])

    def __repr__(self) -> str:
        failed = len(self.errors())
        metrics = len({row.metric for row in self.rows})
        return f"<Results: {len(self)} rows, {len(self.saes)} SAEs, {metrics} metrics, {failed} errors>"

    def _repr_html_(self) -> str:
        """The board with standard errors, for notebooks."""
        from saebench.results.report import board_html

        return board_html(self.rows)
