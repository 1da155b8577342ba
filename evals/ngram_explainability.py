"""How much of a latent's firing short patterns of tokens predict, on text they were not found in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from saebench.inputs import SampledLatents, Sampling
from saebench.metric import Sums, metric

from ._autointerp import SAMPLING, mean, means, unscored

if TYPE_CHECKING:
    from saebench.inputs import DrawnLatents


class Fit(NamedTuple):
    """Token counts at the text's own frequencies; None where the latent is not scored."""

    hit: float
    said: float
    fires: float


@metric(version=1, unit="F1", better="higher", best=1.0, bounds=(0.0, 1.0), units="latents")
def ngram_explainability(s: SampledLatents, *, sampling: Sampling = SAMPLING) -> Sums:
    """Mean over latents of the F1 with which patterns of a few tokens with wildcards predict where it fires.

    The patterns are those of the judge for no network (see `detection`), found in windows of one half of the documents;
    they predict that the latent fires on the last token of each place where one holds surely enough. F1 is over tokens
    of the other half, at their own frequency: windows in which it fires are a sample of all such, windows in which it
    is silent one of those, and each counts for as many as it stands for. Slices: `precision` (where anything is
    predicted) and `recall`. After Gao et al. 2024, Scaling and Evaluating Sparse Autoencoders (explainability by N2G).
    """
    d = s.of(sampling)
    fits = d.once("n-gram explainability", lambda: _fits(d))
    columns = {
        "": lambda one: one and 2 * one.hit / (one.said + one.fires),
        "precision": lambda one: one.hit / one.said if one and one.said else None,
        "recall": lambda one: one and one.hit / one.fires,
    }
    return means(fits, columns, unscored([d.problem(one) for one in d.latents], d.notes))


ngram_explainability.value(mean)


def _fits(d: DrawnLatents) -> list[Fit | None]:
    import numpy as np

    from saebench.judges.ngram import numbered

    _, texts = d.pool()
    number = {token: i for i, token in enumerate(dict.fromkeys(token for row in texts for token in row))}
    ids = numbered(texts, number)
    fits: list[Fit | None] = []
    for latent, told in zip(d.latents, d.explained("ngram"), strict=True):
        known = getattr(told, "details", None)
        if known is None:
            fits.append(None)
            continue
        pool, spread = latent.held_out.pool, latent.held_out.spread
        silent = pool.strength == 0
        said = known.confidences(spread.contexts) >= known.threshold
        fires = spread.acts[:, : said.shape[1]] != 0
        own = latent.firing[1] / len(spread)
        rest = (d.held_out_windows - latent.firing[1]) / max(1, int(silent.sum()))
        wrong = float((known.matched(ids[silent], number) >= known.threshold).sum()) * rest
        hit = float((said & fires).sum()) * own
        fits.append(Fit(hit, float(said.sum()) * own + wrong, float(np.count_nonzero(fires)) * own))
    return fits
