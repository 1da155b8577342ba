"""Logistic regression on many features, dense or sparse, for many problems over one table of texts.

Truncated Newton steps: each solves its linear system by preconditioned conjugate gradients, which need only
products with the table and its transpose, so memory is the table's own plus `[texts + features, problems]`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from saebench.errors import UserError
from saebench.probes.logistic import Probe
from saebench.probes.select import Table

OUTER = 100
"""Most Newton steps."""
INNER = 500
"""Most conjugate-gradient steps within one."""


class Features:
    """A centred table that can be multiplied from both sides without being made dense.

    The intercept is free, so that centring leaves the optimum where it is; it only makes it quicker to find.
    """

    def __init__(self, x: Table | Tensor, scale: float = 1.0) -> None:
        if isinstance(x, sparse.csr_array):
            self._table: Tensor | sparse.csr_array = x.astype(np.float64) * scale
            self._square: Tensor | sparse.csr_array = self._table.power(2)
        else:
            self._table = torch.as_tensor(x, dtype=torch.float64) * scale
            self._square = self._table.square()
        self.shape = cast("tuple[int, int]", tuple(cast("tuple", x.shape)))
        ones = torch.ones(self.shape[0], 1, dtype=torch.float64)
        self.mean = self._down(self._table, ones) / max(1, self.shape[0])

    def times(self, weight: Tensor) -> Tensor:
        """Product with `[features, problems]`, `[texts, problems]`."""
        if isinstance(self._table, Tensor):
            return self._table @ weight - self.mean.T @ weight
        return torch.from_numpy(self._table @ weight.numpy()) - self.mean.T @ weight

    def logits(self, probe: Probe) -> Tensor:
        """Log-odds of the texts under each of several probes, `[texts, problems]`."""
        return self.times(probe.coef.T) + self.mean.T @ probe.coef.T + probe.intercept

    def back(self, rows: Tensor) -> Tensor:
        """Product of the transpose with `[texts, problems]`, `[features, problems]`."""
        return self._down(self._table, rows) - self.mean * rows.sum(0)

    def squares(self, rows: Tensor) -> Tensor:
        """Weighted sums of the squared centred features, `[features, problems]`, for weights `[texts, problems]`."""
        plain, square = self._down(self._table, rows), self._down(self._square, rows)
        return (square - 2 * self.mean * plain + self.mean.square() * rows.sum(0)).clamp_min(0)

    @staticmethod
    def _down(table: Tensor | sparse.csr_array, rows: Tensor) -> Tensor:
        if isinstance(table, Tensor):
            return table.T @ rows
        return torch.from_numpy(table.T @ rows.numpy())


class Setting(NamedTuple):
    """Problems over one table: signs, and C for rows that count (0 elsewhere), `[texts, problems]`."""

    features: Features
    sign: Tensor
    mask: Tensor

    def loss(self, logits: Tensor) -> Tensor:
        return (self.mask * functional.softplus(-self.sign * logits)).sum(0)

    def slope(self, weight: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the objective by weights, `[features, problems]`, and intercepts, `[problems]`."""
        residual = -self.sign * self.mask * torch.sigmoid(-self.sign * logits)
        return self.features.back(residual) + weight, residual.sum(0)


def fit_wide(
    features: Features,
    label: Tensor,
    mask: Tensor,
    c: Tensor | float = 1.0,
    *,
    start: Probe | None = None,
    tol: float = 1e-8,
) -> Probe:
    """Logistic regressions with an L2 penalty on all features of a table, all problems at once.

    Minimises C sum_i log(1 + exp(-s_i (w . x_i + b))) + |w|^2 / 2 over the rows of each problem, as
    `saebench.probes.fit` does, until the gradient's norm is `tol` of that at the start (zero weights).

    Args:
        features: The table.
        label: 1 for the positive class and 0 for the other, `[texts, problems]`.
        mask: Which rows count for which problem, `[texts, problems]`.
        c: Inverse strength of the penalty, one for all or `[problems]`.
        start: Finite probes to begin with; zero weights by default.
        tol: Relative gradient norm at which a problem is solved.

    Returns:
        One probe a problem; NaN where a problem has rows of one class only.

    Raises:
        UserError: A strength that is not above zero.
    """
    if not bool((torch.as_tensor(c) > 0).all()):
        raise UserError(f"Setting c: {c!r} is no strength of a probe; give a number above 0.")
    label, mask = label.double(), mask.double()
    positive, rows = (mask * label).sum(0), mask.sum(0)
    posed = (positive > 0) & (positive < rows)
    setting = Setting(features, 2 * label - 1, mask * torch.as_tensor(c, dtype=torch.float64) * posed)
    weight = torch.zeros(features.shape[1], label.shape[1], dtype=torch.float64)
    bias = (positive / (rows - positive)).log().where(posed, torch.zeros_like(rows))
    logits = bias.expand_as(label).clone()
    first = _norm(setting.slope(weight, logits))
    if start is not None:
        weight, bias = start.coef.T.clone(), start.intercept + (features.mean * start.coef.T).sum(0)
        logits = features.times(weight) + bias
    running = torch.ones_like(posed)
    for _ in range(OUTER):
        slope = setting.slope(weight, logits)
        size = _norm(slope)
        left = (size > tol * first + 1e-13 * setting.mask.sum(0)) & running
        if not bool(left.any()):
            break
        part = Setting(features, setting.sign[:, left], setting.mask[:, left])
        here, tilt = (weight[:, left], bias[left], logits[:, left]), (slope[0][:, left], slope[1][left])
        wrong = torch.sigmoid(-part.sign * here[2])
        curve = part.mask * wrong * (1 - wrong)
        step = _direction(part, curve, tilt, (size / first.clamp_min(1e-300))[left])
        weight[:, left], bias[left], logits[:, left], running[left] = _advance(part, here, step, tilt)
    bias = bias - (features.mean * weight).sum(0)
    nan = torch.full_like(bias, float("nan"))
    return Probe(torch.where(posed, weight, nan).T, torch.where(posed, bias, nan))


def _norm(slope: tuple[Tensor, Tensor]) -> Tensor:
    return (slope[0].square().sum(0) + slope[1].square()).sqrt()


def _direction(
    setting: Setting, curve: Tensor, slope: tuple[Tensor, Tensor], ratio: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The Newton step of weights and intercept, and how it moves the logits."""
    features = setting.features
    precondition = 1 / (1 + features.squares(curve)), 1 / curve.sum(0).clamp_min(1e-300)
    rest = -torch.cat([slope[0], slope[1][None]])
    inverse = torch.cat([precondition[0], precondition[1][None]])
    move, ahead = torch.zeros_like(rest), torch.zeros_like(curve)
    scaled = inverse * rest
    direction, power = scaled, (rest * scaled).sum(0)
    goal = power * torch.minimum(ratio, torch.full_like(ratio, 0.1)).square().clamp_min(1e-10)
    for _ in range(INNER):
        going = power > goal
        if not bool(going.any()):
            break
        along = features.times(direction[:-1]) + direction[-1]
        bent = curve * along
        applied = torch.cat([features.back(bent) + direction[:-1], bent.sum(0)[None]])
        length = torch.where(going, power / (direction * applied).sum(0).clamp_min(1e-300), torch.zeros_like(power))
        move, ahead, rest = move + length * direction, ahead + length * along, rest - length * applied
        scaled = inverse * rest
        fresh = (rest * scaled).sum(0)
        direction = scaled + direction * torch.where(going, fresh / power.clamp_min(1e-300), torch.zeros_like(power))
        power = torch.where(going, fresh, power)
    return move[:-1], move[-1], ahead


def _advance(
    setting: Setting,
    here: tuple[Tensor, Tensor, Tensor],
    step: tuple[Tensor, Tensor, Tensor],
    slope: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, intercept and logits after as much of a step as lowers the objective, and which problems moved."""
    weight, bias, logits = here
    value = setting.loss(logits) + weight.square().sum(0) / 2
    descent = -(slope[0] * step[0]).sum(0) - slope[1] * step[1]
    size = torch.ones_like(bias)
    for _ in range(40):
        after = setting.loss(logits + size * step[2]) + (weight + size * step[0]).square().sum(0) / 2
        short = ~(after <= value - 1e-4 * size * descent + 1e-13 * value.abs())
        if not bool(short.any()):
            break
        size = torch.where(short, size / 2, size)
    moved = step[0].abs().sum(0) + step[1].abs() > 0
    return weight + size * step[0], bias + size * step[1], logits + size * step[2], moved
