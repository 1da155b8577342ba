"""Compiled loops: lists of the largest, the auction's bids, the greedy matching. Imported only when they are run."""

from __future__ import annotations

import heapq

import numpy as np

from saebench.compiled import compiled

RUN = 64
"""Entries of a block that are looked at together."""


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


@compiled
def take(
    block: np.ndarray,
    start: int,
    row_value: np.ndarray,
    row_index: np.ndarray,
    column_value: np.ndarray,
    column_index: np.ndarray,
) -> None:
    """Offer each entry of a block of similarities to the lists of its row and its column.

    Few entries belong in a list, so a run of them is first asked at once whether any does, in a loop without
    branches, which the compiler turns into vector instructions.

    Args:
        block: Similarities `[rows, columns]`.
        start: Number of the block's first row.
        row_value, row_index: The largest of each row of the block, sorted downwards, and their columns, `[rows, kr]`.
        column_value, column_index: The largest of each column so far and their rows, `[columns, kc]`.
    """
    rows, columns = block.shape
    least = column_value[:, -1].copy()
    for r in range(rows):
        bar = row_value[r, -1]
        for first in range(0, columns, RUN):
            run, bars = block[r, first : first + RUN], least[first : first + RUN]
            some = np.uint32(0)
            for c in range(len(run)):
                some |= np.uint32(run[c] > bar) | np.uint32(run[c] > bars[c])
            if some == 0:
                continue
            for c in range(len(run)):
                if run[c] > bar:
                    _insert(row_value[r], row_index[r], run[c], first + c)
                    bar = row_value[r, -1]
                if run[c] > bars[c]:
                    _insert(column_value[first + c], column_index[first + c], run[c], start + r)
                    bars[c] = column_value[first + c, -1]


@compiled
def _insert(value: np.ndarray, index: np.ndarray, new: float, number: int) -> None:
    """Put a value in its place in a list that is sorted downwards; the last one falls out."""
    place = len(value) - 1
    while place > 0 and value[place - 1] < new:
        value[place], index[place] = value[place - 1], index[place - 1]
        place -= 1
    value[place], index[place] = new, number
