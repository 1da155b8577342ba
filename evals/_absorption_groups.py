"""Which groups absorption is measured on, and which latents stand for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from saebench.metric import NotApplicable

from ._absorption_probes import Recipe, Truth, f1, main_latents, members, truths

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from saebench.inputs import WordCodes

    from ._absorption_probes import Mains


class Group(NamedTuple):
    """A group whose probe is good enough: its place, the test items, which of them are true positives, and its probe.

    Attributes:
        hierarchy: Place of the hierarchy.
        place: Place of the group in it.
        prompts: Prompts that are true positives, rows of the activations, `[n]`.
        word: Row of each one's word, `[n]`.
        direction: Unit weights of the group's probe, `[d_out]`.
    """

    hierarchy: int
    place: int
    prompts: Tensor
    word: np.ndarray
    direction: Tensor


def word_rows(w: WordCodes) -> list[np.ndarray]:
    """The row of the word of each test item, by hierarchy, `[n_test]` each; every hierarchy has rows of its own."""
    import numpy as np

    found, start = [], 0
    for h in w.words.hierarchies:
        words, row = np.unique(h.word[h.test], return_inverse=True)
        found.append(row.reshape(-1) + start)
        start += len(words)
    return found


def eligible(w: WordCodes, how: Recipe) -> list[Group]:
    """The groups whose probe on the activation is good enough, with the prompts that it gets right.

    Raises:
        NotApplicable: There is none.
    """
    import torch

    found = []
    places = zip(w.words.hierarchies, truths(w, how), word_rows(w), strict=True)
    for number, (h, truth, rows) in enumerate(places):
        for g in range(len(h.groups)):
            if not how.good(truth.f1[g]):
                continue
            right = (h.label[h.test] == g) & (truth.logits[:, g] > 0)
            prompts = torch.from_numpy(h.items[h.test][right])
            found.append(Group(number, g, prompts, rows[right], torch.from_numpy(truth.direction[g])))
    if not found:
        best = _best(w, truths(w, how))
        raise NotApplicable(f"no group of words is told by a probe of the activation with F1 {how.min_probe_f1}{best}")
    count = Counter(g.hierarchy for g in found)
    enough = [g for g in found if count[g.hierarchy] >= how.min_groups]
    if not enough:
        raise NotApplicable(
            f"at most {max(count.values())} groups of a hierarchy are told by a probe of the activation, and below "
            f"{how.min_groups} the reference reports nothing: min_groups says how many must be"
        )
    return enough


def _best(w: WordCodes, found: tuple[Truth, ...]) -> str:
    """A remark on the group that came nearest."""
    import numpy as np

    scores = [
        (float(score), f"{h.name}/{name}")
        for h, truth in zip(w.words.hierarchies, found, strict=True)
        for name, score in zip(h.groups, truth.f1, strict=True)
        if np.isfinite(score)
    ]
    return f": the best is {max(scores)[1]} with {max(scores)[0]:.2f}" if scores else ""


def left_out(w: WordCodes, how: Recipe) -> tuple[str, ...]:
    """A sentence for each group without a score, those included that were left out when the words were read."""
    import numpy as np

    notes = []
    for h, truth in zip(w.words.hierarchies, truths(w, how), strict=True):
        notes += h.left_out
        for name, score in zip(h.groups, truth.f1, strict=True):
            if np.isnan(score):
                notes.append(f"{h.name}/{name} is left out: it has no words to fit on, or none to score on.")
            elif not how.good(score):
                notes.append(
                    f"{h.name}/{name} is left out: a probe of the activation tells it with F1 {score:.2f}, "
                    f"below {how.min_probe_f1}."
                )
    return tuple(notes)


def mains(w: WordCodes, how: Recipe) -> tuple[Mains, ...]:
    """The main latents of every group that is good enough, by hierarchy; made once for a SAE."""
    from saebench.probes import table

    def make() -> tuple[Mains, ...]:
        groups = eligible(w, how)
        codes: Any = table(w.codes)
        return tuple(
            main_latents(w, codes[h.items], h, [g.place for g in groups if g.hierarchy == number], how)
            for number, h in enumerate(w.words.hierarchies)
        )

    return w.once(("absorption: mains", how), make)


class Worth(NamedTuple):
    """How well a group's main latents tell it on the test prompts, and what naming every prompt would score."""

    f1: float
    chance: float

    @property
    def skill(self) -> float:
        """0 for what naming every prompt scores, 1 for no mistake; below 0 for worse."""
        return (self.f1 - self.chance) / (1 - self.chance)


def worth(w: WordCodes, how: Recipe) -> dict[tuple[int, int], Worth]:
    """What the main latents of each group with a good probe are worth, by hierarchy and place."""
    found = {}
    for number, part in enumerate(mains(w, how)):
        h = w.words.hierarchies[number]
        member = members(h)[h.test]
        for place, logits in part.logits.items():
            share = float(member[:, place].mean())
            found[number, place] = Worth(f1(logits, member[:, place]), 2 * share / (1 + share))
    return found


def told(w: WordCodes, how: Recipe, least: float) -> list[Group]:
    """The groups with a good probe whose main latents have at least some skill.

    Raises:
        NotApplicable: There is none.
    """
    known = worth(w, how)
    groups = eligible(w, how)
    kept = [g for g in groups if known[g.hierarchy, g.place].skill >= least]
    if not kept:
        place, best = max(known.items(), key=lambda item: item[1].skill)
        name = _name(w, *place)
        raise NotApplicable(
            f"no group has latents that tell it, so that there is nothing to absorb: the best are those of {name} "
            f"with F1 {best.f1:.2f}, and naming every word scores {best.chance:.2f}"
        )
    return kept


def untold(w: WordCodes, how: Recipe, least: float) -> tuple[str, ...]:
    """A sentence for each group that has no score, those included that `left_out` names."""
    return left_out(w, how) + tuple(
        f"{_name(w, *place)} is left out: its main latents tell it with F1 {known.f1:.2f}, too near to the "
        f"{known.chance:.2f} of naming every word."
        for place, known in worth(w, how).items()
        if not known.skill >= least
    )


def _name(w: WordCodes, number: int, place: int) -> str:
    h = w.words.hierarchies[number]
    return f"{h.name}/{h.groups[place]}"
