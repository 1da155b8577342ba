"""How many latents a token uses, and how evenly. A latent fires where its code is not zero, negative codes too."""

from __future__ import annotations

from saebench.inputs import Activity
from saebench.metric import Array, Sums, Totals, metric


@metric(version=1, unit="latents a token", better="lower", bounds=(0.0, None))
def l0(a: Activity) -> Sums:
    """Mean number of latents that fire on a token.

    mean over tokens of #{i: f_i != 0}.
    """
    return Sums(fires=a.l0, tokens=1)


@l0.value
def _(s: Totals) -> Array:
    return s.fires / s.tokens


@metric(version=1, unit="code a token", better="none", bounds=(0.0, None))
def l1(a: Activity) -> Sums:
    """Mean sum of the codes' absolute values on a token.

    mean over tokens of sum_i |f_i|; it depends on the decoder's norms, so compare it within a recipe only.
    """
    return Sums(size=a.l1, tokens=1)


@l1.value
def _(s: Totals) -> Array:
    return s.size / s.tokens


@metric(version=1, unit="latents a token", better="none", bounds=(0.0, None))
def effective_l0(a: Activity) -> Sums:
    """Mean number of latents that carry a token, counted by their share of the reconstruction.

    mean over tokens of exp(H(p)), p_i proportional to |f_i| |d_i|; a token on which nothing fires counts 0.
    Between 1 and L0; without gradients, after the uniformity measure of Lieberum et al. 2024, Gemma Scope.
    """
    return Sums(effective=a.effective_l0, tokens=1)


@effective_l0.value
def _(s: Totals) -> Array:
    return s.effective / s.tokens


@metric(version=1, unit="ratio", better="none", bounds=(0.0, 1.0))
def uniformity(a: Activity) -> Sums:
    """Effective L0 as a share of L0: one when all firing latents weigh the same.

    sum over tokens of exp(H(p)) / sum over tokens of L0, p as in `effective_l0`.
    """
    return Sums(effective=a.effective_l0, fires=a.l0)


@uniformity.value
def _(s: Totals) -> Array:
    return s.effective / s.fires
