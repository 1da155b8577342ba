"""Latents that stand for what is to be forgotten, and what the model still knows when they are clamped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from saebench.metric import Count, NotApplicable, Positive, Share

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.inputs import QuestionRuns

ABOVE_CHANCE = 3.0
"""Standard errors by which the model's accuracy must be above chance."""


@dataclass(frozen=True)
class Grid:
    """The settings that are tried, in every combination.

    Attributes:
        retain_thresholds: Share of the retain text's tokens below which a latent may be clamped.
        n: Numbers of latents.
        multipliers: Values of m in units of the codes.
        relative: Values of m in units of the latent's maximum.
    """

    retain_thresholds: tuple[Share, ...] = (0.001, 0.01)
    n: tuple[Count, ...] = (10, 20)
    multipliers: tuple[Positive, ...] | tuple[()] = (25.0, 50.0, 100.0, 200.0)
    relative: tuple[Positive, ...] | tuple[()] = (1.0, 2.0, 5.0)


class Setting(NamedTuple):
    """One way to unlearn: the n latents that fire most on the forget text and rarely on the other, set to -m."""

    retain: float
    n: int
    m: float
    relative: bool

    @property
    def name(self) -> str:
        """Such as `retain=0.001,n=10,m=25`; a multiple of the latent's maximum as `m=2max`."""
        return f"retain={self.retain:g},n={self.n},m={self.m:g}" + ("max" if self.relative else "")


@dataclass(frozen=True)
class Outcomes:
    """What each setting leaves of the answers.

    Attributes:
        settings: The settings, those in code units first.
        right: Share of a question's orders that are answered right under each setting, `[settings, questions]`.
        known: Questions that the unedited model answers right in every order, `[questions]` bool.
        forget: Questions about what is to be forgotten, `[questions]` bool.
        notes: Settings that select no latent.
    """

    settings: tuple[Setting, ...]
    right: Tensor
    known: Tensor
    forget: Tensor
    notes: tuple[str, ...]


def outcomes(q: QuestionRuns, grid: Grid) -> Outcomes:
    """Run all settings on one encode of each prompt; those that clamp the same latents to the same values, once.

    Raises:
        NotApplicable: The model cannot answer the questions, so that nothing could be seen to be forgotten.
    """
    settings = tuple(_settings(grid))
    if not settings:
        raise ValueError("no setting to try: give retain_thresholds, n, and multipliers or relative")

    def make() -> Outcomes:
        known, forget = _known(q)
        right, notes = _answers(q, settings)
        return Outcomes(settings, right, known, forget, notes)

    return q.once(("unlearning", settings), make)


def selected(forget: Tensor, retain: Tensor, threshold: float, n: int) -> Tensor:
    """The n latents that fire most often on the forget text, of those below the threshold on the retain text.

    Args:
        forget: Share of tokens on which each latent fires, `[d_sae]`.
        retain: The same on the text to be retained.

    Returns:
        Latents `[at most n]`, equal shares in the latents' order; none that never fires on the forget text.
    """
    import torch

    score = torch.where(retain < threshold, forget, torch.zeros_like(forget))
    order = torch.sort(score, descending=True, stable=True).indices[:n]
    return order[score[order] > 0]


def _settings(grid: Grid) -> Iterator[Setting]:
    for values, is_relative in ((grid.multipliers, False), (grid.relative, True)):
        for threshold in grid.retain_thresholds:
            for count in grid.n:
                yield from (Setting(threshold, count, value, is_relative) for value in values)


def _answers(q: QuestionRuns, settings: Sequence[Setting]) -> tuple[Tensor, tuple[str, ...]]:
    """`right` of `Outcomes`, and a note for each threshold that leaves no latent."""
    import torch

    wanted: dict[tuple[tuple[int, ...], tuple[float, ...]], tuple[Tensor, Tensor]] = {}
    keys, empty = [], []
    for setting in settings:
        latents = selected(q.forget, q.retain, setting.retain, setting.n)
        values = torch.full((len(latents),), -float(setting.m), dtype=torch.float64, device=latents.device)
        values = values * q.maximum[latents].double() if setting.relative else values
        key = (tuple(latents.tolist()), tuple(values.tolist()))
        keys.append(key)
        if len(latents):
            wanted[key] = (latents, values.float())
        elif setting.retain not in empty:
            empty.append(setting.retain)
    found = {((), ()): shares_right(q, q.clean)}
    if wanted:
        logits = q.clamped(list(wanted.values()))
        found |= {key: shares_right(q, part) for key, part in zip(wanted, logits, strict=True)}
    notes = tuple(
        f"no latent fires on the forget text and on less than {threshold:g} of the retain text's tokens: "
        f"with retain={threshold:g} nothing is clamped"
        for threshold in empty
    )
    return torch.stack([found[key] for key in keys]), notes


def shares_right(q: QuestionRuns, logits: Tensor) -> Tensor:
    """Share of each question's orders whose likeliest option is the answer, `[questions]`; NaN answers nothing."""
    import torch

    logits = logits.cpu()
    question = torch.as_tensor(q.questions.question)
    hit = (logits.argmax(-1) == torch.as_tensor(q.questions.answer)) & ~logits.isnan().any(-1)
    size = len(q.questions.names)
    asked = torch.bincount(question, minlength=size).double()
    return torch.bincount(question, weights=hit.double(), minlength=size) / asked


def _known(q: QuestionRuns) -> tuple[Tensor, Tensor]:
    """Which questions the model knows, and which are to be forgotten; refused where it only guesses."""
    import torch

    right = shares_right(q, q.clean)
    forget = torch.as_tensor(q.questions.forget)[torch.as_tensor(q.questions.domain)]
    chance = 1 / q.clean.shape[1]
    for here, what in ((forget, "to be forgotten"), (~forget, "to be retained")):
        asked, accuracy = int(here.sum()), right[here].mean().item()
        answered = f"the model answers {accuracy:.1%} of {asked} questions about what is {what}"
        if not asked:
            raise NotApplicable(f"There is no question about what is {what}.")
        if accuracy < chance + ABOVE_CHANCE * (chance * (1 - chance) / asked) ** 0.5:
            raise NotApplicable(f"The task is too hard: {answered}, and chance is {chance:.1%}.")
        if not bool((right[here] == 1).any()):
            raise NotApplicable(f"The task is too hard: {answered}, and none of them in every order of the options.")
    return right == 1, forget
