"""Pareto fronts of two metrics: the non-dominated set, its hypervolume, and a score at a matched sparsity."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saebench.errors import UserError
from saebench.metric import Direction


def cost(values: ArrayLike, better: Direction) -> NDArray[np.float64]:
    """Values turned so that lower is better: -v for "higher", v for "lower", |v - 1| for "one".

    Raises:
        UserError: The metric has no direction.
    """
    v = np.asarray(values, dtype=np.float64)
    if better == "higher":
        return -v
    if better == "lower":
        return v
    if better == "one":
        return np.abs(v - 1.0)
    raise UserError(f"No front over a metric whose direction is {better!r}: neither more nor less of it is better.")


def front(
    x: ArrayLike, y: ArrayLike, better_x: Direction = "lower", better_y: Direction = "higher"
) -> NDArray[np.intp]:
    """Indices of the points that no other point dominates, from the best x to the worst.

    A point dominates another when it is no worse on both axes and better on one, so identical points
    are kept together. Points with a missing coordinate take no part.

    Args:
        x: Values on the first axis `[points]`.
        y: Values on the second axis `[points]`.
        better_x: Direction of x.
        better_y: Direction of y.
    """
    a, b = cost(x, better_x), cost(y, better_y)
    order = [i for i in np.lexsort((b, a)) if np.isfinite(a[i]) and np.isfinite(b[i])]
    kept: list[int] = []
    for i in order:
        if not kept or b[i] < b[kept[-1]] or (a[i] == a[kept[-1]] and b[i] == b[kept[-1]]):
            kept.append(int(i))
    return np.asarray(kept, dtype=np.intp)


def hypervolume(
    x: ArrayLike,
    y: ArrayLike,
    reference: tuple[float, float],
    better_x: Direction = "lower",
    better_y: Direction = "higher",
    *,
    log_x: bool = False,
) -> float:
    """Area that the points dominate, measured from a reference point that is worse than they are.

    Args:
        x: Values on the first axis `[points]`.
        y: Values on the second axis `[points]`.
        reference: Corner of the area; points that are not better than it on both axes add nothing.
        better_x: Direction of x.
        better_y: Direction of y.
        log_x: Measure x in decades (log10 x), as on a log-scaled axis; needs positive x.

    Returns:
        Area in units of x (or decades) times units of y.
    """
    xs, corner = np.asarray(x, dtype=np.float64), reference[0]
    if log_x:
        if better_x == "one":
            raise UserError("A hypervolume over log x means nothing for a metric that is best at one: use log_x=False.")
        if corner <= 0 or (xs[np.isfinite(xs)] <= 0).any():
            raise UserError("A hypervolume over log x needs positive x: use log_x=False.")
        xs, corner = np.log10(xs), float(np.log10(corner))
    a, b = cost(xs, better_x), cost(y, better_y)
    edge_a, edge_b = float(cost(corner, better_x)), float(cost(reference[1], better_y))
    area, ceiling = 0.0, edge_b
    for i in front(a, b, "lower", "lower"):
        if a[i] < edge_a and b[i] < ceiling:
            area += (edge_a - a[i]) * (ceiling - b[i])
            ceiling = b[i]
    return float(area)


def score_at(
    x: ArrayLike,
    y: ArrayLike,
    at: float,
    y_stderr: ArrayLike | None = None,
    *,
    method: Literal["linear", "monotone"] = "linear",
    log_x: bool = True,
) -> tuple[float, float]:
    """The value of y at a given x, read off the curve through the points.

    Points of equal x are averaged. Nothing is extrapolated: outside the range of x the answer is NaN.

    Args:
        x: Values on the first axis `[points]`, such as L0.
        y: Values on the second axis `[points]`.
        at: Where to read y off.
        y_stderr: Standard errors of y `[points]`.
        method: "linear", or "monotone" (PCHIP: smooth, and monotone where the points are).
        log_x: Interpolate in log x.

    Returns:
        The value and its standard error, the points taken as independent and x as exact. The error is
        that of the linear rule for both methods, and NaN where `y_stderr` is not given.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    errors = np.full_like(ys, np.nan) if y_stderr is None else np.asarray(y_stderr, dtype=np.float64)
    usable = np.isfinite(xs) & np.isfinite(ys) & ((xs > 0) | (not log_x))
    if not usable.any() or (log_x and at <= 0):
        return float("nan"), float("nan")
    place, inverse = np.unique(xs[usable], return_inverse=True)
    count = np.bincount(inverse)
    mean = np.bincount(inverse, weights=ys[usable]) / count
    error = np.sqrt(np.bincount(inverse, weights=errors[usable] ** 2)) / count
    if not place[0] <= at <= place[-1]:
        return float("nan"), float("nan")
    scale, target = (np.log(place), float(np.log(at))) if log_x else (place, float(at))
    if len(place) == 1:
        return float(mean[0]), float(error[0])
    right = min(max(int(np.searchsorted(place, at)), 1), len(place) - 1)
    weight = (target - scale[right - 1]) / (scale[right] - scale[right - 1])
    value = mean[right - 1] * (1 - weight) + mean[right] * weight
    if method == "monotone" and len(place) > 2:
        from scipy.interpolate import PchipInterpolator

        value = PchipInterpolator(scale, mean)(target)
    # A weight of zero drops its point, whose error may be missing.
    parts = [w * e for w, e in ((1 - weight, error[right - 1]), (weight, error[right])) if w != 0]
    return float(value), float(np.hypot.reduce(parts))


def shared_middle(ranges: list[tuple[float, float]]) -> float | None:
    """A value of x that lies within as many of the (positive) ranges as can be, in the middle of them.

    The geometric middle of the stretch that most ranges cover, rounded to two significant digits where
    that stays inside. None when there is no range.
    """
    ends = sorted({end for low, high in ranges for end in (low, high) if end > 0})
    if not ends:
        return None
    pieces = list(zip(ends, ends[1:], strict=False)) or [(ends[0], ends[0])]
    covered = [sum(low <= a and b <= high for low, high in ranges) for a, b in pieces]
    best = max(range(len(pieces)), key=lambda i: (covered[i], pieces[i][1] / pieces[i][0]))
    low, high = pieces[best]
    middle = float(np.sqrt(low * high))
    rounded = float(f"{middle:.2g}")
    return rounded if low <= rounded <= high else middle
