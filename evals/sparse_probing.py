"""How well a few latents tell a class of texts from the rest, on splits that are the same for every SAE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import LabelledCodes
from saebench.metric import Array, Pooling, Sums, Totals, metric

from ._probing import PROBING, Probing

if TYPE_CHECKING:
    from saebench.probes import Sliced


@metric(version=1, unit="share of texts", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def sparse_probing(c: LabelledCodes, *, probe: Probing = PROBING) -> Sums:
    """Accuracy of probes that see only the k latents that best tell a class of texts from the rest.

    Codes are pooled over a text's valid tokens. For each class against as many texts of the others: the k latents
    with the largest |mean_pos - mean_neg| on train, each divided by its standard deviation on train; logistic
    regression (L2, C = 1) on train; accuracy on test. Mean over classes, then over tasks; chance is 0.5, since
    test parts are balanced. A latent's scale does not matter to the probe, the scale of all codes to nothing.
    After Gurnee et al. 2023, Finding Neurons in a Haystack, and Karvonen et al. 2025, SAEBench.
    """
    from saebench.probes import accuracy, k_sparse

    return _sums(k_sparse(c, probe.k, probe.pooling).sums(accuracy))


@metric(version=1, unit="area under ROC", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def sparse_probing_auroc(c: LabelledCodes, *, probe: Probing = PROBING) -> Sums:
    """Chance that a k-sparse probe ranks a text of the class above one of the rest.

    Area under the ROC curve of the probes of `sparse_probing`, ties counting half; chance is 0.5. Influences
    are the placements of DeLong, DeLong and Clarke-Pearson 1988.
    """
    from saebench.probes import auroc, k_sparse

    return _sums(k_sparse(c, probe.k, probe.pooling).sums(auroc))


@metric(version=1, unit="F1", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def sparse_probing_f1(c: LabelledCodes, *, probe: Probing = PROBING) -> Sums:
    """F1 of the class of k-sparse probes: harmonic mean of precision and recall.

    2 TP / (2 TP + FP + FN) of the probes of `sparse_probing`.
    """
    from saebench.probes import f1, k_sparse

    return _sums(k_sparse(c, probe.k, probe.pooling).sums(f1))


@metric(
    version=1,
    unit="share of texts",
    better="higher",
    best=1.0,
    bounds=(0.0, 1.0),
    units="items",
    name="sparse_probing@saebench",
)
def sparse_probing_saebench(c: LabelledCodes, *, probe: Probing = PROBING) -> Sums:
    """Accuracy of k-sparse probes on raw codes, as SAEBench 0.6 fits them.

    As `sparse_probing` with the codes as they are: the penalty (L2, C = 1) then weighs more on a SAE with small
    codes, so that the score depends on their scale. Negatives are frozen here; SAEBench redraws them.
    """
    from saebench.probes import accuracy, k_sparse

    return _sums(k_sparse(c, probe.k, probe.pooling, standardise=False).sums(accuracy))


@metric(version=1, unit="problems", better="none", bounds=(0.0, None), units="none")
def sparse_probing_undefined(c: LabelledCodes, *, pooling: Pooling = "mean") -> Sums:
    """Number of classes that have no probing score: too few texts of the class or of the rest.

    Problems without both classes in train and in test, plus the tasks and classes left out when the texts were
    read. They are in no average.
    """
    import torch

    from saebench.probes import undefined

    posed = torch.from_numpy(undefined(c))
    left = torch.zeros_like(posed)
    left[0] = len(c.texts.left_out)
    counts = torch.stack([posed + left, posed, left], dim=1)
    return Sums(count=counts, slices=("all", "no score", "left out when read"))


def _sums(of: Sliced) -> Sums:
    import torch

    return Sums(psi=torch.from_numpy(of.psi), n=torch.from_numpy(of.n), slices=of.names)


@sparse_probing.value
@sparse_probing_auroc.value
@sparse_probing_f1.value
@sparse_probing_saebench.value
def _(s: Totals) -> Array:
    return s.psi / s.n


@sparse_probing_undefined.value
def _(s: Totals) -> Array:
    return s.count
