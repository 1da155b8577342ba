"""A judge's answers about one latent, beside the truth."""

from __future__ import annotations

from dataclasses import dataclass

from saebench.judges.protocol import Answers, Context, Explanation, Kind

STRATA = ("top", "mid", "low", "near_miss", "random")
"""Why a context was drawn: three by activation, two of silent ones."""


@dataclass(frozen=True)
class Judged:
    """One latent's explanation, the contexts a judge was asked about, and what it said.

    Attributes:
        latent: Its number.
        density: Share of tokens on which it fires.
        kind: `detection` or `fuzzing`.
        explanation: The sentence; None where there is none.
        contexts: What the judge was shown.
        truth: The right answer for each.
        marked: Tokens marked in each, for fuzzing.
        answers: What it said; None where it said nothing.
        problem: Why there is no score: too few contexts, or what went wrong with the judge; "" where there is one.
    """

    latent: int
    density: float
    kind: Kind
    explanation: Explanation | None = None
    contexts: tuple[Context, ...] = ()
    truth: tuple[bool, ...] = ()
    marked: tuple[frozenset[int], ...] = ()
    answers: Answers | None = None
    problem: str = ""

    @property
    def says(self) -> tuple[bool | None, ...]:
        """The judge's answer for each context; None where it gave none."""
        return self.answers.says if self.answers else (None,) * len(self.contexts)

    @property
    def right(self) -> tuple[bool | None, ...]:
        """Whether each answer is right; None where there is none."""
        return tuple(None if s is None else s == t for s, t in zip(self.says, self.truth, strict=True))

    def share(self, *, truth: bool | None = None, stratum: str = "") -> float | None:
        """Share of right answers among contexts with that truth and stratum; None where none was answered."""
        told = [
            r
            for r, t, c in zip(self.right, self.truth, self.contexts, strict=True)
            if r is not None and truth in (None, t) and stratum in ("", c.stratum)
        ]
        return sum(told) / len(told) if told else None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers."""
        return self.share()

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of the shares of right answers among true and among false contexts; chance is one half."""
        yes, no = self.share(truth=True), self.share(truth=False)
        return None if yes is None or no is None else (yes + no) / 2

    @property
    def auroc(self) -> float | None:
        """Chance that a true context gets a higher confidence than a false one, ties counting half."""
        confidence = self.answers.confidence if self.answers else ()
        sides: tuple[list[float], list[float]] = ([], [])
        for sure, truth in zip(confidence, self.truth, strict=False):
            if sure is not None:
                sides[truth].append(sure)
        no, yes = sides
        if not yes or not no:
            return None
        return sum((y > n) + (y == n) / 2 for y in yes for n in no) / (len(yes) * len(no))
