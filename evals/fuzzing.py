"""Whether an explanation of a latent tells on which tokens it fires."""

from __future__ import annotations

from saebench.inputs import JudgedLatents, Sampling
from saebench.metric import Sums, metric

from ._autointerp import SAMPLING, mean, means, unscored

STRATA = ("top", "mid", "low")


@metric(version=1, unit="balanced accuracy", better="higher", best=1.0, bounds=(0.0, 1.0), units="latents")
def fuzzing(j: JudgedLatents, *, sampling: Sampling = SAMPLING) -> Sums:
    """How well a judge tells, from an explanation, whether marked tokens are those on which a latent fires.

    The explanation is that of `detection`, the contexts are its firing ones. In every other one the tokens on which the
    latent fires are marked, in the rest as many on which it is silent; the judge says which marks are right. Mean over
    latents of (share right where the marks are + share right where they are not) / 2: chance is 0.5. Slices by
    activation are shares right. After Paulo et al. 2024, Automatically Interpreting Millions of Features in Large
    Language Models (fuzzing).
    """
    d = j.of(sampling)
    found = d.fuzzing()
    columns = {"": lambda one: one.balanced_accuracy}
    columns |= {name: lambda one, name=name: one.share(stratum=name) for name in STRATA}
    return means(found, columns, unscored([one.problem for one in found], d.notes))


@metric(version=1, unit="AUROC", better="higher", best=1.0, bounds=(0.0, 1.0), units="latents")
def fuzzing_auroc(j: JudgedLatents, *, sampling: Sampling = SAMPLING) -> Sums:
    """Chance that a judge is surer of right marks than of wrong ones, on the contexts of `fuzzing`.

    Mean over latents of the AUROC of its confidences, ties counting half.
    """
    d = j.of(sampling)
    return means(d.fuzzing(), {"": lambda one: one.auroc}, d.notes)


fuzzing.value(mean)
fuzzing_auroc.value(mean)
