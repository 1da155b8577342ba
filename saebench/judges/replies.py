"""What a judge's reply must look like, and how it is read, however it was written."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from saebench.judges.protocol import Answers, Explanation

_TRIES = 50
"""Opening braces at which a JSON object is looked for, so that a reply made of braces takes no time."""

_LONGEST = 1000
"""Characters kept of an explanation that does not end."""


class BadReply(Exception):
    """A reply without a usable answer; the message says why."""


class ExplanationReply(BaseModel):
    """Wanted for an explanation."""

    explanation: str


class ContextReply(BaseModel):
    """Wanted for each context of a task."""

    context: int
    answer: bool
    probability: float | None


class ScoreReply(BaseModel):
    """Wanted for a task of several contexts."""

    answers: list[ContextReply]


@functools.cache
def strict_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a reply as structured outputs want it: every field required, none besides."""
    schema = model.model_json_schema()
    for part in [schema, *schema.get("$defs", {}).values()]:
        part["additionalProperties"] = False
        part.pop("description", None)
    return schema


def read_explanation(text: str) -> Explanation:
    """The explanation in a reply.

    Raises:
        BadReply: No JSON object, another one, or an empty sentence.
    """
    try:
        found = ExplanationReply.model_validate(_first_object(text, "explanation"))
    except ValidationError as error:
        raise BadReply("nonsense: the explanation is no text") from error
    return explanation(found.explanation)


def explanation(sentence: str) -> Explanation:
    """The sentence on one line.

    Raises:
        BadReply: It is empty.
    """
    sentence = " ".join(sentence.split())[:_LONGEST]
    if not sentence:
        raise BadReply("nonsense: the explanation is empty")
    return Explanation(sentence)


def read_answers(text: str, n: int) -> Answers:
    """Answers for contexts 1 to n, in that order.

    A context that is missing, malformed, or answered both ways has None; so has a probability that is none.

    Raises:
        BadReply: No JSON object, another one, or no context with a usable answer.
    """
    entries = _first_object(text, "answers")["answers"]
    if not isinstance(entries, list):
        raise BadReply("nonsense: the answers are no list")
    given: dict[int, list[ContextReply]] = {}
    for entry in _usable(entries):
        given.setdefault(entry.context, []).append(entry)
    pairs = [_agreed(given.get(number, [])) for number in range(1, n + 1)]
    if all(says is None for says, _ in pairs):
        raise BadReply("nonsense: no context has a usable answer")
    return Answers(tuple(says for says, _ in pairs), tuple(probability for _, probability in pairs))


def read_numbers(text: str, n: int) -> Answers:
    """Answers given as the numbers of the contexts that are true, `2, 5` or `2 and 5`, or `None`.

    Raises:
        BadReply: Anything else, a number beyond n included.
    """
    text = text.strip().rstrip(".").replace(" and ", ", ")
    if text.lower() == "none":
        return Answers((False,) * n)
    if not re.fullmatch(r"\d{1,6}(\s*,[\s,]*\d{1,6})*", text):
        raise BadReply("nonsense: neither a list of numbers nor None")
    numbers = {int(number) for number in re.findall(r"\d+", text)}
    if not all(1 <= number <= n for number in numbers):
        raise BadReply("nonsense: a number that no window has")
    return Answers(tuple(number in numbers for number in range(1, n + 1)))


def _usable(entries: list[Any]) -> Iterator[ContextReply]:
    for entry in entries:
        try:
            yield ContextReply.model_validate({"probability": None, **entry} if isinstance(entry, dict) else entry)
        except ValidationError:
            continue


def _agreed(given: list[ContextReply]) -> tuple[bool | None, float | None]:
    if len({entry.answer for entry in given}) != 1:
        return None, None
    return given[0].answer, _probability(given[0].probability)


def _probability(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and 0 <= value <= 1 else None


def _first_object(text: str, field: str) -> dict[str, Any]:
    """The first JSON object in a text that has the field; prose and other objects around it do not matter."""
    decoder, place = json.JSONDecoder(), -1
    for _ in range(_TRIES):
        place = text.find("{", place + 1)
        if place < 0:
            break
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if field in value:
            return value
        place = end - 1
    raise BadReply(f"nonsense: no JSON object with {field!r}")
