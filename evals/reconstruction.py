"""How close the reconstruction comes to the activation it replaces.

Notation: y the target at `hook_out` (the activation itself for a SAE), y^ the reconstruction, sums and
means over valid tokens (BOS, EOS and PAD left out), pooled over the corpus and never averaged over batches.
"""

from __future__ import annotations

from saebench.inputs import Reconstruction
from saebench.metric import Array, Sums, Totals, metric


@metric(version=1, unit="share of variance", better="higher", best=1.0, bounds=(None, 1.0))
def explained_variance(r: Reconstruction) -> Sums:
    """Share of the target's variance that the reconstruction explains.

    1 - sum |y - y^|^2 / sum |y - mean y|^2, pooled over tokens and dimensions (R^2 with one mean vector).
    Unmoved by the scale and by a shift of the activations; below 0 when the mean would have done better.
    """
    return Sums(error=r.squared_error, shared=("variance",))


@explained_variance.value
def _(s: Totals) -> Array:
    return 1 - s.error / s.variance


@metric(version=1, unit="squared activation", better="lower", best=0.0, bounds=(0.0, None))
def mse(r: Reconstruction) -> Sums:
    """Mean squared error of a token, summed over dimensions.

    mean over tokens of |y - y^|^2. It grows with the square of the activations' scale.
    """
    return Sums(error=r.squared_error, tokens=1)


@mse.value
def _(s: Totals) -> Array:
    return s.error / s.tokens


@metric(version=1, unit="share of power", better="lower", best=0.0, bounds=(0.0, None))
def nmse(r: Reconstruction) -> Sums:
    """Squared error as a share of the target's squared norm.

    sum |y - y^|^2 / sum |y|^2. Without the mean taken off, so a large common offset makes it small.
    """
    return Sums(error=r.squared_error, power=r.power)


@nmse.value
def _(s: Totals) -> Array:
    return s.error / s.power


@metric(version=1, unit="cosine", better="higher", best=1.0, bounds=(-1.0, 1.0))
def cosine_similarity(r: Reconstruction) -> Sums:
    """Mean cosine between target and reconstruction.

    mean over tokens of <y, y^> / (|y| |y^|). Tokens where either is the zero vector are left out;
    when all are, the value is undefined.
    """
    scale = (r.power * r.power_hat).sqrt()
    defined = scale > 0
    return Sums(cosine=(r.product / scale).where(defined, scale.new_zeros(())), defined=defined)


@cosine_similarity.value
def _(s: Totals) -> Array:
    return s.cosine / s.defined


@metric(version=1, unit="share of tokens", better="lower", best=0.0, bounds=(0.0, 1.0))
def zero_reconstruction_fraction(r: Reconstruction) -> Sums:
    """Share of tokens whose target or reconstruction is the zero vector (left out of the cosine).

    mean over tokens of 1[|y| |y^| = 0].
    """
    return Sums(zero=(r.power * r.power_hat) == 0, tokens=1)


@zero_reconstruction_fraction.value
def _(s: Totals) -> Array:
    return s.zero / s.tokens


@metric(version=1, unit="ratio of norms", better="one", best=1.0, bounds=(0.0, None))
def l2_ratio(r: Reconstruction) -> Sums:
    """Mean norm of the reconstruction over the norm of its target: below one is shrinkage.

    mean over tokens of |y^| / |y|; tokens with a zero target are left out.
    """
    defined = r.power > 0
    ratio = (r.power_hat / r.power).sqrt().where(defined, r.power.new_zeros(()))
    return Sums(ratio=ratio, defined=defined)


@l2_ratio.value
def _(s: Totals) -> Array:
    return s.ratio / s.defined


@metric(version=1, unit="ratio", better="one", best=1.0)
def relative_reconstruction_bias(r: Reconstruction) -> Sums:
    """Power of the reconstruction over its overlap with the target: one when it is not shrunk.

    sum |y^|^2 / sum <y, y^> (Rajamanoharan et al. 2024, Gated SAEs, eq. 10).
    """
    return Sums(power_hat=r.power_hat, product=r.product)


@relative_reconstruction_bias.value
def _(s: Totals) -> Array:
    return s.power_hat / s.product
