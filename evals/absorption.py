"""Feature absorption: a latent for a group of words that stays silent where a word's own latent carries the group.

Groups are first letters, or any hierarchy that the data names. After Chanin et al. 2024, A is for Absorption, and
SAEBench (Karvonen et al. 2025), from one encode of the words.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from saebench.inputs import WordCodes
from saebench.metric import Array, NotApplicable, Positive, Share, Sums, Totals, Within, metric

from ._absorption_probes import Settings
from ._absorption_published import Published
from ._absorption_scores import Projections, Thresholds

if TYPE_CHECKING:
    from torch import Tensor

    from ._absorption_probes import Recipe

SETTINGS = Settings()
PARTIAL, FULL = Thresholds(min_cosine=0.1), Thresholds(min_cosine=0.025)
PUBLISHED = Published()
MIN_MAIN_SKILL = 0.2
Skill = Annotated[float, Within(-10, 1)]
"""1 is a perfect probe, 0 one that guesses; a worse one is below that."""

PUBLISHED_CAUTION = "A SAE without latents for the groups has nothing to absorb: read it beside absorption_main_f1."
CAUTION = (
    "Groups without latents that tell them are left out, and differ between SAEs: read it beside absorption_main_f1."
)


@metric(
    version=2,
    unit="share of the direction",
    better="lower",
    best=0.0,
    bounds=(0.0, 1.0),
    units="items",
    caution=CAUTION,
)
def mean_absorption_fraction(
    w: WordCodes,
    *,
    fit: Settings = SETTINGS,
    limits: Thresholds = PARTIAL,
    min_main_skill: Skill = MIN_MAIN_SKILL,
) -> Sums:
    """How much of a group's direction comes from latents that stand for single words instead of the group.

    On the words of a group that a probe of the activation tells (one against the rest, classes weighted to be equal,
    L2 with strength `c` on activations of total variance one), with p the probe's unit weights: A = y . p; latent i
    brings P_i = f_i (d_i . p); Pm is the sum over the group's main latents; Pa the sum of the three largest P_i > 0
    among other latents with cos(d_i, p) >= `min_cosine`. The fraction is 0 where A <= 0, Pm >= A or Pa < `min_share`
    A, 1 where else Pm <= 0, else a / (a + Pm) with a = min(Pa, A - Pm). Main latents are those with the largest weights
    in an L1 probe of the codes (`l1`), as many as raise the F1 of a probe of them on test words by more than
    `f1_jump` each, at most `max_k`. A holds b_dec's part: see `absorption_bias_share`.

    Mean over a group's true positives, then over groups; intervals resample words. Groups whose probe has an F1
    below `min_probe_f1` are undefined and named in the notes, and so are groups whose main latents do not tell them:
    with F1 the score of a probe of them and chance that of naming every word (2 q / (1 + q) for a group with a share
    q of the prompts), (F1 - chance) / (1 - chance) below `min_main_skill`. See `absorption_main_f1`.
    Differs from SAEBench in its decoder norms, its prompts (the probe and the scores see the same), and its probes,
    which are optima and not the end of a training.
    """
    return _over_words(w, fit, min_main_skill, lambda p: p.fraction(limits))


@metric(version=2, unit="share of prompts", better="lower", best=0.0, bounds=(0.0, 1.0), units="items", caution=CAUTION)
def full_absorption_rate(
    w: WordCodes, *, fit: Settings = SETTINGS, limits: Thresholds = FULL, min_main_skill: Skill = MIN_MAIN_SKILL
) -> Sums:
    """How often a group's latents are all silent on one of its words while another latent carries its direction.

    With the quantities of `mean_absorption_fraction`: no main latent fires, and the latent with the largest P_i has
    cos(d_i, p) >= `min_cosine` and P_i >= `min_share` A > 0. Mean over a group's true positives, then over groups.
    """
    return _over_words(w, fit, min_main_skill, lambda p: p.full(limits))


@metric(
    version=1,
    unit="share of the direction",
    better="lower",
    best=0.0,
    bounds=(0.0, 1.0),
    units="items",
    name="mean_absorption_fraction@saebench",
    caution=PUBLISHED_CAUTION,
)
def mean_absorption_fraction_saebench(
    w: WordCodes, *, fit: Published = PUBLISHED, limits: Thresholds = PARTIAL
) -> Sums:
    """How much of a group's direction comes from latents of single words, by SAEBench 0.6's protocol.

    As `mean_absorption_fraction`, but: the probes of groups on the activation are trained, not solved (Adam, step size
    from 0.01 to 1e-5, weight decay 1e-4, 50 epochs of batches of 64, log-loss with positives weighted); latents are
    ranked by their signed weights, of zero or below too, in a probe of all raw codes that is trained likewise
    (batches of 4096, weight decay 1e-6, `l1` times the mean over groups of sum |w|), and a group's few latents are
    probed on raw codes; P_i = f_i cos(d_i, p), right for decoder rows of unit length only; groups count whatever
    their main latents are worth. On fewer words than a batch the ranking is 50 steps from a random start, and ranks
    latents that never fire. Below `min_groups` groups with a good probe there is no score.

    What cannot be followed: the reference never seeds its global generator, so that its split, prompts, starts and
    orders change with every run (here they are drawn by name); it draws new prompts for the scores (here the probe
    and the scores see the same); and its words come in the tokenizer's hash order. Probes are trained in float64.
    """
    return _over_words(w, fit, -math.inf, lambda p: p.fraction(limits), unit=True)


@metric(
    version=1,
    unit="share of prompts",
    better="lower",
    best=0.0,
    bounds=(0.0, 1.0),
    units="items",
    name="full_absorption_rate@saebench",
    caution=PUBLISHED_CAUTION,
)
def full_absorption_rate_saebench(w: WordCodes, *, fit: Published = PUBLISHED, limits: Thresholds = FULL) -> Sums:
    """How often a group's latents are all silent while another carries its direction, by SAEBench 0.6's protocol.

    As `full_absorption_rate`, with the probes, latents and projections of `mean_absorption_fraction@saebench`.
    """
    return _over_words(w, fit, -math.inf, lambda p: p.full(limits), unit=True)


@metric(version=2, unit="latents", better="lower", best=1.0, bounds=(1.0, None), units="none")
def num_split_features(w: WordCodes, *, fit: Settings = SETTINGS, min_main_skill: Skill = MIN_MAIN_SKILL) -> Sums:
    """Number of main latents of a group: more than one says that the group is split over several.

    The main latents of `mean_absorption_fraction`, counted; mean over its groups. There is no interval, and resampling
    words would give a wrong one: a latent is counted where F1 jumps by more than `f1_jump`, so that a word's influence
    is zero nearly everywhere and not small at a jump, and the latents' order comes from train words that are fixed.
    Groups are no sample either: the letters of the alphabet are all there are.
    """
    import torch

    from ._absorption_groups import mains, told, untold
    from ._absorption_sums import slices

    found = mains(w, fit)
    groups = [(g.hierarchy, g.place) for g in told(w, fit, min_main_skill)]
    table = slices(w, groups)
    value = torch.tensor([len(found[number].latents[place]) for number, place in groups], dtype=torch.float64)
    return Sums(
        count=(value @ table.share)[None],
        n=table.share.sum(0)[None],
        slices=table.names,
        notes=untold(w, fit, min_main_skill),
    )


@metric(version=1, unit="F1", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def absorption_main_f1(w: WordCodes, *, fit: Settings = SETTINGS) -> Sums:
    """How well the main latents tell their group: where they do not, absorption means nothing.

    F1 on the test prompts, 2 TP / (2 TP + FP + FN), of a probe of a group's main latents (logistic regression, L2 with
    C = 1, classes weighted to be equal); mean over groups. It says what `mean_absorption_fraction` does not: a SAE
    that has no latent for a group has nothing to absorb.
    """
    from ._absorption_groups import left_out, mains
    from ._absorption_sums import mean_f1

    psi, n, names = mean_f1(w, mains(w, fit))
    return Sums(psi=psi, n=n, slices=names, notes=left_out(w, fit))


@metric(version=1, unit="share of the projection", better="none", units="items")
def absorption_bias_share(w: WordCodes, *, c: Positive = 10.0, min_probe_f1: Share = 0.6) -> Sums:
    """Share of the activation's projection on a group's direction that is the decoder's bias and no latent's.

    mean b_dec . p / mean y . p over a group's true positives; mean over groups of both. `mean_absorption_fraction`
    compares latents with the whole of y . p: a large share makes it look for more than latents must bring.
    """
    import torch

    from ._absorption_groups import eligible, left_out
    from ._absorption_sums import over_words

    fit = Settings(c, min_probe_f1)
    groups = eligible(w, fit)
    y = w.y.detach().cpu()
    bias = torch.zeros(y.shape[1], dtype=torch.float64) if w.b_dec is None else w.b_dec.detach().cpu().double()
    whole = [y[g.prompts].double() @ g.direction for g in groups]
    part = [(bias @ g.direction).expand(len(g.prompts)) for g in groups]
    fields = over_words(w, groups, bias=part, projection=whole)
    return Sums(**fields.sums, slices=fields.names, notes=left_out(w, fit))


def _over_words(
    w: WordCodes, how: Recipe, least: float, score: Callable[[Projections], Tensor], *, unit: bool = False
) -> Sums:
    """A score of each true positive, averaged over a group's prompts and then over groups."""
    if not len(w.codes.values):
        raise NotApplicable("no latent fires on any of the words, so that there is nothing to absorb")
    import torch

    from ._absorption_groups import untold
    from ._absorption_scores import projections
    from ._absorption_sums import over_words

    scored = [(g, score(p)) for g, p in projections(w, how, least, unit=unit)]
    groups, values = [g for g, _ in scored], [value for _, value in scored]
    fields = over_words(w, groups, score=values, n=[torch.ones_like(value) for value in values])
    return Sums(**fields.sums, slices=fields.names, notes=untold(w, how, least))


@mean_absorption_fraction.value
@full_absorption_rate.value
@mean_absorption_fraction_saebench.value
@full_absorption_rate_saebench.value
def _(s: Totals) -> Array:
    return s.score / s.n


@num_split_features.value
def _(s: Totals) -> Array:
    return s.count / s.n


@absorption_main_f1.value
def _(s: Totals) -> Array:
    return s.psi / s.n


@absorption_bias_share.value
def _(s: Totals) -> Array:
    return s.bias / s.projection
