"""Scores of many problems as sums over test items: overall, by task and by class, for several probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from saebench.probes.problems import Problem
from saebench.probes.scores import Score, Scorer

MOST_ITEMS = 128
"""Most rows that are kept; with more items each row is the sum of every so-manieth item."""


class Sliced(NamedTuple):
    """Sums whose ratio psi / n is the score of each slice.

    Attributes:
        psi: Sum over a row's items of value + influence, `[rows, slices]` float64.
        n: Items of the row that take part in the slice, `[rows, slices]`.
        names: `k=1`, then `k=1/TASK`, then `k=1/TASK=CLASS`; a task of one problem has no slice of its own class.
    """

    psi: np.ndarray
    n: np.ndarray
    names: tuple[str, ...]


class Group(NamedTuple):
    """A slice: the problems it averages over and the weight of each."""

    name: str
    problems: list[int]
    weight: list[float]


def scored(problems: Sequence[Problem], logits: Sequence[np.ndarray], scorer: Scorer) -> list[Score]:
    """The score of each problem; NaN where it lacks a class to fit on or to score on."""
    return [
        scorer(z, p.test_label) if p.posed else Score(float("nan"), np.full(len(p.test), np.nan))
        for p, z in zip(problems, logits, strict=True)
    ]


def sliced(problems: Sequence[Problem], scores: Mapping[str, Sequence[Score]], most: int = MOST_ITEMS) -> Sliced:
    """Averages over the classes of a task and over tasks, with the influence of each test text on them.

    A text counts once in a slice, whatever the number of problems that test on it. An average leaves out the
    problems without a score; a slice of such problems only has n = 0, so that its value is NaN.

    Args:
        problems: The problems.
        scores: For each probe (`k=1`) the score of each problem.
        most: Most rows.
    """
    items = np.unique(np.concatenate([p.test for p in problems]))
    rows = min(most, len(items))
    places = [np.searchsorted(items, p.test) for p in problems]
    folded = {
        probe: [_fold(place, score.influence, rows) for place, score in zip(places, part, strict=True)]
        for probe, part in scores.items()
    }
    columns = []
    names: list[str] = []
    takes_part: dict[tuple[int, ...], np.ndarray] = {}
    for level in range(3):
        for probe, part in scores.items():
            for group in _groups(problems, part)[level]:
                names.append(probe + group.name)
                key = tuple(group.problems)
                if key not in takes_part:
                    takes_part[key] = _counts([places[i] for i in key], len(items), rows)
                columns.append(_column(group, part, folded[probe], takes_part[key]))
    return Sliced(np.stack([c[0] for c in columns], 1), np.stack([c[1] for c in columns], 1), tuple(names))


def _column(
    group: Group, scores: Sequence[Score], folded: Sequence[np.ndarray], n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """psi and n of one slice, `[rows]` each."""
    if not group.problems:
        return np.zeros_like(n), np.zeros_like(n)
    value = sum(w * scores[i].value for i, w in zip(group.problems, group.weight, strict=True))
    psi = value * n
    for i, w in zip(group.problems, group.weight, strict=True):
        psi = psi + folded[i] * (w * n.sum() / len(scores[i].influence))
    return psi, n


def _groups(problems: Sequence[Problem], scores: Sequence[Score]) -> tuple[list[Group], list[Group], list[Group]]:
    """Slices: the overall one, one a task, one a class; all without the problems that have no score."""
    tasks: dict[str, list[int]] = {}
    for i, problem in enumerate(problems):
        tasks.setdefault(problem.task, []).append(i)
    kept = {task: [i for i in members if np.isfinite(scores[i].value)] for task, members in tasks.items()}
    share = [(i, 1 / len(m) / sum(map(bool, kept.values()))) for m in kept.values() for i in m]
    overall = Group("", [i for i, _ in share], [w for _, w in share])
    by_task = [Group(f"/{task}", m, [1 / len(m)] * len(m)) for task, m in kept.items()]
    by_class = [
        Group(f"/{p.task}={p.positive}", [i] if np.isfinite(scores[i].value) else [], [1.0])
        for i, p in enumerate(problems)
        if not p.only
    ]
    return [overall], by_task, by_class


def _counts(places: Sequence[np.ndarray], items: int, rows: int) -> np.ndarray:
    """Distinct items among several lists of them, by row, `[rows]`."""
    inside = np.zeros(items)
    for place in places:
        inside[place] = 1.0
    return _fold(np.arange(items), inside, rows)


def _fold(place: np.ndarray, value: np.ndarray, rows: int) -> np.ndarray:
    """Sum of the values of each row's items, `[rows]`; item i goes to row i modulo the number of rows."""
    return np.bincount(place % max(1, rows), weights=value, minlength=rows)
