"""Logistic regression with an L1 penalty for many small problems at once, by proximal Newton steps."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench.probes.logistic import DECREMENT, HALVINGS, STEPS, Batch, Probe, prepare

SWEEPS = 12
"""Sweeps of coordinate descent before the signs are taken as found."""


def fit_l1(x: Tensor, label: Tensor, *, mask: Tensor | None = None, c: Tensor | float = 1.0) -> Probe:
    """Logistic regressions with an L1 penalty, all problems at once.

    Minimises C sum_i log(1 + exp(-s_i (w . x_i + b))) + |w|_1 with a free intercept, the objective of
    scikit-learn's LogisticRegression with penalty l1 and solver saga. Each step minimises the second-order
    model of the loss plus the penalty: coordinate descent finds the signs, one linear solve the rest
    (Lee, Sun and Saunders 2014, proximal Newton).

    Args:
        x: Features, `[problems, n, k]`; k up to about a hundred.
        label: 1 for the positive class and 0 for the other, `[problems, n]`.
        mask: Which rows count, `[problems, n]`; all of them by default.
        c: Inverse strength of the penalty, one for all or `[problems]`.

    Returns:
        One probe a problem; NaN where a problem has rows of one class only.
    """
    batch, theta, posed = prepare(x, label, mask, c)
    weight = theta.new_ones(theta.shape[-1])
    weight[-1] = 0.0
    active = posed.clone()
    for _ in range(STEPS):
        if not bool(active.any()):
            break
        part = batch.take(active)
        theta[active], running = _step(part, theta[active], weight)
        active[active.clone()] = running
    theta[~posed] = float("nan")
    return Probe(theta[:, :-1], theta[:, -1])


def _step(batch: Batch, theta: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """One damped proximal Newton step, and which problems need another."""
    logits = batch.logits(theta)
    gradient, hessian = batch.slope(logits)
    hessian.diagonal(dim1=-2, dim2=-1).mul_(1 + 1e-12).add_(1e-300)
    target = _face(theta, gradient, hessian, weight, _descend(theta, gradient, hessian, weight))
    step = target - theta
    norm = (weight * theta.abs()).sum(-1)
    gain = -(gradient * step).sum(-1) - (weight * target.abs()).sum(-1) + norm
    value = batch.loss(logits) + norm
    ahead = batch.logits(step)
    size = theta.new_ones(len(theta))
    for _ in range(HALVINGS):
        after = batch.loss(logits + size[:, None] * ahead)
        after = after + (weight * (theta + size[:, None] * step).abs()).sum(-1)
        short = ~(after <= value - 1e-4 * size * gain + 1e-13 * value.abs())
        if not bool(short.any()):
            break
        size = torch.where(short, size / 2, size)
    moved = torch.where((size == 1)[:, None], target, theta + size[:, None] * step)
    return moved, gain > DECREMENT * (1 + value)


def _descend(theta: Tensor, gradient: Tensor, hessian: Tensor, weight: Tensor) -> Tensor:
    """Coordinate descent on the second-order model, `[problems, k + 1]`; the intercept is the last."""
    target = theta.clone()
    slope = gradient.clone()
    order = [theta.shape[-1] - 1, *range(theta.shape[-1] - 1)]
    for _ in range(SWEEPS):
        for j in order:
            curve = hessian[:, j, j]
            free = target[:, j] - slope[:, j] / curve
            new = free.sign() * (free.abs() - weight[j] / curve).clamp_min(0)
            slope += hessian[:, j] * (new - target[:, j])[:, None]
            target[:, j] = new
    return target


def _face(theta: Tensor, gradient: Tensor, hessian: Tensor, weight: Tensor, found: Tensor) -> Tensor:
    """The model's minimum among vectors with the signs found, where it has those signs and is optimal."""
    sign = found.sign() * weight
    inside = (sign != 0) | (weight == 0)
    pairs = inside[:, :, None] & inside[:, None, :]
    system = hessian.where(pairs, torch.diag_embed(torch.ones_like(theta)))
    start = theta.where(inside, torch.zeros_like(theta))
    moved = start - theta
    slope = gradient + (hessian @ moved[..., None])[..., 0] + sign
    scale = system.diagonal(dim1=-2, dim2=-1).rsqrt()
    scaled = system * scale[:, :, None] * scale[:, None, :]
    factor, failed = torch.linalg.cholesky_ex(scaled)
    right = (-slope * scale).where(inside, torch.zeros_like(theta))
    exact = start + torch.cholesky_solve(right[..., None], factor)[..., 0] * scale
    rest = (gradient + (hessian @ (exact - theta)[..., None])[..., 0]).abs()
    agrees = ((exact.sign() == found.sign()) | (weight == 0)).all(-1)
    optimal = (inside | (rest <= 1 + 1e-9)).all(-1)
    good = agrees & optimal & (failed == 0) & exact.isfinite().all(-1)
    return torch.where(good[:, None], exact, found)
