"""k-sparse probes of every one-vs-rest problem: select on train, fit on train, logits on test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench.probes.logistic import fit
from saebench.probes.problems import Problem, by_task
from saebench.probes.select import Table, columns, mean_differences, top

NUMBERS = 1 << 25
"""Most numbers in one padded batch of problems."""


class Case(NamedTuple):
    """One problem's few features: `[n_train, k]`, `[n_train]`, `[n_test, k]`, and which features they are, `[k]`."""

    train: np.ndarray
    label: np.ndarray
    test: np.ndarray
    chosen: np.ndarray


def select_cases(x: Table, problems: Sequence[Problem], k: int, *, normalised: bool = False) -> list[Case]:
    """The k features of every problem with the largest |mean_pos - mean_neg| on train, best first.

    Args:
        x: Features of all texts, `[texts, features]`.
        problems: With rows of `x`.
        k: Number of features.
        normalised: Rank as the sae-probes protocol does.
    """
    cases = []
    for rows, group in by_task(problems):
        part = x[rows]
        chosen = top(mean_differences(part, group, normalised=normalised), k)
        dense, place = columns(part, chosen)
        for problem, at, which in zip(group, place, chosen, strict=True):
            train, test = dense[problem.train][:, at], dense[problem.test][:, at]
            cases.append(Case(train, problem.train_label, test, which))
    return cases


def standardised(case: Case) -> Case:
    """The case with each feature divided by its standard deviation on train (by one where it is constant).

    The intercept is free, so that this is full standardisation: centring would change no prediction.
    """
    if not len(case.train):
        return case
    spread = case.train.std(axis=0)
    scale = np.where(spread > 1e-7 * np.abs(case.train).max(axis=0), spread, 1.0)
    return Case(case.train / scale, case.label, case.test / scale, case.chosen)


def sparse_logits(cases: Sequence[Case], k: int) -> list[np.ndarray]:
    """Log-odds of the test texts of each problem under a probe of its first k features, `[n_test]` each.

    The probe is an L2-regularised logistic regression with C = 1.
    """
    logits: list[np.ndarray] = [np.empty(0)] * len(cases)
    for group in batches([len(c.label) for c in cases], k):
        x, label, mask = padded([cases[i].train[:, :k] for i in group], [cases[i].label for i in group])
        coef, intercept = (part.numpy() for part in fit(x, label, mask=mask))
        for i, w, b in zip(group, coef, intercept, strict=True):
            logits[i] = cases[i].test[:, :k] @ w + b
    return logits


def batches(rows: Sequence[int], width: int) -> Iterator[list[int]]:
    """Problems of similar size together, so many that their padded features fit in `NUMBERS` numbers."""
    group: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: -rows[i]):
        if group and (len(group) + 1) * rows[group[0]] * (width + 1) > NUMBERS:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def padded(x: Sequence[np.ndarray], label: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    """Features `[problems, n, k]`, labels and mask `[problems, n]` of problems of several sizes."""
    n = max(len(part) for part in label)
    features = torch.zeros(len(x), n, x[0].shape[1], dtype=torch.float64)
    labels, mask = torch.zeros(2, len(x), n, dtype=torch.float64)
    for i, (rows, marks) in enumerate(zip(x, label, strict=True)):
        features[i, : len(rows)] = torch.from_numpy(rows)
        labels[i, : len(rows)] = torch.from_numpy(marks)
        mask[i, : len(rows)] = 1.0
    return features, labels, mask
