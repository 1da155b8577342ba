"""Whether another seed finds the same latents. From the weights of a seed group, pair by pair.

Each row of a SAE has the mean over its pairs with the other SAEs of its group, `group` has the mean over all
pairs of the group with an interval over SAEs (pairs that share one are not independent), and `with=NAME`
has each pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import SeedPairs
from saebench.metric import Array, Share, Sums, Totals, metric

from ._consistency_pairs import sums

if TYPE_CHECKING:
    from saebench.matching import Match

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@metric(version=1, unit="cosine", better="higher", best=1.0, bounds=(0.0, 1.0), units="saes")
def pw_mcc(p: SeedPairs) -> Sums:
    """Mean absolute cosine of the decoder rows of two seeds under the best one-to-one matching.

    (1/n) max over one-to-one pi of sum |cos(d_i, d'_pi(i))|, exact, n the smaller number of latents; mean
    over pairs of seeds (PW-MCC; Song et al. 2025, Mechanistic Interpretability Should Prioritize Feature
    Consistency). Random dictionaries do not score 0: see pw_mcc_null and pw_mcc_adjusted.
    """
    return sums(p, p.table(_value), notes=_left_out(p))


@metric(version=1, unit="cosine", better="higher", best=1.0, bounds=(-1.0, 1.0), units="saes")
def pw_mcc_signed(p: SeedPairs) -> Sums:
    """The same with cosines that keep their sign: an opposite row is no match.

    (1/n) max over one-to-one pi of sum cos(d_i, d'_pi(i)).
    """
    return sums(p, p.table(_value, signed=True), notes=_left_out(p))


@metric(version=1, unit="cosine", better="higher", best=1.0, bounds=(0.0, 1.0), units="saes")
def pw_mcc_encoder(p: SeedPairs) -> Sums:
    """Mean absolute cosine of the encoder columns of two seeds under their own best one-to-one matching.

    (1/n) max over one-to-one pi of sum |cos(e_i, e'_pi(i))|.
    """
    return sums(p, p.table(_value, sides=("encoder",)))


@metric(version=1, unit="cosine", better="none", bounds=(0.0, 1.0), units="saes")
def pw_mcc_null(p: SeedPairs) -> Sums:
    """What random dictionaries of the same shapes score in pw_mcc.

    The same matching of directions drawn evenly from the sphere; it falls with the width d and rises with n.
    """
    return sums(p, p.table(lambda m: m.null))


@metric(version=1, unit="share of the value", better="lower", best=0.0, bounds=(0.0, None), units="saes")
def pw_mcc_gap(p: SeedPairs) -> Sums:
    """How much better than the matching of pw_mcc any other can be at most: the certificate of its optimality.

    (bound - value) / value, the bound from the prices of the assignment (weak duality); 0 by an exact solver.
    """
    return sums(p, p.table(lambda m: m.gap))


@metric(version=1, unit="share", better="higher", best=1.0, bounds=(None, 1.0), units="saes")
def pw_mcc_adjusted(p: SeedPairs) -> Sums:
    """How far pw_mcc lies between chance, 0, and equal dictionaries, 1.

    (pw_mcc - pw_mcc_null) / (1 - pw_mcc_null).
    """
    return sums(p, p.table(lambda m: m.adjusted))


@metric(version=1, unit="cosine", better="none", bounds=(0.0, 1.0), units="saes")
def pw_mcc_init(p: SeedPairs) -> Sums:
    """What pw_mcc was before training, where the group declares checkpoints at initialisation.

    Seeds that start alike (a shared initialisation) stay alike without having agreed on anything.
    """
    return sums(p, p.table(_value, init=True))


@metric(version=1, unit="share of latents", better="higher", best=1.0, bounds=(0.0, 1.0), units="saes")
def shared_fraction(p: SeedPairs, *, above: tuple[Share, ...] = THRESHOLDS) -> Sums:
    """Share of matched decoder rows whose absolute cosine exceeds a threshold; 0.7 is the usual one.

    (1/n) sum 1[|cos(d_i, d'_pi(i))| > t], pi the matching of pw_mcc (Paulo & Belrose 2025, Same data, different
    features; FaithfulSAE's SFR).
    """
    return sums(p, p.table(lambda m: [m.shared(t) for t in above]), names=[f"{t:g}" for t in above])


@metric(version=1, unit="share of latents", better="higher", best=1.0, bounds=(0.0, 1.0), units="saes")
def shared_fraction_both(p: SeedPairs, *, above: tuple[Share, ...] = THRESHOLDS) -> Sums:
    """Share of latents that decoder and encoder give the same partner, both with a cosine above a threshold.

    (1/n) sum 1[pi_dec(i) = pi_enc(i), |cos(d_i, d'_pi(i))| > t, |cos(e_i, e'_pi(i))| > t].
    """
    table = p.table(lambda d, e: [d.agreement(e, t).shared for t in above], sides=("decoder", "encoder"))
    return sums(p, table, names=[f"{t:g}" for t in above])


@metric(version=1, unit="share of latents", better="higher", best=1.0, bounds=(0.0, 1.0), units="saes")
def same_partner_fraction(p: SeedPairs) -> Sums:
    """Share of latents that the best matchings of decoders and of encoders give the same partner.

    (1/n) sum 1[pi_dec(i) = pi_enc(i)], whatever the cosines.
    """
    return sums(p, p.table(lambda d, e: d.agreement(e).same, sides=("decoder", "encoder")))


@metric(version=1, unit="cosine", better="higher", best=1.0, bounds=(0.0, 1.0), units="saes")
def mean_max_cosine(p: SeedPairs) -> Sums:
    """Mean absolute cosine of a decoder row to the nearest of another seed, which several may share.

    mean over both SAEs' latents of max over j of |cos(d_i, d'_j)|: never below pw_mcc for equal sizes.
    """
    return sums(p, p.table(lambda m: (m.nearest.mean() + m.nearest_back.mean()) / 2))


@pw_mcc.value
@pw_mcc_signed.value
@pw_mcc_encoder.value
@pw_mcc_null.value
@pw_mcc_gap.value
@pw_mcc_adjusted.value
@pw_mcc_init.value
@shared_fraction.value
@shared_fraction_both.value
@same_partner_fraction.value
@mean_max_cosine.value
def _(s: Totals) -> Array:
    return s.total / s.pairs


def _value(match: Match) -> float:
    return match.value


def _left_out(p: SeedPairs) -> list[str]:
    """What a mean over matched pairs does not show: latents without a partner, and without a direction."""
    facts = p.table(lambda m: [m.coverage, sum(m.zero)])
    told = []
    for j, name in enumerate(p.names):
        coverage, zero = facts[p.own, j]
        if coverage < 1:
            told.append(f"sizes differ: with {name} the matching covers {coverage:.1%} of the larger dictionary")
        if zero > 0:
            told.append(f"with {name} {zero:.0f} latents have no direction (zero decoder rows) and count as cosine 0")
    return told
