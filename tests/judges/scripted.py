"""Tasks with known answers, and judges that read a prompt as a model would."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence

from saebench.judges.protocol import Context, ExplainTask, Explanation, ScoreTask, Unanswered
from tests.judges.server import Brain, Canned, Request

SILENT = 0.0


def context(name: str, fires: bool, document: int = 0) -> Context:
    """A window of five words in which the third one, `name`, may fire."""
    tokens = (" the", " very", f" {name}", " is", " here")
    return Context(tokens, (SILENT, SILENT, 2.5 if fires else SILENT, SILENT, SILENT), document, "top")


def score_tasks(latents: int, positive: int = 4, negative: int = 6, kind: str = "detection") -> list[ScoreTask]:
    """Tasks whose contexts are all different; in fuzzing the third token is marked where right, else the second."""
    tasks = []
    for latent in range(latents):
        fires = [True] * positive + [False] * negative
        contexts = tuple(context(f"w{latent}x{place}", value, place) for place, value in enumerate(fires))
        marked = tuple(frozenset({2 if value else 1}) for value in fires) if kind == "fuzzing" else ()
        explanation = Explanation(f"words of latent {latent}")
        tasks.append(ScoreTask(kind, latent, explanation, contexts, marked))  # pyright: ignore[reportArgumentType]
    return tasks


def explain_tasks(latents: int) -> list[ExplainTask]:
    """Tasks of three firing contexts and a silent one."""
    return [
        ExplainTask(n, tuple(context(f"w{n}y{i}", True, i) for i in range(3)), (context(f"w{n}z", False),))
        for n in range(latents)
    ]


def truths(tasks: Sequence[ScoreTask]) -> dict[str, bool]:
    """The right answer by the word that is only in that context."""
    return {window.tokens[2].strip(): window.fires for task in tasks for window in task.contexts}


def questions(request: Request) -> dict[int, str]:
    """Numbered contexts of a prompt, by number."""
    text = request.body["messages"][-1]["content"]
    return {int(number): line for number, line in re.findall(r"^\[(\d+)\] (.*)$", text, flags=re.MULTILINE)}


def word_of(line: str) -> str:
    """The word that is only in this context."""
    found = re.search(r"w\d+x\d+", line)
    assert found, line
    return found[0]


def answered(request: Request, says: Callable[[str], bool], probability: float | None = None) -> str:
    """A reply by the schema, each context answered by its line."""
    if "explanation" in json.dumps(request.body.get("response_format", "")):
        return json.dumps({"explanation": "it fires on words of a latent"})
    asked = questions(request).items()
    return json.dumps(
        {"answers": [{"context": n, "answer": says(line), "probability": probability} for n, line in asked]}
    )


def perfect(tasks: Sequence[ScoreTask]) -> Brain:
    """Knows the truth, by the test."""
    truth = truths(tasks)
    return lambda request: answered(request, lambda line: truth[word_of(line)])


def coin(seed: int) -> Brain:
    """Guesses, each context for itself."""
    return lambda request: answered(request, lambda line: random.Random(f"{seed} {line}").random() < 0.5)


def nothing(request: Request) -> str:
    """Says that nothing ever fires."""
    return answered(request, lambda line: False)


def faulty(brain: Brain, faults: Mapping[int, Canned | str]) -> Brain:
    """The brain, but for the requests with these numbers."""
    return lambda request: faults[request.number] if request.number in faults else brain(request)


def balanced_accuracy(tasks: Sequence[ScoreTask], answers: Sequence[object]) -> float:
    """Mean over the two truths of the share answered right, over all contexts with an answer."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    for task, answer in zip(tasks, answers, strict=True):
        assert not isinstance(answer, Unanswered), answer
        for window, says in zip(task.contexts, answer.says, strict=True):  # pyright: ignore[reportAttributeAccessIssue]
            if says is not None:
                right[window.fires].append(says == window.fires)
    return sum(sum(values) / len(values) for values in right.values()) / 2
