"""Logistic regression with an L2 penalty for many small problems at once, by damped Newton steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

STEPS = 200
"""Most Newton steps; well-posed problems need about ten."""
HALVINGS = 40
DECREMENT = 1e-14
"""Squared Newton decrement, relative to 1 + objective, at which the full step taken is the last."""


class Probe(NamedTuple):
    """Linear probes, one a problem; a problem without both classes has NaN everywhere.

    Attributes:
        coef: Weights, `[problems, k]` float64.
        intercept: `[problems]` float64.
    """

    coef: Tensor
    intercept: Tensor

    def logits(self, x: Tensor) -> Tensor:
        """Log-odds of the positive class, `[problems, n]`, for features `[problems, n, k]`."""
        return (x @ self.coef[..., None])[..., 0] + self.intercept[:, None]


class Batch(NamedTuple):
    """Problems of one size, with a column of ones behind the features.

    Attributes:
        x: `[problems, n, k + 1]` float64.
        sign: +1 for the positive class, -1 for the other, `[problems, n]`.
        mask: 1 for rows that count, 0 for padding, times the problem's C, `[problems, n]`.
    """

    x: Tensor
    sign: Tensor
    mask: Tensor

    def take(self, rows: Tensor) -> Batch:
        """Some of the problems; all of them without a copy."""
        return self if bool(rows.all()) else Batch(self.x[rows], self.sign[rows], self.mask[rows])

    def logits(self, theta: Tensor) -> Tensor:
        """Log-odds `[problems, n]` under weights and intercept `[problems, k + 1]`."""
        return (self.x @ theta[..., None])[..., 0]

    def loss(self, logits: Tensor) -> Tensor:
        """C times the sum of the log-losses, `[problems]`."""
        return (self.mask * functional.softplus(-self.sign * logits)).sum(-1)

    def slope(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient `[problems, k + 1]` and Hessian `[problems, k + 1, k + 1]` of the loss."""
        wrong = torch.sigmoid(-self.sign * logits)
        gradient = ((-self.sign * self.mask * wrong)[:, None] @ self.x)[:, 0]
        curve = self.mask * wrong * (1 - wrong)
        return gradient, (self.x * curve[..., None]).mT @ self.x


def prepare(x: Tensor, label: Tensor, mask: Tensor | None, c: Tensor | float) -> tuple[Batch, Tensor, Tensor]:
    """The batch, the start (log-odds of the labels, zero weights) and which problems have both classes."""
    x = x.double()
    label = label.to(x.device).double()
    mask = torch.ones_like(label) if mask is None else mask.to(x.device).double()
    positive, rows = (mask * label).sum(-1), mask.sum(-1)
    posed = (positive > 0) & (positive < rows)
    weight = torch.as_tensor(c, dtype=torch.float64, device=x.device).expand(len(x))
    start = x.new_zeros(len(x), x.shape[-1] + 1)
    start[:, -1] = (positive / (rows - positive)).log().where(posed, 0.0 * rows)
    x = torch.cat([x, x.new_ones(*x.shape[:-1], 1)], dim=-1)
    return Batch(x, 2 * label - 1, mask * weight[:, None]), start, posed


def fit(x: Tensor, label: Tensor, *, mask: Tensor | None = None, c: Tensor | float = 1.0) -> Probe:
    """Logistic regressions with an L2 penalty, all problems at once.

    Minimises C sum_i log(1 + exp(-s_i (w . x_i + b))) + |w|^2 / 2 with s_i = +-1 and a free intercept, the
    objective of scikit-learn's LogisticRegression, by damped Newton steps in float64 to machine precision.

    Args:
        x: Features, `[problems, n, k]`; k up to a few hundred. Constant and equal columns are allowed.
        label: 1 for the positive class and 0 for the other, `[problems, n]`.
        mask: Which rows count, `[problems, n]`; all of them by default.
        c: Inverse strength of the penalty, one for all or `[problems]`.

    Returns:
        One probe a problem; NaN where a problem has rows of one class only.
    """
    return descend(*prepare(x, label, mask, c), _step)


def descend(batch: Batch, theta: Tensor, posed: Tensor, step: Callable[..., tuple[Tensor, Tensor]]) -> Probe:
    """Take steps on all problems that still need one, and give the probes.

    Args:
        step: From problems, their coefficients and which of those are penalised (all but the intercept) to new
            coefficients and which problems need another step.
    """
    penalised = theta.new_ones(theta.shape[-1])
    penalised[-1] = 0.0
    active = posed.clone()
    for _ in range(STEPS):
        if not bool(active.any()):
            break
        part = batch.take(active)
        theta[active], running = step(part, theta[active], penalised)
        active[active.clone()] = running
    theta[~posed] = float("nan")
    return Probe(theta[:, :-1], theta[:, -1])


def _step(batch: Batch, theta: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """One damped Newton step, and which problems need another."""
    logits = batch.logits(theta)
    gradient, hessian = batch.slope(logits)
    gradient = gradient + ridge * theta
    hessian = hessian + ridge.diag()
    hessian.diagonal(dim1=-2, dim2=-1).mul_(1 + 1e-14).add_(1e-300)
    step = -_solve(hessian, gradient)
    decrement = -(gradient * step).sum(-1)
    penalty = (theta * ridge * theta).sum(-1) / 2
    value = batch.loss(logits) + penalty
    ahead = batch.logits(step)
    size = theta.new_ones(len(theta))
    for _ in range(HALVINGS):
        moved = theta + size[:, None] * step
        after = batch.loss(logits + size[:, None] * ahead) + (moved * ridge * moved).sum(-1) / 2
        short = ~(after <= value - 1e-4 * size * decrement + 1e-13 * value.abs())
        if not bool(short.any()):
            break
        size = torch.where(short, size / 2, size)
    return theta + size[:, None] * step, decrement > DECREMENT * (1 + value)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution `[problems, k]` of symmetric positive systems, after scaling their diagonals to one."""
    scale = matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
    scaled = matrix * scale[:, :, None] * scale[:, None, :]
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if bool(failed.any()):
        scaled = scaled + 1e-10 * torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device)
        factor = torch.linalg.cholesky(scaled)
    return torch.cholesky_solve((right * scale)[..., None], factor)[..., 0] * scale
