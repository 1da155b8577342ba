"""Scores of a probe on test items, each with the items' influences on it.

The influence of item i is what it adds to a score when it counts a little more: they sum to zero, and the
variance of the score is sum_i influence_i^2 / n^2. With them any smooth statistic can be resampled as a
mean of value + influence_i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Score(NamedTuple):
    """A value and the test items' influences on it, `[n]`; an undefined value is NaN."""

    value: float
    influence: np.ndarray


Scorer = Callable[[np.ndarray, np.ndarray], Score]
"""A function of log-odds `[n]` and labels `[n]` (1 or 0)."""


def accuracy(logits: np.ndarray, label: np.ndarray) -> Score:
    """Share of items on whose side of zero the log-odds lie; zero itself speaks for the negative class."""
    right = ((logits > 0) == (label == 1)).astype(np.float64)
    value = float(right.mean())
    return Score(value, right - value)


def auroc(logits: np.ndarray, label: np.ndarray) -> Score:
    """Chance that a positive item has higher log-odds than a negative one, ties counting half.

    Influences are DeLong's placements (DeLong, DeLong and Clarke-Pearson 1988). Log-odds that differ by rounding
    alone are ties: texts with equal codes must count half on every machine.
    """
    inside = label == 1
    logits = _settled(logits)
    positive, negative = logits[inside], logits[~inside]
    above = _placements(positive, negative)
    below = 1 - _placements(negative, positive)
    value = float(above.mean())
    influence = np.empty(len(label))
    influence[inside] = (above - value) * (len(label) / len(positive))
    influence[~inside] = (below - value) * (len(label) / len(negative))
    return Score(value, influence)


def f1(logits: np.ndarray, label: np.ndarray) -> Score:
    """Harmonic mean of precision and recall of the positive class, 2 TP / (2 TP + FP + FN)."""
    return _f1(logits > 0, label == 1)


def weighted_f1(logits: np.ndarray, label: np.ndarray) -> Score:
    """F1 of both classes, weighted by their share of the items."""
    said, true = logits > 0, label == 1
    share = float(true.mean())
    yes, no = _f1(said, true), _f1(~said, ~true)
    value = share * yes.value + (1 - share) * no.value
    influence = share * yes.influence + (1 - share) * no.influence + (true - share) * (yes.value - no.value)
    return Score(value, influence)


def _settled(logits: np.ndarray) -> np.ndarray:
    """Values rounded to a billionth of the largest."""
    largest = np.abs(logits).max(initial=0.0)
    return np.round(logits / largest, 9) if largest > 0 and np.isfinite(largest) else logits


def _f1(said: np.ndarray, true: np.ndarray) -> Score:
    twice, all_marks = 2.0 * (said & true), said.astype(np.float64) + true
    total = all_marks.sum()
    value = float(twice.sum() / total) if total else float("nan")
    return Score(value, (twice - value * all_marks) * (len(true) / total if total else float("nan")))


def _placements(of: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Share of `among` that each of `of` exceeds, ties counting half, `[of]`."""
    ordered = np.sort(among)
    left, right = np.searchsorted(ordered, of, "left"), np.searchsorted(ordered, of, "right")
    return (left + right) / (2.0 * len(ordered))
