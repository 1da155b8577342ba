"""Exact one-to-one matching of two dictionaries without a matrix of all pairs, with the proof of optimality."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from saebench.matching.auction import FIRST, LAST, assign, left_over
from saebench.matching.candidates import Candidates, blocks, candidates
from saebench.matching.dictionary import Dictionary, cosines
from saebench.matching.fixing import safe_pairs
from saebench.matching.graph import Graph
from saebench.matching.pricing import Prices, Ruled, Suspects, suspects

DOUBLE = 2048**2
"""Up to this many pairs all products are taken in double precision."""
MARGIN = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Ten times the largest rounding seen in a product of unit rows."""
MOST_ROUNDS = 100
NEAR = 1e-3
"""Pairs that lie closer than this to profit + price are kept in the graph, and computed in double precision."""
ROUGH = 1e-6
"""Eps at which an assignment is begun anew from its own prices: they settle, and half as many rounds are needed."""
FEWEST, NEIGHBOURS = 4, 8
"""Listed columns of a row below which more are looked for, and how many are added then."""


@dataclass(frozen=True)
class Settings:
    """How the search is done; no setting changes the optimum.

    Attributes:
        rows, columns: Length of the candidate lists.
        tolerance: Gap, as a share of the value, at which a solution counts as optimal.
        dtype: Precision of the products; by size if None.
        exact: Listed pairs are computed in double precision at once, not those alone that prove to matter;
            on a GPU, where that is quick, if None.
    """

    rows: int = 64
    columns: int = 16
    tolerance: float = 1e-9
    dtype: torch.dtype | None = None
    exact: bool | None = None


class Solved(NamedTuple):
    """A matching of all rows with the proof of how good it is.

    Attributes:
        partner: Column of each row, `[n]`.
        bound: No matching has a sum of similarities above this.
        nearest: Largest similarity of each row, `[n]`, and of each column, `[m]`.
        second: Largest similarity of each row with any column but its partner, and of each column, likewise.
        rounds: Times that the sparse problem was solved and priced.
        fixed: Pairs that were fixed before.
    """

    partner: np.ndarray
    bound: float
    nearest: tuple[np.ndarray, np.ndarray]
    second: tuple[np.ndarray, np.ndarray]
    rounds: int
    fixed: int


def solve(a: Dictionary, b: Dictionary, *, signed: bool, settings: Settings | None = None) -> Solved:
    """Match every row of the smaller dictionary with a row of the other, exactly.

    One product in blocks lists the nearest neighbours of rows and columns; pairs that an optimal matching
    holds by proof are fixed; an auction on the listed pairs gives a matching and prices; a second product in
    blocks, over what the lists do not rule out, finds the pairs that would beat the prices. They are added,
    and it goes on until none is left. Profits and prices then bound every matching from above (weak
    duality), whatever the solver did.

    Args:
        a: n rows.
        b: m rows, m >= n.
        signed: Similarity is the cosine; else its absolute value.
    """
    settings = settings or Settings()
    dtype = settings.dtype or (torch.float64 if len(a) * len(b) <= DOUBLE else torch.float32)
    with _full_precision():
        left, right = a.unit(dtype), b.unit(dtype)
        found = candidates(left, right, signed=signed, rows=settings.rows, columns=settings.columns)
        fixed = safe_pairs(found, 4 * MARGIN[dtype])
        exact = left.device.type != "cpu" if settings.exact is None else settings.exact
        problem = _Rest(a, b, left, right, found, fixed, signed=signed, exact=exact)
        partner, bound, rounds = problem.solved(settings.tolerance)
    return Solved(partner, bound, _nearest(found), _second(found, partner), rounds, len(fixed[0]))


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products of single precision without the shortened mantissa (TF32) that a user may have allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Rest:
    """What is left when safe pairs are fixed: rows and columns, renumbered, and the graph of listed pairs."""

    def __init__(
        self,
        a: Dictionary,
        b: Dictionary,
        left: torch.Tensor,
        right: torch.Tensor,
        found: Candidates,
        fixed: tuple[np.ndarray, np.ndarray],
        *,
        signed: bool,
        exact: bool,
    ) -> None:
        self.a, self.b, self.signed = a, b, signed
        self.fixed = fixed
        self.rows = np.setdiff1d(np.arange(len(a)), fixed[0])
        self.columns = np.setdiff1d(np.arange(len(b)), fixed[1])
        self.margin = MARGIN[left.dtype]
        self.left, self.right = (_some(left, self.rows), _some(right, self.columns))
        self.ruled = Ruled(
            found.row_bound.cpu().double().numpy()[self.rows], found.column_bound.cpu().double().numpy()[self.columns]
        )
        self.graph = self._graph(found, exact=exact) if len(self.rows) else None

    def solved(self, tolerance: float) -> tuple[np.ndarray, float, int]:
        """Partner of every row of the whole problem, an upper bound of its sum, and the rounds it took."""
        partner = np.full(len(self.a), -1, dtype=np.int64)
        partner[self.fixed[0]] = self.fixed[1]
        done = float(self._similarity(*self.fixed).sum())
        if self.graph is None:
            return partner, done, 0
        price, chosen = np.zeros(len(self.columns)), np.full(len(self.rows), -1, dtype=np.int64)
        first, rounds = FIRST, 0
        while True:
            rounds += 1
            profit = self._settled(self.graph, price, chosen, first)
            excess, added = self._priced(self.graph, Prices(profit, price.copy()))
            bound = done + float(profit.sum() + excess.sum() + price.sum())
            value = done + float(self.graph.weight[self.graph.place(np.arange(len(chosen)), chosen)].sum())
            if bound - value <= tolerance * abs(value) or not added or rounds == MOST_ROUNDS:
                break
            first = min(FIRST, float(excess.mean()))  # a larger one unsettles what is settled: more rounds
        partner[self.rows] = self.columns[chosen]
        return partner, bound, rounds

    def _settled(self, graph: Graph, price: np.ndarray, chosen: np.ndarray, first: float) -> np.ndarray:
        """Assign anew, all pairs that matter in double precision, price and columns in place; the rows' profits.

        Measured: where no column stays free prices settle in fewest rounds if all rows bid anew; where some do,
        if rows keep the columns they have.
        """
        last = ROUGH
        while True:
            if graph.rows == graph.columns:
                chosen[:] = -1
            assign(graph, price, chosen, first, last)
            profit = graph.profits(price)
            if last == LAST and graph.exact.all():
                return profit
            if not graph.exact.all():
                slack = profit[graph.row] + price[graph.column] - graph.weight
                if last == LAST and not (~graph.exact & (slack <= 4 * self.margin)).any():
                    return profit
                near = np.flatnonzero(~graph.exact & (slack <= NEAR))
                graph.weight[near] = self._pairs(graph.row[near], graph.column[near])
                graph.exact[near] = True
            first, last = 4 * ROUGH, LAST

    def _priced(self, graph: Graph, prices: Prices) -> tuple[np.ndarray, int]:
        """By how much each row's best pair outside of the graph beats its profit.

        All pairs that come near are added to the graph; their number is the second result. Once prices are
        nearly right, later products need only look where profits and prices have fallen since.
        """
        found = suspects(self.left, self.right, prices, self.ruled, signed=self.signed, margin=self.margin, band=NEAR)
        fresh = ~graph.holds(found.row, found.column)
        i, j = found.row[fresh], found.column[fresh]
        weight = self._pairs(i, j)
        excess = np.zeros(graph.rows)
        np.maximum.at(excess, i, weight - prices.profit[i] - prices.price[j])
        self._cut(found, prices, excess)
        graph.add(i, j, weight, exact=True)
        if self.ruled.before is None and float(excess.mean()) < NEAR / 10:
            profit = prices.profit.copy()
            profit[found.cut] = np.inf
            self.ruled = replace(self.ruled, before=Prices(profit, prices.price))
        return excess, len(i)

    def _cut(self, found: Suspects, prices: Prices, excess: np.ndarray) -> None:
        """Raise the excess of rows of which not all near pairs were looked at.

        Their bound has the rounding of the product in it. Once that is all that is left, they are
        multiplied again in double precision.
        """
        if self.left.dtype is torch.float64 or excess.max(initial=0.0) > self.margin:
            np.maximum.at(excess, found.cut, found.bound)
            return
        price = torch.from_numpy(prices.price).to(self.right.device)
        right = self.b.take(torch.from_numpy(self.columns)).unit(torch.float64) if len(found.cut) else self.right
        for part in blocks(len(found.cut), len(self.columns), self.left.device):
            rows = found.cut[part]
            block = self.a.exact(torch.from_numpy(self.rows[rows]).to(right.device)) @ right.T
            block = block if self.signed else block.abs_()
            most = block.sub_(price).amax(1).cpu().numpy()
            np.maximum.at(excess, rows, most - prices.profit[rows])

    def _graph(self, found: Candidates, *, exact: bool) -> Graph:
        """The listed pairs of what is left, completed so that every row can be assigned."""
        rows, columns = len(self.rows), len(self.columns)
        row_number = _numbers(self.rows, len(self.a))
        column_number = _numbers(self.columns, len(self.b))
        value, index = found.row_value.cpu().numpy()[self.rows], found.row_index.cpu().numpy()[self.rows]
        by_row = (np.repeat(np.arange(rows), index.shape[1]), column_number[index.ravel()], value.ravel())
        value, index = found.column_value.cpu().numpy()[self.columns], found.column_index.cpu().numpy()[self.columns]
        by_column = (row_number[index.ravel()], np.repeat(np.arange(columns), index.shape[1]), value.ravel())
        parts = [tuple(x[(p[0] >= 0) & (p[1] >= 0)] for x in p) for p in (by_row, by_column)]
        double = self.left.dtype is torch.float64
        graph = Graph.of(rows, columns, parts, exact=double or exact)
        if exact and not double:
            graph.weight = self._pairs(graph.row, graph.column)
        self._complete(graph)
        return graph

    def _complete(self, graph: Graph) -> None:
        """Pair what a greedy matching leaves over, and list more columns for rows that have nearly none."""
        rows, columns = left_over(graph)
        parts = [(rows, columns[: len(rows)])]
        if len(rows):
            parts.append(self._neighbours(rows, columns))
        poor = np.flatnonzero(np.diff(graph.starts) < FEWEST)
        if len(poor):
            parts.append(self._neighbours(poor, np.arange(graph.columns)))
        i, j = (np.concatenate(side) for side in zip(*parts, strict=True))
        fresh = ~graph.holds(i, j)
        if fresh.any():
            graph.add(i[fresh], j[fresh], self._pairs(i[fresh], j[fresh]), exact=True)

    def _neighbours(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The few nearest of some columns for each of some rows, as pairs."""
        i, j = [], []
        right = _some(self.right, columns)
        for part in blocks(len(rows), len(columns), self.left.device):
            block = _some(self.left, rows[part]) @ right.T
            block = block if self.signed else block.abs_()
            index = block.topk(min(NEIGHBOURS, len(columns)), dim=1).indices.cpu().numpy()
            i.append(np.repeat(rows[part], index.shape[1]))
            j.append(columns[index.ravel()])
        return np.concatenate(i), np.concatenate(j)

    def _pairs(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Similarities of pairs of what is left, in double precision."""
        return self._similarity(self.rows[i], self.columns[j])

    def _similarity(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Similarities of pairs of the whole problem, in double precision."""
        exact = cosines(self.a, self.b, torch.from_numpy(i), torch.from_numpy(j)).numpy()
        return exact if self.signed else np.abs(exact)


def _some(rows: torch.Tensor, index: np.ndarray) -> torch.Tensor:
    """Rows by number; the tensor itself where that is all of them in order."""
    if len(index) == len(rows) and np.array_equal(index, np.arange(len(rows))):
        return rows
    return rows[torch.from_numpy(index).to(rows.device)]


def _numbers(kept: np.ndarray, total: int) -> np.ndarray:
    """New number of each row, -1 for one that is not kept, `[total]`."""
    number = np.full(total, -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    return number


def _nearest(found: Candidates) -> tuple[np.ndarray, np.ndarray]:
    return found.row_value[:, 0].cpu().double().numpy(), found.column_value[:, 0].cpu().double().numpy()


def _second(found: Candidates, partner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest similarity of each row and column with any but its partner; NaN where there is none."""
    owner = np.full(len(found.column_value), -1, dtype=np.int64)
    owner[partner] = np.arange(len(partner))
    return (
        _best_other(found.row_value, found.row_index, partner),
        _best_other(found.column_value, found.column_index, owner),
    )


def _best_other(value: torch.Tensor, index: torch.Tensor, partner: np.ndarray) -> np.ndarray:
    values, indices = value[:, :2].cpu().double().numpy(), index[:, :2].cpu().numpy()
    if values.shape[1] < 2:
        return np.where(indices[:, 0] == partner, np.nan, values[:, 0])
    return np.where(indices[:, 0] == partner, values[:, 1], values[:, 0])
