"""Which SAEs of a column can be told apart: pairwise tests, Holm's correction, and groups of equals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

from saebench.leaderboard.pareto import cost
from saebench.leaderboard.rows import Score
from saebench.results.intervals import SAME

MOST_LETTERED = 200

Pairing = Callable[[Score, Score], float | None]
"""Gives the p-value of the paired difference of two scores, or None where no sums are stored."""


def p_value(a: Score, b: Score, pairing: Pairing | None = None) -> float:
    """Two-sided p-value that two scores are equally good.

    Paired on the same units where their sums are stored. Otherwise by the normal approximation with the
    two SAEs taken as independent, which is too cautious when they ran on the same units; a score
    without a standard error is then exact.
    """
    difference = float(cost(a.value, a.better) - cost(b.value, b.better))
    if abs(difference) <= SAME * max(abs(a.value), abs(b.value)):
        return 1.0
    paired = pairing(a, b) if pairing is not None else None
    if paired is not None:
        return paired
    error = math.hypot(*(s.stderr if math.isfinite(s.stderr) else 0.0 for s in (a, b)))
    return math.erfc(abs(difference) / error / math.sqrt(2)) if error > 0 else 0.0


def differences(scores: Sequence[Score], level: float = 0.05, pairing: Pairing | None = None) -> set[tuple[int, int]]:
    """Pairs (i < j) of scores that differ, at a family-wise error of `level` over all pairs (Holm)."""
    pairs = list(combinations(range(len(scores)), 2))
    tests = sorted((p_value(scores[i], scores[j], pairing), (i, j)) for i, j in pairs)
    apart: set[tuple[int, int]] = set()
    for done, (p, pair) in enumerate(tests):
        if p > level / (len(tests) - done):
            break
        apart.add(pair)
    return apart


def best_group(scores: Sequence[Score], apart: set[tuple[int, int]]) -> set[int]:
    """The best score and every score that does not differ from it."""
    if not scores:
        return set()
    costs = [float(cost(score.value, score.better)) for score in scores]
    best = min(range(len(scores)), key=lambda i: costs[i])
    equals = {i for i in range(len(scores)) if (min(i, best), max(i, best)) not in apart}
    return equals | {i for i in range(len(scores)) if costs[i] == costs[best]}


def letters(scores: Sequence[Score], apart: set[tuple[int, int]]) -> list[str]:
    """Letters such that two scores share one exactly when they do not differ; "a" holds the best.

    Empty for more than `MOST_LETTERED` scores, where letters no longer help.
    """
    if len(scores) > MOST_LETTERED:
        return [""] * len(scores)
    everyone = set(range(len(scores)))
    equal = {i: {j for j in everyone if j != i and (min(i, j), max(i, j)) not in apart} for i in everyone}
    costs = [float(cost(score.value, score.better)) for score in scores]
    groups = sorted(_cliques(equal), key=lambda group: sorted(costs[i] for i in group))
    return ["".join(_letter(rank) for rank, group in enumerate(groups) if i in group) for i in range(len(scores))]


def _letter(rank: int) -> str:
    """a to z, then (27), (28) ..."""
    return chr(ord("a") + rank) if rank < 26 else f"({rank + 1})"


def _cliques(neighbours: dict[int, set[int]]) -> list[set[int]]:
    """Maximal sets of mutual neighbours (Bron and Kerbosch 1973, with a pivot)."""
    found: list[set[int]] = []

    def extend(chosen: set[int], candidates: set[int], done: set[int]) -> None:
        if not candidates and not done:
            found.append(chosen)
            return
        pivot = max(sorted(candidates | done), key=lambda i: len(neighbours[i] & candidates))
        for i in sorted(candidates - neighbours[pivot]):
            extend(chosen | {i}, candidates & neighbours[i], done & neighbours[i])
            candidates = candidates - {i}
            done = done | {i}

    if neighbours:
        extend(set(), set(neighbours), set())
    return found
