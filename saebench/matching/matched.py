"""One matching of two dictionaries, whatever their sizes and whichever way it is solved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from saebench.matching.dictionary import Dictionary, cosines
from saebench.matching.exact import Settings, Solved, solve

DENSE = 3000**2
"""Up to this many pairs the matrix of all pairs is quicker than lists."""


@dataclass(frozen=True)
class Matched:
    """The best one-to-one matching of dictionaries A (n_a rows) and B (n_b rows).

    Attributes:
        partner: Row of B for each row of A, -1 for one that has none, `[n_a]`.
        cosine: Similarity of each row of A to its partner in double precision, NaN without one, `[n_a]`.
        second: Largest similarity of each row of A to any row but its partner, `[n_a]`.
        nearest, nearest_back: Largest similarity of each row of A to any of B, `[n_a]`, and of B to any of A, `[n_b]`.
        value: Mean similarity of the matched pairs.
        gap: By how much a better matching could exceed `value` at most, as a share of it.
        method: `dense` or `sparse`.
        rounds: Times that the sparse problem was solved and priced.
    """

    partner: np.ndarray
    cosine: np.ndarray
    second: np.ndarray
    nearest: np.ndarray
    nearest_back: np.ndarray
    value: float
    gap: float
    method: str
    rounds: int


def matched(a: Dictionary, b: Dictionary, *, signed: bool = False, settings: Settings | None = None) -> Matched:
    """Match two dictionaries exactly, the smaller one wholly.

    Args:
        a, b: Dictionaries of one width.
        signed: Similarity is the cosine; else its absolute value.
        settings: Of the sparse way, which is then taken whatever the size.
    """
    swapped = len(a) > len(b)
    small, large = (b, a) if swapped else (a, b)
    dense = settings is None and len(a) * len(b) <= DENSE
    found = _solved(small, large, signed=signed, dense=dense, settings=settings)
    similarity = cosines(small, large, torch.arange(len(small)), torch.from_numpy(found.partner)).numpy()
    similarity = similarity if signed else np.abs(similarity)
    total = float(similarity.sum())
    partner, cosine = _of_first(found, similarity, len(a), swapped=swapped)
    return Matched(
        partner=partner,
        cosine=cosine,
        second=found.second[swapped],
        nearest=found.nearest[swapped],
        nearest_back=found.nearest[not swapped],
        value=total / len(small),
        gap=0.0 if dense else _share(found.bound - total, total),
        method="dense" if dense else "sparse",
        rounds=found.rounds,
    )


def _solved(small: Dictionary, large: Dictionary, *, signed: bool, dense: bool, settings: Settings | None) -> Solved:
    """A matching of every row of the smaller dictionary."""
    if dense:
        from saebench.matching.dense import solve_dense

        return solve_dense(small, large, signed=signed)
    rows = np.flatnonzero(~small.zero.numpy())
    columns = np.arange(len(large)) if signed else np.flatnonzero(~large.zero.numpy())
    if len(rows) == len(small) and len(columns) == len(large):
        return solve(small, large, signed=signed, settings=settings)
    swapped = len(rows) > len(columns)
    left, right = small.take(torch.from_numpy(rows)), large.take(torch.from_numpy(columns))
    first, other = (right, left) if swapped else (left, right)
    core = solve(first, other, signed=signed, settings=settings) if len(first) else None
    return _with_zeros((len(small), len(large)), (rows, columns), core, swapped=swapped)


def _with_zeros(
    sizes: tuple[int, int], kept: tuple[np.ndarray, np.ndarray], core: Solved | None, *, swapped: bool
) -> Solved:
    """The matching of all rows from that of those that have a direction; the rest is paired in order.

    A zero row adds nothing with any column, so it takes what the others leave. So does a zero column
    where similarities are not negative; where they may be, a row may prefer it, and it is kept.

    Args:
        sizes: Rows and columns of the whole.
        kept: Those that were matched.
        core: Their matching; None where one side had none.
        swapped: The core's rows are the columns.
    """
    rows, columns = kept
    partner = np.full(sizes[0], -1, dtype=np.int64)
    nearest, second = (np.zeros(sizes[0]), np.zeros(sizes[1])), (np.zeros(sizes[0]), np.zeros(sizes[1]))
    if core is not None:
        i, j = (core.partner, np.arange(len(columns))) if swapped else (np.arange(len(rows)), core.partner)
        partner[rows[i]] = columns[j]
        for whole, part in ((nearest, core.nearest), (second, core.second)):
            whole[0][rows], whole[1][columns] = np.nan_to_num(part[swapped]), np.nan_to_num(part[not swapped])
    alone = np.flatnonzero(partner < 0)
    partner[alone] = np.setdiff1d(np.arange(sizes[1]), partner)[: len(alone)]
    if core is None:
        return Solved(partner, 0.0, nearest, second, 0, 0)
    return core._replace(partner=partner, nearest=nearest, second=second)


def _of_first(found: Solved, similarity: np.ndarray, n: int, *, swapped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Partners and similarities by row of A."""
    if not swapped:
        return found.partner, similarity
    partner, cosine = np.full(n, -1, dtype=np.int64), np.full(n, np.nan)
    partner[found.partner] = np.arange(len(similarity))
    cosine[found.partner] = similarity
    return partner, cosine


def _share(excess: float, total: float) -> float:
    """The gap as a share of the value; of a value of 0, as it is."""
    return max(0.0, excess) / (abs(total) or 1.0)
