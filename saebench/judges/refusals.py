"""Errors of an endpoint that will not pass, as one sentence that names the endpoint, the model and the way out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from saebench.errors import UserError, nearest
from saebench.judges.endpoint import KEY, Endpoint
from saebench.judges.faults import Fault, GaveUp, Refitted
from saebench.judges.waits import asked_wait

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

PASSING = (408, 409, 425, 429)
"""Statuses below 500 that may pass."""

OF_THE_QUESTION = {
    "content_filter": "refused",
    "content_policy_violation": "refused",
    "context_length_exceeded": "failed: the question is too long for the model",
}
"""Errors that say something about one question and nothing about the next."""

_LIST_TIMEOUT = 10.0


def said(error: APIStatusError, endpoint: Endpoint) -> str:
    """What the endpoint said, on one line and without secrets."""
    body: Any = error.body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    text = body.get("message") or body.get("detail") or body if isinstance(body, dict) else body
    line = " ".join(endpoint.clean_error(str(text or "no reason given")).split())
    return line if len(line) <= 300 else line[:300] + " ..."


def sort(error: APIStatusError, endpoint: Endpoint, fitted: tuple[bool, bool]) -> Exception | None:
    """What is to be done about an answer with a status of error; None where it will not pass.

    Args:
        error: The answer.
        endpoint: Who gave it.
        fitted: Whether the request had a `response_format`, and whether it had `max_tokens`.
    """
    code, text = str(getattr(error, "code", None) or ""), said(error, endpoint)
    if code in OF_THE_QUESTION:
        return GaveUp(OF_THE_QUESTION[code])
    if error.status_code == 413:
        return GaveUp(OF_THE_QUESTION["context_length_exceeded"])
    structured, limited = fitted
    low = text.lower()
    if error.status_code in (400, 422, 501):
        if structured and any(word in low for word in ("response_format", "json_schema", "structured output")):
            return Refitted("response_format")
        if limited and "max_completion_tokens" in low:
            return Refitted("max_tokens")
    passing = error.status_code in PASSING or error.status_code >= 500
    if passing and code != "insufficient_quota":
        return Fault(f"failed: {error.status_code} {text}", asked_wait(error.response.headers))
    return None


async def permanent(error: APIStatusError, endpoint: Endpoint, model: str, client: AsyncOpenAI) -> UserError:
    """The error for a user; an unknown model is answered with those the endpoint lists."""
    where = f"The judge's endpoint {endpoint.host}"
    status, text = error.status_code, said(error, endpoint)
    if status in (401, 403):
        return UserError(f"{where} does not take the key in {KEY} for model {model!r} ({status}: {text}).")
    if status in (402, 429):
        return UserError(f"{where} has no credit left for model {model!r} ({status}: {text}).")
    listed = await _models(client)
    if listed and model not in listed:
        return UserError(f"{where} has no model {model!r}. {nearest(model, listed)}")
    if status in (404, 405):
        hint = "" if listed else " Does its address end where /chat/completions follows, usually in /v1?"
        return UserError(f"{where} has no chat completions for model {model!r} ({status}: {text}).{hint}")
    hint = next((f" Set the judge's {name} to null." for name in ("temperature", "seed") if name in text.lower()), "")
    return UserError(f"{where} refuses what model {model!r} is asked ({status}: {text}).{hint}")


def unreachable(endpoint: Endpoint, model: str, reason: str) -> UserError:
    """The error for an endpoint that never answered."""
    return UserError(
        f"The judge's endpoint {endpoint.host} cannot be reached for model {model!r} ({reason}). "
        "Check base_url, or use the judge 'ngram'."
    )


def incompatible(endpoint: Endpoint, model: str, beginning: str) -> UserError:
    """The error for an endpoint that speaks something else."""
    return UserError(
        f"The judge's endpoint {endpoint.host} does not speak OpenAI's chat completions (asked for model {model!r}, it "
        f"answered {beginning!r}). Check base_url; it usually ends in /v1."
    )


async def _models(client: AsyncOpenAI) -> list[str]:
    """Names of the models that the endpoint lists, none where it lists none."""
    from openai import OpenAIError

    try:
        page = await asyncio.wait_for(client.models.list(), _LIST_TIMEOUT)
        return sorted(str(model.id) for model in page.data)
    except (OpenAIError, asyncio.TimeoutError, AttributeError, TypeError, ValueError):
        return []
