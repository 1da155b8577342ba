"""Whether an explanation of a latent tells in which contexts it fires."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from saebench.inputs import JudgedLatents, Sampling
from saebench.metric import Sums, metric

from ._autointerp import SAMPLING, mean, means, unscored

if TYPE_CHECKING:
    from saebench.inputs import DrawnLatents

STRATA = ("top", "mid", "low", "near_miss", "random")
CAUTION = (
    "Detectors of single tokens are the easiest to explain: on the world, an undertrained SAE and one with a frozen "
    "decoder score higher than the trained one (n-gram judge). Read it beside lexicality and the null."
)


@metric(
    version=1, unit="balanced accuracy", better="higher", best=1.0, bounds=(0.0, 1.0), units="latents", caution=CAUTION
)
def detection(j: JudgedLatents, *, sampling: Sampling = SAMPLING) -> Sums:
    """How well a judge tells, from an explanation, the contexts in which a latent fires; chance is 0.5.

    The judge explains a latent from windows of one half of the documents (the strongest, some by the square of their
    activation, some drawn evenly, and some in which it is silent) and is then asked which windows of the other half it
    fires in: `top`, `mid` and `low` by activation, `near_miss` (a similar latent fires, this one does not) and
    `random` ones in which it is silent. Labels are the true activations. Mean over latents of (share right where it
    fires + share right where it is silent) / 2, which neither answering "none" nor firing often moves; slices by
    stratum are shares right. Latents without contexts enough, or without an answer, are counted in
    `detection_unscored`. After Paulo et al. 2024, Automatically Interpreting Millions of Features in Large Language
    Models (detection), with the held-out documents, near misses and balance that SAEBench's protocol lacks.
    """
    d = j.of(sampling)
    found = d.detection()
    columns: dict[str, Callable] = {"": lambda one: one.balanced_accuracy}
    columns |= {name: lambda one, name=name: one.share(stratum=name) for name in STRATA}
    return means(found, columns, _notes(d))


@metric(version=1, unit="AUROC", better="higher", best=1.0, bounds=(0.0, 1.0), units="latents")
def detection_auroc(j: JudgedLatents, *, sampling: Sampling = SAMPLING) -> Sums:
    """Chance that a judge is surer of a context in which a latent fires than of one in which it does not.

    Mean over latents of the AUROC of the judge's confidences on the contexts of `detection`, ties counting half;
    latents without confidences are left out.
    """
    d = j.of(sampling)
    return means(d.detection(), {"": lambda one: one.auroc}, _notes(d))


@metric(version=1, unit="share of latents", better="none", bounds=(0.0, 1.0), units="latents")
def detection_unscored(j: JudgedLatents, *, sampling: Sampling = SAMPLING) -> Sums:
    """Share of the drawn latents that have no score of detection, and why.

    Slices: all, those with too few contexts, and those that the judge did not explain or answer.
    """
    d = j.of(sampling)
    few = {one.latent for one in d.latents if d.problem(one)}
    columns: dict[str, Callable] = {
        "": lambda one: float(one.balanced_accuracy is None),
        "contexts": lambda one: float(one.latent in few),
        "judge": lambda one: float(one.balanced_accuracy is None and one.latent not in few),
    }
    return means(d.detection(), columns, _notes(d))


@metric(
    version=1, unit="accuracy", better="higher", best=1.0, bounds=(0.0, 1.0), units="latents",
    name="detection@saebench",
    caution='Answering "none" always scores 0.714, and latents that fire often are marked down; see `detection`.',
)  # fmt: skip
def detection_saebench(j: JudgedLatents, *, sampling: Sampling = Sampling(window=21, spread=0, silent=0)) -> Sums:  # noqa: B008
    """Share of 14 windows that a judge tells right, by SAEBench 0.6's protocol: 4 firing, 10 at random.

    10 windows with the highest activation and 5 drawn by its square explain a latent; 2 and 2 others and 10 drawn at
    random score it. The random ones count as silent whatever the latent does in them, so that a latent that fires on
    a share rho of all tokens finds 1 - (1 - rho)^21 of them mislabelled. Mean over latents of the share right;
    `balanced` is the mean of the two shares by the same labels.

    What is not followed: windows are runs of at most 21 tokens, not centred on a peak; those for scoring come from
    documents that the explainer did not see; latents are drawn by density; the judge is that of the run, and its
    prompt does not show how many windows fire.
    """
    d = j.of(sampling)
    columns: dict[str, Callable] = {"": lambda one: one.accuracy, "balanced": lambda one: one.balanced_accuracy}
    return means(d.published(), columns, unscored([one.problem for one in d.published()], d.notes))


for _score in (detection, detection_auroc, detection_unscored, detection_saebench):
    _score.value(mean)


def _notes(d: DrawnLatents) -> tuple[str, ...]:
    return d.once("notes of detection", partial(unscored, [one.problem for one in d.detection()], d.notes))
