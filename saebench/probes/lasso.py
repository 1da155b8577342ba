"""Logistic regression with an L1 penalty for many small problems at once, by proximal Newton steps."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench.probes.logistic import DECREMENT, HALVINGS, Batch, Probe, descend, prepare

SWEEPS = 3
"""Sweeps of coordinate descent before the search over signs."""
ROUNDS = 4
"""Most rounds of that search for each feature."""


def fit_l1(x: Tensor, label: Tensor, *, mask: Tensor | None = None, c: Tensor | float = 1.0) -> Probe:
    """Logistic regressions with an L1 penalty, all problems at once.

    Minimises C sum_i log(1 + exp(-s_i (w . x_i + b))) + |w|_1 with a free intercept, the objective of
    scikit-learn's LogisticRegression with penalty l1 and solver saga. Each step minimises the second-order
    model of the loss plus the penalty exactly (Lee, Sun and Saunders 2014, proximal Newton).

    Args:
        x: Features, `[problems, n, k]`; k up to about a hundred.
        label: 1 for the positive class and 0 for the other, `[problems, n]`.
        mask: Which rows count, `[problems, n]`; all of them by default.
        c: Inverse strength of the penalty, one for all or `[problems]`.

    Returns:
        One probe a problem; NaN where a problem has rows of one class only.
    """
    return descend(*prepare(x, label, mask, c), _step)


def _step(batch: Batch, theta: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """One damped proximal Newton step, and which problems need another."""
    logits = batch.logits(theta)
    gradient, hessian = batch.slope(logits)
    target = _target(theta, gradient, hessian)
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


def _target(theta: Tensor, gradient: Tensor, hessian: Tensor) -> Tensor:
    """Minimum of the second-order model of the loss plus the penalty, `[problems, k + 1]`; intercept last.

    The intercept is eliminated, so that columns may be as far from zero mean as they like.
    """
    bend = hessian[:, :-1, -1]
    level = hessian[:, -1, -1].clamp_min(1e-300)
    curve = hessian[:, :-1, :-1] - bend[:, :, None] * (bend / level[:, None])[:, None]
    curve = curve + torch.diag_embed(1e-12 * hessian.diagonal(dim1=-2, dim2=-1)[:, :-1] + 1e-300)
    slope = gradient[:, :-1] - bend * (gradient[:, -1] / level)[:, None]
    weight = theta[:, :-1]
    best = _signed(weight, slope, curve, _descend(weight, slope, curve))
    shift = -(gradient[:, -1] + (bend * (best - weight)).sum(-1)) / level
    return torch.cat([best, (theta[:, -1] + shift)[:, None]], dim=1)


def _descend(weight: Tensor, slope: Tensor, curve: Tensor) -> Tensor:
    """A few sweeps of coordinate descent on slope . (u - w) + (u - w) H (u - w) / 2 + |u|_1, `[problems, k]`."""
    found, slope = weight.clone(), slope.clone()
    for _ in range(SWEEPS):
        for j in range(found.shape[1]):
            bent = curve[:, j, j]
            free = found[:, j] - slope[:, j] / bent
            new = free.sign() * (free.abs() - 1 / bent).clamp_min(0)
            slope += curve[:, j] * (new - found[:, j])[:, None]
            found[:, j] = new
    return found


def _signed(weight: Tensor, slope: Tensor, curve: Tensor, found: Tensor) -> Tensor:
    """The minimum of what `_descend` descends, by feature-sign search (Lee et al. 2007), `[problems, k]`.

    Each round minimises over the vectors with the signs held, goes there until a weight reaches zero, and
    otherwise lets in the zero weight that the slope pulls hardest. Rounds end when nothing pulls harder than 1.
    """
    sign = found.sign()
    open_ = torch.ones(len(found), dtype=torch.bool, device=found.device)
    for _ in range(ROUNDS * (found.shape[1] + 2)):
        exact = _face(weight, slope, curve, sign)
        wrong = (sign != 0) & (exact.sign() != sign)
        reach = torch.where(wrong, found / (found - exact), torch.inf).nan_to_num(nan=0.0)
        length = reach.min(dim=1).values.clamp(0.0, 1.0)
        moved = found + length[:, None] * (exact - found)
        leaves = wrong & (reach <= length[:, None])
        moved = torch.where(length[:, None] == 1, exact, moved).masked_fill(leaves | (sign == 0), 0.0)
        found = torch.where(open_[:, None], moved, found)
        sign = sign.masked_fill(leaves & open_[:, None], 0.0)
        pull = slope + (curve @ (found - weight)[..., None])[..., 0]
        hardest = pull.abs().masked_fill(sign != 0, 0.0).max(dim=1)
        settled = ~wrong.any(1)
        enters = open_ & settled & (hardest.values > 1 + 1e-10)
        open_ = open_ & (enters | ~settled)
        if not bool(open_.any()):
            break
        place = hardest.indices[enters]
        sign[enters, place] = -pull[enters, place].sign()
    return found


def _face(weight: Tensor, slope: Tensor, curve: Tensor, sign: Tensor) -> Tensor:
    """Minimum among the vectors that are zero where `sign` is, with the penalty sign . u, `[problems, k]`."""
    inside = sign != 0
    none = torch.zeros_like(weight)
    system = curve.where(inside[:, :, None] & inside[:, None, :], torch.diag_embed(torch.ones_like(weight)))
    right = (curve @ weight[..., None])[..., 0] - slope - sign
    scale = system.diagonal(dim1=-2, dim2=-1).rsqrt()
    factor, failed = torch.linalg.cholesky_ex(system * scale[:, :, None] * scale[:, None, :])
    solution = torch.cholesky_solve((right * scale).where(inside, none)[..., None], factor)[..., 0] * scale
    return solution.where((failed == 0)[:, None] & inside, none)
