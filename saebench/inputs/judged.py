"""Latents with their contexts, explained and scored by a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from saebench.inputs.contexts import Kept, LatentContexts, Sampling
from saebench.inputs.memo import Memo
from saebench.judges.judged import Judged
from saebench.judges.protocol import Answers, Context, ExplainTask, Explanation, Judge, Kind, ScoreTask, Unanswered
from saebench.metric import NotApplicable

if TYPE_CHECKING:
    import numpy as np

TOP, WEIGHTED, RANDOM = 2, 2, 10
"""Contexts by which SAEBench 0.6 scores a latent."""

Uniforms = Callable[..., "np.ndarray"]


class DrawnLatents(Memo):
    """The latents drawn of one SAE by one sampling, and what judges say of them; each is asked once.

    Attributes:
        sampling: How they were drawn.
        latents: Their contexts, by number of the latent.
        notes: What is to be said of the drawing.
        held_out_windows: Windows of the held-out half.
        pool: Gives token ids of the held-out pool, -1 beyond a window's end, `[windows, size]`, and their texts.
        logit_lens: Gives the token ids that some latents raise most, `[latents, count]`.
    """

    def __init__(
        self,
        sampling: Sampling,
        latents: Sequence[LatentContexts],
        judges: Mapping[str, Judge],
        uniforms: Uniforms,
        *,
        held_out_windows: int,
        notes: Sequence[str] = (),
        pool: Callable[[], tuple[np.ndarray, list[tuple[str, ...]]]],
        logit_lens: Callable[[Sequence[int], int], np.ndarray],
    ) -> None:
        super().__init__()
        self.sampling, self.latents, self.notes = sampling, tuple(latents), tuple(notes)
        self._judges, self._uniforms = dict(judges), uniforms
        self.held_out_windows, self.pool, self.logit_lens = held_out_windows, pool, logit_lens

    def judge(self, name: str = "") -> Judge:
        """The judge of the run, or the one of that name."""
        return self._judges[name]

    def detection(self, judge: str = "") -> list[Judged]:
        """Every latent, with the answers to which held-out contexts it fires on."""
        return self._once("detection", judge, self._asked)

    def fuzzing(self, judge: str = "") -> list[Judged]:
        """Every latent, with the answers to whether the tokens marked are those it fires on."""
        return self._once("fuzzing", judge, self._marked)

    def published(self, judge: str = "") -> list[Judged]:
        """Every latent by SAEBench's protocol: 4 windows that are called firing, 10 at random called silent."""
        return self._once("detection", judge, self._fourteen, "published")

    def answered(self, kind: Kind) -> list[Judged]:
        """What the run's judge has said of every latent, if it was asked; it is not asked now."""
        return self.known((kind, self.judge().name)) or []

    def examples(self, place: int) -> tuple[Context, ...]:
        """The firing contexts that an explainer is shown of a latent."""
        return self.to_explain(place).firing

    def _once(self, kind: Kind, judge: str, asked: Callable[[LatentContexts], Judged], name: str = "") -> list[Judged]:
        key = (name or kind, self.judge(judge).name)
        return self.once(key, lambda: self._scored([asked(latent) for latent in self.latents], judge))

    def explained(self, judge: str = "") -> list[Explanation | Unanswered]:
        """The judge's sentence about every latent that has contexts enough."""
        mine = self.judge(judge)

        def explain() -> list[Explanation | Unanswered]:
            able = [i for i, latent in enumerate(self.latents) if not self.problem(latent)]
            told = dict(zip(able, mine.explain([self.to_explain(i) for i in able]), strict=True))
            return [told.get(i, Unanswered("too few contexts")) for i in range(len(self.latents))]

        return self.once(("explained", mine.name), explain)

    def problem(self, latent: LatentContexts) -> str:
        """Why a latent cannot be scored for want of contexts; "" if it can."""
        least, halves = self.sampling.least, ("shown", "held-out")
        for half, count in zip(halves, latent.firing, strict=True):
            if count < least:
                return f"too few contexts: it fires in {count} windows of the {half} half, {least} are needed"
        silent = len(latent.held_out.random)
        if silent < least:
            return f"too few contexts: it is silent in {silent} windows drawn at random, {least} are needed"
        return ""

    def to_explain(self, place: int) -> ExplainTask:
        """What an explainer is shown of a latent."""
        latent, s = self.latents[place], self.sampling
        shown = latent.shown
        top = shown.top.pick(slice(s.top))
        weighted = shown.weighted.without(top).pick(slice(s.weighted))
        spread = shown.spread.without(top, weighted).pick(slice(s.spread))
        missed = shown.near_miss.pick(slice(s.silent // 2))
        random = self._random(latent, shown.random, s.silent + len(missed)).without(missed)
        silent = (*missed.contexts, *random.pick(slice(s.silent - len(missed))).contexts)
        return ExplainTask(latent.latent, (*top.contexts, *weighted.contexts, *spread.contexts), silent)

    def _scored(self, asked: list[Judged], judge: str) -> list[Judged]:
        """The same with explanations and answers."""
        told = self.explained(judge)
        able = [i for i, one in enumerate(asked) if not one.problem and isinstance(told[i], Explanation)]
        tasks = []
        for i in able:
            sentence = told[i]
            assert isinstance(sentence, Explanation)
            tasks.append(ScoreTask(asked[i].kind, asked[i].latent, sentence, asked[i].contexts, asked[i].marked))
        answers = dict(zip(able, self.judge(judge).score(tasks), strict=True))
        return [_complete(one, told[i], answers.get(i)) for i, one in enumerate(asked)]

    def _asked(self, latent: LatentContexts) -> Judged:
        contexts = [c for part in (*self._firing(latent), *self._silent(latent)) for c in part.contexts]
        return self._question(latent, "detection", [(context, context.fires) for context in contexts])

    def _fourteen(self, latent: LatentContexts) -> Judged:
        """Windows of the pool count as silent whatever the latent does in them, as in the reference."""
        held = latent.held_out
        top = held.top.pick(slice(TOP))
        weighted = held.weighted.without(top).pick(slice(WEIGHTED))
        anyhow = self._random(latent, held.pool, RANDOM).pick(slice(RANDOM), "random")
        firing = [(context, True) for part in (top, weighted) for context in part.contexts]
        return self._question(latent, "detection", [*firing, *((context, False) for context in anyhow.contexts)])

    def _marked(self, latent: LatentContexts) -> Judged:
        """Firing contexts, by turns with the firing tokens marked and with as many silent ones."""
        import numpy as np

        asked = self._question(latent, "fuzzing", [(c, True) for part in self._firing(latent) for c in part.contexts])
        marked, truth = [], []
        for i, context in enumerate(asked.contexts):
            acts = np.array(context.activations)
            fires, silent = np.flatnonzero(acts != 0), np.flatnonzero(acts == 0)
            right = i % 2 == 0 or not len(silent)
            draw = self._uniforms(silent, latent.latent, "marks", i)
            tokens = fires if right else silent[np.argsort(draw)[: len(fires)]]
            marked.append(frozenset(int(t) for t in tokens))
            truth.append(right)
        return Judged(
            asked.latent, asked.density, "fuzzing", contexts=asked.contexts, truth=tuple(truth), marked=tuple(marked),
            problem=asked.problem,
        )  # fmt: skip

    def _firing(self, latent: LatentContexts) -> list[Kept]:
        """Held-out windows of the three strata by activation: the strongest, and the halves of the others."""
        import numpy as np

        n, held = self.sampling.stratum, latent.held_out
        top = held.top.pick(slice(n))
        rest = held.spread.without(top)
        order = np.argsort(-rest.strength, kind="stable")
        halves = (order[: len(order) // 2], order[len(order) // 2 :])
        return [top, *(rest.pick(_even(half, n), name) for half, name in zip(halves, ("mid", "low"), strict=True))]

    def _silent(self, latent: LatentContexts) -> list[Kept]:
        n, s = self.sampling.random, self.sampling
        missed = latent.held_out.near_miss.pick(slice(s.stratum))
        random = self._random(latent, latent.held_out.random, n + len(missed)).without(missed)
        return [missed, random.pick(slice(n))]

    def _random(self, latent: LatentContexts, among: Kept, count: int) -> Kept:
        """Some of the windows, in an order that is the latent's own."""
        import numpy as np

        return among.pick(np.argsort(self._uniforms(among.windows, latent.latent, "random"))[:count], "random")

    def _question(self, latent: LatentContexts, kind: Kind, asked: Sequence[tuple[Context, bool]]) -> Judged:
        """The contexts in an order that tells nothing."""
        import numpy as np

        problem = self.problem(latent)
        order = np.argsort(self._uniforms(np.arange(len(asked)), latent.latent, "order")) if not problem else ()
        return Judged(
            latent.latent, latent.density, kind,
            contexts=tuple(asked[i][0] for i in order), truth=tuple(asked[i][1] for i in order), problem=problem,
        )  # fmt: skip


class SampledLatents:
    """A SAE's latents with contexts from the pass: the items of what needs no judge of the user's choice.

    A metric that takes it has the fields of `Sampling` among its settings and hands them to `of`.
    """

    kind: ClassVar[str] = "items"
    data: ClassVar[str] = "text"

    def __init__(self, drawn: Mapping[Sampling, DrawnLatents]) -> None:
        self.drawn = dict(drawn)

    def of(self, sampling: Sampling) -> DrawnLatents:
        """The latents drawn by a sampling.

        Raises:
            NotApplicable: None fires often enough.
        """
        found = self.drawn[sampling]
        if not found.latents:
            raise NotApplicable(f"no latent fires on {sampling.dead} tokens: {'; '.join(found.notes)}")
        return found


class JudgedLatents(SampledLatents):
    """The same with the run's judge, whose signature is part of the row's."""


def _even(order: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the places, evenly spaced."""
    import numpy as np

    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]


def _complete(one: Judged, told: Explanation | Unanswered, answers: Answers | Unanswered | None) -> Judged:
    """What was asked with what came of it."""
    from dataclasses import replace

    if one.problem:
        return one
    if isinstance(told, Unanswered):
        return replace(one, problem=f"not explained: {told.reason}")
    if not isinstance(answers, Answers):
        return replace(one, explanation=told, problem=f"not scored: {answers.reason if answers else 'no answer'}")
    return replace(one, explanation=told, answers=answers)
