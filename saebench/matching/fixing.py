"""Pairs that belong to an optimal matching by proof, found before anything is solved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.matching.candidates import Candidates


def safe_pairs(found: Candidates, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that some optimal matching holds.

    A pair (i, j) is fixed where s_ij >= r + c - w, with r the largest other similarity of row i and c that of
    column j among what is not fixed yet, and w the least similarity of any pair; and so on with the rest.

    Proof. Take an optimal matching without (i, j). It pairs i with some k and, unless j is free, some l
    with j. Exchange them for (i, j) and (l, k): the sum changes by s_ij + s_lk - s_ik - s_lj >= s_ij + w -
    r - c >= 0; with j free by s_ij - s_ik >= s_ij - r >= c - w >= 0. So an optimal matching with (i, j) exists.
    (Mutual nearest neighbours alone are not safe: [[.9, .89], [.89, .1]] has the optimum .89 + .89.)

    Args:
        found: Lists of the largest similarities; where a list is used up its last value bounds the rest.
        margin: Rounding of the listed values; a pair must be better by more.

    Returns:
        Rows and columns of the fixed pairs, each `[fixed]`.
    """
    rows = _Lists(found.row_value, found.row_index, found.row_bound, found.least)
    columns = _Lists(found.column_value, found.column_index, found.column_bound, found.least)
    row_free = np.ones(len(rows.value), dtype=bool)
    column_free = np.ones(len(columns.value), dtype=bool)
    fixed: list[tuple[np.ndarray, np.ndarray]] = []
    while True:
        best, value, other = rows.two_best(column_free)
        best_row, _, other_column = columns.two_best(row_free)
        i = np.flatnonzero(row_free & (best >= 0))
        j = best[i]
        mutual = best_row[j] == i
        i, j = i[mutual], j[mutual]
        safe = value[i] >= other[i] + other_column[j] - found.least + margin
        if not safe.any():
            break
        i, j = i[safe], j[safe]
        row_free[i], column_free[j] = False, False
        fixed.append((i, j))
    if not fixed:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate([i for i, _ in fixed]), np.concatenate([j for _, j in fixed]).astype(np.int64)


class _Lists:
    """Sorted lists with a bound for what they do not hold."""

    def __init__(self, value: Tensor, index: Tensor, bound: Tensor, least: float) -> None:
        self.value, self.index = value.cpu().numpy(), index.cpu().numpy()
        self.bound = bound.clamp(min=least).cpu().numpy()

    def two_best(self, free: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best free entry of each list, -1 if none is, its value, and a bound of all others: each `[n]`."""
        alive = free[self.index] & (self.index >= 0)
        place = np.arange(len(alive))
        first = alive.argmax(1)
        some = alive[place, first]
        alive[place, first] = False
        second = alive.argmax(1)
        more = alive[place, second]
        best = np.where(some, self.index[place, first], -1)
        other = np.where(more, self.value[place, second], self.bound)
        return best, self.value[place, first], other
