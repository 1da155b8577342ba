"""The strength of a penalty chosen on a part of the train texts; test texts are never looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from saebench.probes.lasso import fit_l1
from saebench.probes.problems import Problem
from saebench.probes.scores import auroc
from saebench.probes.select import Table, shape_of
from saebench.probes.span import Span
from saebench.probes.sparse import Case, batches, padded
from saebench.probes.wide import Features, fit_wide

LAST_TOKEN_GRID = tuple(float(c) for c in np.logspace(5, -5, 10))
"""C of the sae-probes protocol, in its order."""
WIDE_GRID = (1.0, 10.0, 100.0, 1000.0)
"""C of probes on all features, after the features are scaled to a total variance of one."""


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
    for problem in problems:
        train = x[problem.train]
        scale = _scale(train)
        span = Span(train, scale) if Span.suits(train) else None
        features = span.features if span else Features(train, scale)
        label = torch.from_numpy(problem.train_label)[:, None].double()
        held = torch.from_numpy(held_out(problem.train_label))[:, None]
        best = _best(features, label, held, torch.tensor(grid, dtype=torch.float64))
        probe = fit_wide(features, label, torch.ones_like(label), best, tol=1e-6)
        if span:
            logits.append(span.logits(probe, x[problem.test]))
        else:
            logits.append((x[problem.test] @ (probe.coef.T * scale).numpy())[:, 0] + float(probe.intercept))
    return logits


def _best(features: Features, label: Tensor, held: Tensor, grid: Tensor) -> Tensor:
    """The C of the grid with the lowest validation log-loss, `[1]`; all are solved together."""
    probe = fit_wide(features, label.expand(-1, len(grid)), (~held).expand(-1, len(grid)), grid, tol=1e-4)
    loss = functional.softplus((1 - 2 * label) * features.logits(probe)) * held
    return grid[loss.sum(0).argmin()][None]


def _scale(train: Table) -> float:
    """One over the root of the total variance of the rows; one where they are all the same."""
    rows = shape_of(train)[0]
    if not rows:
        return 1.0
    square = np.square(train.data if isinstance(train, sparse.csr_array) else train, dtype=np.float64).sum() / rows
    variance = float(square - np.square(np.asarray(train.sum(axis=0, dtype=np.float64)) / rows).sum())
    return variance**-0.5 if variance > 1e-12 * square else 1.0


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
