"""Whether clamping a few latents makes a model forget one subject and nothing else."""

from __future__ import annotations

from saebench.inputs import QuestionRuns
from saebench.metric import Array, Share, Sums, Totals, metric

from ._unlearning_choice import accuracies, chosen, curve, grids, halves, sides
from ._unlearning_runs import Grid, outcomes

GRID = Grid()


@metric(version=1, unit="share of questions", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def unlearning(q: QuestionRuns, *, grid: Grid = GRID, least_retained: Share = 0.99) -> Sums:
    """Share of what is to be forgotten that is, under the best setting that keeps 99 % of the rest.

    Of the latents that fire on less than a share of the retain text's tokens, the n that fire most on the forget
    text are set to -m wherever they fire; the SAE's error is kept. 1 - min of the accuracy on forget questions over
    settings with retain accuracy >= 0.99, 0 if there is none. Both are taken on questions that the unedited model
    answers right in every order of the options; a question counts by its share of orders. `m=codes` sets latents to
    -m, `m=maximum` to -m times their own maximum. A maximum over noisy settings flatters: see
    `unlearning_held_out`. Farrell et al. 2024, Applying sparse autoencoders to unlearn knowledge; Karvonen et al.
    2025, SAEBench.

    Args:
        grid: The settings that are tried.
        least_retained: Retain accuracy that a setting needs.
    """
    o = outcomes(q, grid)
    return Sums(**sides(o, o.known, least_retained, ""), slices=grids(o), notes=o.notes)


@metric(version=1, unit="share of questions", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def unlearning_held_out(q: QuestionRuns, *, grid: Grid = GRID, least_retained: Share = 0.99) -> Sums:
    """Share of what is to be forgotten that is, under a setting that was chosen on other questions.

    The setting of `unlearning` on one half of the questions of each domain, its score on the other half.
    """
    return halves(q, outcomes(q, grid), least_retained)


@metric(version=1, unit="share of questions", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def unlearning_held_out_retain(q: QuestionRuns, *, grid: Grid = GRID, least_retained: Share = 0.99) -> Sums:
    """Retain accuracy of the setting of `unlearning_held_out`, on questions that did not choose it.

    What the promise of 99 % is worth on new questions; 1 where no setting qualifies.
    """
    return halves(q, outcomes(q, grid), least_retained)


@metric(version=1, unit="share of questions", better="lower", best=0.0, bounds=(0.0, 1.0), units="items")
def unlearning_forget_accuracy(q: QuestionRuns, *, grid: Grid = GRID) -> Sums:
    """Accuracy on what is to be forgotten, for each setting: one axis of the trade-off curve.

    Of the questions that the unedited model answers right in every order; without an intervention it is 1.
    """
    o = outcomes(q, grid)
    return curve(o, o.known & o.forget)


@metric(version=1, unit="share of questions", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def unlearning_retain_accuracy(q: QuestionRuns, *, grid: Grid = GRID) -> Sums:
    """Accuracy on what is to be retained, for each setting: the other axis of the trade-off curve.

    Of the questions that the unedited model answers right in every order; without an intervention it is 1.
    """
    o = outcomes(q, grid)
    return curve(o, o.known & ~o.forget)


@metric(version=1, unit="share of questions", better="lower", best=0.0, bounds=(0.0, 1.0), units="items")
def unlearning_side_effect(q: QuestionRuns, *, grid: Grid = GRID) -> Sums:
    """Share of each retained subject that is lost, as a mean over the settings.

    1 - accuracy on the questions of a domain that the unedited model answers right in every order. The mean over
    all settings, not the one of the score, which loses 1 % at most because it was chosen so.
    """
    import torch

    o = outcomes(q, grid)
    domain = torch.as_tensor(q.questions.domain)
    counted = o.known & ~o.forget
    places = [i for i in range(len(q.questions.domains)) if bool((counted & (domain == i)).any())]
    n_ = torch.stack([counted, *(counted & (domain == i) for i in places)], dim=1).double()
    lost = (1 - o.right.mean(0))[:, None] * n_
    return Sums(lost=lost, n=n_, slices=("all", *(q.questions.domains[i] for i in places)), notes=o.notes)


@unlearning.value
def _(s: Totals) -> Array:
    import numpy as np

    forget, allowed = accuracies(s, "")
    return 1 - np.where(allowed, forget, np.where(np.isnan(forget), np.nan, 1.0)).min(-1)


@unlearning_held_out.value
def _(s: Totals) -> Array:
    return 1 - chosen(s, "forget")


@unlearning_held_out_retain.value
def _(s: Totals) -> Array:
    return chosen(s, "retain")


@unlearning_forget_accuracy.value
@unlearning_retain_accuracy.value
def _(s: Totals) -> Array:
    return s.right / s.n


@unlearning_side_effect.value
def _(s: Totals) -> Array:
    return s.lost / s.n
