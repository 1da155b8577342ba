"""Targeted probe perturbation: do the latents of a class carry that class and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from saebench.inputs import LabelledEffects
from saebench.metric import Array, Count, NotApplicable, Positive, Sums, Totals, metric

from ._latent_ablation import (
    Ablation,
    Column,
    Probes,
    activations,
    averaged,
    best,
    directions,
    effects,
    fields,
    fit_probes,
)
from ._trained_probes import trained_probes

if TYPE_CHECKING:
    import numpy as np

    from saebench.probes import Problem

SIZES = (2, 5, 10, 20, 50, 100, 500)
CAUTION = "An audit (arXiv 2605.18229) found TPP unreliable: see its noise across reseeds before trusting a difference."


@metric(version=1, unit="accuracy", better="higher", bounds=(-1.0, 1.0), units="items", caution=CAUTION)
def tpp(e: LabelledEffects, *, n: tuple[Count, ...] = SIZES, c: Positive = 100.0) -> Sums:
    """How much ablating a class's n latents harms the probe of that class more than the probes of the others.

    An audit (arXiv 2605.18229) found TPP and SCR unreliable: reseed noise is as large as what they should show.

    Probes of the mean activation, one class against as many texts of the rest, the same for every SAE (L2, strength
    `c` on activations of total variance one). A latent's effect on class k is max(mean_pos s_i - mean_neg s_i, 0)
    (w_k . d_i), s_i its mean code on train texts; the n largest are ablated, none of them below zero. Value: fall of
    accuracy of probe k, minus the mean fall of the other probes; mean over classes, then over tasks. Clean and
    ablated accuracies are of the same test texts. Decoding is linear, so that log-odds fall by exactly
    sum_i s_i (w . d_i); for other decoders the texts are decoded again and latents ranked by their codes alone.
    After Karvonen et al. 2024, Evaluating Sparse Autoencoders on Targeted Concept Erasure; its probes are trained
    for 20 epochs, these to their optimum, and its negatives are drawn anew for each accuracy.
    """
    return _sums(e, n, _solved(c), (1.0, -1.0))


@metric(
    version=1, unit="accuracy", better="higher", bounds=(-1.0, 1.0), units="items", name="tpp@saebench", caution=CAUTION
)
def tpp_saebench(e: LabelledEffects, *, n: tuple[Count, ...] = SIZES) -> Sums:
    """How much ablating a class's latents harms the probe of that class more than the others, as SAEBench 0.6 does it.

    As `tpp`, but: probes are trained, not solved (see `scr@saebench`: 20 epochs of AdamW in batches of 16, the epoch
    with the best *test* accuracy kept); and of the n latents with the largest effects those with an effect of zero
    or below are ablated too, up to as many as have an effect that is not zero.

    What cannot be followed: the reference draws its negatives anew from the global generator for each accuracy, so
    that clean and ablated accuracies are of different texts (here they are frozen, and the difference is paired); it
    draws starts and orders there too (here by name); and it ablates in padded positions what a SAE fires on a zero
    vector. Probes are trained in float64, not in the model's precision.
    """
    return _sums(e, n, TRAINED, (1.0, -1.0))


@metric(version=1, unit="accuracy", better="higher", bounds=(-1.0, 1.0), units="items", caution=CAUTION)
def tpp_intended(e: LabelledEffects, *, n: tuple[Count, ...] = SIZES, c: Positive = 100.0) -> Sums:
    """How much ablating a class's n latents harms the probe of that class.

    The first part of `tpp`: accuracy before minus accuracy after.
    """
    return _sums(e, n, _solved(c), (1.0, 0.0))


@metric(version=1, unit="accuracy", better="lower", best=0.0, bounds=(-1.0, 1.0), units="items", caution=CAUTION)
def tpp_unintended(e: LabelledEffects, *, n: tuple[Count, ...] = SIZES, c: Positive = 100.0) -> Sums:
    """How much ablating a class's n latents harms the probes of the other classes.

    The second part of `tpp`: accuracy before minus accuracy after, mean over the other classes.
    """
    return _sums(e, n, _solved(c), (0.0, 1.0))


class Protocol(NamedTuple):
    """How probes are made and which latents are ablated.

    Attributes:
        name: Of it and its settings.
        fit: Probes of some problems.
        ranked: From effects of all latents and a number to the latents that are ablated first, at most so many.
    """

    name: tuple[object, ...]
    fit: Callable[[LabelledEffects, list[Problem]], Probes]
    ranked: Callable[[np.ndarray, int], np.ndarray]


def _solved(c: float) -> Protocol:
    return Protocol(("tpp", c), lambda e, problems: fit_probes(e, problems, c), best)


def _largest(effect: np.ndarray, most: int) -> np.ndarray:
    """The latents with the largest effects, whatever their sign, at most as many as have one."""
    import numpy as np

    return np.argsort(-effect, kind="stable")[: min(most, int(np.count_nonzero(effect)))]


TRAINED = Protocol(("tpp@saebench",), lambda e, problems: Probes(*trained_probes(e, problems)), _largest)


class Falls(NamedTuple):
    """Falls of accuracy of one task's probes, intended and unintended, and what each test text adds to them.

    Attributes:
        task: Its name.
        classes: Those with a probe.
        tests: Test texts, `[m]`.
        value: `[2, classes, sizes]`.
        influence: Sums to zero over texts, `[2, classes, sizes, m]`.
    """

    task: str
    classes: tuple[str, ...]
    tests: np.ndarray
    value: np.ndarray
    influence: np.ndarray


def _sums(e: LabelledEffects, n: tuple[int, ...], how: Protocol, part: tuple[float, float]) -> Sums:
    """Slices by size: over all tasks, then each task, then each class; `part` weighs intended and unintended."""
    import numpy as np

    from saebench.probes import sizes

    n = tuple(sorted(sizes(n, "n")))
    tasks, notes = _tasks(e)
    found = e.once((*how.name, n), lambda: [_falls(e, group, n, how) for group in tasks])
    items = np.unique(np.concatenate([falls.tests for falls in found]))
    levels: list[dict[str, Column]] = [{}, {}, {}]
    for place, size in enumerate(n):
        by_task = []
        for falls in found:
            columns = [_column(falls, items, k, place, part) for k in range(len(falls.classes))]
            names = [f"n={size}/{falls.task}={name}" for name in falls.classes]
            levels[2].update(zip(names, columns, strict=True))
            by_task.append(averaged(columns))
            levels[1][f"n={size}/{falls.task}"] = by_task[-1]
        levels[0][f"n={size}"] = averaged(by_task)
    columns = {name: column for level in levels for name, column in level.items()}
    return Sums(**fields(list(columns.values())), slices=tuple(columns), notes=notes)


def _column(falls: Falls, items: np.ndarray, k: int, size: int, part: tuple[float, float]) -> Column:
    import numpy as np

    place = np.searchsorted(items, falls.tests)
    takes_part, influence = np.zeros(len(items), dtype=bool), np.zeros(len(items))
    takes_part[place] = True
    influence[place] = np.tensordot(part, falls.influence[:, k, size], 1)
    return Column(float(np.dot(part, falls.value[:, k, size])), takes_part, influence)


def _tasks(e: LabelledEffects) -> tuple[list[list[Problem]], tuple[str, ...]]:
    """The problems of each task that has at least two, and a sentence for each task and class that is left out."""
    from saebench.probes import problems

    if not any("tpp" in task.uses for task in e.texts.tasks):
        raise NotApplicable("the labelled texts hold no task for TPP")
    tasks: dict[str, list[Problem]] = {}
    notes = []
    for problem in problems(e.texts, "tpp"):
        tasks.setdefault(problem.task, [])
        if problem.posed:
            tasks[problem.task].append(problem)
        else:
            notes.append(f"{problem.task}={problem.positive} is left out: a part has texts of one kind only.")
    for name, group in tasks.items():
        if len(group) < 2:
            notes.append(f"{name} is left out: TPP compares the probes of at least two classes against the rest.")
    kept = [group for group in tasks.values() if len(group) > 1]
    if not kept:
        raise NotApplicable("no task for TPP has two classes with probes: " + " ".join(notes))
    return kept, tuple(notes)


def _falls(e: LabelledEffects, problems: list[Problem], n: tuple[int, ...], how: Protocol) -> Falls:
    """The falls of all probes of a task under the ablation of each class's latents."""
    import numpy as np

    from saebench.probes import mean_differences

    key = ("tpp: probes", how.name, e.texts.seed, problems[0].task, tuple(p.positive for p in problems))
    probes: Probes = e.activations.once(key, lambda: how.fit(e, problems))
    gap = np.maximum(mean_differences(effects(e), problems), 0.0)
    along = directions(e, probes.weight)
    effect = gap * along
    tests = np.unique(np.concatenate([p.test for p in problems]))
    inside, label = np.zeros((2, len(tests), len(problems)), dtype=bool)
    for k, p in enumerate(problems):
        place = np.searchsorted(tests, p.test)
        inside[place, k], label[place, k] = True, p.test_label == 1
    before = probes.logits(activations(e)[tests])
    ablation = Ablation(e, tests, probes.weight, along)
    value, influence = np.empty((2, len(problems), len(n))), np.empty((2, len(problems), len(n), len(tests)))
    for k in range(len(problems)):
        after = before - ablation.falls(how.ranked(effect[k], n[-1]), n)
        lost = (((before > 0) == label).astype(np.float64) - ((after > 0) == label)) * inside
        mean = lost.sum(1) / inside.sum(0)
        each = (lost - mean[:, None] * inside) / inside.sum(0)
        others = [j for j in range(len(problems)) if j != k]
        value[:, k] = mean[:, k], mean[:, others].mean(1)
        influence[:, k] = each[..., k], each[..., others].mean(-1)
    return Falls(problems[0].task, tuple(p.positive for p in problems), tests, value, influence)


@tpp.value
@tpp_saebench.value
@tpp_intended.value
@tpp_unintended.value
def _(s: Totals) -> Array:
    return s.psi / s.n
