"""Compiled loops: the auction's bids and the greedy matching. Imported only when a sparse problem is solved."""

from __future__ import annotations

import heapq

import numpy as np

from saebench.compiled import compiled


@compiled
def _lowest(heap: list, price: np.ndarray) -> tuple[float, int]:
    """Take the column of the lowest price from a heap that may hold outdated prices."""
    while True:
        known, j = heapq.heappop(heap)
        if known >= price[j]:
            return known, j
        heapq.heappush(heap, (price[j], j))


@compiled
def bid(
    starts: np.ndarray,
    column: np.ndarray,
    weight: np.ndarray,
    price: np.ndarray,
    partner: np.ndarray,
    owner: np.ndarray,
    eps: float,
    span: float,
) -> int:
    """One phase of the auction: rows bid until each has a column that is within eps of its best.

    Bidders 0 to n-1 are rows; n to m-1 stand for nobody: they gain nothing from any column, take the
    cheapest one, and so keep the prices of columns that stay free as low as any.
    Pairs that are still within eps are kept from the phase before.

    Args:
        starts, column, weight: Pairs by row.
        price: `[m]`, raised in place.
        partner: Column of each bidder or -1, `[m]`, changed in place.
        owner: Bidder of each column or -1, `[m]`, changed in place.
        eps: By how much a bid exceeds what the second best choice would justify.
        span: What a row with one choice only adds.

    Returns:
        Number of bids.
    """
    n, m = len(starts) - 1, len(price)
    floor = price.min()
    stack = np.empty(m, np.int64)
    top = 0
    for i in range(m - 1, -1, -1):
        j = partner[i]
        if j >= 0:
            best = -floor
            gain = -price[j]
            if i < n:
                best = -np.inf
                for e in range(starts[i], starts[i + 1]):
                    value = weight[e] - price[column[e]]
                    best = max(best, value)
                    if column[e] == j:
                        gain = value
            if gain >= best - eps:
                continue
            owner[j] = -1
            partner[i] = -1
        stack[top] = i
        top += 1
    heap = [(price[j], j) for j in range(m if n < m else 1)]
    heapq.heapify(heap)
    bids = 0
    while top > 0:
        top -= 1
        i = stack[top]
        j = -1
        if i < n:
            best, second = -np.inf, -np.inf
            for e in range(starts[i], starts[i + 1]):
                value = weight[e] - price[column[e]]
                if value > best:
                    second = best
                    best = value
                    j = column[e]
                elif value > second:
                    second = value
            if second == -np.inf:
                second = best - span
            price[j] += best - second + eps
        else:
            _, j = _lowest(heap, price)
            next_price, k = _lowest(heap, price)
            price[j] = next_price + eps
            heapq.heappush(heap, (next_price, k))
            heapq.heappush(heap, (price[j], j))
        loser = owner[j]
        owner[j] = i
        partner[i] = j
        if loser >= 0:
            partner[loser] = -1
            stack[top] = loser
            top += 1
        bids += 1
    return bids


@compiled
def greedy(
    order: np.ndarray, row: np.ndarray, column: np.ndarray, row_free: np.ndarray, column_free: np.ndarray
) -> None:
    """Take pairs in the order given wherever both sides are free; marks the taken ones in place."""
    for e in order:
        if row_free[row[e]] and column_free[column[e]]:
            row_free[row[e]] = False
            column_free[column[e]] = False
