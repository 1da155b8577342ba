"""Standard errors, intervals, paired tests and the correction for many of them, from sums per unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.results.intervals import Resampled, two_sided
from saebench.results.resample import REPLICATES, Draws, draw, draw_pair, resampled

if TYPE_CHECKING:
    from saebench.metric import Metric
    from saebench.results.sums import UnitSums


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and 95 % interval; floats, or arrays `[slices]`.

    What is undefined is NaN, and `reason` says why. `at` picks a slice, `columns` speaks a row's language.
    """

    value: Any
    stderr: Any
    ci_low: Any
    ci_high: Any
    n: int
    reason: Any = ""

    def at(self, index: int = 0) -> Estimate:
        """The estimate of one slice; of a scalar metric, the estimate itself."""
        if np.ndim(self.value) == 0:
            return self
        numbers = (float(getattr(self, name)[index]) for name in ("value", "stderr", "ci_low", "ci_high"))
        return Estimate(*numbers, n=self.n, reason=self.reason[index])

    def columns(self, index: int = 0) -> dict[str, Any]:
        """value, stderr, ci_low, ci_high, n and reason for a `Row`; undefined numbers are None."""
        part = self.at(index)
        names = ("value", "stderr", "ci_low", "ci_high")
        numbers = {name: number if np.isfinite(number := getattr(part, name)) else None for name in names}
        return {**numbers, "n": part.n, "reason": part.reason}


@dataclass(frozen=True)
class Difference:
    """A paired difference b - a with its standard error, 95 % interval and two-sided p-value.

    Floats, or arrays `[slices]`. Without an interval (one unit, or no units) those are NaN.
    """

    value: Any
    stderr: Any
    ci_low: Any
    ci_high: Any
    p: Any
    n: int
    draws: Sequence[Resampled | None] = field(default=(), repr=False, compare=False)

    def at(self, index: int = 0) -> Difference:
        """The difference of one slice; of a scalar metric, the difference itself."""
        if np.ndim(self.value) == 0:
            return self
        numbers = (float(getattr(self, name)[index]) for name in ("value", "stderr", "ci_low", "ci_high", "p"))
        return Difference(*numbers, n=self.n, draws=self.draws[index : index + 1])

    def score(self, point: float = 0.0) -> float:
        """How far the (scalar) difference lies above `point`, in normal units; NaN without an interval."""
        drawn = self.draws[0] if self.draws else None
        return float("nan") if drawn is None else drawn.score(point)


def bootstrap(metric: Metric, sums: UnitSums, *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """The metric's value with a bootstrap standard error and 95 % interval over units.

    The interval is BCa, widened for few units (see `intervals`). Units that are zero in every field
    (blocks that no document fell into) are left out. There is no interval for a metric whose units
    are "none", for fewer than two units, or where over 5 % of the replicates are undefined.

    Args:
        metric: Its value function and its units are used.
        sums: Final float64 sums by field, `[units, *slices]`.
        replicates: Bootstrap replicates.
        seed: The same seed gives the same interval; no global state is read or changed.

    Returns:
        Floats for a scalar metric, arrays `[slices]` for one with slices.
    """
    drawn = draw(metric, sums, replicates=replicates, seed=seed)
    parts = [resampled(drawn, i) for i in range(drawn.value.size)]
    low = -np.inf if metric.bounds[0] is None else metric.bounds[0]
    high = np.inf if metric.bounds[1] is None else metric.bounds[1]
    rows = []
    for value, part in zip(drawn.value.ravel(), parts, strict=True):
        ends = part.interval() if isinstance(part, Resampled) else (np.nan, np.nan)
        stderr = part.stderr if isinstance(part, Resampled) else np.nan
        rows.append((value, stderr, max(ends[0], min(low, value)), min(ends[1], max(high, value))))
    reasons = ["" if isinstance(part, Resampled) else part for part in parts]
    shape = drawn.value.shape
    reason = np.array(reasons, dtype=object).reshape(shape) if shape else reasons[0]
    return Estimate(*_columns(rows, shape), n=drawn.n, reason=reason)


def paired(
    metric: Metric,
    sums_a: UnitSums,
    sums_b: UnitSums,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Difference:
    """The difference b - a, both resampled with the same weights on the same units.

    Latents of two SAEs are not the same units: a metric over latents is resampled independently on
    the two sides, and they may differ in number.

    Args:
        metric: Its value function and its units are used.
        sums_a: Final sums of the first SAE, `[units, *slices]`.
        sums_b: Final sums of the second, on the same units in the same order.
        replicates: Bootstrap replicates.
        seed: Same seed, same result.
        transform: Applied to the values before the difference, such as the distance to one.

    Raises:
        UserError: The two differ in their fields or in the number of units.
    """
    a, b = draw_pair(metric, sums_a, sums_b, replicates=replicates, seed=seed)
    return subtract(a, b, transform=transform, independent=metric.own_units)


def subtract(
    a: Draws,
    b: Draws,
    *,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    independent: bool = False,
) -> Difference:
    """The difference b - a of two resampled values, drawn on the same units or independently."""
    a, b = (side if transform is None else _transformed(side, transform) for side in (a, b))
    rows = min(len(a.replicates), len(b.replicates))
    drawn = Draws(
        value=b.value - a.value,
        replicates=b.replicates[:rows] - a.replicates[:rows],
        influence=np.concatenate([b.influence, -a.influence]) if independent else b.influence - a.influence,
        n=min(a.n, b.n),
    )
    found = [resampled(drawn, i, both=True) for i in range(drawn.value.size)]
    parts = [part if isinstance(part, Resampled) else None for part in found]
    rows = []
    for value, part in zip(drawn.value.ravel(), parts, strict=True):
        if part is None:
            rows.append((value, np.nan, np.nan, np.nan, np.nan))
        else:
            rows.append((value, part.stderr, *part.interval(), two_sided(part.score())))
    return Difference(*_columns(rows, drawn.value.shape), n=drawn.n, draws=parts)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method (Holm 1979); NaN stays NaN."""
    p = np.asarray(p_values, np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted.tolist()


def _transformed(drawn: Draws, transform: Callable[[np.ndarray], np.ndarray]) -> Draws:
    """The draws of a transformed value; influences keep their size and take the slope's sign."""
    slope = np.sign(transform(drawn.value + 1e-6) - transform(drawn.value - 1e-6))
    return Draws(transform(drawn.value), transform(drawn.replicates), drawn.influence * slope, drawn.n)


def _columns(rows: list[tuple[float, ...]], shape: tuple[int, ...]) -> Iterator[Any]:
    """The columns of per-slice tuples: floats for a scalar metric, else arrays of `shape`."""
    for column in zip(*rows, strict=True):
        yield np.array(column, np.float64).reshape(shape) if shape else float(column[0])
