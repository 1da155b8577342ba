"""Optimal assignment on a sparse graph by the auction algorithm, with the prices that prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saebench.matching.graph import Graph

FIRST, LAST, FACTOR = 0.02, 1e-10, 20.0
"""First and last eps of the phases, and how much smaller each is than the one before."""
SPAN = 2.0
"""Range of cosines: what a row with one choice only bids above it."""


def assign(graph: Graph, price: np.ndarray, partner: np.ndarray, first: float = FIRST, last: float = LAST) -> None:
    """Make an assignment whose sum is within rows x `last` of the best on the graph.

    Gauss-Seidel auction with eps scaling (Bertsekas 1988): unassigned rows bid for the column that gains
    them most at current prices, and raise its price to where they would be as glad of the second best.
    Where columns stay free, those whose price was raised in vain then bid for rows (forward and reverse
    auction, Bertsekas & Castanon 1992), so that a free column costs nothing, as the proof demands.
    No library's sparse solver gives prices; measured on graphs of 8k to 32k rows with tied weights this
    is also 5 to 40 times faster than scipy's.

    Args:
        graph: Must hold an assignment of all rows.
        price: Prices to start from, `[columns]` float64; changed in place to those of the result.
        partner: Assignment to start from, the column of each row or -1, `[rows]` int64; changed in place.
        first: First eps; small where the prices are nearly right already.
        last: Last eps: the largest error of the mean similarity on the graph.
    """
    from saebench.matching import kernels

    pairs = graph.starts, graph.column, graph.weight
    turned = graph.by_column() if graph.rows < graph.columns else None
    owner = np.full(graph.columns, -1, dtype=np.int64)
    taken = np.flatnonzero(partner >= 0)
    owner[partner[taken]] = taken
    eps = max(first, last)
    while True:
        waiting = kernels.unsettled(*pairs, price, partner, owner, eps)
        kernels.bid(*pairs, price, partner, owner, waiting, eps, -np.inf, SPAN)
        if turned is not None:
            profit = graph.profits(price)
            waiting = np.flatnonzero((owner < 0) & (price > 0))
            kernels.bid(*turned, profit, owner, partner, waiting, eps, 0.0, SPAN)
            price[:] = graph.prices(profit)
        if eps <= last:
            return
        eps = max(eps / FACTOR, last)


def left_over(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that a greedy matching on the graph, best pairs first, leaves alone."""
    from saebench.matching import kernels

    row_free = np.ones(graph.rows, dtype=bool)
    column_free = np.ones(graph.columns, dtype=bool)
    order = np.argsort(-graph.weight.astype(np.float32))
    kernels.greedy(order, graph.row, graph.column, row_free, column_free)
    return np.flatnonzero(row_free), np.flatnonzero(column_free)
