"""What a judge is asked and what it answers; every judge, a language model or a table of n-grams, speaks this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Kind = Literal["detection", "fuzzing"]


@dataclass(frozen=True)
class Context:
    """A window of one document with the true activation of a latent at each of its tokens.

    Attributes:
        tokens: The text of each token; joined, they are the text of the window.
        activations: Activation of the latent at each token (0 where it is silent).
        document: Which document of the corpus the window is from.
        stratum: Why it was drawn: `top`, `mid`, `low` (by activation), `near_miss` or `random` (silent windows).
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    document: int
    stratum: str

    @property
    def fires(self) -> bool:
        """Whether the latent fires on any token of the window."""
        return any(value != 0 for value in self.activations)

    @property
    def text(self) -> str:
        """The window as text."""
        return "".join(self.tokens)


@dataclass(frozen=True)
class ExplainTask:
    """Asks for one sentence about a latent, from contexts it fires on and, where given, contexts it is silent on."""

    latent: int
    firing: tuple[Context, ...]
    silent: tuple[Context, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """A judge's sentence about a latent; `details` may hold what the same judge needs to score with it."""

    text: str
    details: Any = None


@dataclass(frozen=True)
class ScoreTask:
    """Asks which contexts fit an explanation.

    For `detection`: does the latent fire anywhere in the context. For `fuzzing`: are the `marked` tokens of the
    context the ones it fires on. The judge must read `Context.tokens` and `marked` only, never the activations.
    """

    kind: Kind
    latent: int
    explanation: Explanation
    contexts: tuple[Context, ...]
    marked: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True)
class Answers:
    """A judge's answer for each context of a task.

    Attributes:
        says: True, False, or None where the judge gave no usable answer for that context.
        confidence: Probability of True for each context, where the judge gives one.
    """

    says: tuple[bool | None, ...]
    confidence: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Unanswered:
    """A task without an answer, and why: `refused`, `timed out`, `budget`, `nonsense: ...`, `failed: ...`."""

    reason: str


Progress = Callable[[int, int], None]


class Judge(Protocol):
    """Explains latents and scores explanations; tasks in, answers out, in the order of the tasks."""

    @property
    def name(self) -> str:
        """How the judge is called in rows and on boards, `ngram` or `openai:gpt-4o-mini`."""
        ...

    def signature(self) -> dict[str, Any]:
        """All that decides its answers: model, temperature, seed, prompt version. Never a key or an address."""
        ...

    def explain(self, tasks: Sequence[ExplainTask], progress: Progress | None = None) -> list[Explanation | Unanswered]:
        """Explains each latent."""
        ...

    def score(self, tasks: Sequence[ScoreTask], progress: Progress | None = None) -> list[Answers | Unanswered]:
        """Answers each task; a context without a usable answer is None there, never False."""
        ...
