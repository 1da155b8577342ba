"""The strength of a penalty chosen on a part of the train texts; test texts are never looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional

from saebench.probes.lasso import fit_l1
from saebench.probes.logistic import Probe
from saebench.probes.newton import Dual, fit_dual
from saebench.probes.problems import Problem, by_task
from saebench.probes.scores import auroc
from saebench.probes.select import Table, shape_of
from saebench.probes.span import Rows, Span
from saebench.probes.sparse import Case, batches, padded
from saebench.probes.wide import Features, fit_wide

LAST_TOKEN_GRID = tuple(float(c) for c in np.logspace(5, -5, 10))
"""C of the sae-probes protocol, in its order."""
WIDE_GRID = (1.0, 10.0, 100.0, 1000.0)
"""C of probes on all features, after the features are scaled to a total variance of one."""

TRIED, SOLVED = 1e-5, 1e-8
"""Relative gradient norm at which a probe is good enough to choose C by, and to score."""


def held_out(label: np.ndarray, most: int | None = None) -> np.ndarray:
    """Which train texts are for validation, `[n]` bool: the last fifth of each class, at most `most / 2` of it."""
    held = np.zeros(len(label), dtype=bool)
    for c in (0, 1):
        members = np.flatnonzero(label == c)
        count = len(members) // 5 if most is None else min(len(members) // 5, most // 2)
        held[members[len(members) - count :]] = True
    return held


def last_token_logits(cases: Sequence[Case], k: int, grid: Sequence[float] = LAST_TOKEN_GRID) -> list[np.ndarray]:
    """Log-odds of the test texts under L1 probes of k features, C by AUROC on a validation part of train.

    The validation part is the last fifth of each class (at most 100 texts in all); the C with the highest AUROC
    there, the first of the grid among equals, is fitted again on all of train. After the sae-probes package
    (Kantamneni et al. 2025).
    """
    held = [held_out(case.label, 100) for case in cases]
    fitted = [Case(c.train[~h, :k], c.label[~h], c.train[h, :k], c.chosen) for c, h in zip(cases, held, strict=True)]
    tried = [_l1_logits(fitted, [c] * len(cases)) for c in grid]
    best = []
    for i, (case, h) in enumerate(zip(cases, held, strict=True)):
        marks = case.label[h]
        usable = 0 < marks.sum() < len(marks)
        areas = [auroc(z[i], marks).value if usable and np.isfinite(z[i]).all() else 0.0 for z in tried]
        best.append(grid[int(np.argmax(areas))])
    return _l1_logits([Case(c.train[:, :k], c.label, c.test[:, :k], c.chosen) for c in cases], best)


def full_logits(x: Table, problems: Sequence[Problem], grid: Sequence[float] = WIDE_GRID) -> list[np.ndarray]:
    """Log-odds of the test texts of each problem under an L2 probe of all features.

    Features are divided by one number for the problem, the root of their total variance on its train texts, so
    that the code's scale does not matter. C is the one of the grid with the lowest log-loss on the last fifth of
    each class of train, and is fitted again on all of train.
    """
    logits = []
    for rows, group in by_task(problems):
        task = Rows(x[rows], np.unique(np.concatenate([p.train for p in group])))
        logits += [_full(task, problem, tuple(grid)) for problem in group]
    return logits


def _full(task: Rows, problem: Problem, grid: Sequence[float]) -> np.ndarray:
    """Log-odds of a problem's test texts; NaN where its train texts are of one class, or not finite."""
    label, train = problem.train_label, task.x[problem.train]
    values = train.data if isinstance(train, sparse.csr_array) else train
    if not (0 < label.sum() < len(label) and np.isfinite(values).all()):
        return np.full(len(problem.test), np.nan)
    if task.suits(len(label)):
        return _in_span(task, problem, grid)
    return _in_features(train, label, task.x[problem.test], grid)


def _in_span(task: Rows, problem: Problem, grid: Sequence[float]) -> np.ndarray:
    """Log-odds by exact steps, from the smallest C to the largest, and from the best one's probe to all of train."""
    held = held_out(problem.train_label)
    order = np.argsort(held, kind="stable")
    span, label = Span(task, problem.train[order]), problem.train_label[order]
    fit = len(label) - int(held.sum())
    part, rest = span.products.part(fit), np.zeros(len(label) - fit)
    now, tried = None, {}
    for c in sorted(grid):
        now = fit_dual(part, label[:fit], c, now, tol=TRIED)
        a = np.concatenate([now.a, rest])
        tried[c] = Dual(a, now.intercept, span.products.times(a))
    best = min(grid, key=lambda c: _loss(tried[c].along[fit:] + tried[c].intercept, label[fit:]))
    return span.logits(fit_dual(span.products, label, best, tried[best], tol=SOLVED), problem.test)


def _in_features(train: Table, label: np.ndarray, test: Table, grid: Sequence[float]) -> np.ndarray:
    """Log-odds by conjugate gradients on the features themselves, for many texts of many features."""
    scale = _scale(train)
    features = Features(train, scale)
    held, marks = torch.from_numpy(held_out(label))[:, None], torch.from_numpy(label)[:, None].double()
    c = torch.tensor(grid, dtype=torch.float64)
    tried = fit_wide(features, marks.expand(-1, len(c)), (~held).expand(-1, len(c)), c, tol=1e-4)
    best = int(((functional.softplus((1 - 2 * marks) * features.logits(tried))) * held).sum(0).argmin())
    start = Probe(tried.coef[best : best + 1], tried.intercept[best : best + 1])
    probe = fit_wide(features, marks, torch.ones_like(marks), c[best : best + 1], start=start, tol=1e-6)
    return (test @ (probe.coef.T * scale).numpy())[:, 0] + float(probe.intercept)


def _loss(logits: np.ndarray, label: np.ndarray) -> float:
    """Sum of the log-losses."""
    return float(np.logaddexp(0.0, np.where(label == 1, -logits, logits)).sum())


def _scale(train: Table) -> float:
    """One over the root of the total variance of the rows; one where they are all the same."""
    square = np.square(train.data if isinstance(train, sparse.csr_array) else train, dtype=np.float64).sum()
    rows = shape_of(train)[0]
    variance = float(square / rows - np.square(np.asarray(train.sum(axis=0, dtype=np.float64)) / rows).sum())
    return variance**-0.5 if variance > 1e-12 * square / rows else 1.0


def _l1_logits(cases: Sequence[Case], c: Sequence[float]) -> list[np.ndarray]:
    """Log-odds of the cases' test texts under L1 probes with a C of their own."""
    logits: list[np.ndarray] = [np.empty(0)] * len(cases)
    width = cases[0].train.shape[1] if cases else 0
    for group in batches([len(case.label) for case in cases], width):
        x, label, mask = padded([cases[i].train for i in group], [cases[i].label for i in group])
        probe = fit_l1(x, label, mask=mask, c=torch.tensor([c[i] for i in group], dtype=torch.float64))
        for i, w, b in zip(group, probe.coef.numpy(), probe.intercept.numpy(), strict=True):
            logits[i] = cases[i].test @ w + b
    return logits
