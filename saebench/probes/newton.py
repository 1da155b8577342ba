"""Logistic regression on many features by Newton steps in as many dimensions as there are texts, or features.

An L2-penalised solution lies in the span of the train rows: w = X' a. With K = X X' the log-odds are K a + b and the
penalty is a' K a / 2, so the features themselves are needed once, for K. A Newton step solves a system in
B = 1 + W^1/2 K W^1/2 (W: the curvatures of the texts' losses), whose eigenvalues are at least one, by one Cholesky
factor. B is of the size of the texts; where there are fewer features than that, the factor is taken of
1 + X' W X instead (Woodbury). After Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, 3.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import get_lapack_funcs
from scipy.special import expit

STEPS = 200
"""Most Newton steps; a warm start needs about four."""
HALVINGS = 40
SINGLE = 1e5
"""Largest condition number at which a factor in single precision gives a direction good to a hundredth.

Gradients and values are in double precision, so that this costs a step at most and no accuracy of the optimum.
"""

Solve = Callable[[np.ndarray], np.ndarray]


class Products(Protocol):
    """Inner products of the train rows of a problem, K `[texts, texts]`."""

    def part(self, texts: int) -> Products:
        """Those of the first rows."""
        ...

    def times(self, a: np.ndarray) -> np.ndarray:
        """K a, `[texts]`."""
        ...

    def solver(self, root: np.ndarray) -> Solve:
        """Solutions of systems in 1 + root K root, for roots `[texts]` and right sides `[texts, k]`."""
        ...


class Kernel(NamedTuple):
    """Inner products as they are: K `[texts, texts]` float64, and the same in float32."""

    k: np.ndarray
    single: np.ndarray

    @classmethod
    def of(cls, k: np.ndarray) -> Kernel:
        """Inner products in both precisions."""
        return cls(k, k.astype(np.float32))

    def part(self, texts: int) -> Kernel:
        """Those of the first rows."""
        return Kernel(self.k[:texts, :texts], self.single[:texts, :texts])

    def times(self, a: np.ndarray) -> np.ndarray:
        """K a, `[texts]`."""
        return self.k @ a

    def solver(self, root: np.ndarray) -> Solve:
        """Solutions by a factor of 1 + root K root."""
        if 1 + np.square(root) @ self.k.diagonal() < SINGLE:
            short = root.astype(np.float32)
            solve = _factored(self.single, short)
            if solve is not None:
                return solve
        return _sure(_factored(self.k, root))


class Few(NamedTuple):
    """Inner products of rows of few features, X `[texts, features]` float64."""

    x: np.ndarray

    def part(self, texts: int) -> Few:
        """Those of the first rows."""
        return Few(self.x[:texts])

    def times(self, a: np.ndarray) -> np.ndarray:
        """K a, `[texts]`."""
        return self.x @ (self.x.T @ a)

    def solver(self, root: np.ndarray) -> Solve:
        """Solutions by a factor of 1 + X' W X."""
        scaled = self.x * root[:, None]
        solve = _sure(_factored(scaled.T @ scaled))
        return lambda right: right - scaled @ solve(scaled.T @ right)


class Dual(NamedTuple):
    """A probe by the weights of its train rows.

    Attributes:
        a: `[texts]`; the weights of the features are X' a.
        intercept: Log-odds where K a is zero.
        along: K a, `[texts]`.
    """

    a: np.ndarray
    intercept: float
    along: np.ndarray


def unfitted(label: np.ndarray) -> Dual:
    """Zero weights and the log-odds of the labels, of which there must be both."""
    positive = float(label.sum())
    return Dual(np.zeros(len(label)), float(np.log(positive / (len(label) - positive))), np.zeros(len(label)))


def fit_dual(products: Products, label: np.ndarray, c: float, start: Dual | None = None, *, tol: float = 1e-8) -> Dual:
    """Logistic regression with an L2 penalty on all features.

    Minimises C sum_i log(1 + exp(-s_i (w . x_i + b))) + |w|^2 / 2, as `fit_wide` does, until the gradient's norm
    is `tol` of that at zero weights.

    Args:
        products: Inner products of the rows.
        label: 1 for the positive class and 0 for the other, both of them, `[texts]`.
        c: Inverse strength of the penalty.
        start: Where to begin.
        tol: Relative gradient norm at which the problem is solved.
    """
    sign = np.where(label == 1, 1.0, -1.0)
    flat = unfitted(label)
    now = start or flat
    pull = -sign * c * expit(-sign * flat.intercept)
    enough = tol * _norm(pull, products.times(pull), float(pull.sum())) + 1e-13 * c * len(label)
    for _ in range(STEPS):
        wrong = expit(-sign * (now.along + now.intercept))
        pull = -sign * c * wrong
        off = now.a + pull
        ahead = products.times(off)
        if _norm(off, ahead, float(pull.sum())) <= enough:
            break
        step = _step(products, now, off, ahead, c * wrong * (1 - wrong))
        moved = _advance(sign, c, now, step, -float(ahead @ step.a) - float(pull.sum()) * step.intercept)
        if moved is None:
            break
        now = moved
    return now


def _norm(off: np.ndarray, ahead: np.ndarray, intercept: float) -> float:
    """Norm of the gradient, X' off with K off = ahead, and the intercept's."""
    return float(np.sqrt(max(0.0, float(off @ ahead)) + intercept**2))


def _step(products: Products, here: Dual, off: np.ndarray, ahead: np.ndarray, curve: np.ndarray) -> Dual:
    """The Newton step: what it adds."""
    root = np.sqrt(curve)
    solved = products.solver(root)(np.stack([-root * ahead, root], axis=1)) * root[:, None]
    plain, level = -off - solved[:, 0], solved[:, 1]
    intercept = float(here.a.sum() + plain.sum()) / max(float(level.sum()), 1e-300)
    a = plain - intercept * level
    return Dual(a, intercept, products.times(a))


def _advance(sign: np.ndarray, c: float, here: Dual, step: Dual, descent: float) -> Dual | None:
    """The state after as much of a step as lowers the objective; none where no part of it does."""
    plain, mixed, bent = float(here.a @ here.along), float(here.a @ step.along), float(step.a @ step.along)

    def objective(size: float) -> float:
        logits = here.along + size * step.along + here.intercept + size * step.intercept
        penalty = (plain + 2 * size * mixed + size * size * bent) / 2
        return c * float(np.logaddexp(0.0, -sign * logits).sum()) + penalty

    value = objective(0.0)
    size = 1.0
    for _ in range(HALVINGS):
        if objective(size) <= value - 1e-4 * size * descent + 1e-13 * abs(value):
            return Dual(here.a + size * step.a, here.intercept + size * step.intercept, here.along + size * step.along)
        size /= 2
    return None


def _factored(k: np.ndarray, root: np.ndarray | float = 1.0) -> Solve | None:
    """Solutions of systems in 1 + root K root for a symmetric K without negative eigenvalues.

    None where rounding makes it one with them.
    """
    matrix = k * np.atleast_1d(root)[:, None]
    matrix *= root
    matrix.flat[:: len(matrix) + 1] += 1
    factorise, solve = get_lapack_funcs(("potrf", "potrs"), dtype=matrix.dtype)
    # The transpose of a symmetric matrix in rows is itself in columns, which LAPACK takes without a copy.
    factor, failed = factorise(matrix.T, lower=1, clean=0, overwrite_a=1)
    if failed:
        return None
    return lambda right: solve(factor, right.astype(matrix.dtype), lower=1)[0].astype(np.float64)


def _sure(solve: Solve | None) -> Solve:
    if solve is None:
        raise FloatingPointError("The curvature of a probe's loss has no Cholesky factor: are its features finite?")
    return solve
