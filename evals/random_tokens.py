"""What a SAE does on text that means nothing: random tokens, drawn with equal chance from the vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from saebench.inputs import OtherCodes, RandomActivity, RandomReconstruction
from saebench.metric import Array, Share, Sums, Totals, Within, metric

if TYPE_CHECKING:
    import numpy as np

    Fields = dict[str, np.ndarray]

_ROUNDING = 1e-6
"""Far above the rounding of a threshold summed over batches, far below one firing."""


@metric(version=1, unit="share of latents", better="lower", best=0.0, bounds=(0.0, 1.0), units="latents")
def false_feature_rate(
    a: RandomActivity,
    o: OtherCodes,
    *,
    above: tuple[Share, ...] = (0.1, 0.01),
    times: Annotated[float, Within(0)] = 1.0,
) -> Sums:
    """Share of latents that fire often on random tokens, and more often there than on text.

    mean over latents of 1[p_random > tau and p_random > c p_text], for each tau of `above`, c being `times` and p_text
    the density on text that is not scored. With c = 0 it is the fake feature ratio of Cho et al. 2025, FaithfulSAE, who
    take tau = 0.1; a latent that fires as often on any text is left to `dense_fraction`.
    """
    import torch

    fires = a.fires.double()[:, None].expand(-1, len(above))
    often = torch.tensor(above, dtype=torch.float64, device=fires.device).expand_as(fires) * a.codes.n
    text = o.codes.fires.double().to(fires.device) / max(1, o.codes.n) * a.codes.n
    text = times * text[:, None].expand_as(fires)
    return Sums(fires=fires, often=often, text=text, slices=[f"above={tau:g}" for tau in above])


@false_feature_rate.finish
def _(f: Fields) -> Fields:
    false = (f["fires"] > f["often"] + _ROUNDING) & (f["fires"] > f["text"] + _ROUNDING)
    return {"false": false, "latents": f["fires"] >= 0}


@false_feature_rate.value
def _(s: Totals) -> Array:
    return s.false / s.latents


@metric(version=1, unit="share of variance", better="higher", best=1.0, bounds=(None, 1.0))
def random_explained_variance(r: RandomReconstruction) -> Sums:
    """Share of the target's variance that the reconstruction explains on random tokens.

    1 - sum |y - y^|^2 / sum |y - mean y|^2, as `explained_variance`: far below it where the dictionary fits the text's
    own statistics only.
    """
    return Sums(error=r.squared_error, shared=("variance",))


@random_explained_variance.value
def _(s: Totals) -> Array:
    return 1 - s.error / s.variance
