"""Where each SAE of a column stands: who is significantly better, who is worse, and the groups of equals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saebench.leaderboard.pareto import cost
from saebench.leaderboard.rows import Score
from saebench.leaderboard.significance import MOST_LETTERED, Pairing, differences, letters
from saebench.results.intervals import SAME


@dataclass(frozen=True)
class Standing:
    """The place of one SAE among those of its column.

    Attributes:
        first: Its place if every SAE that it is not told apart from is worse, from 1.
        last: Its place if all of them are better.
        letters: Groups of SAEs that are not told apart; "a" holds the best. Empty for more than 200 SAEs.
        best: Whether it is the best SAE or not told apart from it.
    """

    first: int
    last: int
    letters: str
    best: bool


def standings(scores: Sequence[Score], level: float, pairing: Pairing | None = None) -> list[Standing]:
    """Where each score of a column stands; the scores are known and of a metric that has a direction.

    Args:
        scores: Scores of SAEs that may be compared.
        level: Family-wise error over all pairs (Holm).
        pairing: Paired tests, where sums are stored.
    """
    if pairing is None:
        apart = apart_unpaired(scores, level)
        few = len(scores) <= MOST_LETTERED
        pairs = {(i, j) for i, j in np.argwhere(np.triu(apart)).tolist()} if few else set()
    else:
        pairs = differences(scores, level, pairing)
        apart = np.zeros((len(scores), len(scores)), dtype=bool)
        for i, j in pairs:
            apart[i, j] = apart[j, i] = True
    costs = np.array([float(cost(score.value, score.better)) for score in scores])
    above = (apart & (costs[None, :] < costs[:, None])).sum(axis=1)
    below = (apart & (costs[None, :] > costs[:, None])).sum(axis=1)
    best = ~apart[np.argmin(costs)] | (costs == costs.min())
    columns = (above + 1, len(scores) - below, letters(scores, pairs), best)
    return [Standing(int(a), int(b), mark, bool(top)) for a, b, mark, top in zip(*columns, strict=True)]


def apart_unpaired(scores: Sequence[Score], level: float) -> NDArray[np.bool_]:
    """Which pairs of scores differ, `[n, n]`: `significance.differences` without pairing, for hundreds of SAEs."""
    from scipy.special import erfc

    values = np.array([score.value for score in scores])
    costs = np.asarray([float(cost(score.value, score.better)) for score in scores])
    errors = np.nan_to_num(np.array([score.stderr for score in scores]), nan=0.0)
    difference = np.abs(costs[:, None] - costs)
    error = np.hypot(errors[:, None], errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(error > 0, erfc(difference / error / np.sqrt(2)), 0.0)
    p[difference <= SAME * np.maximum(np.abs(values[:, None]), np.abs(values))] = 1.0
    return p <= _holm(p[np.triu_indices(len(scores), 1)], level)


def _holm(p: NDArray[np.float64], level: float) -> float:
    """The largest p-value that Holm's step-down procedure rejects, -1 for none."""
    sure = p <= level / len(p)  # rejected in any order, so that few are left to sort
    ordered = np.sort(p[~sure & (p <= level)])
    first = int(sure.sum())
    kept = np.flatnonzero(ordered > level / (len(p) - first - np.arange(len(ordered))))
    count = int(kept[0]) if len(kept) else len(ordered)
    return float(ordered[count - 1]) if count else float(p[sure].max(initial=-1.0))
