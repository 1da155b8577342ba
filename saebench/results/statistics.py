"""Standard errors, intervals and paired tests from sums per unit.

Units (blocks of documents, test items, latents) are resampled with replacement: a matrix of
multinomial counts [replicates, units] times the sums [units, ...] gives all replicate totals at once,
and the metric's value function turns them into replicates of the value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.errors import UserError
from saebench.results.intervals import Resampled, two_sided

if TYPE_CHECKING:
    from saebench.metric import Metric
    from saebench.results.sums import UnitSums

REPLICATES = 2000
CHUNK = 4_000_000
"""Numbers held at once in the matrix of counts or of replicate totals."""
LOST = 0.05
"""Share of undefined replicates above which no interval is given."""


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


@dataclass(frozen=True)
class Draws:
    """A metric's value `[*slices]`, bootstrap replicates `[R, *slices]` and influences `[n, *slices]`."""

    value: np.ndarray
    replicates: np.ndarray
    influence: np.ndarray
    n: int


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
    parts = [_resampled(drawn, i) for i in range(drawn.value.size)]
    low, high = (-np.inf if metric.bounds[0] is None else metric.bounds[0],
                 np.inf if metric.bounds[1] is None else metric.bounds[1])
    rows = []
    for value, part in zip(drawn.value.ravel(), parts):
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
    _check_same(metric, sums_a, sums_b)
    options = {"replicates": replicates, "seed": seed}
    if metric.units == "latents":
        a = draw(metric, sums_a, **options, purpose="latents of a")
        b = draw(metric, sums_b, **options, purpose="latents of b")
    else:
        kept = _occupied(sums_a) | _occupied(sums_b)
        a, b = (draw(metric, side, **options, kept=kept) for side in (sums_a, sums_b))
    return subtract(a, b, transform=transform, independent=metric.units == "latents")


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
    parts = [part if isinstance(part := _resampled(drawn, i), Resampled) else None for i in range(drawn.value.size)]
    rows = []
    for value, part in zip(drawn.value.ravel(), parts):
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


def draw(
    metric: Metric,
    sums: UnitSums,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    purpose: str = "units",
    kept: np.ndarray | None = None,
) -> Draws:
    """The value, its replicates and the units' influences; replicates are empty where there are none.

    Args:
        metric: The metric.
        sums: Final sums `[units, *slices]`.
        replicates: Bootstrap replicates.
        seed: Together with `purpose` and the number of units it fixes the weights.
        purpose: Two purposes draw independently.
        kept: Which units take part, `[units]`; by default those with a sum that is not zero.
    """
    fields = {name: np.asarray(array, np.float64) for name, array in sums.items()}
    totals = {name: array.sum(axis=0) for name, array in fields.items()}
    value = np.asarray(metric.compute(totals), np.float64)
    kept = _occupied(fields) if kept is None else kept
    n = int(kept.sum())
    if metric.units == "none" or n < 2:
        empty = np.empty((0, *value.shape))
        return Draws(value, empty, empty, 0 if metric.units == "none" else n)
    fields = {name: array[kept] for name, array in fields.items()}
    widest = max([n, *(array[0].size for array in fields.values())])
    parts = []
    for counts in _weights(n, replicates, seed, purpose, max(1, CHUNK // widest)):
        products = {
            name: (counts @ array.reshape(n, -1)).reshape(len(counts), *array.shape[1:])
            for name, array in fields.items()
        }
        parts.append(np.broadcast_to(metric.compute(products), (len(counts), *value.shape)))
    without = metric.compute({name: totals[name] - array for name, array in fields.items()})
    without = np.broadcast_to(np.asarray(without, np.float64), (n, *value.shape))
    with np.errstate(invalid="ignore"):
        influence = (without.mean(axis=0) - without) * ((n - 1) / n)
    return Draws(value, np.concatenate(parts), influence, n)


def _weights(n: int, replicates: int, seed: int, purpose: str, chunk: int) -> Iterator[np.ndarray]:
    """Multinomial counts of n units, in chunks `[rows, n]` that add to `replicates` rows."""
    digest = hashlib.blake2b(f"{seed}/bootstrap/{purpose}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = generator.integers(0, n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _occupied(sums: UnitSums) -> np.ndarray:
    """Which units have a sum that is not zero, `[units]`."""
    marks = [np.any(np.asarray(a).reshape(len(a), -1) != 0, axis=1) for a in sums.values()]
    return np.logical_or.reduce(marks)


def _resampled(drawn: Draws, index: int) -> Resampled | str:
    """One slice's number with its finite replicates, or why it has no interval."""
    value = float(drawn.value.ravel()[index])
    if not np.isfinite(value):
        return "undefined: nothing was counted that the value divides by"
    if not len(drawn.replicates):
        return "" if drawn.n == 0 else "no interval: fewer than two units"
    replicates = drawn.replicates.reshape(len(drawn.replicates), -1)[:, index]
    finite = replicates[np.isfinite(replicates)]
    if len(finite) < (1 - LOST) * len(replicates):
        lost = len(replicates) - len(finite)
        return f"no interval: undefined in {lost} of {len(replicates)} resamples"
    return Resampled(value, finite, drawn.influence.reshape(len(drawn.influence), -1)[:, index], drawn.n)


def _transformed(drawn: Draws, transform: Callable[[np.ndarray], np.ndarray]) -> Draws:
    """The draws of a transformed value; influences keep their size and take the slope's sign."""
    slope = np.sign(transform(drawn.value + 1e-6) - transform(drawn.value - 1e-6))
    return Draws(transform(drawn.value), transform(drawn.replicates), drawn.influence * slope, drawn.n)


def _columns(rows: list[tuple[float, ...]], shape: tuple[int, ...]) -> Iterator[Any]:
    """The columns of per-slice tuples: floats for a scalar metric, else arrays of `shape`."""
    for column in zip(*rows):
        yield np.array(column, np.float64).reshape(shape) if shape else float(column[0])


def _check_same(metric: Metric, sums_a: UnitSums, sums_b: UnitSums) -> None:
    if set(sums_a) != set(sums_b):
        odd = ", ".join(sorted(set(sums_a) ^ set(sums_b)))
        raise UserError(f"{metric.name}: the two sides hold different sums ({odd} on one side only).")
    units = {len(array) for side in (sums_a, sums_b) for array in side.values()}
    if metric.units != "latents" and len(units) > 1:
        raise UserError(
            f"{metric.name}: the two sides have different units ({min(units)} and {max(units)}), so they cannot "
            "be paired. Score both on the same corpus, with the same number of documents."
        )
