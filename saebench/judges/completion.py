"""The envelope of a chat completion, and what is kept of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from saebench.judges.faults import Fault, Incompatible
from saebench.judges.replies import BadReply

_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", flags=re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered, before anybody read it.

    Attributes:
        content: Text of the reply, None where there is none.
        refusal: Why the model refused, None where it did not.
        finish: `stop`, `length` for a reply that was cut, `content_filter`, or what else the endpoint says.
        prompt_tokens: Tokens of the question, None where the endpoint does not say.
        completion_tokens: Tokens of the reply, None where the endpoint does not say.
    """

    content: str | None
    refusal: str | None = None
    finish: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Fields by name."""
        return dict(vars(self))

    def text(self, *, whole: bool) -> str:
        """The text without thoughts before it, if it can be used.

        Raises:
            BadReply: The model refused, said nothing, or (where it must be whole) was cut.
        """
        if self.refusal or self.finish == "content_filter":
            raise BadReply("refused")
        if whole and self.finish == "length":
            raise BadReply("nonsense: the reply was cut, give the judge more max_tokens")
        text = _THOUGHTS.sub("", self.content or "")
        if not text.strip():
            raise BadReply("nonsense: an empty reply")
        return text


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def read_completion(body: str, clean: Callable[[str], str]) -> Reply:
    """The reply in the body of a successful answer, its texts cleaned of secrets.

    Raises:
        Fault: Broken JSON, or an error that came with a status of success.
        Incompatible: Something that is no chat completion.
    """
    if not body.lstrip().startswith("{"):
        raise Incompatible(_beginning(clean(body)))
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Fault("failed: broken JSON around the reply") from None
    if value.get("error") and not value.get("choices"):
        raise Fault(f"failed: {_beginning(clean(json.dumps(value['error'], ensure_ascii=False)))}")
    try:
        found = _Completion.model_validate(value)
    except ValidationError:
        raise Incompatible(_beginning(clean(body))) from None
    choice, usage = found.choices[0], found.usage or _Usage()
    return Reply(
        content=None if choice.message.content is None else clean(choice.message.content),
        refusal=None if choice.message.refusal is None else clean(choice.message.refusal),
        finish=choice.finish_reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )


def _beginning(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:120] + " ..."
