"""Bootstrap draws: a metric's value on resampled units.

Units (blocks of documents, test items, latents) are resampled with replacement: a matrix of
multinomial counts [replicates, units] times the sums [units, ...] gives all replicate totals at once,
and the metric's value function turns them into replicates of the value.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saebench.errors import UserError
from saebench.results.intervals import Resampled
from saebench.results.sums import fold_sums

if TYPE_CHECKING:
    from saebench.metric import Metric
    from saebench.results.sums import UnitSums

REPLICATES = 2000
CHUNK = 4_000_000
"""Numbers held at once in the matrix of counts or of replicate totals."""
KEPT = 1_000_000
"""Most counts that are kept for the next metric on as many units."""
GROUPS = 2048
"""More than twice as many units are folded into this many groups before they are resampled."""
LOST = 0.05
"""Share of undefined replicates above which no interval is given."""


@dataclass(frozen=True)
class Draws:
    """A metric's value `[*slices]`, bootstrap replicates `[R, *slices]` and influences `[n, *slices]`.

    Where nothing can be resampled there are no replicates, and `reason` says why.
    """

    value: np.ndarray
    replicates: np.ndarray
    influence: np.ndarray
    n: int
    reason: str = ""

    def take(self, indices: Sequence[int]) -> Draws:
        """The draws of some of the slices, in that order."""
        chosen = list(indices)
        return Draws(self.value[chosen], self.replicates[:, chosen], self.influence[:, chosen], self.n, self.reason)


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
    value = np.where(np.isfinite(value), value, np.nan)
    kept = _occupied(fields) if kept is None else kept
    n = int(kept.sum())
    if metric.units == "none" or n < 2:
        empty = np.empty((0, *value.shape))
        reason = "" if metric.units == "none" else f"no interval: at least 2 units are needed, there are {n}"
        return Draws(value, empty, empty, n, reason)
    fields = {name: array[kept] for name, array in fields.items()}
    if n > 2 * GROUPS:
        fields = fold_sums(fields, GROUPS)
    rows = min(n, len(next(iter(fields.values()))))
    widest = max([rows, *(array[0].size for array in fields.values())])
    parts = []
    for counts in _weights(rows, replicates, seed, purpose, max(1, CHUNK // widest)):
        products = {
            name: (counts @ array.reshape(rows, -1)).reshape(len(counts), *array.shape[1:])
            for name, array in fields.items()
        }
        parts.append(np.broadcast_to(metric.compute(products), (len(counts), *value.shape)))
    without = metric.compute({name: totals[name] - array for name, array in fields.items()})
    without = np.broadcast_to(np.asarray(without, np.float64), (rows, *value.shape))
    with np.errstate(invalid="ignore"):
        influence = (without.mean(axis=0) - without) * ((rows - 1) / rows)
    return Draws(value, np.concatenate(parts), influence, n)


def _weights(n: int, replicates: int, seed: int, purpose: str, chunk: int) -> Iterable[np.ndarray]:
    """Multinomial counts of n units, in chunks `[rows, n]` that add to `replicates` rows.

    Most metrics of a run are resampled over the same units, so small ones are kept for the next.
    """
    make = _kept if n * replicates <= KEPT else _drawn
    return make(n, replicates, seed, purpose, min(chunk, replicates))


@functools.lru_cache(maxsize=8)
def _kept(n: int, replicates: int, seed: int, purpose: str, chunk: int) -> tuple[np.ndarray, ...]:
    return tuple(_drawn(n, replicates, seed, purpose, chunk))


def _drawn(n: int, replicates: int, seed: int, purpose: str, chunk: int) -> Iterator[np.ndarray]:
    digest = hashlib.blake2b(f"{seed}/bootstrap/{purpose}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = generator.integers(0, n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _occupied(sums: UnitSums) -> np.ndarray:
    """Which units have a sum that is not zero, `[units]`."""
    marks = [np.any(np.asarray(a) != 0, axis=tuple(range(1, np.ndim(a)))) for a in sums.values()]
    return np.logical_or.reduce(marks)


def draw_pair(
    metric: Metric,
    sums_a: UnitSums,
    sums_b: UnitSums,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    same: bool = False,
) -> tuple[Draws, Draws]:
    """The draws of two SAEs: with one set of weights on the same units, or independently for latents.

    Args:
        metric: Its units say which.
        sums_a: Final sums of the first.
        sums_b: Final sums of the second.
        replicates: Bootstrap replicates.
        seed: Same seed, same result.
        same: Both sides are one SAE, so that its latents are the same units.

    Raises:
        UserError: The two differ in their fields or in the number of units.
    """
    _check_same(metric, sums_a, sums_b)
    if metric.own_units and not same:
        a = draw(metric, sums_a, replicates=replicates, seed=seed, purpose="latents of a")
        b = draw(metric, sums_b, replicates=replicates, seed=seed, purpose="latents of b")
        return a, b
    kept = None if metric.own_units else _occupied(sums_a) | _occupied(sums_b)
    a = draw(metric, sums_a, replicates=replicates, seed=seed, kept=kept)
    b = draw(metric, sums_b, replicates=replicates, seed=seed, kept=kept)
    return a, b


def resampled(drawn: Draws, index: int, *, both: bool = False) -> Resampled | str:
    """One slice's number with its finite replicates, or why it has no interval; `both` as in `Resampled`."""
    value = float(drawn.value.ravel()[index])
    if not np.isfinite(value):
        return "undefined: no finite value follows from the sums (one is empty or not finite)"
    if not len(drawn.replicates):
        return drawn.reason
    replicates = drawn.replicates.reshape(len(drawn.replicates), -1)[:, index]
    finite = replicates[np.isfinite(replicates)]
    if len(finite) < (1 - LOST) * len(replicates):
        if not np.isfinite(drawn.influence.reshape(len(drawn.influence), -1)[:, index]).any():
            return "no interval: undefined in resamples without the one unit that it rests on"
        lost = len(replicates) - len(finite)
        return f"no interval: undefined in {lost} of {len(replicates)} resamples"
    return Resampled(value, finite, drawn.influence.reshape(len(drawn.influence), -1)[:, index], drawn.n, both)


def _check_same(metric: Metric, sums_a: UnitSums, sums_b: UnitSums) -> None:
    if set(sums_a) != set(sums_b):
        odd = ", ".join(sorted(set(sums_a) ^ set(sums_b)))
        raise UserError(f"{metric.name}: the two sides hold different sums ({odd} on one side only).")
    units = {len(array) for side in (sums_a, sums_b) for array in side.values()}
    if not metric.own_units and len(units) > 1:
        raise UserError(
            f"{metric.name}: the two sides have different units ({min(units)} and {max(units)}), so they cannot "
            "be paired. Score both on the same corpus, with the same number of documents."
        )
