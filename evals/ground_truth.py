"""How much of a known dictionary a SAE has found, from its decoder. Needs a model whose features are known.

Every row of the sums is a true feature, the same for all SAEs, so that two are compared feature by feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saebench.inputs import TrueDictionary
from saebench.metric import Array, NotApplicable, Share, Sums, Totals, metric

if TYPE_CHECKING:
    import numpy as np

THRESHOLDS = (0.7, 0.8, 0.9)
FOUND = 0.5
"""A feature whose latent has a smaller cosine to it has not been found, and says nothing of how."""


@metric(version=1, unit="cosine", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def gt_mcc(t: TrueDictionary) -> Sums:
    """Mean absolute cosine of decoder rows and true features under the best one-to-one matching.

    (1/m) max over one-to-one pi of sum |cos(f_j, d_pi(j))|, m the smaller of the two numbers (GT-MCC; Song et al. 2025,
    Mechanistic Interpretability Should Prioritize Feature Consistency; SynthSAEBench's MCC). Random dictionaries do
    not score 0: see gt_mcc_null. Features beyond the SAE's size do not count: see gt_coverage.
    """
    return Sums(cosine=_rows(_cosine(t)), of=_rows(t.match.partner >= 0))


@metric(version=1, unit="cosine", better="none", bounds=(0.0, 1.0), units="none")
def gt_mcc_null(t: TrueDictionary) -> Sums:
    """What random dictionaries of the same shapes score in gt_mcc.

    The same matching of directions drawn evenly from the sphere, n and d_sae of them.
    """
    import torch

    return Sums(cosine=torch.tensor([t.match.null]), of=1)


@metric(version=1, unit="cosine", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def gt_coverage(t: TrueDictionary) -> Sums:
    """The same over all true features: one that is left without a latent counts 0.

    (1/n) max over one-to-one pi of sum |cos(f_j, d_pi(j))|, n true features. At most d_sae / n.
    """
    return Sums(cosine=_rows(_cosine(t)), of=1)


@metric(version=1, unit="share of true features", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def gt_recall(t: TrueDictionary, *, above: tuple[Share, ...] = THRESHOLDS) -> Sums:
    """Share of true features whose matched decoder row has an absolute cosine above a threshold.

    (1/n) sum 1[|cos(f_j, d_pi(j))| > t], pi the matching of gt_mcc, n true features.
    """
    return Sums(cosine=_above(t, above), of=1, slices=[f"{x:g}" for x in above])


@metric(version=1, unit="share of latents", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def gt_precision(t: TrueDictionary, *, above: tuple[Share, ...] = THRESHOLDS) -> Sums:
    """Share of latents that are the match of a true feature with an absolute cosine above a threshold.

    (1/d_sae) sum 1[|cos(f_j, d_pi(j))| > t]; latents that never fire count.
    """
    return Sums(cosine=_above(t, above), of=_a_latent(t), slices=[f"{x:g}" for x in above])


@metric(version=1, unit="share of latents", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def gt_uniqueness(t: TrueDictionary) -> Sums:
    """True features that are the nearest of some latent, over the number of latents.

    |{argmax_j |cos(d_i, f_j)|}| / d_sae (uniqueness; SynthSAEBench). 1 if every latent has a feature of its own.
    """
    return Sums(cosine=_rows(_crowd(t, 0.0) > 0), of=_a_latent(t))


@metric(version=1, unit="latents a feature", better="lower", best=1.0, bounds=(1.0, None), units="items")
def feature_splits(t: TrueDictionary, *, above: Share = 0.7) -> Sums:
    """Latents whose nearest true feature is the same one, in the mean over features that have any: 1 is no splitting.

    sum over i of 1[max_j |cos(d_i, f_j)| > t] / |{argmax_j of these}|.
    """
    crowd = _crowd(t, above)
    if not crowd.any():
        raise NotApplicable(f"no latent has a cosine above {above:g} to any true feature")
    return Sums(cosine=_rows(crowd), of=_rows(crowd > 0))


@metric(version=1, unit="share of a latent", better="lower", best=0.0, bounds=(0.0, 1.0), units="items")
def true_hedging(t: TrueDictionary) -> Sums:
    """How much of a latent's decoder row is the correlated partner of its own feature.

    mean over found features j of |c_p| / (|c_j| + |c_p|), d_pi(j) = c_j f_j + c_p f_p by least squares, p the partner;
    0.5 is a latent that merged both. `stranger`: the same with the next feature that is no partner, which is what
    imperfect directions give. A feature is found if its cosine is 0.5 at least. Feature hedging: Chanin, Dulka,
    Garriga-Alonso 2025, Correlated Features Break Narrow Sparse Autoencoders.
    """
    import numpy as np
    import torch

    own = np.flatnonzero((t.partner >= 0) & (_cosine(t) >= FOUND))
    if not len(own):
        raise NotApplicable("no feature with a correlated partner was found; the truth to use is synthetic:correlated")
    latent, partner = t.match.partner[own], t.partner[own]
    stranger = (own + 2) % len(t.partner)
    share = np.zeros((len(t.partner), 2))
    share[own] = np.stack([t.mixture(own, latent, other) for other in (partner, stranger)], axis=1)
    found = np.zeros(len(t.partner), dtype=bool)
    found[own] = True
    told = f"{len(own)} of the {int((t.partner >= 0).sum())} features with a partner were found"
    of = torch.from_numpy(found)[:, None].expand(-1, 2)
    return Sums(cosine=torch.from_numpy(share), of=of, slices=["", "stranger"], notes=[told])


@gt_mcc.value
@gt_mcc_null.value
@gt_coverage.value
@gt_recall.value
@gt_precision.value
@gt_uniqueness.value
@feature_splits.value
@true_hedging.value
def _(s: Totals) -> Array:
    return s.cosine / s.of


def _cosine(t: TrueDictionary) -> np.ndarray:
    """Cosine of each true feature to its match, 0 without one, `[n]`."""
    import numpy as np

    return np.nan_to_num(t.match.cosine)


def _above(t: TrueDictionary, thresholds: tuple[float, ...]) -> Any:
    import numpy as np

    return _rows(_cosine(t)[:, None] > np.array(thresholds))


def _a_latent(t: TrueDictionary) -> float:
    """The number of latents, spread over the true features."""
    return len(t.match.nearest_back) / len(t.directions)


def _crowd(t: TrueDictionary, above: float) -> np.ndarray:
    """Latents whose nearest true feature is each one, and nearer than a threshold, `[n]`."""
    import numpy as np

    nearest = np.concatenate([np.abs(part @ t.directions.T).argmax(1) for part in np.array_split(t.decoder, _parts(t))])
    return np.bincount(nearest[t.match.nearest_back > above], minlength=len(t.directions))


def _parts(t: TrueDictionary) -> int:
    """Blocks of the decoder, so that latents by features are never in memory at once."""
    return 1 + len(t.decoder) * len(t.directions) // 2**25


def _rows(values: Any) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(values, dtype=np.float64))
