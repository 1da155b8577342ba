"""Paired p-values from the stored sums of a run, each SAE resampled once whatever the number of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saebench.leaderboard.rows import Score
from saebench.results.contrast import harm_of
from saebench.results.measurement import differing
from saebench.results.resample import Draws, draw
from saebench.results.statistics import subtract
from saebench.results.sums import join_sums

if TYPE_CHECKING:
    from saebench.metric import Metric
    from saebench.results.row import Row


@dataclass(frozen=True)
class Drawn:
    """A score's bootstrap replicates and the units that they were drawn from."""

    row: Row
    metric: Metric
    draws: Draws
    kept: np.ndarray


class Pairs:
    """A `Pairing` over the rows of a run.

    Calling it with two scores gives the p-value of their paired difference, or None where the rows hold
    no sums, were measured in different ways, or belong to a metric that is not installed.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = {row.key: row for row in rows}
        self._cells: dict[str, list[Row]] = {}
        for row in (row for row in rows if row.status == "ok"):
            self._cells.setdefault(row.key[0], []).append(row)
        self._drawn: dict[tuple[str, str], Drawn | None] = {}

    def __call__(self, a: Score, b: Score) -> float | None:
        """The p-value of the difference of two scores, None where it cannot be paired."""
        first, second = self._of(a), self._of(b)
        if first is None or second is None or differing(first.row, second.row):
            return None
        independent = first.metric.own_units
        if not independent and not np.array_equal(first.kept, second.kept):
            return None
        difference = subtract(first.draws, second.draws, transform=harm_of(a.better), independent=independent)
        p = float(np.ravel(difference.p)[0])  # a slice of a metric is an axis of length one
        return None if math.isnan(p) else p

    def _of(self, score: Score) -> Drawn | None:
        key = (score.signature, score.slice)
        if key not in self._drawn:
            row = self._rows.get(key)
            self._drawn[key] = self._draw(row) if row is not None else None
        return self._drawn[key]

    def _draw(self, row: Row) -> Drawn | None:
        metric = _metric_of(row)
        cell = self._cells.get(row.key[0], [])
        parts = [part.sums for part in cell if part.sums]
        if metric is None or metric.units == "none" or not parts or len(parts) < len(cell):
            return None
        whole = row.slice == "" and row.slices_total == 1
        fields = parts[0] if whole else join_sums(parts)
        kept = np.logical_or.reduce([np.any(array.reshape(len(array), -1) != 0, axis=1) for array in fields.values()])
        # Latents of two SAEs are not the same units, so that each SAE has weights of its own.
        purpose = f"latents of {row.key[0]}" if metric.own_units else "units"
        drawn = draw(metric, fields, kept=kept, purpose=purpose)
        if not whole:
            drawn = drawn.take([[part.slice for part in cell].index(row.slice)])
        return Drawn(row, metric, drawn, kept)


def _metric_of(row: Row) -> Metric | None:
    """The metric that the row was made with, None if this version of it is not installed."""
    from saebench.registry import metrics

    metric = metrics().get(row.metric)
    return metric if metric is not None and metric.version == row.version else None
