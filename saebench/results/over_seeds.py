"""One line for a metric that was scored with several seeds: means over the seeds, with their spread in the interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from saebench.results.comparison import Line
from saebench.results.contrast import Contrast, Drawn
from saebench.results.intervals import LEVEL
from saebench.results.measurement import measurement
from saebench.results.pairing import Match

_FARTHEST = 37.0
"""Normal units beyond which no p-value can be told from 0."""


@dataclass(frozen=True)
class OverSeeds:
    """The mean of one difference over seeds, each paired on its own units.

    Its error has two parts: that of the units, which seeds share and their mean therefore does not lessen, and
    s / sqrt(S) of the S differences about their mean, known to S - 1 degrees of freedom. Half the interval is the root
    of the sum of their squares, the first times the normal quantile, the second times Student's.

    Attributes:
        value: Mean of the differences.
        units: Error by units, one standard error.
        spread: Error by seeds, s / sqrt(S).
        seeds: S, 2 or more.
    """

    value: float
    units: float
    spread: float
    seeds: int

    @classmethod
    def of(cls, drawn: Sequence[Drawn]) -> OverSeeds:
        """The mean of one difference for each seed."""
        from statistics import NormalDist

        values = np.array([one.value for one in drawn])
        # Half of the interval, not the standard error: it is wider where there are few units.
        sides = [(high - low) / 2 for low, high in (one.interval() for one in drawn)]
        units = float(np.mean(sides)) / NormalDist().inv_cdf((1 + LEVEL) / 2)
        spread = float(values.std(ddof=1)) / len(drawn) ** 0.5 if np.ptp(values) else 0.0
        return cls(float(values.mean()), units, spread, len(drawn))

    @property
    def stderr(self) -> float:
        """Standard error."""
        return math.hypot(self.units, self.spread)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The two-sided interval."""
        from statistics import NormalDist

        side = self._side(NormalDist().inv_cdf((1 + level) / 2))
        return self.value - side, self.value + side

    def score(self, point: float = 0.0) -> float:
        """How far the mean lies above `point`, in normal units: those of the interval that ends there."""
        from scipy.optimize import brentq

        far = abs(self.value - point)
        if far >= self._side(_FARTHEST):
            return math.copysign(_FARTHEST, self.value - point) if far else 0.0
        found: Any = brentq(lambda z: self._side(z) - far, 0.0, _FARTHEST)
        return math.copysign(found, self.value - point)

    def _side(self, z: float) -> float:
        """Half of the interval whose ends lie at `z` in normal units."""
        from scipy.special import ndtr, stdtrit

        return math.hypot(z * self.units, float(-stdtrit(self.seeds - 1, ndtr(-z))) * self.spread)


def by_seed(matches: Sequence[Match]) -> list[list[Match]]:
    """Matches in groups that differ in the seed alone; one that lacks a side or is not comparable stands alone."""
    groups: dict[tuple[str, ...], list[Match]] = {}
    for place, match in enumerate(matches):
        known = (match.a or match.b)[0]
        parts = {**measurement(known), "seed": "any"}
        alone = str(place) if match.reason or not match.a or not match.b else ""
        groups.setdefault((alone, *(str(part) for part in parts.values())), []).append(match)
    return list(groups.values())


def joined(lines: Sequence[Sequence[Line]], seeds: Sequence[int | None]) -> list[Line]:
    """The lines of several seeds as one for each slice.

    A slice that one seed lacks is missing, with the seed in the reason: a mean over fewer seeds on one side would not
    be the same measurement.
    """
    names = dict.fromkeys(line.slice for own in lines for line in own)
    by_slice = [{line.slice: line for line in own} for own in lines]
    return [_mean([own.get(name) for own in by_slice], seeds) for name in names]


def _mean(lines: Sequence[Line | None], seeds: Sequence[int | None]) -> Line:
    there = [line for line in lines if line is not None]
    for line, seed in zip(lines, seeds, strict=True):
        if line is None:
            return replace(there[0], contrast=None, verdict="missing", reason=f"seed {seed}: no such slice")
        if line.contrast is None:
            return replace(line, reason=f"seed {seed}: {line.reason}")
    a, b = (float(np.mean([getattr(line, side) for line in there])) for side in ("a", "b"))
    contrast = _contrast([line.contrast for line in there if line.contrast], seeds)
    return replace(there[0], a=a, b=b, contrast=contrast, reason=contrast.note)


def _contrast(parts: Sequence[Contrast], seeds: Sequence[int | None]) -> Contrast:
    """The contrast of means over seeds."""
    told = dict.fromkeys(part.note for part in parts if part.note)
    note = "; ".join([f"means over {len(seeds)} seeds ({', '.join(map(str, seeds))}), their spread included", *told])
    differences = [part.difference for part in parts if part.difference is not None]
    harms = [part.harm for part in parts if part.harm is not None]
    if len(differences) < len(parts) or len(harms) < len(parts):
        return Contrast(None, None, next(part.method for part in parts if part.harm is None), note)
    difference, harm = OverSeeds.of(differences), OverSeeds.of(harms)
    exact = all(part.method == "exact" for part in parts)
    noisy = exact and (difference.spread or harm.spread)
    return Contrast(difference, harm, "seeds" if noisy else parts[0].method, note)
