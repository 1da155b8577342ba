"""The pairs that a solver may choose from: a sparse graph that grows until the solution is proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class Graph:
    """Pairs of rows and columns with their similarities, sorted by row and column.

    Attributes:
        rows, columns: Numbers of rows and columns, n <= m.
        key: `row * columns + column` of each pair, sorted, without repeats.
        weight: Similarity of each pair, float64.
        exact: Whether the similarity was computed in double precision.
    """

    rows: int
    columns: int
    key: np.ndarray
    weight: np.ndarray
    exact: np.ndarray

    @classmethod
    def of(cls, rows: int, columns: int, parts: Sequence[tuple[np.ndarray, ...]], *, exact: bool = False) -> Graph:
        """The union of pairs (row, column, similarity)."""
        key = np.concatenate([i.astype(np.int64) * columns + j for i, j, _ in parts])
        key, first = np.unique(key, return_index=True)
        weight = np.concatenate([w for _, _, w in parts])[first].astype(np.float64)
        return cls(rows, columns, key, weight, np.full(len(key), exact))

    @property
    def row(self) -> np.ndarray:
        """Row of each pair."""
        return self.key // self.columns

    @property
    def column(self) -> np.ndarray:
        """Column of each pair."""
        return self.key % self.columns

    @property
    def starts(self) -> np.ndarray:
        """Where each row's pairs begin, `[rows + 1]`."""
        return np.searchsorted(self.key, np.arange(self.rows + 1, dtype=np.int64) * self.columns)

    def holds(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Which of some pairs are in the graph."""
        wanted = i.astype(np.int64) * self.columns + j
        place = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        return self.key[place] == wanted

    def place(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Where some of the graph's pairs stand in it."""
        return np.searchsorted(self.key, i.astype(np.int64) * self.columns + j)

    def add(self, i: np.ndarray, j: np.ndarray, weight: np.ndarray, *, exact: bool) -> None:
        """Add pairs that are not in the graph yet; repeats among them are dropped."""
        fresh, first = np.unique(i.astype(np.int64) * self.columns + j, return_index=True)
        key = np.concatenate([self.key, fresh])
        order = np.argsort(key, kind="stable")
        self.key = key[order]
        self.weight = np.concatenate([self.weight, weight[first]])[order]
        self.exact = np.concatenate([self.exact, np.full(len(fresh), exact)])[order]

    def profits(self, price: np.ndarray) -> np.ndarray:
        """The most that each row can gain at given column prices, max over its pairs of weight - price, `[rows]`."""
        return np.maximum.reduceat(self.weight - price[self.column], self.starts[:-1])

    def prices(self, profit: np.ndarray) -> np.ndarray:
        """The most that each column can gain at given row profits, and no less than nothing, `[columns]`."""
        price = np.zeros(self.columns)
        np.maximum.at(price, self.column, self.weight - profit[self.row])
        return price

    def by_column(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each column's pairs begin, `[columns + 1]`, and the row and similarity of each pair, by column."""
        order = np.argsort(self.column, kind="stable")
        starts = np.concatenate([[0], np.bincount(self.column, minlength=self.columns).cumsum()])
        return starts, self.row[order], self.weight[order]
