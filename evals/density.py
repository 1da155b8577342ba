"""How often each latent fires. The density of a latent is the share of valid tokens on which it fires.

The units are latents: the interval says how far the value would move with other latents of this SAE,
not with other text. The number of tokens that was looked at stands in the row (`tokens`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from saebench.inputs import Activity
from saebench.metric import Array, Share, Sums, Totals, Within, metric

if TYPE_CHECKING:
    import numpy as np

    Fields = dict[str, np.ndarray]

_ROUNDING = 1e-6
"""Far above the rounding of a threshold summed over batches, far below one firing: counts are whole numbers."""


@metric(version=1, unit="share of latents", better="lower", best=0.0, bounds=(0.0, 1.0), units="latents")
def dead_fraction(a: Activity) -> Sums:
    """Share of latents that never fire on the corpus.

    mean over latents of 1[density = 0]; more tokens can only lower it.
    """
    return Sums(fires=a.fires)


@dead_fraction.finish
def _(f: Fields) -> Fields:
    return {"dead": f["fires"] == 0, "latents": f["fires"] >= 0}


@dead_fraction.value
def _(s: Totals) -> Array:
    return s.dead / s.latents


@metric(version=1, unit="share of latents", better="lower", best=0.0, bounds=(0.0, 1.0), units="latents")
def dense_fraction(a: Activity, *, above: tuple[Share, ...] = (0.01, 0.1)) -> Sums:
    """Share of latents that fire on more than a given share of tokens.

    mean over latents of 1[density > threshold], for each threshold of `above`.
    """
    return Sums(**_over_thresholds(a, above), slices=_names(above))


@dense_fraction.finish
def _(f: Fields) -> Fields:
    return {"dense": f["fires"] > f["threshold"] + _ROUNDING, "latents": f["fires"] >= 0}


@dense_fraction.value
def _(s: Totals) -> Array:
    return s.dense / s.latents


@metric(version=1, unit="share of firings", better="lower", best=0.0, bounds=(0.0, 1.0), units="latents")
def dense_activity(a: Activity, *, above: tuple[Share, ...] = (0.01, 0.1)) -> Sums:
    """Share of all firings that belong to latents firing on more than a given share of tokens.

    sum of density over latents with density > threshold / sum of density, for each threshold of `above`.
    """
    return Sums(**_over_thresholds(a, above), slices=_names(above))


@dense_activity.finish
def _(f: Fields) -> Fields:
    return {"dense": f["fires"] * (f["fires"] > f["threshold"] + _ROUNDING), "fires": f["fires"]}


@dense_activity.value
def _(s: Totals) -> Array:
    return s.dense / s.fires


@metric(version=1, unit="share of latents", better="none", bounds=(0.0, 1.0), units="latents")
def density_histogram(a: Activity, *, lowest: Annotated[int, Within(-30, -1)] = -6) -> Sums:
    """Share of latents in each decade of density.

    mean over latents of 1[10^e <= density < 10^(e+1)] for e from `lowest` to -1; rarer ones count in
    the first bin, dead latents in none.
    """
    edges = tuple(10.0**e for e in range(lowest, 0))
    return Sums(**_over_thresholds(a, edges), slices=[f"log10={e}" for e in range(lowest, 0)])


@density_histogram.finish
def _(f: Fields) -> Fields:
    import numpy as np

    reached = f["fires"] > f["threshold"] - _ROUNDING
    reached[:, 0] = f["fires"][:, 0] > 0
    beyond = np.concatenate([reached[:, 1:], np.zeros_like(reached[:, :1])], axis=1)
    return {"inside": reached & ~beyond, "latents": f["fires"] >= 0}


@density_histogram.value
def _(s: Totals) -> Array:
    return s.inside / s.latents


def _over_thresholds(a: Activity, shares: tuple[float, ...]) -> dict[str, Any]:
    """Firings of each latent beside the count that a share of the tokens comes to, both `[d_sae, shares]`."""
    fires = a.fires[:, None].double().expand(-1, len(shares))
    return {"fires": fires, "threshold": fires.new_tensor(shares).expand_as(fires) * a.codes.n}


def _names(shares: tuple[float, ...]) -> list[str]:
    return [f"above={share:g}" for share in shares]
