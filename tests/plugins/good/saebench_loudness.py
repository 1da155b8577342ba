"""A metric as someone else would ship it: one file, found through its entry point."""

from __future__ import annotations

from saebench import Sums, Totals, metric
from saebench.inputs import Activity


@metric(version=1, unit="code", better="lower", best=0.0, bounds=(0.0, None))
def loudness(a: Activity) -> Sums:
    """Mean absolute code of the latents that fire.

    sum of |f_i| / number of firings.
    """
    return Sums(size=a.l1, fires=a.l0)


@loudness.value
def _(s: Totals):
    return s.size / s.fires
