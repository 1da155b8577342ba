"""Questions by SAEBench 0.6's protocol, in our words: numbered windows, and a list of the numbers that activate."""

from __future__ import annotations

import random
from collections.abc import Sequence

from saebench.errors import UserError
from saebench.judges import marks, replies
from saebench.judges.prompts import Ask, shown
from saebench.judges.protocol import ExplainTask, Explanation, ScoreTask

THRESHOLD = 0.01
"""Tokens are marked whose activation is above this share of the largest one shown."""

EXPLAIN_SYSTEM = """\
You study neurons of a language model. A neuron activates on some word, part of a word or idea in a short text. \
You are given texts on which one neuron activates, the strongest first; where it activates is marked with << and \
>>. Look at the marked parts and sum up in one short sentence what the neuron activates on. Prefer an idea to a \
list of words, without being vague, and do not quote the texts. Begin your answer with "This neuron activates \
on"."""

SCORE_SYSTEM = """\
You study neurons of a language model. A neuron activates on some word, part of a word or idea in a short text. \
You are given what one neuron activates on and a list of {n} numbered texts. Answer with the numbers of the texts \
in which you believe the neuron activates somewhere, separated by commas, or with None if you believe it activates \
in none of them. Write nothing else. An answer looks like this: "{example}"."""

SCORE_USER = """\
The neuron activates on: {explanation}

The texts:

{windows}"""


class SaebenchPrompt:
    """SAEBench's questions: no schema, no probability, 30 tokens for an explanation.

    One thing is left out: the reference shows an example answer with as many numbers as there are
    positive windows, which tells the judge how many to find. Here the example's length is drawn.
    """

    name = "saebench"

    def texts(self) -> list[str]:
        """All that the questions are made of."""
        return [EXPLAIN_SYSTEM, SCORE_SYSTEM, SCORE_USER, str(THRESHOLD)]

    def explain(self, task: ExplainTask) -> Ask:
        """Asks for a sentence; windows in falling order of their largest activation, silent ones not shown."""
        windows = sorted(task.firing, key=lambda window: -marks.largest([window]))
        threshold = THRESHOLD * marks.largest(windows)
        lines = [marks.marked(window, marks.firing(window, threshold)) for window in windows]
        return Ask(
            kind="explain",
            latent=task.latent,
            messages=_chat(EXPLAIN_SYSTEM, f"The texts:\n\n{marks.numbered(lines)}"),
            read=_read_explanation,
            max_tokens=30,
            expected="This neuron activates on a sentence of about a hundred characters.".ljust(100, "."),
            whole=False,
        )

    def score(self, task: ScoreTask, order: Sequence[int]) -> Ask:
        """Asks for the numbers of the windows that activate.

        Raises:
            UserError: The task is not detection.
        """
        if task.kind != "detection":
            raise UserError(f"The judge's prompt 'saebench' has no {task.kind}. Ask for detection, or use 'plain'.")
        n = len(order)
        windows = marks.numbered([shown(task, place) for place in order])
        return Ask(
            kind=task.kind,
            latent=task.latent,
            messages=_chat(
                SCORE_SYSTEM.format(n=n, example=_example(n, windows)),
                SCORE_USER.format(explanation=marks.one_line(task.explanation.text), windows=windows),
            ),
            read=lambda reply: replies.read_numbers(reply, n),
            max_tokens=2 * n + 5,
            expected=", ".join(str(number) for number in range(1, n // 2 + 1)) or "None",
        )


def _example(n: int, windows: str) -> str:
    draw = random.Random(windows)
    return ", ".join(str(number) for number in sorted(draw.sample(range(1, n + 1), draw.randint(1, max(1, n // 2)))))


def _read_explanation(text: str) -> Explanation:
    return replies.explanation(text.rpartition("activates on")[2].strip(" .\n"))


def _chat(system: str, text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "system", "content": system}, {"role": "user", "content": text})
