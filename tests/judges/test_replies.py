"""How replies are read, and what the questions are made of."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from saebench.judges import prompts, replies
from saebench.judges.prompts_saebench import SaebenchPrompt
from saebench.judges.protocol import Answers, Context, ExplainTask
from saebench.judges.replies import BadReply


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2, 5", {2, 5}),
        ("2,5.", {2, 5}),
        (" 1 ", {1}),
        ("1, 2 and 3", {1, 2, 3}),
        ("1, 2, and 3", {1, 2, 3}),
        ("None", set()),
        ("none.", set()),
    ],
)
def test_numbers(text: str, says: set[int]) -> None:
    assert replies.read_numbers(text, 5).says == tuple(n in says for n in range(1, 6))


@pytest.mark.parametrize(
    "text", ["", "Examples 1, 3", "0, 2", "6", "1; 2", "-1", "1,", "9" * 5000, "[1, 2]", "None, 2"]
)
def test_other_text_is_no_list_of_numbers(text: str) -> None:
    with pytest.raises(BadReply, match="nonsense"):
        replies.read_numbers(text, 5)


@pytest.mark.parametrize(
    "text",
    [
        '{"explanation": "cats"}',
        'Sure! {"explanation": "cats"} Anything else?',
        '<think>{maybe {"a": 1}}</think>\n```json\n{"explanation": " cats\\n"}\n```',
        '{"other": 1} {"explanation": "cats"} {"explanation": "dogs"}',
        'Schema: {"properties": {"explanation": {"type": "string"}}}. Reply: {"explanation": "cats"}',
    ],
)
def test_the_first_fitting_object_is_read(text: str) -> None:
    assert replies.read_explanation(text).text == "cats"


@pytest.mark.parametrize(
    "text", ["cats", '{"explanation": ""}', '{"explanation": 3}', '{"explanation": "ca', "[]", "{}"]
)
def test_no_explanation(text: str) -> None:
    with pytest.raises(BadReply, match="nonsense"):
        replies.read_explanation(text)


def test_a_probability_that_is_none_is_left_out() -> None:
    given = [0.5, "0.25", None, -1, float("nan"), float("inf"), 1]
    entries: list[dict[str, Any]] = [{"context": n + 1, "answer": True, "probability": p} for n, p in enumerate(given)]
    del entries[2]["probability"]
    answers = replies.read_answers(json.dumps({"answers": entries}), len(given))
    assert answers == Answers((True,) * 7, (0.5, 0.25, None, None, None, None, 1.0))


def test_a_reply_made_to_be_slow_is_not() -> None:
    start = time.process_time()
    with pytest.raises(BadReply):
        replies.read_explanation('{"a":' * 100_000)
    assert time.process_time() - start < 2


def test_the_schema_allows_nothing_besides() -> None:
    schema = replies.strict_schema(replies.ScoreReply)
    parts = [schema, *schema["$defs"].values()]
    assert all(part["additionalProperties"] is False for part in parts)
    assert all(part["required"] == list(part["properties"]) for part in parts)


WINDOW = Context((" a", " cat", " sat"), (0.0, 4.0, 1.0), 0, "top")
WEAK = Context((" one", " dog", " ran"), (0.0, 2.0, 0.01), 0, "mid")


def test_an_explaining_question_shows_strengths_and_silent_contexts() -> None:
    silent = Context((" no", "<< one"), (0.0, 0.0), 1, "random")
    text = prompts.PlainPrompt().explain(ExplainTask(0, (WINDOW, WEAK), (silent,))).messages[0]["content"]
    assert '[1]  a <<cat sat>>\n    ("cat" 10, "sat" 2)' in text
    assert '[2]  one <<dog ran>>\n    ("dog" 5, "ran" 0)' in text
    assert "silent:\n\n[1]  no‹‹ one" in text


def test_the_reference_prompt_shows_the_strongest_first_and_leaves_out_weak_tokens() -> None:
    text = SaebenchPrompt().explain(ExplainTask(0, (WEAK, WINDOW))).messages[1]["content"]
    assert "[1]  a <<cat sat>>\n[2]  one <<dog>> ran" in text


def test_the_version_moves_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompts.version(prompts.PlainPrompt())
    assert before == prompts.version(prompts.PlainPrompt())
    monkeypatch.setattr(prompts, "FUZZING", prompts.FUZZING + " Please.")
    assert prompts.version(prompts.PlainPrompt()) != before
