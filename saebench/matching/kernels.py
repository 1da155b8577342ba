"""Compiled loops: lists of the largest, the auction's bids, the greedy matching. Imported only when they are run."""

from __future__ import annotations

import numpy as np

from saebench.compiled import compiled

RUN = 64
"""Entries of a block that are looked at together."""


@compiled
def unsettled(
    starts: np.ndarray,
    column: np.ndarray,
    weight: np.ndarray,
    price: np.ndarray,
    partner: np.ndarray,
    owner: np.ndarray,
    eps: float,
) -> np.ndarray:
    """Rows without a column that is within eps of their best at these prices; the others keep theirs.

    Args:
        starts, column, weight: Pairs by row.
        price: `[columns]`.
        partner: Column of each row or -1, `[rows]`, changed in place.
        owner: Row of each column or -1, `[columns]`, changed in place.
        eps: What a row may lose by its column.
    """
    waiting = np.empty(len(partner), np.int64)
    count = 0
    for i in range(len(partner)):
        j = partner[i]
        if j >= 0:
            best, gain = -np.inf, -np.inf
            for e in range(starts[i], starts[i + 1]):
                value = weight[e] - price[column[e]]
                best = max(best, value)
                if column[e] == j:
                    gain = value
            if gain >= best - eps:
                continue
            owner[j] = -1
            partner[i] = -1
        waiting[count] = i
        count += 1
    return waiting[:count]


@compiled
def bid(
    starts: np.ndarray,
    column: np.ndarray,
    weight: np.ndarray,
    price: np.ndarray,
    partner: np.ndarray,
    owner: np.ndarray,
    waiting: np.ndarray,
    eps: float,
    alone: float,
    span: float,
) -> None:
    """Rows bid for columns until each has one that is within eps of its best, or is better off alone.

    Columns may as well bid for rows: then what is called row here is a column, and a price is a row's profit.

    Args:
        starts, column, weight: Pairs by row.
        price: `[columns]`, raised in place.
        partner: Column of each row or -1, `[rows]`, changed in place.
        owner: Row of each column or -1, `[columns]`, changed in place.
        waiting: Rows that have no column and bid first.
        eps: By how much a bid exceeds what the second best choice would justify.
        alone: What a row gains without a column; minus infinity where it must have one.
        span: What a row with one choice only adds.
    """
    stack = waiting[::-1].copy()
    top = len(stack)
    while top > 0:
        top -= 1
        i = stack[top]
        best, second, j = alone, -np.inf, -1
        for e in range(starts[i], starts[i + 1]):
            value = weight[e] - price[column[e]]
            if value > best:
                second = best
                best = value
                j = column[e]
            elif value > second:
                second = value
        if j < 0:
            continue
        if second == -np.inf:
            second = best - span
        price[j] += best - second + eps
        loser = owner[j]
        owner[j] = i
        partner[i] = j
        if loser >= 0:
            partner[loser] = -1
            stack[top] = loser
            top += 1


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
