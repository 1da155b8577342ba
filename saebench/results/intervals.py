"""Intervals and p-values from bootstrap replicates of one number.

The interval is Efron's BCa (bias-corrected and accelerated; Efron and Tibshirani 1993, chapter 14),
widened for few units as in Hesterberg 2015 ("What teachers should know about the bootstrap", section
3.3): the normal quantile z becomes sqrt(n / (n - 1)) t_{n-1}, so that 10 units do not give the
intervals of 1000. With a handful of units it is Student's t interval. The p-value inverts the same
interval, so p < 0.05 exactly where it leaves out zero.

BCa follows skew, but of units with heavy tails (single items whose differences are mostly small and
now and then huge) it covers 86 to 93 % where Student's covers 94 to 97; of skewed ones it is the other
way about. The interval of a difference reaches as far as the farther of the two at each end, which is 2
to 11 % wider than BCa's and covers 93.5 to 98 % of both kinds with 128 units.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
SAME = 1e-6
"""Relative difference below which two values are called equal: what float32 sums in another order may do."""
TAIL = 10
"""Replicates beyond a point below which its tail probability is taken from the normal tail instead."""
FEW = 6
"""With fewer units than this the resamples' quantiles cannot leave the range of the units: Student's t interval."""
MAX_BIAS = 0.84
"""BCa's bias correction beyond which (80 % of the replicates on one side) it is not to be trusted."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Resampled:
    """One number with its bootstrap replicates.

    Args:
        value: The estimate.
        replicates: Its finite bootstrap replicates `[R]`.
        influence: What each unit adds to it `[n]`, from the jackknife.
        n: Number of units.
        both: The interval reaches as far as BCa's and Student's both do; for differences (see the module's docstring).
    """

    value: float
    replicates: np.ndarray
    influence: np.ndarray
    n: int
    both: bool = False

    @functools.cached_property
    def stderr(self) -> float:
        """Standard deviation of the replicates; 0 where they differ by rounding alone."""
        spread = float(np.std(self.replicates, ddof=1))
        tiny = 1e-12 * max(abs(self.value), float(np.max(np.abs(self.replicates))), 1e-300)
        return spread if spread > tiny else 0.0

    @property
    def constant(self) -> bool:
        """Whether every replicate is the same up to rounding: no sampling noise at all."""
        return self.stderr == 0.0

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The two-sided interval at `level`."""
        if self.constant:
            return self.value, self.value
        z = _widen(-_NORMAL.inv_cdf((1 - level) / 2), self.n)
        student = self.value - z * self.stderr, self.value + z * self.stderr
        bias, acceleration = self._correction()
        if abs(bias) > MAX_BIAS or self.n < FEW:
            return student
        ends = [_NORMAL.cdf(_accelerate(bias, acceleration, sign * z)) for sign in (-1, 1)]
        low, high = (float(end) for end in np.quantile(self.replicates, ends))
        return (min(low, student[0]), max(high, student[1])) if self.both else (low, high)

    def score(self, point: float = 0.0) -> float:
        """How far the number lies above `point`, in standard normal units.

        The 95 % interval leaves `point` out where the score is beyond +-1.96.
        """
        if self.constant:
            return math.copysign(math.inf, self.value - point) if self.value != point else 0.0
        student = _narrow((self.value - point) / self.stderr, self.n)
        bias, acceleration = self._correction()
        if abs(bias) > MAX_BIAS or self.n < FEW:
            return student
        shift = self._quantile_score(point) - bias
        scale = 1 + acceleration * shift
        found = _narrow(-(shift / scale if scale > 0 else shift) + bias, self.n)
        if not self.both:
            return found
        return min(found, student, key=abs) if found * student > 0 else 0.0

    def _quantile_score(self, point: float) -> float:
        """Normal score of the share of replicates below `point`, by the normal tail where few are."""
        count = len(self.replicates)
        below = self._below(point)
        if TAIL <= below * count <= count - TAIL:
            return _NORMAL.inv_cdf(below)
        score = (point - float(np.mean(self.replicates))) / self.stderr
        edge = -_NORMAL.inv_cdf(TAIL / count) if count > 2 * TAIL else 0.0
        return max(score, edge) if below > 0.5 else min(score, -edge)

    def _below(self, point: float) -> float:
        less = np.count_nonzero(self.replicates < point)
        return float(less + 0.5 * np.count_nonzero(self.replicates == point)) / len(self.replicates)

    def _correction(self) -> tuple[float, float]:
        """BCa's bias correction and acceleration."""
        count = len(self.replicates)
        share = min(max(self._below(self.value), 0.5 / count), 1 - 0.5 / count)
        influence = self.influence[np.isfinite(self.influence)]
        spread = float(np.sum(influence**2))
        acceleration = float(np.sum(influence**3)) / (6 * spread**1.5) if spread > 0 else 0.0
        return _NORMAL.inv_cdf(share), acceleration


def two_sided(score: float) -> float:
    """Two-sided p-value of a standard normal score."""
    return math.erfc(abs(score) / math.sqrt(2))


def _accelerate(bias: float, acceleration: float, z: float) -> float:
    """Normal score of the replicate quantile that BCa takes for the end at `z`."""
    scale = 1 - acceleration * (bias + z)
    return bias + (bias + z) / scale if scale > 0 else 2 * bias + z


def _widen(z: float, n: int) -> float:
    """sqrt(n / (n - 1)) times the t quantile with n - 1 degrees of freedom that stands for a normal `z`.

    The t quantile is Wallace's (1959) approximation, which has a closed inverse.
    """
    degrees = n - 1
    exponent = (z * (8 * degrees + 3) / (8 * degrees + 1)) ** 2 / degrees
    t = math.sqrt(degrees * math.expm1(min(exponent, 700.0)))
    return math.copysign(t * math.sqrt(n / degrees), z)


def _narrow(x: float, n: int) -> float:
    """The inverse of `_widen`."""
    degrees = n - 1
    t = abs(x) / math.sqrt(n / degrees)
    z = math.sqrt(degrees * math.log1p(t * t / degrees)) * (8 * degrees + 1) / (8 * degrees + 3)
    return math.copysign(z, x)
