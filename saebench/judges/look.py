"""One latent to look at: what explains it, what a judge said of held-out contexts, wrong answers first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from saebench.judges.judged import Judged
from saebench.judges.marks import seen
from saebench.judges.ngram_text import shown
from saebench.judges.protocol import Context

_SIGNS = {True: "right", False: "WRONG", None: "no answer"}


@dataclass(frozen=True)
class Look:
    """A latent of a SAE as it is shown.

    Attributes:
        sae: Name of the SAE.
        judge: Name of the judge.
        detection: What it said of held-out contexts.
        fuzzing: What it said of marked tokens; None where it was not asked.
        examples: Contexts that it was shown for explaining.
    """

    sae: str
    judge: str
    detection: Judged
    fuzzing: Judged | None = None
    examples: tuple[Context, ...] = ()

    @property
    def strongest(self) -> float:
        """Largest absolute activation in any context."""
        contexts = (*self.examples, *self.detection.contexts)
        return max((abs(a) for context in contexts for a in context.activations), default=0.0)

    @property
    def sentence(self) -> str:
        """The explanation, or why there is none."""
        told = self.detection.explanation
        return told.text if told else f"no explanation: {self.detection.problem}"

    @property
    def patterns(self) -> list[str]:
        """The patterns of the n-gram judge with their counts; none for another judge."""
        details = getattr(self.detection.explanation, "details", None)
        return [
            f"{pattern_text(p.tokens)}: fired on {p.fires} of {p.fires + p.silent} tokens shown"
            for p in getattr(details, "patterns", ())
        ]

    @property
    def scores(self) -> list[str]:
        """Its scores in words."""
        found = []
        for one in (self.detection, self.fuzzing):
            if one is not None:
                score = one.balanced_accuracy
                found.append(f"{one.kind} {'unscored: ' + one.problem if score is None else f'{score:.3f}'}")
        return found


def pattern_text(tokens: Sequence[tuple[int, str]]) -> str:
    """A pattern's tokens in the order of the text, stars for wildcards."""
    known = {distance: shown(token) for distance, token in tokens}
    return " ".join(known.get(distance, "*") for distance in range(max(known), -1, -1))


def wrong_first(judged: Judged) -> list[int]:
    """Places of the contexts: wrong answers, then those without one, then right ones; in each the strongest first."""
    rank = {False: 0, None: 1, True: 2}
    strength = [max((abs(a) for a in context.activations), default=0.0) for context in judged.contexts]
    return sorted(range(len(strength)), key=lambda i: (rank[judged.right[i]], -strength[i]))


def verdict(judged: Judged, place: int) -> str:
    """What was said of a context and whether it is right: `WRONG  near_miss  said fires (0.82)`."""
    says = judged.says[place]
    said = {True: "fires", False: "silent", None: "nothing"}[says]
    if judged.kind == "fuzzing":
        said = {True: "marks are right", False: "marks are wrong", None: "nothing"}[says]
    confidence = judged.answers.confidence if judged.answers else ()
    sure = confidence[place] if place < len(confidence) else None
    told = f"said {said}" + ("" if sure is None else f" ({sure:.2f})")
    return f"{_SIGNS[judged.right[place]]:9}  {judged.contexts[place].stratum:9}  {told}"


def text(look: Look, *, most: int = 40) -> str:
    """The page for a terminal: tokens on which the latent fires stand in «», the strongest with its activation."""
    one = look.detection
    lines = [f"{look.sae} latent {one.latent}", "", f"explanation  {look.sentence}", f"judge        {look.judge}"]
    lines += [f"density      fires on {one.density:.4%} of tokens", f"score        {'; '.join(look.scores)}"]
    lines += ["", *(f"  {line}" for line in look.patterns[:12])]
    for judged in (one, look.fuzzing):
        if judged is not None and judged.contexts:
            right = sum(r is True for r in judged.right)
            lines += ["", f"{judged.kind}: {right} of {len(judged.contexts)} right, wrong ones first"]
            for place in wrong_first(judged)[:most]:
                marks = judged.marked[place] if judged.marked else None
                lines.append(f"  {verdict(judged, place)}\n      {context_text(judged.contexts[place], marks)}")
    if look.examples:
        lines += ["", "shown to the judge, which explained it from these", *_examples(look.examples, most)]
    return "\n".join(lines)


def context_text(context: Context, marked: Iterable[int] | None = None) -> str:
    """A context on one line: «firing tokens» with the highest activation, and [marked] ones where some were."""
    strongest = max((abs(a) for a in context.activations), default=0.0)
    marks = set(marked or ())
    parts = []
    for token, places, activation in seen(context):
        lead = token[: len(token) - len(token.lstrip(" "))]
        body = token[len(lead) :].replace("\n", "\u21b5").replace("\t", "\u21e5")
        if marks.intersection(places):
            body = f"[{body}]"
        if activation:
            peak = f" {activation:.3g}" if abs(activation) == strongest else ""
            body = f"\u00ab{body}{peak}\u00bb"
        parts.append(lead + body)
    return "".join(parts).strip(" ")


def _examples(contexts: Sequence[Context], most: int) -> list[str]:
    return [f"  {context.stratum:9}  {context_text(context)}" for context in contexts[:most]]
