"""The biased probe of a pair of classes and the clean ones that it is compared with; no SAE is involved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from saebench.metric import NotApplicable

from ._latent_ablation import Probes, activations, fit_probes
from ._trained_probes import trained_probes

if TYPE_CHECKING:
    import numpy as np

    from saebench.data.labelled import SpuriousPair
    from saebench.inputs import LabelledEffects
    from saebench.probes import Problem

LEAST = 1e-3
"""Least accuracy that there must be to win for a score to be defined."""


class Biased(NamedTuple):
    """The probes of a pair and how far the biased one is from clean, none of it from a SAE.

    Attributes:
        pair: Its name.
        problems: Class and attribute on balanced texts, and the biased one.
        weight: Of the three probes, `[3, d_out]`.
        logits: Of the biased probe on the test texts, `[m]`.
        label: Class and attribute of the test texts, `[2, m]`.
        before: Whether the biased probe is right about them, `[2, m]` float64.
        gaps: Accuracy of the clean probe minus that of the biased one, by text, for dir1 and dir2, `[m]` each; None
            where there is nothing to win.
        chosen: 0 for dir1, 1 for dir2, None where the score is undefined.
        reason: Why it is, or "".
        unwinnable: Score of a direction where there is nothing to win.
    """

    pair: str
    problems: list[Problem]
    weight: np.ndarray
    logits: np.ndarray
    label: np.ndarray
    before: np.ndarray
    gaps: list[np.ndarray | None]
    chosen: int | None
    reason: str
    unwinnable: float = float("nan")


def pairs(e: LabelledEffects) -> Sequence[SpuriousPair]:
    if not e.texts.pairs:
        raise NotApplicable("the labelled texts hold no pairs of classes with a spurious attribute")
    return e.texts.pairs


def _problems(pair: SpuriousPair) -> list[Problem]:
    """Class, attribute and biased problem; all are tested on all test texts."""
    import numpy as np

    from saebench.probes import Problem

    def problem(name: str, kept: np.ndarray, label: np.ndarray, test_label: np.ndarray) -> Problem:
        return Problem(pair.name, name, False, pair.train[kept], label[kept], pair.test, test_label)

    agree = pair.train_class == pair.train_attribute
    every = np.ones_like(agree)
    return [
        problem("class", every, pair.train_class, pair.test_class),
        problem("attribute", every, pair.train_attribute, pair.test_attribute),
        problem("biased", agree, pair.train_class, pair.test_class),
    ]


def biased(e: LabelledEffects, pair: SpuriousPair, c: float) -> Biased:
    """The probes of a pair, made once for all SAEs at a hook."""

    def make() -> Biased:
        problems = _problems(pair)
        probes = fit_probes(e, problems, c)
        return _biased(e, pair, problems, probes)

    return e.activations.once(("scr: probes", c, e.texts.seed, pair.name), make)


def trained_biased(e: LabelledEffects, pair: SpuriousPair) -> Biased:
    """The same by SAEBench's protocol: trained probes; a direction with nothing to win scores 0 and counts."""

    def make() -> Biased:
        problems = _problems(pair)
        agree = pair.test_class == pair.test_attribute
        own = replace(problems[2], test=pair.test[agree], test_label=pair.test_class[agree])
        probes = Probes(*trained_probes(e, [*problems[:2], own]))
        run = _biased(e, pair, problems, probes)
        accuracy = run.before.mean(1)
        tie = accuracy[0] == accuracy[1]
        posed = all(p.posed for p in problems)
        chosen = int(accuracy[0] > accuracy[1]) if posed and not tie else None
        reason = _reason(posed, chosen, [run.before[0], run.before[1]])
        return run._replace(chosen=chosen, reason=reason, unwinnable=0.0 if posed else float("nan"))

    return e.activations.once(("scr: trained probes", e.texts.seed, pair.name), make)


def _biased(e: LabelledEffects, pair: SpuriousPair, problems: list[Problem], probes: Probes) -> Biased:
    import numpy as np

    logits = probes.logits(activations(e)[pair.test])
    label = np.stack([pair.test_class, pair.test_attribute])
    clean, before = (((z > 0) == label).astype(np.float64) for z in (logits.T[:2], logits.T[2]))
    posed = all(p.posed for p in problems)
    gaps = [gap if posed and gap.mean() >= LEAST else None for gap in clean - before]
    accuracy = before.mean(1)
    chosen = None if accuracy[0] == accuracy[1] else int(accuracy[0] > accuracy[1])
    reason = _reason(posed, chosen, gaps)
    return Biased(
        pair.name, problems, probes.weight, logits[:, 2], label, before, gaps, None if reason else chosen, reason
    )


def _reason(posed: bool, chosen: int | None, gaps: list[np.ndarray | None]) -> str:
    if not posed:
        return "texts of one kind are missing"
    if chosen is None:
        return "the biased probe is as accurate on the class as on the attribute"
    return "" if gaps[chosen] is not None else f"the biased probe has less than {LEAST} accuracy to win"


def notes(runs: Sequence[Biased]) -> tuple[str, ...]:
    return tuple(f"{run.pair} has no score: {run.reason}." for run in runs if run.reason)
