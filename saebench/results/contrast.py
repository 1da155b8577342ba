"""The difference of one metric between two SAEs, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from saebench.errors import UserError
from saebench.results.intervals import LEVEL, SAME, two_sided
from saebench.results.pairing import Cell
from saebench.results.resample import Draws, draw_pair
from saebench.results.row import Row
from saebench.results.statistics import subtract
from saebench.results.sums import join_sums

if TYPE_CHECKING:
    from saebench.metric import Metric

SURE = 0.05
"""Significance level of verdicts, after Holm."""


class Drawn(Protocol):
    """A number with its uncertainty."""

    @property
    def value(self) -> float: ...

    @property
    def stderr(self) -> float: ...

    def interval(self, level: float = LEVEL) -> tuple[float, float]: ...

    def score(self, point: float = 0.0) -> float: ...


@dataclass(frozen=True)
class Normal:
    """A number with a normal error; with a standard error of 0 it is exact."""

    value: float
    stderr: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The two-sided interval; the number itself where it is exact."""
        from statistics import NormalDist

        z = -NormalDist().inv_cdf((1 - level) / 2)
        return self.value - z * self.stderr, self.value + z * self.stderr

    def score(self, point: float = 0.0) -> float:
        """How far the number lies above `point`, in standard errors."""
        if self.stderr == 0:
            return math.copysign(math.inf, self.value - point) if self.value != point else 0.0
        return (self.value - point) / self.stderr


class Contrast(NamedTuple):
    """What is known of the change from a to b.

    Attributes:
        difference: b - a, or None where nothing says how sure it is.
        harm: The change in the bad direction (distance to one for "one", b - a for "none").
        method: "paired", "independent" (latents), "unpaired" (no sums stored), "exact" (no sampling
            noise), "seeds" (none but that of scoring seeds), "refused" (other units) or "".
        note: What a reader should know of it.
    """

    difference: Drawn | None
    harm: Drawn | None
    method: str
    note: str = ""

    @property
    def p(self) -> float:
        """Two-sided p-value of a change for better or worse; NaN where there is no test."""
        if self.harm is None or self.method == "exact":
            return math.nan
        return two_sided(self.harm.score())


def contrast_cells(a: Cell, b: Cell, directions: dict[str, str], *, seed: int = 0) -> dict[str, Contrast]:
    """The contrasts of two matching cells by slice, for the slices that `directions` names."""
    metric, note = _metric_of(a[0])
    a, b = (tuple(row for row in cell if row.status == "ok") for cell in (a, b))
    sums_a, sums_b = _sums(a), _sums(b)
    if metric is None or sums_a is None or sums_b is None:
        note = note or "compared as if unpaired: no sums are stored"
        rows_a, rows_b = ({row.slice: row for row in cell} for cell in (a, b))
        return {name: _unpaired(rows_a[name], rows_b[name], way, note) for name, way in directions.items()}
    same = _one_sae(a[0], b[0]) and len(next(iter(sums_a.values()))) == len(next(iter(sums_b.values())))
    try:
        draws_a, draws_b = draw_pair(metric, sums_a, sums_b, seed=seed, same=same)
    except UserError as error:
        return dict.fromkeys(directions, Contrast(None, None, "refused", str(error)))
    return {
        name: _drawn(metric, _slice(draws_a, a, name), _slice(draws_b, b, name), way, same=same)
        for name, way in directions.items()
    }


def harm_of(direction: str) -> Callable[[Any], Any]:
    """The value turned so that a larger one is worse."""
    turns: dict[str, Callable[[Any], Any]] = {
        "higher": lambda x: -x,
        "lower": lambda x: x,
        "one": lambda x: np.abs(x - 1),
        "none": lambda x: x,
    }
    return turns[direction]


def same(drawn: Drawn, scale: float) -> bool:
    """Whether a difference is nothing, up to rounding and with no noise."""
    tiny = SAME * scale
    return abs(drawn.value) <= tiny and drawn.stderr <= tiny


def _metric_of(row: Row) -> tuple[Metric | None, str]:
    """The metric with the value function that the row was made with, or why there is none."""
    from saebench.registry import get

    try:
        metric = get(row.metric)
    except UserError:
        return None, f"compared as if unpaired: metric {row.metric!r} is not installed"
    if metric.version != row.version:
        return None, f"compared as if unpaired: version {metric.version} is installed, the rows are of {row.version}"
    return metric, ""


def _sums(cell: Cell) -> dict[str, np.ndarray] | None:
    """The cell's fields `[units, *slices]`; None if a row has none."""
    parts = [row.sums for row in cell if row.sums is not None]
    if len(parts) < len(cell) or not parts[0]:
        return None
    return parts[0] if _scalar(cell) else join_sums(parts)


def _scalar(cell: Cell) -> bool:
    return len(cell) == 1 and cell[0].slice == "" and cell[0].slices_total == 1


def _slice(drawn: Draws, cell: Cell, name: str) -> Draws:
    return drawn if _scalar(cell) else drawn.take([[row.slice for row in cell].index(name)])


def _one_sae(a: Row, b: Row) -> bool:
    """Whether two rows are of the same weights, so that a latent of one is that latent of the other."""
    return bool(a.sae_hash) and a.sae_hash == b.sae_hash and a.units == b.units == "latents"


def _drawn(metric: Metric, a: Draws, b: Draws, direction: str, *, same: bool) -> Contrast:
    independent = metric.own_units and not same
    if metric.units == "none":
        return _exact(float(a.value.ravel()[0]), float(b.value.ravel()[0]), direction)
    difference = subtract(a, b, independent=independent).draws[0]
    harm = subtract(a, b, independent=independent, transform=harm_of(direction)).draws[0]
    if difference is None or harm is None:
        return Contrast(None, None, "", a.reason or b.reason or "no interval: undefined in too many resamples")
    note = f"intervals over {metric.units}, which are not paired" if independent else ""
    return Contrast(difference, harm, "independent" if independent else "paired", note)  # pyright: ignore[reportArgumentType]


def _exact(a: float, b: float, direction: str) -> Contrast:
    turn = harm_of(direction)
    return Contrast(Normal(b - a, 0.0), Normal(float(turn(b) - turn(a)), 0.0), "exact")


def _unpaired(a: Row, b: Row, direction: str, note: str) -> Contrast:
    assert a.value is not None and b.value is not None
    if a.units == "none":
        return _exact(a.value, b.value, direction)
    if a.stderr is None or b.stderr is None:
        return Contrast(None, None, "", "no standard error is stored")
    stderr, turn = math.hypot(a.stderr, b.stderr), harm_of(direction)
    harm = Normal(float(turn(b.value) - turn(a.value)), stderr)
    return Contrast(Normal(b.value - a.value, stderr), harm, "unpaired", note)
