"""The judge for no network: patterns of tokens with wildcards explain a latent, and matching them scores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from saebench.judges.ngram_text import sentence
from saebench.judges.protocol import Answers, Context, ExplainTask, Explanation, Progress, ScoreTask, Unanswered

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
"""Moves whenever an explanation or an answer moves."""


@dataclass(frozen=True)
class Pattern:
    """Tokens by their distance in front of the token that fires, which is at 0; distances not named are wildcards.

    Attributes:
        tokens: `(distance, token)`, the nearest first.
        fires: Tokens of the contexts shown on which it held and the latent fired.
        silent: Those on which it held and the latent was silent.
        confidence: Probability that the latent fires where it holds.
    """

    tokens: tuple[tuple[int, str], ...]
    fires: int
    silent: int
    confidence: float


@dataclass(frozen=True)
class Patterns:
    """What the judge knows of a latent.

    Attributes:
        patterns: The most telling first.
        rates: Half the share of firing among occurrences of each token, for tokens that fired.
        threshold: Confidence from which it says that a latent fires.
    """

    patterns: tuple[Pattern, ...]
    rates: dict[str, float]
    threshold: float

    @cached_property
    def tokens(self) -> dict[str, int]:
        """A number for each token that a pattern names or that has a rate."""
        named = [token for pattern in self.patterns for _, token in pattern.tokens]
        return {token: i for i, token in enumerate(dict.fromkeys([*named, *self.rates]))}

    def confidences(self, contexts: Sequence[Context]) -> np.ndarray:
        """Probability that the latent fires on each token, contexts padded with 0 to the longest, `[contexts, size]`.

        It is that of the surest pattern that holds, else the token's rate.
        """
        return self.matched(numbered([context.tokens for context in contexts], self.tokens), self.tokens)

    def matched(self, ids: np.ndarray, number: Mapping[str, int]) -> np.ndarray:
        """The same for rows of numbered tokens, -1 for none of them, `[rows, size]`."""
        import numpy as np

        from saebench.judges.ngram_rules import match

        usable = [p for p in self.patterns if all(token in number for _, token in p.tokens)]
        distances = 1 + max((distance for p in usable for distance, _ in p.tokens), default=0)
        table = np.full((len(usable), distances), -1, dtype=np.int32)
        for row, pattern in zip(table, usable, strict=True):
            for distance, token in pattern.tokens:
                row[distance] = number[token]
        rate = np.zeros(len(number))
        for token, value in self.rates.items():
            if token in number:
                rate[number[token]] = value
        return match(ids, table, np.array([pattern.confidence for pattern in usable]), rate)


@dataclass(frozen=True)
class NGramJudge:
    """Explains a latent by patterns of tokens with wildcards, and scores by where they hold.

    After Neuron to Graph (Foote et al. 2023) as Gao et al. 2024 use it: the shortest patterns of the token and those
    before it that tell its firings from all other tokens shown, with wildcards for tokens that do not matter. Here
    they are found by covering (see `ngram_rules.learn`). It is deterministic, and knows nothing but the contexts shown.

    Attributes:
        before: How many tokens before a firing token are looked at.
        depth: Most tokens in a pattern.
        patterns: Most patterns of a latent.
        lowest: Confidence below which a pattern is not kept.
    """

    before: int = 5
    depth: int = 3
    patterns: int = 40
    lowest: float = 0.4

    @property
    def name(self) -> str:
        """How rows and boards call it."""
        return "ngram"

    def signature(self) -> dict[str, Any]:
        """All that decides its answers."""
        settings = {name: getattr(self, name) for name in ("before", "depth", "patterns", "lowest")}
        return {"judge": self.name, "version": VERSION, **settings}

    def explain(self, tasks: Sequence[ExplainTask], progress: Progress | None = None) -> list[Explanation | Unanswered]:
        """Find the patterns of each latent; one that fires in no context shown is refused."""
        return [self._told(task, i, len(tasks), progress) for i, task in enumerate(tasks)]

    def score(self, tasks: Sequence[ScoreTask], progress: Progress | None = None) -> list[Answers | Unanswered]:
        """Match the patterns of each explanation; one that another judge wrote is refused."""
        answers: list[Answers | Unanswered] = []
        for i, task in enumerate(tasks):
            known = task.explanation.details
            if isinstance(known, Patterns):
                answers.append(_answers(known, task))
            else:
                answers.append(Unanswered("the n-gram judge scores its own explanations only"))
            if progress:
                progress(i + 1, len(tasks))
        return answers

    def _told(self, task: ExplainTask, i: int, of: int, progress: Progress | None) -> Explanation | Unanswered:
        if progress:
            progress(i + 1, of)
        if not any(context.fires for context in task.firing):
            return Unanswered("no context to explain from")
        known = self._known([*task.firing, *task.silent])
        return Explanation(sentence(known), known)

    def _known(self, contexts: Sequence[Context]) -> Patterns:
        import numpy as np

        from saebench.judges.ngram_rules import confidence, learn

        number: dict[str, int] = {}
        for context in contexts:
            for token in context.tokens:
                number.setdefault(token, len(number))
        ids = numbered([context.tokens for context in contexts], number)
        feature = _features(ids, self.before)
        fires = np.concatenate([np.array(context.activations) for context in contexts]) != 0
        found, counts = learn(feature, fires, len(number), self.depth, self.patterns, self.lowest)
        tokens = list(number)
        patterns = [
            Pattern(
                tuple((distance, tokens[token]) for distance, token in enumerate(row.tolist()) if token >= 0),
                yes, no, round(float(confidence(row, yes, no)), 4),
            )
            for row, (yes, no) in zip(found, counts.tolist(), strict=True)
        ]  # fmt: skip
        patterns.sort(key=lambda pattern: (-pattern.fires, pattern.silent))
        seen = np.bincount(feature[:, 0], minlength=len(number))
        firing = np.bincount(feature[fires, 0], minlength=len(number))
        rates = {tokens[i]: float(firing[i] / (seen[i] + 1) / 2) for i in np.flatnonzero(firing)}
        sure = Patterns(tuple(patterns), rates, 0.5).matched(ids, number)
        return Patterns(tuple(patterns), rates, _threshold(sure.max(1), [context.fires for context in contexts]))


def numbered(rows: Sequence[Sequence[str]], number: Mapping[str, int]) -> np.ndarray:
    """Tokens by their numbers, -1 for those without and beyond a row's end, `[rows, longest]` int32."""
    import numpy as np

    ids = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int32)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = [number.get(token, -1) for token in row]
    return ids


def _features(ids: np.ndarray, before: int) -> np.ndarray:
    """Each token of some rows and those in front of it, -1 beyond the row's start, `[tokens, before + 1]` int32."""
    import numpy as np

    feature = np.full((*ids.shape, before + 1), -1, dtype=np.int32)
    for distance in range(min(before + 1, ids.shape[1])):
        feature[:, distance:, distance] = ids[:, : ids.shape[1] - distance]
    return feature[ids >= 0]


def _threshold(top: np.ndarray, fires: Sequence[bool]) -> float:
    """The confidence that tells firing from silent contexts best (balanced accuracy); of equals the nearest to 1/2."""
    import numpy as np

    firing = np.array(fires)
    if firing.all():
        return 0.5
    levels = np.unique(top)
    tried = np.unique([0.5, *((levels[1:] + levels[:-1]) / 2)])
    said = top >= tried[:, None]
    score = said[:, firing].mean(1) - said[:, ~firing].mean(1)
    best = tried[score >= score.max() - 1e-9]
    return float(best[np.abs(best - 0.5).argmin()])


def _answers(known: Patterns, task: ScoreTask) -> Answers:
    sure = known.confidences(task.contexts)
    if task.kind == "detection":
        top = sure.max(1)
        return Answers(tuple(bool(c >= known.threshold) for c in top), tuple(float(c) for c in top))
    says, confidence = [], []
    for row, marked in zip(sure, task.marked, strict=True):
        own = row[sorted(marked)]
        says.append(bool(len(own) and (own >= known.threshold).mean() >= 0.5))
        confidence.append(float(own.mean()) if len(own) else 0.0)
    return Answers(tuple(says), tuple(confidence))
