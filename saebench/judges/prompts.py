"""What a language model is asked, word for word, and the version that moves with any word of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from saebench.judges import marks, replies
from saebench.judges.protocol import Answers, Context, ExplainTask, Explanation, ScoreTask
from saebench.judges.wording import DETECTION, EXPLAIN, FUZZING, IN_PROSE, SILENT

SCORE = {"detection": DETECTION, "fuzzing": FUZZING}


@dataclass(frozen=True)
class Ask:
    """One question to a language model and how its reply is read.

    Attributes:
        kind: `explain`, `detection` or `fuzzing`.
        latent: Which latent it is about.
        messages: Messages of the chat, each with `role` and `content`.
        read: From the text of a reply to the answer; raises `BadReply`.
        max_tokens: Longest reply asked for, in tokens.
        expected: A usual reply, to estimate its cost by.
        schema: JSON schema of the reply, None for plain text.
        whole: Whether a reply that was cut cannot be used.
    """

    kind: str
    latent: int
    messages: tuple[dict[str, str], ...]
    read: Callable[[str], Any]
    max_tokens: int
    expected: str
    schema: dict[str, Any] | None = None
    whole: bool = True

    @property
    def size(self) -> int:
        """Characters of the messages and the schema, which endpoints count as a part of the question."""
        schema = len(json.dumps(self.schema)) if self.schema else 0
        return schema + sum(len(message["content"]) for message in self.messages)


class Prompt(Protocol):
    """A way to ask; `score` shows the contexts in the order given."""

    name: str

    def texts(self) -> list[str]:
        """All that the questions are made of."""
        ...

    def explain(self, task: ExplainTask) -> Ask:
        """Asks for a sentence about a latent."""
        ...

    def score(self, task: ScoreTask, order: Sequence[int]) -> Ask:
        """Asks for an answer to each context of a task."""
        ...


class PlainPrompt:
    """The harness's own questions: answers by JSON schema, with probabilities."""

    name = "plain"
    max_tokens = 4000
    """Room for a model that thinks aloud before it answers."""

    def texts(self) -> list[str]:
        """All that the questions are made of."""
        schemas = [replies.strict_schema(model) for model in (replies.ExplanationReply, replies.ScoreReply)]
        return [EXPLAIN, SILENT, DETECTION, FUZZING, IN_PROSE, *(json.dumps(schema) for schema in schemas)]

    def explain(self, task: ExplainTask) -> Ask:
        """Asks what the latent is active on."""
        scale = marks.largest(task.firing) or 1.0
        firing = marks.numbered([_with_strengths(context, scale) for context in task.firing])
        unmarked = marks.numbered([marks.marked(context, ()) for context in task.silent])
        silent = SILENT.format(silent=unmarked) if task.silent else ""
        return Ask(
            kind="explain",
            latent=task.latent,
            messages=user(EXPLAIN.format(firing=firing, silent=silent)),
            read=replies.read_explanation,
            max_tokens=self.max_tokens,
            expected=json.dumps({"explanation": "a sentence of about a hundred characters".ljust(100, ".")}),
            schema=replies.strict_schema(replies.ExplanationReply),
        )

    def score(self, task: ScoreTask, order: Sequence[int]) -> Ask:
        """Asks for an answer to each context, shown in this order."""
        n = len(order)
        lines = marks.numbered([shown(task, place) for place in order])
        text = SCORE[task.kind].format(explanation=marks.one_line(task.explanation.text), n=n, contexts=lines)
        return Ask(
            kind=task.kind,
            latent=task.latent,
            messages=user(text),
            read=lambda reply: replies.read_answers(reply, n),
            max_tokens=self.max_tokens,
            expected=json.dumps({"answers": [{"context": n, "answer": False, "probability": 0.25}] * n}),
            schema=replies.strict_schema(replies.ScoreReply),
        )


def shown(task: ScoreTask, place: int) -> str:
    """A context as its task shows it: plain for detection, marked for fuzzing."""
    context = task.contexts[place]
    return marks.marked(context, task.marked[place]) if task.kind == "fuzzing" else marks.plain(context)


def presented(task: ScoreTask, seed: int | None) -> list[int]:
    """Order in which the contexts are shown: by a hash of seed and text, so that the task's order tells nothing."""
    keys = [hashlib.sha256(f"{seed}\0{shown(task, place)}".encode()).digest() for place in range(len(task.contexts))]
    return sorted(range(len(keys)), key=lambda place: keys[place])


def version(prompt: Prompt) -> str:
    """A hash of a prompt's texts and of what it makes of a sample, twelve hexadecimal digits."""
    sample = Context((" a", "<b", "\n", " c<<", "d"), (0.0, 2.0, 1.0, 0.0, -0.5), 0, "top")
    asked = [prompt.explain(ExplainTask(0, (sample,), (sample,)))]
    asked += [prompt.score(ScoreTask("detection", 0, Explanation("e"), (sample,)), [0])]
    made = json.dumps([[ask.messages, ask.schema, ask.max_tokens] for ask in asked], sort_keys=True)
    return hashlib.sha256("\0".join([*prompt.texts(), made]).encode()).hexdigest()[:12]


def user(text: str) -> tuple[dict[str, str], ...]:
    """One message of the user; a system message would be refused by some models' chat templates."""
    return ({"role": "user", "content": text},)


def in_order(answers: Answers, order: Sequence[int]) -> Answers:
    """Answers given in the order shown, in the order of the task."""
    back = sorted(range(len(order)), key=lambda shown_at: order[shown_at])
    says = tuple(answers.says[place] for place in back)
    return Answers(says, tuple(answers.confidence[place] for place in back) if answers.confidence else ())


def _with_strengths(context: Context, scale: float) -> str:
    pairs = marks.strengths(context, scale)
    listed = ", ".join(f"{json.dumps(token, ensure_ascii=False)} {strength}" for token, strength in pairs)
    return f"{marks.marked(context, marks.firing(context))}\n    ({listed})"
